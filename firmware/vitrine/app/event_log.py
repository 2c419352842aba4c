"""What happened: one record per event, stamped, chained and handed to every sink.

Owns SPEC.md section 7's kinds and keys. Keeps no records: evidence is a sink's business.
"""

import hashlib

from micropython import const

from vitrine.codec import cbor

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class ClockDriver(Protocol):
        def reading(self) -> tuple[int, int]: ...

    Record = dict[int, Any]

# Kinds: 0 to 4 are Matter's DoorLock events
DOOR_LOCK_ALARM = const(0)
DOOR_STATE_CHANGE = const(1)
LOCK_OPERATION = const(2)
LOCK_OPERATION_ERROR = const(3)
START = const(128)
FAULT = const(129)
CONFIGURATION_CHANGE = const(130)
TIME_CHANGE = const(131)
IDENTIFY = const(132)

# Keys
KIND = const(1)
TIME = const(2)
TIME_STATE = const(3)
REASON = const(4)
OPERATION = const(5)
SOURCE = const(6)
SUB = const(7)
CTI = const(8)
REF = const(9)
DOOR_STATE = const(10)
ALARM = const(11)
ERROR = const(12)
KID = const(13)
COUNT = const(14)
DETAIL = const(15)
AUTHENTIC = const(16)
LOCK_STATE = const(17)
LINK = const(18)

DETAIL_MAX = const(32)


class EventLog:
    """Stamps by `clock`, whose reading() is (Unix seconds, time state).

    count: events recorded since start. head: 32 bytes, SHA-256(head before ‖ encoded record), zeros at start.
    dropped: how many sinks failed.
    """

    def __init__(self, clock: "ClockDriver") -> None:
        self._clock = clock
        self._sinks: "list[Callable[[Record], None]]" = []
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
