"""Reading records back: through one sector, and through all classes in the order of their numbers (SPEC.md 8.2)."""

from micropython import const

from ..codec import checksum
from .record import CLASSES, MAX_BODY
from .seal import TAG_SIZE
from .sectors import HEADER

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from .sectors import Sectors

_FRAME = const(26)  # length, number, tag and CRC around a body
_LENGTH = const(2)
_BODY = const(6)
_STEP = const(16)
_NO_LIMIT = const(0xFFFFFFFF)


def size_in_flash(body_length: int) -> int:
    """Return how many bytes a record with such a body takes."""
    return (body_length + _FRAME + _STEP - 1) & ~(_STEP - 1)


def frame(sequence: int, body: bytes, tag: bytes, seed: int) -> bytearray:
    """Return the bytes that go to flash."""
    data = bytearray(b"\xff" * size_in_flash(len(body)))
    data[:_LENGTH] = len(body).to_bytes(2, "big")
    data[_LENGTH:_BODY] = sequence.to_bytes(4, "big")
    data[_BODY : _BODY + len(body)] = body
    data[_BODY + len(body) : _BODY + len(body) + TAG_SIZE] = tag
    checksum.close(data, seed)
    return data


class Walk:
    """Goes through the records of one sector. After a step that was True: `sequence`, `body`, `tag`."""

    def __init__(self, sectors: "Sectors", sector: int, limit: int = _NO_LIMIT) -> None:
        self.sequence = sectors.first[sector] - 1
        self.body = b""
        self.tag = b""
        self.end = HEADER  # behind the last byte that is not blank: the next record goes there
        self._sectors = sectors
        self._sector = sector
        self._limit = limit
        self._seed = sectors.seed(sector)
        self._buffer = bytearray(size_in_flash(MAX_BODY))

    def step(self) -> bool:
        """Go to the next record below the limit. False at the end of the sector."""
        sectors = self._sectors
        view = memoryview(self._buffer)
        offset = self.end
        while offset < sectors.size:
            sectors.read(self._sector, offset, view[:_STEP])
            if self._buffer[:_STEP] == b"\xff" * _STEP:
                # blank, but a bit that flipped may have left a hole: look on
                offset = self._next_data(offset)
                continue
            total = size_in_flash(int.from_bytes(self._buffer[:_LENGTH], "big"))
            if total <= len(self._buffer) and offset + total <= sectors.size:
                sectors.read(self._sector, offset + _STEP, view[_STEP:total])
                if self._take(view[:total]):
                    self.end = offset + total
                    return True
            # torn, or damaged beyond its CRC: whatever its length says is not to be believed
            offset += _STEP
            self.end = offset
        return False

    def _take(self, data: memoryview) -> bool:
        if not checksum.mend(data, self._seed, 1):
            return False
        length = int.from_bytes(data[:_LENGTH], "big")
        sequence = int.from_bytes(data[_LENGTH:_BODY], "big")
        if not length or size_in_flash(length) != len(data) or not self.sequence < sequence < self._limit:
            return False
        self.sequence = sequence
        self.body = bytes(data[_BODY : _BODY + length])
        self.tag = bytes(data[_BODY + length : _BODY + length + TAG_SIZE])
        return True

    def _next_data(self, offset: int) -> int:
        view = memoryview(self._buffer)
        while offset < self._sectors.size:
            piece = view[: min(len(self._buffer), self._sectors.size - offset)]
            self._sectors.read(self._sector, offset, piece)
            if piece != b"\xff" * len(piece):
                while piece[:_STEP] == b"\xff" * _STEP:
                    piece = piece[_STEP:]
                    offset += _STEP
                return offset
            offset += len(piece)
        return offset


class Merge:
    """Goes through the records from `start` on, below `limit`, of all classes in the order of their numbers.

    Nothing may be appended or given up between its steps.
    """

    def __init__(self, sectors: "Sectors", start: int, limit: int) -> None:
        self.sequence = start - 1
        self.body = b""
        self.tag = b""
        self._limit = limit
        self._sectors = sectors
        self._sector: "list[int]" = []
        self._walks: "list[Walk | None]" = [None] * CLASSES
        for c in range(CLASSES):
            sector = sectors.newest(c, start)
            self._sector.append(sector if sector >= 0 else sectors.oldest(c))
            self._next_of(c)

    def step(self) -> bool:
        """Go to the next record. False when there are no more."""
        found = -1
        for c in range(CLASSES):
            walk = self._walks[c]
            # the same number twice: its first place did not read back right when it was written, but does now
            while walk is not None and walk.sequence <= self.sequence:
                self._next_of(c)
                walk = self._walks[c]
            if walk is not None:
                best = self._walks[found] if found >= 0 else None
                if best is None or walk.sequence < best.sequence:
                    found = c
        walk = self._walks[found] if found >= 0 else None
        if walk is None:
            return False
        self.sequence = walk.sequence
        self.body = walk.body
        self.tag = walk.tag
        return True

    def _next_of(self, c: int) -> None:
        """Bring the walk of class `c` to its next record, through its sectors; None behind the last."""
        walk = self._walks[c]
        while self._sector[c] >= 0:
            if walk is None:
                walk = Walk(self._sectors, self._sector[c], self._limit)
            if walk.step():
                self._walks[c] = walk
                return
            self._sector[c] = self._sectors.oldest(c, self._sectors.first[self._sector[c]])
            walk = None
        self._walks[c] = None
