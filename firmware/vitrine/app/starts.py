"""Starts that ended too soon: a supply that breaks down again and again under the strike's current (SPEC.md 7.2).

Counts starts in one NVS integer: one more at each start, none again when a start has lasted for a minute.
"""

from micropython import const

from vitrine.door.ticks import ticks_add, ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Protocol

    from .event_log import EventLog

    class Store(Protocol):
        def load(self) -> "int | None": ...
        def save(self, value: int) -> None: ...


_SHORT_MS = const(60_000)
_MOST = const(1_000)  # counted no further: what follows from it does not change


class Starts:
    """Starts(store, events, now_ms): made once, at the start. store: drivers.nvs.Integer("vitrine", "starts").

    ended_soon: how many starts in a row, right before this one, each ended within a minute; 0 once this one has not.
    A store that fails is a Fault record, and nothing else: it must not keep a lock from starting.
    """

    def __init__(self, store: "Store", events: "EventLog", now_ms: int) -> None:
        self._store = store
        self._events = events
        self._until_ms = ticks_add(now_ms, _SHORT_MS)
        self._is_short = True
        self.ended_soon = 0
        try:
            self.ended_soon = min(store.load() or 0, _MOST)
        except OSError as error:
            events.fault("starts", error)
        self._save(self.ended_soon + 1)

    def is_loop(self, limit: int, now_ms: int) -> bool:
        """Tell whether `limit` starts in a row ended too soon, and this one has yet to last. A limit of 0: never."""
        if self._is_short and ticks_diff(now_ms, self._until_ms) >= 0:
            self._is_short = False
            self.ended_soon = 0
            self._save(0)
        return 0 < limit <= self.ended_soon

    def _save(self, count: int) -> None:
        try:
            self._store.save(count)
        except OSError as error:
            self._events.fault("starts", error)
