"""What `vitrine flash` reads and asks before it writes: the files it is given, and the chip on the cable."""

from pathlib import Path
from typing import Final

from vitrine_tools import keys

from . import flash_image
from .chips import Chip
from .esptool import Esptool
from .flash_image import Image, ImageError
from .flash_plan import FlashError

_MIB: Final = 1024 * 1024


def read_images(
    merged: Path | None, bootloader: Path | None, application: Path | None, chip: Chip
) -> tuple[Image, Image]:
    """Return (bootloader, application) from one merged file, or from one file each. ToolError names the wrong file."""
    if merged is not None and bootloader is None and application is None:
        try:
            return flash_image.split(_read(merged), chip)
        except ImageError as error:
            raise ImageError(f"{merged}: {error}") from None
    if merged is not None or bootloader is None or application is None:
        raise FlashError("give one merged image with --image, or --bootloader and --app")
    return _read_one(bootloader), _read_one(application)


def settle_flash_size(wanted: int | None, tool: Esptool | None, bootloader: Image, application: Image) -> int:
    """Return the size of the flash in bytes: what the chip on the cable says, or what is wanted if there is none.

    FlashError if the two differ, or if this chip would not start what is to be written: it checks signatures and there
    are none, or it encrypts its flash, and would take plain bytes for encrypted ones.
    """
    if tool is None:
        if wanted is None:
            raise FlashError("give --port, so that the size of the flash can be asked for, or --flash-size")
        return wanted
    fitting = tool.fitting()
    if fitting.is_encrypting:
        raise FlashError(f"the chip on {tool.port} encrypts its flash: update it over the air")
    if fitting.is_verifying and not (bootloader.is_signed and application.is_signed):
        raise FlashError(f"the chip on {tool.port} starts signed images only: these are not both signed")
    size = wanted or fitting.flash_size
    if size is None:
        raise FlashError(f"the flash on {tool.port} does not tell its size: give --flash-size")
    if fitting.flash_size not in (None, size):
        raise FlashError(f"{tool.port} has {fitting.flash_size // _MIB} MiB of flash, not {size // _MIB}")
    return size


def _read(path: Path) -> bytes:
    return keys.read_file(path, "image", flash_image.FILE_MAX)


def _read_one(path: Path) -> Image:
    try:
        return flash_image.parse(_read(path))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
