"""An application image for the emulated chip: on the outside what ESP-IDF's are, inside the code as a ROMFS.

boards/unix/modules/_bootloader.py checks it as a bootloader does and mounts the code; esptool and `vitrine` read it as
an image for an ESP32. Source: ESP-IDF, esp_app_format.h and esp_app_desc.h.
"""

import hashlib
import struct
from pathlib import Path

CHIP_ESP32 = 0
_MAGIC = 0xE9
_CHECKSUM = 0xEF
_DESCRIPTION_MAGIC = 0xABCD5432
_DESCRIPTION_SIZE = 256
_LOAD_ADDRESS = 0x3F400020  # where an ESP32 sees its flash as data


def build(code: bytes, version: str, *, chip: int = CHIP_ESP32) -> bytes:
    """Return the image that holds `code`, a ROMFS of boot, main and vitrine."""
    description = struct.pack("<II8x32s32s", _DESCRIPTION_MAGIC, 0, version.encode(), b"vitrine")
    segment = description.ljust(_DESCRIPTION_SIZE, b"\0") + code
    segment += bytes(-len(segment) % 4)
    head = struct.pack("<BBBBI4xHBHH4xB", _MAGIC, 1, 2, 0x20, 0x40080000, chip, 0, 0, 0xFFFF, 1)
    image = head + struct.pack("<II", _LOAD_ADDRESS, len(segment)) + segment
    checksum = _CHECKSUM
    for byte in segment:
        checksum ^= byte
    image += bytes(15 - len(image) % 16) + bytes([checksum])
    return image + hashlib.sha256(image).digest()


def build_from(romfs: Path, version: str) -> bytes:
    """Return the image of a ROMFS in a file, as tools/checks/mpy_image.py makes them."""
    return build(romfs.read_bytes(), version)
