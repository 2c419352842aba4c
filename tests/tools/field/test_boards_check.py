"""`make boards`: the boards hold; a fourth one is made by the steps of boards/README.md; each trouble is found."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vitrine_tools.field import boards
from vitrine_tools.field.chips import CHIPS

ROOT = Path(__file__).parents[3]
CHECK = ROOT / "tools" / "checks" / "boards.py"
STRIKE = ROOT / "firmware" / "vitrine" / "drivers" / "strike.py"
SHARED = ("manifest_common.py", "mpconfiglock.h", "sdkconfig.lock", "sdkconfig.secure", "vitrine.cmake")


def check(folder: Path, *options: str) -> tuple[int, list[str]]:
    run = subprocess.run([sys.executable, CHECK, *options, folder], capture_output=True, text=True)
    assert run.stderr == ""
    return run.returncode, run.stdout.splitlines()


@pytest.fixture
def folder(tmp_path):
    """A copy of boards/ with one board."""
    for name in (*SHARED, *(path.name for path in boards.BOARDS.glob("partitions-*.csv"))):
        shutil.copy(boards.BOARDS / name, tmp_path)
    shutil.copytree(boards.BOARDS / "VITRINE_ESP32", tmp_path / "VITRINE_ESP32")
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_boards_hold():
    assert check(boards.BOARDS) == (0, ["boards: VITRINE_ESP32, VITRINE_ESP32C3, VITRINE_ESP32S3 hold"])


def test_a_fourth_board_by_the_steps_of_the_readme(folder):
    steps = re.findall(r"^\d+\. (.*)$", (boards.BOARDS / "README.md").read_text().partition("in 20 minutes")[2], re.M)
    assert len(steps) == 6
    mine = folder / "MY_BOARD"
    # 1
    assert "cp -r boards/VITRINE_ESP32 boards/MY_BOARD" in steps[0]
    shutil.copytree(folder / "VITRINE_ESP32", mine)
    # 2
    required = {"STRIKE": 27, "DPS": 32, "REX": 33, "LED": 4, "BUZZER": 25}
    assert all(name in steps[1] for name in required)
    (mine / "pins.csv").write_text("".join(f"{name},GPIO{gpio}\n" for name, gpio in required.items()))
    # 3
    change(mine / "mpconfigboard.cmake", "VITRINE_FLASH_MIB 4", "VITRINE_FLASH_MIB 16")
    change(mine / "mpconfigboard.h", '"VITRINE_ESP32"', '"MY_BOARD"')
    # 4
    rows = "".join(f"| {name} | {gpio} | |\n" for name, gpio in required.items())
    (mine / "README.md").write_text(f"# MY_BOARD\n\n| name | GPIO | circuit |\n|---|---:|---|\n{rows}")
    # 5
    assert "tools/checks/boards.py --write" in steps[4]
    assert check(folder, "--write") == (0, ["boards: MY_BOARD, VITRINE_ESP32 hold"])
    board = boards.load("MY_BOARD", folder)
    assert board.pins == required
    assert board.class_id not in {boards.class_id(name) for name in boards.names()}
    assert "\nSTRIKE = 27\n" in (mine / "modules" / "board.py").read_text()


def test_a_board_that_was_only_copied_does_not_hold(folder):
    """Else two boards of different wiring would take each other's updates."""
    shutil.copytree(folder / "VITRINE_ESP32", folder / "MY_BOARD")
    status, lines = check(folder)
    assert status == 1
    assert lines == [
        "MY_BOARD: modules/board.py is not what pins.csv says: run tools/checks/boards.py --write",
        'MY_BOARD: mpconfigboard.h has no MICROPY_HW_BOARD_NAME "MY_BOARD"',
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "lines"),
    [
        ("pins.csv", "GPIO26", "GPIO12", [r"STRIKE on GPIO12: a strapping pin.*; STRIKE on GPIO12: JTAG.*"]),
        (
            "pins.csv",
            "GPIO26",
            "GPIO4",
            [
                "modules/board.py is not what pins.csv says.*",
                "README.md and pins.csv differ about STRIKE on GPIO26",
                "README.md and pins.csv differ about STRIKE on GPIO4",
            ],
        ),
        ("modules/board.py", "STRIKE = 26", "STRIKE = 25", ["modules/board.py is not what pins.csv says.*"]),
        ("README.md", "| REX | 32 |", "| REX | 33 |", [".*REX on GPIO32", ".*REX on GPIO33"]),
        (
            "mpconfigboard.cmake",
            "mpconfigboard_esp32_",
            "mpconfigboard_esp8266_",
            ["mpconfigboard.cmake includes no .*"],
        ),
        ("mpconfigboard.h", '"ESP32"', '"ESP32-S3"', ['mpconfigboard.h has no MICROPY_HW_MCU_NAME "ESP32"']),
        ("board.json", '"esp32"', '"esp32s3"', ["board.json is not of mcu esp32"]),
        (
            "sdkconfig.board",
            "CONFIG_ESP32_REV_MIN_3=y",
            "CONFIG_ESP32_REV_MIN_3 = y",
            ["sdkconfig.board: line 2 is no.*"],
        ),
        (
            "sdkconfig.board",
            "CONFIG_ESP32_REV_MIN_3=y",
            "CONFIG_ESP_COREDUMP_ENABLE_TO_NONE=n",
            ["CONFIG_ESP_COREDUMP_ENABLE_TO_NONE is n, must be y for any image"],
        ),
        (
            "../sdkconfig.lock",
            "CONFIG_ESP_SYSTEM_PANIC_SILENT_REBOOT=y",
            "",
            ["CONFIG_ESP_SYSTEM_PANIC_SILENT_REBOOT is left open, must be y for any image"],
        ),
        (
            "../sdkconfig.secure",
            "CONFIG_SECURE_DISABLE_ROM_DL_MODE=y",
            "CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE=y",
            ["CONFIG_SECURE_DISABLE_ROM_DL_MODE is left open, must be y for production"],
        ),
        (
            "../sdkconfig.secure",
            "0xe000",
            "0x8000",
            ["CONFIG_PARTITION_TABLE_OFFSET is 0x8000, must be 0xe000 for production"],
        ),
        ("../partitions-8MiB.csv", "0x41,", "0x42,", [r"partitions-8MiB\.csv: access is type 1, subtype 0x42.*"]),
    ],
)
def test_what_is_wrong_is_said(folder, file, old, new, lines):
    change(folder / "VITRINE_ESP32" / file, old, new)
    status, said = check(folder)
    assert status == 1
    assert len(said) == len(lines)
    for line, pattern in zip(said, lines, strict=True):
        assert re.fullmatch(f"VITRINE_ESP32: {pattern}", line), line


@pytest.mark.parametrize("file", ["README.md", "board.json", "manifest.py", "mpconfigboard.h", "sdkconfig.board"])
def test_a_missing_file_is_named(folder, file):
    (folder / "VITRINE_ESP32" / file).unlink()
    assert check(folder) == (1, [f"VITRINE_ESP32: {file} is missing"])


def test_a_folder_without_boards_does_not_hold(tmp_path):
    assert check(tmp_path) == (1, [f"{tmp_path}: no boards"])


def test_the_strikes_longest_train_fits_into_a_channel_of_every_chip():
    """Counted from the driver's constants here too, by its own rule: equal pulses, two to a word, an end mark."""
    source = STRIKE.read_text()
    number = {name: int(value) for name, value in re.findall(r"^(_?[A-Z_0-9]+) = const\(([0-9_]+)\)$", source, re.M)}
    ticks = 3 * number["_SPARE_MS"] * number["_RESOLUTION_HZ"] // 1000
    pulses = -(-ticks // number["_PULSE_MAX"])
    words = (pulses + 1) // 2 + 1
    assert words == 16
    assert all(words <= chip.rmt_words for chip in CHIPS.values())
    # a train is started while the one before still runs
    assert all(chip.rmt_tx_channels >= 2 for chip in CHIPS.values())


@pytest.mark.parametrize(
    ("name", "pull_up", "bands"),
    [
        ("VITRINE_ESP32", 4700, (300, 1500, 2700)),
        ("VITRINE_ESP32S3", 4700, (300, 1500, 2700)),
        ("VITRINE_ESP32C3", 10000, (300, 1200, 2300)),
    ],
)
def test_the_levels_of_the_door_switch_are_in_the_middle_of_their_bands(name, pull_up, bands):
    """WIRING.md's resistors at 1 %, a converter that is 5 % off, and one that ends at what the chip tells apart."""
    chip = boards.load(name).chip
    readme = (boards.BOARDS / name / "README.md").read_text()
    if bands != (300, 1500, 2700):
        assert f"dps_closed_mv {bands[1]}, dps_open_mv {bands[2]}" in readme
    assert f"R3 = {pull_up / 1000:g} kΩ" in readme
    for switch, low, high in ((0, 0, bands[0]), (2200, bands[0], bands[1]), (12200, bands[1], bands[2])):
        for r3 in (0.99 * pull_up, 1.01 * pull_up):
            for seen in (0.95, 1.05):
                mv = seen * 3300 * switch / (switch + r3)
                assert low <= mv < high, (switch, mv)
    # cut: 3.3 V, or where the converter ends
    end_mv = {2450: 3100}.get(chip.adc_max_mv, chip.adc_max_mv)  # ESP32 goes on, less exact
    assert 0.95 * min(3300, end_mv) >= bands[2]
