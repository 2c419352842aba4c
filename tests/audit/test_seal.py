"""The ratchet: against the formulas of SPEC.md 8.5, written down once more with hashlib alone."""

import hashlib

from support import blobs, given, ints
from vitrine.audit import seal

KEY = bytes(range(24))


def hmac(key, message):
    pad = key + bytes(64 - len(key))
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in pad) + message).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in pad) + inner).digest()


def test_the_next_key():
    key = bytearray(KEY)
    assert bytes(seal.next_key(key)) == hmac(KEY, b"vitrine/next")[:24]
    assert bytes(key) == KEY


@given(ints(0, 0xFFFFFFFF), blobs(1, 224), examples=20)
def test_tags(number, body):
    count = number.to_bytes(4, "big")
    assert seal.record_tag(KEY, number, body) == hmac(KEY, b"vitrine/record" + count + body)[:16]
    assert seal.batch_tag(KEY, body) == hmac(KEY, b"vitrine/batch" + body)[:16]
    expected = hmac(bytes(32), b"vitrine/acknowledge" + count + b"\0\0\0\7")[:16]
    assert seal.acknowledgement_tag(bytes(32), number, 7) == expected
    assert seal.next_head(bytes(32), number, body) == hashlib.sha256(bytes(32) + count + body).digest()


def test_without_a_key_the_tag_is_zeros():
    assert seal.record_tag(None, 1, b"x") == bytes(16)
    assert seal.batch_tag(None, b"x") == bytes(16)


def test_wipe_overwrites_in_place():
    secret = bytearray(KEY)
    view = memoryview(secret)
    seal.wipe(secret)
    assert bytes(view) == bytes(24)


def test_wipe_reaches_immutable_bytes_where_the_interpreter_lets_it():
    digest = hashlib.sha256(b"secret").digest()
    seal.wipe(digest)
    assert digest == (bytes(32) if seal.bytearray_at else hashlib.sha256(b"secret").digest())
