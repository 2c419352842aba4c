"""What an update changes: an application bundle or an image for the chip, as its blocks (SPEC.md section 20.1)."""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Final

from .. import bundle, keys
from ..errors import ToolError

BLOCK: Final = 4096
DIGEST: Final = 16  # bytes of each block's SHA-256 in the table
MAX_IMAGE: Final = 8 * 1024 * 1024  # more than any board's slot; the lock knows its own

# ESP-IDF: esp_image_format.h and esp_app_desc.h
_HEAD: Final = struct.Struct("<BBBBI4xH9xB")
_SEGMENT: Final = struct.Struct("<II")
_MAGIC: Final = 0xE9
_CHECKSUM: Final = 0xEF
_MAX_SEGMENTS: Final = 16
_APP_MAGIC: Final = 0xABCD5432
_CHIPS: Final = {
    0: "ESP32",
    2: "ESP32-S2",
    5: "ESP32-C3",
    9: "ESP32-S3",
    12: "ESP32-C2",
    13: "ESP32-C6",
    16: "ESP32-H2",
}


class ComponentError(ToolError):
    """Not a component, or a damaged one."""


class Kind(IntEnum):
    """Which part of the lock it is."""

    APPLICATION = 0
    IMAGE = 1


@dataclass(frozen=True)
class Component:
    """One component. `sequence` and `version` are None where the file does not say; `chip` only of an image."""

    kind: Kind
    data: bytes
    sequence: int | None = None
    version: str | None = None
    chip: str | None = None

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the whole."""
        return hashlib.sha256(self.data).digest()

    @cached_property
    def table(self) -> bytes:
        """The first 16 bytes of the SHA-256 of each block of 4096 bytes; the last one is shorter."""
        blocks = (self.data[at : at + BLOCK] for at in range(0, len(self.data), BLOCK))
        return b"".join(hashlib.sha256(block).digest()[:DIGEST] for block in blocks)

    @cached_property
    def stream(self) -> bytes:
        """What goes over a link: the table, then the component."""
        return self.table + self.data


def application(data: bytes) -> Component:
    """Return the component of a bundle; ToolError if it is none."""
    read = bundle.read(data)
    return Component(Kind.APPLICATION, data, read.sequence, read.version)


def image(data: bytes) -> Component:
    """Return the component of an application image for an ESP32; ComponentError says what is wrong with it.

    Its checksum and, if it has one, its digest are checked: what a bootloader would refuse is not sent to a lock.
    """
    if len(data) > MAX_IMAGE:
        raise ComponentError(f"the image has {len(data):,} bytes: no slot takes more than {MAX_IMAGE:,}")
    if len(data) < _HEAD.size or data[0] != _MAGIC:
        raise ComponentError("not an image for an ESP32: it does not begin with 0xe9")
    _, segments, _, _, _, chip, has_digest = _HEAD.unpack_from(data)
    if not 1 <= segments <= _MAX_SEGMENTS:
        raise ComponentError(f"not an image for an ESP32: it would have {segments} segments")
    if chip not in _CHIPS:
        raise ComponentError(f"an image for a chip that is not known here: number {chip}")
    at, checksum = _HEAD.size, _CHECKSUM
    for _ in range(segments):
        if at + _SEGMENT.size > len(data):
            raise ComponentError("the image is cut short")
        _, size = _SEGMENT.unpack_from(data, at)
        at += _SEGMENT.size
        if at + size > len(data):
            raise ComponentError("the image is cut short")
        for byte in data[at : at + size]:
            checksum ^= byte
        at += size
    at += 16 - at % 16  # so padded that the checksum is the last byte of sixteen
    if at > len(data) or data[at - 1] != checksum:
        raise ComponentError("the image is damaged: its checksum is wrong")
    if has_digest and hashlib.sha256(data[:at]).digest() != data[at : at + 32]:
        raise ComponentError("the image is damaged: its digest is wrong")
    first = _HEAD.size + _SEGMENT.size
    if len(data) < first + 256 or int.from_bytes(data[first : first + 4], "little") != _APP_MAGIC:
        raise ComponentError("not an application image: a bootloader or something else, and no update can bring that")
    return Component(Kind.IMAGE, data, chip=_CHIPS[chip])


def read(path: Path) -> Component:
    """Return the component in a file, by what it begins with; ToolError if it is neither."""
    data = keys.read_file(path, "bundle or image", MAX_IMAGE)
    try:
        return application(data) if data[: len(bundle.MAGIC)] == bundle.MAGIC else image(data)
    except ToolError as error:
        raise ComponentError(f"{path}: {error}") from None
