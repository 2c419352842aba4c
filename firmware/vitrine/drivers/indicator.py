"""The light and the buzzer: what the lock tells the people in front of it. Patterns are data.

Fed with audit records (SPEC.md section 7) as a sink of the event log. A refusal is shown only to an authentic holder:
the light answers no guesses of a peer that has proved nothing, and no stranger's phone can make the lock beep.
"""

import asyncio

from machine import PWM, Pin
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Pattern = tuple[int, int, tuple[tuple[int, int, int], ...]]

# A pattern: (rank, how often, steps); a step: (light, tone in Hz or 0, ms). A lower rank does not interrupt a higher.
UNLOCKED = (1, 1, ((1, 2700, 80), (1, 0, 1900)))
LOCKED = (1, 1, ((1, 1800, 40),))
REFUSED = (1, 2, ((1, 400, 150), (0, 0, 100)))
NOT_NOW = (1, 2, ((1, 800, 400), (0, 0, 200)))  # the right person at the wrong time
IDENTIFY = (2, 10, ((1, 2000, 100), (0, 0, 400)))
FAULT = (3, 3, ((1, 0, 1000), (0, 0, 200)))
AJAR = (4, 10, ((1, 2000, 250), (0, 0, 250)))
FORCED = (5, 60, ((1, 3200, 100), (0, 0, 60)))

_HALF_DUTY = const(32768)

# SPEC.md 3.1: NotYetValid, Expired, TimeUntrusted, OutsideWindow
_TIME_REASONS = (4, 5, 10, 11)


def pattern_of(record: "dict[int, Any]") -> "Pattern | None":
    """Return the pattern that shows `record`, or None if it is nobody's business."""
    kind = record.get(1)
    if kind == 0:
        alarm = record.get(11)
        return FORCED if alarm == 6 else AJAR if alarm == 7 else None
    if kind == 2:
        return LOCKED if record.get(5) == 0 else UNLOCKED
    if kind == 3 and record.get(16) is True:
        return NOT_NOW if record.get(4) in _TIME_REASONS else REFUSED
    if kind == 129:
        return FAULT
    return None


class Indicator:
    """Indicator(led, buzzer): machine.Pin objects; the light is on when high, the buzzer is a piezo driven by PWM."""

    def __init__(self, led: Pin, buzzer: Pin) -> None:
        self._led = led
        self._buzzer = buzzer
        self._pwm: "PWM | None" = None
        self._pattern: "Pattern" = (0, 0, ())  # what is shown or waits to be
        self._changed = asyncio.Event()
        self._quiet()

    def show(self, record: "dict[int, Any]") -> None:
        """Show a record; never waits. Made to be a sink of the event log."""
        pattern = pattern_of(record)
        if pattern is not None:
            self._play(pattern)

    def identify(self) -> None:
        """Show where this lock is."""
        self._play(IDENTIFY)

    async def run(self, vote: "Callable[[], None] | None") -> None:
        """Play what show() and identify() ask for. Silent and dark whenever it ends."""
        try:
            while True:
                await self._changed.wait()
                await self._perform()
        finally:
            self._quiet()

    def _play(self, pattern: "Pattern") -> None:
        if pattern[0] >= self._pattern[0]:
            self._pattern = pattern
            self._changed.set()

    async def _perform(self) -> None:
        _, times, steps = self._pattern
        self._changed.clear()
        for _ in range(times):
            for light, tone_hz, ms in steps:
                self._led.value(light)
                self._sound(tone_hz)
                try:
                    await asyncio.wait_for_ms(self._changed.wait(), ms)
                    return  # something new to show
                except asyncio.TimeoutError:
                    pass
        self._pattern = (0, 0, ())
        self._quiet()

    def _sound(self, tone_hz: int) -> None:
        if tone_hz:
            if self._pwm is None:
                self._pwm = PWM(self._buzzer, freq=tone_hz, duty_u16=_HALF_DUTY)
            else:
                self._pwm.init(freq=tone_hz, duty_u16=_HALF_DUTY)
        elif self._pwm is not None:
            self._pwm.deinit()
            self._pwm = None
            self._buzzer.init(Pin.OUT, value=0)  # a freed PWM pin may stay high, which warms the piezo's driver

    def _quiet(self) -> None:
        self._sound(0)
        self._buzzer.init(Pin.OUT, value=0)
        self._led.init(Pin.OUT, value=0)
