"""Composition root of the open console: what runs programs, and what they find as `lock`. Loaded with the first."""

import board
import machine
from esp32 import Partition
from micropython import const

from vitrine.app.field import Field
from vitrine.drivers.console_guard import Names
from vitrine.drivers.console_programs import Programs
from vitrine.drivers.nvs import Blob, Integer
from vitrine.drivers.partition import data_partition
from vitrine.drivers.wipe import begin
from vitrine.version import SEQUENCE, VERSION

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# what programs find in `lock`: nothing of what lies behind it
_CALLS = const(("state", "begin", "put", "commit", "remove", "journal", "set_time", "finish", "restart", "wipe"))


class Chip:
    """The stores of the NVS namespace `space`, the partitions of the flash, and how this start ends."""

    def __init__(self, space: str, ended: "Callable[[], object]" = int) -> None:
        """ended(): told before a program restarts the chip."""
        self._space = space
        self._ended = ended
        self.partition = data_partition
        self.begin_wipe = lambda: begin(space)
        rows = [each.info() for kind in (Partition.TYPE_APP, Partition.TYPE_DATA) for each in Partition.find(kind)]
        end = max([row[2] + row[3] for row in rows])
        self.about = {"name": board.NAME, "version": VERSION, "sequence": SEQUENCE, "flash": end}

    def reset(self) -> None:
        """Start again; the end of service is on record."""
        try:
            self._ended()
        finally:  # a Ctrl-C that comes now must not leave a lock that knows nothing of its new record
            machine.reset()

    def blob(self, name: str) -> Blob:
        """The blob of this name."""
        return Blob(self._space, name)

    def integer(self, name: str) -> Integer:
        """The number of this name."""
        return Integer(self._space, name)


def make_programs(space: str, identity, events, dispatch, excuse, feed, check_strike) -> Programs:
    """Return what runs the programs of one open console, with a `lock` for them."""
    service = dispatch.service if identity.lock_id else None
    ran = service.ran if service else len  # on an unprovisioned lock there is no record to be kept
    ended = (lambda: service.end("closed")) if service else int
    field: "Any" = Field(identity, Chip(space, ended), dispatch.evidence, dispatch.clock, dispatch.keys)
    return Programs(
        Names(field, _CALLS), board, dispatch.clock.ticks_ms, ran, feed, check_strike, excuse, events.fault, ended
    )
