"""The judge's own local time, against zoneinfo where that is right and against the C library where it is not."""

import time
from datetime import UTC, date, datetime

import pytest

from support.explain_edges import ODD_ZONES, ZONES
from vitrine_tools import when
from vitrine_tools.errors import TimeTextError
from vitrine_tools.policy.local_time import LocalTime

FIRST_S = int(datetime(2023, 12, 20, tzinfo=UTC).timestamp())
LAST_S = int(datetime(2029, 1, 12, tzinfo=UTC).timestamp())
EPOCH = date(1970, 1, 1).toordinal()
# as this machine's C library knows them, but CPython 3.11 does not: days from 0 in leap years, offsets of 24 hours
MORE = ("EST5EDT4:30:20,J60,J300/0:30", "EST+5EDT,M03.2.0/-167,M11.1.0/+167")
ONLY_C = ("EST5EDT,59,300", "EST24EDT-24,M3.2.0/2:30:15,M11.1.0", "ABC-24:59:59")


def moment(local):
    return local.date().toordinal() - EPOCH, local.hour * 60 + local.minute


@pytest.mark.parametrize("text", [*ZONES.values(), *MORE])
def test_as_zoneinfo_says(text):
    zone, reference = LocalTime(text), when.posix_zone(text)
    for unix_s in range(FIRST_S, LAST_S, 1799):
        at = zone.at(unix_s)
        assert (at.day, at.minute) == moment(datetime.fromtimestamp(unix_s, reference)), unix_s


@pytest.fixture
def c_zone(monkeypatch):
    """Set the C library's time zone; the one before is set back."""
    yield lambda text: (monkeypatch.setenv("TZ", text), time.tzset())
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("text", [*ONLY_C, *ZONES.values()])
def test_as_the_c_library_says(text, c_zone):
    zone = LocalTime(text)
    c_zone(text)
    for unix_s in range(FIRST_S, LAST_S, 1799):
        at, local = zone.at(unix_s), time.localtime(unix_s)
        day = date(local.tm_year, local.tm_mon, local.tm_mday).toordinal() - EPOCH
        assert (at.day, at.minute) == (day, local.tm_hour * 60 + local.tm_min), unix_s


def test_a_summer_that_runs_over_the_turn_of_the_year():
    """Neither reference gets these right: summer from 1 January 00:00 to 31 December 25:00 never ends."""
    zone = LocalTime("XXX3YYY,J1/0,J365/25")
    assert {zone.at(unix_s).minute for unix_s in range(FIRST_S + 7200, LAST_S, 86_400)} == {0}
    # the change of 2027 comes 167 hours before its Sunday, 3 January 00:00: on 27 December at 01:00
    zone = LocalTime("XXX0YYY,M1.1.0/-167,M7.1.0")
    change_s = int(datetime(2026, 12, 27, 1, tzinfo=UTC).timestamp())
    assert [zone.at(change_s + s).minute for s in (-1, 0)] == [59, 120]


@pytest.mark.parametrize("text", ODD_ZONES)
def test_odd_zones_are_zones(text):
    assert LocalTime(text).at(FIRST_S)


NO_ZONES = """UTC X1 UTC25 UTC0:60 <CE>1 CET-1CEST CET-1CEST,M3.5.0 CET-1CEST,M13.1.0,M10.5.0 CET-1CEST,M3.0.0,M10.5.0
    CET-1CEST,M3.6.0,M10.5.0 CET-1CEST,M3.5.7,M10.5.0 CET-1CEST,J0,J9 CET-1CEST,J366,J9 CET-1CEST,366,9
    CET-1CEST,M3.5.0/168,M10.5.0 CET-1CEST,M3.5.0,M10.5.0, CET-1CEST,M3.5.0,,M10.5.0"""


@pytest.mark.parametrize("text", [*NO_ZONES.split(), "", "UTC0 ", "UTC0\n", "C" * 46 + "-12"])
def test_what_is_no_zone(text):
    with pytest.raises(TimeTextError):
        LocalTime(text)


def test_holidays_take_the_place_of_their_weekday():
    christmas = (date(2026, 12, 25), date(2026, 12, 26))  # a Friday and a Saturday
    zone = LocalTime("UTC0", [christmas])
    noon_s = int(datetime(2026, 12, 25, 12, tzinfo=UTC).timestamp())
    day_s = 86_400
    assert not zone.is_open([(127, 0, 1440)], noon_s) and zone.is_open([(128, 0, 1440)], noon_s)
    assert zone.is_open([(127, 0, 1440)], noon_s - day_s) and not zone.is_open([(128, 0, 1440)], noon_s - day_s)
    # what runs over midnight belongs to the day it starts on: Thursday's is open on Friday's morning, Friday's is not
    assert zone.is_open([(16, 1200, 721)], noon_s) and not zone.is_open([(32, 1200, 721)], noon_s + day_s)
    sunday_s = noon_s + 2 * day_s
    assert zone.is_open([(128, 1200, 721)], sunday_s) and not zone.is_open([(128, 1200, 720)], sunday_s)
