"""The sectors of the journal's partition: which are in use, ready, dirty or bad, and how they get there.

Owns headers, erasing, wear and read-back (SPEC.md 8.1); knows nothing of records. The device speaks MicroPython's block
device protocol; it reports a failure by OSError or by a negative number, and both only make the sector suspect.
"""

import binascii
from array import array

from micropython import const

from ..codec import checksum
from . import faults

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Protocol

    Bytes = bytes | bytearray | memoryview

    class BlockDevice(Protocol):
        """What esp32.Partition offers."""

        def readblocks(self, __sector: int, __buffer: "bytearray | memoryview", __offset: int = ...) -> object: ...
        def writeblocks(self, __sector: int, __data: "Bytes", __offset: int = ...) -> object: ...
        def ioctl(self, __operation: int, __argument: int) -> "int | None": ...


HEADER = const(64)
STATE = const(3)  # after the classes of record.py
READY = const(4)
DIRTY = const(5)
BAD = const(6)

_MIN_SECTORS = const(16)
_MAX_SECTORS = const(1024)  # RAM for the tables below: 9 bytes each
_MAGIC = const(b"vtj1")
_OPENED = const(16)
_HEAD = const(32)
_PIECE = const(256)
_SIZE_MIN = const(1024)


class Sectors:
    """All sectors of `device`. `use[n]` is a class, STATE, READY, DIRTY or BAD; `first[n]` counts for those in use."""

    def __init__(self, device: "BlockDevice") -> None:
        count = device.ioctl(4, 0)
        size = device.ioctl(5, 0)
        if not count or not _MIN_SECTORS <= count <= _MAX_SECTORS or not size or size < _SIZE_MIN or size % _PIECE:
            raise faults.JournalError(faults.GEOMETRY)
        self.count = count
        self.size = size
        self.use = bytearray(count)
        self.first = array("I", bytes(4 * count))
        self.wear = array("I", bytes(4 * count))
        self._device = device
        self._check = bytearray(_PIECE)
        self._ones = b"\xff" * _PIECE

    def scan(self, epoch: int) -> None:
        """Read the start of every sector."""
        unknown: "list[int]" = []
        for sector in range(self.count):
            self.use[sector] = DIRTY
            header = self._header(sector)
            if header is None:
                self.use[sector] = BAD
            elif not self._is_prepared(sector, header):
                unknown.append(sector)
            else:
                self.wear[sector] = int.from_bytes(header[8:12], "big")
                if header[_OPENED:] == self._ones[:16]:
                    if self.head(sector) == self._ones[:32]:  # else its opening was cut
                        self.use[sector] = READY
                elif _is_opened(header) and int.from_bytes(header[24:28], "big") == epoch:
                    self.use[sector] = header[_OPENED]
                    self.first[sector] = int.from_bytes(header[20:24], "big")
        # never used, or an erase was cut and took the number along: levelling keeps all numbers close, so any is good;
        # the lowest one means that the sector is used next, and has a number of its own from then on
        known = [self.wear[sector] for sector in range(self.count) if sector not in unknown]
        for sector in unknown:
            self.wear[sector] = min(known) if known else 0

    def seed(self, sector: int) -> int:
        """Return what the CRCs in this sector start from."""
        header = self._header(sector)
        return int.from_bytes(header[_HEAD - 4 :], "big") if header else 0

    def head(self, sector: int) -> "bytes | None":
        """Return the head of the journal when this sector was opened; None if it does not match its checksum.

        32 bytes of ones in a sector that is ready.
        """
        head = bytearray(32)
        self.read(sector, _HEAD, head)
        header = self._header(sector)
        if header is None or (header[_OPENED:] != self._ones[:16] and _short_crc(head) != bytes(header[18:20])):
            return None
        return bytes(head)

    def in_use(self, use: int) -> int:
        """Return how many sectors have this use."""
        return sum(1 for each in self.use if each == use)

    def free(self) -> int:
        """Return how many sectors hold nothing: ready or dirty."""
        return self.in_use(READY) + self.in_use(DIRTY)

    def oldest(self, use: int, after: int = -1) -> int:
        """Return the sector of this use with the lowest first above `after`, or -1."""
        found = -1
        for sector in range(self.count):
            if self.use[sector] == use and self.first[sector] > after:
                if found < 0 or self.first[sector] < self.first[found]:
                    found = sector
        return found

    def newest(self, use: int, up_to: int = 0xFFFFFFFF) -> int:
        """Return the sector of this use with the highest first that is not above `up_to`, or -1."""
        found = -1
        for sector in range(self.count):
            if self.use[sector] == use and self.first[sector] <= up_to:
                if found < 0 or self.first[sector] > self.first[found]:
                    found = sector
        return found

    def open(self, use: int, first: int, epoch: int, head: bytes) -> int:
        """Take the ready sector with the fewest erases into use and return it. Raises JournalError if there is none."""
        header = bytearray(_HEAD)
        while True:
            sector = self._least_worn(READY)
            if sector < 0:
                raise faults.JournalError(faults.WORN_OUT)
            header[:_OPENED] = self._prepared(sector)
            header[_OPENED] = use
            header[18:20] = _short_crc(head)
            header[20:24] = first.to_bytes(4, "big")
            header[24:28] = epoch.to_bytes(4, "big")
            checksum.close(header, 0)
            # the head first: an opening that is cut must not leave a sector in use whose head is torn
            if self.program(sector, _HEAD, head) and self.program(sector, _OPENED, memoryview(header)[_OPENED:]):
                self.use[sector] = use
                self.first[sector] = first
                return sector
            self.use[sector] = BAD

    def retire(self, sector: int) -> None:
        """Give the sector up: nobody will take it for one in use again, however its erase may be cut."""
        self.use[sector] = DIRTY
        if not self.program(sector, _OPENED, bytes(16)):
            self.erase(sector)

    def prepare(self) -> bool:
        """Erase the dirty sector with the fewest erases. False if there was no dirty sector or it turned out bad.

        The one slow operation of the journal: about 45 ms on a typical NOR flash.
        """
        sector = self._least_worn(DIRTY)
        if sector < 0:
            return False
        self.use[sector] = BAD
        if self.erase(sector) and self.program(sector, 0, self._prepared(sector)):
            self.use[sector] = READY
        return self.use[sector] == READY

    def erase(self, sector: int) -> bool:
        """Erase one sector, in one more try if need be; True if it reads back as all ones."""
        for _ in range(2):
            self.wear[sector] += 1
            try:
                done = (self._device.ioctl(6, sector) or 0) >= 0
            except OSError:
                done = False
            if done and self.end_of_data(sector, 0) == 0:
                return True
        return False

    def read(self, sector: int, offset: int, buffer: "bytearray | memoryview") -> bool:
        """Fill `buffer`; False, and ones in it, if the device cannot."""
        try:
            done = self._device.readblocks(sector, buffer, offset)
        except OSError:
            done = -1
        if isinstance(done, int) and done < 0:
            buffer[:] = b"\xff" * len(buffer)
            return False
        return True

    def program(self, sector: int, offset: int, data: "Bytes") -> bool:
        """Program `data` (at most 256 bytes) into an erased place; True if it reads back right."""
        try:
            done = self._device.writeblocks(sector, data, offset)
        except OSError:
            return False
        back = memoryview(self._check)[: len(data)]
        return not (isinstance(done, int) and done < 0) and self.read(sector, offset, back) and back == data

    def end_of_data(self, sector: int, offset: int) -> int:
        """Return where, from `offset` on, only ones follow: a multiple of 16."""
        end = offset
        while offset < self.size:
            piece = memoryview(self._check)[: min(_PIECE, self.size - offset)]
            self.read(sector, offset, piece)
            if piece != self._ones[: len(piece)]:
                for place in range(0, len(piece), 16):
                    if piece[place : place + 16] != self._ones[:16]:
                        end = offset + place + 16
            offset += len(piece)
        return end

    def is_state(self, sector: int) -> bool:
        """Tell whether the sector holds a state, of this or another epoch, and so perhaps a key."""
        header = self._header(sector)
        return header is not None and _is_opened(header) and header[_OPENED] == STATE

    def _header(self, sector: int) -> "bytearray | None":
        """Return bytes 0 to 31, with one flipped bit in each half put right: a whole sector hangs on them."""
        header = bytearray(_HEAD)
        if not self.read(sector, 0, header):
            return None
        start = header[:_OPENED]
        if start != self._ones[:16] and checksum.mend(start, 0, 1):
            header[:_OPENED] = start
            if header[_OPENED:] != self._ones[:16] and any(header[_OPENED:]):
                checksum.mend(header, 0, 1)
        return header

    def _prepared(self, sector: int) -> bytearray:
        start = bytearray(_OPENED)
        start[:4] = _MAGIC
        start[4:6] = sector.to_bytes(2, "big")
        start[6:8] = self.count.to_bytes(2, "big")
        start[8:12] = self.wear[sector].to_bytes(4, "big")
        checksum.close(start, 0)
        return start

    def _is_prepared(self, sector: int, header: bytearray) -> bool:
        own = _MAGIC + sector.to_bytes(2, "big") + self.count.to_bytes(2, "big")
        return header[:8] == own and checksum.is_right(memoryview(header)[:_OPENED], 0)

    def _least_worn(self, use: int) -> int:
        found = -1
        for sector in range(self.count):
            if self.use[sector] == use and (found < 0 or self.wear[sector] < self.wear[found]):
                found = sector
        return found


def _is_opened(header: bytearray) -> bool:
    return header[_OPENED] <= STATE and checksum.is_right(header, 0)


def _short_crc(head: "bytes | bytearray") -> bytes:
    return (binascii.crc32(head) & 0xFFFF).to_bytes(2, "big")
