"""Fresh nonces: good for 300 s, on this lock, in this start, and never again."""

import struct

from support import blobs, given, ints, lists
from vitrine.access.freshness import Freshness
from vitrine.crypto.hmac256 import hmac_sha256

WRAP = 2**30
LIMIT_MS = 300_000


class Random:
    """Keys that a test can tell: 16 times 1, 16 times 2, ..."""

    def __init__(self):
        self.made = 0

    def __call__(self, count):
        self.made += 1
        return bytes((self.made % 256,)) * count


def test_a_nonce_is_as_specified():
    """SPEC.md section 3.3, by hand."""
    made = struct.pack(">I", 123_456)
    expected = made + hmac_sha256(b"\x01" * 16, b"vitrine/cnonce" + made)[:12]
    assert Freshness(Random()).issue(123_456) == expected and len(expected) == 16


@given(ints(0, WRAP - 1), ints(0, 2 * LIMIT_MS))
def test_it_is_good_for_300_s_over_the_wrap_of_the_ticks(start_ms, age_ms):
    fresh = Freshness(Random())
    nonce = fresh.issue(start_ms)
    told = fresh.age_ms(nonce, (start_ms + age_ms) % WRAP)
    assert told == (age_ms if age_ms <= LIMIT_MS else None)


def test_ticks_that_wrap_later_than_30_bits():
    fresh = Freshness(Random())
    assert fresh.age_ms(fresh.issue(5 * WRAP + 7), 5 * WRAP + 8) == 1
    assert fresh.issue(7 * WRAP + 7)[:4] == b"\0\0\0\x07"


@given(lists(ints(0, 400_000), 1, 30), ints(0, WRAP - 1))
def test_every_nonce_lives_its_300_s_whenever_the_keys_change(steps, now_ms):
    random_bytes = Random()
    fresh = Freshness(random_bytes)
    nonces = []
    elapsed_ms = 0
    for step_ms in steps:
        elapsed_ms += step_ms
        now = (now_ms + elapsed_ms) % WRAP
        nonces.append((elapsed_ms, fresh.issue(now)))
        for made_ms, nonce in nonces:
            age_ms = elapsed_ms - made_ms
            assert fresh.age_ms(nonce, now) == (age_ms if age_ms <= LIMIT_MS else None)
        assert len(fresh._keys) <= 2
    assert random_bytes.made <= 1 + elapsed_ms // LIMIT_MS


def test_a_key_makes_nonces_for_300_s_at_most():
    random_bytes = Random()
    fresh = Freshness(random_bytes)
    for now_ms in range(0, 3_000_001, 1000):
        fresh.issue(now_ms)
    assert random_bytes.made == 11


def test_no_nonce_comes_back_when_the_ticks_do():
    """12 days later the ticks are the same; the key is not, as long as somebody calls tick()."""
    fresh = Freshness(Random())
    nonce = fresh.issue(1000)
    for minute in range(1, WRAP // 60_000 + 1):
        fresh.tick((1000 + minute * 60_000) % WRAP)
    fresh.issue(990)
    assert fresh.age_ms(nonce, 1010) is None


def test_keys_are_dropped_when_nothing_they_made_is_good():
    fresh = Freshness(Random())
    fresh.issue(0)
    fresh.tick(599_999)
    assert len(fresh._keys) == 1
    fresh.tick(600_000)
    assert fresh._keys == []


def test_another_start_and_another_lock_know_nothing_of_it():
    nonce = Freshness(lambda count: b"a" * count).issue(0)
    other = Freshness(lambda count: b"b" * count)
    assert other.age_ms(nonce, 1) is None
    other.issue(0)
    assert other.age_ms(nonce, 1) is None


def test_every_bit_counts():
    fresh = Freshness(Random())
    nonce = fresh.issue(500)
    for bit in range(128):
        bent = bytearray(nonce)
        bent[bit // 8] ^= 1 << (bit % 8)
        assert fresh.age_ms(bytes(bent), 600) is None
    for wrong in (b"", nonce[:-1], nonce + b"\0", b"\xc0" + nonce[1:]):
        assert fresh.age_ms(wrong, 600) is None


def test_none_from_the_future():
    fresh = Freshness(Random())
    assert fresh.age_ms(fresh.issue(1000), 999) is None


@given(blobs(0, 40), ints(0, WRAP - 1))
def test_any_bytes(nonce, now_ms):
    fresh = Freshness(Random())
    fresh.issue(now_ms)
    assert fresh.age_ms(nonce, now_ms) is None
