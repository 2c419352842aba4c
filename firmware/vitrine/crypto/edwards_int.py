"""Edwards25519 with the interpreter's big integers: for boards without the native emitter, and for CPython.

The same functions as `edwards_viper`. Points are (X, Y, Z, T) in extended coordinates with T = X Y / Z (RFC 8032
section 5.1.4; Hisil et al., "Twisted Edwards Curves Revisited", a = -1). Everything is public: no constant time.
A coordinate handed on is below P; sums and differences go into a product unreduced, because the reduction that follows
takes any size and sign.
"""

from micropython import const

from .base_table import BASE_TABLE
from .curve import D2, SQRT_M1, D, P, on_curve
from .scalar import BASE_COLUMNS, BASE_TEETH, ENTRY_SIZE, Marks, comb_columns, wnaf

__all__ = ("added", "comb", "combine", "doubled", "is_point", "reduced", "window", "wnaf", "x_of")

reduced = None  # lattice_viper.py
WINDOW_ENTRIES = const(8)  # odd multiples of a variable point, for 5-bit signed digits


def x_of(y: int, sign: int) -> int:
    """Return the x of the curve point (x, y) with x & 1 == sign, or -1 if there is none (RFC 8032 section 5.1.3)."""
    p = P
    yy = y * y % p
    u = yy - 1
    v = (D * yy + 1) % p
    v3 = v * v % p * v % p
    x = u * v3 % p * _pow_p58(u * v3 % p * v3 % p * v % p) % p
    vxx = v * x % p * x % p
    if vxx != u % p:
        if (vxx + u) % p:
            return -1
        x = x * SQRT_M1 % p
    if x & 1 != sign:
        if not x:
            return -1
        x = p - x
    return x


def is_point(x: int, y: int) -> bool:
    """Tell whether (x, y) is on the curve."""
    return on_curve(x, y)


def _pow_p58(z: int) -> int:
    """Return z^((P - 5) / 8)."""
    p = P
    x = z * z % p
    z9 = z * (_squared(x, 2)) % p
    x = z9 * x % p  # z^11
    z5 = x * x % p * z9 % p  # z^(2^5 - 1)
    z10 = _squared(z5, 5) * z5 % p
    z20 = _squared(z10, 10) * z10 % p
    z40 = _squared(z20, 20) * z20 % p
    z50 = _squared(z40, 10) * z10 % p
    z100 = _squared(z50, 50) * z50 % p
    z200 = _squared(z100, 100) * z100 % p
    z250 = _squared(z200, 50) * z50 % p
    return _squared(z250, 2) * z % p


def _squared(x: int, times: int) -> int:
    p = P
    for _ in range(times):
        x = x * x % p
    return x


def window(x: int, y: int, table: object = None) -> list:
    """Return the table of (x, y), 3 (x, y), ... 15 (x, y) for `combine`: (Y+X, Y-X, 2 d T, 2 Z) each.

    `table` is for the native implementation.
    """
    point = (x, y, 1, x * y % P)
    twice = _cached(_doubled(point))
    table = [_cached(point)]
    for _ in range(WINDOW_ENTRIES - 1):
        point = _added(point, twice)
        table.append(_cached(point))
    return table


def combine(s_bits: bytes, length: int, a_digits: bytes, a_window: list, r_digits: bytes, r_window: list) -> tuple:
    """Return (X, Y, Z) of s B + a A + r R, the number of doublings and columns, and a and r as they were used.

    `s_bits` is from `scalar.comb_bits` for the base point's table; the digits are from `wnaf`, the first `length` of
    them are used; the windows are from `window`.
    """
    point = _NEUTRAL
    steps = 0
    a_used = Marks(bytearray(72))
    r_used = Marks(bytearray(72))
    for i in range(length - 1, -1, -1):
        if i < length - 1:
            point = _doubled(point)
            steps += 1
        digit = a_digits[i]
        if digit:
            point = _added_digit(point, a_window, digit)
            a_used.mark(digit, i)
        digit = r_digits[i]
        if digit:
            point = _added_digit(point, r_window, digit)
            r_used.mark(digit, i)
        if i < BASE_COLUMNS:
            point = _added_column(point, BASE_TABLE, s_bits, i, BASE_TEETH)
            steps += 2
    return point[0], point[1], point[2], steps, a_used.value(), r_used.value()


def comb(s_bits: bytes, a_bits: bytes, a_table: bytes, teeth: int) -> tuple:
    """Return (X, Y, Z) of s B + a A, and the number of point operations; the comb table of A has so many `teeth`."""
    point = _NEUTRAL
    steps = 0
    columns = comb_columns(teeth)
    for i in range(max(columns, BASE_COLUMNS) - 1, -1, -1):
        if steps:
            point = _doubled(point)
            steps += 1
        if i < columns:
            point = _added_column(point, a_table, a_bits, i, teeth)
            steps += 2
        if i < BASE_COLUMNS:
            point = _added_column(point, BASE_TABLE, s_bits, i, BASE_TEETH)
            steps += 2
    return point[0], point[1], point[2], steps


def doubled(point: tuple, times: int) -> tuple:
    """Return 2^times times the point (X, Y, Z, T)."""
    for _ in range(times):
        point = _doubled(point)
    return point


def added(point: tuple, other: tuple) -> tuple:
    """Return the sum of two points (X, Y, Z, T)."""
    return _added(point, _cached(other))


_NEUTRAL = (0, 1, 1, 0)


def _added_digit(point: tuple, table: list, digit: int) -> tuple:
    if digit < 16:
        return _added(point, table[digit >> 1])
    yp, ym, t2, z2 = table[(32 - digit) >> 1]
    return _added(point, (ym, yp, -t2, z2))


def _added_column(point: tuple, table: bytes, bits: bytes, column: int, teeth: int) -> tuple:
    """Add the two entries that column `column` of the comb selects (the table has two blocks)."""
    half = 1 << (teeth - 1)
    columns = comb_columns(teeth)
    for block in (0, 1):
        index = 0
        position = column + block * columns + (teeth - 1) * 2 * columns
        for _ in range(teeth):
            index = index << 1 | (bits[position >> 3] >> (position & 7) & 1)
            position -= 2 * columns
        negative = index < half
        if negative:
            index = ~index
        start = ((index & (half - 1)) + block * half) * ENTRY_SIZE
        yp = int.from_bytes(table[start : start + 32], "little")
        ym = int.from_bytes(table[start + 32 : start + 64], "little")
        t2 = int.from_bytes(table[start + 64 : start + 96], "little")
        if negative:
            yp, ym, t2 = ym, yp, -t2
        point = _added(point, (yp, ym, t2, 2))
    return point


def _cached(point: tuple) -> tuple:
    x, y, z, t = point
    return y + x, y - x, D2 * t % P, z + z


def _doubled(point: tuple) -> tuple:
    x, y, z, _ = point
    p = P
    a = x * x
    b = y * y
    h = a + b
    x += y
    e = (h - x * x) % p
    g = a - b
    f = (2 * z * z + g) % p
    g = g % p
    h = h % p
    return e * f % p, g * h % p, f * g % p, e * h % p


def _added(point: tuple, other: tuple) -> tuple:
    x, y, z, t = point
    yp, ym, t2, z2 = other
    p = P
    a = (y - x) * ym
    b = (y + x) * yp
    c = t * t2
    d = z * z2
    e = (b - a) % p
    f = (d - c) % p
    g = (d + c) % p
    h = (b + a) % p
    return e * f % p, g * h % p, f * g % p, e * h % p
