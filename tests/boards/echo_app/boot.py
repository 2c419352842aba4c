from machine import Pin

import board

Pin(board.STRIKE, Pin.OUT, value=0)
