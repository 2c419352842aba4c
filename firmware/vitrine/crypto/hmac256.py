"""HMAC-SHA256 (RFC 2104), HKDF-SHA256 (RFC 5869) and a comparison that does not tell where two values differ.

Built on the board's hashlib. Keys come and go as arguments; the padded key, the only copy made here that outlives an
expression, is wiped in place before the function returns.
"""

import hashlib

from micropython import const

_BLOCK = const(64)
_DIGEST = const(32)


def hmac_sha256(key: bytes, *parts: bytes) -> bytes:
    """Return the 32-byte HMAC-SHA256 of the joined `parts` under `key` (any length)."""
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    pad = bytearray(_BLOCK)
    pad[: len(key)] = key
    for i in range(_BLOCK):
        pad[i] ^= 0x36
    digest = hashlib.sha256(pad)
    for part in parts:
        digest.update(part)
    inner = digest.digest()
    for i in range(_BLOCK):
        pad[i] ^= 0x36 ^ 0x5C
    digest = hashlib.sha256(pad)
    digest.update(inner)
    for i in range(_BLOCK):
        pad[i] = 0
    return digest.digest()


def hkdf_extract(salt: bytes, key_material: bytes) -> bytes:
    """Return the 32-byte pseudorandom key (RFC 5869 section 2.2); an empty `salt` stands for 32 zero bytes."""
    return hmac_sha256(salt, key_material)


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    """Return `length` bytes, at most 8160, from the pseudorandom `key` (RFC 5869 section 2.3).

    Raises ValueError for a length out of range.
    """
    if not 0 < length <= 255 * _DIGEST:
        raise ValueError("HKDF length")
    out = b""
    block = b""
    counter = 0
    while len(out) < length:
        counter += 1
        block = hmac_sha256(key, block, info, bytes((counter,)))
        out += block
    return out[:length]


def constant_time_equal(a: bytes, b: bytes) -> bool:
    """Tell whether two byte strings are equal, in a time that depends on their lengths only."""
    if len(a) != len(b):
        return False
    difference = 0
    for i in range(len(a)):
        difference |= a[i] ^ b[i]
    return difference == 0
