"""Local time and weekly windows, in whole numbers.

`Zone` reads a POSIX TZ text with its rule (IEEE Std 1003.1 section 8.3, with the hours of RFC 9636 section 3.3.1:
-167 to 167). A daylight saving name without a rule is refused: its meaning is left to the implementation.
`Calendar` knows the windows of SPEC.md section 2, claim -70001, and the holidays of section 6.1.
"""

from micropython import const

from ..codec import cbor

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Rule = tuple[int, int, int, int, int]  # kind, month or day, week, weekday, second of the day

MAX_ZONE_SIZE = const(48)
HOLIDAY = const(128)

_MINUTES_PER_DAY = const(1440)
_ALL_DAYS = const(255)
_DAY_S = const(86400)
_HOUR_S = const(3600)
_DEFAULT_CHANGE_S = const(7200)  # 02:00
_MAX_OFFSET_HOURS = const(24)
_MAX_CHANGE_HOURS = const(167)
_FAR_S = const(1 << 60)
_THURSDAY = const(4)  # 1970-01-01, with Sunday = 0

_MONTH_RULE = const(0)
_JULIAN_RULE = const(1)  # never counts 29 February
_YEAR_DAY_RULE = const(2)  # counts it


class ZoneError(ValueError):
    """Not a POSIX TZ text with a whole rule."""


class Zone:
    """A time zone. Not safe for use from several threads: it remembers the period that it looked up last."""

    def __init__(self, posix_tz: str) -> None:
        """Read e.g. `CET-1CEST,M3.5.0,M10.5.0/3`; raise ZoneError for anything that is not one."""
        text = _Text(posix_tz)
        text.name()
        self._standard_s = -text.time(_MAX_OFFSET_HOURS)  # POSIX counts westward
        self._summer_s = self._standard_s + _HOUR_S
        # when the summer starts and ends, each in the time that holds before: (rule, its offset, whether it starts)
        self._changes: "list[tuple[Rule, int, bool]]" = []
        if not text.is_at_end():
            text.name()
            if not text.is_at(","):
                self._summer_s = -text.time(_MAX_OFFSET_HOURS)
            self._changes.append((text.rule(), self._standard_s, True))
            self._changes.append((text.rule(), self._summer_s, False))
            if not text.is_at_end():
                raise ZoneError("zone: text after the rule")
        self._offset_s = self._standard_s
        self._from_s = 0
        self._until_s = 0

    def local(self, unix_s: int) -> "tuple[int, int]":
        """Return (weekday bit, minute of the day) at `unix_s`: Sunday 1 ... Saturday 64, and 0 to 1439."""
        local_s = unix_s + self.offset_s(unix_s)
        return 1 << (local_s // _DAY_S + _THURSDAY) % 7, local_s % _DAY_S // 60

    def offset_s(self, unix_s: int) -> int:
        """Return what is added to UTC at `unix_s`, in seconds."""
        if self._changes and not self._from_s <= unix_s < self._until_s:
            self._look_up(unix_s)
        return self._offset_s

    def _look_up(self, unix_s: int) -> None:
        """Set the offset at `unix_s` and the period that it holds for."""
        from_s = -_FAR_S
        until_s = _FAR_S
        is_summer = False
        # the estimate is at most one year off, and a change at most a week outside its year
        year = 1970 + unix_s // _DAY_S * 400 // 146097
        for y in range(year - 3, year + 4):
            for rule, offset_s, starts_summer in self._changes:
                at_s = _day(rule, y) * _DAY_S + rule[4] - offset_s
                if at_s > unix_s:
                    until_s = min(until_s, at_s)
                # a summer that ends the moment the next one starts lasts for ever: start wins
                elif at_s > from_s or (at_s == from_s and starts_summer):
                    from_s = at_s
                    is_summer = starts_summer
        self._offset_s = self._summer_s if is_summer else self._standard_s
        self._from_s = from_s
        self._until_s = until_s


class Calendar:
    """The local dates of a zone, some of which are holidays: list of [day, n], n days from this one on.

    A day is a local date, counted from 1970-01-01.
    """

    def __init__(self, zone: Zone, holidays: "Iterable[Sequence[int]]") -> None:
        self._zone = zone
        self._holidays = holidays

    def day_bit(self, day: int) -> int:
        """Return the bit of a day in windows: Sunday 1 ... Saturday 64, or HOLIDAY in its place."""
        for first, count in self._holidays:
            if first <= day < first + count:
                return HOLIDAY
        return 1 << (day + _THURSDAY) % 7

    def is_open(self, windows: "Iterable[Sequence[int]]", unix_s: int) -> bool:
        """Tell whether `unix_s` lies within one of `windows`: [days mask, start minute, end minute], local time.

        The end is exclusive; a window that ends at or before its start runs over midnight, and belongs to the days it
        starts on.
        """
        local_s = unix_s + self._zone.offset_s(unix_s)
        minute = local_s % _DAY_S // 60
        today = self.day_bit(local_s // _DAY_S)
        yesterday = self.day_bit(local_s // _DAY_S - 1)
        for days, start, end in windows:
            if start < end:
                if days & today and start <= minute < end:
                    return True
            elif (days & today and minute >= start) or (days & yesterday and minute < end):
                return True
        return False


def parse_windows(value: object, low: int, high: int) -> "list[list[int]]":
    """Return decoded CBOR as `low` to `high` windows; raise ValueError for anything else."""
    if not cbor.is_array(value) or not low <= len(value) <= high:
        raise ValueError("windows")
    for window in value:
        if not cbor.is_array(window) or len(window) != 3:
            raise ValueError("window")
        days, start, end = window
        if not _is_whole(days, 1, _ALL_DAYS) or not _is_whole(start, 0, _MINUTES_PER_DAY):
            raise ValueError("window")
        if not _is_whole(end, 0, _MINUTES_PER_DAY):
            raise ValueError("window")
    return value


def _is_whole(value: object, low: int, high: int) -> bool:
    # `type`, because True is an int in CPython
    return type(value) is int and low <= value <= high


class _Text:
    """A cursor over a TZ text."""

    def __init__(self, text: object) -> None:
        if not isinstance(text, str) or not 0 < len(text) <= MAX_ZONE_SIZE:
            raise ZoneError("zone: 1 to 48 characters")
        self._text = text
        self._at = 0

    def is_at_end(self) -> bool:
        return self._at == len(self._text)

    def is_at(self, characters: str) -> bool:
        """Tell whether the next character is one of `characters`."""
        return not self.is_at_end() and self._text[self._at] in characters

    def name(self) -> None:
        """Skip a name: three letters or more, or `<...>` with digits and signs too. It has no meaning here."""
        is_quoted = self._skip("<")
        start = self._at
        while not self.is_at_end() and _is_in_name(self._text[self._at], is_quoted):
            self._at += 1
        if self._at - start < 3 or (is_quoted and not self._skip(">")):
            raise ZoneError("zone: bad name")

    def time(self, max_hours: int) -> int:
        """Return `[+-]h[:mm[:ss]]` in seconds."""
        is_negative = self._skip("-")
        if not is_negative:
            self._skip("+")
        seconds = self._number(3, max_hours) * _HOUR_S
        if self._skip(":"):
            seconds += self._number(2, 59) * 60
            if self._skip(":"):
                seconds += self._number(2, 59)
        return -seconds if is_negative else seconds

    def rule(self) -> "Rule":
        """Return `,date[/time]`."""
        self._need(",")
        month = week = weekday = 0
        if self._skip("M"):
            kind = _MONTH_RULE
            month = self._number(2, 12)
            self._need(".")
            week = self._number(1, 5)
            self._need(".")
            weekday = self._number(1, 6)
            if not month or not week:
                raise ZoneError("zone: month or week 0")
        elif self._skip("J"):
            kind = _JULIAN_RULE
            month = self._number(3, 365)
            if not month:
                raise ZoneError("zone: day 0")
        else:
            kind = _YEAR_DAY_RULE
            month = self._number(3, 365)
        change_s = self.time(_MAX_CHANGE_HOURS) if self._skip("/") else _DEFAULT_CHANGE_S
        return kind, month, week, weekday, change_s

    def _skip(self, character: str) -> bool:
        if not self.is_at(character):
            return False
        self._at += 1
        return True

    def _need(self, character: str) -> None:
        if not self._skip(character):
            raise ZoneError("zone: bad rule")

    def _number(self, max_digits: int, high: int) -> int:
        start = self._at
        while self.is_at("0123456789"):
            self._at += 1
        if not 0 < self._at - start <= max_digits:
            raise ZoneError("zone: number expected")
        number = int(self._text[start : self._at])
        if number > high:
            raise ZoneError("zone: number too large")
        return number


def _is_in_name(character: str, is_quoted: bool) -> bool:
    if "a" <= character <= "z" or "A" <= character <= "Z":
        return True
    return is_quoted and ("0" <= character <= "9" or character in "+-")


def _day(rule: "Rule", year: int) -> int:
    """Return the day that `rule` names in `year`, in days since 1970-01-01."""
    kind, n, week, weekday, _ = rule
    if kind == _YEAR_DAY_RULE:
        return _date(year, 1, 1) + n
    if kind == _JULIAN_RULE:
        # counted from 1 March, which is day 60, so that 29 February does not count
        return _date(year, 1, 1) + n - 1 if n < 60 else _date(year, 3, 1) + n - 60
    first = _date(year, n, 1)
    day = first + (weekday - first - _THURSDAY) % 7 + 7 * (week - 1)
    next_month = _date(year, n + 1, 1) if n < 12 else _date(year + 1, 1, 1)
    # week 5 means the last one
    return day - 7 if day >= next_month else day


def _date(year: int, month: int, day: int) -> int:
    """Return a Gregorian date in days since 1970-01-01, counting in years that start on 1 March."""
    if month < 3:
        year -= 1
        month += 12
    day_of_year = (153 * (month - 3) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + day_of_year - 719468
