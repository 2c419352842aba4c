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
    from collections.abc import Iterator
    from typing import Any

_MAGIC = const(b"vtb1")
_HEAD = const(64)
_CRC_AT = const(60)
_ROW = const(64)
_FILES_MAX = const(256)
_FILE_MIN = const(4)
_FILE_MAX = const(65_536)
_WINDOW_BITS = const(10)
_PIECE = const(512)
_MAIN = const(b"main.mpy")
_FOLDER = const(b"vitrine/")
_ENDING = const(b".mpy")
_PATH_MAX = const(47)


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
        # the CRC covers the header and the index, in which every row stands above the one before
        crc = crc32(head[:_CRC_AT])
        due = _HEAD + _ROW * count
        before = b""
        has_main = False
        for number in range(count):
            file.seek(_HEAD + _ROW * number)
            row = file.read(_ROW)
            crc = crc32(row, crc)
            name = _name(row[:48])
            has_main = has_main or name == _MAIN
            offset, stored, length, of_file = struct.unpack_from(">IIII", row, 48)
            end = offset + stored
            is_right = name > before and offset == due and 0 < stored <= length and _FILE_MIN <= length <= _FILE_MAX
            due = end + (-end & 3)
            if not is_right or due > size:
                raise BundleError
            before = name
            for _ in _contents(file, offset, stored, length, of_file, head[14:16]):
                yield
            file.seek(end)
            if any(file.read(due - end)):
                raise BundleError
        if due != size or not has_main or crc != int.from_bytes(head[_CRC_AT:], "big"):
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


def _name(padded: bytes) -> bytes:
    """Return a path in its canonical form; nothing that could lead anywhere else passes."""
    name = padded.rstrip(b"\0")
    if name == _MAIN:
        return name
    if len(name) > _PATH_MAX or not name.startswith(_FOLDER) or not name.endswith(_ENDING):
        raise BundleError
    for part in name[: -len(_ENDING)].split(b"/"):
        if not part or not all([0x61 <= byte <= 0x7A or 0x30 <= byte <= 0x39 or byte == 0x5F for byte in part]):
            raise BundleError
    return name


def _contents(file, offset: int, stored: int, length: int, crc: int, kind: bytes) -> "Iterator[None]":
    """Read one file to its end, in steps: it has its length and CRC, and is a .mpy of this kind."""
    file.seek(offset)
    source = file if stored == length else DeflateIO(file, RAW, _WINDOW_BITS)
    left = length
    found = 0
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
        found = crc32(piece, found)
        yield
    if found != crc:
        raise BundleError
    if source is not file:
        # it ends here, and used what is stored, all of it
        try:
            more = source.read(1)
        except (OSError, EOFError):
            raise BundleError
        if more or file.tell() != offset + stored:
            raise BundleError
