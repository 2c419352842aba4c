"""Where an update is put together: its manifest and table in a file, an application beside the slots, an image in its
partition. Source: SPEC.md sections 20.1 and 20.6.

All of it is what the power left; who comes back looks at each block again. Every method may raise OSError.
"""

import os
from hashlib import sha256

from esp32 import Partition
from micropython import const

from . import bundle
from .slots import PREFIX, A, B, path_of

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_STAGE = const("stage")
_NEW = const("new")
_ENOENT = const(2)
_EIO = const(5)
_HEAD = const(3)  # flags, length of the manifest
_SHADOW = const(1)  # flags
_STAGED = const(2)
_DIGEST = const(16)
_BLOCK = const(4096)
_PIECE = const(512)
_IMAGE_MAGIC = const(0xE9)


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError as error:
        if error.errno != _ENOENT:
            raise


def _size(path: str) -> int:
    try:
        return os.stat(path)[6]
    except OSError:
        return 0


def _running() -> Partition:
    return Partition(Partition.RUNNING)  # pyright: ignore[reportArgumentType] - the stubs know labels only


class Stage:
    """The manifest that is under way, and its table as far as it has come: /slot-stage.

    manifest: bytes, or None. is_shadow: not to be switched to. is_staged: that it was whole is on record. Nothing in it
    is believed: the manifest is verified again, the table hashed.
    """

    def __init__(self) -> None:
        self._path = PREFIX + _STAGE
        self.manifest: "bytes | None" = None
        self._flags = 0
        try:
            with open(self._path, "rb") as file:
                head = file.read(_HEAD)
                if len(head) == _HEAD:
                    self._flags = head[0]
                    self.manifest = file.read(head[1] << 8 | head[2])
        except OSError:
            self.manifest = None  # there is none, or it cannot be read: it comes again

    @property
    def is_shadow(self) -> bool:
        return bool(self._flags & _SHADOW)

    @property
    def is_staged(self) -> bool:
        return bool(self._flags & _STAGED)

    def begin(self, manifest: bytes, is_shadow: bool) -> None:
        """Keep another manifest, in place of everything that was here."""
        self.manifest = manifest
        self._flags = _SHADOW if is_shadow else 0
        with open(self._path, "wb") as file:
            file.write(bytes((self._flags, len(manifest) >> 8, len(manifest) & 0xFF)) + manifest)

    def end(self) -> None:
        """Forget it."""
        self.manifest = None
        self._flags = 0
        _remove(self._path)

    def unshadow(self) -> None:
        """It is to be switched to after all."""
        self._keep(self._flags & ~_SHADOW)

    def note(self) -> None:
        """That it is whole is on record."""
        self._keep(self._flags | _STAGED)

    def _keep(self, flags: int) -> None:
        self._flags = flags
        with open(self._path, "r+b") as file:
            file.write(bytes((flags,)))

    @property
    def table_size(self) -> int:
        """How much of the table is there."""
        return max(0, _size(self._path) - self._table)

    @property
    def _table(self) -> int:
        return _HEAD + len(self.manifest or b"")

    def add(self, pieces) -> None:
        """Add the table."""
        with open(self._path, "ab") as file:
            for piece in pieces:
                file.write(piece)

    def table_digest(self) -> bytes:
        """Return the SHA-256 of the table."""
        digest = sha256()
        with open(self._path, "rb") as file:
            file.seek(self._table)
            while True:
                piece = file.read(_PIECE)
                if not piece:
                    return digest.digest()
                digest.update(piece)

    def block_digest(self, number: int) -> bytes:
        """Return what the table says of a block."""
        with open(self._path, "rb") as file:
            file.seek(self._table + number * _DIGEST)
            return file.read(_DIGEST)


class Application:
    """An application on its way into a slot: one file, block after block, that gets its name last.

    number: of the slot, the one that is not `active`, which alone is never touched. littlefs copies a block of its own
    that was not full when something is added to it: what does not fill one stays in memory until the next block comes.
    """

    def __init__(self, active: int) -> None:
        self.number = B if active == A else A
        self._new = PREFIX + _NEW
        self._path = path_of(self.number)
        self._others = [self._new] + [path_of(each) for each in (A, B) if each != active]
        self._rest = b""  # what comes after the end of the file

    def room(self) -> int:
        """Return how many bytes there is room for, when what may go has gone."""
        block, _, _, free = os.statvfs(PREFIX[: PREFIX.rfind("/") + 1])[:4]
        return block * (free + sum([-(-_size(path) // block) for path in self._others]))

    def clear(self) -> None:
        """Make room: what is in another slot neither runs nor will."""
        self._rest = b""
        for path in self._others:
            _remove(path)

    def count(self) -> int:
        """Return how many blocks may be there."""
        return -(-_size(self._whole()) // _BLOCK)

    def cut(self, number: int) -> int:
        """Of so many good blocks, return how many stay: littlefs cannot shorten a file.

        The beginning of the next one may be there. It came with a good one: write() sees whether it still is.
        """
        if _size(self._whole()) - number * _BLOCK >= _BLOCK:
            self.clear()
            return 0
        return number

    def write(self, number: int, block, is_last: bool) -> None:
        """Add a block: the last one durably, another one but for a few bytes, which go with the next."""
        size = _size(self._new)
        there = size - number * _BLOCK
        if there + len(self._rest) != max(0, there):
            raise OSError(_EIO)
        # where the block of littlefs ends that is the last one to be full: each begins with as many pointers as its
        # number can be halved, and one, but for the first
        end = len(block) if is_last else _BLOCK - 4 * (2 * number - bin(number).count("1"))
        rest = bytes(block[end:])
        with open(self._new, "a+b") as file:
            if there > 0:
                file.seek(number * _BLOCK)
                if file.read(there) != block[:there]:
                    raise OSError(_EIO)
            file.write(self._rest)
            file.write(block[max(0, there) : end])
        self._rest = rest

    def read(self, number: int, size: int) -> "Iterator[bytes]":
        """Yield a block, piece by piece."""
        with open(self._whole(), "rb") as file:
            file.seek(number * _BLOCK)
            while size > 0:
                piece = file.read(min(size, _PIECE)) or self._rest
                if not piece:
                    return
                size -= len(piece)
                yield piece

    def check(self, size: int, sequence: int) -> "Iterator[None]":
        """Check its form, in steps; bundle.BundleError."""
        return bundle.check(self._whole(), size, sequence)

    def finish(self) -> None:
        """Give it the slot's name: it is whole."""
        if _size(self._new):
            os.rename(self._new, self._path)

    def _whole(self) -> str:
        return self._new if _size(self._new) else self._path


class Image:
    """An image on its way into the application partition that does not run."""

    def __init__(self) -> None:
        self._partition: "Any" = _running().get_next_update()
        info = self._partition.info()
        self.number: int = info[2]  # its address
        self.size: int = info[3]
        self._count = 0

    def clear(self) -> None:
        """Nothing has to go: a block is erased before it is written."""

    def count(self) -> int:
        """Return how many blocks may be there."""
        return self.size // _BLOCK

    def cut(self, number: int) -> int:
        """All good blocks stay."""
        return number

    def write(self, number: int, block, is_last: bool) -> None:
        """Erase and program a block, the last one filled up."""
        if number == 0 and (len(block) < 24 or block[0] != _IMAGE_MAGIC or not self._is_ours(block)):
            error = bundle.BundleError()
            error.is_foreign = True
            raise error
        if len(block) < _BLOCK:
            block = bytes(block) + b"\xff" * (_BLOCK - len(block))
        self._partition.writeblocks(number, block)

    def read(self, number: int, size: int) -> "Iterator[bytes]":
        """Yield a block, piece by piece."""
        for start in range(0, size, _PIECE):
            piece = bytearray(min(_PIECE, size - start))
            self._partition.readblocks(number, piece, start)
            yield piece

    def check(self, size: int, sequence: int) -> "Iterator[None]":
        """The chip checks it whole, when it is told to start it."""
        return iter(())

    def finish(self) -> None:
        """It has no name to get."""

    def start(self) -> None:
        """Have the chip start it next, on trial; OSError if the chip says that it is none."""
        self._partition.set_boot()

    def is_running(self, address: int) -> bool:
        """Tell whether the image at this address runs."""
        return _running().info()[2] == address

    def keep(self) -> None:
        """End the chip's trial of the image that runs."""
        Partition.mark_app_valid_cancel_rollback()

    def _is_ours(self, block) -> bool:
        """Tell whether an image is for the chip of the one that runs (its number is at 12)."""
        head = bytearray(24)
        _running().readblocks(0, head, 0)
        # without an image that runs from flash there is nothing to compare: the chip has the last word
        return head[0] != _IMAGE_MAGIC or head[12:14] == bytes(block[12:14])
