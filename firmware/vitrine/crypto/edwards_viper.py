"""Edwards25519 on the native field machine. The same functions as `edwards_int`, in a fraction of the time.

All work happens in one memory of 2,240 bytes, allocated on import. Not re-entrant: verification never awaits, and only
the task that runs the event loop verifies.
"""
# ruff: noqa: F821  (ptr8 and ptr32 are viper's)

import micropython

from . import field_viper as field
from .base_table import BASE_TABLE
from .curve import D2, SQRT_M1, D, P
from .field_viper import SLOT_SIZE, fetch, pack, pick, run, unpack
from .lattice_viper import reduced
from .scalar import BASE_COLUMNS, BASE_TEETH, WINDOW_SIZE, Marks, comb_columns

__all__ = ("added", "comb", "combine", "doubled", "is_point", "reduced", "window", "wnaf", "x_of")

_memory = bytearray(field.MEMORY_SIZE)
_view = memoryview(_memory)
_slots = [_view[i : i + SLOT_SIZE] for i in range(0, field.MEMORY_SIZE, SLOT_SIZE)]
_number = bytearray(33)
_twice = bytearray(4 * SLOT_SIZE)
_UNUSED = bytes(144)
_used = bytearray(144)
_a_used = Marks(memoryview(_used)[:72])
_r_used = Marks(memoryview(_used)[72:])
# What native code takes from the module must be a global of it.
_DOUBLE = field.DOUBLE
_DOUBLE_T = field.DOUBLE_T
_ADD_CACHED = field.ADD_CACHED
_SUB_CACHED = field.SUB_CACHED
_ADD_AFFINE = field.ADD_AFFINE
_SUB_AFFINE = field.SUB_AFFINE
_entry = _view[field.YP * SLOT_SIZE : (field.Z2 + 1) * SLOT_SIZE]  # Y+X, Y-X, 2dT, 2Z of the point to add


def _put(slot: int, value: int) -> None:
    unpack(0, _slots[slot], value.to_bytes(32, "little"))


def _get(slot: int) -> int:
    pack(0, _slots[slot], _number)
    _reduce(_number)
    return int.from_bytes(_number, "little")


def _is_zero(slot: int) -> bool:
    pack(0, _slots[slot], _number)
    return _reduce(_number) == 0


@micropython.viper
def _reduce(s: ptr8) -> int:
    """Bring the 33 bytes at s, little-endian, below P in place; return 0 if that is 0."""
    n = 2
    while n:
        # 2^255 is 19; the first fold can carry into bit 255 once more
        x = ((s[31] >> 7) | (s[32] << 1)) * 19
        s[31] = s[31] & 127
        s[32] = 0
        i = 0
        while i < 32:
            x += s[i]
            s[i] = x & 255
            x >>= 8
            i += 1
        n -= 1
    # P and above are those that 19 more takes to 2^255
    x = 19
    i = 0
    while i < 32:
        x = (x + s[i]) >> 8 if i < 31 else x + s[i]
        i += 1
    if x > 127:
        x = 19
        i = 0
        while i < 32:
            x += s[i]
            s[i] = x & 255
            x >>= 8
            i += 1
        s[31] = s[31] & 127
    x = 0
    i = 0
    while i < 32:
        x |= s[i]
        i += 1
    return x


def wnaf(scalar: int, digits: bytearray) -> int:
    """As `scalar.wnaf`."""
    return _wnaf(scalar.to_bytes(36, "little"), digits)


@micropython.viper
def _wnaf(source: ptr8, digits: ptr8) -> int:
    carry = 0
    length = 0
    quiet = 0
    i = 0
    while i < 258:
        digits[i] = 0
        if quiet:
            quiet -= 1
        else:
            place = i >> 3
            bits = (source[place] | (source[place + 1] << 8)) >> (i & 7)
            if bits & 1 != carry:
                bits = (bits & 31) + carry
                carry = bits >> 4
                digits[i] = bits & 31
                length = i + 1
                quiet = 4
        i += 1
    return length


@micropython.viper
def _store(d: ptr32, s: ptr32, index: int):
    """Copy the four slots at s to entry `index` of the window d."""
    d = ptr32(int(d) + index * 320)
    i = 0
    while i < 80:
        d[i] = s[i]
        i += 1


_put(field.CONST_2D, D2)
_put(field.CONST_D, D)
_put(field.CONST_I, SQRT_M1)
_put(field.CONST_1, 1)


def x_of(y: int, sign: int) -> int:
    """Return the x of the curve point (x, y) with x & 1 == sign, or -1 if there is none (RFC 8032 section 5.1.3)."""
    _put(field.Y, y)
    run(0, _memory, _memory, field.ROOT_START)
    run(0, _memory, _memory, field.POWER)
    run(0, _memory, _memory, field.ROOT_END)
    if not _is_zero(field.E):
        if not _is_zero(field.F):
            return -1
        run(0, _memory, _memory, field.ROOT_OTHER)
    x = _get(field.X)
    if x & 1 != sign:
        if not x:
            return -1
        x = P - x
    return x


def is_point(x: int, y: int) -> bool:
    """Tell whether (x, y) is on the curve."""
    _put(field.X, x)
    _put(field.Y, y)
    run(0, _memory, _memory, field.EQUATION)
    return _is_zero(field.E)


def window(x: int, y: int, table: "bytearray | None" = None) -> bytearray:
    """Return the table of (x, y), 3 (x, y), ... 15 (x, y) for `combine`: four slots each; made in `table` if given."""
    if table is None:
        table = bytearray(WINDOW_SIZE)
    _start(x, y)
    run(0, _memory, _memory, field.CACHE)
    _store(table, _entry, 0)
    run(0, _memory, _memory, field.DOUBLE_T)
    run(0, _memory, _memory, field.CACHE)
    _store(_twice, _entry, 0)
    _start(x, y)
    for i in range(1, 8):
        _store(_entry, _twice, 0)
        run(0, _memory, _memory, field.ADD_CACHED)
        run(0, _memory, _memory, field.CACHE)
        _store(table, _entry, i)
    return table


def _start(x: int, y: int) -> None:
    _put(field.X, x)
    _put(field.Y, y)
    run(0, _memory, _memory, field.AFFINE)


def combine(
    s_bits: bytes, length: int, a_digits: bytes, a_window: bytearray, r_digits: bytes, r_window: bytearray
) -> tuple:
    """Return (X, Y, Z) of s B + a A + r R, the number of doublings and columns, and a and r as they were used.

    `s_bits` is from `scalar.comb_bits` for the base point's table; the digits are from `wnaf`, the first `length` of
    them are used; the windows are from `window`.
    """
    _used[:] = _UNUSED
    run(0, _memory, _memory, field.NEUTRAL)
    steps = _walk(length, a_digits, r_digits, a_window, r_window, s_bits)
    return _get(field.X), _get(field.Y), _get(field.Z), steps, _a_used.value(), _r_used.value()


@micropython.viper
def _walk(length: int, a_digits: ptr8, r_digits: ptr8, a_window: object, r_window: object, s_bits: object) -> int:
    """Do the doublings and additions of `combine`; return the number of doublings and columns."""
    machine = run
    memory = _memory
    entry = _entry
    steps = 0
    i = length
    while i:
        i -= 1
        used = ptr8(_used)
        digit = int(a_digits[i])
        other = int(r_digits[i])
        if i < length - 1:
            # T is an input of the additions only
            if digit | other or i < 22:
                machine(0, memory, memory, _DOUBLE_T)
            else:
                machine(0, memory, memory, _DOUBLE)
            steps += 1
        points = a_window
        n = 2
        while n:
            if digit:
                place = i >> 3
                program = _ADD_CACHED
                if digit > 15:
                    digit = 32 - digit
                    place += 36
                    program = _SUB_CACHED
                fetch(0, entry, points, digit >> 1)
                machine(0, memory, memory, program)
                # as Marks.mark
                digit <<= i & 7
                used[place] = used[place] | (digit & 255)
                used[place + 1] = used[place + 1] | (digit >> 8)
            points = r_window
            digit = other
            used = ptr8(int(used) + 72)
            n -= 1
        if i < 22:
            shape = 6 | (22 << 4)  # BASE_TEETH and BASE_COLUMNS
            if int(pick(0, entry, BASE_TABLE, s_bits, shape, i)):
                machine(0, memory, memory, _SUB_AFFINE)
            else:
                machine(0, memory, memory, _ADD_AFFINE)
            if int(pick(0, entry, BASE_TABLE, s_bits, shape, i | 256)):
                machine(0, memory, memory, _SUB_AFFINE)
            else:
                machine(0, memory, memory, _ADD_AFFINE)
            steps += 2
    return steps


def comb(s_bits: bytes, a_bits: bytes, a_table: bytes, teeth: int) -> tuple:
    """Return (X, Y, Z) of s B + a A, and the number of point operations; the comb table of A has so many `teeth`."""
    memory = _memory
    columns = comb_columns(teeth)
    run(0, memory, memory, field.NEUTRAL)
    steps = 0
    for i in range(max(columns, BASE_COLUMNS) - 1, -1, -1):
        if steps:
            run(0, memory, memory, field.DOUBLE_T)
            steps += 1
        if i < columns:
            _add_column(a_table, a_bits, i, teeth, columns)
            steps += 2
        if i < BASE_COLUMNS:
            _add_column(BASE_TABLE, s_bits, i, BASE_TEETH, BASE_COLUMNS)
            steps += 2
    return _get(field.X), _get(field.Y), _get(field.Z), steps


def doubled(point: tuple, times: int) -> tuple:
    """Return 2^times times the point (X, Y, Z, T)."""
    _put_point(point)
    for _ in range(times):
        run(0, _memory, _memory, field.DOUBLE_T)
    return _get_point()


def added(point: tuple, other: tuple) -> tuple:
    """Return the sum of two points (X, Y, Z, T)."""
    _put_point(other)
    run(0, _memory, _memory, field.CACHE)
    _put_point(point)
    run(0, _memory, _memory, field.ADD_CACHED)
    return _get_point()


def _put_point(point: tuple) -> None:
    for i in range(4):
        _put(field.X + i, point[i])


def _get_point() -> tuple:
    return _get(field.X), _get(field.Y), _get(field.Z), _get(field.T)


def _add_column(table: bytes, bits: bytes, column: int, teeth: int, columns: int) -> None:
    """Add the two entries that column `column` of the comb selects (the table has two blocks)."""
    shape = teeth | columns << 4
    _add_entry(table, bits, shape, column)
    _add_entry(table, bits, shape, column | 256)


def _add_entry(table: bytes, bits: bytes, shape: int, where: int) -> None:
    if pick(0, _entry, table, bits, shape, where):
        run(0, _memory, _memory, field.SUB_AFFINE)
    else:
        run(0, _memory, _memory, field.ADD_AFFINE)
