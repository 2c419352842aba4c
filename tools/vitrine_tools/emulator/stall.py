"""Connections that stall as those of a station that lost its network: nothing ends them, and nothing comes to it.

The lock's sockets are the host's, in its own process. Each is borrowed (pidfd_getfd, Linux 5.6) and gets a filter that
drops every packet that comes in, acknowledgements too; TCP's own retransmission makes good what was lost when it is
taken away again. What the lock sends meanwhile still reaches its peer, for as much as TCP sends unacknowledged: the
peer learns more than it should, the lock nothing.
Where the system lets nobody borrow (a container may forbid it), connections live on.
"""

import ctypes
import errno
import os
import re
import socket
import struct
from typing import Final

_PIDFD_GETFD: Final = 438  # the same on all architectures
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
# One instruction of classic BPF: return 0, the number of bytes to keep of a packet
_DROP: Final = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0), 8)
_PROGRAM: Final = struct.pack("HxxxxxxP", 1, ctypes.addressof(_DROP))
_IS_SOCKET: Final = re.compile(r"socket:\[\d+\]")


class Stall:
    """The stalled connections of one process. is_possible: whether the system allows it, as far as known."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []
        self.is_possible = True

    def begin(self, pid: int) -> None:
        """Stall what the process `pid` has of the network now: connections, and what listens for them."""
        self.end()
        for each in self._borrow(pid):
            if each.family in (socket.AF_INET, socket.AF_INET6):
                each.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM)
                self._held.append(each)
            else:
                each.close()

    def end(self) -> None:
        """Let them go on."""
        for each in self._held:
            each.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, struct.pack("I", 0))
        self.forget()

    def forget(self) -> None:
        """Leave them as they are: their process is gone, or about to."""
        for each in self._held:
            each.close()
        self._held = []

    def _borrow(self, pid: int) -> list[socket.socket]:
        """Return the sockets of a process, each with a descriptor of our own; none if it is gone, or not allowed."""
        found: list[socket.socket] = []
        try:
            process = os.pidfd_open(pid)
        except OSError:
            return found
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                if _IS_SOCKET.fullmatch(os.readlink(f"/proc/{pid}/fd/{name}")):
                    found.append(socket.socket(fileno=_getfd(process, int(name))))
        except OSError as error:  # else the process ends just now
            self.is_possible = error.errno not in (errno.EPERM, errno.EACCES, errno.ENOSYS)
        finally:
            os.close(process)
        return found


def _getfd(process: int, number: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.syscall(_PIDFD_GETFD, process, number, 0)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return descriptor
