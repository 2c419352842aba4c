"""How often tokens with a number of uses were used here, durably. Source and layout: SPEC.md section 5.

A use is counted before the strike moves, so a power cut can lose one but never give one back. For the same reason a
store that is missing or damaged counts nothing: provisioning writes an empty one.
"""

from binascii import crc32
from hashlib import sha256

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Protocol

    class Store(Protocol):
        """Keeps one blob; both raise OSError if they cannot."""

        def load(self) -> "bytes | None": ...

        def save(self, data: bytes) -> None: ...


VERSION = const(1)
MAX_ENTRIES = const(64)

_HEADER = const(2)  # version, number of entries
_ENTRY = const(14)
_KEY = const(8)
_EXP = const(8)  # offsets in an entry
_COUNT = const(12)
_CRC = const(4)
_NEVER = const(0xFFFFFFFF)  # an exp past 2106 is kept as this, and is never over


class UsesError(Exception):
    """The store is missing, damaged or cannot be written: nothing was counted."""


class Uses:
    """The counts in `store`. Keeps nothing itself: the store alone is true."""

    def __init__(self, store: "Store") -> None:
        self._store = store

    def left(self, kid: bytes, cti: bytes, allowed: int) -> int:
        """Return how many of `allowed` uses are left, 0 or more. Raises UsesError."""
        blob = self._load()
        entry = _find(blob, _key(kid, cti))
        return allowed if entry < 0 else max(0, allowed - _number(blob, entry + _COUNT, 2))

    def spend(self, kid: bytes, cti: bytes, exp: int, allowed: int, now_s: int) -> bool:
        """Count one use of a token that expires at `exp`; return True once that is durable.

        False if all are spent, or if all entries belong to tokens that are still valid. Raises UsesError.
        """
        if now_s >= exp:
            return False
        blob = self._load()
        key = _key(kid, cti)
        entry = _find(blob, key)
        count = 0
        if entry >= 0:
            count = _number(blob, entry + _COUNT, 2)
            exp = max(exp, _number(blob, entry + _EXP, 4))
        else:
            entry = _room(blob, now_s)
        if entry < 0 or count >= allowed:
            return False
        blob[entry : entry + _KEY] = key
        blob[entry + _EXP : entry + _COUNT] = min(exp, _NEVER).to_bytes(4, "big")
        blob[entry + _COUNT : entry + _ENTRY] = (count + 1).to_bytes(2, "big")
        try:
            self._store.save(_seal(blob))
        except OSError:
            raise UsesError("cannot write")
        return True

    def _load(self) -> bytearray:
        """Return version, number and entries, checked."""
        try:
            blob = self._store.load()
        except OSError:
            raise UsesError("cannot read")
        if blob is None or len(blob) < _HEADER + _CRC:
            raise UsesError("missing")
        body = bytearray(blob[:-_CRC])
        if crc32(body) != _number(blob, len(body), _CRC):
            raise UsesError("damaged")
        if body[0] != VERSION or body[1] > MAX_ENTRIES or len(body) != _HEADER + body[1] * _ENTRY:
            raise UsesError("not this format")
        return body


def empty() -> bytes:
    """Return the store that provisioning writes: no token was used yet."""
    return _seal(bytearray((VERSION, 0)))


def _seal(body: bytearray) -> bytes:
    return bytes(body) + crc32(body).to_bytes(_CRC, "big")


def _key(kid: bytes, cti: bytes) -> bytes:
    return sha256(kid + cti).digest()[:_KEY]


def _number(data: "bytes | bytearray", start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "big")


def _find(body: "bytes | bytearray", key: bytes) -> int:
    """Return where the entry of `key` starts, or -1."""
    for entry in range(_HEADER, len(body), _ENTRY):
        if body[entry : entry + _KEY] == key:
            return entry
    return -1


def _room(body: bytearray, now_s: int) -> int:
    """Return where a new entry may start: at the end, or in place of one whose token has expired; else -1.

    Expired ones are kept while there is room, in case the clock was wrong.
    """
    if body[1] < MAX_ENTRIES:
        body[1] += 1
        body.extend(bytes(_ENTRY))
        return len(body) - _ENTRY
    for entry in range(_HEADER, len(body), _ENTRY):
        exp = _number(body, entry + _EXP, 4)
        if exp != _NEVER and exp <= now_s:
            return entry
    return -1
