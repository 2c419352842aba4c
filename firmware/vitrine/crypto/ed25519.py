"""Ed25519 signature verification (RFC 8032 section 5.1.7), accepting exactly what libsodium accepts.

Beyond RFC 8032 it refuses small-order public keys and R: under them a signature can be had without any secret.
Like libsodium it does not multiply by the cofactor. Nothing here holds a secret, so the time taken may vary.

    PublicKey(raw).verify(message, signature) -> bool     a key that is used more than once
    verify(public_key, message, signature) -> bool        once

A fault (a glitch on the supply, a flipped bit) must not turn a refusal into a grant. The long computation is done
once, but all that is decided from it is decided twice, from the inputs, by different code (`_first`, `_second`), and
the two answers are joined without a branch. What a single fault could do to the computation is bound to its
inputs: the hash is taken twice, the half-size scalars are added up as they are used and multiplied back, and the
steps of the point multiplication are counted, since one that ends early would leave the neutral point, which is what
a good signature gives.
"""

from .curve import EIGHT_ORDER, ORDER, P, canonical_y, is_below_order, is_refused
from .engine import edwards as engine
from .engine import sha512
from .lattice import halve, inverse
from .scalar import BASE_COLUMNS, BASE_TEETH, DIGITS, WINDOW_SIZE, comb_bits, comb_steps, comb_teeth

__all__ = ("DENY", "GRANT", "PublicKey", "verdict", "verify")

# The parts are random; GRANT and DENY differ in 30 bits of 30, and no mixture of parts is GRANT. 30 bits: a small
# integer on 32-bit MicroPython.
_ACCEPT_FIRST = 0x2D93A6C5
_ACCEPT_SECOND = 0x3BC99A53
_REJECT_FIRST = 0x1A5F71E8
_REJECT_SECOND = 0x33FAB281
GRANT = _ACCEPT_FIRST ^ _ACCEPT_SECOND  # 0x165A3C96
DENY = _REJECT_FIRST ^ _REJECT_SECOND  # 0x29A5C369

# Memory for what is used once. One verification at a time, as in edwards_viper; bytecode makes its own windows.
_a_window = bytearray(WINDOW_SIZE)
_r_window = bytearray(WINDOW_SIZE)
_a_digits = bytearray(DIGITS)
_r_digits = bytearray(DIGITS)

_BYTES_LIKE = (bytes, bytearray, memoryview)


class PublicKey:
    """A checked public key. `raw` is its 32-byte encoding; `point` is (x, y) of its negative."""

    def __init__(self, raw: bytes, scratch: "bytearray | None" = None) -> None:
        """Decode `raw`; `scratch` is memory for a key that is used once.

        Raises ValueError if `raw` is not the canonical encoding of a point of large order.
        """
        self.raw = bytes(raw) if isinstance(raw, _BYTES_LIKE) else b""
        if len(self.raw) != 32:
            raise ValueError("a public key is 32 bytes")
        y = canonical_y(self.raw)
        x = engine.x_of(y, self.raw[31] >> 7) if y >= 0 else -1
        if x < 0:
            raise ValueError("not a public key")
        self.point = (P - x, y)  # the check is S B + h (-A) = R
        self._window = None
        self._table = None
        self._scratch = scratch

    @property
    def has_table(self) -> bool:
        """Tell whether a comb table is in use."""
        return self._table is not None

    def use_table(self, table: bytes | None) -> None:
        """Verify with this comb table of `point` from now on (comb.py), or with none.

        The caller answers for the table being this key's: see app/key_tables.py. Raises ValueError for a wrong size.
        """
        if table is not None:
            comb_teeth(len(table))
            self._window = None
        self._table = table

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is this key's signature of `message`; False for any other input."""
        return _is_granted(self.verdict(message, signature))

    def verdict(self, message: bytes, signature: bytes) -> int:
        """Return GRANT; or, for a refusal, DENY or another number.

        For a caller that decides something itself and wants to compare once more, by different code.
        """
        if not isinstance(signature, _BYTES_LIKE) or not isinstance(message, _BYTES_LIKE):
            return DENY
        signature = bytes(signature)
        message = bytes(message)
        # The cheap refusals first. Each is repeated in the two decisions.
        if len(signature) != 64 or is_refused(signature):
            return DENY
        s = int.from_bytes(signature[32:], "little")
        if s >= ORDER:
            return DENY
        h = _challenge(self.raw, message, signature)
        table = self._table
        claim = self._by_window(h, s, signature) if table is None else self._by_comb(table, h, s, signature)
        return self._first(signature, claim) ^ self._second(h, s, message, signature, claim)

    def _by_comb(self, table: bytes, h: int, s: int, signature: bytes) -> tuple:
        """Compute S B - h A with the comb table; return three differences, all 0 if it is R (see `_by_window`)."""
        teeth = comb_teeth(len(table))
        s_bits = comb_bits(s, BASE_TEETH)
        x, y, z, steps = engine.comb(s_bits, comb_bits(h, teeth), table, teeth)
        if not z:
            return _NO_CLAIM
        z_inverse = inverse(z, engine.reduced)
        ry = canonical_y(signature)
        sign = x * z_inverse % P & 1 ^ signature[31] >> 7
        guard = (z * z_inverse - 1) % P | comb_steps(teeth) ^ steps | ry ^ y * z_inverse % P | sign
        return (ry * z - y) % P, sign, guard

    def _by_window(self, h: int, s: int, signature: bytes) -> tuple:
        """Compute c1 (S B - h A - R), to be neutral; return three differences, all 0 if it is.

        The first two are those of the point. The third has them once more, and those of the computation itself: a wrong
        step count, scalars used that do not belong to h, an R that is not on the curve, coordinates that are all 0.
        """
        ry = canonical_y(signature)
        rx = engine.x_of(ry, signature[31] >> 7)
        if rx < 0:
            return _NO_CLAIM
        if self._window is None:
            self._window = engine.window(self.point[0], self.point[1], self._scratch)
        c0, c1 = halve(h, engine.reduced)
        s_bits = comb_bits(c1 * s % ORDER, BASE_TEETH)
        length = max(engine.wnaf(c0, _a_digits), engine.wnaf(abs(c1), _r_digits), BASE_COLUMNS)
        r_window = engine.window(P - rx if c1 > 0 else rx, ry, _r_window)
        x, y, z, steps, a_used, r_used = engine.combine(s_bits, length, _a_digits, self._window, _r_digits, r_window)
        guard = length - 1 + 2 * BASE_COLUMNS ^ steps | a_used ^ c0 | r_used ^ abs(c1) | x | y ^ z
        guard |= (c1 * h - c0) % EIGHT_ORDER | ~c1 & 1
        guard |= rx & 1 ^ signature[31] >> 7
        if not z or not engine.is_point(rx, ry):
            guard |= 1
        return x, y - z, guard

    def _first(self, signature: bytes, claim: tuple) -> int:
        """Decide from the inputs' bytes and the differences."""
        if len(signature) == 64 and len(self.raw) == 32 and is_below_order(signature):
            if not is_refused(signature) and not is_refused(self.raw):
                if claim[0] == 0 and claim[1] == 0 and claim[2] == 0:
                    return _ACCEPT_FIRST
        return _REJECT_FIRST

    def _second(self, h: int, s: int, message: bytes, signature: bytes, claim: tuple) -> int:
        """Decide the same once more, with other code, a second hash, and the key's own coordinates."""
        x, y = self.point
        wrong = h ^ _challenge(self.raw, message, signature)
        for difference in claim:
            wrong |= difference
        wrong |= x & 1 ^ ~self.raw[31] >> 7 & 1  # x is P - x of the key's point
        wrong |= y ^ canonical_y(self.raw)
        wrong |= len(signature) ^ 64
        if wrong or canonical_y(signature) < 0 or not s - ORDER < 0 or not engine.is_point(x, y):
            return _REJECT_SECOND
        return _ACCEPT_SECOND


# The differences of a computation that came to nothing.
_NO_CLAIM = (1, 1, 1)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` is the signature of `message` under `public_key`; False for any other input."""
    return _is_granted(verdict(public_key, message, signature))


def verdict(public_key: bytes, message: bytes, signature: bytes) -> int:
    """Return GRANT; or, for a refusal, DENY or another number."""
    try:
        key = PublicKey(public_key, _a_window)
    except ValueError:
        return DENY
    return key.verdict(message, signature)


def _is_granted(value: int) -> bool:
    if value == GRANT:
        # Again, as a difference: one forced comparison is not enough.
        return not value ^ GRANT
    return False


def _challenge(key: bytes, message: bytes, signature: bytes) -> int:
    return int.from_bytes(sha512(signature[:32], key, message), "little") % ORDER
