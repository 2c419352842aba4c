"""Sealed batches and acknowledgements as a collector reads and makes them (SPEC.md sections 8.5 and 9).

An implementation of its own, on the standard library: it shares no code with the firmware that it judges. What it
reads came through a broker or a stranger's phone.
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from .. import cbor, names
from ..errors import ToolError

VERSION: Final = 1
MAX_BATCH: Final = 4096
MAX_RECORDS: Final = 48
MAX_BODY: Final = 224
MAX_ACKNOWLEDGEMENT: Final = 64
TAG_SIZE: Final = 16
HEAD_SIZE: Final = 32
NO_TAG: Final = bytes(TAG_SIZE)
MAX_NUMBER: Final = 0xFFFFFFFF

_KEY_SIZE = 24
_EVERY = 256  # a key in so many is kept; the ones between are made again when they are asked for
_CURSORS = 3  # a batch asks for the keys of its records and the one of its count, by turns


class SealError(Exception):
    """Bytes that nothing follows from: malformed, or not from who they say. The text says why."""


class Unsealed(SealError):
    """The lock says that it has lost its key; but anybody could say so."""


class Keys:
    """The keys of one journal, from its escrowed root. Making key n takes n steps once, then few."""

    def __init__(self, root: bytes, lock_id: str, epoch: int) -> None:
        if len(root) != 32:
            raise ToolError("a journal's root key has 32 bytes")
        tail = epoch.to_bytes(4, "big") + lock_id.encode()
        prk = hmac.digest(b"vitrine/journal", root, "sha256")
        self._acknowledge = hmac.digest(prk, b"acknowledge" + tail + b"\x01", "sha256")
        self._epoch = epoch
        self._kept = [hmac.digest(prk, b"seal" + tail + b"\x01", "sha256")[:_KEY_SIZE]]  # the keys of 0, _EVERY, ...
        self._cursors = [(0, self._kept[0])]  # (number, key), the one used last at the end
        self.lock_id = lock_id
        self.epoch = epoch

    @property
    def secrets(self) -> tuple[bytes, bytes]:
        """(first key, acknowledgement key): what provisioning gives to the lock, and nobody keeps beside the root."""
        return self._kept[0], self._acknowledge

    def record_tag(self, sequence: int, body: bytes) -> bytes:
        """Return the tag that record `sequence` must have."""
        return self._tag(sequence, b"vitrine/record" + sequence.to_bytes(4, "big") + body)

    def batch_tag(self, count: int, content: bytes) -> bytes:
        """Return the tag that a batch made at `count` must have."""
        return self._tag(count, b"vitrine/batch" + content)

    def acknowledgement_tag(self, count: int) -> bytes:
        """Return the tag of "all below `count` is stored"."""
        message = b"vitrine/acknowledge" + self._epoch.to_bytes(4, "big") + count.to_bytes(4, "big")
        return hmac.digest(self._acknowledge, message, "sha256")[:TAG_SIZE]

    def _tag(self, sequence: int, message: bytes) -> bytes:
        return hmac.digest(self._key(sequence), message, "sha256")[:TAG_SIZE]

    def _key(self, sequence: int) -> bytes:
        kept = min(sequence // _EVERY, len(self._kept) - 1)
        at, key = kept * _EVERY, self._kept[kept]
        for cursor in self._cursors:
            if at <= cursor[0] <= sequence:
                at, key = cursor
        if (at, key) in self._cursors:
            self._cursors.remove((at, key))
        while at < sequence:
            key = hmac.digest(key, b"vitrine/next", "sha256")[:_KEY_SIZE]
            at += 1
            if at == len(self._kept) * _EVERY:
                self._kept.append(key)
        self._cursors = [*self._cursors[1 - _CURSORS :], (at, key)]
        return key


def next_head(head: bytes, sequence: int, tag: bytes) -> bytes:
    """Return the head after record `sequence` (SPEC.md 8.6)."""
    return hashlib.sha256(head + sequence.to_bytes(4, "big") + tag).digest()


class Seal(Enum):
    """What the seal of a record says."""

    RIGHT = 0
    ALTERED = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One record as the lock sent it. `seal` is None until it was checked."""

    sequence: int
    body: bytes
    tag: bytes
    seal: Seal | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The content of a batch. Nothing in it is to be believed before `open_batch` has checked the tag."""

    lock_id: str
    epoch: int
    first: int
    to: int
    count: int
    head: bytes
    records: tuple[Record, ...]
    content: bytes
    tag: bytes

    @property
    def is_heartbeat(self) -> bool:
        return self.first == self.to


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody says: all below `count` is stored."""

    epoch: int
    count: int
    tag: bytes

    def to_bytes(self) -> bytes:
        return cbor.encode([VERSION, self.epoch, self.count, self.tag])


def read(data: bytes) -> Batch | Acknowledgement:
    """Return what `data` has the form of; SealError if of neither."""
    if len(data) > MAX_BATCH:
        raise SealError(f"{len(data)} bytes, at most {MAX_BATCH} are allowed")
    value = _decode(data, "not CBOR")
    if isinstance(value, list) and len(value) == 2:
        return _read_batch(value)
    if isinstance(value, list) and len(value) == 4:
        version, epoch, count, tag = value
        if version is VERSION and _is_number(epoch) and _is_number(count) and _is_bytes(tag, TAG_SIZE):
            return Acknowledgement(epoch, count, tag)
    raise SealError("neither a batch nor an acknowledgement")


def acknowledge(keys: Keys, count: int) -> Acknowledgement:
    """Return the acknowledgement of all below `count`."""
    return Acknowledgement(keys.epoch, count, keys.acknowledgement_tag(count))


def is_authentic(acknowledgement: Acknowledgement, keys: Keys) -> bool:
    """Tell whether a holder of the root key made the acknowledgement."""
    if acknowledgement.epoch != keys.epoch:
        return False
    return hmac.compare_digest(acknowledgement.tag, keys.acknowledgement_tag(acknowledgement.count))


def open_batch(batch: Batch, keys: Keys) -> tuple[Record, ...]:
    """Return the batch's records with what their seals say; SealError if the batch is not from its lock."""
    if batch.tag == NO_TAG:
        raise Unsealed("its lock has lost its key, or somebody says so")
    if not hmac.compare_digest(batch.tag, keys.batch_tag(batch.count, batch.content)):
        raise SealError("its tag is wrong: it is not from this lock")
    return tuple(_check(record, keys) for record in batch.records)


def make_batch(keys: Keys, *, first: int, to: int, count: int, head: bytes, records: list[tuple[int, bytes]]) -> bytes:
    """Return a batch as a lock would make it, of (sequence number, body): for tests, benchmarks and simulated locks."""
    rows = [[sequence, body, keys.record_tag(sequence, body)] for sequence, body in records]
    content = cbor.encode([VERSION, keys.lock_id, keys.epoch, first, to, count, head, rows])
    return cbor.encode([content, keys.batch_tag(count, content)])


def _check(record: Record, keys: Keys) -> Record:
    is_right = hmac.compare_digest(record.tag, keys.record_tag(record.sequence, record.body))
    return Record(record.sequence, record.body, record.tag, Seal.RIGHT if is_right else Seal.ALTERED)


def _read_batch(value: list[Any]) -> Batch:
    content, tag = value
    if not isinstance(content, bytes) or not _is_bytes(tag, TAG_SIZE):
        raise SealError("not a batch")
    fields = _decode(content, "its content is not CBOR")
    if not isinstance(fields, list) or len(fields) != 8 or fields[0] is not VERSION:
        raise SealError("not a batch of a version that is known")
    _, lock_id, epoch, first, to, count, head, rows = fields
    try:
        names.check_lock_id(lock_id if isinstance(lock_id, str) else "")
    except ToolError:
        raise SealError("not from a lock: it bears no lock id") from None
    if (
        not all(map(_is_number, (epoch, first, to, count)))
        or not first <= to <= count
        or not _is_bytes(head, HEAD_SIZE)
    ):
        raise SealError("its numbers contradict each other")
    if not isinstance(rows, list) or len(rows) > MAX_RECORDS:
        raise SealError(f"it has no records, or more than {MAX_RECORDS}")
    records = []
    least = first
    for row in rows:
        if not isinstance(row, list) or len(row) != 3 or not _is_number(row[0]) or not least <= row[0] < to:
            raise SealError("its records are not in order")
        sequence, body, record_tag = row
        if not isinstance(body, bytes) or not 1 <= len(body) <= MAX_BODY or not _is_bytes(record_tag, TAG_SIZE):
            raise SealError("one of its records is none")
        records.append(Record(sequence, body, record_tag))
        least = sequence + 1
    return Batch(lock_id, epoch, first, to, count, head, tuple(records), content, tag)


def _decode(data: bytes, complaint: str) -> Any:
    try:
        return cbor.decode(data, MAX_BATCH)
    except cbor.CborError as error:
        raise SealError(f"{complaint}: {error}") from None


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_NUMBER


def _is_bytes(value: Any, size: int) -> bool:
    return isinstance(value, bytes) and len(value) == size
