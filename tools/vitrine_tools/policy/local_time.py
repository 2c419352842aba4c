"""The lock's local time and weekly windows (SPEC.md sections 2, 5 and 6.1), evaluated from the POSIX TZ text.

Not through zoneinfo, the reference of the tests: CPython's is wrong where a change falls into the year before or after
its own and for days counted from 0 in leap years, and refuses offsets of 24 hours; locks take all of these.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

from ..errors import TimeTextError
from ..when import Window

HOLIDAY: Final = 128  # the day of a date among the holidays, in place of its weekday
MAX_ZONE: Final = 48

_EPOCH = date(1970, 1, 1).toordinal()
_DAY_S = 86400
_NAME = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
_TIME = r"[+-]?\d{1,3}(?::\d{1,2}(?::\d{1,2})?)?"
_DATE = r"(?:M\d{1,2}\.\d\.\d|J\d{1,3}|\d{1,3})"
_ZONE = re.compile(
    rf"{_NAME}(?P<standard>{_TIME})"
    rf"(?:{_NAME}(?P<summer>{_TIME})?,(?P<start>{_DATE})(?:/(?P<start_time>{_TIME}))?"
    rf",(?P<end>{_DATE})(?:/(?P<end_time>{_TIME}))?)?",
    re.ASCII,
)
_FIRST_YEAR, _LAST_YEAR = (
    1968,
    2108,
)  # times are from 1970 to 2106, and a change at most a week off its year


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in local time: days since 1970-01-01 and the minute of that day."""

    day: int
    minute: int

    @property
    def date(self) -> date:
        """The calendar's date."""
        return date.fromordinal(_EPOCH + self.day)


class LocalTime:
    """The clock on the wall beside a lock. holidays: (first, last), local dates, both included."""

    def __init__(self, posix_tz: str, holidays: Iterable[tuple[date, date]] = ()) -> None:
        """Raise TimeTextError unless `posix_tz` is a time zone of SPEC.md section 5."""
        self._changes = _changes(posix_tz)
        self._holidays = tuple(holidays)

    def at(self, unix_s: int) -> Moment:
        """Return the local time at `unix_s`."""
        times, offsets = self._changes
        local_s = unix_s + offsets[bisect_right(times, unix_s)]
        return Moment(local_s // _DAY_S, local_s % _DAY_S // 60)

    def text(self, unix_s: int) -> str:
        """Return the local time in words."""
        now = self.at(unix_s)
        holiday = ", a holiday" if self.day_bit(now.day) == HOLIDAY else ""
        return f"{now.date:%a} {now.date} {now.minute // 60:02}:{now.minute % 60:02} here{holiday}"

    def day_bit(self, day: int) -> int:
        """Return the bit of a local date in a window's days: Sunday 1 to Saturday 64, or that of holidays."""
        today = date.fromordinal(_EPOCH + day)
        if any(first <= today <= last for first, last in self._holidays):
            return HOLIDAY
        return 1 << today.isoweekday() % 7

    def is_open(self, windows: Iterable[Window], unix_s: int) -> bool:
        """Tell whether one of `windows` is open at `unix_s`."""
        now = self.at(unix_s)
        today, yesterday = self.day_bit(now.day), self.day_bit(now.day - 1)
        for days, start, end in windows:
            stop = end if end > start else end + 1440  # what runs over midnight belongs to the day it starts on
            if days & today and start <= now.minute < stop:
                return True
            if days & yesterday and start <= now.minute + 1440 < stop:
                return True
        return False


@dataclass(frozen=True, slots=True)
class _Rule:
    """A day of each year and a time of it: one half of a POSIX TZ rule."""

    text: str
    second: int

    def at(self, year: int) -> int:
        """Return when it comes in `year`, in seconds of local time since 1970."""
        return (self._day(year).toordinal() - _EPOCH) * _DAY_S + self.second

    def _day(self, year: int) -> date:
        if self.text[0] == "M":
            month, week, weekday = map(int, self.text[1:].split("."))
            days = [date(year, month, 1) + timedelta(n) for n in range(31)]
            hits = [day for day in days if day.month == month and day.isoweekday() % 7 == weekday]
            return hits[min(week, len(hits)) - 1]
        if self.text[0] == "J":  # 29 February is not counted, so the number is that of any common year
            common = date(2023, 1, 1) + timedelta(int(self.text[1:]) - 1)
            return common.replace(year=year)
        return date(year, 1, 1) + timedelta(int(self.text))


@lru_cache(maxsize=64)
def _changes(text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the times of all changes, ascending, and the offsets before, between and after them."""
    match = _ZONE.fullmatch(text) if len(text) <= MAX_ZONE else None
    if match is None:
        raise _bad(text)
    standard = -_seconds(match["standard"], 24, text)
    if match["start"] is None:
        return (), (standard,)
    summer = standard + 3600 if match["summer"] is None else -_seconds(match["summer"], 24, text)
    start = _Rule(_checked(match["start"], text), _seconds(match["start_time"] or "2", 167, text))
    end = _Rule(_checked(match["end"], text), _seconds(match["end_time"] or "2", 167, text))
    years = range(_FIRST_YEAR, _LAST_YEAR)
    # at the same second the start comes last, and wins: a summer that ends as the next begins has no end
    changes = sorted(
        [(end.at(year) - summer, 0, standard) for year in years]
        + [(start.at(year) - standard, 1, summer) for year in years]
    )
    return tuple(at for at, *_ in changes), (standard, *(offset for *_, offset in changes))


def _seconds(text: str, most_hours: int, zone: str) -> int:
    """Return `[+-]h[:mm[:ss]]` in seconds."""
    hours, minutes, seconds = (*map(int, text.lstrip("+-").split(":")), 0, 0)[:3]
    if hours > most_hours or minutes > 59 or seconds > 59:
        raise _bad(zone)
    total = hours * 3600 + minutes * 60 + seconds
    return -total if text[0] == "-" else total


def _checked(rule: str, zone: str) -> str:
    """Return the date of a rule if it is one."""
    if rule[0] == "M":
        month, week, weekday = map(int, rule[1:].split("."))
        is_good = 1 <= month <= 12 and 1 <= week <= 5 and weekday <= 6
    else:
        is_good = int(rule.lstrip("J")) <= 365 and int(rule.lstrip("J")) >= (rule[0] == "J")
    if not is_good:
        raise _bad(zone)
    return rule


def _bad(text: str) -> TimeTextError:
    return TimeTextError(f"{text[:60]!r} is not a time zone that locks know: for example CET-1CEST,M3.5.0,M10.5.0/3")
