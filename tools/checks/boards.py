"""The lock boards: pins, partition tables, build files and wiring page of each, held to what a lock needs.

python tools/checks/boards.py [--write] [FOLDER]     FOLDER: the one with the boards' folders (default: boards)
--write first writes each board's modules/board.py from its pins.csv.

Prints one line for each trouble and exits with 1, or one line in all and exits with 0.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from vitrine_tools.field import boards
from vitrine_tools.field.boards import Board, BoardError
from vitrine_tools.field.partitions import SECURE_TABLE_OFFSET

STRIKE = Path(__file__).resolve().parents[2] / "firmware" / "vitrine" / "drivers" / "strike.py"
FILES = ("README.md", "board.json", "manifest.py", "mpconfigboard.h", "sdkconfig.board")
MODULE = Path("modules", "board.py")
# what every image of a lock is built with; fragments may be shared, so each must be in one that the board is built of
ALWAYS = {
    "CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE": "y",  # an update that does not come up goes
    "CONFIG_ESP_COREDUMP_ENABLE_TO_NONE": "y",  # memory has keys in it
    "CONFIG_ESP_SYSTEM_PANIC_SILENT_REBOOT": "y",  # so has the stack that a panic prints
    "CONFIG_LOG_DEFAULT_LEVEL_NONE": "y",
    "CONFIG_ESP_BROWNOUT_DET": "y",
    "CONFIG_ESP_INT_WDT": "y",
    "CONFIG_ESP_TASK_WDT_EN": "y",
    "CONFIG_BOOTLOADER_WDT_ENABLE": "y",
    "CONFIG_BT_NIMBLE_ENABLED": "y",
    "CONFIG_BT_NIMBLE_NVS_PERSIST": "n",
    "CONFIG_ESP_WIFI_NVS_ENABLED": "n",
}
SECURE = {
    "CONFIG_SECURE_BOOT": "y",
    "CONFIG_SECURE_BOOT_V2_ENABLED": "y",
    "CONFIG_SECURE_BOOT_BUILD_SIGNED_BINARIES": "n",  # the key is not where the image is built
    "CONFIG_SECURE_FLASH_ENC_ENABLED": "y",
    "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE": "y",
    "CONFIG_NVS_ENCRYPTION": "y",
    "CONFIG_SECURE_DISABLE_ROM_DL_MODE": "y",
    "CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK": "y",
    "CONFIG_PARTITION_TABLE_OFFSET": hex(SECURE_TABLE_OFFSET),
}
SHARED, PRODUCTION = "sdkconfig.lock", "sdkconfig.secure"
_OPTION = re.compile(r"(CONFIG_[A-Z0-9_]+)=(y|n|\"[^\"]*\"|-?[0-9]+|0x[0-9a-f]+)")


def strike_words(source: str | None = None) -> int:
    """RMT words that the longest pulse train of the strike takes, with its end mark: from the driver's constants."""
    found = dict(re.findall(r"^(\w+) = const\(([0-9_]+)\)$", source or STRIKE.read_text(), re.MULTILINE))
    longest_ms = 3 * int(found["_SPARE_MS"])
    ticks = longest_ms * int(found["_TICKS_IN_2_MS"]) // 2
    pulses = -(-ticks // int(found["_PULSE_MAX"]))
    return -(-pulses // 2) + 1


def check(root: Path) -> Iterator[str]:
    """Yield what is wrong with the boards in `root`, a line each."""
    found = boards.names(root)
    if not found:
        yield f"{root}: no boards"
    for name in found:
        try:
            board = boards.load(name, root)
        except BoardError as error:
            yield str(error)
        else:
            for trouble in _board_troubles(board, root):
                yield f"{name}: {trouble}"


def write(root: Path) -> None:
    """Write the `board` modules. A board that cannot be loaded is left to check()."""
    for name in boards.names(root):
        try:
            source = boards.load(name, root).module()
        except BoardError:
            continue
        target = root / name / MODULE
        target.parent.mkdir(exist_ok=True)
        target.write_text(source)


def _board_troubles(board: Board, root: Path) -> Iterator[str]:
    folder = root / board.name
    missing = [file for file in FILES if not (folder / file).is_file()]
    yield from (f"{file} is missing" for file in missing)
    module = folder / MODULE
    if not module.is_file() or module.read_text() != board.module():
        yield f"{MODULE} is not what pins.csv says: run tools/checks/boards.py --write"
    if strike_words() > board.chip.rmt_words:
        yield f"the strike's longest train does not fit into a channel of {board.chip.rmt_words} words"
    if "mpconfigboard.h" not in missing:
        for wanted in (f'MICROPY_HW_BOARD_NAME +"{board.name}"', f'MICROPY_HW_MCU_NAME +"{board.chip.title}"'):
            if not re.search(f"^#define {wanted}$", (folder / "mpconfigboard.h").read_text(), re.MULTILINE):
                yield f"mpconfigboard.h has no {wanted.replace(' +', ' ')}"
    if "board.json" not in missing:
        try:
            mcu = json.loads((folder / "board.json").read_text())["mcu"]
        except (ValueError, TypeError, KeyError):
            mcu = None
        if mcu != board.chip.name:
            yield f"board.json is not of mcu {board.chip.name}"
    if "README.md" not in missing:
        rows = set(re.findall(r"^\| ([A-Z]+) \| ([0-9]+) \|", (folder / "README.md").read_text(), re.MULTILINE))
        wanted = {(name, str(gpio)) for name, gpio in board.pins.items()}
        for name, gpio in sorted(rows ^ wanted):
            yield f"README.md and pins.csv differ about {name} on GPIO{gpio}"
    if "sdkconfig.board" not in missing:
        try:
            options = _options(root / SHARED) | _options(folder / "sdkconfig.board")
            secure = options | _options(root / PRODUCTION)
        except (OSError, ValueError) as error:
            yield str(error)
            return
        for wanted_options, present, what in ((ALWAYS, options, "any image"), (SECURE, secure, "production")):
            for name, value in wanted_options.items():
                if present.get(name) != value:
                    yield f"{name} is {present.get(name, 'left open')}, must be {value} for {what}"


def _options(path: Path) -> dict[str, str]:
    """The options of a fragment. Raises ValueError: a line that is none, or one option twice."""
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        match = _OPTION.fullmatch(line)
        if match is None or match[1] in found:
            raise ValueError(f"{path.name}: line {number} is no option, or one that is there already")
        found[match[1]] = match[2]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("folder", nargs="?", type=Path, default=boards.BOARDS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.folder)
    troubles = list(check(arguments.folder))
    for trouble in troubles:
        print(trouble)
    if troubles:
        return 1
    print(f"boards: {', '.join(boards.names(arguments.folder))} hold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
