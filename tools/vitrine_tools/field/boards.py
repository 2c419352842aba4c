"""The lock boards: a folder each under boards/, with pins.csv, and what is the same for all of them.

A board's `board` module, which the firmware imports, is written from pins.csv (tools/checks/boards.py --write).
"""

import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vitrine_tools.errors import ToolError

from . import partitions, pins
from .chips import CHIPS, Chip
from .partitions import PartitionError, Table
from .pins import PinError

BOARDS: Final = Path(__file__).parents[3] / "boards"
EMULATED: Final = "unix"

# RFC 9124 section 3.3: who makes the firmware, and what it runs on; version 5 UUIDs, of names.
VENDOR_ID: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "vitrine.example").bytes

_TARGET = re.compile(r"^include\(boards/mpconfigboard_(\w+)_common\.cmake\)$", re.MULTILINE)
_MODULE = '''"""{name}: a lock board with an {chip}. Written from pins.csv by tools/checks/boards.py.

{table}
"""

NAME = "{name}"
CLASS_ID = b"{class_id}"
{pins}
CPU_HZ = {cpu_hz:_}
SECURE_BOOT = (0x{fuse:X}, 0x{mask:X})  # register and bit of the eFuse
SERVE_ON = "0.0.0.0"  # every address of its own
trace = None  # the emulated board shows its records here
'''


class BoardError(ToolError):
    """There is no such board, or its folder is not one."""


@dataclass(frozen=True)
class Board:
    """pins: GPIO numbers by name, as the firmware knows them. tables: by size of the flash in bytes."""

    name: str
    chip: Chip
    pins: dict[str, int]
    tables: dict[int, Table]

    @property
    def folder(self) -> Path:
        return BOARDS / self.name

    @property
    def class_id(self) -> bytes:
        """16 bytes: what a manifest must name to be taken by a lock of this kind."""
        return class_id(self.name)

    def module(self) -> str:
        """The source of its `board` module."""
        rows = [f"| {name} | {gpio} | {pins.ROLES[name].circuit} |" for name, gpio in self.pins.items()]
        return _MODULE.format(
            name=self.name,
            chip=self.chip.title,
            table="\n".join(["| name | GPIO | circuit |", "|---|---:|---|", *rows]),
            class_id="".join(f"\\x{byte:02x}" for byte in self.class_id),
            pins="\n".join(f"{name} = {gpio}" for name, gpio in self.pins.items()),
            cpu_hz=self.chip.cpu_hz,
            fuse=self.chip.secure_boot[0],
            mask=self.chip.secure_boot[1],
        )


def class_id(name: str) -> bytes:
    """The class id of the board of this name, of the emulated one too."""
    return uuid.uuid5(uuid.UUID(bytes=VENDOR_ID), name).bytes


def names(boards: Path = BOARDS) -> list[str]:
    """Of all lock boards with a chip."""
    return sorted(path.parent.name for path in boards.glob("*/pins.csv"))


def load(name: str, boards: Path = BOARDS) -> Board:
    """Return a board whose pins and partition tables are as a lock needs them. Raises BoardError, in one line."""
    folder = boards / name
    if name not in names(boards):
        raise BoardError(f"no board {name}: there are {', '.join(names(boards)) or 'none'}")
    try:
        match = _TARGET.search((folder / "mpconfigboard.cmake").read_text(encoding="utf-8"))
        if match is None or match[1] not in CHIPS:
            raise BoardError(f"{name}: mpconfigboard.cmake includes no boards/mpconfigboard_CHIP_common.cmake")
        chip = CHIPS[match[1]]
        found = pins.load(folder / "pins.csv")
        pins.check(found, chip)
        tables = [partitions.load(path) for path in sorted(boards.glob("partitions-*.csv"))]
    except (PinError, PartitionError, OSError, UnicodeDecodeError) as error:
        raise BoardError(f"{name}: {error}") from error
    return Board(name, chip, found, {table.flash_size: table for table in tables})
