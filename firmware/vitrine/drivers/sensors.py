"""Bolt switch, motion sensor, tamper switch and supply voltage, each only where the board has it.

None of them is urgent: they are polled with the door's inputs, at least every 200 ms, and need no interrupt. Circuits
(boards/*/README.md) are such that a cut wire reads as the alarming level, never as the quiet one: bolt not home, nobody
there, housing open.
"""

from machine import ADC, Pin
from micropython import const

from vitrine.door.ticks import ticks_diff

from .contacts import Contact

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Settings(Protocol):
        """SPEC.md section 6, by name."""

        debounce_ms: int
        battery_low_mv: int
        battery_scale_pct: int


# The supply changes slowly, and a conversion costs the line some current.
_BATTERY_EVERY_MS = const(1_000)


class Sensors:
    """Sensors(bolt, motion, tamper, battery, settings, ticks_ms): GPIO numbers, None where the board has none.

    bolt, tamper: contacts to ground, closed = bolt home, housing closed. motion: an output that is high on motion.
    battery: a pin of ADC1 behind a divider, which divides by battery_scale_pct / 100. Not read without a
    battery_low_mv.
    """

    def __init__(
        self,
        bolt: "int | None",
        motion: "int | None",
        tamper: "int | None",
        battery: "int | None",
        settings: "Settings",
        ticks_ms: "Callable[[], int]",
    ) -> None:
        debounce_ms = settings.debounce_ms
        self._ticks_ms = ticks_ms
        self._bolt = None if bolt is None else Contact(Pin(bolt), debounce_ms)
        self._motion = None if motion is None else Contact(Pin(motion), debounce_ms, None, Pin.PULL_DOWN)
        self._tamper = None if tamper is None else Contact(Pin(tamper), debounce_ms)
        self._battery = None if battery is None else ADC(Pin(battery), atten=ADC.ATTN_11DB)
        self._contacts = tuple([each for each in (self._bolt, self._motion, self._tamper) if each is not None])
        self._read_ms: "int | None"
        self.battery_mv: "int | None"
        self.configure(settings)

    def configure(self, settings: "Settings") -> None:
        """Take other settings, at once."""
        self._scale_pct = settings.battery_scale_pct
        self._has_battery = self._battery is not None and settings.battery_low_mv > 0
        self.battery_mv = None
        self._read_ms = None
        for contact in self._contacts:
            contact.debounce_ms = settings.debounce_ms

    @property
    def bolt(self) -> "bool | None":
        """True: drawn, or its wire is cut. False: home. None: no bolt switch."""
        return None if self._bolt is None else not self._bolt.is_closed

    @property
    def motion(self) -> "bool | None":
        return None if self._motion is None else not self._motion.is_closed

    @property
    def tamper(self) -> "bool | None":
        """True: the housing is open."""
        return None if self._tamper is None else not self._tamper.is_closed

    def poll(self) -> None:
        """Read them all."""
        now_ms = self._ticks_ms()
        for contact in self._contacts:
            contact.poll(now_ms)
        if self._battery is None or not self._has_battery:
            return
        if self._read_ms is None or ticks_diff(now_ms, self._read_ms) >= _BATTERY_EVERY_MS:
            self._read_ms = now_ms
            try:
                self.battery_mv = self._battery.read_uv() // 1000 * self._scale_pct // 100
            except OSError:
                self.battery_mv = None
