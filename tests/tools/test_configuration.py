"""Configuration files: what people write, what locks take, and that every mistake is named in one line."""

import importlib.util
import json
import re
import sys
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.paths import FIRMWARE
from vitrine.access import reasons
from vitrine.access.schedule import Zone
from vitrine.app.configuration import Configuration as DeviceConfiguration
from vitrine.door.settings import Settings as DeviceSettings
from vitrine.door.settings import SettingsError
from vitrine_tools import cbor, cli, configuration, when
from vitrine_tools.configuration import SETTINGS, Configuration
from vitrine_tools.errors import ConfigurationError

VIENNA = "CET-1CEST,M3.5.0,M10.5.0/3"
FILE = """
zone = "Europe/Vienna"
holidays = [2026-12-25, "2026-12-31/2027-01-01"]
hours = ["Mon-Fri 09:00-19:00", "Sat,Holidays 22:00-02:00"]

[settings]
ajar_ms = 45000
unlock_ms = 5000
sntp_address = "192.0.2.7"
"""
BODY = {
    2: {1: 5000, 4: 45000, 31: 0xC0000207},
    3: [[20812, 1], [20818, 2]],
    4: VIENNA,
    5: [[62, 540, 1140], [192, 1320, 120]],
}


class Store:
    blob = None

    def load(self):
        return self.blob

    def save(self, data):
        self.blob = data


class Provision:
    door = {}
    zone = Zone("UTC0")


def on_lock(body, sequence=1):
    """Have the firmware take `body`; return (reason, its configuration)."""
    lock = DeviceConfiguration(Store(), Provision())
    return lock.apply(body, sequence), lock


DATES = st.dates(date(1970, 1, 1), date(2149, 1, 1))
HOLIDAYS = st.builds(lambda first, n: (first, date.fromordinal(first.toordinal() + n)), DATES, st.integers(0, 30))
HOURS = st.tuples(st.integers(1, 255), st.integers(0, 1439), st.integers(1, 1440)).filter(lambda w: w[1] != w[2])
SETTING_VALUES = st.fixed_dictionaries({}, optional={n: st.integers(s.least, s.most) for n, s in SETTINGS.items()})
FILES = st.fixed_dictionaries(
    {},
    optional={
        "settings": SETTING_VALUES,
        "holidays": st.lists(HOLIDAYS.map(configuration._holiday_text), max_size=66),
        "zone": st.sampled_from(["UTC0", VIENNA, "Europe/Vienna", "<+0545>-5:45"]),
        "hours": st.lists(HOURS.map(when.window_text), max_size=18),
    },
)


@pytest.mark.parametrize("name", ["lock.toml", "lock.json"])
def test_a_file_makes_the_body_of_a_command(tmp_path, name):
    path = tmp_path / name
    if name == "lock.json":
        settings = {"ajar_ms": 45000, "unlock_ms": 5000, "sntp_address": 0xC0000207}
        hours = ["Mon-Fri 09:00-19:00", "Sat,Holidays 22:00-02:00"]
        holidays = ["2026-12-25", "2026-12-31/2027-01-01"]
        path.write_text(json.dumps({"zone": VIENNA, "settings": settings, "hours": hours, "holidays": holidays}))
    else:
        path.write_text(FILE)
    found = configuration.load(path)
    assert found.to_body() == BODY
    reason, lock = on_lock(found.to_body(), 7)
    assert reason == reasons.GRANTED and lock._store.blob == found.to_blob(7)
    assert lock.settings.unlock_ms == 5000 and lock.settings.sntp_address == 0xC0000207
    assert configuration.from_blob(lock._store.blob) == (7, found)


def test_nothing_is_as_provisioned():
    assert Configuration().to_body() == {2: {}, 3: [], 4: None, 5: []}
    assert Configuration().to_blob(0) == cbor.encode(configuration.INITIAL)


@given(FILES)
def test_what_passes_here_passes_on_the_lock_and_comes_back(values):
    try:
        made = configuration.read(values)
    except ConfigurationError as error:
        assert "\n" not in str(error)
        return
    reason, lock = on_lock(made.to_body())
    assert reason == reasons.GRANTED
    for name in SETTINGS:
        assert getattr(lock.settings, name) == getattr(made.settings, name)
    assert configuration.from_blob(lock._store.blob) == (1, made)
    # and what is written out is read in again
    assert configuration.read(made.model_dump(mode="json", exclude_unset=True)).to_body() == made.to_body()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 70000) | st.binary(max_size=3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 36) | st.text(max_size=2), inner),
    max_leaves=12,
)


@given(st.fixed_dictionaries({2: VALUES, 3: VALUES, 4: st.none() | VALUES, 5: VALUES}) | VALUES)
def test_any_body_is_judged_alike_here_and_on_the_lock(body):
    reason, _ = on_lock(body)
    try:
        configuration.from_body(body)
    except ConfigurationError as error:
        assert reason == reasons.COMMAND_MALFORMED and "\n" not in str(error)
    else:
        assert reason == reasons.GRANTED


@given(SETTING_VALUES)
def test_settings_are_judged_alike_here_and_on_the_lock(values):
    by_key = {SETTINGS[name].key: value for name, value in values.items()}
    try:
        checked = configuration.check_settings(values)
    except ConfigurationError as error:
        with pytest.raises(SettingsError):
            DeviceSettings(by_key)
        assert re.search(r"must ascend|at least lockout_s", str(error))
    else:
        assert checked.by_key() == by_key
        DeviceSettings(by_key)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = ?", "line 1"),
        ("\x00", "line 1"),
        ("zone = 5", "zone: write a name"),
        ('zone = "Mars/Base"', "zone: 'Mars/Base' is not a time zone"),
        ('zone = "EST5EDT"', "zone:"),
        ("speed = 1", "speed is not a setting"),
        ("holiday = []", "did you mean holidays"),
        ("settings = 3", "settings: must be a table"),
        ("settings.unlock = 1", "settings.unlock is not a setting: did you mean unlock_ms"),
        ("settings.unlock_ms = 499", "settings.unlock_ms must be a whole number from 500 to 10000"),
        ("settings.unlock_ms = 10001", "settings.unlock_ms must be"),
        ("settings.unlock_ms = 500.0", "settings.unlock_ms must be"),
        ('settings.unlock_ms = "500"', "settings.unlock_ms must be"),
        ("settings.is_loud = true", "settings.is_loud must be a whole number from 0 to 1"),
        ('settings.sntp_address = "pool.ntp.org"', "settings.sntp_address: 'pool.ntp.org' is not an IPv4 address"),
        ("settings.sntp_address = 4294967296", "settings.sntp_address must be"),
        ("settings.dps_short_mv = 1500", "must ascend"),
        ("settings.lockout_max_s = 299", "lockout_max_s must be at least lockout_s"),
        ("holidays = 5", "holidays: must be an array"),
        ("holidays = [5]", "holidays[0]: 5 is not a holiday"),
        ('holidays = ["2026-02-30"]', "holidays[0]: '2026-02-30' is not in the calendar"),
        ('holidays = [2026-01-01, "christmas"]', "holidays[1]: 'christmas' is not a holiday"),
        ("holidays = [2026-01-01T00:00:00]", "holidays[0]: "),
        ('holidays = ["2026-01-02/2026-01-01"]', "1 to 31 days"),
        ('holidays = ["2026-01-01/2026-02-01"]', "1 to 31 days"),
        ("holidays = [1969-12-31]", "between 1970 and 2149"),
        ("holidays = [2149-06-07]", "between 1970 and 2149"),
        ("holidays = [" + "2026-01-01," * 65 + "]", "holidays: "),
        ('hours = ["Mon 9-5"]', "hours[0]: 'Mon 9-5' is not a window"),
        ("hours = [[1, 2, 3]]", "hours[0]: "),
        ('hours = ["Mon 09:00-09:00"]', "hours[0]: the window 'Mon 09:00-09:00' is empty"),
        ("hours = [" + '"daily 09:00-10:00",' * 17 + "]", "hours: "),
        (
            "holidays = [" + "2026-01-01," * 64 + "]\nhours = [" + '"daily 09:00-10:00",' * 16 + "]",
            "too much for a lock",
        ),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, monkeypatch, capfd, text, words):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    monkeypatch.setattr(sys, "argv", ["vitrine", "config", "check", str(path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith(f"vitrine: {path}: ") and words in err


@pytest.mark.parametrize("content", [b"\xff", b"[", b"[]", b"5", b'"x"', b"null", b"[" * 100_000, b'{"a": NaN}'])
def test_bad_json_is_told_in_one_line(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        configuration.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigurationError, match=re.escape(str(path))):
            configuration.load(path)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        cbor.encode([]),
        cbor.encode({2: {}, 3: [], 4: None, 5: []}),
        cbor.encode({1: True, 2: {}, 3: [], 4: None, 5: []}),
        cbor.encode({1: 2**32, 2: {}, 3: [], 4: None, 5: []}),
        cbor.encode({1: 1, 2: {}, 3: [], 4: None}),
    ],
)
def test_a_blob_that_is_none_is_refused(blob):
    with pytest.raises(ConfigurationError, match="not a configuration"):
        configuration.from_blob(blob)


def test_check_says_what_a_good_file_says(tmp_path, monkeypatch, capfd):
    path = tmp_path / "lock.toml"
    path.write_text(FILE)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["vitrine", "config", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert (ended.value.code, err) == (0, "")
        return out

    said = run("check", str(path))
    assert "is good: " in said and "ajar_ms" in said and "2026-12-31/2027-01-01" in said and VIENNA in said
    told = json.loads(run("check", "--json", str(path)))
    assert told.pop("file") == str(path) and told.pop("bytes") == len(configuration.load(path).to_blob(2**32 - 1))
    assert configuration.read(told).to_body() == BODY
    assert json.loads(run("schema")) == configuration.schema()


def test_the_schema_has_every_setting_as_the_spec_has_it():
    schema = configuration.schema()
    assert schema["$schema"].endswith("2020-12/schema") and schema["additionalProperties"] is False
    properties = schema["$defs"]["Settings"]["properties"]
    assert set(properties) == set(SETTINGS)
    for name, row in SETTINGS.items():
        field = properties[name]
        numbers = field.get("anyOf", [field])[0]
        assert (field["key"], field["since"], field["default"]) == (row.key, row.since, row.default)
        assert (numbers["minimum"], numbers["maximum"], numbers["type"]) == (row.least, row.most, "integer")
        assert field.get("unit", "") == row.unit and field.get("description", "") == row.note
    assert properties["unlock_ms"]["unit"] == "ms" and properties["hold_duty_pct"]["unit"] == "%"


@pytest.fixture
def generator(monkeypatch, tmp_path):
    """tools/codegen/settings.py, at work on copies."""
    path = FIRMWARE.parent / "tools" / "codegen" / "settings.py"
    spec = importlib.util.spec_from_file_location("settings_generator", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("TABLE", "SPEC"):
        copy = tmp_path / getattr(module, name).name
        copy.write_text(getattr(module, name).read_text())
        monkeypatch.setattr(module, name, copy)
    return module


def test_the_generated_tables_have_not_drifted(generator, capsys):
    assert generator.main(["--check"]) == 0 and capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "old", "new"), [("TABLE", "\\x27", "\\x26"), ("SPEC", "| 400 |", "| 401 |")])
def test_a_drifted_table_is_seen_and_made_anew(generator, capsys, name, old, new):
    path = getattr(generator, name)
    good = path.read_text()
    path.write_text(good.replace(old, new, 1))
    assert generator.main(["--check"]) == 1 and path.name in capsys.readouterr().out
    assert path.read_text() != good  # a check writes nothing
    assert generator.main([]) == 0 and path.read_text() == good


def test_a_page_without_marks_is_left_alone(generator):
    generator.SPEC.write_text("no marks")
    with pytest.raises(SystemExit, match="marks"):
        generator.main([])
    assert generator.SPEC.read_text() == "no marks"
