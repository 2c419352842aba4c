"""Arithmetic on ticks_ms that is the same on every interpreter: modulo 2**30, the shortest wrap of any target.

CPython has no ticks. The 64-bit unix port wraps later than ESP32 does, and these are right there as well, because the
low 30 bits of its ticks are ticks too.
"""

from micropython import const

_MASK = const(0x3FFFFFFF)
_HALF = const(0x20000000)  # differences beyond 2**29 ms (six days) change their sign


def ticks_add(ticks: int, delta_ms: int) -> int:
    """Return `ticks` + `delta_ms`, wrapped."""
    return (ticks + delta_ms) & _MASK


def ticks_diff(end: int, start: int) -> int:
    """Return the signed milliseconds from `start` to `end`; right for up to six days either way."""
    return ((end - start + _HALF) & _MASK) - _HALF
