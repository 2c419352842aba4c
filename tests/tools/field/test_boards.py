"""The lock boards' pins, names and modules, and the check that holds them."""

import ast
import uuid
from pathlib import Path

import pytest

from vitrine_tools.field import boards, pins
from vitrine_tools.field.boards import BoardError
from vitrine_tools.field.chips import CHIPS
from vitrine_tools.field.pins import PinError
from vitrine_tools.updates import manifest

ROOT = Path(__file__).parents[3]
NAMES = ("VITRINE_ESP32", "VITRINE_ESP32C3", "VITRINE_ESP32S3")
ESP32, S3, C3 = CHIPS["esp32"], CHIPS["esp32s3"], CHIPS["esp32c3"]


def constants(path: Path) -> dict[str, object]:
    """The constants of a module, without running it."""
    return {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def test_there_are_three_boards():
    assert tuple(boards.names()) == NAMES
    assert [boards.load(name).chip.name for name in NAMES] == ["esp32", "esp32c3", "esp32s3"]


@pytest.mark.parametrize("name", NAMES)
def test_a_boards_module_is_what_the_firmware_asks_of_it(name):
    board = boards.load(name)
    found = constants(board.folder / "modules" / "board.py")
    assert found.pop("NAME") == name
    assert found.pop("CLASS_ID") == uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_DNS, "vitrine.example"), name).bytes
    assert found.pop("SERVE_ON") == "0.0.0.0"
    assert found.pop("trace") is None
    assert found.pop("CPU_HZ") == board.chip.cpu_hz
    assert (
        found.pop("SECURE_BOOT")
        == {
            "VITRINE_ESP32": (0x3FF5A000 + 4 * (197 // 32), 1 << 197 % 32),  # bit of BLK0, from its first word on
            "VITRINE_ESP32C3": (0x60008800 + 0x2C + 4 * (116 // 32), 1 << 116 % 32),
            "VITRINE_ESP32S3": (0x60007000 + 0x2C + 4 * (116 // 32), 1 << 116 % 32),
        }[name]
    )
    assert found == board.pins == pins.load(board.folder / "pins.csv")


def test_the_emulated_board_is_one_with_an_esp32():
    found = constants(ROOT / "boards" / "unix" / "modules" / "board.py")
    real = boards.load("VITRINE_ESP32")
    assert {name: found[name] for name in real.pins} == real.pins
    assert found["CPU_HZ"] == real.chip.cpu_hz
    assert found["CLASS_ID"] == boards.class_id(boards.EMULATED)


def test_manifests_name_boards_as_boards_name_themselves():
    assert manifest.vendor_id() == boards.VENDOR_ID
    ids = {boards.class_id(name) for name in (*NAMES, boards.EMULATED)}
    assert ids == {manifest.class_id(name) for name in (*NAMES, boards.EMULATED)}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("chip", "name", "gpio", "message"),
    [
        *((ESP32, "STRIKE", gpio, "strapping pin") for gpio in (0, 2, 5, 12, 15)),
        *((ESP32, "STRIKE", gpio, "input only") for gpio in range(34, 40)),
        *((ESP32, "STRIKE", gpio, "flash or PSRAM") for gpio in (6, 7, 8, 9, 10, 11, 16, 17)),
        *((ESP32, "STRIKE", gpio, "the console's") for gpio in (1, 3)),
        *((ESP32, "STRIKE", gpio, "high, pulled up or pulsing") for gpio in (1, 3, 5, 14, 15)),
        *((ESP32, "STRIKE", gpio, "JTAG") for gpio in (12, 13, 14, 15)),
        *((ESP32, "STRIKE", gpio, "no such pin") for gpio in (20, 24, 28, 40)),
        *((S3, "STRIKE", gpio, "strapping pin") for gpio in (0, 3, 45, 46)),
        *((S3, "STRIKE", gpio, "flash or PSRAM") for gpio in range(26, 38)),
        *((S3, "STRIKE", gpio, "the console's") for gpio in (19, 20, 43, 44)),
        *((S3, "STRIKE", gpio, "high, pulled up or pulsing") for gpio in (18, 19, 20)),
        *((S3, "STRIKE", gpio, "JTAG") for gpio in (39, 40, 41, 42)),
        *((S3, "STRIKE", gpio, "no such pin") for gpio in (22, 25, 49)),
        *((C3, "STRIKE", gpio, "strapping pin") for gpio in (2, 8, 9)),
        *((C3, "STRIKE", gpio, "flash or PSRAM") for gpio in range(12, 18)),
        *((C3, "STRIKE", gpio, "the console's") for gpio in (18, 19, 20, 21)),
        *((C3, "STRIKE", gpio, "JTAG") for gpio in (4, 5, 6, 7)),
        *((C3, "STRIKE", gpio, "no such pin") for gpio in (11, 22)),
        (ESP32, "LED", 34, "input only"),
        (ESP32, "BUZZER", 39, "input only"),
        (ESP32, "RELAY", 14, "high, pulled up or pulsing"),
        (ESP32, "REX", 0, "strapping pin"),  # a held button would choose how the chip starts
        (ESP32, "REX", 34, "has no pull resistor"),
        (ESP32, "DPS", 36, "has interrupts of its own"),
        (ESP32, "DPS", 4, "not on ADC1"),
        (ESP32, "BATTERY", 14, "not on ADC1"),
        (S3, "DPS", 11, "not on ADC1"),
        (C3, "BATTERY", 5, "not on ADC1"),
    ],
)
def test_a_pin_that_must_not_be_used_so_is_refused(chip, name, gpio, message):
    good = boards.load({"esp32": NAMES[0], "esp32c3": NAMES[1], "esp32s3": NAMES[2]}[chip.name]).pins
    with pytest.raises(PinError, match=message) as caught:
        pins.check(good | {name: gpio}, chip)
    assert f"{name} on GPIO{gpio}" in str(caught.value)


def test_what_the_strike_may_be_wired_to():
    """All others have a reason above: a pin that slips into this list was forgotten there."""
    quiet = {}
    for chip in CHIPS.values():
        quiet[chip.name] = []
        for gpio in range(50):
            try:
                pins.check({"STRIKE": gpio}, chip)
            except PinError as error:
                if "STRIKE on" not in str(error):  # the other pins are missing, which is no matter here
                    quiet[chip.name].append(gpio)
    assert quiet == {
        "esp32": [4, 18, 19, 21, 22, 23, 25, 26, 27, 32, 33],
        "esp32s3": [1, 2, *range(4, 18), 21, 38, 47, 48],
        "esp32c3": [0, 1, 3, 10],
    }


def test_pins_that_are_missing_unknown_or_shared_are_named():
    good = boards.load("VITRINE_ESP32").pins
    with pytest.raises(PinError, match=r"^STRIKE is missing; LED is missing$"):
        pins.check({name: gpio for name, gpio in good.items() if name not in ("STRIKE", "LED")}, ESP32)
    with pytest.raises(PinError, match=r"^MOTION on GPIO26: STRIKE is there too$"):
        pins.check(good | {"MOTION": 26}, ESP32)
    with pytest.raises(PinError, match=r"^SOLENOID is nothing that the firmware knows$"):
        pins.check(good | {"SOLENOID": 4}, ESP32)
    with pytest.raises(PinError, match=r"input only; BATTERY on GPIO35: STRIKE is there too$"):
        pins.check(good | {"STRIKE": 35}, ESP32)
    pins.check({name: gpio for name, gpio in good.items() if pins.ROLES[name].is_required}, ESP32)


@pytest.mark.parametrize("line", ["STRIKE", "STRIKE,26", "STRIKE,GPIO026", "STRIKE,-GPIO26", "STRIKE,GPIO26,x"])
def test_a_line_of_pins_is_read_or_refused(tmp_path, line):
    path = tmp_path / "pins.csv"
    path.write_text(f"# comment\n\n{line}\n")
    with pytest.raises(PinError, match=r"pins\.csv: line 3 is not NAME,GPIOn"):
        pins.load(path)


def test_a_name_is_not_given_twice(tmp_path):
    path = tmp_path / "pins.csv"
    path.write_text("REX,GPIO4\n# comment\nREX , GPIO5\n")
    with pytest.raises(PinError, match="line 3 names REX again"):
        pins.load(path)
    path.write_text("REX , GPIO5\n")
    assert pins.load(path) == {"REX": 5}


@pytest.mark.parametrize("name", ["", "unix", "VITRINE_ESP8266", "../boards/VITRINE_ESP32", "."])
def test_only_a_board_is_loaded(name):
    with pytest.raises(BoardError, match=r"no board .*: there are VITRINE_ESP32, VITRINE_ESP32C3, VITRINE_ESP32S3"):
        boards.load(name)
