"""A board's console behind a pseudo-terminal, with a will of its own: honest, lying, endless or mute."""

import os
import select
import threading
import tty
from collections.abc import Callable
from pathlib import Path

_LINGER_S = 0.2


class FakeConsole:
    """`path` leads to it. on_bytes(data) returns what it says to `data`; it may be anything.

    programs: those that it was told to run, when `speak` is the honest one. flood: said whenever it is listened to.
    """

    def __init__(self, path: Path, on_bytes: Callable[[bytes], bytes] | None = None, flood: bytes = b"") -> None:
        self.path = path
        self.heard = b""
        self.programs: list[str] = []
        self.answers = True  # False: a board that is reset by its program
        self.run: Callable[[str], tuple[bytes, bytes]] = lambda _program: (b"null\r\n", b"")
        self._on_bytes = on_bytes or self._speak
        self._flood = flood
        self._is_raw = self._is_paste = False
        self._program = b""
        self._wire, self._terminal = os.openpty()
        tty.setraw(self._terminal)
        os.set_blocking(self._wire, False)
        path.symlink_to(os.ttyname(self._terminal))
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> "FakeConsole":
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stopped, b"x")
        self._thread.join()
        for descriptor in (self._wire, self._terminal, self._stop, self._stopped):
            os.close(descriptor)

    def _serve(self) -> None:
        out = b""
        while True:
            if self._flood and len(out) < 4096:
                out += self._flood
            ready, writable, _ = select.select([self._wire, self._stop], [self._wire] if out else [], [])
            if self._wire in ready:
                data = os.read(self._wire, 4096)
                self.heard += data
                out += self._on_bytes(data)
            elif self._stop in ready:
                # a pseudo-terminal hands on what was written a moment later
                if select.select([self._wire], [], [], _LINGER_S)[0]:
                    self.heard += os.read(self._wire, 4096)
                return
            if writable and out:
                try:
                    out = out[os.write(self._wire, out) :]
                except BlockingIOError:
                    continue

    def _speak(self, data: bytes) -> bytes:
        """MicroPython's raw prompt with raw paste, byte by byte."""
        said = b""
        for number in data:
            byte = bytes([number])
            if self._is_paste:
                if byte == b"\x04":
                    said += b"\x04" + self._answer()
                    self._is_paste = False
                else:
                    self._program += byte
                    if len(self._program) % 128 == 0:
                        said += b"\x01"
            elif byte == b"\x01":
                if self._program.endswith(b"\x05A"):
                    self._is_paste, self._program = True, b""
                    said += b"R\x01\x80\x00\x01"
                else:
                    said += b"raw REPL; CTRL-B to exit\r\n>"
            elif byte == b"\x02":
                said += b"\r\n>>> "
            else:
                self._program = (self._program + byte)[-2:]
        return said

    def _answer(self) -> bytes:
        program, self._program = self._program.decode(), b""
        self.programs.append(program)
        out, error = self.run(program)
        return out + b"\x04" + error + b"\x04>" if self.answers else b""
