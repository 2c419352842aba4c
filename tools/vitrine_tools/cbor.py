"""Deterministic CBOR over cbor2: the form of all messages, tokens and records (SPEC.md, opening; RFC 8949 4.2.1).

cbor2 does the reading and writing. What it lets pass and the locks refuse is refused here: cbor2 ignores trailing
bytes, runs code for tags, and takes indefinite lengths, long forms and duplicate keys.
"""

from typing import Any

import cbor2

MAX_DEPTH = 8
MAX_ITEMS = 256  # a map entry is two


class CborError(ValueError):
    """The bytes are not one item of deterministic CBOR of the kinds that Vitrine uses."""


def encode(value: Any) -> bytes:
    """Return `value` (int, bytes, str, list, dict, bool or None) as deterministic CBOR."""
    return cbor2.dumps(_ordered(value))


def decode(data: bytes, bound: int) -> Any:
    """Return the one item in `data`, of at most `bound` bytes; CborError for anything a lock would not read either."""
    if len(data) > bound:
        raise CborError(f"{len(data)} bytes, at most {bound} are allowed")
    end = _Scan(data).item()
    if end != len(data):
        raise CborError(f"{len(data) - end} bytes after the end")
    try:
        value = cbor2.loads(data)
        is_deterministic = encode(value) == data
    except (cbor2.CBORDecodeError, cbor2.CBOREncodeError, ValueError, TypeError) as error:
        raise CborError("malformed") from error
    if not is_deterministic:
        raise CborError("not deterministic: long forms, unsorted or repeated keys")
    return value


def _ordered(value: Any) -> Any:
    """Return `value` with each map's keys in bytewise order of their encoding; cbor2 keeps the order it is given."""
    if isinstance(value, dict):
        pairs = sorted(((cbor2.dumps(key), key, item) for key, item in value.items()), key=lambda pair: pair[0])
        return {key: _ordered(item) for _, key, item in pairs}
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return value


class _Scan:
    """Walks the heads of items, to refuse what cbor2 must not see (tags run code) before it sees it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._items = 0
        self._at = 0

    def item(self, depth_left: int = MAX_DEPTH) -> int:
        """Go over one item; return where it ends."""
        self._items += 1
        if self._items > MAX_ITEMS:
            raise CborError(f"more than {MAX_ITEMS} items")
        major, info = self._head() >> 5, self._head() & 31
        self._at += 1
        if major == 6:
            raise CborError("a tag")
        if major == 7:
            if info not in (20, 21, 22):
                raise CborError("a float, undefined or unknown simple value")
            return self._at
        length = self._argument(info)
        if major in (2, 3):
            self._at += length
        elif major in (4, 5):
            if depth_left == 0:
                raise CborError(f"nested deeper than {MAX_DEPTH}")
            for _ in range(length):
                if major == 5:
                    if self._head() >> 5 not in (0, 1, 3):  # Python holds the keys True and 1 for one
                        raise CborError("a map key that is neither a number nor a text")
                    self.item(depth_left - 1)
                self.item(depth_left - 1)
        if self._at > len(self._data):
            raise CborError("cut off")
        return self._at

    def _head(self) -> int:
        if self._at >= len(self._data):
            raise CborError("cut off")
        return self._data[self._at]

    def _argument(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise CborError("an indefinite length")
        width = 1 << (info - 24)
        self._at += width
        return int.from_bytes(self._data[self._at - width : self._at], "big")
