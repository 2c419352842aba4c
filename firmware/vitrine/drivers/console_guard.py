"""What programs of the console get as `machine` and `esp32`: the chip without what the lock stands on.

A guard against mistakes: the strike's pin, the watchdog, the lock's own NVS and partitions are not to be had by the
way that everybody knows. Who means harm with machine code is not stopped by Python (SPEC.md section 18). A name that is
not listed here does not exist: what later images add is refused until somebody has looked at it.
"""

import esp32
import machine
from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MACHINE = const(
    ("freq", "reset_cause", "unique_id", "PWRON_RESET", "HARD_RESET", "WDT_RESET", "DEEPSLEEP_RESET", "SOFT_RESET")
)
_ESP32 = const(("idf_heap_info", "HEAP_DATA", "HEAP_EXEC", "raw_temperature", "mcu_temperature"))
_EPERM = const(1)


def _refuse() -> None:
    raise OSError(_EPERM)


class Names:
    """A module: some names of another, and some of its own."""

    def __init__(self, module, names: "tuple[str, ...]") -> None:
        for name in names:
            if hasattr(module, name):
                setattr(self, name, getattr(module, name))


class Gate:
    """A class of the chip that is asked for with care: allow(arguments) raises where it must not be made.

    Of its own names the constants are to be had, and no method: they make objects too, or change the chip.
    """

    def __init__(self, maker, allow: "Callable[..., None]") -> None:
        self._maker = maker
        self._allow = allow

    def __call__(self, *arguments, **named):
        self._allow(*arguments, **named)
        return self._maker(*arguments, **named)

    def __getattr__(self, name: str):
        if name != name.upper():
            raise AttributeError(name)
        return getattr(self._maker, name)


class Calendar:
    """machine.RTC, to read: time is set by who may (SPEC.md section 5.1)."""

    def datetime(self, *date):
        if date:
            _refuse()
        return machine.RTC().datetime()


def guards(board, ended: "Callable[[], object]") -> "dict[str, Any]":
    """Return the modules by name. ended() is called before a program resets the chip."""
    strike = machine.Pin(board.STRIKE)

    def not_the_strike(pin=None, *_, **__) -> None:
        if pin is None or machine.Pin(pin) is strike:
            _refuse()

    def not_ours(space=None, *_, **__) -> None:
        if space is None or space == "vitrine":
            _refuse()

    def files_alone(label=None, *_, **__) -> None:
        if label != "vfs":
            _refuse()

    def reset() -> None:
        ended()
        machine.reset()

    def soft_reset() -> None:
        raise SystemExit

    chip: "Any" = Names(machine, _MACHINE)
    for name in ("Pin", "PWM", "ADC"):
        setattr(chip, name, Gate(getattr(machine, name), not_the_strike))
    chip.RTC = Calendar
    chip.reset = reset
    chip.soft_reset = soft_reset
    parts: "Any" = Names(esp32, _ESP32)
    parts.NVS = Gate(esp32.NVS, not_ours)
    parts.Partition = Gate(esp32.Partition, files_alone)
    # by its older name, too; of the memory nothing
    return {"machine": chip, "umachine": chip, "esp32": parts, "uctypes": Names(parts, ())}
