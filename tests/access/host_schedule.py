"""vitrine.access.schedule against the system's time zones: every zone, every hour around each change, 2024 to 2040."""

import re
import zoneinfo
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine.access.schedule import Zone

FOLDER = next((Path(path) for path in zoneinfo.TZPATH if Path(path).is_dir()), None)
FIRST_S = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
LAST_S = int(datetime(2041, 1, 1, tzinfo=UTC).timestamp())

# their rule of today does not say how they were or will be: the change of a law, or fasting months listed one by one
IRREGULAR = {
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/El_Aaiun",
    "America/Asuncion",
    "America/Coyhaique",
    "America/Scoresbysund",
    "Antarctica/Casey",
    "Antarctica/Vostok",
    "Asia/Almaty",
    "Asia/Gaza",
    "Asia/Hebron",
    "Asia/Manila",
    "Asia/Qostanay",
    "Egypt",
}
# RFC 9636: the zones behind these names and many more
MUST_BE_THERE = {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Nuuk"}


def footers():
    """Return {zone name: POSIX TZ text} from the TZif files of this machine (RFC 9636 section 3.3)."""
    found = {}
    for name in sorted(zoneinfo.available_timezones()) if FOLDER else ():
        path = FOLDER / name
        data = path.read_bytes() if path.is_file() else b""
        footer = re.search(rb"\n([^\n]+)\n\Z", data)
        if data[:4] == b"TZif" and footer:
            found[name] = footer[1].decode("ascii")
    return found


FOOTERS = footers()
pytestmark = pytest.mark.skipif(not FOOTERS, reason="no time zone files on this machine")


def expected(zone, unix_s):
    local = datetime.fromtimestamp(unix_s, zone)
    return 1 << local.isoweekday() % 7, local.hour * 60 + local.minute


def offset_s(zone, unix_s):
    return int(datetime.fromtimestamp(unix_s, zone).utcoffset().total_seconds())


def changes(zone):
    """Find the seconds at which the offset changes, by halving."""
    step = 7 * 86_400
    for start in range(FIRST_S, LAST_S, step):
        low, high = start, start + step
        if offset_s(zone, low) != offset_s(zone, high):
            while high - low > 1:
                middle = (low + high) // 2
                if offset_s(zone, middle) == offset_s(zone, low):
                    low = middle
                else:
                    high = middle
            yield high


def test_every_zone_around_every_change():
    seen = {}
    for name, text in FOOTERS.items():
        if name in IRREGULAR:
            continue
        if text not in seen:
            reference = zoneinfo.ZoneInfo(name)
            seen[text] = name
            zone = Zone(text)
            times = [FIRST_S + n * 86_400 * 9 + n * 61 for n in range((LAST_S - FIRST_S) // (86_400 * 9) - 60)]
            for change in changes(reference):
                times += [change + 3600 * hours + s for hours in range(-30, 31) for s in (-1, 0, 1)]
            for unix_s in times:
                assert zone.local(unix_s) == expected(reference, unix_s), (name, text, unix_s)
    assert FOOTERS.keys() >= MUST_BE_THERE and len(FOOTERS) > 300
    # northern, southern, half an hour, negative and over 24 h
    assert len(seen) > 50 and sum("," in text for text in seen) > 15


@settings(max_examples=500)
@given(st.sampled_from(sorted(FOOTERS.keys() - IRREGULAR) or [""]), st.integers(FIRST_S, LAST_S))
def test_any_time(name, unix_s):
    reference = zoneinfo.ZoneInfo(name)
    assert Zone(FOOTERS[name]).local(unix_s) == expected(reference, unix_s)


@settings(max_examples=200)
@given(st.sampled_from(sorted(set(FOOTERS.values())) or [""]), st.lists(st.integers(FIRST_S, LAST_S), max_size=20))
def test_the_order_of_questions_does_not_matter(text, times):
    zone = Zone(text)
    assert [zone.local(unix_s) for unix_s in times] == [Zone(text).local(unix_s) for unix_s in times]


def test_irregular_zones_parse_too():
    for name in IRREGULAR & FOOTERS.keys():
        Zone(FOOTERS[name])
