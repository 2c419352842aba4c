"""Composition root of the open console: what programs there find as `lock`. Loaded with the first one."""

import board
import machine
from esp32 import Partition

from vitrine.app.field import Field
from vitrine.drivers.nvs import Blob, Integer
from vitrine.drivers.partition import data_partition
from vitrine.drivers.wipe import begin
from vitrine.version import SEQUENCE, VERSION


class Chip:
    """The stores of the NVS namespace `space`, the partitions of the flash, and how this start ends."""

    def __init__(self, space: str) -> None:
        self._space = space
        self.partition = data_partition
        self.reset = machine.reset
        self.begin_wipe = begin
        rows = [each.info() for kind in (Partition.TYPE_APP, Partition.TYPE_DATA) for each in Partition.find(kind)]
        end = max([row[2] + row[3] for row in rows])
        self.about = {"name": board.NAME, "version": VERSION, "sequence": SEQUENCE, "flash": end}

    def blob(self, name: str) -> Blob:
        """The blob of this name."""
        return Blob(self._space, name)

    def integer(self, name: str) -> Integer:
        """The number of this name."""
        return Integer(self._space, name)


def make_lock(space: str, identity, evidence, clock, tables) -> Field:
    """Return a `lock` for the programs of one open console."""
    return Field(identity, Chip(space), evidence, clock, tables)
