"""Raw flash partitions, found by their label in the partition table."""

import errno

from esp32 import Partition
from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any


def data_partition(label: str) -> "Any":
    """Return the data partition `label`, a block device; OSError(ENODEV) if the table has none."""
    found = Partition.find(Partition.TYPE_DATA, label=label)
    if not found:
        raise OSError(errno.ENODEV)
    return found[0]
