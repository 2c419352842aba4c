"""The seal of the journal: one key per record, each made from the one before by a one-way function (SPEC.md 8.5).

Who takes the lock at record n finds the key of n. Going back to the key of n - 1 means inverting HMAC-SHA256.
"""

import hashlib

from micropython import const

from vitrine.crypto.hmac256 import hmac_sha256

try:
    from uctypes import addressof, bytearray_at  # pyright: ignore[reportUnknownVariableType]
except ImportError:  # CPython: no way to reach into an immutable object, and no lock either
    addressof = bytearray_at = None

KEY_SIZE = const(24)  # 192 bits: no search finds it, and a cell with count and CRC has 32 bytes
TAG_SIZE = const(16)
NO_TAG = bytes(TAG_SIZE)  # of a record of a journal that lost its key


def wipe(secret: "bytearray | bytes") -> None:
    """Overwrite `secret` with zeros where it lies, an immutable one as well if the interpreter lets us.

    What hashlib keeps in its freed objects is out of reach here.
    """
    if not isinstance(secret, bytearray):
        if bytearray_at is None or addressof is None:
            return
        secret = bytearray_at(addressof(secret), len(secret))
    for i in range(len(secret)):
        secret[i] = 0


def next_key(key: "bytes | bytearray") -> bytearray:
    """Return the key of the next record. The caller wipes the old one when the new one is in flash."""
    digest = hmac_sha256(key, b"vitrine/next")
    following = bytearray(KEY_SIZE)
    following[:] = memoryview(digest)[:KEY_SIZE]
    wipe(digest)
    return following


def record_tag(key: "bytes | bytearray | None", sequence: int, body: bytes) -> bytes:
    """Return the tag of record `sequence` with the CBOR `body` under its key; 16 zeros without a key."""
    return _tag(key, b"vitrine/record", sequence.to_bytes(4, "big"), body)


def batch_tag(key: "bytes | bytearray | None", content: bytes) -> bytes:
    """Return the tag of a batch's `content` under the key of the journal's count; 16 zeros without a key."""
    return _tag(key, b"vitrine/batch", content, b"")


def acknowledgement_tag(key: bytes, epoch: int, count: int) -> bytes:
    """Return the tag of "all below `count` is stored" under the 32-byte acknowledgement key."""
    return _tag(key, b"vitrine/acknowledge", epoch.to_bytes(4, "big"), count.to_bytes(4, "big"))


def next_head(head: bytes, sequence: int, tag: bytes) -> bytes:
    """Return the 32-byte head after record `sequence` (SPEC.md 8.6)."""
    digest = hashlib.sha256(head)
    digest.update(sequence.to_bytes(4, "big"))
    digest.update(tag)
    return digest.digest()


def _tag(key: "bytes | bytearray | None", label: bytes, first: bytes, second: bytes) -> bytes:
    if key is None:
        return NO_TAG
    return hmac_sha256(key, label, first, second)[:TAG_SIZE]
