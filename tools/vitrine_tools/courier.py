"""A courier's bag: sealed batches from locks without network on their way to a collector, and what it answered.

The file is a sequence of CBOR arrays [lock id, message] (SPEC.md 3.2); the messages are what goes over MQTT.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import cbor, keys, names
from .audit import sealed
from .errors import ToolError

MAX_BAG: Final = 64 * 1024 * 1024
_MAX_ITEM: Final = sealed.MAX_BATCH + 64


class BagError(ToolError):
    """The file is no courier's bag."""


@dataclass(frozen=True, slots=True)
class Item:
    """One message, and the lock that it came from or goes to."""

    lock_id: str
    message: bytes


def load(path: Path) -> list[Item]:
    """Return what is in the bag; nothing if there is no file yet. BagError if it is something else, or damaged."""
    if not path.exists():
        return []
    data = keys.read_file(path, "courier's file", MAX_BAG)
    items = []
    at = 0
    while at < len(data):
        end = _end_of(data, at, path)
        try:
            value = cbor.decode(data[at:end], _MAX_ITEM)
            lock_id, message = value
            names.check_lock_id(lock_id)
            if not isinstance(message, bytes):
                raise BagError
        except (cbor.CborError, ToolError, TypeError, ValueError):
            raise BagError(f"{path} is not a courier's file, or damaged at byte {at}") from None
        items.append(Item(lock_id, message))
        at = end
    return items


def save(path: Path, items: list[Item]) -> None:
    """Replace the bag by one with `items`: whole and durable, or as it was (KeyFileError)."""
    data = b"".join(cbor.encode([item.lock_id, item.message]) for item in items)
    keys.write_new(path, data, mode=0o600, is_forced=True)


def _end_of(data: bytes, at: int, path: Path) -> int:
    """Return where the array [text, bytes] at `at` ends; it is read as carefully as the rest, later."""
    end = at + 1
    for _ in range(2):
        info = data[end] & 31 if end < len(data) else 31
        width = {24: 1, 25: 2}.get(info, 0)
        if info > 25:
            raise BagError(f"{path} is not a courier's file, or damaged at byte {at}")
        size = int.from_bytes(data[end + 1 : end + 1 + width], "big") if width else info
        end += 1 + width + size
    return end
