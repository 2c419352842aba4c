"""Durations, times, weekly windows and time zones as people write them.

Times are Unix seconds. A window is (days mask, start minute, end minute) as in SPEC.md section 2: Sunday is bit 0, a
holiday bit 7, the end is exclusive, and an end not after its start runs over midnight and belongs to the day it starts
on.
"""

import io
import re
import struct
import zoneinfo
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from .errors import TimeTextError

Window = tuple[int, int, int]

DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")  # in the order of Matter's DaysMaskMap
ALL_DAYS = 127
HOLIDAYS = 128
MINUTES_A_DAY = 1440
_UNIT_S = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_MAX_UNIX_S = 0xFFFFFFFF  # 2106; a later time is a slip, and some locks count in 32 bits
_DURATION = re.compile(r"(\d{1,9}w)?(\d{1,9}d)?(\d{1,9}h)?(\d{1,9}m)?(\d{1,9}s)?", re.ASCII)
_ZONE_NAME = "(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
_POSIX_ZONE = re.compile(rf"{_ZONE_NAME}[\d:+-]+({_ZONE_NAME}[\d:+-]*,[MJ\d.,/:+-]+)?", re.ASCII)
_WINDOW = re.compile(r"(\S+) (\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)


def parse_duration(text: str) -> int:
    """Return seconds for `8h`, `90m`, `2d` or `1d12h`; TimeTextError otherwise."""
    match = _DURATION.fullmatch(text.strip())
    seconds = sum(int(part[:-1]) * _UNIT_S[part[-1]] for part in match.groups() if part) if match else 0
    if seconds <= 0:
        raise TimeTextError(f"{text!r} is not a duration: write for example 8h, 90m, 2d or 1d12h")
    return seconds


def duration_text(seconds: int) -> str:
    """Return `seconds` in the form that parse_duration reads."""
    parts = []
    for unit, size in _UNIT_S.items():
        if unit != "w" and seconds >= size:
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
    return "".join(parts) or "0s"


def parse_time(text: str) -> int:
    """Return Unix seconds for an ISO 8601 time; without an offset it is this computer's local time."""
    try:
        moment = datetime.fromisoformat(text.strip())
        unix_s = int(moment.timestamp())
    except (ValueError, OverflowError, OSError):
        raise TimeTextError(
            f"{text!r} is not a time: write for example 2026-03-01T18:00 (local) or 2026-03-01T17:00Z"
        ) from None
    if not 0 <= unix_s <= _MAX_UNIX_S:
        raise TimeTextError(f"{text!r} is not a time between 1970 and 2106")
    return unix_s


def time_text(unix_s: int) -> str:
    """Return `unix_s` as ISO 8601 in UTC; a bare number where no calendar reaches."""
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(unix_s)


def parse_window(text: str) -> Window:
    """Return the window of a text such as `Mon-Fri 09:00-17:30`, `Fri,Sat 22:00-02:00` or `daily 00:00-24:00`.

    Holidays are no weekdays: `Sat,Holidays 10:00-14:00`.
    """
    match = _WINDOW.fullmatch(" ".join(text.split()))
    if not match:
        raise _bad_window(text)
    days = _parse_days(match[1])
    start, end = (int(match[at]) * 60 + int(match[at + 1]) for at in (2, 4))
    minutes_are_good = int(match[3]) < 60 and int(match[5]) < 60
    if days is None or not minutes_are_good or start >= MINUTES_A_DAY or end > MINUTES_A_DAY:
        raise _bad_window(text)
    if start == end:
        # the format would read it as 24 hours; whoever mistypes an end must not open a whole day
        raise TimeTextError(f"the window {text!r} is empty: for a whole day write 00:00-24:00")
    return days, start, end


def window_text(window: Window) -> str:
    """Return the window in the form that parse_window reads, with runs of days from Monday on."""
    days, start, end = window
    runs: list[list[int]] = []
    for day in (1, 2, 3, 4, 5, 6, 0):
        if days >> day & 1:
            if runs and (runs[-1][-1] + 1) % 7 == day:
                runs[-1].append(day)
            else:
                runs.append([day])
    named = [DAYS[run[0]] if len(run) == 1 else f"{DAYS[run[0]]}-{DAYS[run[-1]]}" for run in runs]
    if days & ALL_DAYS == ALL_DAYS:
        named = ["daily"]
    if days & HOLIDAYS:
        named.append("Holidays")
    return f"{','.join(named)} {start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"


def is_within(windows: list[Window], unix_s: int, zone: tzinfo) -> bool:
    """Tell whether a weekly window is open at `unix_s` on the clocks of `zone`, which know of no holidays."""
    local = datetime.fromtimestamp(unix_s, zone)
    today = local.isoweekday() % 7
    minute = local.hour * 60 + local.minute
    for days, start, end in windows:
        if start < end:
            if days >> today & 1 and start <= minute < end:
                return True
        elif (days >> today & 1 and minute >= start) or (days >> (today - 1) % 7 & 1 and minute < end):
            return True
    return False


def posix_zone(text: str) -> zoneinfo.ZoneInfo:
    """Return the time zone of a POSIX TZ text such as `CET-1CEST,M3.5.0,M10.5.0/3`; TimeTextError otherwise.

    zoneinfo reads such a text as the footer of a TZif file (RFC 8536 section 3.3), so it gets one with nothing else in.
    """
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    block = b"TZif2" + bytes(15) + counts + struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
    try:
        # zoneinfo lets names of any length and characters pass, and minutes over 59
        if not _POSIX_ZONE.fullmatch(text) or re.search(":[6-9]", text):
            raise ValueError("not as POSIX has it")
        return zoneinfo.ZoneInfo.from_file(io.BytesIO(block * 2 + b"\n" + text.encode("ascii") + b"\n"), key=text)
    except (ValueError, EOFError):
        raise TimeTextError(
            f"{text!r} is not a time zone: write a name such as Europe/Vienna, "
            "or a POSIX TZ such as CET-1CEST,M3.5.0,M10.5.0/3"
        ) from None


def posix_zone_text(text: str) -> str:
    """Return the POSIX TZ text for a name of the time zone database (`Europe/Vienna`), or `text` if it is one."""
    if re.fullmatch(r"[A-Za-z_]+(/[A-Za-z0-9_+-]+){1,2}", text):
        for folder in zoneinfo.TZPATH:
            path = Path(folder, text)
            if path.is_file():
                text = path.read_bytes().rstrip(b"\n").rpartition(b"\n")[2].decode("ascii", "replace")
                break
    posix_zone(text)
    return text


def _parse_days(text: str) -> int | None:
    mask = 0
    for part in text.split(","):
        if part.lower() in ("daily", "holidays"):
            mask |= ALL_DAYS if part.lower() == "daily" else HOLIDAYS
            continue
        ends = [day.title() for day in part.split("-")]
        if len(ends) > 2 or any(day not in DAYS for day in ends):
            return None
        day, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
        mask |= 1 << day
        while day != last:
            day = (day + 1) % 7
            mask |= 1 << day
    return mask


def _bad_window(text: str) -> TimeTextError:
    return TimeTextError(
        f'{text!r} is not a window: write for example "Mon-Fri 09:00-17:30", '
        '"Fri,Sat 22:00-02:00", "daily 00:00-24:00" or "Holidays 10:00-14:00"'
    )
