"""The only start file: the strike's output low, then the newest whole application, for as long as it runs.

The pin floats until here; the board's pull-down resistor holds it off (boards/*/README.md). Whatever ends the
application ends in a reset: a lock never falls through to the interpreter's own prompt. Whatever is wrong with the
slots, the image's own application runs.
"""

import board
from machine import Pin

Pin(board.STRIKE, Pin.OUT, value=0)

import gc  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import machine  # noqa: E402
import micropython  # noqa: E402

micropython.kbd_intr(-1)  # from here on Ctrl-C is a byte like any other
# Collected only when it is full, the heap is strewn with what lives long, and no piece is left for a key's table of
# 6 KB. Collected this often, it needs half the size.
gc.threshold(32_768)

_PAUSE_MS = 3_000  # a start that fails comes again, not at once
_START_MS = 30_000  # one that hangs before the application has its own watchdog ends, too

try:
    # Not the file system's root: what lies there is anybody's. /lib only where a stock image has left it: a file there
    # takes the place of a module of the interpreter's that may be extended, such as machine or binascii.
    sys.path[:] = [each for each in sys.path if each]
    try:
        from vitrine.drivers import slots
        from vitrine.drivers.nvs import Blob, Integer
        from vitrine.version import SEQUENCE

        if slots.mount(Blob("vitrine", "slots"), Integer("vitrine", "upd_floor").load() or 0, SEQUENCE):
            sys.path.insert(0, "/app")
            for name in list(sys.modules):
                if name.startswith("vitrine"):
                    del sys.modules[name]  # of the image; the application has its own
    except Exception as error:  # noqa: BLE001
        sys.print_exception(error)  # the image's own application runs, and says so on record
    machine.WDT(timeout=_START_MS)
    import main  # noqa: F401
except BaseException as error:  # noqa: BLE001
    sys.print_exception(error)  # no secret in it: types, names and lines
finally:
    Pin(board.STRIKE, Pin.OUT, value=0)
    time.sleep_ms(_PAUSE_MS)
    machine.reset()
