"""placeholder"""


def emulate() -> None:
    """Run an emulated lock."""
