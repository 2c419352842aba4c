"""What hangs on the board for the room around the door: camera, alarm relay, trigger contact, motion sensor.

Outputs are high when they say something, and low from here on. None of them moves the door; nothing is decided here.
"""

import asyncio

from machine import Pin, Timer
from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

_DEBOUNCE_MS = const(30)
_LOOK_MS = const(1_000)
_NAMES = const(("CAMERA", "RELAY", "TRIGGER", "MOTION"))


class Room:
    """Room(board): what `board` has of CAMERA, RELAY, TRIGGER and MOTION (GPIO numbers). alarm(is_on): the relay.

    TRIGGER is a contact to ground that closes when something happens, MOTION an output that is high on motion.
    """

    def __init__(self, board) -> None:
        camera, relay, trigger, motion = [getattr(board, name, None) for name in _NAMES]
        self._camera = _output(camera)
        self.alarm = _output(relay)
        self._timer = Timer(0)
        self._flag = asyncio.ThreadSafeFlag()
        self._trigger = self._input(trigger, Pin.PULL_UP)
        self._motion = self._input(motion, Pin.PULL_DOWN)
        # what stands at power-up is a state, not an event
        self._before = self._read()

    def film(self, pulse_ms: int) -> None:
        """Give the camera a pulse, or make the one that it gets last so long from now."""
        self._camera(1)
        self._timer.init(mode=Timer.ONE_SHOT, period=pulse_ms, callback=self._on_time)

    async def changed(self) -> "tuple[Any, Any]":
        """Return, in a second at most, whether the trigger has closed and whether motion has begun since the last time.

        What is over within 30 ms was nothing.
        """
        try:
            await asyncio.wait_for_ms(self._flag.wait(), _LOOK_MS)
            await asyncio.sleep_ms(_DEBOUNCE_MS)
        except asyncio.TimeoutError:
            pass
        before = self._before
        self._before = now = self._read()
        return now[0] and not before[0], now[1] and not before[1]

    def _read(self) -> "tuple[bool, bool]":
        return self._trigger(1) == 0, self._motion(0) == 1

    def _input(self, number: "int | None", pull: int) -> "Any":
        """Return what reads this pin; without one, what returns its argument."""
        if number is None:
            return lambda quiet: quiet
        pin = Pin(number, Pin.IN, pull)
        pin.irq(handler=self._on_edge, trigger=Pin.IRQ_FALLING | Pin.IRQ_RISING)
        return lambda _quiet: pin.value()

    def _on_edge(self, _pin: Pin) -> None:
        self._flag.set()

    def _on_time(self, _timer: Timer) -> None:
        self._camera(0)


def _output(number: "int | None") -> "Any":
    """Return what sets this pin."""
    return (lambda _level: None) if number is None else Pin(number, Pin.OUT, value=0).value
