"""First code of ours after a reset: the strike's output low, before anything else can go wrong.

The pin floats until here; the board's pull-down resistor holds it off (boards/*/README.md).
"""

import board
from machine import Pin

Pin(board.STRIKE, Pin.OUT, value=0)

import gc  # noqa: E402

# Collected only when it is full, the heap is strewn with what lives long, and no piece is left for a key's table of
# 6 KB. Collected this often, it needs half the size.
gc.threshold(32_768)
