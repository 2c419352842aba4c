"""Euclid's algorithm for verification: modular inverse, and half-size scalars (lattice reduction modulo 8 L).

`halve` follows the idea of A. Antipa et al., "Accelerated Verification of ECDSA Signatures" (SAC 2005) and T. Pornin,
"Optimized Lattice Basis Reduction In Dimension 2, and Fast Schnorr and EdDSA Signature Verification" (2020). All inputs
are public, so the running time may depend on them.

With a native `quotients` (lattice_viper.py) most steps are taken on the leading 28 bits and applied to the long numbers
a dozen at a time (D. H. Lehmer 1938; Knuth, The Art of Computer Programming, volume 2, 4.5.2, algorithm L).
"""

from array import array

from micropython import const

from .curve import ORDER, P

_EIGHT_L = 8 * ORDER
_HALF_SIZE = 1 << 128
_LEADING_BITS = const(28)

_matrix = array("i", (0, 0, 0, 0))


def inverse(a: int, quotients: object = None) -> int:
    """Return 1/a modulo P as an integer of either sign, for 0 < a < P."""
    return _reduced(P, a, 1, quotients)[3]


def halve(h: int, quotients: object = None) -> tuple:
    """Return (c0, c1), about 128 bits each, with c0 = c1 * h modulo 8 L, c0 >= 0 and c1 odd; 0 <= h < L.

    The check S B - h A - R = 0 is multiplied by c1. Modulo 8 L (the order of the whole group) and not L, and with an
    odd c1, that changes the answer for no point, not even one with a small-order component: c1 is then invertible on
    the small-order points too. Without both, some signatures would be accepted that libsodium refuses.
    """
    r0, t0, r1, t1 = _reduced(_EIGHT_L, h, _HALF_SIZE, quotients)
    if t1 & 1:
        return r1, t1
    # Two neighbours are never both even: take the shorter of the one before and the one after.
    q = r0 // r1
    t2 = t0 - q * t1
    if r0 < (t2 if t2 > 0 else -t2):
        return r0, t0
    return r0 - q * r1, t2


def _reduced(r0: int, r1: int, end: int, quotients: object) -> tuple:
    """Run Euclid's algorithm on r0 > r1 until a remainder r1 is below `end` or, for end = 1, is 1.

    Returns (r0, t0, r1, t1): the last two remainders and their factors, r = t * (the first r1) modulo (the first r0).
    """
    t0, t1 = 0, 1
    if quotients is not None:
        # A batch of steps shortens by some 14 bits: stay that far from the end.
        limit = end << _LEADING_BITS
        shift = 256 - _LEADING_BITS
        while r1 >= limit:
            leading = r0 >> shift
            while not leading:
                shift -= _LEADING_BITS
                leading = r0 >> shift
            while not leading >> (_LEADING_BITS - 1):
                leading <<= 1
                shift -= 1
            if quotients(r0 >> shift, r1 >> shift, _matrix):
                a, b, c, d = _matrix
                r0, r1 = a * r0 + b * r1, c * r0 + d * r1
                t0, t1 = a * t0 + b * t1, c * t0 + d * t1
            else:
                q = r0 // r1
                r0, t0, r1, t1 = r1, t1, r0 - q * r1, t0 - q * t1
    while r1 >= end and r1 != 1:
        q = r0 // r1
        r0, t0, r1, t1 = r1, t1, r0 - q * r1, t0 - q * t1
    return r0, t0, r1, t1
