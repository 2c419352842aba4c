"""Where the next record of each class goes, and what a start finds there (SPEC.md 8.4)."""

from micropython import const

from .record import CLASSES
from .seal import TAG_SIZE, next_head
from .sectors import HEADER
from .walk import Walk, size_in_flash

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from .sectors import Sectors

NO_HEAD = bytes(32)
_NO_LIMIT = const(0xFFFFFFFF)


class Tail:
    """The open sector of one class (-1: none), where its next record goes, and the newest number in it (-1: none)."""

    def __init__(self) -> None:
        self.sector = -1
        self.end = HEADER
        self.last = -1

    def takes(self, body_length: int, sector_size: int) -> bool:
        """Tell whether a record with such a body still fits."""
        return self.sector >= 0 and self.end + size_in_flash(body_length) <= sector_size


class Found:
    """What the newest sector of each class says: `tails`, the newest record, and what the head is made of.

    `first` is the count when the newest sector was opened: all records from there on are in these sectors, and those
    before it had been written. `body` and `tag` are of record `last` if it is in them, else empty.
    """

    def __init__(self, sectors: "Sectors", limit: int = _NO_LIMIT) -> None:
        self.tails = [Tail() for _ in range(CLASSES)]
        self.first = 0
        self.last = -1
        self.body = b""
        self.tag = b""
        self._head: "bytes | None" = NO_HEAD
        for of_class in range(CLASSES):
            sector = sectors.newest(of_class)
            self.tails[of_class].sector = sector
            if sector >= 0 and sectors.first[sector] >= self.first:
                self.first = sectors.first[sector]
                self._head = sectors.head(sector)
        self.last = self.first - 1
        # no more than these fit into so many sectors, whatever their numbers say
        self._tags = bytearray(TAG_SIZE * CLASSES * ((sectors.size - HEADER) // size_in_flash(1)))
        for tail in self.tails:
            if tail.sector >= 0:
                self._walk(Walk(sectors, tail.sector, limit), tail)

    def head(self, count: int) -> "bytes | None":
        """Return the head at `count`, with zeros for the tags of records that were not found; None if it is lost."""
        head = self._head
        if head is None or count - self.first > len(self._tags) // TAG_SIZE:
            return None
        for sequence in range(self.first, count):
            at = TAG_SIZE * (sequence - self.first)
            head = next_head(head, sequence, bytes(self._tags[at : at + TAG_SIZE]))
        return head

    def _walk(self, walk: Walk, tail: Tail) -> None:
        while walk.step():
            at = TAG_SIZE * (walk.sequence - self.first)
            if 0 <= at < len(self._tags):
                self._tags[at : at + TAG_SIZE] = walk.tag
            tail.last = walk.sequence
            if walk.sequence > self.last:
                self.last = walk.sequence
                self.body = walk.body
                self.tag = walk.tag
        tail.end = walk.end
