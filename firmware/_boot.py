"""First code of an image: the strike's output low, the file system mounted, then boot.py, for good.

In place of MicroPython's own, which stops for ever at a damaged file system. Nothing there is needed to decide: tables
of keys are made again, an update is fetched again, and the image has an application of its own.

boot.py is started from here: MicroPython lets Ctrl-C interrupt it (shared/runtime/pyexec.c) from its first instruction
on, and goes to its prompt then. Whoever holds the key down while the lock starts would have the interpreter. Only this
file runs without. On a stock image, which has one of its own, that gap is there.
"""

import board
from machine import Pin

Pin(board.STRIKE, Pin.OUT, value=0)

import gc  # noqa: E402
import sys  # noqa: E402

import machine  # noqa: E402
import micropython  # noqa: E402
import vfs  # noqa: E402
from esp32 import Partition  # noqa: E402

micropython.kbd_intr(-1)

try:
    partition = Partition.find(Partition.TYPE_DATA, label="vfs")[0]
    for tries_left in (2, 1, 0):
        try:
            vfs.mount(partition, "/")
            break
        except OSError:
            if not tries_left:
                # erased, damaged, or its formatting was cut: the updates in it are lost, so not for one wrong read
                vfs.VfsLfs2.mkfs(partition)
                vfs.mount(partition, "/")
except (OSError, IndexError) as error:
    sys.print_exception(error)  # a lock without a file system is slower, and works
gc.collect()

# a file of that name in the file system is not the image's
sys.path[:] = [each for each in sys.path if each not in ("", "/lib")]
try:
    import boot  # noqa: F401
finally:
    machine.reset()
