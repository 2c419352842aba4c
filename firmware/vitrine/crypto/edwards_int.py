"""Edwards25519 with the interpreter's big integers: for boards without the native emitter, and for CPython.

The same functions as `edwards_viper`. Points are (X, Y, Z, T) in extended coordinates with T = X Y / Z (RFC 8032
section 5.1.4; Hisil et al., "Twisted Edwards Curves Revisited", a = -1). Everything is public: no constant time.

Inside, a point is (X, Y, Z, E, H) with T = E H, multiplied out only by an addition: most points are doubled next and
need none. A division costs as much as two products, so the high bits of a product are folded instead, 2^255 being 19:
v becomes (v & _LOW) + (v >> 255) * 19, of about 260 bits and either sign. What is handed on as X, Y or Z is divided
then, and so from 0 to P - 1. The folding is written out each time because a call would cost a third of it.
"""

from micropython import const

from .base_table import BASE_TABLE
from .curve import D2, SQRT_M1, D, P, on_curve
from .scalar import BASE_COLUMNS, BASE_TEETH, ENTRY_SIZE, Marks, comb_columns, wnaf

__all__ = ("added", "comb", "combine", "doubled", "is_point", "reduced", "window", "wnaf", "x_of")

reduced = None  # lattice_viper.py
WINDOW_ENTRIES = const(8)  # odd multiples of a variable point, for 5-bit signed digits
_LOW = (1 << 255) - 1


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
    low = _LOW
    for _ in range(times):
        x *= x
        x = ((x & low) + (x >> 255) * 19) % p
    return x


def window(x: int, y: int, table: object = None) -> list:
    """Return the table of (x, y), 3 (x, y), ... 15 (x, y) for `combine`: (Y+X, Y-X, 2 d T, Z) each.

    `table` is for the native implementation.
    """
    point = (x, y, 1, x, y)
    twice = _cached(_doubled(point))
    table = [_cached(point)]
    for _ in range(WINDOW_ENTRIES - 1):
        point = _added(point, *twice)
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
    x, y, z, t = point
    point = (x, y, z, t, 1)
    for _ in range(times):
        point = _doubled(point)
    return _extended(point)


def added(point: tuple, other: tuple) -> tuple:
    """Return the sum of two points (X, Y, Z, T)."""
    x, y, z, t = point
    return _extended(_added((x, y, z, t, 1), *_cached(other + (1,))))


_NEUTRAL = (0, 1, 1, 0, 1)


def _extended(point: tuple) -> tuple:
    x, y, z, e, h = point
    return x, y, z, e * h % P


def _added_digit(point: tuple, table: list, digit: int) -> tuple:
    if digit < 16:
        return _added(point, *table[digit >> 1])
    yp, ym, t2, z = table[(32 - digit) >> 1]
    return _added(point, ym, yp, -t2, z)


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
        point = _added(point, ym, yp, -t2, 1) if negative else _added(point, yp, ym, t2, 1)
    return point


def _cached(point: tuple) -> tuple:
    x, y, z, e, h = point
    return y + x, y - x, D2 * (e * h % P) % P, z


def _doubled(point: tuple) -> tuple:
    x, y, z, _, _ = point
    p = P
    low = _LOW
    a = x * x
    a = (a & low) + (a >> 255) * 19
    b = y * y
    b = (b & low) + (b >> 255) * 19
    c = z * z
    c = (c & low) + (c >> 255) * 19
    x += y
    x *= x
    h = a + b
    e = h - (x & low) - (x >> 255) * 19
    g = a - b
    f = g + c + c
    x = e * f
    y = g * h
    z = f * g
    x = ((x & low) + (x >> 255) * 19) % p
    y = ((y & low) + (y >> 255) * 19) % p
    z = ((z & low) + (z >> 255) * 19) % p
    return x, y, z, e, h


def _added(point: tuple, yp: int, ym: int, t2: int, other_z: int) -> tuple:
    """Add the point (yp, ym, t2, other_z) = (Y + X, Y - X, 2 d T, Z)."""
    x, y, z, e, h = point
    p = P
    low = _LOW
    a = (y - x) * ym
    a = (a & low) + (a >> 255) * 19
    b = (y + x) * yp
    b = (b & low) + (b >> 255) * 19
    c = e * h
    c = ((c & low) + (c >> 255) * 19) * t2
    c = (c & low) + (c >> 255) * 19
    z += z
    if other_z != 1:
        z *= other_z
        z = (z & low) + (z >> 255) * 19
    e = b - a
    f = z - c
    g = z + c
    h = b + a
    x = e * f
    y = g * h
    z = f * g
    x = ((x & low) + (x >> 255) * 19) % p
    y = ((y & low) + (y >> 255) * 19) % p
    z = ((z & low) + (z >> 255) * 19) % p
    return x, y, z, e, h
