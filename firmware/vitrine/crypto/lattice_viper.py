"""Euclid's algorithm on leading digits, in native code. Importing it fails on an interpreter without the emitter."""
# ruff: noqa: F821  (uint, ptr8 and ptr32 are viper's)

import micropython


@micropython.viper
def quotients(x: int, y: int, matrix: ptr32) -> int:
    """Take the steps of Euclid's algorithm that the leading 28 bits x >= y of two longer numbers decide.

    Writes (a, b, c, d): the longer numbers r0, r1 become a r0 + b r1, c r0 + d r1. Returns 0 if no step is decided.
    """
    a = 1
    b = 0
    c = 0
    d = 1
    while 1:
        # The true quotient lies between these two: when they agree it is known.
        if y + c == 0:
            break
        if y + d == 0:
            break
        q = (x + a) // (y + c)
        if q != (x + b) // (y + d):
            break
        t = a - q * c
        a = c
        c = t
        t = b - q * d
        b = d
        d = t
        t = x - q * y
        x = y
        y = t
    matrix[0] = a
    matrix[1] = b
    matrix[2] = c
    matrix[3] = d
    return b
