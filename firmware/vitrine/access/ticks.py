"""Arithmetic on ticks_ms that is the same on every interpreter: as in door.ticks, which this package may not import."""

from micropython import const

_MASK = const(0x3FFFFFFF)
_HALF = const(0x20000000)


def ticks_diff(end_ms: int, start_ms: int) -> int:
    """Return the signed milliseconds from `start_ms` to `end_ms`; right for up to six days either way.

    Modulo 2**30, as 32-bit boards wrap; 2**30 also divides the 64-bit unix port's period.
    """
    return ((end_ms - start_ms + _HALF) & _MASK) - _HALF
