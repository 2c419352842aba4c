"""Euclid's algorithm in native code, on numbers of 288 bits. Importing it fails on an interpreter without the emitter.

Most steps are taken on the leading 28 bits and applied to the long numbers some eight at a time (D. H. Lehmer 1938;
Knuth, The Art of Computer Programming, volume 2, 4.5.2, algorithm L).
"""
# ruff: noqa: F821  (uint, ptr8 and ptr16 are viper's)

import micropython
from micropython import const

_BYTES = const(36)  # of a number: 18 limbs of 16 bits

# r0, r1 and the magnitudes of t0, t1: little-endian, 36 bytes each. Both r are kept times 2^32, so that there are
# always 28 leading bits.
_state = bytearray(4 * _BYTES)
_R0 = memoryview(_state)[4:_BYTES]
_R1 = memoryview(_state)[_BYTES + 4 : 2 * _BYTES]
_T = memoryview(_state)[2 * _BYTES :]
_T0 = memoryview(_state)[2 * _BYTES : 3 * _BYTES]
_T1 = memoryview(_state)[3 * _BYTES :]
_START = bytes(_BYTES) + b"\1" + bytes(_BYTES - 1)  # t0 = 0, t1 = 1


def reduced(r0: int, r1: int, end_bits: int) -> tuple:
    """Take steps of Euclid's algorithm on r0 > r1, both below 2^256, until r1 is near, or below, 2^end_bits.

    Returns (r0, t0, r1, t1) with r = t * (the first r1) modulo (the first r0). It may stop early where the leading bits
    decide no step: the caller goes on with whole numbers.
    """
    _R0[:] = r0.to_bytes(32, "little")
    _R1[:] = r1.to_bytes(32, "little")
    _T[:] = _START
    odd = _euclid(_state, end_bits + 32)
    t0 = int.from_bytes(_T0, "little")
    t1 = int.from_bytes(_T1, "little")
    if odd:
        t1 = -t1
    else:
        t0 = -t0
    return int.from_bytes(_R0, "little"), t0, int.from_bytes(_R1, "little"), t1


@micropython.viper
def _euclid(r: ptr16, end_bits: int) -> int:
    """Do it on the state at r; return 1 after an odd number of steps."""
    t = ptr16(int(r) + 72)
    odd = 0
    top = 17
    going = 1
    while going:
        while r[top] == 0:
            top -= 1
        # r0 has 16 * top + bits bits; x and y are its leading 28, and r1's at the same place
        x = int(r[top])
        bits = 0
        while x:
            x >>= 1
            bits += 1
        left = 28 - bits
        right = bits + 4
        x = (int(r[top]) << left) | int(((uint(r[top - 1]) << 16) | uint(r[top - 2])) >> right)
        y = (int(r[top + 18]) << left) | int(((uint(r[top + 17]) << 16) | uint(r[top + 16])) >> right)
        # where 2^end_bits is in y: at or below it, stop
        place = end_bits - (top << 4) - bits + 28
        stop = 0
        if place > 27:
            going = 0
        else:
            if place >= 0:
                stop = 1 << place
        a = 1
        b = 0
        c = 0
        d = 1
        parity = 0
        deciding = going
        while deciding:
            deciding = 0
            # the true quotient lies between these two: when they agree it is known
            if y > stop:
                if y + c > 0:
                    if y + d > 0:
                        q = (x + a) // (y + c)
                        if q == (x + b) // (y + d):
                            e = a - q * c
                            f = b - q * d
                            # beyond 14 bits the products below would not fit
                            if e < 16384:
                                if e > 0 - 16384:
                                    if f < 16384:
                                        if f > 0 - 16384:
                                            a = c
                                            b = d
                                            c = e
                                            d = f
                                            e = x - q * y
                                            x = y
                                            y = e
                                            parity = 1 - parity
                                            deciding = 1
        if b == 0:
            going = 0
        else:
            # (r0, r1) = (a r0 + b r1, c r0 + d r1); of a and b, and of c and d, one is negative or 0
            e = 0
            f = 0
            i = 0
            while i < 18:
                x = int(r[i])
                y = int(r[i + 18])
                e += a * x + b * y
                f += c * x + d * y
                r[i] = e & 65535
                r[i + 18] = f & 65535
                e >>= 16
                f >>= 16
                i += 1
            # the factors' signs alternate, so their magnitudes add up
            if a < 0:
                a = 0 - a
            if b < 0:
                b = 0 - b
            if c < 0:
                c = 0 - c
            if d < 0:
                d = 0 - d
            g = uint(0)
            h = uint(0)
            i = 0
            while i < 18:
                x = int(t[i])
                y = int(t[i + 18])
                g = g + uint(a * x) + uint(b * y)
                h = h + uint(c * x) + uint(d * y)
                t[i] = g & uint(65535)
                t[i + 18] = h & uint(65535)
                g >>= 16
                h >>= 16
                i += 1
            if parity:
                odd = 1 - odd
    return odd
