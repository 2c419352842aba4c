"""Ed25519 signature verification (RFC 8032 section 5.1.7), accepting exactly what libsodium accepts.

Beyond RFC 8032 it refuses small-order public keys and R: under them a signature can be had without any secret.
Like libsodium it does not multiply by the cofactor. Nothing here holds a secret, so the time taken may vary.

    PublicKey(raw).verify(message, signature) -> bool     a key that is used more than once
    verify(public_key, message, signature) -> bool        once
"""

from .curve import ORDER, P, canonical_y
from .engine import edwards as engine
from .engine import sha512
from .lattice import halve
from .scalar import BASE_TEETH, comb_bits, wnaf

__all__ = ("DENY", "GRANT", "PublicKey", "verdict", "verify")

# The two verdicts differ in every bit, so no flipped bit or forced zero turns one into the other. 30 bits: a small
# integer on 32-bit MicroPython.
GRANT = 0x165A3C96
DENY = 0x29A5C369

_BYTES_LIKE = (bytes, bytearray, memoryview)


class PublicKey:
    """A checked public key. `raw` is its 32-byte encoding."""

    def __init__(self, raw: bytes) -> None:
        """Decode `raw`; raise ValueError if it is not the canonical encoding of a point of large order."""
        self.raw = bytes(raw) if isinstance(raw, _BYTES_LIKE) else b""
        if len(self.raw) != 32:
            raise ValueError("a public key is 32 bytes")
        y = canonical_y(self.raw)
        x = engine.x_of(y, self.raw[31] >> 7) if y >= 0 else -1
        if x < 0:
            raise ValueError("not a public key")
        self._window = engine.window(P - x, y)  # of -A: the check is S B - h A = R

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is this key's signature of `message`; False for any other input."""
        return self.verdict(message, signature) == GRANT

    def verdict(self, message: bytes, signature: bytes) -> int:
        """Return GRANT or DENY, for a caller that wants to compare once more itself."""
        if not isinstance(signature, _BYTES_LIKE) or not isinstance(message, _BYTES_LIKE):
            return DENY
        signature = bytes(signature)
        if len(signature) != 64:
            return DENY
        s = int.from_bytes(signature[32:], "little")
        if s >= ORDER:
            return DENY
        r = signature[:32]
        y = canonical_y(r)
        if y < 0:
            return DENY
        x = engine.x_of(y, r[31] >> 7)
        if x < 0:
            return DENY
        h = int.from_bytes(sha512(b"".join((r, self.raw, bytes(message)))), "little") % ORDER
        c0, c1 = halve(h, engine.quotients)
        s = c1 * s % ORDER
        if c1 > 0:
            x = P - x
        else:
            c1 = -c1
        length = 1
        while c0 >> length or c1 >> length:
            length += 1
        length = max(length + 1, 19)
        x, y, z = engine.combine(
            comb_bits(s, BASE_TEETH), wnaf(c0, length), self._window, wnaf(c1, length), engine.window(x, y)
        )
        if x % P == 0 and (y - z) % P == 0:
            return GRANT
        return DENY


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` is the signature of `message` under `public_key`; False for any other input."""
    return verdict(public_key, message, signature) == GRANT


def verdict(public_key: bytes, message: bytes, signature: bytes) -> int:
    """Return GRANT or DENY, for a caller that wants to compare once more itself."""
    try:
        key = PublicKey(public_key)
    except ValueError:
        return DENY
    return key.verdict(message, signature)
