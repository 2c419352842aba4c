"""Deterministic CBOR over cbor2: the form of all messages, tokens and records (SPEC.md, opening; RFC 8949 4.2.1).

cbor2 does the reading and writing. What it lets pass and the locks refuse is refused here: cbor2 ignores trailing
bytes, runs code for tags, and takes indefinite lengths, long forms and duplicate keys.
"""

from typing import Any

import cbor2

MAX_DEPTH = 8


class CborError(ValueError):
    """The bytes are not one item of deterministic CBOR of the kinds that Vitrine uses."""


def encode(value: Any) -> bytes:
    """Return `value` (int, bytes, str, list, dict, bool or None) as deterministic CBOR."""
    return cbor2.dumps(_ordered(value))


def decode(data: bytes, bound: int) -> Any:
    """Return the one item in `data`, of at most `bound` bytes; CborError for anything a lock would not read either."""
    if len(data) > bound:
        raise CborError(f"{len(data)} bytes, at most {bound} are allowed")
    end = _scan(data, 0, MAX_DEPTH)
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


def _scan(data: bytes, at: int, depth_left: int) -> int:
    """Return where the item at `at` ends; refuse what cbor2 must not see (tags run code) before it sees it."""
    if at >= len(data):
        raise CborError("cut off")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        if info not in (20, 21, 22):
            raise CborError("a float, undefined or unknown simple value")
        return at
    if major == 6:
        raise CborError("a tag")
    argument = info
    if info >= 24:
        if info > 27:
            raise CborError("an indefinite length")
        width = 1 << (info - 24)
        argument = int.from_bytes(data[at : at + width], "big")
        at += width
    if major in (2, 3):
        at += argument
    elif major in (4, 5):
        if depth_left == 0:
            raise CborError(f"nested deeper than {MAX_DEPTH}")
        for _ in range(argument):
            if major == 5:
                if at < len(data) and data[at] >> 5 not in (0, 1, 3):  # Python holds True and 1 for one key
                    raise CborError("a map key that is neither a number nor a text")
                at = _scan(data, at, depth_left - 1)
            at = _scan(data, at, depth_left - 1)
    if at > len(data):
        raise CborError("cut off")
    return at
