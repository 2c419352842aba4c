"""Refusals in a flood become counts, so that who hammers at the lock cannot write its flash full (SPEC.md 7.1)."""

from micropython import const

from . import record as r

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

PLACES = const(8)
PLACE_MS = const(30_000)
FIRST_COUNT = const(8)
MAX_AGE_MS = const(600_000)
MAX_KINDS = const(16)  # a peer chooses what is refused, but not how much we remember of it
_MASK = const(0x3FFFFFFF)  # ticks wrap at 2**30 ms on the chip; the lowest 30 bits are right everywhere
_MAX_EPISODE = const(1 << 24)

_ALIKE = (r.KIND, r.REASON, r.ERROR, r.OPERATION, r.SOURCE, r.LINK)
_KEPT_FIELDS = _ALIKE + (r.TIME, r.TIME_STATE, r.DOOR_STATE, r.LOCK_STATE)


class _Count:
    """Events alike that were not written one by one. `pending` of them are in no record yet."""

    def __init__(self, record: "dict[int, Any]", now_ms: int) -> None:
        self.record = record
        self.since = record.get(r.TIME)
        self.since_ms = now_ms
        self.pending = 0
        self.limit = FIRST_COUNT


class Folding:
    """Decides for each refused record whether it is written, counted, or due as a count. Time comes in as ticks."""

    def __init__(self, now_ms: int) -> None:
        self.folded = 0  # events counted instead of written, since the start
        self._places = PLACES
        self._refilled_ms = now_ms
        self._counts: "dict[tuple[Any, ...], _Count]" = {}

    def take(self, record: "dict[int, Any]", now_ms: int) -> "dict[int, Any] | None":
        """Return the record to write now: `record` itself, a count that includes it, or None."""
        self._refill(now_ms)
        if self._places:
            self._places -= 1
            return record
        self.folded += 1
        alike = tuple(record.get(key) for key in _ALIKE)
        fields = _KEPT_FIELDS
        if alike not in self._counts and len(self._counts) >= MAX_KINDS:
            alike = (record[r.KIND],)
            fields = (r.KIND, r.TIME, r.TIME_STATE)
        count = self._counts.get(alike)
        if count is None:
            count = _Count({key: record[key] for key in fields if key in record}, now_ms)
            self._counts[alike] = count
        elif not count.pending:
            count.since = record.get(r.TIME)
            count.since_ms = now_ms
        count.pending += 1
        for key in (r.TIME, r.TIME_STATE):
            if key in record:
                count.record[key] = record[key]
        if count.pending < count.limit:
            return None
        # doubling, so that a flood of n leaves log2(n) records, and a power cut loses at most half of it
        count.limit = min(2 * count.limit, _MAX_EPISODE)
        return _written(count)

    def due(self, now_ms: int) -> "dict[int, Any] | None":
        """Return a count that has waited long enough, or None. To be called now and then when the lock is idle."""
        for alike in self._counts:
            count = self._counts[alike]
            if (now_ms - count.since_ms) & _MASK >= MAX_AGE_MS:
                if not count.pending:  # this flood is over
                    del self._counts[alike]
                    return self.due(now_ms)
                count.since_ms = now_ms
                return _written(count)
        return None

    def _refill(self, now_ms: int) -> None:
        come_back = ((now_ms - self._refilled_ms) & _MASK) // PLACE_MS
        if come_back:
            self._refilled_ms = (self._refilled_ms + come_back * PLACE_MS) & _MASK
            self._places = min(PLACES, self._places + come_back)


def _written(count: _Count) -> "dict[int, Any]":
    record = dict(count.record)
    record[r.COUNT] = count.pending
    if count.since is not None:
        record[r.SINCE] = count.since
    count.pending = 0
    return record
