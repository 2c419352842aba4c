"""A courier's bag: sealed batches from locks without network on their way to a collector, and what it answered.

The file is a sequence of CBOR arrays [lock id, message] (SPEC.md 3.2); the messages are what goes over MQTT.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import cbor, keys, names, protocol
from .audit import sealed
from .errors import LinkError, ToolError
from .phone import Phone
from .protocol import Action, Op, ProtocolError, Status

MAX_BAG: Final = 64 * 1024 * 1024
VISIT_S: Final = 8.0  # a lock ends a connection after 15 s, and the person wants to go on
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


@dataclass(frozen=True, slots=True)
class Carried:
    """What a visit to a lock came to."""

    batches: int
    delivered: int
    is_complete: bool  # nothing was left at the lock
    refused: str | None = None  # why it handed over nothing, in a word


async def visit(phone: Phone, lock_id: str, token: bytes, holder: keys.PrivateKey, path: Path) -> Carried:
    """Deliver the bag's acknowledgements for a lock, then take along its records, as much as the connection lasts.

    A token without the scope `courier` can still deliver. The bag is replaced at the end: a visit that fails costs
    another visit, as nothing is released by it. Raises LinkError, ProtocolError, BagError, KeyFileError.
    """
    bag = load(path)
    kept, delivered = [], 0
    for item in bag:
        if item.lock_id == lock_id and _is_acknowledgement(item.message):
            status, _ = await phone.ask(Op.COURIER, {2: item.message})
            if status != Status.REFUSED:
                delivered += 1
                continue  # the lock has it, or a later one
        kept.append(item)
    new, is_complete, refused = await _take_along(phone, lock_id, token, holder)
    save(path, kept + [item for item in new if item not in kept])
    batches = sum(1 for item in new if not _is_acknowledgement(item.message))
    return Carried(batches, delivered, is_complete, refused)


async def _take_along(
    phone: Phone, lock_id: str, token: bytes, holder: keys.PrivateKey
) -> tuple[list[Item], bool, str | None]:
    hello = await phone.hello()
    await phone.present(token)
    acted = await phone.act(Action.COURIER, token=token, holder=holder, nonce=hello.nonce)
    if acted.status != Status.OK:
        return [], False, "no reason" if acted.reason is None else protocol.reason_name(acted.reason)
    items: list[Item] = []
    start: int | None = None
    end_s = time.monotonic() + VISIT_S
    while time.monotonic() < end_s:
        try:
            status, body = await phone.ask(Op.COURIER, {1: start})
        except LinkError:
            break  # out of reach: what is in the bag is good, the rest is for the next visit
        message = body.get(1) if isinstance(body, dict) else None
        if status != Status.OK or not isinstance(message, bytes):
            raise ProtocolError("the lock does not hand over what it granted")
        batch = _read_batch(message)
        if isinstance(body.get(2), bytes):
            items.append(Item(lock_id, body[2]))
        items.append(Item(lock_id, message))
        if batch.to >= batch.count:
            return items, True, None
        if start is not None and batch.to <= start:
            raise ProtocolError("the lock hands over the same records again and again")
        start = batch.to
    return items, False, None


def _is_acknowledgement(message: bytes) -> bool:
    try:
        return isinstance(sealed.read(message), sealed.Acknowledgement)
    except sealed.SealError:
        return False


def _read_batch(message: bytes) -> sealed.Batch:
    try:
        batch = sealed.read(message)
    except sealed.SealError as error:
        raise ProtocolError(f"the lock handed over what is no batch: {error}") from None
    if not isinstance(batch, sealed.Batch):
        raise ProtocolError("the lock handed over what is no batch")
    return batch
