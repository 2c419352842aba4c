"""`vitrine flash`: bootloader, partition table and image into a board's flash, checked before and after."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output

if TYPE_CHECKING:
    from ..field.esptool import Esptool
    from ..field.flash_plan import Part

_MIB = 1024 * 1024


def flash(
    board: Annotated[str, typer.Option(help="which lock board it is, e.g. VITRINE_ESP32S3")],
    image: Annotated[
        Path | None, typer.Option(help="a merged MicroPython image, as downloaded; its partition table is replaced")
    ] = None,
    bootloader: Annotated[Path | None, typer.Option(help="instead of --image: bootloader.bin of a build")] = None,
    app: Annotated[Path | None, typer.Option(help="instead of --image: micropython.bin of a build")] = None,
    flash_size: Annotated[int | None, typer.Option(min=1, max=128, help="MiB (default: what the flash says)")] = None,
    port: Annotated[str | None, typer.Option(help="serial port, e.g. /dev/ttyUSB0")] = None,
    baud: Annotated[int, typer.Option(min=9600, max=4_000_000, help="while writing")] = 460_800,
    erase_nvs: Annotated[bool, typer.Option("--erase-nvs", help="also identity, keys and settings")] = False,
    keep_journal: Annotated[
        bool, typer.Option("--keep-journal", help="leave journal and ledger: the lock stays what it is")
    ] = False,
    no_stub: Annotated[bool, typer.Option("--no-stub", help="use the chip's ROM alone: slower")] = False,
    no_reset: Annotated[bool, typer.Option("--no-reset", help="you hold BOOT and press RESET yourself")] = False,
    folder: Annotated[Path, typer.Option(help="for the parts as they are written")] = Path("build/flash"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check and show all, write nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Write a board's flash: bootloader, our partition table, image; empty journal, ledger and OTA data."""
    from ..errors import ToolError
    from ..field import boards, flash_plan
    from ..field.esptool import Esptool, shown
    from ..field.flash import read_images, settle_flash_size

    target = boards.load(board)
    first, second = read_images(image, bootloader, app, target.chip)
    if erase_nvs and keep_journal:
        raise ToolError("a journal without its key in NVS is of no use: leave out --keep-journal or --erase-nvs")
    if port is None and not dry_run:
        raise ToolError(f"give --port: {_ports()}")
    tool = Esptool(target.chip, port or "PORT", baud, no_stub, no_reset)
    # what can be refused without the chip is refused before it is reset
    wanted = flash_size * _MIB if flash_size else None
    if wanted:
        flash_plan.plan(target, wanted, first, second)
    size = settle_flash_size(wanted, tool if port else None, first, second)
    parts = flash_plan.plan(target, size, first, second, is_keeping_evidence=keep_journal, is_erasing_nvs=erase_nvs)
    flash_plan.stage(parts, folder)
    command = tool.write_command(parts, folder)
    if as_json:
        rows = [
            {"part": part.name, "offset": part.offset, "size": len(part.data), "sha256": part.sha256, "what": part.what}
            for part in parts
        ]
        output.print_json({"board": target.name, "parts": rows, "command": command})
    else:
        _show(parts)
        output.print_line(shown(command))
    if dry_run:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise ToolError("say --yes: there is nobody to ask")
        lost = ", ".join(part.name for part in parts if part.what == flash_plan.ERASED)
        typer.confirm(f"Write this to {port}, and erase {lost or 'nothing'} of it?", abort=True, err=True)
    _write(tool, parts, folder)
    if not as_json:
        output.print_line(f"{target.name} on {port}: written and verified; provision it with `vitrine provision`")


def _show(parts: "list[Part]") -> None:
    output.print_line(f"{'part':<16} {'offset':>10} {'bytes':>11}  {'SHA-256':<16}  what")
    for part in parts:
        where = f"{part.name:<16} {part.offset:#10x} {len(part.data):>11,}"
        output.print_line(f"{where}  {part.sha256[:16]}  {output.one_line(part.what)}")


def _write(tool: "Esptool", parts: "list[Part]", folder: Path) -> None:
    """Write, with a line for each part that shows how far it is, if somebody watches."""
    is_watched = sys.stderr.isatty()
    is_open = False

    def show(part: "Part", percent: float) -> None:
        nonlocal is_open
        if is_watched:
            is_open = percent < 100
            end = "" if is_open else "\n"
            print(f"\r  {part.name:<16} {percent:5.1f} %", end=end, file=sys.stderr, flush=True)

    try:
        tool.write(parts, folder, show)
    finally:
        if is_open:
            print(file=sys.stderr)


def _ports() -> str:
    from serial.tools import list_ports

    found = sorted(port.device for port in list_ports.comports() if port.vid is not None)
    return f"there is {', '.join(found)}" if found else "no USB serial port is there now"
