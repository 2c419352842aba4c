"""What a portable test needs: it must run under pytest on CPython and alone on the MicroPython unix port.

`given` draws many values for a test. On CPython hypothesis chooses, shrinks and remembers them; on MicroPython, which
has no hypothesis, a seeded generator draws the same kinds of values, edges first.
"""

import sys

ON_MICROPYTHON = sys.implementation.name == "micropython"


class Skipped(Exception):
    """Raised by `skip`; the runners report the reason."""


def skip(reason):
    """End the running test as skipped, visibly, with `reason`."""
    if ON_MICROPYTHON:
        raise Skipped(reason)
    import pytest

    pytest.skip(reason)


class raises:
    """Context manager: the block must raise `kind`; the exception is kept in `.value`."""

    def __init__(self, kind):
        self.kind = kind
        self.value = None

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_value, _traceback):
        if exc_type is None:
            raise AssertionError("%r was not raised" % (self.kind,))
        self.value = exc_value
        return issubclass(exc_type, self.kind)


if ON_MICROPYTHON:
    from ._draw_mpy import blobs, bools, choices, given, ints, lists, texts, tuples
else:
    from ._draw_hypothesis import blobs, bools, choices, given, ints, lists, texts, tuples

__all__ = [
    "ON_MICROPYTHON",
    "Skipped",
    "blobs",
    "bools",
    "choices",
    "given",
    "ints",
    "lists",
    "raises",
    "skip",
    "texts",
    "tuples",
]
