"""Euclid's algorithm for verification: modular inverse, and half-size scalars (lattice reduction modulo 8 L).

`halve` follows the idea of A. Antipa et al., "Accelerated Verification of ECDSA Signatures" (SAC 2005) and T. Pornin,
"Optimized Lattice Basis Reduction In Dimension 2, and Fast Schnorr and EdDSA Signature Verification" (2020). All inputs
are public, so the running time may depend on them. `native` is lattice_viper.reduced, or None: it takes most steps.
"""

from micropython import const

from .curve import EIGHT_ORDER, P

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable

    Native = Callable[[int, int, int], tuple[int, int, int, int]]

_HALF_SIZE = 1 << 128


def inverse(a: int, native: "Native | None" = None) -> int:
    """Return 1/a modulo P as an integer of either sign, for 0 < a < P."""
    r0, t0, r1, t1 = native(P, a, 0) if native else (P, 0, a, 1)
    while r1 != 1:
        q = r0 // r1
        r0, t0, r1, t1 = r1, t1, r0 - q * r1, t0 - q * t1
    return t1


def halve(h: int, native: "Native | None" = None) -> tuple:
    """Return (c0, c1), about 128 bits each, with c0 = c1 * h modulo 8 L, c0 >= 0 and c1 odd; 0 <= h < L.

    The check S B - h A - R = 0 is multiplied by c1. Modulo 8 L (the order of the whole group) and not L, and with an
    odd c1, that changes the answer for no point, not even one with a small-order component: c1 is then invertible on
    the small-order points too. Without both, some signatures would be accepted that libsodium refuses.
    """
    r0, t0, r1, t1 = native(EIGHT_ORDER, h, 128) if native else (EIGHT_ORDER, 0, h, 1)
    while r1 >= _HALF_SIZE:
        q = r0 // r1
        r0, t0, r1, t1 = r1, t1, r0 - q * r1, t0 - q * t1
    if t1 & 1:
        return r1, t1
    # Two neighbours are never both even: take the shorter of the one before and the one after.
    q = r0 // r1
    t2 = t0 - q * t1
    if r0 < (t2 if t2 > 0 else -t2):
        return r0, t0
    return r0 - q * r1, t2
