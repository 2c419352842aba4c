"""A record that only a signed command replaces: one blob, written whole or not at all, under a sequence that rises.

What configuration and scenario have in common (SPEC.md 6.1 and 6.2): a CBOR map of exactly the keys 1 to 5, of which 1
is the sequence. Nothing changes, in flash or in force, unless all of the new record is good.
"""

from micropython import const

from vitrine.access.reasons import COMMAND_MALFORMED, FAULT, GRANTED, SEQUENCE_STALE
from vitrine.codec import cbor

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any, Protocol

    class Store(Protocol):
        """Keeps one blob, atomically; both raise OSError if they cannot."""

        def load(self) -> "bytes | None": ...

        def save(self, data: bytes) -> None: ...


_MAX_SIZE = const(640)
_FIELDS = const(5)
_SEQUENCE = const(1)
_U32 = const(0xFFFFFFFF)


class SequencedBlob:
    """sequence: of what is in force. is_sound: False if what the store held is missing or malformed."""

    if _TYPE_CHECKING:

        def _read(self, record: "dict[Any, Any]") -> "tuple[Any, ...]":
            """Return what `_hold` takes; raise ValueError or KeyError if `record` is not as SPEC.md has it."""
            raise NotImplementedError

        def _hold(self, state: "tuple[Any, ...]") -> None:
            """Put what `_read` returned in force."""

    def __init__(self, store: "Store", fallback: "dict[int, Any]") -> None:
        """Take up what is in `store`; if that cannot be, `fallback`: a record, but for its sequence."""
        self._store = store
        self.sequence = 0
        self.is_sound = False
        self._hold(self._read(fallback))
        try:
            record = cbor.decode(store.load() or b"", _MAX_SIZE)
            if not cbor.is_map(record) or len(record) != _FIELDS:
                raise ValueError
            # kept even if the rest is malformed: an older command is no better for that
            self.sequence = whole(record[_SEQUENCE], 0, _U32)
            self._hold(self._read(record))
            self.is_sound = True
        except (OSError, ValueError, KeyError):
            return

    def apply(self, body: "Any", sequence: int) -> int:
        """Put the body of a command (decoded CBOR, of anybody) in force; return GRANTED when it is durable, too.

        Else SEQUENCE_STALE, COMMAND_MALFORMED, or FAULT from the store, and nothing has changed.
        """
        if not self.sequence < sequence <= _U32:
            return SEQUENCE_STALE
        try:
            if not cbor.is_map(body) or not body or _SEQUENCE in body:
                raise ValueError
            record = self._present()
            record.update(body)
            record[_SEQUENCE] = sequence
            state = self._read(record)
            blob = cbor.encode(record)
            if len(record) != _FIELDS or len(blob) > _MAX_SIZE:
                raise ValueError
        except (ValueError, KeyError):
            return COMMAND_MALFORMED
        try:
            self._store.save(blob)
        except OSError:
            return FAULT
        # from here on nothing can fail: it is only put in place
        self.sequence = sequence
        self.is_sound = True
        self._hold(state)
        return GRANTED

    def _present(self) -> "dict[Any, Any]":
        """Return what of the present record a command leaves as it is, unless it names it: a new map."""
        return {}


def pairs(value: "Any", most: int, greatest: int, last: int) -> "list[list[int]]":
    """Return an array of at most `most` arrays of two whole numbers up to `greatest` and `last`; else ValueError."""
    if not cbor.is_array(value) or len(value) > most:
        raise ValueError
    for pair in value:
        if not cbor.is_array(pair) or len(pair) != 2:
            raise ValueError
        whole(pair[0], 0, greatest)
        whole(pair[1], 1, last)
    return value


def whole(value: "Any", low: int, high: int) -> int:
    """Return a whole number in bounds; ValueError for anything else."""
    # `type`, because True is an int in CPython
    if type(value) is not int or not low <= value <= high:
        raise ValueError
    return value
