"""Make the comb table of a public key, in small steps.

A table (layout: scalar.py) makes verification under its key two to three times as fast. It is computed from the key
alone, once, where there is time. It is cut into steps, so that an event loop can go on between them: on an ESP32 at
240 MHz about 5 to 10 ms each, the last, which checks the table, 25 to 45 ms (estimates: tools/bench/crypto.py).
"""

from micropython import const

from .curve import D2, ORDER, P, on_curve
from .ed25519 import PublicKey
from .engine import edwards as engine
from .lattice import inverse
from .scalar import BASE_TEETH, comb_bits, comb_columns, comb_size

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Iterator

_GROUP = const(8)  # entries that share one inversion: time against memory


def build(key: PublicKey, teeth: int) -> "Iterator[bytes | None]":
    """Return a generator of steps; its last step yields the table of `key` as bytes, the others yield None.

    It yields b"" for a key with a small-order component, for which a comb, reducing scalars modulo L, would be wrong:
    such a key is verified without a table. Raises RuntimeError if the result is not right, as after a fault.
    """
    columns = comb_columns(teeth)
    half = 1 << (teeth - 1)
    table = bytearray(comb_size(teeth))
    x, y = key.point
    powers = [(x, y, 1, x * y % P)]
    for _ in range(2 * teeth - 1):
        powers.append(engine.doubled(powers[-1], columns))
        yield None
    for block in (0, 1):
        # Entry 0 is the top tooth less all others. From there by a Gray code: one addition an entry.
        point = powers[block + 2 * teeth - 2]
        for j in range(teeth - 1):
            point = engine.added(point, _negative(powers[block + 2 * j]))
        twice = [engine.doubled(powers[block + 2 * j], 1) for j in range(teeth - 1)]
        yield None
        group = []
        for n in range(half):
            index = n ^ n >> 1
            if n:
                j = 0
                while not n >> j & 1:
                    j += 1
                point = engine.added(point, twice[j] if index >> j & 1 else _negative(twice[j]))
            group.append((block * half + index, point))
            if len(group) == _GROUP or n == half - 1:
                _write(table, group)
                group = []
            yield None
    # L A = O, so L (that is 0) times B plus L times A must be neutral. Not so for a key with a small-order component.
    x, y, z, _ = engine.comb(comb_bits(0, BASE_TEETH), comb_bits(ORDER, teeth), table, teeth)
    yield bytes(table) if z and not x and y == z else b""


def _negative(point: tuple) -> tuple:
    x, y, z, t = point
    return P - x, y, z, P - t


def _write(table: bytearray, group: list) -> None:
    """Write the points of `group` in affine form, with one inversion for all (Montgomery's trick)."""
    products = [1]
    for _, point in group:
        products.append(products[-1] * point[2] % P)
    rest = inverse(products[-1], engine.reduced) % P
    for i in range(len(group) - 1, -1, -1):
        index, (x, y, z, _) = group[i]
        z_inverse = rest * products[i] % P
        rest = rest * z % P
        x = x * z_inverse % P
        y = y * z_inverse % P
        if not on_curve(x, y):
            raise RuntimeError("comb table")
        start = index * 96
        for value in ((y + x) % P, (y - x) % P, D2 * x % P * y % P):
            table[start : start + 32] = value.to_bytes(32, "little")
            start += 32
