"""Inverses and half-size scalars, with and without the native steps; digits and their values."""

from support import given, ints
from vitrine.crypto.curve import ORDER, SMALL_ORDER_Y, P, canonical_y, is_below_order, is_refused
from vitrine.crypto.ed25519 import engine
from vitrine.crypto.lattice import halve, inverse
from vitrine.crypto.scalar import DIGITS, Marks, comb_bits, comb_columns, comb_size, comb_teeth, wnaf


def bits(n):
    n = abs(n)
    count = 0
    while n:
        n >>= 1
        count += 1
    return count


def check_halve(h):
    for native in {None, engine.reduced}:
        c0, c1 = halve(h, native)
        assert (c0 - c1 * h) % (8 * ORDER) == 0
        assert c1 & 1
        assert c0 >= 0
    return max(bits(c0), bits(c1))


@given(ints(0, ORDER - 1))
def test_halves_belong_to_h(h):
    check_halve(h)


def test_halves_of_edge_values():
    values = [0, 1, 2, 7, 8, ORDER - 1, ORDER - 2, ORDER // 2, ORDER // 3, ORDER // 8]
    for n in range(8, 253):
        values.extend((1 << n, (1 << n) - 1, ORDER - (1 << n)))
    for h in values:
        if 0 <= h < ORDER:
            check_halve(h)


def test_halves_of_hashes_are_half_size():
    """What makes it fast: for what a hash gives, both stay near 128 bits."""
    h = 0x1B2B8324804FC1DF0B2B4D00993DFBD7A72F431806AD2FE478C4EE1B274A0EA0
    longest = 0
    for _ in range(100):
        h = h * h % ORDER
        longest = max(longest, check_halve(h))
    assert longest < 145


@given(ints(1, P - 1))
def test_inverse(a):
    for native in {None, engine.reduced}:
        assert a * inverse(a, native) % P == 1


def test_inverse_of_edge_values():
    for a in (1, 2, 3, P - 1, P - 2, P // 2, (1 << 254) + 1, 1 << 28, (1 << 28) - 1, 1 << 56):
        for native in {None, engine.reduced}:
            assert a * inverse(a, native) % P == 1


@given(ints(0, (1 << 255) - 1))
def test_digits_add_up_and_are_sparse(n):
    digits = bytearray(b"\xff" * DIGITS)
    length = wnaf(n, digits)
    native = bytearray(b"\xff" * DIGITS)
    assert engine.wnaf(n, native) == length
    assert native == digits
    used = Marks(bytearray(72))
    total = 0
    last = -5
    for i, digit in enumerate(digits):
        if digit:
            assert digit & 1 and digit < 32
            assert i - last >= 5
            last = i
            used.mark(digit, i)
            total += (digit if digit < 16 else digit - 32) << i
    assert total == n == used.value()
    assert length == last + 1 or n == length == 0


@given(ints(0, ORDER - 1), ints(2, 8))
def test_comb_bits_add_up(n, teeth):
    size = 2 * teeth * comb_columns(teeth)
    signed = comb_bits(n, teeth)
    assert len(signed) == (size + 7) // 8
    total = 0
    for i in range(size):
        total += (1 if signed[i >> 3] >> (i & 7) & 1 else -1) << i
    assert total in (n, n + ORDER)


def test_the_two_looks_at_encodings_agree():
    """canonical_y and is_refused, S < L by number and by bytes: written twice on purpose."""
    ys = list(SMALL_ORDER_Y)
    for y in (P, P // 2, 1 << 254, 5):
        ys.extend((y - 2, y - 1, y, y + 1, y + 2, y + 255))
    ys.extend((P + 18, P + 17, (1 << 255) - 257))
    refused = 0
    for y in ys:
        for sign in (0, 1):
            if 0 <= y < 1 << 255:
                raw = (y | sign << 255).to_bytes(32, "little")
                assert is_refused(raw) == (canonical_y(raw) < 0)
                refused += is_refused(raw)
    assert refused > 20
    for s in (
        0,
        1,
        ORDER - 1,
        ORDER,
        ORDER + 1,
        ORDER - 256,
        ORDER + 256,
        1 << 252,
        (1 << 256) - 1,
        2 * ORDER,
        1 << 255,
    ):
        assert is_below_order(bytes(32) + s.to_bytes(32, "little")) == (s < ORDER)


def test_table_sizes_tell_the_teeth():
    for teeth in range(2, 10):
        assert comb_teeth(comb_size(teeth)) == teeth
    assert comb_size(6) == 6144
