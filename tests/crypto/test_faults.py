"""No flipped bit in the memory of the native code, and none in a table, makes a forged signature pass."""

import random

from support import skip
from vitrine.crypto import comb, ed25519
from vitrine.crypto.curve import ORDER, P
from vitrine.crypto.ed25519 import GRANT, PublicKey

# The key of secret scalar 1 is the base point B itself, so R and S for any challenge h are known: what is right but
# for one thing can be made here.
BASE_Y = 4 * pow(5, P - 2, P) % P
KEY = BASE_Y.to_bytes(32, "little")
GOOD_R = PublicKey(KEY).raw  # R = 1 B


def signature(message, r=GOOD_R, wrong=0):
    h = int.from_bytes(ed25519.sha512(r + KEY + message), "little") % ORDER
    return r + ((1 + h + wrong) % ORDER).to_bytes(32, "little")


def table():
    return list(comb.build(PublicKey(KEY), 3))[-1]


def flipped(data, bit):
    data[bit >> 3] ^= 1 << (bit & 7)


def test_the_forgeries_would_be_good_but_for_one_thing():
    key = PublicKey(KEY)
    assert key.verify(b"open", signature(b"open"))
    assert not key.verify(b"open", signature(b"open", wrong=1))
    assert not key.verify(b"open", signature(b"shut"))
    # R = S B, h A left out
    assert not key.verify(b"open", GOOD_R + (1).to_bytes(32, "little"))


def test_a_bit_flipped_in_the_machines_memory_at_any_moment():
    if not hasattr(ed25519.engine, "_memory"):
        skip("this interpreter has no native code")
    engine = ed25519.engine
    run = engine.run
    countdown = 0
    flips = 0

    def glitching(x, c, a, program):
        nonlocal countdown, flips
        countdown -= 1
        if countdown == 0:
            # one bit, or a whole word to zero: anywhere in the field elements, the constant and the scratch space
            place = random.getrandbits(16) % len(engine._memory)
            if random.getrandbits(1):
                flipped(engine._memory, place * 8 + random.getrandbits(3))
            else:
                place &= ~3
                engine._memory[place : place + 4] = bytes(4)
            flips += 1
        return run(x, c, a, program)

    constant = bytes(engine._memory)
    random.seed(1)
    engine.run = glitching
    try:
        for with_table in (None, table()):
            for n in range(60):
                key = PublicKey(KEY)
                key.use_table(with_table)
                forged = (signature(b"open", wrong=1 + n), GOOD_R + (1).to_bytes(32, "little"))[n & 1]
                countdown = 1 + random.getrandbits(16) % (100 if with_table else 200)
                assert key.verdict(b"open", forged) != GRANT
                engine._memory[:] = constant
    finally:
        engine.run = run
        engine._memory[:] = constant
    assert flips > 60
    assert PublicKey(KEY).verify(b"open", signature(b"open"))


def test_memory_wiped_in_the_middle_is_no_grant():
    """All coordinates 0 is a state that point operations never leave, and 0 = 0 is what a good signature gives."""
    if not hasattr(ed25519.engine, "_memory"):
        skip("this interpreter has no native code")
    engine = ed25519.engine
    run = engine.run
    constant = bytes(engine._memory)
    countdown = 0

    def wiping(x, c, a, program):
        nonlocal countdown
        countdown -= 1
        if countdown == 0:
            engine._memory[:] = bytes(len(constant))
        return run(x, c, a, program)

    engine.run = wiping
    try:
        for with_table in (None, table()):
            for moment in (1, 2, 30, 60, 90):
                key = PublicKey(KEY)
                key.use_table(with_table)
                countdown = moment
                assert key.verdict(b"open", signature(b"open", wrong=1)) != GRANT
                assert countdown <= 0
                engine._memory[:] = constant
    finally:
        engine.run = run
        engine._memory[:] = constant


def test_a_bit_flipped_in_a_table_or_key():
    sound = table()
    random.seed(2)
    forged = signature(b"open", wrong=1)
    for _ in range(30):
        damaged = bytearray(sound)
        flipped(damaged, random.getrandbits(16) % (8 * len(damaged)))
        key = PublicKey(KEY)
        key.use_table(bytes(damaged))
        assert key.verdict(b"open", forged) != GRANT
        key = PublicKey(KEY)
        x, y = key.point
        key.point = (
            (x ^ 1 << random.getrandbits(7), y) if random.getrandbits(1) else (x, y ^ 1 << random.getrandbits(7))
        )
        assert key.verdict(b"open", forged) != GRANT
        assert key.verdict(b"open", signature(b"open")) != GRANT


def test_an_empty_table_is_no_grant():
    key = PublicKey(KEY)
    key.use_table(bytes(len(table())))
    assert key.verdict(b"open", signature(b"open")) != GRANT
    assert key.verdict(b"open", GOOD_R + (1).to_bytes(32, "little")) != GRANT
