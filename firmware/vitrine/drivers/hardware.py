"""The board's own parts as drivers, made of what its `board` module says and of the settings."""

from machine import Pin
from micropython import const

from .indicator import Indicator
from .inputs import Inputs
from .sensors import Sensors
from .strike import Strike

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


_SENSORS = const(("BOLT", "MOTION", "TAMPER", "BATTERY"))
_ROOM = const(("CAMERA", "RELAY", "TRIGGER"))


class Hardware:
    """strike, inputs, sensors, indicator; room, or None on a board without any of it.

    board: GPIO numbers by name, of the sensors those that it has. settings(): those in force.
    """

    def __init__(self, board, settings: "Callable[[], Any]", ticks_ms: "Callable[[], int]") -> None:
        now = settings()
        # first: from here on its output is the driver's, and low
        self.strike = Strike(Pin(board.STRIKE), now.pull_ms, now.hold_duty_pct, ticks_ms)
        self.inputs = Inputs(Pin(board.DPS), Pin(board.REX), now, ticks_ms)
        bolt, motion, tamper, battery = [getattr(board, name, None) for name in _SENSORS]
        self.sensors = Sensors(bolt, motion, tamper, battery, now, ticks_ms)
        self.indicator = Indicator(Pin(board.LED), Pin(board.BUZZER), lambda: settings().is_loud)
        self.room = None
        if any([getattr(board, name, None) is not None for name in _ROOM]):
            from .room import Room

            self.room = Room(board)
