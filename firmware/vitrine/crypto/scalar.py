"""How scalars are cut into digits, and the shape of comb tables.

A comb of T teeth has two blocks of 2^(T-1) entries. A scalar is written with signed bits (each +1 or -1, so it must be
odd) at positions 0 .. 2 C T - 1, C = `comb_columns(T)`; position c + C (v + 2 j) is tooth j of block v in column c.
Per column there is one doubling and, per block, one addition (Lim and Lee, "More Flexible Exponentiation with
Precomputation", CRYPTO '94; signed bits after Hedabou et al.).
"""

from micropython import const

from .curve import ORDER

BASE_TEETH = const(6)
BASE_COLUMNS = const(22)
ENTRY_SIZE = const(96)  # bytes of a table entry: Y+X, Y-X, 2dXY of an affine point, 32 bytes little-endian each
DIGITS = const(258)  # signed digits of a scalar below 2^256
WINDOW_SIZE = const(2560)  # bytes of a window of the native implementation
_SCALAR_BITS = const(254)  # an odd scalar below 2 L


def comb_columns(teeth: int) -> int:
    """Return the number of columns of a comb with `teeth` teeth and two blocks."""
    return (_SCALAR_BITS + 2 * teeth - 1) // (2 * teeth)


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


def comb_bits(scalar: int, teeth: int) -> bytearray:
    """Return the signed bits of `scalar`, 0 <= scalar < L, for a point of order L: bit 1 is +1, bit 0 is -1."""
    if not scalar & 1:
        scalar += ORDER
    top = 2 * teeth * comb_columns(teeth) - 1
    bits = bytearray((scalar >> 1).to_bytes((top >> 3) + 1, "little"))
    bits[top >> 3] |= 1 << (top & 7)
    return bits


def wnaf(scalar: int, digits: bytearray) -> int:
    """Write the width-5 signed digits of `scalar`, 0 <= scalar < 2^256, to `digits`, least significant first.

    A digit is 0, or odd: d as d, -d as 32 - d, d < 16; of five neighbours at most one is not 0. `digits` has DIGITS
    bytes; returns how many are in use.
    """
    source = scalar.to_bytes(36, "little")
    carry = length = quiet = 0
    for i in range(DIGITS):
        digits[i] = 0
        if quiet:
            quiet -= 1
            continue
        place = i >> 3
        bits = (source[place] | source[place + 1] << 8) >> (i & 7)
        if bits & 1 != carry:
            digit = (bits & 31) + carry
            carry = digit >> 4
            digits[i] = digit & 31
            length = i + 1
            quiet = 4
    return length


class Marks:
    """Notes the digits that are used, to tell afterwards what scalar they make."""

    def __init__(self, bits: bytearray | memoryview) -> None:
        """Note in `bits`, 72 zero bytes."""
        # Digits do not overlap: positive ones are put together in the lower half, negative ones in the upper.
        bits = memoryview(bits)
        self._positive = bits[:36]
        self._negative = bits[36:]

    def mark(self, digit: int, i: int) -> None:
        """Note that the digit at place i was used."""
        bits = self._positive
        if digit > 15:
            bits = self._negative
            digit = 32 - digit
        digit <<= i & 7
        bits[i >> 3] |= digit & 255
        bits[(i >> 3) + 1] |= digit >> 8

    def value(self) -> int:
        """Return the scalar whose digits were used."""
        return int.from_bytes(self._positive, "little") - int.from_bytes(self._negative, "little")
