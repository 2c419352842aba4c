"""First code of an image: the strike's output low, Ctrl-C a byte like any other, the file system mounted.

In place of MicroPython's own, which stops for ever at a damaged file system. Nothing there is needed to decide: tables
of keys are made again, an update is fetched again, and the image has an application of its own. Only images have this
file; on a stock image boot.py is the first of ours.
"""

import board
from machine import Pin

Pin(board.STRIKE, Pin.OUT, value=0)

import gc  # noqa: E402
import sys  # noqa: E402

import micropython  # noqa: E402
import vfs  # noqa: E402
from esp32 import Partition  # noqa: E402

micropython.kbd_intr(-1)

try:
    partition = Partition.find(Partition.TYPE_DATA, label="vfs")[0]
    try:
        vfs.mount(partition, "/")
    except OSError:
        # erased, damaged, or its formatting was cut
        vfs.VfsLfs2.mkfs(partition)
        vfs.mount(partition, "/")
except (OSError, IndexError) as error:
    sys.print_exception(error)  # a lock without a file system is slower, and works
gc.collect()
