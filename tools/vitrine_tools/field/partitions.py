"""The partition table of a board's flash: read from CSV, held to rules, to and from the bytes that the chip reads.

The CSV is ESP-IDF's own (docs: api-guides/partition-tables), read strictly: what its generator would fill in, guess or
let pass is an error here, so that file, build and `vitrine flash` cannot differ.
"""

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vitrine_tools import ledger
from vitrine_tools.errors import ToolError

APP, DATA = 0x00, 0x01
OTADATA, PHY, NVS, NVS_KEYS, LITTLEFS = 0x00, 0x01, 0x02, 0x04, 0x83  # subtypes of DATA
OTA_0, OTA_1 = 0x10, 0x11  # subtypes of APP
JOURNAL, ACCESS = 0x40, 0x41  # subtypes of DATA, ours: firmware/SPEC.md sections 8 and 13
ENCRYPTED, READONLY = 1, 2

TABLE_OFFSET = 0x8000  # in stock images and ours for development
# In production: the bootloader that verifies and decrypts has up to 52 KiB with its signature, from 0x1000 on ESP32.
SECURE_TABLE_OFFSET = 0xE000
SECTOR = 0x1000
TABLE_SIZE = SECTOR  # what the table has in flash
_TABLE_MAX = 0xC00  # what the bootloader reads of it
_FIRST_OFFSET = SECURE_TABLE_OFFSET + SECTOR  # one layout for both
_APP_ALIGNMENT = 0x10000  # the MMU maps pages of 64 KiB
_MIB = 1024 * 1024

_TYPES = {"app": APP, "data": DATA}
_SUBTYPES = {
    APP: {"factory": 0x00, "test": 0x20, **{f"ota_{number}": OTA_0 + number for number in range(16)}},
    DATA: {
        "ota": OTADATA,
        "phy": PHY,
        "nvs": NVS,
        "coredump": 0x03,
        "nvs_keys": NVS_KEYS,
        "efuse": 0x05,
        "undefined": 0x06,
        "esphttpd": 0x80,
        "fat": 0x81,
        "spiffs": 0x82,
        "littlefs": LITTLEFS,
    },
}
_FLAGS = {"encrypted": ENCRYPTED, "readonly": READONLY}
_UNITS = {"K": 1024, "M": _MIB}
_COLUMNS = ["Name", "Type", "SubType", "Offset", "Size", "Flags"]
_FILE_NAME = re.compile(r"partitions-([1-9][0-9]*)MiB\.csv")
_LABEL = re.compile(r"\w{1,15}", re.ASCII)  # ESP-IDF takes 16; the chip's strings end with a zero, and so do ours
_NUMBER = re.compile(r"(0x[0-9a-fA-F]+|[0-9]+)([KM]?)")

_ROW = struct.Struct("<2sBBII16sI")
_MAGIC, _MD5_MAGIC = b"\xaa\x50", b"\xeb\xeb" + b"\xff" * 14
_BLANK = b"\xff" * _ROW.size

# What every lock has: label, type, subtype, flags, least size, greatest size (None: any).
# An image is 1.5 MiB and a little less; the journal holds 10,000 records in 512 KiB and has 1024 sectors at most
# (SPEC.md 8), the ledger is 16 sectors (13). NVS: all blobs of SPEC.md at their longest, the radio's calibration and
# the room to replace the longest blob are 440 entries of 32 bytes; a page has 126, and one page must stay free.
_WANTED = (
    ("phy_init", DATA, PHY, 0, 0x1000, 0x1000),
    ("ota_0", APP, OTA_0, 0, 0x180000, None),
    ("ota_1", APP, OTA_1, 0, 0x180000, None),
    ("nvs", DATA, NVS, 0, 0x5000, None),
    ("otadata", DATA, OTADATA, 0, 0x2000, 0x2000),
    ("nvs_keys", DATA, NVS_KEYS, ENCRYPTED, 0x1000, 0x1000),
    ("journal", DATA, JOURNAL, 0, 512 * 1024, 1024 * SECTOR),
    ("access", DATA, ACCESS, 0, ledger.SIZE, ledger.SIZE),
    ("vfs", DATA, LITTLEFS, 0, 256 * 1024, None),
)


class PartitionError(ToolError):
    """Not a partition table, or one that no lock can work with."""


@dataclass(frozen=True)
class Partition:
    """A row. `flags`: ENCRYPTED, READONLY or 0."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int
    flags: int = 0

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.offset + self.size


@dataclass(frozen=True)
class Table:
    """Partitions in the order of their offsets, in a flash of `flash_size` bytes. Made by load() and from_binary()."""

    partitions: tuple[Partition, ...]
    flash_size: int

    def __iter__(self) -> Iterator[Partition]:
        return iter(self.partitions)

    def __len__(self) -> int:
        return len(self.partitions)

    def __getitem__(self, label: str) -> Partition:
        """Raise KeyError if there is no partition of this label."""
        for partition in self.partitions:
            if partition.label == label:
                return partition
        raise KeyError(label)

    def __contains__(self, label: object) -> bool:
        return any(partition.label == label for partition in self.partitions)

    def to_binary(self) -> bytes:
        """Return the table's sector: rows, the row with their MD5, blank to its end."""
        rows = b"".join(
            _ROW.pack(_MAGIC, row.type, row.subtype, row.offset, row.size, row.label.encode(), row.flags)
            for row in self.partitions
        )
        rows += _MD5_MAGIC + hashlib.md5(rows, usedforsecurity=False).digest()
        return rows.ljust(TABLE_SIZE, b"\xff")

    @classmethod
    def from_binary(cls, data: bytes, flash_size: int) -> "Table":
        """Read what a chip has where its table is, at least the first 0xC00 bytes.

        Raises PartitionError: no table, a damaged one, or rows that no flash of this size can have. Whether a lock can
        work with it is what check() says.
        """
        rows: list[Partition] = []
        for start in range(0, min(len(data), _TABLE_MAX) - _ROW.size + 1, _ROW.size):
            row = data[start : start + _ROW.size]
            if row[:16] == _MD5_MAGIC:
                if row[16:] != hashlib.md5(data[:start], usedforsecurity=False).digest():
                    raise PartitionError("the partition table is damaged: its MD5 is wrong")
                return cls.of(rows, flash_size)
            magic, type_, subtype, offset, size, label, flags = _ROW.unpack(row)
            if magic != _MAGIC:
                raise PartitionError("no partition table" if not rows else f"row {len(rows) + 1} is no partition")
            name, _, rest = label.partition(b"\0")
            if rest.strip(b"\0") or not name.isascii() or not name.decode("ascii").isprintable():
                raise PartitionError(f"row {len(rows) + 1} has a damaged label")
            rows.append(Partition(name.decode("ascii"), type_, subtype, offset, size, flags))
        raise PartitionError("the partition table has no end")

    @classmethod
    def of(cls, rows: Iterable[Partition], flash_size: int) -> "Table":
        """Raise PartitionError, in one line for all that is wrong, if no flash can have these rows in this order."""
        table = cls(tuple(rows), flash_size)
        _raise(_layout_troubles(table))
        return table


def load(path: Path) -> Table:
    """Read partitions-NMiB.csv, where N is the size of the flash; hold it to what every lock needs.

    Raises PartitionError with the file's name and all that is wrong with it, or OSError.
    """
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise PartitionError(f"{path.name}: a table is called partitions-NMiB.csv, after the size of its flash")
    try:
        table = Table.of(parse(path.read_text(encoding="utf-8")), int(match[1]) * _MIB)
        check(table)
    except (PartitionError, UnicodeDecodeError) as error:
        raise PartitionError(f"{path.name}: {error}") from None
    return table


def parse(text: str) -> list[Partition]:
    """Read the rows of a CSV. Raises PartitionError with the number of the line."""
    rows: list[Partition] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            rows.append(_parse_row(line))
        except PartitionError as error:
            raise PartitionError(f"line {number}: {error}") from None
    return rows


def check(table: Table) -> None:
    """Raise PartitionError, in one line for all that is wrong, if a lock cannot work with this table."""
    _raise(_lock_troubles(table))


def _parse_row(line: str) -> Partition:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) == len(_COLUMNS) - 1:
        fields.append("")  # without flags
    if len(fields) != len(_COLUMNS):
        raise PartitionError(f"{len(fields)} columns, not {len(_COLUMNS)}: {', '.join(_COLUMNS)}")
    label, type_name, subtype_name, offset, size, flag_names = fields
    if not _LABEL.fullmatch(label):
        raise PartitionError(f"a label has 1 to 15 letters, digits and _: {label!r}")
    type_ = _TYPES.get(type_name)
    if type_ is None:
        raise PartitionError(f"type {type_name!r} is neither app nor data")
    subtype = _SUBTYPES[type_].get(subtype_name)
    if subtype is None:
        subtype = _number(subtype_name, "subtype")
        if type_ != DATA or not 0x40 <= subtype <= 0x7F:
            raise PartitionError(f"subtype {subtype_name}: a number is for data of our own, 0x40 to 0x7f")
    flags = 0
    for name in filter(None, flag_names.split(":")):
        if name not in _FLAGS:
            raise PartitionError(f"no such flag: {name}")
        flags |= _FLAGS[name]
    return Partition(label, type_, subtype, _number(offset, "offset"), _number(size, "size"), flags)


def _number(text: str, what: str) -> int:
    if not text:
        raise PartitionError(f"the {what} must be written out")
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise PartitionError(f"{what} {text!r} is not a number like 0x1000, 4096, 4K or 1M")
    # int(): one with zeros in front is taken as decimal nowhere else
    if len(match[1]) > 1 and match[1][0] == "0" and match[1][1] not in "xX":
        raise PartitionError(f"{what} {text!r} begins with 0")
    return int(match[1], 0) * _UNITS.get(match[2], 1)


def _layout_troubles(table: Table) -> Iterator[str]:
    """What no flash can have, whatever it is for."""
    if not table.partitions:
        yield "no partitions"
    if (len(table) + 1) * _ROW.size > _TABLE_MAX:
        yield f"{len(table)} rows are too many"
    labels = [row.label for row in table]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        yield f"two partitions are called {label}"
    last_end = _FIRST_OFFSET
    last_label = "the partition table"
    for row in table:
        if row.offset % (_APP_ALIGNMENT if row.type == APP else SECTOR):
            yield f"{row.label} begins at {row.offset:#x}, no multiple of {64 if row.type == APP else 4} KiB"
        if row.size <= 0 or row.size % SECTOR:
            yield f"{row.label} has {row.size:#x} bytes, no multiple of 4 KiB"
        if row.offset < last_end:
            yield f"{row.label} overlaps {last_label}, or lies before it"
        if row.end > table.flash_size:
            yield f"{row.label} ends at {row.end:#x}, behind a flash of {table.flash_size:#x}"
        last_end, last_label = row.end, row.label


def _lock_troubles(table: Table) -> Iterator[str]:
    """What no lock can work with."""
    for label, type_, subtype, flags, least, greatest in _WANTED:
        if label not in table:
            yield f"no partition {label}"
            continue
        row = table[label]
        if (row.type, row.subtype) != (type_, subtype):
            yield f"{label} is type {row.type}, subtype {row.subtype:#x}, not {type_} and {subtype:#x}"
        if row.flags != flags:
            yield f"{label} has flags {row.flags}, not {flags}"
        if row.size < least:
            yield f"{label} has {row.size:#x} bytes, at least {least:#x} are needed"
        elif greatest is not None and row.size > greatest:
            yield f"{label} has {row.size:#x} bytes, at most {greatest:#x} are of use"
    wanted = [row[0] for row in _WANTED]
    for row in table:
        # a factory slot would be a firmware that no update replaces; a core dump has keys in it
        if row.label not in wanted:
            yield f"{row.label} is nothing that a lock has"
    if "ota_0" in table and "ota_1" in table and table["ota_0"].size != table["ota_1"].size:
        yield "ota_0 and ota_1 differ in size"
    free = table.flash_size - max((row.end for row in table), default=0)
    if free > 0:
        # MicroPython makes a partition "vfs" of it where there is none; ours is there, so it would lie idle
        yield f"{free:#x} bytes at the end of the flash belong to nothing"


def _raise(troubles: Iterator[str]) -> None:
    text = "; ".join(troubles)
    if text:
        raise PartitionError(text)
