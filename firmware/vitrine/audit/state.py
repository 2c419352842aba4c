"""The state cells: the key of the next record, what the collector has acknowledged, and what was lost (SPEC.md 8.3).

Owns the one place where a spent key could be found. At any moment, power cut or not, flash holds the current key or the
one before it, and the one before only until the next start.
"""

from micropython import const

from vitrine.crypto.hmac256 import constant_time_equal

from ..codec import checksum
from .seal import KEY_SIZE, TAG_SIZE, acknowledgement_tag, next_key, wipe
from .sectors import HEADER, STATE

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from .sectors import Sectors

_CELL = const(32)
_COUNT = const(24)
_CRC = const(28)
_KEY = const(0)
_ACKNOWLEDGEMENT = const(1)
_LOSS = const(2)  # and 3 and 4: one kind for each class
# What the seed is inverted with for each kind. A CRC's start acts like its first 4 bytes of data, so any two of these
# differ in 16 bits: no few flipped bits make one kind of cell of another.
_MASKS = const((0, 0x0F0F0F0F, 0x33333333, 0x55555555, 0x3C3C3C3C))
_BLANK = bytearray(b"\xff" * 32)
_WIPED = bytes(32)
_HEAD = bytes(32)


class State:
    """`count` and `key` (None: lost) of the next record; `acknowledged`; losses."""

    def __init__(self, sectors: "Sectors", epoch: int, acknowledge_key: bytes) -> None:
        self.count = 0
        self.key: "bytearray | None" = None
        self.acknowledged = 0
        self.unwiped = 0  # key cells that kept a bit of a spent key: the flash is worn out there
        self._notes: "dict[int, tuple[int, bytes]]" = {}  # kind: (count, payload) of the cells that are no keys
        self._sectors = sectors
        self._epoch = epoch
        self._acknowledge_key = acknowledge_key
        self._sector = -1
        self._end = 0  # of what is written in that sector
        self._place = (-1, 0)  # of the current key cell

    def begin(self, first_key: bytes) -> None:
        """Write the first key of a new journal."""
        self.key = bytearray(first_key)
        self._put_key()

    def load(self) -> None:
        """Find the current key and the notes; wipe every other key, give up every other state sector."""
        sectors = self._sectors
        found: "list[tuple[int, int]]" = []  # cells that may hold a key
        ends: "dict[int, int]" = {}
        for sector in range(sectors.count):
            if sectors.use[sector] == STATE:
                ends[sector] = self._read_sector(sector, found)
        if self.key is None:
            for place in found:
                if self._take_key(place, 2):
                    break
        for place in found:
            if place != self._place:
                self._wipe(place)
        self._sector = self._place[0] if self.key is not None else sectors.newest(STATE)
        self._end = ends.get(self._sector, 0)
        self._retire_others()

    def is_full(self) -> bool:
        """Tell whether the next cell needs another sector."""
        return self._sector < 0 or self._end + _CELL > self._sectors.size

    def advance(self) -> None:
        """Record `count` is in flash: go to the next key and wipe this one, in flash and in RAM."""
        if self.key is None:
            self.count += 1
        else:
            self.skip(self.count + 1, next_key(self.key))

    def skip(self, count: int, key: bytearray) -> None:
        """Go on at `count` with its `key`."""
        if self.key is not None:
            wipe(self.key)
        self.count = count
        self.key = key
        self._put_key()

    def is_authentic(self, count: int, tag: bytes) -> bool:
        """Tell whether the collector has acknowledged all below `count`."""
        return constant_time_equal(tag, acknowledgement_tag(self._acknowledge_key, self._epoch, count))

    def acknowledged_tag(self) -> bytes:
        """Return the tag of the acknowledgement that is kept."""
        return acknowledgement_tag(self._acknowledge_key, self._epoch, self.acknowledged)

    def acknowledge(self, count: int, tag: bytes) -> None:
        """Keep an authentic acknowledgement, durably. The caller has compared `count`."""
        self.acknowledged = count
        self._note(_ACKNOWLEDGEMENT, count, tag + bytes(KEY_SIZE - TAG_SIZE))

    def lost(self, of_class: int) -> "tuple[int, int, int, int] | None":
        """Return (number of the RecordsLost, first, last, how many) of the latest loss of a class, or None.

        None as well if the collector knows of it: then the next loss starts a new range.
        """
        count, payload = self._notes.get(_LOSS + of_class, (-1, b""))
        if count < self.acknowledged:
            return None
        first, last, number = [int.from_bytes(payload[at : at + 4], "big") for at in (0, 4, 8)]
        return count, first, last, number

    def note_lost(self, of_class: int, sequence: int, first: int, last: int, number: int) -> None:
        """Keep, durably, that RecordsLost `sequence` is the latest of the class."""
        payload = b"".join([value.to_bytes(4, "big") for value in (first, last, number)])
        self._note(_LOSS + of_class, sequence, payload + bytes(KEY_SIZE - len(payload)))

    def _read_sector(self, sector: int, found: "list[tuple[int, int]]") -> int:
        """Take what the cells of `sector` say; return where the next one goes."""
        seed = self._sectors.seed(sector)
        cell = bytearray(_CELL)
        end = HEADER
        for offset in range(HEADER, self._sectors.size - _CELL + 1, _CELL):
            self._sectors.read(sector, offset, cell)
            if cell == _BLANK:
                continue
            end = offset + _CELL
            if not any(cell):
                continue
            kind = len(_MASKS) - 1
            while kind and not checksum.is_right(cell, seed ^ _MASKS[kind]):
                kind -= 1
            if kind:
                self._take_note(kind, int.from_bytes(cell[_COUNT:_CRC], "big"), bytes(cell[:KEY_SIZE]))
                continue
            found.append((sector, offset))
            if self.key is None or int.from_bytes(cell[_COUNT:_CRC], "big") >= self.count:
                self._take_key((sector, offset), 0)
        wipe(cell)
        return end

    def _take_note(self, kind: int, count: int, payload: bytes) -> None:
        if count < self._notes.get(kind, (0, b""))[0]:
            return
        if kind == _ACKNOWLEDGEMENT:
            if not self.is_authentic(count, payload[:TAG_SIZE]):
                return
            self.acknowledged = count
        self._notes[kind] = (count, payload)

    def _take_key(self, place: "tuple[int, int]", flips: int) -> bool:
        cell = bytearray(_CELL)
        self._sectors.read(place[0], place[1], cell)
        is_key = checksum.mend(cell, self._sectors.seed(place[0]) ^ _MASKS[_KEY], flips)
        if is_key:
            if self.key is not None:
                wipe(self.key)
            self.key = cell[:KEY_SIZE]
            self.count = int.from_bytes(cell[_COUNT:_CRC], "big")
            self._place = place
        wipe(cell)
        return is_key

    def _put_key(self) -> None:
        """Write the current key into the next cell, of a new sector if need be; then wipe the one before."""
        before = self._place
        has_moved = False
        while True:
            if self.is_full():
                self._open()
                has_moved = True
            if self.key is None or self._put(_KEY, self.count, self.key):
                break
        if self.key is not None:
            self._place = (self._sector, self._end - _CELL)
        if before[0] >= 0:
            self._wipe(before)
        if has_moved:
            self._retire_others()

    def _note(self, kind: int, count: int, payload: bytes) -> None:
        self._notes[kind] = (count, payload)
        while not self.is_full():
            if self._put(kind, count, payload):
                return
        self._put_key()  # moves, and takes the notes along

    def _open(self) -> None:
        """Take a new sector and copy the notes into it."""
        while self.is_full():
            self._sector = self._sectors.open(STATE, self.count, self._epoch, _HEAD)
            self._end = HEADER
            for kind in self._notes:
                count, payload = self._notes[kind]
                while not self.is_full() and not self._put(kind, count, payload):
                    pass

    def _put(self, kind: int, count: int, payload: "bytes | bytearray") -> bool:
        """Write one cell at the end. False if it does not read back right: then its place is used up, and wiped."""
        cell = bytearray(_CELL)
        cell[:KEY_SIZE] = payload
        cell[_COUNT:_CRC] = count.to_bytes(4, "big")
        checksum.close(cell, self._sectors.seed(self._sector) ^ _MASKS[kind])
        place = (self._sector, self._end)
        self._end += _CELL
        is_right = self._sectors.program(place[0], place[1], cell)
        if not is_right:
            self._wipe(place)
        wipe(cell)
        return is_right

    def _wipe(self, place: "tuple[int, int]") -> None:
        if not self._sectors.program(place[0], place[1], _WIPED):
            if not self._sectors.program(place[0], place[1], _WIPED):
                self.unwiped += 1

    def _retire_others(self) -> None:
        for sector in range(self._sectors.count):
            if self._sectors.use[sector] == STATE and sector != self._sector:
                self._sectors.retire(sector)
