"""The sealed journal as the place where events end: an event sink, and the head that witnesses see.

Owns what happens when there is no journal, or when it fails (SPEC.md 8.7). A lock that was never given one (no key
store) keeps the event log's chain alone. A lock whose journal cannot be taken up, or takes no more records, refuses
every grant (`is_sound`): what it would do could not be proved. Free egress goes on.
"""

import asyncio
import gc

from micropython import const

from vitrine.audit import faults
from vitrine.audit.outbox import Outbox
from vitrine.audit.record import COUNT, DETAIL, DETAIL_MAX, FAULT, RecordError

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable

    from vitrine.audit.journal import Journal

    from .event_log import EventLog, Record

_TEND_MS = const(200)
_AGAIN_ROUNDS = const(50)  # of tending: 10 s
_LATEST_ROUNDS = const(300)  # 60 s: strangers can always be in session


class Evidence:
    """Opens the journal by `open_journal()` (JournalError, OSError) and takes every event from now on.

    record: the event log's. outbox: what may leave the lock `lock_id`, or None without a journal. missed: events that
    were to be kept and were not; one that grows over a grant means that the grant itself is not on record.
    """

    def __init__(self, events: "EventLog", open_journal: "Callable[[], Journal]", lock_id: str) -> None:
        self._events = events
        self._open_journal = open_journal
        self.record = events.record
        self.journal: "Journal | None" = None
        self.outbox: "Outbox | None" = None
        self.is_sound = True
        self.missed = 0
        self._told = 0  # of those, how many a record speaks of
        self._is_in_doubt = False
        self._is_telling = False
        self._rounds = 0
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
        if self._is_in_doubt:
            self.missed += 1
            return
        try:
            self.journal.append(record)
        except Exception as error:  # noqa: BLE001
            self.missed += 1
            self._fail(error)

    async def run(self, vote, is_busy: "Callable[[], bool]") -> None:
        """Erase ahead (45 ms on a typical NOR flash) and write folded refusals, while nobody waits: not `is_busy()`."""
        while True:
            vote()
            if self._is_in_doubt:
                self._take_up_again(is_busy())
            elif not is_busy():
                await self._tend(is_busy)
            await asyncio.sleep_ms(_TEND_MS)

    async def _tend(self, is_busy: "Callable[[], bool]") -> None:
        try:
            while self.journal is not None and self.journal.tend() and not is_busy():
                await asyncio.sleep_ms(1)
        except Exception as error:  # noqa: BLE001
            self._fail(error)

    def _take_up_again(self, is_busy: bool) -> None:
        """After 10 s, or 60 if `is_busy`, do what a start does: what lies in flash decides where the journal stands."""
        self._rounds += 1
        if self._rounds < (_LATEST_ROUNDS if is_busy else _AGAIN_ROUNDS) or self.journal is None or self.outbox is None:
            return
        self._rounds = 0
        gc.collect()
        try:
            journal = self._open_journal()
        except (faults.JournalError, OSError, MemoryError):
            return  # that it fails is on record, as far as can be; in 10 s again
        journal.folding = self.journal.folding
        self.journal = journal
        self.outbox.follow(journal)
        self._is_in_doubt = False
        self.is_sound = True
        missed, self._told = self.missed - self._told, self.missed
        self._events.record(FAULT, {DETAIL: "journal:resumed", COUNT: missed})

    def _fail(self, error: Exception) -> None:
        """Tell of `error`, and decide what it means.

        Not a record: a mistake of ours which costs that event, and nothing else; a stranger who found the way to make
        one must not shut the door to all. No room: no grants until a start tries the bad sectors again. Anything else,
        no memory for one, came in the middle of something, and where the journal stands in RAM may be wrong.
        """
        name = type(error).__name__
        if isinstance(error, faults.JournalError):
            name = str(error)
        elif not isinstance(error, RecordError):
            self._is_in_doubt = True
        was_sound = self.is_sound
        self.is_sound = was_sound and isinstance(error, RecordError)
        # one that is already failing must not record its own failures for ever
        if was_sound and not self._is_telling:
            self._is_telling = True
            self._events.record(FAULT, {DETAIL: ("journal:" + name)[:DETAIL_MAX]})
            self._is_telling = False
