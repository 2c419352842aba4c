"""Keeps aioble's map of who is connected right when the chip gives a connection's handle to the next phone at once.

aioble (0.6.2) cleans up after a phone in a task of its own, which deletes the entry of the handle. If another phone has
got the handle by then, that is the other one's entry: what it writes comes from nobody, and its end goes unnoticed.
Here only the entry of a phone that has gone is deleted. The stand-in has no such map, and a later aioble need not.
"""

import aioble
from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

_IRQ_CENTRAL_DISCONNECT = const(2)


class Connections(dict):
    """Handle to connection. `del` leaves the entry of a phone that is still there, and one that is not there alone."""

    def __delitem__(self, handle) -> None:
        if getattr(self.get(handle), "has_gone", False):
            self.pop(handle)

    def note(self, event: int, data) -> None:
        """aioble's interrupt handler: the phone with this handle has gone. Returns None, so that others hear of it."""
        if event == _IRQ_CENTRAL_DISCONNECT:
            connection = self.get(data[0])
            if connection is not None:
                connection.has_gone = True


def guard() -> None:
    """Put such a map in place of aioble's, once."""
    owner: "Any" = getattr(getattr(aioble, "device", None), "DeviceConnection", None)
    connected = getattr(owner, "_connected", None)
    if connected is None or isinstance(connected, Connections):
        return
    connections = Connections(connected)
    core: "Any" = getattr(aioble, "core", None)
    core.register_irq_handler(connections.note, None)
    owner._connected = connections
