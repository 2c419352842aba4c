"""Single keys from a terminal, without Enter, as long as a program runs."""

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def listening(pressed: Callable[[str], object]) -> Iterator[bool]:
    """Call `pressed(key)` on the event loop for each key; yields False, and listens to nothing, without a terminal."""
    if not sys.stdin or not sys.stdin.isatty():
        yield False
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def readable() -> None:
        data = os.read(descriptor, 64)
        if not data:
            loop.remove_reader(descriptor)  # the terminal is gone
        for key in data.decode("utf-8", "replace"):
            pressed(key)

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, readable)
    try:
        yield True
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
