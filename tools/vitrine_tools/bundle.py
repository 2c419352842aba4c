"""The application bundle: the firmware's `.mpy` in one archive, as an update carries it and a lock keeps it in a slot.

Not `boot.py`, which chooses the slot, and no third-party package: those are the image's. Source: firmware/SPEC.md 20.5.
"""

import itertools
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .errors import ToolError

MAGIC: Final = b"vtb1"
SIZE_MAX: Final = 192 * 1024
SMALL_SIZE_MAX: Final = 150 * 1024  # of which two fit a flash of 4 MiB, with the tables of three issuers' keys
FILES_MAX: Final = 256
FILE_MAX: Final = 65_535
MAIN: Final = "main.mpy"

_HEAD: Final = struct.Struct(">4sIIHBB32s12xI")
_ROW: Final = struct.Struct(">BHH")
_CRC_AT: Final = _HEAD.size - 4
_PATH_MAX: Final = 47
_PATH: Final = re.compile(r"main\.mpy|vitrine(/[a-z0-9_]+)+\.mpy")
_WINDOW_BITS: Final = -11  # raw deflate, 2 KiB: what the lock has to find room for while it imports

_MPY_MAGIC: Final = ord("M")
# MicroPython's py/persistentcode.h: the third byte of a .mpy is (architecture << 2) | sub-version of the native ABI
_ARCHITECTURES: Final = {0: "any", 2: "x64", 10: "xtensawin", 11: "rv32imc"}


class BundleError(ToolError):
    """Not a bundle of SPEC.md section 20.5, or files that cannot be in one."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is in a bundle. mpy: version and features as the lower half of `sys.implementation._mpy`. files by path."""

    sequence: int
    version: str
    mpy: int
    files: Mapping[str, bytes]

    @property
    def architecture(self) -> str:
        """The mpy-cross name of the processor it needs, or "any"."""
        return _ARCHITECTURES[self.mpy >> 10]


def pack(files: Mapping[str, bytes], sequence: int, version: str) -> bytes:
    """Return the bundle of these `.mpy` files by path; the same bytes for the same arguments and the same zlib.

    BundleError says which file, number or text cannot be in one.
    """
    _check_head(sequence, version.encode("utf-8", "surrogatepass"), files)
    mpy = _common_mpy(files)
    body = covered = b""
    for name, data in sorted((_name(path), data) for path, data in files.items()):
        stored = _smaller(data)
        row = _ROW.pack(len(name), len(stored), len(data)) + name
        body += row + stored
        covered += row + data
    size = _HEAD.size + len(body)
    if size > SIZE_MAX:
        raise BundleError(f"the bundle has {size:,} bytes: at most {SIZE_MAX:,} fit a lock's slot")
    head = _HEAD.pack(MAGIC, sequence, size, len(files), mpy & 0xFF, mpy >> 8, version.encode(), 0)[:_CRC_AT]
    return head + struct.pack(">I", zlib.crc32(head + covered)) + body


def read(data: bytes) -> Bundle:
    """Take a bundle apart; BundleError unless every byte of it is as section 20.5 says."""
    if not _HEAD.size <= len(data) <= SIZE_MAX or data[:4] != MAGIC:
        raise BundleError("not an application bundle")
    _, sequence, size, count, mpy_version, mpy_features, version, crc = _HEAD.unpack_from(data)
    if size != len(data):
        raise BundleError(f"the bundle is cut short or has too much: {len(data):,} bytes, not {size:,}")
    # what `pack` would have written, zeros between the fields included: nothing rides along unseen
    if _HEAD.pack(MAGIC, sequence, size, count, mpy_version, mpy_features, version.rstrip(b"\0"), crc) != data[:64]:
        raise BundleError("the bundle's header is not in its canonical form")
    files: dict[str, bytes] = {}
    offset = _HEAD.size
    covered, before = data[:_CRC_AT], b""
    for number in range(count):
        row, content, after = _unpack(data, offset)
        name = row[_ROW.size :]
        if number and name <= before:
            raise BundleError(f"the bundle's files are out of order at {_path(name)!r}")
        files[_path(name)] = content
        covered += row + content
        offset, before = after, name
    if offset != size:
        raise BundleError("the bundle has more than its files")
    if zlib.crc32(covered) != crc:
        raise BundleError("the bundle is damaged")
    _check_head(sequence, version.rstrip(b"\0"), files)
    mpy = mpy_version | mpy_features << 8
    if _common_mpy(files) != mpy:
        raise BundleError("the bundle's files are for another processor than its header says")
    return Bundle(sequence, version.rstrip(b"\0").decode(), mpy, files)


def _check_head(sequence: int, version: bytes, files: Mapping[str, bytes]) -> None:
    if not 1 <= sequence < 2**32:
        raise BundleError(f"a sequence is 1 to 4294967295, not {sequence}")
    if not 1 <= len(version) <= 32 or not all(0x20 <= byte < 0x7F for byte in version):
        raise BundleError("a version is 1 to 32 printable ASCII characters")
    if MAIN not in files or len(files) > FILES_MAX:
        raise BundleError(f"a bundle holds {MAIN} and at most {FILES_MAX} files in all")
    for path, data in files.items():
        if len(path) > _PATH_MAX or not _PATH.fullmatch(path):
            raise BundleError(f"{path!r} has no place in a bundle: {MAIN} and vitrine/**/*.mpy do, in 47 characters")
        if not 4 <= len(data) <= FILE_MAX:
            raise BundleError(f"{path} has {len(data):,} bytes: 4 to {FILE_MAX:,} are possible")


def _common_mpy(files: Mapping[str, bytes]) -> int:
    """The version and features that all files agree on."""
    versions, features = set(), set()
    for path, data in files.items():
        if data[0] != _MPY_MAGIC or data[2] >> 2 not in _ARCHITECTURES:
            raise BundleError(f"{path} is not a .mpy file of a kind that a lock can run")
        versions.add(data[1])
        features.add(data[2])
    features.discard(0)
    if len(versions) != 1 or len(features) > 1:
        raise BundleError("the .mpy files are of different versions or for different processors")
    return versions.pop() | (features.pop() if features else 0) << 8


def _smaller(data: bytes) -> bytes:
    """The content as it is stored: as it is, or deflated in whichever way makes it smallest."""
    ways = [data]
    for memory, strategy in itertools.product(range(9, 4, -1), (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED)):
        deflater = zlib.compressobj(9, zlib.DEFLATED, _WINDOW_BITS, memory, strategy)
        ways.append(deflater.compress(data) + deflater.flush())
    return min(ways, key=len)


def _name(path: str) -> bytes:
    """A path as a row has it: without what all have in common, and main.mpy, the first, as nothing."""
    return b"" if path == MAIN else path[8:-4].encode()


def _path(name: bytes) -> str:
    return f"vitrine/{name.decode('ascii', 'replace')}.mpy" if name else MAIN


def _unpack(data: bytes, offset: int) -> tuple[bytes, bytes, int]:
    """Return (row with its name, content, where the next row begins) of the row at `offset`."""
    if offset + _ROW.size > len(data):
        raise BundleError("the bundle has fewer files than it says")
    length, stored, size = _ROW.unpack_from(data, offset)
    begin = offset + _ROW.size + length
    end = begin + stored
    row = data[offset:begin]
    path = _path(row[_ROW.size :])
    if not 1 <= stored <= size or end > len(data):
        raise BundleError(f"the bundle is wrong about {path!r}")
    content = data[begin:end] if stored == size else _inflate(data[begin:end], size)
    if len(content) != size:
        raise BundleError(f"{path!r} is damaged in the bundle")
    return row, content, end


def _inflate(stored: bytes, size: int) -> bytes:
    """Inflate exactly `size` bytes with a window of 2 KiB; what ends otherwise gives nothing.

    One byte at a time, because zlib holds only what it returned before to its window: farther back within one piece of
    output it would read what the lock cannot.
    """
    inflater = zlib.decompressobj(_WINDOW_BITS)
    output = bytearray()
    try:
        for _ in itertools.repeat(None, size + 1):
            piece = inflater.decompress(stored, 1)
            output += piece
            stored = inflater.unconsumed_tail
            if inflater.eof:
                break
    except zlib.error:
        return b""
    whole = inflater.eof and not inflater.unused_data and len(output) == size
    return bytes(output) if whole else b""
