"""What happened: one record per event, stamped, chained and handed to every sink.

Keeps no records: evidence is a sink's business. Kinds and keys are those of audit.record.
"""

import hashlib

from micropython import const

from vitrine.audit.record import DETAIL, DETAIL_MAX, FAULT, KIND, TIME, TIME_STATE
from vitrine.codec import cbor

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class ClockDriver(Protocol):
        def reading(self) -> tuple[int, int]: ...

    Record = dict[int, Any]


class EventLog:
    """Stamps by `clock`, whose reading() is (Unix seconds, time state).

    count: events recorded since start. head: 32 bytes, SHA-256(head before ‖ encoded record), zeros at start.
    dropped: how many sinks failed.
    """

    def __init__(self, clock: "ClockDriver", sink: "Callable[[Record], None] | None" = None) -> None:
        self._clock = clock
        self._sinks: "list[Callable[[Record], None]]" = [] if sink is None else [sink]
        self.count = 0
        self.head = bytes(32)
        self.dropped = 0

    def add_sink(self, sink: "Callable[[Record], None]") -> None:
        """Hand every record to `sink` from now on. A sink that raises is dropped: it may not cost the others theirs."""
        self._sinks.append(sink)

    def record(self, kind: int, fields: "Record | None" = None) -> None:
        """Record an event: `fields` holds SPEC.md section 7's keys that apply, without kind and time."""
        record = dict(fields) if fields else {}
        record[KIND] = kind
        record[TIME], record[TIME_STATE] = self._clock.reading()
        self.count += 1
        self.head = hashlib.sha256(self.head + cbor.encode(record)).digest()
        failed = None
        for sink in self._sinks:
            try:
                sink(record)
            except Exception as error:  # noqa: BLE001
                failed = sink, error
        if failed is not None:
            self._drop(*failed)

    def fault(self, name: str, error: BaseException) -> None:
        """Record that `name` failed with `error`: its type only, as a message may hold what a peer sent."""
        self.record(FAULT, {DETAIL: (name + ":" + type(error).__name__)[:DETAIL_MAX]})

    def _drop(self, sink: "Callable[[Record], None]", error: Exception) -> None:
        self._sinks.remove(sink)
        self.dropped += 1
        self.fault("sink", error)
