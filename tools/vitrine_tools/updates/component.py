"""What an update changes: an application bundle or an image for the chip, as its blocks (SPEC.md section 20.1)."""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Final

from .. import bundle, keys
from ..errors import ToolError
from ..field import boards, flash_image

BLOCK: Final = 4096
DIGEST: Final = 16  # bytes of each block's SHA-256 in the table
MAX_IMAGE: Final = 8 * 1024 * 1024  # more than any board's slot; the lock knows its own


class ComponentError(ToolError):
    """Not a component, or a damaged one."""


class Kind(IntEnum):
    """Which part of the lock it is."""

    APPLICATION = 0
    IMAGE = 1


@dataclass(frozen=True)
class Component:
    """One component. `sequence` and `version` are None where the file does not say.

    processor: what it runs on: of a bundle as mpy-cross calls it, or "any"; of an image the chip's name.
    """

    kind: Kind
    data: bytes
    sequence: int | None = None
    version: str | None = None
    processor: str = "any"

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
    return Component(Kind.APPLICATION, data, read.sequence, read.version, read.architecture)


def image(data: bytes) -> Component:
    """Return the component of an application image for an ESP32; ToolError says what is wrong with it.

    What a bootloader would refuse is not sent to a lock. What only fills up the file is left out.
    """
    read = flash_image.parse(data)
    if not read.is_application:
        raise ComponentError("not an application image: a bootloader, and no update can bring that")
    return Component(Kind.IMAGE, read.data, processor=read.chip.title)


def check_board(component: Component, name: str) -> None:
    """ComponentError if there is no such board, or another processor on it than the component is for."""
    if name == boards.EMULATED:
        # its images look like an ESP32's
        fits = component.kind is Kind.IMAGE or component.processor in ("any", "x64")
    else:
        chip = boards.load(name).chip
        fits = component.processor in ("any", chip.architecture, chip.title)
    if not fits:
        raise ComponentError(f"it is for {component.processor}, and {name} has another processor")


def read(path: Path) -> Component:
    """Return the component in a file, by what it begins with; ToolError if it is neither."""
    data = keys.read_file(path, "bundle or image", MAX_IMAGE)
    try:
        return application(data) if data[: len(bundle.MAGIC)] == bundle.MAGIC else image(data)
    except ToolError as error:
        raise ComponentError(f"{path}: {error}") from None
