"""Stand-in for `errno`: the two numbers that only the BLE stack raises are those of the chip's C library.

The others stay the host's: real sockets raise them.
"""

from uerrno import *  # noqa: F403

ENOTCONN = 128
EALREADY = 120
