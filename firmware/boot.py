"""First code of ours after a reset: the strike's output low, before anything else can go wrong.

The pin floats until here; the board's pull-down resistor holds it off (boards/*/README.md).
"""

import board
from machine import Pin

Pin(board.STRIKE, Pin.OUT, value=0)
