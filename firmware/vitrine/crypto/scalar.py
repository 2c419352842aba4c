"""How scalars are cut into digits, and the shape of comb tables.

A comb of T teeth has two blocks of 2^(T-1) entries. A scalar is written with signed bits (each +1 or -1, so it must be
odd) at positions 0 .. 2 C T - 1, C = `comb_columns(T)`; position c + C (v + 2 j) is tooth j of block v in column c.
Per column there is one doubling and, per block, one addition (Lim and Lee, "More Flexible Exponentiation with
Precomputation", CRYPTO '94; signed bits after Hedabou et al.).
"""

from micropython import const

from .curve import ORDER

BASE_TEETH = const(7)
BASE_COLUMNS = const(19)
ENTRY_SIZE = const(96)  # bytes of a table entry: Y+X, Y-X, 2dXY of an affine point, 32 bytes little-endian each
SCALAR_BITS = const(254)  # an odd scalar below 2 L


def comb_columns(teeth: int) -> int:
    """Return the number of columns of a comb with `teeth` teeth and two blocks."""
    return (SCALAR_BITS + 2 * teeth - 1) // (2 * teeth)


def comb_size(teeth: int) -> int:
    """Return the bytes of a comb table."""
    return ENTRY_SIZE << teeth


def comb_teeth(size: int) -> int:
    """Return the teeth of a comb table of `size` bytes; raise ValueError if there is no such table."""
    for teeth in range(2, 10):
        if comb_size(teeth) == size:
            return teeth
    raise ValueError("not the size of a comb table")


def comb_steps(teeth: int) -> int:
    """Return the number of point operations of `comb`: its doublings, and two additions in each column."""
    columns = comb_columns(teeth)
    return max(columns, BASE_COLUMNS) - 1 + 2 * (columns + BASE_COLUMNS)


def comb_bits(scalar: int, teeth: int) -> bytes:
    """Return the signed bits of `scalar`, 0 <= scalar < L, for a point of order L: bit 1 is +1, bit 0 is -1."""
    if not scalar & 1:
        scalar += ORDER
    size = 2 * teeth * comb_columns(teeth)
    return ((scalar + (1 << size) - 1) >> 1).to_bytes((size + 7) >> 3, "little")


def wnaf(scalar: int, length: int) -> bytes:
    """Return the width-5 signed digits of `scalar` >= 0, least significant first, in `length` bytes.

    A digit is 0, or odd: d as d, -d as 32 - d, d < 16; of five neighbours at most one is not 0. `length` must
    exceed the scalar's bit length.
    """
    digits = bytearray(length)
    i = 0
    while scalar:
        if scalar & 1:
            digit = scalar & 31
            digits[i] = digit
            scalar -= digit if digit < 16 else digit - 32
            scalar >>= 5
            i += 5
        else:
            scalar >>= 1
            i += 1
    return bytes(digits)


def wnaf_length(*scalars: int) -> int:
    """Return a number of digits, at least BASE_COLUMNS, that is enough for the scalars of either sign."""
    length = 126
    for scalar in scalars:
        while abs(scalar) >> length - 1:
            length += 1
    return length


def wnaf_steps(*digits: bytes) -> int:
    """Return the number of point operations of `combine`: doublings from the first digit on, and additions."""
    steps = 2 * BASE_COLUMNS
    top = BASE_COLUMNS
    for string in digits:
        steps += len(string) - string.count(b"\0")
        top = max(top, len(string.rstrip(b"\0")))
    return steps + top - 1
