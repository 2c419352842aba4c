"""What the pure packages need of MicroPython's `micropython` module, for CPython."""


def const(value):
    """Return `value`: on the device the compiler folds it."""
    return value
