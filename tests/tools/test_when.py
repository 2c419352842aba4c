"""Durations, times, windows and zones as people write them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrine.access.schedule import Calendar, Zone, ZoneError
from vitrine_tools import when
from vitrine_tools.errors import TimeTextError

DAY = 1440
ZONES = ["UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0", "<+0545>-5:45", "NZST-12NZDT,M9.5.0,M4.1.0/3"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28800), ("90m", 5400), ("2d", 172800), ("45s", 45), ("1w", 604800), ("1d12h", 129600), (" 8h ", 28800)],
)
def test_durations(text, seconds):
    assert when.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "8 h", "-8h", "0h", "8h8h", "1.5h", "8x", "٨h", "8h\n8h", "12h1d"])
def test_bad_durations(text):
    with pytest.raises(TimeTextError, match="8h, 90m"):
        when.parse_duration(text)


@given(st.integers(1, 10**9))
def test_durations_come_back(seconds):
    assert when.parse_duration(when.duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "unix_s"),
    [
        ("2026-03-01T17:00Z", 1772384400),
        ("2026-03-01T18:00+01:00", 1772384400),
        ("2026-03-01T17:00:30.9Z", 1772384430),
        ("1970-01-01T00:00Z", 0),
    ],
)
def test_times(text, unix_s):
    assert when.parse_time(text) == unix_s


def test_a_time_without_offset_is_local():
    assert when.parse_time("2026-03-01T18:00") == int(datetime(2026, 3, 1, 18).timestamp())


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "1969-12-31T00:00Z", "9999-01-01", "2026-03-01T25:00Z"])
def test_bad_times(text):
    with pytest.raises(TimeTextError):
        when.parse_time(text)


@given(st.integers(0, 2**32 - 1))
def test_times_come_back(unix_s):
    assert when.parse_time(when.time_text(unix_s)) == unix_s


@pytest.mark.parametrize("unix_s", [2**64 - 1, 2**40, 253402300800])
def test_times_out_of_the_calendar_are_still_text(unix_s):
    assert when.time_text(unix_s)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("Mon-Fri 09:00-17:30", (0b0111110, 540, 1050)),
        ("mon-fri  09:00-17:30", (0b0111110, 540, 1050)),
        ("Fri,Sat 22:00-02:00", (0b1100000, 1320, 120)),
        ("Sat-Mon 10:00-12:00", (0b1000011, 600, 720)),
        ("Sun 00:00-24:00", (1, 0, 1440)),
        ("daily 23:59-00:00", (127, 1439, 0)),
        ("Mon-Sun 06:00-07:00", (127, 360, 420)),
        ("Holidays 10:00-14:00", (128, 600, 840)),
        ("sat,Sun,holidays 10:00-14:00", (0b11000001, 600, 840)),
        ("daily,Holidays 00:00-24:00", (255, 0, 1440)),
    ],
)
def test_windows(text, window):
    assert when.parse_window(text) == window


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mon",
        "Mon 9:00-17:00",
        "Mon 09:00-25:00",
        "Mon 24:00-12:00",
        "Mon 09:60-10:00",
        "Mon 09:00-24:01",
        "Mon 09:00 - 10:00",
        "Xyz 09:00-10:00",
        "Mon- 09:00-10:00",
        "Mon-Tue-Wed 09:00-10:00",
        "Mon,,Tue 09:00-10:00",
        "Holidays-Mon 09:00-17:00",
        "Mon-Holidays 09:00-17:00",
        "Holiday 09:00-17:00",
        "09:00-17:00",
        "Mon 09:00-09:00",
        "Mon 00:00-00:00",
    ],
)
def test_bad_windows(text):
    with pytest.raises(TimeTextError, match="window"):
        when.parse_window(text)


WINDOWS = st.tuples(st.integers(1, 255), st.integers(0, DAY - 1), st.integers(0, DAY)).filter(lambda w: w[1] != w[2])


@given(WINDOWS)
def test_windows_come_back(window):
    assert when.parse_window(when.window_text(window)) == window


@given(st.lists(WINDOWS, min_size=1, max_size=3), st.integers(0, 2**32 - 1), st.sampled_from(ZONES))
def test_windows_are_open_when_the_firmware_says_so(windows, unix_s, zone):
    calendar = Calendar(Zone(zone), ())
    assert when.is_within(windows, unix_s, when.posix_zone(zone)) == calendar.is_open(windows, unix_s)


def test_a_window_over_midnight_belongs_to_the_day_it_starts_on():
    friday_night = [when.parse_window("Fri 22:00-02:00")]

    def is_open_at(text):
        return when.is_within(friday_night, when.parse_time(text), UTC)

    assert not is_open_at("2026-03-06T21:59Z")  # a Friday
    assert is_open_at("2026-03-06T22:00Z")
    assert is_open_at("2026-03-07T01:59Z")
    assert not is_open_at("2026-03-07T02:00Z")
    assert not is_open_at("2026-03-06T01:00Z")


NO_ZONES = ["", "nonsense", "CET", "CET-1CEST,M3.5.0", "A" * 200, "UTC0\nUTC0", "Europe/Mu", "é"]
NO_ZONES += [
    "A5",
    "AB0",
    "<>0",
    "<+5>-5",
    "A B-1",
    "CET5:60",
    "CET-1CE,M3.5.0,M10.5.0",
    "CET-1CEST,M3.5.0/2:60,M10.5.0",
]


@pytest.mark.parametrize("text", NO_ZONES)
def test_bad_zones(text):
    with pytest.raises(TimeTextError, match="Europe/Vienna"):
        when.posix_zone_text(text)
    with pytest.raises(ZoneError):  # and no lock takes it
        Zone(text)


def test_a_zone_of_the_database_becomes_posix(tmp_path, monkeypatch):
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Vienna").write_bytes(b"TZif2..\n1\nCET-1CEST,M3.5.0,M10.5.0/3\n")
    monkeypatch.setattr(when.zoneinfo, "TZPATH", (str(tmp_path),))
    assert when.posix_zone_text("Europe/Vienna") == "CET-1CEST,M3.5.0,M10.5.0/3"
    with pytest.raises(TimeTextError):
        when.posix_zone_text("Europe/../../etc/passwd")
