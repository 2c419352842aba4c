"""What the pure packages need of MicroPython's `micropython` module, for CPython."""


def const(value):
    """Return `value`: on the device the compiler folds it."""
    return value


def kbd_intr(character):
    """Make `character` interrupt programs, or none with -1: nobody presses it here."""
