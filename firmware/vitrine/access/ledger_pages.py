"""The sectors of the ledger's partition, and the pages in them: sorted entries that answer for a range of keys.

Owns reading with checksums, programming with read-back, erasing, and which sector is taken next (SPEC.md 13.1, 13.2);
knows nothing of the order of merging. The device speaks MicroPython's block device protocol; it reports a failure by
OSError or by a negative number.
"""

from micropython import const

from ..codec import checksum

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    Bytes = bytes | bytearray | memoryview

    class BlockDevice(Protocol):
        """What esp32.Partition offers."""

        def readblocks(self, __sector: int, __buffer: "bytearray | memoryview", __offset: int = ...) -> object: ...
        def writeblocks(self, __sector: int, __data: "Bytes", __offset: int = ...) -> object: ...
        def ioctl(self, __operation: int, __argument: int) -> "int | None": ...


SECTORS = const(16)
ENTRY = const(7)
KEY = const(5)
_PAGE_MAGIC = b"vtlp"
_LOG_MAGIC = b"LOG1"
_SECTOR = const(4096)
_BLOCK = const(256)
_BODY = const(252)  # of a block, before its CRC
HEADER = const(28)
_FIRST = const(32)  # entries in block 0
_MORE = const(36)  # in each other block
PAGE_ENTRIES = const(572)
_LAST_KEY = b"\xff" * KEY
END = b"\xff" * (ENTRY + 1)  # behind all entries


class LedgerError(Exception):
    """It is not to be known, or not to be kept: NotFormatted, Geometry, Damaged or WornOut (SPEC.md 13.3)."""


class Pages:
    """`headers[n]` is the header of sector n, checked; None: free; empty: bad until the next start."""

    def __init__(self, device: "BlockDevice") -> None:
        if device.ioctl(4, 0) != SECTORS or device.ioctl(5, 0) != _SECTOR:
            raise LedgerError("Geometry")
        self.is_flawed = False  # a flipped bit was put right: what it is in should be written anew
        self._device = device
        self._taken = 0
        self._block = bytearray(_BLOCK)
        self._back = bytearray(_BLOCK)
        self.headers: "list[bytes | None]" = [self._header(sector) for sector in range(SECTORS)]

    def find_log(self) -> int:
        """Return the sector of the log of the highest generation. Raises LedgerError if there is none."""
        found = -1
        for sector in range(SECTORS):
            header = self.headers[sector]
            if header and header[:4] == _LOG_MAGIC and (found < 0 or self.generation(sector) > self.generation(found)):
                found = sector
        if found < 0:
            raise LedgerError("NotFormatted")
        self._taken = found
        return found

    def generation(self, sector: int) -> int:
        """Return the generation of a sector that is neither free nor bad."""
        return int.from_bytes((self.headers[sector] or b"")[4:8], "big")

    def mark(self, sector: int) -> int:
        """Return the mark of a page."""
        return int.from_bytes((self.headers[sector] or b"")[22:24], "big")

    def following(self, sector: int) -> "bytes | None":
        """Return the key behind the range of a page, or None behind the last one."""
        last = (self.headers[sector] or b"")[13:18]
        return None if last == _LAST_KEY else (int.from_bytes(last, "big") + 1).to_bytes(KEY, "big")

    def page_of(self, key: bytes, generation: int) -> int:
        """Return the sector of the page of this generation that answers for `key`, or -1."""
        start = _PAGE_MAGIC + generation.to_bytes(4, "big")
        for sector in range(SECTORS):
            header = self.headers[sector]
            if header and header.startswith(start) and compare(header, 8, key) <= 0 <= compare(header, 13, key):
                return sector
        return -1

    def keep(self, generation: int, start: "bytes | None") -> None:
        """Set free all pages but those of the next generation, and those of this one that reach to `start` or beyond.

        None: beyond all of them.
        """
        for sector in range(SECTORS):
            header = self.headers[sector]
            if header and header[:4] == _PAGE_MAGIC:
                ahead = self.generation(sector) - generation
                if (ahead and ahead != 1) or (not ahead and (start is None or header[13:18] < start)):
                    self.headers[sector] = None

    def count(self) -> "tuple[int, int]":
        """Return how many entries of all pages are revoked and how many spent."""
        revoked = total = 0
        for header in self.headers:
            if header:  # a log has zeros there
                total += int.from_bytes(header[18:20], "big")
                revoked += int.from_bytes(header[20:22], "big")
        return revoked, total - revoked

    def find(self, sector: int, key: bytes) -> int:
        """Return until when the page says that `key` must be kept, or -1 if it is not there. Raises LedgerError.

        Reads at most 4 blocks.
        """
        probe = key + b"\xff\xff"
        low = 0
        high = self._blocks(sector)
        while low < high:
            middle = (low + high) // 2
            start, number = self._load(sector, middle)
            rank = rank_of(self._block, start, number, probe)
            if rank:
                at = start + ENTRY * (rank - 1)
                if not compare(self._block, at, key):
                    return int.from_bytes(self._block[at + KEY : at + ENTRY], "big")
                if rank < number:
                    break
                low = middle + 1
            else:
                high = middle
        return -1

    def entries(self, generation: int, start: bytes) -> "Iterator[bytes]":
        """Yield the entries of all pages of this generation from the key `start` on, then END.

        Raises LedgerError at a gap.
        """
        following: "bytes | None" = start
        while following:
            sector = self.page_of(following, generation)
            if sector < 0:
                raise LedgerError("Damaged")
            for index in range(self._blocks(sector)):
                at, number = self._load(sector, index)
                for _ in range(number):
                    entry = bytes(self._block[at : at + ENTRY])
                    at += ENTRY
                    if entry >= start:
                        yield entry
            following = self.following(sector)
        yield END

    def prepare(self) -> int:
        """Erase the next free sector and return it; -1 if it turned out bad. Raises LedgerError if none is free.

        The one slow operation: about 45 ms on a typical NOR flash (estimate).
        """
        for step in range(1, SECTORS + 1):
            sector = (self._taken + step) % SECTORS
            if self.headers[sector] is None:
                self._taken = sector
                if self.erase(sector):
                    return sector
                self.headers[sector] = b""
                return -1
        raise LedgerError("WornOut")

    def write(self, sector: int, generation: int, start: bytes, mark: int, entries: "Iterable[bytes]") -> None:
        """Make an erased sector the page that answers from the key `start` on: take up to 572 ascending `entries`.

        Marks the sector bad if that fails. Raises LedgerError as `entries` does.
        """
        head = bytearray(b"\xff" * _BLOCK)
        head[:HEADER] = _PAGE_MAGIC + generation.to_bytes(4, "big") + start + _LAST_KEY + bytes(10)
        head[22:24] = mark.to_bytes(2, "big")
        block = head
        index = count = revoked = 0
        at = HEADER
        last = b""
        for entry in entries:
            if count == PAGE_ENTRIES:
                head[13:18] = last[:KEY]
                break
            if at == _BODY:
                if index and not self._close(sector, index, generation, block):
                    return
                index += 1
                at = 0
                block = bytearray(b"\xff" * _BLOCK)
            block[at : at + ENTRY] = last = entry
            at += ENTRY
            count += 1
            revoked += entry[0] < 0x80
        if index and not self._close(sector, index, generation, block):
            return
        head[18:20] = count.to_bytes(2, "big")
        head[20:22] = revoked.to_bytes(2, "big")
        if self._close(sector, 0, 0, head):
            self.headers[sector] = bytes(head[:HEADER])
        else:
            self.retire(sector)
            self.headers[sector] = b""

    @staticmethod
    def log_header(generation: int) -> bytes:
        """Return what makes a sector the log of this generation, once its cells are written."""
        header = bytearray(HEADER + 4)
        header[:8] = _LOG_MAGIC + generation.to_bytes(4, "big")
        checksum.close(header, 0)
        return bytes(header)

    def retire(self, sector: int) -> bool:
        """Make sure that a sector is never again taken for a log or a page. False if that cannot be done."""
        done = self.program(sector, 0, bytes(HEADER + 4)) or self.erase(sector)
        self.headers[sector] = None if done else b""
        return done

    def retire_logs(self, but: int) -> None:
        """Retire all logs but one: whatever becomes of that, no other is taken for it."""
        for sector in range(SECTORS):
            if sector != but and (self.headers[sector] or b"")[:4] == _LOG_MAGIC:
                self.retire(sector)

    def erase(self, sector: int) -> bool:
        """Erase one sector, in one more try if need be; True if it reads back as all ones."""
        for _ in range(2):
            try:
                done = self._device.ioctl(6, sector) or 0
            except OSError:
                done = -1
            if done >= 0 and all(
                self._reads(sector, at, self._back) and self._back == b"\xff" * _BLOCK
                for at in range(0, _SECTOR, _BLOCK)
            ):
                return True
        return False

    def read(self, sector: int, offset: int, buffer: "bytearray | memoryview") -> None:
        """Fill `buffer`. Raises LedgerError."""
        if not self._reads(sector, offset, buffer):
            raise LedgerError("Damaged")

    def program(self, sector: int, offset: int, data: "Bytes") -> bool:
        """Program `data` (at most 256 bytes) into a blank place; True if it reads back right."""
        back = memoryview(self._back)[: len(data)]  # before: nothing may fail for want of memory afterwards
        try:
            done = self._device.writeblocks(sector, data, offset)
        except OSError:
            return False
        return not (isinstance(done, int) and done < 0) and self._reads(sector, offset, back) and back == data

    def _reads(self, sector: int, offset: int, buffer: "bytearray | memoryview") -> bool:
        try:
            done = self._device.readblocks(sector, buffer, offset)
        except OSError:
            return False
        return not (isinstance(done, int) and done < 0)

    def _header(self, sector: int) -> "bytes | None":
        block = self._block
        if not self._reads(sector, 0, block):
            return b""
        for magic, size in ((_PAGE_MAGIC, _BLOCK), (_LOG_MAGIC, HEADER + 4)):
            # the search for a flipped bit is slow: only in what was one of ours
            if sum(block[i] == magic[i] for i in range(4)) >= 3 and self._mend(memoryview(block)[:size], 0):
                header = bytes(block[:HEADER])
                if header[:4] == magic:
                    return header
        return None

    def _blocks(self, sector: int) -> int:
        count = int.from_bytes((self.headers[sector] or b"")[18:20], "big")
        return (count + 2 * _MORE - 1 - _FIRST) // _MORE if count else 0

    def _load(self, sector: int, index: int) -> "tuple[int, int]":
        """Read a block; return where its entries begin and how many there are. Raises LedgerError."""
        header = self.headers[sector] or b""
        self.read(sector, _BLOCK * index, self._block)
        if not self._mend(self._block, self._seed(self.generation(sector), index)):
            raise LedgerError("Damaged")
        before = _FIRST + _MORE * (index - 1)
        count = int.from_bytes(header[18:20], "big")
        return (0, min(_MORE, count - before)) if index else (HEADER, min(_FIRST, count))

    def _mend(self, data: "bytearray | memoryview", seed: int) -> bool:
        if checksum.is_right(data, seed):
            return True
        is_mended = checksum.mend(data, seed, 1)
        self.is_flawed |= is_mended
        return is_mended

    def _close(self, sector: int, index: int, generation: int, block: bytearray) -> bool:
        checksum.close(block, self._seed(generation, index))
        done = self.program(sector, _BLOCK * index, block)
        if not done:
            self.headers[sector] = b""
        return done

    @staticmethod
    def _seed(generation: int, index: int) -> int:
        return (generation << 4 | index) & 0xFFFFFFFF if index else 0


def compare(data: "bytes | bytearray", at: int, key: bytes) -> int:
    """Return less than, equal to or more than 0, as the bytes from `at` on are to `key`. Allocates nothing."""
    for i in range(len(key)):
        if data[at + i] != key[i]:
            return data[at + i] - key[i]
    return 0


def rank_of(table: "bytearray", start: int, number: int, entry: bytes) -> int:
    """Return how many of the `number` sorted entries from offset `start` on are not above `entry`."""
    low = 0
    while low < number:
        middle = (low + number) // 2
        if compare(table, start + ENTRY * middle, entry) > 0:
            number = middle
        else:
            low = middle + 1
    return low
