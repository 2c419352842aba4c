"""Images as a chip's bootloader reads them: of a bootloader or an application, and MicroPython's merged downloads.

Sources: ESP-IDF (docs: api-reference/system/app_image_format; bootloader_support/include/esp_app_format.h and
esp_app_desc.h), secure boot version 2 (docs: security/secure-boot-v2, "Signature Block Format").
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass, replace
from functools import reduce
from operator import xor
from typing import Final

from vitrine_tools.errors import ToolError

from .chips import CHIPS, Chip
from .partitions import APP, SECTOR, SECURE_TABLE_OFFSET, TABLE_OFFSET, TABLE_SIZE

_HEADER: Final = struct.Struct("<BBBBI4xH9xB")
_SEGMENT: Final = struct.Struct("<II")
_APP_DESCRIPTION: Final = struct.Struct("<II8x32s32s")
_MAGIC, _CHECKSUM, _APP_MAGIC = 0xE9, 0xEF, 0xABCD5432
_DIGEST_SIZE: Final = 32
_SEGMENTS_MAX: Final = 16
_SIGNATURES: Final = (b"\xe7\x02", b"\xe7\x03")  # RSA-PSS; ECDSA
_SIGNATURE_CRC: Final = 1196  # where it is in a block
_ROW: Final = struct.Struct("<2sBxII20x")
_TABLE_ROW, _TABLE_END = b"\xaa\x50", b"\xeb\xeb"
_MIB: Final = 1024 * 1024
FILE_MAX: Final = 16 * _MIB


class ImageError(ToolError):
    """Not an image that the chip would start, or one of another kind than it should be."""


@dataclass(frozen=True)
class Image:
    """One image without anything behind it. flash_size: what its header says, in bytes; a bootloader goes by it.

    table_offset: where a bootloader looks for the partition table, which is built into it. The rest is an application's
    own description; empty, and secure_version 0, in a bootloader.
    """

    data: bytes
    chip: Chip
    flash_size: int
    is_application: bool
    is_signed: bool
    table_offset: int = TABLE_OFFSET
    project: str = ""
    version: str = ""
    secure_version: int = 0

    def for_flash(self, size: int) -> "Image":
        """Return it with another size of the flash in its header, and its digest made right again.

        ImageError if it is signed: the signature would be wrong then.
        """
        if size == self.flash_size:
            return self
        if self.is_signed:
            raise ImageError(
                f"the bootloader is signed for {_mib(self.flash_size)} of flash: build it for {_mib(size)}"
            )
        speed = self.data[3] & 0x0F
        changed = self.data[:3] + bytes((_size_code(size) << 4 | speed,)) + self.data[4:-_DIGEST_SIZE]
        return replace(self, data=changed + hashlib.sha256(changed).digest(), flash_size=size)


def parse(data: bytes) -> Image:
    """Read one image, with nothing but filling behind it. ImageError says in one line why no chip would start it."""
    image = parse_first(data)
    if data[len(image.data) :].strip(b"\xff"):
        raise ImageError("there is more behind the image: is it a merged one? Give that with --image")
    return image


def parse_first(data: bytes) -> Image:
    """Read the image that `data` begins with, whatever follows."""
    if len(data) < _HEADER.size or data[0] != _MAGIC:
        raise ImageError("not an image for an ESP32: it does not begin with 0xe9")
    _, segments, _, speed_and_size, _, chip_id, has_digest = _HEADER.unpack_from(data)
    chip = next((chip for chip in CHIPS.values() if chip.image_id == chip_id), None)
    if chip is None:
        raise ImageError(f"an image for a chip that no lock board has (number {chip_id})")
    if not 1 <= segments <= _SEGMENTS_MAX:
        raise ImageError(f"the image is damaged: it would have {segments} segments")
    if has_digest != 1:
        raise ImageError("the image has no SHA-256 at its end: build it with one, as ESP-IDF does by default")
    end = _check_segments(data, segments)
    if hashlib.sha256(data[:end]).digest() != data[end : end + _DIGEST_SIZE]:
        raise ImageError("the image is cut short or damaged: its SHA-256 is wrong")
    end += _DIGEST_SIZE
    signature = -(-end // SECTOR) * SECTOR
    is_signed = data[signature : signature + 2] in _SIGNATURES
    if is_signed:
        _check_signature(data, signature)
        end = signature + SECTOR
    # the build that verifies and decrypts is large: its table is one place farther
    table_offset = SECURE_TABLE_OFFSET if is_signed else TABLE_OFFSET
    image = Image(data[:end], chip, _MIB << (speed_and_size >> 4), False, is_signed, table_offset)
    magic, secure_version, version, project = _APP_DESCRIPTION.unpack_from(
        data.ljust(_HEADER.size + _SEGMENT.size + _APP_DESCRIPTION.size, b"\0"), _HEADER.size + _SEGMENT.size
    )
    if magic != _APP_MAGIC:
        return image
    return replace(
        image, is_application=True, project=_text(project), version=_text(version), secure_version=secure_version
    )


def split(data: bytes, chip: Chip) -> tuple[Image, Image]:
    """Take a merged download apart: its bootloader, and the application that its own partition table starts.

    The table itself is not taken over. It begins at the bootloader's offset, or at the flash's with blanks before that.
    """
    base = chip.bootloader_offset
    if data[:base] == b"\xff" * base:
        data = data[base:]
    bootloader = parse_first(data)
    if bootloader.chip != chip:
        raise ImageError(f"the image is for an {bootloader.chip.title}, and the board has an {chip.title}")
    for table_offset in (TABLE_OFFSET, SECURE_TABLE_OFFSET):
        table = data[table_offset - base :][:TABLE_SIZE]
        if table.startswith(_TABLE_ROW):
            break
    else:
        raise ImageError(
            "not a merged image: there is no partition table in it; give parts with --bootloader and --app"
        )
    offset, size = _application_place(table)
    if not base < offset < base + len(data):
        raise ImageError("the merged image is cut short: its application is not in it")
    return replace(bootloader, table_offset=table_offset), parse_first(data[offset - base :][:size])


def _application_place(table: bytes) -> tuple[int, int]:
    """Return (offset, size) of the first application in a partition table that none of our rules holds for."""
    found = None
    for start in range(0, len(table) - _ROW.size + 1, _ROW.size):
        magic, kind, offset, size = _ROW.unpack_from(table, start)
        if magic == _TABLE_END:
            if table[start + 16 : start + 32] != hashlib.md5(table[:start], usedforsecurity=False).digest():
                raise ImageError("the merged image is damaged: its partition table's MD5 is wrong")
            if found is None:
                raise ImageError("the merged image has no application in it")
            return found
        if magic != _TABLE_ROW:
            break
        if kind == APP:
            found = found or (offset, size)
    raise ImageError("the merged image is damaged: its partition table has no end")


def _check_signature(data: bytes, at: int) -> None:
    """Check that the sector of signatures is whole and about this image: not by whom, which only the chip knows."""
    crc = data[at + _SIGNATURE_CRC : at + _SIGNATURE_CRC + 4]
    if len(data) < at + SECTOR or zlib.crc32(data[at : at + _SIGNATURE_CRC]) != int.from_bytes(crc, "little"):
        raise ImageError("the image is cut short or damaged: its signature is not whole")
    if data[at + 4 : at + 4 + _DIGEST_SIZE] != hashlib.sha256(data[:at]).digest():
        raise ImageError("the image has the signature of another one")


def _check_segments(data: bytes, segments: int) -> int:
    """Return where the digest begins; ImageError if the segments are not whole or their checksum is wrong."""
    at, checksum = _HEADER.size, _CHECKSUM
    for _ in range(segments):
        body = at + _SEGMENT.size
        if body > len(data):
            raise ImageError("the image is cut short")
        at = body + _SEGMENT.unpack_from(data, at)[1]
        if at > len(data):
            raise ImageError("the image is cut short")
        checksum = reduce(xor, data[body:at], checksum)
    end = at + 16 - at % 16  # filled up so that the checksum is the last of sixteen bytes
    if end > len(data) or data[end - 1] != checksum:
        raise ImageError("the image is cut short or damaged: its checksum is wrong")
    return end


def _size_code(size: int) -> int:
    return (size // _MIB).bit_length() - 1


def _mib(size: int) -> str:
    return f"{size // _MIB} MiB"


def _text(padded: bytes) -> str:
    return "".join(chr(byte) for byte in padded.partition(b"\0")[0] if 0x20 <= byte < 0x7F)
