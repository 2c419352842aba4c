"""What a board's flash is to hold after `vitrine flash`, part by part, checked before a byte of it is written."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vitrine_tools.errors import ToolError

from .boards import Board
from .flash_image import Image
from .partitions import SECTOR, Table

ERASED: Final = "erased"
_MIB: Final = 1024 * 1024


class FlashError(ToolError):
    """The board cannot be written with this, or was not."""


@dataclass(frozen=True)
class Part:
    """`data` goes to `offset`. `what`: for people."""

    name: str
    offset: int
    data: bytes
    what: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def file_name(self) -> str:
        return f"{self.name}.bin"


def plan(
    board: Board,
    flash_size: int,
    bootloader: Image,
    application: Image,
    *,
    is_keeping_evidence: bool = False,
    is_erasing_nvs: bool = False,
) -> list[Part]:
    """Return the parts by ascending offset; FlashError if the images are not for this board, or do not fit.

    is_keeping_evidence: journal and ledger stay. is_erasing_nvs: identity, keys and settings go.
    """
    table = board.tables.get(flash_size)
    if table is None:
        sizes = ", ".join(str(size // _MIB) for size in sorted(board.tables))
        raise FlashError(f"there is no partition table for {flash_size // _MIB} MiB of flash: there are {sizes}")
    _check(bootloader, board, "bootloader", bootloader.table_offset - board.chip.bootloader_offset)
    _check(application, board, "application", table["ota_0"].size)
    parts = [
        Part("bootloader", board.chip.bootloader_offset, bootloader.for_flash(flash_size).data, "bootloader"),
        Part("partition-table", bootloader.table_offset, table.to_binary(), f"{len(table)} partitions"),
        Part("ota_0", table["ota_0"].offset, application.data, _describe(application)),
        *_blanks(table, is_keeping_evidence, is_erasing_nvs),
    ]
    return sorted(parts, key=lambda part: part.offset)


def stage(parts: list[Part], folder: Path) -> None:
    """Write each part into a file of its own, for esptool to take it from; FlashError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in parts:
            (folder / part.file_name).write_bytes(part.data)
    except OSError as error:
        raise FlashError(f"cannot write to {folder}: {error.strerror}") from None


def _check(image: Image, board: Board, name: str, room: int) -> None:
    if image.is_application != (name == "application"):
        raise FlashError(f"the {name} is {'an application' if image.is_application else 'none, but a bootloader'}")
    if image.chip != board.chip:
        raise FlashError(f"the {name} is for an {image.chip.title}, and {board.name} has an {board.chip.title}")
    if len(image.data) > room:
        way = ": take a build with OTA slots, or a board with more flash" if image.is_application else ""
        raise FlashError(f"the {name} has {len(image.data):,} bytes, and its place in the flash {room:,}{way}")


def _blanks(table: Table, is_keeping_evidence: bool, is_erasing_nvs: bool) -> Iterator[Part]:
    """What is to be ones. They are written like data, because what is written is read back, and an erase is not."""
    wanted = {"otadata": "empty: starts ota_0"}
    if not is_keeping_evidence:
        wanted |= dict.fromkeys(("journal", "access"), ERASED)
    if is_erasing_nvs:
        wanted |= dict.fromkeys(("nvs", "nvs_keys"), ERASED)
    for label, what in wanted.items():
        yield Part(label, table[label].offset, b"\xff" * table[label].size, what)
    # without its header nothing starts it: no older firmware may be left to fall back to
    yield Part("ota_1", table["ota_1"].offset, b"\xff" * SECTOR, "its first sector erased: no image")


def _describe(application: Image) -> str:
    words = [application.project or "application", application.version]
    if application.secure_version:
        words.append(f"secure version {application.secure_version}")
    return " ".join(filter(None, [*words, "signed" if application.is_signed else ""]))
