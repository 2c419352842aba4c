"""The pins of a board: read from pins.csv (MicroPython's own form: NAME,GPIOn), and held to what they are for.

What a lock asks of a pin is stricter than what the chip can do: between reset and the first line of firmware nobody
drives it, and whoever holds a button down or cuts a wire must not thereby choose how the chip starts.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vitrine_tools.errors import ToolError

from .chips import Chip

_GPIO = re.compile(r"GPIO(0|[1-9][0-9]?)")


class PinError(ToolError):
    """A pin that a board must not use so, or no list of pins."""


@dataclass(frozen=True, kw_only=True)
class Role:
    """What is connected to a pin. `circuit` is for people: boards/README.md has the drawings."""

    circuit: str
    is_required: bool = False
    is_output: bool = False
    is_quiet: bool = False  # nothing may happen at it before the firmware runs
    has_pull: bool = False  # the firmware switches a pull resistor on
    has_interrupt: bool = False
    is_analog: bool = False


_DRIVER = {"is_output": True, "is_quiet": True}
_CONTACT = {"has_pull": True}
ROLES: Final = {
    "STRIKE": Role(circuit="N-channel driver, pulled down: high = energised", is_required=True, **_DRIVER),
    "DPS": Role(
        circuit="reed switch to ground, pulled up: low = closed, cut wire = open. Or end-of-line resistors",
        is_required=True,
        has_interrupt=True,
        is_analog=True,  # with end-of-line resistors
        **_CONTACT,
    ),
    "REX": Role(
        circuit="push button to ground, pulled up: low = pressed", is_required=True, has_interrupt=True, **_CONTACT
    ),
    "LED": Role(circuit="to ground: high = on", is_required=True, is_output=True),
    "BUZZER": Role(circuit="piezo, driven by PWM", is_required=True, is_output=True),
    "BOLT": Role(circuit="bolt switch to ground, pulled up: low = home, cut wire = drawn", **_CONTACT),
    "MOTION": Role(circuit="output of a motion sensor, pulled down: high = motion", **_CONTACT),
    "TAMPER": Role(circuit="housing switch to ground, pulled up: low = closed, cut wire = open", **_CONTACT),
    "BATTERY": Role(circuit="the supply behind a divider", is_analog=True),
    "CAMERA": Role(circuit="driver, pulled down: high = film", **_DRIVER),
    "RELAY": Role(circuit="driver of the alarm relay, pulled down: high = on", **_DRIVER),
    "TRIGGER": Role(circuit="contact to ground, pulled up: low = something happens", has_interrupt=True, **_CONTACT),
}


def load(path: Path) -> dict[str, int]:
    """Read a pins.csv: {name: GPIO number}. Raises PinError with file and line, or OSError."""
    found: dict[str, int] = {}
    for number, row in enumerate(csv.reader(path.read_text(encoding="utf-8").splitlines()), 1):
        if not row or row[0].startswith("#"):
            continue
        name, match = row[0].strip(), _GPIO.fullmatch(row[1].strip()) if len(row) == 2 else None
        if match is None:
            raise PinError(f"{path.name}: line {number} is not NAME,GPIOn")
        if name in found:
            raise PinError(f"{path.name}: line {number} names {name} again")
        found[name] = int(match[1])
    return found


def check(pins: dict[str, int], chip: Chip) -> None:
    """Raise PinError, in one line for all that is wrong, if a lock with this chip must not have these pins."""
    troubles = "; ".join(_troubles(pins, chip))
    if troubles:
        raise PinError(troubles)


def _troubles(pins: dict[str, int], chip: Chip) -> Iterator[str]:
    for name, role in ROLES.items():
        if role.is_required and name not in pins:
            yield f"{name} is missing"
    owners: dict[int, str] = {}
    for name, gpio in pins.items():
        place = f"{name} on GPIO{gpio}"
        role = ROLES.get(name)
        if role is None:
            yield f"{name} is nothing that the firmware knows"
        elif gpio not in chip.gpios:
            yield f"{place}: {chip.title} has no such pin"
        else:
            for trouble in _pin_troubles(role, gpio, chip):
                yield f"{place}: {trouble}"
        if gpio in owners:
            yield f"{place}: {owners[gpio]} is there too"
        owners.setdefault(gpio, name)


def _pin_troubles(role: Role, gpio: int, chip: Chip) -> Iterator[str]:
    if gpio in chip.memory:
        yield "flash or PSRAM"
    if gpio in chip.strapping:
        yield "a strapping pin: what is wired to it would choose how the chip starts"
    if gpio in chip.usb | chip.uart0:
        yield "the console's"
    if gpio in chip.input_only:
        if role.is_output:
            yield "input only"
        if role.has_pull:
            yield "has no pull resistor: a cut wire would read as anything"
    if role.is_quiet and gpio in chip.unquiet:
        yield "high, pulled up or pulsing at reset"
    if role.is_quiet and gpio in chip.jtag:
        yield "JTAG: a debugger drives it"
    if role.has_interrupt and gpio in chip.no_interrupt:
        yield "has interrupts of its own while the radio runs"
    if role.is_analog and gpio not in chip.adc1:
        yield "not on ADC1, the only converter that works beside Wi-Fi"
