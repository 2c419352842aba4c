"""The durable set of what must never be forgotten: revoked identities and spent uses. Source and bytes: SPEC.md 13.

Owns the log, merging it into pages, and the room of each class; ledger_pages.py owns the sectors. Keeps the entries of
the log in RAM (2 KB at most) and the headers of the pages; everything else is looked up in flash. One thread only.
"""

from micropython import const

from ..codec import checksum
from .ledger_pages import END, ENTRY, KEY, PAGE_ENTRIES, SECTORS, LedgerError, Pages, compare, rank_of

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Iterator

    from .ledger_pages import BlockDevice

REVOKED = const(0)
SPENT = const(1)
_MAX_REVOKED = const(2000)
_MAX_SPENT = const(4096)

_EPOCH = const(1577836800)  # 2020-01-01
_UNIT = const(15)  # bits: 9.1 hours
_FOR_EVER = const(0xFFFF)
_DAY = const(86400)  # so long an entry stays after its time, in case the clock was wrong

_CELLS = const(254)
_CELL = const(16)
_LOG_START = const(32)
_BEGIN = const(192)  # used cells: the rest is for what comes while merging
_START_KEY = bytes(KEY)


class Ledger:
    """The set on `device`, a partition of 16 sectors. Raises LedgerError if there is none."""

    def __init__(self, device: "BlockDevice") -> None:
        self._pages = pages = Pages(device)
        self._log = pages.find_log()
        pages.retire_logs(self._log)
        self._generation = pages.generation(self._log)
        self._ready = -1  # the sector that was erased for the next step
        self._next: "bytes | None" = _START_KEY  # the first key that no page of the next generation answers for
        self._mark = -1  # cells that are being merged, or -1
        sector = pages.page_of(_START_KEY, self._generation + 1)
        while sector >= 0:
            self._mark = pages.mark(sector)
            self._next = pages.following(sector)
            sector = pages.page_of(self._next, self._generation + 1) if self._next else -1
        pages.keep(self._generation, self._next)
        # The log's entries, sorted: those before the mark, then all others. Made once: when an entry is in flash,
        # no lack of memory may keep it from here.
        self._table = bytearray(ENTRY * _CELLS)
        self._old = self._new = 0  # how many
        self._cells = 0  # used ones
        self._is_damaged = False  # an entry of the log is lost: what is not found may have been it
        self._is_stuck = False  # merging failed: not tried again and again in idle time
        self._limit = self._dropped = -1  # entries up to this time may be left out, and were in the last merge
        self._replay()

    def has(self, of_class: int, digest: bytes, until_s: "int | None" = None) -> bool:
        """Tell whether `digest` is there in the class, and kept until `until_s` at least.

        Raises LedgerError if that cannot be known. Reads up to 1 KB of flash.
        """
        return self._find(_key(of_class, digest)) >= (0 if until_s is None else _until(until_s))

    def add(self, of_class: int, digest: bytes, until_s: int) -> bool:
        """Keep `digest` in the class until `until_s` (Unix seconds; 0: for ever). True once that is durable.

        False if the class is full. Takes one program of 16 bytes, rarely a whole merge (about 0.7 s when full,
        estimate). Raises LedgerError, then it may be there or not.
        """
        key = _key(of_class, digest)
        until = _until(until_s)
        if self._find(key) >= until:
            return True
        if not self._has_room(of_class):
            return False
        entry = key + until.to_bytes(2, "big")
        while not self._append(entry):
            self._merge()
        return True

    def count(self, of_class: int) -> int:
        """Return how many entries of a class there are; some are counted twice until they are merged."""
        total = self._pages.count()[of_class]
        for start, number in self._parts():
            revoked = rank_of(self._table, start, number, b"\x7f")
            total += number - revoked if of_class else revoked
        return total

    def stats(self) -> "list[int]":
        """Return for diagnosis: generation, free and bad sectors, and 0: sound, 1: damaged, 2: merging fails."""
        headers = self._pages.headers
        state = 1 if self._is_damaged else 2 if self._is_stuck else 0
        return [self._generation, headers.count(None), headers.count(b""), state]

    def tend(self, now_s: "int | None") -> bool:
        """Do one step of idle work: write one page or erase one sector (45 ms, estimate). True if there is more.

        now_s: Unix seconds if time is trusted or coasting, else None. Entries that are over for a day may be left out
        from then on.
        """
        self._limit = -1 if now_s is None else now_s - _DAY - _EPOCH >> _UNIT
        if self._is_stuck or (self._mark < 0 and self._cells < _BEGIN and not self._pages.is_flawed):
            return False
        try:
            self._step()
        except LedgerError:
            self._is_stuck = True
            return False
        return self._mark >= 0

    def _find(self, key: bytes) -> int:
        """Return until when `key` must be kept, or -1. The newest place first: what is added again lasts longer."""
        for start, number in self._parts():
            rank = rank_of(self._table, start, number, key + b"\xff\xff")
            at = start + ENTRY * rank
            if rank and not compare(self._table, at - ENTRY, key):
                return int.from_bytes(self._table[at - 2 : at], "big")
        for generation in (self._generation + 1, self._generation):
            sector = self._pages.page_of(key, generation)
            if sector >= 0:
                found = self._pages.find(sector, key)
                if found >= 0 or not self._is_damaged:
                    return found
        raise LedgerError("Damaged")

    def _parts(self) -> "tuple[tuple[int, int], tuple[int, int]]":
        """Return (offset, number of entries) of the new and the old part of the table."""
        return (ENTRY * self._old, self._new), (0, self._old)

    def _insert(self, at: int, entry: bytes) -> None:
        """Make room in the table, and put `entry` there. Allocates nothing."""
        table = self._table
        for i in range(ENTRY * (self._old + self._new) - 1, at - 1, -1):
            table[i + ENTRY] = table[i]
        for i in range(ENTRY):
            table[at + i] = entry[i]

    def _has_room(self, of_class: int) -> bool:
        usable = SECTORS - self._pages.headers.count(b"")
        # three sectors beside the pages: the log, and what merging needs
        most = min(_MAX_SPENT, (usable - 3) * PAGE_ENTRIES - _MAX_REVOKED) if of_class else _MAX_REVOKED
        if self.count(of_class) >= most and self._mark >= 0:
            self._merge()
        if self.count(of_class) >= most and self._limit > self._dropped:
            self._merge()
        return self.count(of_class) < most

    def _append(self, entry: bytes) -> bool:
        """Write `entry` into the next cell that takes it. False if the log is full."""
        pages = self._pages
        cell = bytearray(_CELL)
        start = ENTRY * self._old
        place = start + ENTRY * rank_of(self._table, start, self._new, entry)
        while self._cells < _CELLS:
            at = _LOG_START + _CELL * self._cells
            pages.read(self._log, at, cell)
            is_blank = cell == b"\xff" * _CELL
            self._fill(cell, self._cells, entry, self._generation)
            self._cells += 1
            if is_blank and pages.program(self._log, at, cell):
                self._insert(place, entry)
                self._new += 1
                return True
            if not self._void(self._cells - 1):
                self._cells = _CELLS  # a start takes only the last cell for one that was cut
        return False

    @staticmethod
    def _fill(cell: bytearray, index: int, entry: bytes, generation: int) -> None:
        cell[:12] = entry + bytes((index,)) + generation.to_bytes(4, "big")
        checksum.close(cell, 0)

    def _void(self, index: int) -> bool:
        at = _LOG_START + _CELL * index
        back = bytearray(_CELL)
        self._pages.program(self._log, at, back)
        self._pages.read(self._log, at, back)
        return bytes(back).count(b"\0") >= _CELL - 2

    def _replay(self) -> None:
        """Take up the entries of the log."""
        cell = bytearray(_CELL)
        bad = -1
        for index in range(_CELLS):
            self._pages.read(self._log, _LOG_START + _CELL * index, cell)
            if bytes(cell).count(b"\xff") >= _CELL - 2:
                continue
            self._cells = index + 1
            if bytes(cell).count(b"\0") >= _CELL - 2:
                continue
            if not checksum.is_right(cell, 0):
                self._pages.is_flawed |= checksum.mend(cell, 0, 2)
            # its place and generation: not one of another life of this sector
            if checksum.is_right(cell, 0) and cell[ENTRY:12] == bytes((index,)) + self._generation.to_bytes(4, "big"):
                entry = bytes(cell[:ENTRY])
                start, number = self._parts()[index < self._mark]
                self._insert(start + ENTRY * rank_of(self._table, start, number, entry), entry)
                if index < self._mark:
                    self._old += 1
                else:
                    self._new += 1
            else:
                self._is_damaged |= bad >= 0
                bad = index
        if bad >= 0:
            self._is_damaged |= bad != self._cells - 1
            if not self._is_damaged and not self._void(bad):
                self._cells = _CELLS

    def _merge(self) -> None:
        """Finish the merge that is under way, or do a whole one. Raises LedgerError."""
        self._step()
        while self._mark >= 0:
            self._step()

    def _step(self) -> None:
        """Begin to merge, or go on. Raises LedgerError."""
        pages = self._pages
        if self._is_damaged:
            raise LedgerError("Damaged")
        if self._mark < 0:
            self._mark = self._cells
            self._old = self._new
            self._new = 0
            self._dropped = self._limit
        if self._ready < 0:
            self._ready = pages.prepare()
            return
        sector = self._ready
        self._ready = -1
        if self._next is None:
            self._renew_log(sector)
            return
        pages.write(sector, self._generation + 1, self._next, self._mark, self._merged(self._next))
        self._dropped = min(self._dropped, self._limit)
        if pages.headers[sector]:
            self._next = pages.following(sector)
            pages.keep(self._generation, self._next)

    def _merged(self, start: bytes) -> "Iterator[bytes]":
        """Yield what the next generation has from the key `start` on, in order."""
        table = self._table
        at = ENTRY * rank_of(table, 0, self._old, start + b"\0\0")
        last = b""
        for old in self._pages.entries(self._generation, start):
            entry = b""
            while entry is not old:
                entry = bytes(table[at : at + ENTRY])
                if at < ENTRY * self._old and entry <= old:
                    at += ENTRY
                else:
                    entry = old
                if last and (entry is END or last[:KEY] != entry[:KEY]):
                    until = int.from_bytes(last[KEY:], "big")
                    if until == _FOR_EVER or until > self._limit:
                        yield last
                last = entry

    def _renew_log(self, sector: int) -> None:
        """Make the log of the next generation: what came in since the mark."""
        pages = self._pages
        table = self._table
        start = ENTRY * self._old
        cell = bytearray(_CELL)
        for index in range(self._new):
            at = start + ENTRY * index
            self._fill(cell, index, bytes(table[at : at + ENTRY]), self._generation + 1)
            if not pages.program(sector, _LOG_START + _CELL * index, cell):
                pages.headers[sector] = b""
                return
        header = pages.log_header(self._generation + 1)
        cells = self._cells
        # Whatever breaks off here: as long as it is not known which log a start takes, nothing is added to either.
        self._is_damaged = True
        self._cells = _CELLS
        if pages.program(sector, 0, header):
            pages.headers[sector] = header
            self._log = sector
            self._generation += 1
            self._cells = self._new
            self._mark = -1
            self._next = _START_KEY
            self._old = 0
            for i in range(ENTRY * self._new):
                table[i] = table[start + i]
            pages.is_flawed = self._is_stuck = self._is_damaged = False
            pages.retire_logs(sector)
            pages.keep(self._generation, _START_KEY)
        elif pages.retire(sector):
            pages.headers[sector] = b""
            self._cells = cells
            self._is_damaged = False


def provision(device: "BlockDevice") -> None:
    """Erase the partition and make the empty ledger. Raises LedgerError if that cannot be done."""
    pages = Pages(device)
    generation = 1
    for sector in range(SECTORS):
        if pages.headers[sector]:
            generation = max(generation, pages.generation(sector) + 2)
    good = [sector for sector in range(SECTORS) if pages.erase(sector)]
    if len(good) >= SECTORS - 2:
        pages.write(good[0], generation, _START_KEY, 0, ())
        if pages.headers[good[0]] and pages.program(good[1], 0, pages.log_header(generation)):
            return
    raise LedgerError("WornOut")


def _key(of_class: int, digest: bytes) -> bytes:
    return (of_class << 39 | int.from_bytes(digest[:KEY], "big") >> 1).to_bytes(KEY, "big")


def _until(until_s: int) -> int:
    """Return the time of an entry: rounded up, and all ones for 0 or what is too far away."""
    if not until_s:
        return _FOR_EVER
    return min(max(1, until_s - _EPOCH + (1 << _UNIT) - 1 >> _UNIT), _FOR_EVER)
