"""The empty ledger as it is put into a flash image (firmware/SPEC.md 13.1): what the firmware's `provision` makes."""

import binascii
import struct
from typing import Final

SECTOR: Final = 4096
SIZE: Final = 16 * SECTOR
_GENERATION: Final = 1


def _closed(data: bytes) -> bytes:
    return data + struct.pack(">I", binascii.crc32(data))


_PAGE: Final = struct.pack(">4sI5s5s10x", b"vtlp", _GENERATION, bytes(5), b"\xff" * 5)
_LOG: Final = struct.pack(">4sI20x", b"LOG1", _GENERATION)
EMPTY: Final = (_closed(_PAGE.ljust(252, b"\xff")).ljust(SECTOR, b"\xff") + _closed(_LOG)).ljust(SIZE, b"\xff")
