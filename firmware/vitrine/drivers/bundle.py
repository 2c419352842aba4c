"""Is a file a bundle that this interpreter can run, whole and harmless? Source: SPEC.md section 20.5.

Looks at all of it before it is ever mounted: drivers.slots relies on that. Inflates every file without keeping it, and
no further than its size says: one that would fill the memory is found here.
"""

import struct
import sys
from binascii import crc32

from deflate import RAW, DeflateIO
from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

_MAGIC = const(b"vtb1")
_HEAD = const(64)
_CRC_AT = const(60)
_ROW = const(5)
_NAME_MAX = const(35)
_FILES_MAX = const(256)
_FILE_MIN = const(4)
_WINDOW_BITS = const(11)
_PIECE = const(512)


class BundleError(ValueError):
    """Not a bundle of SPEC.md 20.5, or none for this interpreter (is_foreign)."""

    is_foreign = False


def check(path: str, size: int, sequence: int) -> "Iterator[None]":
    """Check the bundle at `path` of `size` bytes, in steps of some milliseconds each; BundleError, OSError."""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        if len(head) != _HEAD or head[:4] != _MAGIC:
            raise BundleError
        said_sequence, said_size, count = struct.unpack_from(">IIH", head, 4)
        if said_sequence != sequence or said_size != size or not 0 < count <= _FILES_MAX or any(head[48:_CRC_AT]):
            raise BundleError
        _check_version(head[16:48])
        _check_interpreter(head[14], head[15])
        # the CRC covers the header, the rows and the files
        crc = crc32(head[:_CRC_AT])
        at = _HEAD
        before = b""
        for number in range(count):
            file.seek(at)
            row = file.read(_ROW)
            if len(row) != _ROW:
                raise BundleError
            length, stored, file_size = struct.unpack(">BHH", row)
            name = file.read(length)
            crc = crc32(name, crc32(row, crc))
            at += _ROW + length
            # the first one, main.mpy, has no name
            is_right = (name > before and _is_name(name)) if number else not length
            if not is_right or not 0 < stored <= file_size or file_size < _FILE_MIN or at + stored > size:
                raise BundleError
            crc = yield from _contents(file, at, stored, file_size, crc, head[14:16])
            at += stored
            before = name
        if at != size or crc != int.from_bytes(head[_CRC_AT:], "big"):
            raise BundleError


def _check_version(text: bytes) -> None:
    text = text.rstrip(b"\0")
    if not text or not all([0x20 <= byte < 0x7F for byte in text]):
        raise BundleError


def _check_interpreter(version: int, features: int) -> None:
    """Refuse what the import would refuse: another .mpy version, other native code."""
    ours: "Any" = getattr(sys.implementation, "_mpy", 0)
    # the sub-version, bits 8 and 9, counts only with native code
    if version != ours & 0xFF or (features and features != ours >> 8 & 0xFF):
        error = BundleError()
        error.is_foreign = True
        raise error


def _is_name(name: bytes) -> bool:
    """Tell whether a name leads to a place below vitrine/ and nowhere else."""
    if len(name) > _NAME_MAX:
        return False
    for part in name.split(b"/"):
        if not part or not all([0x61 <= byte <= 0x7A or 0x30 <= byte <= 0x39 or byte == 0x5F for byte in part]):
            return False
    return True


def _contents(file, offset: int, stored: int, length: int, crc: int, kind: bytes) -> "Generator[None, None, int]":
    """Read one file to its end, in steps: it has its length, and is a .mpy of this kind. Return `crc` over it, too."""
    file.seek(offset)
    source = file if stored == length else DeflateIO(file, RAW, _WINDOW_BITS)
    left = length
    while left:
        try:
            piece = source.read(min(left, _PIECE))
        except (OSError, EOFError):
            raise BundleError
        if not piece:
            raise BundleError
        if left == length and (piece[:2] != b"M" + kind[:1] or piece[2] not in (0, kind[1])):
            raise BundleError
        left -= len(piece)
        crc = crc32(piece, crc)
        yield
    if source is not file:
        # it ends here, and used what is stored, all of it
        try:
            more = source.read(1)
        except (OSError, EOFError):
            raise BundleError
        if more or file.tell() != offset + stored:
            raise BundleError
    return crc
