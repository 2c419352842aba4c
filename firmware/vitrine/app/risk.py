"""How unusual an opening would be: a score of 0 to 100 and the rule that gave most of it. Source: SPEC.md section 12.

Learns from the event log what is usual here; keeps it in RAM, a fixed amount. What strangers do counts within a limit
that alone asks nobody known here for anything, and nothing here refuses.
"""

from array import array
from binascii import crc32

from micropython import const

from vitrine.audit import record as fields

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from vitrine.access.token import Token

    class Calendar(Protocol):
        def is_open(self, windows: "Sequence[Sequence[int]]", unix_s: int) -> bool: ...

    class Configuration(Protocol):
        @property
        def calendar(self) -> Calendar: ...
        @property
        def hours(self) -> "Sequence[Sequence[int]]": ...


_OPENS = const((1, 128))  # unlock, hold
_CLOSED = const(1)  # Matter DoorStateEnum
_WRONG_CODE = const(4)
_FORCED = const((5, 6, 129, 130, 131))  # alarms of somebody's hands on the fixture: case, door, switch line, strike
# Refusals of proven holders that are part of a grant: a finger, a second person asked for, a fault, an alarm, no room
_HARMLESS = const((10, 12, 13, 21, 25, 26, 33))

_HOLDERS = const(32)
_OPENINGS = const(64)
_NONE = const(-1)
_TICKS_MASK = const(0x3FFFFFFF)  # the shortest wrap of any target
_LATE_MS = const(60_000)

_DAY_S = const(86400)
_REST_S = const(4 * 3600)  # nobody has opened for so long: a day has ended
_BURST_S = const(600)  # of one holder
_CROWD_S = const(180)  # of all
_BURST_LEAST = const(7)
_BURST_OVER = const(40)  # in 1/16: two and a half more than usual
_LONG_S = const(1200)
_LONG_LEAST_S = const(120)
_STAY_LEAST = const(10 * 16)  # of the usual stay, in 1/16 s
_STAY_MOST = const(900 * 16)
_REFUSED_S = const(1800)
_FORCED_S = const(600)
_NEAR_S = const(1800)
_JUNK_S = const(180)  # without another, one try of a stranger is forgotten every so often
_JUNK_MOST = const(16)

# Sorts of day besides weekdays: Saturdays; Sundays and holidays. Days of the calendar of SPEC.md section 2.
_SATURDAY = const(((64, 0, 1440),))
_SUNDAY = const(((129, 0, 1440),))


class Risk:
    """`configuration` has what is configured now: calendar, hours. `ticks_ms()` is the clock that now_ms is of."""

    def __init__(self, configuration: "Configuration", ticks_ms: "Callable[[], int]") -> None:
        self._configuration = configuration
        self._ticks_ms = ticks_ms
        self._last_ms = ticks_ms()
        self._now_s = _DAY_S  # since the start, so that 0 is long ago
        # holders, by place: who (30 bits), last opened; refusals and when; last stays (bit 0 the latest, 1 is long)
        self._who = array("I", bytes(4 * _HOLDERS))
        self._seen_s = array("I", bytes(4 * _HOLDERS))
        self._refused_s = array("I", bytes(4 * _HOLDERS))
        self._stayed_s = array("I", bytes(4 * _HOLDERS))
        self._refused = bytearray(_HOLDERS)
        self._stays = bytearray(_HOLDERS)
        # a ring of openings: when, whose
        self._opened_s = array("I", bytes(4 * _OPENINGS))
        self._opened_by = array("I", bytes(4 * _OPENINGS))
        self._opened = 0
        # the most at a stretch by a holder, by all: today; and usually, in 1/16, by sort of day
        self._sort = 0
        self._most = [0, 0]
        self._usual = [64, 96, 64, 96, 64, 96]
        self._day_s = 0
        self._stay = 60 * 16  # four of five stays are shorter, in 1/16 s
        self._open_s = 0  # since when the door is open; 0: closed
        self._open_by = _NONE
        self._forced_s = 0
        self._junk = 0
        self._junk_s = 0

    def assess(self, token: "Token", action: int, instant: "tuple[int, int, int]", now_ms: int) -> "tuple[int, str]":
        """Return (score, name of the rule that gave most) of an act that would be granted; (0, "") if it is usual."""
        if action not in _OPENS:
            return 0, ""
        self._pass(now_ms)
        who = _who(token.kid, token.sub, token.cti)
        place = self._place(who)
        score = most = 0
        rule = ""
        for name, points in (
            ("burst", self._burst(who, instant)),
            ("off-shift", self._off_shift(instant)),
            ("long-open", self._long_open(who, place)),
            ("probing", self._probing(place, token.sub is not None)),
        ):
            score += points
            if points > most:
                rule, most = name, points
        return min(score, 100), rule

    def note(self, record: "dict[int, Any]") -> None:
        """Learn from a record: a sink of the event log."""
        kind = record.get(fields.KIND)
        self._pass(self._ticks_ms())
        if kind == fields.LOCK_OPERATION:
            if fields.KID in record and record.get(fields.OPERATION) in _OPENS:
                self._note_opening(record)
        elif kind == fields.DOOR_STATE_CHANGE:
            self._note_door(record.get(fields.DOOR_STATE) == _CLOSED)
        elif kind == fields.LOCK_OPERATION_ERROR or kind == fields.COMMAND_ERROR:
            self._note_refusal(record)
        elif kind == fields.DOOR_LOCK_ALARM:
            alarm = record.get(fields.ALARM)
            if alarm in _FORCED and record.get(fields.COUNT) != 0:
                self._forced_s = self._now_s
            elif alarm == _WRONG_CODE and fields.KID not in record:
                self._note_junk()

    def _burst(self, who: int, instant: "tuple[int, int, int]") -> int:
        """Points if this opening is one too many for a holder, or for all: then only who had part in it."""
        sort = self._sort_of(instant[0], instant[1])
        points = 0
        counts = self._count(who)
        for n in (0, 1) if counts[0] >= 2 else (0,):
            over = counts[n] + 1 - max(_BURST_LEAST, (self._usual[2 * sort + n] + _BURST_OVER) // 16)
            if over >= 0:
                points = max(points, min(80, 50 + 5 * over))
        return points

    def _off_shift(self, instant: "tuple[int, int, int]") -> int:
        hours = self._configuration.hours
        if not hours or not instant[1]:
            return 0
        is_open = self._configuration.calendar.is_open
        now_s = instant[0]
        if is_open(hours, now_s):
            return 0
        return 25 if is_open(hours, now_s - _NEAR_S) or is_open(hours, now_s + _NEAR_S) else 60

    def _long_open(self, who: int, place: int) -> int:
        stays = 0
        if place >= 0 and self._now_s - self._stayed_s[place] < _LONG_S:
            stays = self._stays[place]
        if self._open_s and self._open_by == who and self._is_long(self._now_s - self._open_s):
            stays = stays << 1 | 1
        return (0, 25, 55, 75)[(stays & 1) + (stays >> 1 & 1) + (stays >> 2 & 1)]

    def _probing(self, place: int, has_name: bool) -> int:
        points = 0
        if self._forced_s and self._now_s - self._forced_s < _FORCED_S:
            points = 55
        if place >= 0 and self._refused[place] and self._now_s - self._refused_s[place] < _REFUSED_S:
            points += (0, 10, 25, 60)[min(3, self._refused[place])]
        junk = self._junk_now()
        is_new = place < 0 or not self._seen_s[place]
        if is_new and has_name and self._now_s >= 2 * _DAY_S:
            return min(80, points + min(60, 10 * junk))
        # a stranger can do this to everybody, so by itself it asks nobody known here for anything
        return min(80, points + min(20, 2 * junk))

    def _note_opening(self, record: "dict[int, Any]") -> None:
        who = _who(record[fields.KID], record.get(fields.SUB), record.get(fields.CTI, b""))
        place = self._take(who)
        self._seen_s[place] = self._now_s
        self._refused[place] = 0
        self._forced_s = 0  # this one was asked, and looks after it
        if self._open_s:
            return  # the door is open already: nothing more is opened
        self._open_by = who
        last_s = self._opened_s[(self._opened - 1) % _OPENINGS]
        if self._now_s - last_s >= _REST_S or self._now_s - self._day_s >= _DAY_S:
            self._learn()
            self._sort = self._sort_of(record[fields.TIME], record[fields.TIME_STATE])
            self._day_s = self._now_s
        at = self._opened % _OPENINGS
        counts = self._count(who)
        self._opened_s[at] = self._now_s
        self._opened_by[at] = who
        self._opened += 1
        for n in (0, 1):
            self._most[n] = max(self._most[n], counts[n] + 1)

    def _note_door(self, is_closed: bool) -> None:
        if not is_closed:
            if not self._open_s:
                self._open_s = self._now_s
            return
        if not self._open_s:
            return
        stay_s = self._now_s - self._open_s
        place = _NONE if self._open_by == _NONE else self._place(self._open_by)
        if place >= 0:
            self._stays[place] = (self._stays[place] << 1 | self._is_long(stay_s)) & 7
            if self._stays[place] & 1:
                self._stayed_s[place] = self._now_s
        # up four times as far as down: comes to rest where one stay of five is longer
        self._stay += self._stay // 8 if stay_s * 16 > self._stay else -(self._stay // 32)
        self._stay = min(max(self._stay, _STAY_LEAST), _STAY_MOST)
        self._open_s = 0
        self._open_by = _NONE

    def _note_refusal(self, record: "dict[int, Any]") -> None:
        if not record.get(fields.AUTHENTIC) or fields.KID not in record:
            self._note_junk()
            return
        if record.get(fields.REASON) in _HARMLESS:
            return
        place = self._take(_who(record[fields.KID], record.get(fields.SUB), record.get(fields.CTI, b"")))
        if self._now_s - self._refused_s[place] >= _REFUSED_S:
            self._refused[place] = 0
        self._refused[place] = min(3, self._refused[place] + 1)
        self._refused_s[place] = self._now_s

    def _note_junk(self) -> None:
        self._junk = min(_JUNK_MOST, self._junk_now() + 1)
        self._junk_s = self._now_s

    def _junk_now(self) -> int:
        return max(0, self._junk - (self._now_s - self._junk_s) // _JUNK_S)

    def _is_long(self, stay_s: int) -> bool:
        return stay_s > max(_LONG_LEAST_S, self._stay * 3 // 16)

    def _learn(self) -> None:
        """The day is over: what is usual comes to rest where one day of five has more, however much more it has."""
        for n in (0, 1):
            at = 2 * self._sort + n
            usual = self._usual[at]
            self._usual[at] = usual + 16 if self._most[n] * 16 > usual else max(16, usual - 4)
            self._most[n] = 0

    def _count(self, who: int) -> "tuple[int, int]":
        """Return how many openings there were just before: by `who` within 10 minutes, by all within 3."""
        own = crowd = 0
        for back in range(1, min(self._opened, _OPENINGS) + 1):
            at = (self._opened - back) % _OPENINGS
            age_s = self._now_s - self._opened_s[at]
            if age_s >= _BURST_S:
                break
            own += self._opened_by[at] == who
            crowd += age_s < _CROWD_S
        return own, crowd

    def _sort_of(self, unix_s: int, time_state: int) -> int:
        """Return 0 for a weekday, 1 for a Saturday, 2 for a Sunday or holiday; as before while the time is unknown."""
        if not time_state:
            return self._sort
        is_open = self._configuration.calendar.is_open
        return 1 if is_open(_SATURDAY, unix_s) else 2 if is_open(_SUNDAY, unix_s) else 0

    def _place(self, who: int) -> int:
        """Return the place of a holder seen here before, or -1."""
        for place in range(_HOLDERS):
            if self._who[place] == who:
                return place
        return _NONE

    def _take(self, who: int) -> int:
        """Return the place of a holder, if need be that of the one who was not seen for longest."""
        place = self._place(who)
        if place < 0:
            place = 0
            for other in range(_HOLDERS):
                if self._seen_s[other] < self._seen_s[place]:
                    place = other
            self._who[place] = who
            # seen is who has opened: to be refused makes nobody known
            self._refused[place] = self._stays[place] = self._seen_s[place] = 0
        return place

    def _pass(self, now_ms: int) -> None:
        """Let time pass up to now, in whole seconds. It never wraps, nor goes back for who read the clock before."""
        passed_ms = (now_ms - self._last_ms) & _TICKS_MASK
        if passed_ms < _TICKS_MASK - _LATE_MS:
            self._now_s += passed_ms // 1000
            self._last_ms = (self._last_ms + passed_ms // 1000 * 1000) & _TICKS_MASK


def _who(kid: bytes, sub: "bytes | None", cti: bytes) -> int:
    """Return 30 bits for a holder: a person if the token has one, else the token. No holder can choose them."""
    return (crc32(kid + b"c" + cti if sub is None else kid + b"s" + sub) & 0x3FFFFFFF) | 1
