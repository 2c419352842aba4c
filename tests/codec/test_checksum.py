"""CRC-32 at the end, and what it can put right."""

from support import blobs, given, ints
from vitrine.codec import checksum


def closed(body, seed):
    data = bytearray(body + bytes(4))
    checksum.close(data, seed)
    return data


@given(blobs(0, 90), ints(0, 0xFFFFFFFF))
def test_what_is_closed_is_right_with_its_seed_only(body, seed):
    data = closed(body, seed)
    assert checksum.is_right(data, seed)
    assert not checksum.is_right(data, seed ^ 1)


@given(blobs(1, 60), ints(0, 0xFFFFFFFF), ints(0, 511), examples=30)
def test_one_flipped_bit_is_found(body, seed, bit):
    data = closed(body, seed)
    whole = bytes(data)
    bit %= 8 * len(data)
    data[bit >> 3] ^= 1 << (bit & 7)
    assert not checksum.is_right(data, seed)
    assert not checksum.mend(data, seed, 0)
    assert checksum.mend(data, seed, 1)
    assert bytes(data) == whole


@given(ints(0, 255), ints(0, 255), examples=6)
def test_two_flipped_bits_of_a_cell_are_found(one, other):
    data = closed(bytes(range(28)), 99)
    whole = bytes(data)
    for bit in (one, other):
        data[bit >> 3] ^= 1 << (bit & 7)
    assert checksum.mend(data, 99, 2)
    assert bytes(data) == whole


def test_what_cannot_be_mended_stays_as_it_is():
    data = closed(bytes(range(28)), 99)
    data[3] ^= 0x15
    before = bytes(data)
    assert not checksum.mend(data, 99, 1)
    assert bytes(data) == before
