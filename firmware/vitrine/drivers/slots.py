"""Application slots: which application of those that a lock has is to run, and its files at /app (SPEC.md 20.6).

boot.py loads this out of the image, before there is an application; app.update loads its own. Reads bundles (20.5)
that were checked whole before they came here: the digest of the file is looked at on each start, its form is not.
"""

import os
import struct
from binascii import crc32
from hashlib import sha256

import vfs
from deflate import RAW, DeflateIO
from machine import Timer, reset
from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PREFIX = "/slot-"  # in the root: a folder of their own would take two blocks
APP = "/app"
A = const(1)
B = const(2)
IMAGE = const(3)  # in the place of a slot: another image is on trial

_FORMAT = const(1)
_HEAD = ">BBBBI"
_ROW = ">II32s"
_SIZE = const(132)
_BUNDLE_HEAD = const(64)
_BUNDLE_ROW = const(5)
_PIECE = const(1024)
_WINDOW_BITS = const(11)
_FOLDER_MODE = const(0x4000)
_FILE_MODE = const(0x8000)
_ENOENT = const(2)
_EROFS = const(30)
# Who is on trial and alive, but does not mind the trial, is ended by the image's own timer.
_TIMER = const(1)
_TRIAL_MS = const(90_000)


class Slots:
    """The blob `slots`. active: what was confirmed: 0 the image's own application, A or B.

    trial: 0, A, B or IMAGE, with so many starts left. tried: the highest sequence that was ever on trial.
    rows: (size, sequence, digest) of A and of B, (address, sequence, digest) of the image on trial.
    """

    def __init__(self, store) -> None:
        """Read it; one that is missing or damaged is one of a new lock. OSError if the store cannot be read."""
        self._store = store
        data = store.load() or b""
        is_right = len(data) == _SIZE and data[0] == _FORMAT and crc32(data[:-4]) == int.from_bytes(data[-4:], "big")
        if not is_right:
            data = bytes(_SIZE)
        _, self.active, self.trial, self.starts, self.tried = struct.unpack_from(_HEAD, data)
        self.rows: "list[Any]" = [struct.unpack_from(_ROW, data, at) for at in (8, 48, 88)]

    def save(self) -> None:
        """Make it durable; OSError if it is not."""
        data = struct.pack(_HEAD, _FORMAT, self.active, self.trial, self.starts, self.tried)
        for row in self.rows:
            data += struct.pack(_ROW, *row)
        self._store.save(data + crc32(data).to_bytes(4, "big"))

    def sequence(self, number: int) -> int:
        """Return the sequence of A, B or IMAGE; 0 of 0."""
        return self.rows[number - 1][1] if number else 0


class Slot:
    """A bundle as a read-only file system: what import needs of one, and what it takes to look at it.

    Files are found by the CRC-32 of their path, which is compared then; folders by it alone.
    """

    def __init__(self, path: str, number: int, image_sequence: int) -> None:
        self._path = path
        self._about = image_sequence, number
        self._folders = crc32(b"").to_bytes(4, "big")
        with open(path, "rb") as file:
            size = 4 * int.from_bytes(file.read(_BUNDLE_HEAD)[12:14], "big")
            self._files = bytearray(size)
            self._rows = bytearray(size)  # where they are
            at = _BUNDLE_HEAD
            for i in range(0, size, 4):
                name, stored, _ = _row(file, at)
                struct.pack_into(">I", self._files, i, crc32(name))
                struct.pack_into(">I", self._rows, i, at)
                at = file.tell() + stored
                while b"/" in name:
                    name = name[: name.rfind(b"/")]
                    if _place(self._folders, name) < 0:
                        self._folders += crc32(name).to_bytes(4, "big")

    def mount(self, readonly: bool, mkfs: bool) -> None:
        """Take part in vfs.mount()."""

    def stat(self, path: str) -> "tuple[int, ...]":
        """Return what os.stat does: the device is the slot's number, the inode the sequence of the image below."""
        name = path.strip("/").encode()
        mode = _FOLDER_MODE if _place(self._folders, name) >= 0 else _FILE_MODE
        if mode == _FILE_MODE and _place(self._files, name) < 0:
            raise OSError(_ENOENT)
        return (mode,) + self._about + (0, 0, 0, 0, 0, 0, 0)

    def statvfs(self, path: str) -> "tuple[int, ...]":
        """Return what os.statvfs does: a block is a byte, none is free, and nothing can be written."""
        return 1, 1, os.stat(self._path)[6], 0, 0, len(self._files) >> 2, 0, 0, 1, 47

    def ilistdir(self, path: str) -> "Iterator[tuple[str, int, int, int]]":
        """Yield what os.ilistdir does."""
        folder = path.strip("/").encode()
        if _place(self._folders, folder) < 0:
            raise OSError(_ENOENT)
        if folder:
            folder += b"/"
        before = b""
        with open(self._path, "rb") as file:
            for i in range(0, len(self._rows), 4):
                name, _, size = _row(file, struct.unpack_from(">I", self._rows, i)[0])
                if name.startswith(folder):
                    name, *more = name[len(folder) :].split(b"/", 1)
                    # ordered by path: those of a folder come one after the other
                    if name != before:
                        yield (name.decode(), _FOLDER_MODE, 0, 0) if more else (name.decode(), _FILE_MODE, 0, size)
                    before = name

    def open(self, path: str, mode: str) -> "Any":
        """Open a file for reading, inflated while it is read."""
        if mode not in ("r", "rb"):
            raise OSError(_EROFS)
        name = path.strip("/").encode()
        place = _place(self._files, name)
        if place < 0:
            raise OSError(_ENOENT)
        file = open(self._path, "rb")  # noqa: SIM115 - whoever reads it closes it
        found, stored, size = _row(file, struct.unpack_from(">I", self._rows, 4 * place)[0])
        if found != name:
            file.close()
            raise OSError(_ENOENT)
        # the interpreter reads a .mpy to its end and no further
        return file if stored == size else DeflateIO(file, RAW, _WINDOW_BITS, True)


def _row(file, at: int) -> "tuple[bytes, int, int]":
    """Return (path, bytes stored, bytes of the file) of the row at `at`; the content is read next."""
    file.seek(at)
    length, stored, size = struct.unpack(">BHH", file.read(_BUNDLE_ROW))
    name = file.read(length)
    return b"vitrine/" + name + b".mpy" if name else b"main.mpy", stored, size


def path_of(number: int) -> str:
    """Return the path of the bundle in A or B."""
    return PREFIX + "ab"[number - 1]


def digest_of(path: str, size: int) -> bytes:
    """Return the SHA-256 of a file, or nothing if it cannot be read or has another size."""
    digest = sha256()
    buffer = bytearray(_PIECE)
    try:
        with open(path, "rb") as file:
            while True:
                count = file.readinto(buffer)
                if not count:
                    break
                size -= count
                digest.update(memoryview(buffer)[:count])
    except OSError:
        return b""
    return b"" if size else digest.digest()


def running() -> "tuple[int, int]":
    """Return (A or B, the sequence of the image) of the application at /app, or (0, 0): it is the image's own."""
    try:
        _, sequence, number = os.stat(APP)[:3]
    except OSError:
        return 0, 0
    # a folder of this name is none of ours
    return (number, sequence) if number else (0, 0)


def mount(store, floor: int, image_sequence: int) -> bool:
    """Choose what is to run, and mount it at /app; False: the image's own application is to run.

    A start on trial is counted, durably, before it happens. floor: what the integer upd_floor says, or 0.
    """
    slots = Slots(store)
    number = slots.trial if slots.trial < IMAGE else 0
    if number and slots.sequence(number) <= floor:
        # it has passed: the power failed before that was written here
        slots.active = number
        slots.trial = number = 0
        _is_saved(slots)  # else another time
    if number and slots.starts:
        slots.starts -= 1
        if not _is_saved(slots):
            number = 0  # a start that is not counted is none
    else:
        number = 0
    if slots.trial == IMAGE and slots.sequence(IMAGE) == image_sequence:
        _limit()
    for each in (number, slots.active):
        if each and slots.sequence(each) > image_sequence and _is_mounted(slots, each, image_sequence):
            if each == number:
                _limit()
            return True
    return False


def _is_saved(slots: Slots) -> bool:
    try:
        slots.save()
    except OSError:
        return False
    return True


def _limit() -> None:
    Timer(_TIMER).init(mode=Timer.ONE_SHOT, period=_TRIAL_MS, callback=_give_up)


def end_trial() -> None:
    """Stop the timer that ends a trial."""
    Timer(_TIMER).deinit()


def _is_mounted(slots: Slots, number: int, image_sequence: int) -> bool:
    """Mount a slot if its bundle is what it was; whatever is wrong with it must not keep the lock from starting."""
    size, _, digest = slots.rows[number - 1]
    path = path_of(number)
    if digest_of(path, size) != digest:
        return False
    try:
        vfs.mount(Slot(path, number, image_sequence), APP)
    except Exception:  # noqa: BLE001
        return False
    return True


def _give_up(_timer: Timer) -> None:
    reset()


def _place(known, name: bytes) -> int:
    """Return which of the CRC-32s in `known` is that of `name`, or -1."""
    wanted = crc32(name).to_bytes(4, "big")
    at = known.find(wanted)
    while at >= 0 and at & 3:
        at = known.find(wanted, at + 1)
    return at >> 2
