"""The journal: every event durable when `append` returns, sealed, in a ring over raw flash (SPEC.md section 8).

Owns the order of writing and what is found again at a start. Synchronous, for the event loop's thread only; nothing
here waits but for the flash itself. An append takes three programs (*about 1 ms*) as long as `tend` is called in idle
time; without, an erase (*45 ms*) comes in between now and then.
"""

from micropython import const

from vitrine.codec import cbor

from . import faults, quotas, seal
from . import record as r
from .folding import Folding
from .sectors import BAD, DIRTY, HEADER, READY, STATE, Sectors
from .state import State
from .tails import NO_HEAD, Found
from .walk import Merge, Walk, frame

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any, Protocol

    from .sectors import BlockDevice

    class Clock(Protocol):
        """drivers.clock.Clock"""

        def reading(self) -> "tuple[int, int]": ...
        def ticks_ms(self) -> int: ...

    class Store(Protocol):
        """drivers.nvs.Blob"""

        def load(self) -> "bytes | None": ...
        def save(self, __data: bytes) -> object: ...


_UNKNOWN = const(-1)  # the class of records that went missing, not given up
_TRIES = const(2)  # in one sector
_MAX_STORE = const(64)
_MAX_SKIP = const(65_536)  # HMACs: some seconds, once, on a lock whose state sector was set back


def provision(device: "BlockDevice", store: "Store", epoch: int, first_key: bytes, acknowledge_key: bytes) -> None:
    """Make an empty journal of `epoch` with K_0 and A of SPEC.md 8.5, in place of whatever was in the partition.

    A power cut in here leaves a lock without a journal: provisioning has to be repeated. Raises JournalError.
    """
    sectors = Sectors(device)
    sectors.scan(epoch)
    for sector in range(sectors.count):
        # the last key of another epoch must not stay behind; nor anything of this one, if it is made twice
        if sectors.is_state(sector):
            sectors.erase(sector)
        elif sectors.use[sector] < STATE:
            sectors.retire(sector)
        if sectors.use[sector] != BAD:
            sectors.use[sector] = DIRTY
    _prepare(sectors, quotas.READY_AHEAD + 1)
    State(sectors, epoch, acknowledge_key).begin(first_key)
    store.save(cbor.encode([epoch, acknowledge_key]))


class Journal:
    """Journal(device, store, clock) takes up the journal in flash and finishes what a power cut left unfinished.

    Reads the start of every sector and the few sectors that are being written. Raises JournalError: then there is no
    journal, and nothing was overwritten. `head` is the head at `count` (SPEC.md 8.6).
    """

    def __init__(self, device: "BlockDevice", store: "Store", clock: "Clock") -> None:
        self.epoch, acknowledge_key = _stored(store.load())
        self.folding = Folding(clock.ticks_ms())
        self._clock = clock
        self._sectors = sectors = Sectors(device)
        sectors.scan(self.epoch)
        if not any(use <= STATE for use in sectors.use):
            raise faults.JournalError(faults.FOREIGN)
        self._state = state = State(sectors, self.epoch, acknowledge_key)
        state.load()
        while sectors.in_use(READY) < quotas.RESERVE and sectors.in_use(DIRTY):
            sectors.prepare()
        found = self._take_up_key(Found(sectors))
        self._tails = found.tails
        self._newest_first = found.first
        self._finish_giving_up(found)
        head = found.head(state.count)
        self.head = head or NO_HEAD
        if head is None:
            # go on in fresh sectors, which start from the new head; in these it would be lost again at the next start
            for tail in self._tails:
                tail.sector = -1
        missing = max(found.last + 1, state.acknowledged)
        if missing < state.count or head is None:
            _prepare(sectors, 1 + quotas.RESERVE)
            last = max(0, state.count - 1)
            self._write_lost(_UNKNOWN, min(missing, last), last, state.count - missing)
        if sectors.count - sectors.in_use(BAD) < quotas.USABLE_MIN:
            raise faults.JournalError(faults.WORN_OUT)

    # --- the lock's side ---

    @property
    def count(self) -> int:
        """The sequence number of the next record."""
        return self._state.count

    @property
    def acknowledged(self) -> int:
        """The collector has all that there is below this number."""
        return self._state.acknowledged

    def append(self, record: "dict[int, Any]") -> "int | None":
        """Write one record (keys of record.py) and return its sequence number: then it is durable.

        None: a refusal in a flood, counted in RAM (folding.py). Raises RecordError for what is no record, JournalError
        when the flash takes no more.
        """
        body = r.encode(record)
        of_class = r.class_of(record)
        if of_class == r.REFUSED:
            folded = self.folding.take(record, self._clock.ticks_ms())
            if folded is None:
                return None
            if folded is not record:
                body = r.encode(folded)
        return self._append(of_class, body)

    def tend(self) -> bool:
        """Do one piece of the work that need not wait in an append; to be called while the lock is idle.

        True if there is more to do. At most one erase (*45 ms*).
        """
        folded = self.folding.due(self._clock.ticks_ms())
        if folded is not None:
            self._append(r.REFUSED, r.encode(folded))
            return True
        sectors = self._sectors
        if quotas.is_short(sectors, r.KEPT) and self._give_up(r.KEPT):
            return True
        if sectors.in_use(READY) < quotas.READY_AHEAD and sectors.in_use(DIRTY):
            sectors.prepare()
            return True
        return False

    def stats(self) -> "dict[str, int]":
        """Return counts for diagnosis."""
        sectors = self._sectors
        return {
            "records": self._state.count,
            "acknowledged": self._state.acknowledged,
            "folded": self.folding.folded,
            "sectors": sectors.count,
            "bad": sectors.in_use(BAD),
            "free": sectors.free(),
            "ready": sectors.in_use(READY),
            "wear_min": min(sectors.wear),
            "wear_max": max(sectors.wear),
            "unwiped": self._state.unwiped,
            "sealed": int(self._state.key is not None),
        }

    # --- the collector's side, for outbox.py ---

    def unsent(self, start: "int | None" = None) -> Merge:
        """Return a walk through the records from `start` (the acknowledged count) on, in order of their numbers."""
        return Merge(self._sectors, self._state.acknowledged if start is None else start, self._state.count)

    def batch_tag(self, content: bytes) -> bytes:
        """Return the tag of a batch at the count of now."""
        return seal.batch_tag(self._state.key, content)

    def is_authentic(self, count: int, tag: bytes) -> bool:
        """Tell whether the collector has said that it stored all below `count`."""
        return self._state.is_authentic(count, tag)

    def acknowledged_tag(self) -> bytes:
        """Return the tag of the acknowledgement that is kept: for a collector that does not know it."""
        return self._state.acknowledged_tag()

    def release(self, count: int, tag: bytes) -> None:
        """Keep an authentic acknowledgement, durably: what is below `count` may be given up from now on."""
        if self._state.acknowledged < count <= self._state.count:
            if self._state.is_full():
                _prepare(self._sectors, 1 + quotas.RESERVE)
            self._state.acknowledge(count, tag)

    # --- writing ---

    def _append(self, of_class: int, body: bytes) -> int:
        need = int(self._state.is_full())
        if not self._tails[of_class].takes(len(body), self._sectors.size):
            need += 1
            self._make_room(of_class)
        if need:
            _prepare(self._sectors, need + quotas.RESERVE)
        return self._write(of_class, body)

    def _write(self, of_class: int, body: bytes) -> int:
        """Record, key of the next, wipe: SPEC.md 8.4. Takes from the reserve if it must."""
        state = self._state
        sectors = self._sectors
        tail = self._tails[of_class]
        tag = seal.record_tag(state.key, state.count, body)
        tries = 0
        while True:
            if not tail.takes(len(body), sectors.size):
                tail.sector = sectors.open(of_class, state.count, self.epoch, self.head)
                tail.end = HEADER
                tail.last = -1
                self._newest_first = state.count
            data = frame(state.count, body, tag, sectors.seed(tail.sector))
            place = tail.end
            tail.end += len(data)
            if sectors.program(tail.sector, place, data):
                break
            tries += 1
            if tries % _TRIES == 0:
                if tail.last < 0:  # no record in it: two sectors with the same first would hide one another
                    sectors.retire(tail.sector)
                tail.sector = -1
        tail.last = state.count
        self.head = seal.next_head(self.head, state.count, tag)
        state.advance()
        return tail.last

    def _make_room(self, of_class: int) -> None:
        """Give up what has to go before `of_class` takes a sector."""
        for _ in range(self._sectors.count):
            if not quotas.is_short(self._sectors, of_class) or not self._give_up(of_class):
                break

    def _give_up(self, for_class: int) -> bool:
        """Retire the sector whose loss costs least; what is lost with it becomes a record first. False: none can go."""
        state = self._state
        sectors = self._sectors
        sector = quotas.victim(sectors, state, self._tails, self._newest_first, for_class)
        if sector < 0:
            return False
        of_class = sectors.use[sector]
        first = last = -1
        number = 0
        walk = Walk(sectors, sector, state.count)
        while walk.step():
            if walk.sequence < state.acknowledged:
                continue
            if not number:
                first = walk.sequence
            last = walk.sequence
            number += 1
            older = r.lost_range(walk.body) if of_class == r.KEPT else None
            if older and older[0] != r.KEPT and self._is_latest_loss(older[0], walk.sequence):
                self._write_lost(*older)
        if number:
            before = state.lost(of_class)
            if before:
                first = min(first, before[1])
                number += before[3]
            self._write_lost(of_class, first, last, number)
        sectors.retire(sector)
        if self._tails[of_class].sector == sector:
            self._tails[of_class].sector = -1
        return True

    def _is_latest_loss(self, of_class: int, sequence: int) -> bool:
        """Tell whether nothing else in the journal says what this RecordsLost does."""
        if of_class == _UNKNOWN:
            return True
        latest = self._state.lost(of_class)
        return latest is not None and latest[0] == sequence

    def _write_lost(self, of_class: int, first: int, last: int, number: int) -> None:
        unix_s, time_state = self._clock.reading()
        record: "dict[int, Any]" = {
            r.KIND: r.RECORDS_LOST,
            r.TIME: unix_s,
            r.TIME_STATE: time_state,
            r.COUNT: number,
            r.RANGE: [first, last],
            r.HEAD: self.head,
        }
        if of_class != _UNKNOWN:
            record[r.CLASS] = of_class
        sequence = self._write(r.KEPT, r.encode(record))
        if of_class != _UNKNOWN:
            self._state.note_lost(of_class, sequence, first, last, number)

    # --- starting ---

    def _take_up_key(self, found: Found) -> Found:
        """Bring count and key to where the newest record says. Usually they are there.

        One further: the power failed behind the record. Several: the state sector was set back. What the key does not
        prove to be ours is taken as not found.
        """
        state = self._state
        if state.key is None:
            state.count = found.last + 1
        elif found.last >= state.count:
            if found.last - state.count < _MAX_SKIP:
                key = bytearray(state.key)
                for _ in range(found.last - state.count):
                    spent = key
                    key = seal.next_key(spent)
                    seal.wipe(spent)
                if seal.record_tag(key, found.last, found.body) == found.tag:
                    state.skip(found.last + 1, seal.next_key(key))
                seal.wipe(key)
            if found.last >= state.count:
                for sector in range(self._sectors.count):
                    if self._sectors.use[sector] < STATE and self._sectors.first[sector] > state.count:
                        self._sectors.retire(sector)
                found = Found(self._sectors, state.count)
                for tail in found.tails:
                    tail.sector = -1  # what lies behind would hide the next records
        state.acknowledged = min(state.acknowledged, state.count)
        return found

    def _finish_giving_up(self, found: Found) -> None:
        """A power cut came between a RecordsLost and what it speaks of: SPEC.md 8.4."""
        lost = r.lost_range(found.body)
        if not lost or lost[0] == _UNKNOWN:
            return
        of_class, first, last, number = lost
        latest = self._state.lost(of_class)
        if latest is None or latest[0] < found.last:
            self._state.note_lost(of_class, found.last, first, last, number)
        for sector in range(self._sectors.count):
            if self._sectors.use[sector] == of_class and self._sectors.first[sector] <= last:
                self._sectors.retire(sector)


def _prepare(sectors: Sectors, ready: int) -> None:
    """Erase until `ready` sectors are ready. Raises JournalError if there are not enough good ones."""
    while sectors.in_use(READY) < ready:
        if not sectors.in_use(DIRTY):
            raise faults.JournalError(faults.WORN_OUT)
        sectors.prepare()


def _stored(blob: "bytes | None") -> "tuple[int, bytes]":
    """Return (epoch, acknowledgement key) from the key store. Raises JournalError."""
    try:
        value = cbor.decode(blob or b"", _MAX_STORE)
    except cbor.CborError:
        raise faults.JournalError(faults.NOT_PROVISIONED)
    if not cbor.is_array(value) or len(value) != 2 or not isinstance(value[0], int) or not isinstance(value[1], bytes):
        raise faults.JournalError(faults.NOT_PROVISIONED)
    return value[0], value[1]
