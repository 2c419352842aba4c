import board
from machine import Pin

Pin(board.STRIKE, Pin.OUT, value=0)
