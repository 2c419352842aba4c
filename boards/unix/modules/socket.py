"""Stand-in for `socket`: the host's sockets; while the station is not connected nobody is to be reached.

A board whose station was never switched on has the host's net, as over a cable. Looking an address up fails already,
for a number as well, where the chip fails in `connect`. A connection that is there lives on, and what listens
(board.SERVE_ON) goes on listening, and is reached.
"""

import _board_link
from usocket import *  # noqa: F403
from usocket import getaddrinfo as _getaddrinfo

_EHOSTUNREACH = 113
_SERVE_ON = "127.0.0.1"  # board.SERVE_ON


def getaddrinfo(host, *args):
    if not _board_link.is_online and host != _SERVE_ON:
        raise OSError(_EHOSTUNREACH)
    return _getaddrinfo(host, *args)
