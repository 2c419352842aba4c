"""Keeps what the lock knows of the time: takes statements, hears hints, keeps the floor, puts each change on record.

Source: SPEC.md section 5.2. What the clock may be believed is drivers.clock's business, at every look; here is what
has to be done about it.
"""

import asyncio

from micropython import const

from vitrine.access import reasons
from vitrine.access.trusted_time import COASTING, TRUSTED, UNTRUSTED, merge, statement_bounds
from vitrine.audit.record import DETAIL, ERROR_BOUND, FAULT, SINCE, TIME_CHANGE
from vitrine.door.ticks import ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable

    from vitrine.access.freshness import Freshness

    from .event_log import Record

_LOOK_MS = const(1000)
_NONCE_MS = const(300_000)  # how long a nonce is good, so how long one that was used has to be remembered
# The floor is written when it is this old, at the first moment without anybody in session, or at all.
# About 1,800 writes a day: a page of NVS takes 126, so the two pages that a lock's blobs leave free at least are erased
# 7 times a day each, and last 38 years at the 100,000 erases of common NOR flash.
_FLOOR_EARLY_S = const(50)
_FLOOR_LATE_S = const(58)
_FLOOR_LEAST_S = const(20)  # with a clock so unsure that its floor is old when it is written
_SAME_MS = const(1000)  # nonces that are made so close together are the same one to us: callers measure not to the ms
_U32 = const(0xFFFFFFFF)
_LATEST_S = const(4_000_000_000)  # in 2096: above, records would soon have no room for the time, and be lost


class Timekeeper:
    """Timekeeper(clock, freshness, floor_store, record): `run` is its task.

    clock: drivers.clock.Clock. freshness: its tick() is done here. floor_store: load() -> Unix seconds or None,
    save(Unix seconds), both may raise OSError. record(kind, fields) is the event log's.
    """

    def __init__(
        self, clock, freshness: "Freshness", floor_store, record: "Callable[[int, Record | None], None]"
    ) -> None:
        """Raise the clock's floor to the stored one: at once, before anybody asks for the time."""
        self._clock = clock
        self._freshness = freshness
        self._store = floor_store
        self._record = record
        self._floor_s: "int | None" = None
        self._is_failing = False
        self._is_told = False
        try:
            self._floor_s = floor_store.load()
        except OSError:
            self._is_failing = True
        clock.raise_floor(self._floor_s or 0)
        now_s, state = clock.reading()
        # a start says nothing of a time that was untrusted before, unless this lock has known better
        is_news = state == UNTRUSTED and clock.cause and (self._floor_s is not None or clock.cause != "lost")
        self._state = TRUSTED if is_news else state
        # the time and the ticks at the last look; at the first the time that the lock knew before
        self._seen_s = now_s if self._floor_s is None else self._floor_s
        self._seen_ms = clock.ticks_ms()
        self._used_ms: "int | None" = None  # when the last nonce was made that brought a statement

    def take(self, unix_s: int, age_ms: int, fields: "Record | None" = None) -> int:
        """Set the clock by a statement that was verified; return GRANTED or why not, from access.reasons.

        unix_s: what it says. age_ms: how old its nonce is now (ask again after the signature was verified: that takes
        time). fields: what the record shall have besides.

        COMMAND_MALFORMED: no time. FRESHNESS_MISSING: the nonce was used, or is older than one that was.
        TIME_UNTRUSTED: below the floor. SEQUENCE_STALE: the lock knows the time as well or better.
        """
        clock = self._clock
        entered_ms = clock.ticks_ms()
        if type(unix_s) is not int or not 0 <= unix_s <= _LATEST_S:
            return reasons.COMMAND_MALFORMED
        self._watch()
        before_s = clock.reading()[0]
        known = clock.bounds()
        now_ms = clock.ticks_ms()
        age_ms += ticks_diff(now_ms, entered_ms)
        if self._used_ms is not None and ticks_diff(now_ms, self._used_ms) <= age_ms:
            return reasons.FRESHNESS_MISSING
        told = statement_bounds(unix_s, age_ms, clock.settings.drift_ppm)
        if known is not None and told[1] - told[0] >= known[1] - known[0]:
            return reasons.SEQUENCE_STALE
        bounds = merge(known, told, clock.floor_s * 1000)
        if bounds is None:
            return reasons.TIME_UNTRUSTED
        unix_ms = (bounds[0] + bounds[1]) // 2
        clock.set_trusted(unix_ms, bounds[1] - unix_ms)
        self._used_ms = now_ms - age_ms + _SAME_MS
        self._state = clock.reading()[1]
        self._tell("statement", before_s, fields)
        return reasons.GRANTED

    def hint(self, unix_ms: int) -> None:
        """Hear what a time server says that nobody vouches for: it moves a trusted clock within its bounds."""
        self._watch()
        before_s = self._clock.reading()[0]
        if self._clock.trim(unix_ms):
            self._tell("sntp", before_s)

    async def run(self, vote, is_busy: "Callable[[], bool]") -> None:
        """Look at the clock every second, for ever. is_busy: whether somebody is in session."""
        while True:
            vote()
            self._freshness.tick(self._clock.ticks_ms())
            self._watch()
            self._keep_floor(is_busy)
            await asyncio.sleep_ms(_LOOK_MS)

    def _watch(self) -> None:
        """Put on record what became of the clock since the last look, once."""
        clock = self._clock
        now_s, state = clock.reading()
        now_ms = clock.ticks_ms()
        if self._used_ms is not None and ticks_diff(now_ms, self._used_ms) > _NONCE_MS:
            self._used_ms = None
        if state != self._state:
            self._state = state
            before_s = self._seen_s + ticks_diff(now_ms, self._seen_ms) // 1000
            self._tell(clock.cause if state == UNTRUSTED else "coasting" if state == COASTING else "set", before_s)
        self._seen_s, self._seen_ms = now_s, now_ms

    def _tell(self, detail: str, before_s: int, fields: "Record | None" = None) -> None:
        """Record a change of the time, which was `before_s`."""
        record = dict(fields) if fields else {}
        self._seen_s, state, error_s = self._clock.instant()
        self._seen_ms = self._clock.ticks_ms()
        record[DETAIL] = detail
        record[SINCE] = min(max(before_s, 0), _U32)
        if state != UNTRUSTED:
            record[ERROR_BOUND] = error_s
        self._record(TIME_CHANGE, record)

    def _keep_floor(self, is_busy: "Callable[[], bool]") -> None:
        """Make durable what time it is at least: never more than 60 s old as long as the error is below 38 s."""
        bounds = self._clock.bounds()
        if bounds is not None and self._is_floor_due(bounds[0] // 1000, is_busy):
            self._floor_s = bounds[0] // 1000
            self._clock.raise_floor(self._floor_s)
            try:
                self._store.save(self._floor_s)
                self._is_failing = False
            except OSError:
                self._is_failing = True  # again when the next one is due
        if self._is_failing != self._is_told:
            self._is_told = self._is_failing
            if self._is_failing:
                self._record(FAULT, {DETAIL: "floor:OSError"})

    def _is_floor_due(self, low_s: int, is_busy: "Callable[[], bool]") -> bool:
        if self._floor_s is None:
            return True
        now_s = self._clock.reading()[0]
        limit_s = _FLOOR_LATE_S if is_busy() else _FLOOR_EARLY_S
        return now_s - self._floor_s >= max(limit_s, now_s - low_s + _FLOOR_LEAST_S)
