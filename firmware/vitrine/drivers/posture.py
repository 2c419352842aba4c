"""What the chip says of its own protection, and which image it runs. Each answer is None where it cannot be known.

Stock MicroPython has no way to the eFuses but their registers: the board names the one that tells of secure boot. Of
flash encryption the partition table as ESP-IDF loads it tells: where it is off, no partition is said to be encrypted;
where it is on, each application is (esp_partition, load_partitions).
"""

import machine
from esp32 import Partition
from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

_ENCRYPTED = const(5)  # of Partition.info()
_DESCRIPTION = const(32)  # where esp_app_desc_t begins in an image: behind the image's and the first segment's header
_MAGIC = const(b"\x32\x54\xcd\xab")
_ELF_DIGEST = const(144)  # app_elf_sha256, from there on
_DIGEST = const(32)


def is_secure_boot(fuse: "tuple[int, int] | None") -> "bool | None":
    """Read the eFuse bit (register's address, mask) that turns secure boot v2 on."""
    if fuse is None:
        return None
    return bool(machine.mem32[fuse[0]] & fuse[1])


def is_flash_encrypted() -> "bool | None":
    """Tell whether the image that runs is encrypted in flash."""
    try:
        return bool(_running().info()[_ENCRYPTED])
    except OSError:
        return None


def image_digest() -> "bytes | None":
    """Return the SHA-256 of the image's ELF file, as its description has it (`esptool image-info` prints it)."""
    data = bytearray(_ELF_DIGEST + _DIGEST)
    try:
        _running().readblocks(0, data, _DESCRIPTION)
    except OSError:
        return None
    if data[:4] != _MAGIC:
        return None
    return bytes(memoryview(data)[_ELF_DIGEST:])


def _running() -> "Any":
    return Partition(Partition.RUNNING)  # pyright: ignore[reportArgumentType] - the stubs know names only
