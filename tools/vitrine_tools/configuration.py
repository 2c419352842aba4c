"""A lock's configuration: the one schema of its settings, and the file that a person writes (SPEC.md sections 6, 6.1).

`Settings` is the source of SPEC.md's table and of the lock's own (tools/codegen/settings.py): whoever adds a setting
adds a line here and runs `make settings`. A file is TOML or JSON:

    zone = "Europe/Vienna"
    holidays = [2026-12-25, "2026-12-31/2027-01-01"]
    hours = ["Mon-Fri 09:00-19:00", "Sat 09:00-18:00"]

    [settings]
    ajar_ms = 45000
"""

import difflib
import ipaddress
import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from . import cbor, keys, when
from .errors import ConfigurationError, KeyFileError, TimeTextError

MAX_SIZE: Final = 640
MAX_ZONE: Final = 48
MAX_SEQUENCE: Final = 2**32 - 1
INITIAL: Final = {1: 0, 2: {}, 3: [], 4: None, 5: []}
INITIAL_SCENARIO: Final = {1: 0, 2: False, 3: False, 4: [], 5: []}  # SPEC.md 6.2

_MAX_FILE: Final = 64 * 1024
_EPOCH: Final = date(1970, 1, 1)
_MAX_DAY: Final = 0xFFFF  # in 2149
_MAX_DAYS: Final = 31
_WRONG_TYPE: Final = {"list_type": "must be an array", "model_type": "must be a table"}
_UNITS: Final = {"ms": "ms", "s": "s", "mv": "mV", "pct": "%", "ppm": "ppm"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of SPEC.md section 6: `since` is the version of the configuration that brought the setting."""

    key: int
    default: int
    least: int
    most: int
    since: int
    unit: str
    note: str


def _setting(key: int, default: int, least: int, most: int, note: str = "", *, since: int = 2) -> Any:
    return Field(default, ge=least, le=most, description=note or None, json_schema_extra={"key": key, "since": since})


def _address(value: Any) -> Any:
    """Take an IPv4 address as people write it."""
    if not isinstance(value, str):
        return value
    try:
        return int(ipaddress.IPv4Address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 address") from None


_Number = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
Address = Annotated[int, BeforeValidator(_address, json_schema_input_type=_Number | ipaddress.IPv4Address)]


class Settings(BaseModel):
    """The settings of a lock; what is not named comes from its provisioning record, or is the default."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    unlock_ms: int = _setting(1, 5000, 500, 10000, "the strike's hard limit is 10 s", since=1)
    hold_ms: int = _setting(2, 10000, 500, 10000, "same", since=1)
    relock_ms: int = _setting(
        3, 400, 100, 5000, "the door must have settled in its frame before Locked is reported", since=1
    )
    ajar_ms: int = _setting(4, 30000, 5000, 3600000, since=1)
    pull_ms: int = _setting(5, 150, 20, 1000, "full power to pull the bolt in", since=1)
    hold_duty_pct: int = _setting(6, 40, 10, 100, "below it most coils let go", since=1)
    debounce_ms: int = _setting(7, 30, 5, 160, "forced open must be seen within 250 ms, flash being erased", since=1)
    advertise_ms: int = _setting(
        8, 100, 20, 1000, "a phone finds the lock after one interval on average; each halving costs a battery", since=1
    )
    ajar_step_ms: int = _setting(9, 60000, 1000, 3600000, "from one step of the ajar alarm to the next")
    unattended_ms: int = _setting(10, 0, 0, 3600000, "open without motion for so long; 0: no motion sensor")
    jam_ms: int = _setting(11, 1500, 200, 10000, "the bolt must have followed the strike by then")
    rex_held_ms: int = _setting(12, 30000, 2000, 3600000)
    dps_mode: int = _setting(13, 0, 0, 1, "0: a contact; 1: end-of-line resistors, read as a voltage")
    dps_short_mv: int = _setting(14, 300, 0, 3300, "below: shorted. The four bands ascend")
    dps_closed_mv: int = _setting(15, 1500, 0, 3300, "below: closed")
    dps_open_mv: int = _setting(16, 2700, 0, 3300, "below: open; at or above: cut")
    battery_low_mv: int = _setting(17, 0, 0, 30000, "0: no battery")
    battery_scale_pct: int = _setting(18, 200, 100, 2000, "the divider in front of the ADC")
    alarm_blocks: int = _setting(19, 0, 0, 255, "bits of section 7.2: alarms while which no token opens")
    uv_required: int = _setting(20, 0, 0, 1)
    persons_required: int = _setting(21, 1, 1, 3)
    persons_window_ms: int = _setting(22, 30000, 5000, 120000)
    lockout_tries: int = _setting(23, 4, 2, 15)
    lockout_s: int = _setting(24, 300, 10, 3600)
    lockout_max_s: int = _setting(25, 3600, 10, 65535, "at least lockout_s")
    risk_uv: int = _setting(26, 0, 0, 100, "from this score on the phone must have verified its user; 0: never")
    risk_persons: int = _setting(27, 0, 0, 100, "from this score on two persons are needed; 0: never")
    drift_ppm: int = _setting(
        28, 100, 1, 1000, "a crystal of 20 ppm, its age and the cold; the true drift must lie below"
    )
    max_error_s: int = _setting(29, 300, 5, 86400)
    coast_after_s: int = _setting(30, 86400, 60, 604800)
    sntp_address: Address = _setting(
        31, 0, 0, 4294967295, "an IPv4 address as a number; 0: none. No name: a resolver blocks"
    )
    is_loud: int = _setting(32, 1, 0, 1, "0: light only")
    brownout_starts: int = _setting(33, 4, 0, 20, "so many starts in a row that each end within a minute; 0: never")
    camera_events: int = _setting(34, 0, 0, 31, "bits of section 16", since=3)
    camera_ms: int = _setting(35, 500, 50, 5000, "how long a camera's pulse is", since=3)
    relay_alarms: int = _setting(36, 0, 0, 1023, "bits of sections 7.2 and 16: alarms that switch the relay", since=3)

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if not self.dps_short_mv < self.dps_closed_mv < self.dps_open_mv:
            raise ValueError("dps_short_mv, dps_closed_mv and dps_open_mv must ascend")
        if self.lockout_max_s < self.lockout_s:
            raise ValueError("lockout_max_s must be at least lockout_s")
        return self

    def by_key(self) -> dict[int, int]:
        """Return the settings that were named, by their key: also one that has its default value (6.1)."""
        return {SETTINGS[name].key: getattr(self, name) for name in sorted(self.model_fields_set, key=_key_of)}


def _rows() -> dict[str, Setting]:
    rows = {}
    for name, field in Settings.model_fields.items():
        extra: Any = field.json_schema_extra
        least, most = (
            next(getattr(rule, kind) for rule in field.metadata if hasattr(rule, kind)) for kind in ("ge", "le")
        )
        unit = _UNITS.get(name.rpartition("_")[2], "")
        rows[name] = Setting(extra["key"], field.default, least, most, extra["since"], unit, field.description or "")
    return rows


SETTINGS: Final = _rows()
NAME_OF_KEY: Final = {setting.key: name for name, setting in SETTINGS.items()}


def _key_of(name: str) -> int:
    return SETTINGS[name].key


def _holiday(value: Any) -> tuple[date, date]:
    """Take a date, the text of one, or `first/last`, both included."""
    if isinstance(value, tuple):
        first, last = value
    elif isinstance(value, date) and not isinstance(value, datetime):
        first = last = value
    elif isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d(/\d{4}-\d\d-\d\d)?", value, re.ASCII):
        begin, _, end = value.partition("/")
        try:
            first, last = date.fromisoformat(begin), date.fromisoformat(end or begin)
        except ValueError:
            raise ValueError(f"{value!r} is not in the calendar") from None
    else:
        raise ValueError(f"{value!r} is not a holiday: write 2026-12-25, or 2026-12-24/2026-12-31 (both included)")
    if not 0 <= (last - first).days < _MAX_DAYS:
        raise ValueError(f"{_holiday_text((first, last))} does not have 1 to {_MAX_DAYS} days")
    if not 0 <= (first - _EPOCH).days <= _MAX_DAY:
        raise ValueError(f"{first} is not between 1970 and 2149")
    return first, last


def _holiday_text(holiday: tuple[date, date]) -> str:
    first, last = holiday
    return f"{first}" if first == last else f"{first}/{last}"


def _window(value: Any) -> when.Window:
    """Take a window as people write it, or one that was read from a lock."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not a window: write for example "Mon-Fri 09:00-17:30"')
    try:
        return when.parse_window(value)
    except TimeTextError as error:
        raise ValueError(str(error)) from None


def _zone(value: Any) -> str | None:
    """Take a POSIX TZ text, or a name of the time zone database."""
    if not isinstance(value, str):
        raise ValueError('write a name such as "Europe/Vienna", or a POSIX TZ')
    try:
        text = when.posix_zone_text(value)
    except TimeTextError as error:
        raise ValueError(str(error)) from None
    if len(text) > MAX_ZONE:
        raise ValueError(f"{text!r} has more than {MAX_ZONE} characters")
    return text


Holiday = Annotated[
    tuple[date, date],
    BeforeValidator(_holiday),
    PlainSerializer(_holiday_text),
    WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d\d-\d\d(/\d{4}-\d\d-\d\d)?$"}),
]
Hours = Annotated[
    when.Window,
    BeforeValidator(_window),
    PlainSerializer(when.window_text),
    WithJsonSchema({"type": "string", "examples": ["Mon-Fri 09:00-17:30", "Fri,Sat 22:00-02:00"]}),
]
Zone = Annotated[str, BeforeValidator(_zone)]


class Configuration(BaseModel):
    """The whole of what command 3 replaces; what is left out is empty, and the zone the provisioning record's."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, title="Configuration of a Vitrine lock")

    settings: Settings = Settings()
    holidays: list[Holiday] = Field([], max_length=64, description="days that are 128 in windows, first/last included")
    zone: Zone | None = Field(None, description="name of the time zone database, or POSIX TZ")
    hours: list[Hours] = Field([], max_length=16, description="when people are expected here")

    def to_body(self) -> dict[int, Any]:
        """Return the body of command 3."""
        return {
            2: self.settings.by_key(),
            3: [[(first - _EPOCH).days, (last - first).days + 1] for first, last in self.holidays],
            4: self.zone,
            5: [list(window) for window in self.hours],
        }

    def to_blob(self, sequence: int) -> bytes:
        """Return what a lock keeps once it has taken this under `sequence`."""
        return cbor.encode({1: sequence, **self.to_body()})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            cbor.decode(self.to_blob(MAX_SEQUENCE), MAX_SIZE)
        except cbor.CborError as error:
            raise ValueError(f"too much for a lock ({error}): give fewer holidays, hours or settings") from None
        return self


def from_body(body: Any) -> Configuration:
    """Return the configuration of a command's body; ConfigurationError for what a lock would not take."""
    if not isinstance(body, dict) or body.keys() != {2, 3, 4, 5}:
        raise ConfigurationError("not a configuration: it must have the keys 2 to 5")
    settings, holidays, zone, hours = (body[key] for key in range(2, 6))
    if not isinstance(settings, dict) or not settings.keys() <= NAME_OF_KEY.keys():
        raise ConfigurationError("not a configuration: the settings are not a map of known ones")
    return read(
        {
            "settings": {NAME_OF_KEY[key]: value for key, value in settings.items()},
            "holidays": [_days(each) for each in _rows_of(holidays, 2)],
            "zone": zone,
            "hours": [_minutes(each) for each in _rows_of(hours, 3)],
        }
    )


def from_blob(blob: bytes) -> tuple[int, Configuration]:
    """Return (sequence, configuration) of what a lock keeps; ConfigurationError for what it would not believe."""
    try:
        record = cbor.decode(blob, MAX_SIZE)
    except cbor.CborError as error:
        raise ConfigurationError(f"not a configuration: {error}") from None
    sequence = record.pop(1, None) if isinstance(record, dict) else None
    if type(sequence) is not int or not 0 <= sequence <= MAX_SEQUENCE:
        raise ConfigurationError("not a configuration: it has no sequence")
    return sequence, from_body(record)


def read(values: Any) -> Configuration:
    """Return the configuration that a file's values make; ConfigurationError names the field that is wrong."""
    try:
        return Configuration.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(_problem(error, Configuration.model_fields)) from None


def load(path: Path) -> Configuration:
    """Read a configuration file, TOML or (named *.json) JSON; ConfigurationError in one line otherwise."""
    try:
        text = keys.read_file(path, "configuration", _MAX_FILE).decode()
        return read(json.loads(text) if path.suffix == ".json" else tomllib.loads(text))
    except KeyFileError as error:
        raise ConfigurationError(str(error)) from None
    except (ConfigurationError, ValueError, RecursionError) as error:
        # TOMLDecodeError, JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigurationError(f"{path}: {' '.join(str(error).split())}") from None


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a configuration file."""
    made = Configuration.model_json_schema()
    for name, field in made["$defs"]["Settings"]["properties"].items():
        del field["title"]  # it is the name once more
        if SETTINGS[name].unit:
            field["unit"] = SETTINGS[name].unit
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def check_settings(named: dict[str, int]) -> Settings:
    """Return the settings `named`; ConfigurationError names the one that is wrong."""
    try:
        return Settings.model_validate(named)
    except ValidationError as error:
        raise ConfigurationError(_problem(error, SETTINGS)) from None


def _problem(error: ValidationError, known: Iterable[str]) -> str:
    """Return the first mistake in one line that names its field. `known`: the fields at the top."""
    first = error.errors(include_url=False)[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    name = field.rpartition(".")[2]
    if first["type"] == "extra_forbidden":
        known = SETTINGS if "." in field else known
        like = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {like[0]}?" if like else "`vitrine config schema` names them all"
        return f"{field} is not a setting: {hint}"
    if first["type"] == "value_error":
        text = first["msg"].removeprefix("Value error, ")
    elif name in SETTINGS:
        return f"{field} must be a whole number from {SETTINGS[name].least} to {SETTINGS[name].most}"
    else:
        text = _WRONG_TYPE.get(first["type"]) or first["msg"][:1].lower() + first["msg"][1:]
    return f"{field}: {text}" if field else text


def _rows_of(value: Any, width: int) -> list[list[int]]:
    if not isinstance(value, list):
        raise ConfigurationError("not a configuration: something else where an array belongs")
    for row in value:
        if not isinstance(row, list) or len(row) != width or any(type(each) is not int for each in row):
            raise ConfigurationError(f"not a configuration: something else where {width} numbers belong")
    return value


def _days(row: list[int]) -> tuple[date, date]:
    day, count = row
    if not (0 <= day <= _MAX_DAY and 1 <= count <= _MAX_DAYS):
        raise ConfigurationError("not a configuration: a holiday out of bounds")
    return _EPOCH + timedelta(days=day), _EPOCH + timedelta(days=day + count - 1)


def _minutes(row: list[int]) -> when.Window:
    days, start, end = row
    if not (1 <= days <= 255 and 0 <= start <= when.MINUTES_A_DAY and 0 <= end <= when.MINUTES_A_DAY):
        raise ConfigurationError("not a configuration: a window out of bounds")
    return days, start, end
