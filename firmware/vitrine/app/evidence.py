"""The sealed journal as the place where events end: an event sink, and the head that witnesses see.

Owns what happens when there is no journal, or when it fails. A lock that was never given one (no key store) keeps the
event log's chain alone. A lock whose journal cannot be taken up, or takes no more records, refuses every grant from
then on (`is_sound`): what it would do could not be proved. Free egress goes on.
"""

import asyncio

from micropython import const

from vitrine.audit import faults
from vitrine.audit.outbox import Outbox

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable

    from vitrine.audit.journal import Journal

    from .event_log import EventLog, Record

_TEND_MS = const(200)


class Evidence:
    """Opens the journal by `open_journal()` (JournalError, OSError) and takes every event from now on.

    record: the event log's. outbox: what may leave the lock `lock_id`, or None without a journal.
    """

    def __init__(self, events: "EventLog", open_journal: "Callable[[], Journal]", lock_id: str) -> None:
        self._events = events
        self.record = events.record
        self.journal: "Journal | None" = None
        self.outbox: "Outbox | None" = None
        self.is_sound = True
        try:
            self.journal = open_journal()
        except faults.JournalError as error:
            if error.fault != faults.NOT_PROVISIONED:
                self._fail(error)
        except OSError as error:
            self._fail(error)
        if self.journal is not None:
            self.outbox = Outbox(self.journal, lock_id)
            events.add_sink(self.keep)

    @property
    def count(self) -> int:
        """How many events there are: the journal's count, over all starts; without one, since this start."""
        return self._events.count if self.journal is None else self.journal.count

    @property
    def head(self) -> bytes:
        """The hash over all of them (SPEC.md 8.6)."""
        return self._events.head if self.journal is None else self.journal.head

    def keep(self, record: "Record") -> None:
        """Make one event durable. An event sink: never raises, and goes on trying after a failure."""
        if self.journal is None:
            return
        try:
            self.journal.append(record)
        except Exception as error:  # noqa: BLE001
            # one that is already failing must not record its own failures for ever
            if self.is_sound:
                self._fail(error)

    async def run(self, vote, is_busy: "Callable[[], bool]") -> None:
        """Erase ahead (45 ms on a typical NOR flash) and write folded refusals, while nobody waits: not `is_busy()`."""
        while True:
            vote()
            journal = self.journal
            if journal is not None and not is_busy():
                try:
                    while journal.tend() and not is_busy():
                        await asyncio.sleep_ms(1)
                except faults.JournalError as error:
                    if self.is_sound:
                        self._fail(error)
            await asyncio.sleep_ms(_TEND_MS)

    def _fail(self, error: Exception) -> None:
        self.is_sound = False
        self._events.fault("journal", error)
