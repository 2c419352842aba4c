"""The console's end at the firmware: what the chip's port does with stdin, stdout and Ctrl-C.

The harness keeps a pseudo-terminal over all resets; this process has its device side as stdin and stdout. Three modules
get a stand-in with the one difference each has on the chip:
 * `micropython`: kbd_intr() tells the harness, which makes Ctrl-C a signal only while it is asked to.
 * `sys`: text on stdout is cooked (LF becomes CR LF: the terminal does that), bytes on stdout.buffer are not.
 * `os`: dupterm() and dupterm_notify(), of which the second takes one byte and knows the interrupt character.
"""

import io
import os
import sys
import termios

import micropython

_OPOST = 1


class Module:
    """Another module, with some names of its own."""

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)


class Raw(io.IOBase):
    """sys.stdout.buffer: bytes as they are."""

    def __init__(self, stream, descriptor):
        self._stream = stream
        self._descriptor = descriptor

    def write(self, data, *more):
        data = memoryview(data)[: more[0]] if more else data
        if isinstance(data, str):
            data = data.encode()
        if b"\n" not in bytes(data):
            return self._stream.write(data)
        mode = termios.tcgetattr(self._descriptor)
        mode[1] &= ~_OPOST
        termios.tcsetattr(self._descriptor, termios.TCSANOW, mode)
        try:
            return self._stream.write(data)
        finally:
            mode[1] |= _OPOST
            termios.tcsetattr(self._descriptor, termios.TCSANOW, mode)

    def flush(self):
        pass


class Text(io.IOBase):
    """sys.stdout: text, cooked by the terminal."""

    def __init__(self, stream, descriptor):
        self._stream = stream
        self.buffer = Raw(stream.buffer, descriptor)

    def write(self, data):
        return self._stream.write(data)

    def flush(self):
        pass


def install(link):
    """Put the stand-ins in place, before the firmware is imported."""
    state = {"character": -1, "terminal": None}

    def kbd_intr(character):
        # answered: after kbd_intr(-1) no Ctrl-C interrupts any more
        state["character"] = character
        link.request("kbd_intr", {"c": character})

    def dupterm(terminal, index=0):
        before, state["terminal"] = state["terminal"], terminal
        return before

    def dupterm_notify(_):
        terminal = state["terminal"]
        data = bytearray(1)
        if terminal is not None and terminal.readinto(data) and data[0] == state["character"]:
            link.request("interrupt")

    module = Module(micropython)
    module.kbd_intr = kbd_intr
    sys.modules["micropython"] = module
    module = Module(os)
    module.dupterm = dupterm
    module.dupterm_notify = dupterm_notify
    sys.modules["os"] = module
    module = Module(sys)
    module.stdout = Text(sys.stdout, 1)
    sys.modules["sys"] = module
