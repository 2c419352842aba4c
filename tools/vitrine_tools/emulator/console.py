"""The emulated board's wire to a technician: a pseudo-terminal that stays while the board is reset.

Two pairs: the firmware's process has one (its text gets CR before LF, as the chip's port does it), the technician's
program opens the other, raw. Between them the bytes are copied, and Ctrl-C becomes a signal while the firmware asks
for that. There is no baud rate. Who does not read holds the firmware up for a moment only: then bytes are lost, as on
a wire that nobody listens to.
"""

import asyncio
import contextlib
import os
import pty
import signal
import termios
import tty
from collections.abc import Callable
from pathlib import Path

_CTRL_C = 3
_STALL_S = 1.0  # a reader that takes nothing for so long is gone
_PIECE = 4096
# The interpreter below raises wherever the signal finds it, even within its memory management, which is broken then.
# So it is sent when the process waits, and nothing that it writes is taken until it does; or else, when it has computed
# for so long.
_LOOK_S = 0.003
_LOOKS_MAX = 40


class ConsolePort:
    """`device` is the descriptor for the firmware's process; `path` is what the technician opens, a link to a terminal.

    on_output(line) gets each line that the firmware writes; nudge() is called when it has something to read.
    """

    def __init__(self, path: Path, on_output: Callable[[str], None], nudge: Callable[[], None]) -> None:
        self.path = path
        self._on_output = on_output
        self._nudge = nudge
        self._line = b""
        self._kept = b""  # for a technician who does not read fast enough
        self._stalled: asyncio.TimerHandle | None = None
        self._is_gone = False
        self._interrupt = -1
        self._aiming: asyncio.TimerHandle | None = None
        self._pid: Callable[[], int] = int
        self._chip, self.device = pty.openpty()
        self._wire, self._terminal = pty.openpty()
        for descriptor in (self.device, self._terminal):
            tty.setraw(descriptor)
        mode = termios.tcgetattr(self.device)
        mode[1] |= termios.OPOST | termios.ONLCR
        termios.tcsetattr(self.device, termios.TCSANOW, mode)
        for descriptor in (self._chip, self._wire):
            os.set_blocking(descriptor, False)

    def open(self, pid: Callable[[], int]) -> None:
        """Begin to copy, and make the link; `pid()` is the process that Ctrl-C interrupts. OSError if it cannot be."""
        self._pid = pid
        # not the terminal's own name: mpremote has no time limits on one that begins with /dev/pts
        scratch = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        scratch.unlink(missing_ok=True)
        scratch.symlink_to(os.ttyname(self._terminal))
        scratch.replace(self.path)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._chip, self._from_chip)
        loop.add_reader(self._wire, self._from_wire)

    def close(self) -> None:
        """End it; the link goes, unless it is another's by now."""
        self._settle()
        if self._aiming is not None:
            self._aiming.cancel()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._chip)
        loop.remove_reader(self._wire)
        if self.path.is_symlink() and os.readlink(self.path) == os.ttyname(self._terminal):
            self.path.unlink()
        for descriptor in (self._chip, self.device, self._wire, self._terminal):
            os.close(descriptor)

    def reset(self) -> None:
        """The chip starts: nothing that came before is read, and Ctrl-C is a byte until it says otherwise."""
        self._interrupt = -1
        termios.tcflush(self.device, termios.TCIFLUSH)
        mode = termios.tcgetattr(self.device)
        mode[1] |= termios.OPOST  # a process that was killed may have left it off
        termios.tcsetattr(self.device, termios.TCSANOW, mode)

    def set_interrupt(self, character: int) -> None:
        """micropython.kbd_intr(): the byte that interrupts the program, -1 for none."""
        self._interrupt = character

    def interrupt(self) -> None:
        """Interrupt the program, as its own character does, at once: it waits for this."""
        if self._pid():
            os.kill(self._pid(), signal.SIGINT)

    def _from_wire(self) -> None:
        """Bytes of the technician."""
        self._pass_on(_read(self._wire))

    def _pass_on(self, data: bytes) -> None:
        at = data.find(self._interrupt) if self._interrupt >= 0 else -1
        part = data if at < 0 else data[:at]
        with contextlib.suppress(BlockingIOError):  # nobody reads at the chip: its buffer overflows
            os.write(self._chip, part)
        if at >= 0:
            self._settle()
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._wire)
            loop.remove_reader(self._chip)
            self._aim(self._pid(), data[at + 1 :], 0, False)
        self._nudge()

    def _aim(self, pid: int, rest: bytes, looks: int, was_waiting: bool) -> None:
        """Interrupt the process when it waits, and go on with the `rest` of what was sent."""
        is_over = self._interrupt < 0 or self._pid() != pid  # the program, or the process
        is_waiting = _is_waiting(pid)
        loop = asyncio.get_running_loop()
        if not is_over and looks < _LOOKS_MAX and not (is_waiting and was_waiting):
            self._aiming = loop.call_later(_LOOK_S, self._aim, pid, rest, looks + 1, is_waiting)
            return
        self._aiming = None
        if not is_over:
            self.interrupt()
        loop.add_reader(self._chip, self._from_chip)
        loop.add_reader(self._wire, self._from_wire)
        self._pass_on(rest)

    def _from_chip(self) -> None:
        """Bytes of the firmware."""
        data = _read(self._chip)
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line[-_PIECE:]
        for line in lines:
            self._on_output(line.decode("utf-8", "replace").rstrip("\r"))
        self._pass(data)

    def _pass(self, data: bytes) -> None:
        try:
            sent = os.write(self._wire, data)
            self._is_gone = False
        except BlockingIOError:
            sent = 0
        if sent == len(data) or self._is_gone:
            self._settle()
            return
        if sent or self._stalled is None:
            self._settle()
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._chip)
            loop.add_writer(self._wire, self._go_on)
            self._stalled = loop.call_later(_STALL_S, self._give_up)
        self._kept = data[sent:]

    def _go_on(self) -> None:
        self._pass(self._kept)

    def _give_up(self) -> None:
        self._is_gone = True
        self._settle()

    def _settle(self) -> None:
        """Nothing is kept any more; the firmware is heard again."""
        if self._stalled is None:
            return
        self._stalled.cancel()
        self._stalled, self._kept = None, b""
        loop = asyncio.get_running_loop()
        loop.remove_writer(self._wire)
        loop.add_reader(self._chip, self._from_chip)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _PIECE)
    except BlockingIOError:
        return b""


def _is_waiting(pid: int) -> bool:
    """Whether the process's first thread waits for something."""
    try:
        return Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    except OSError:
        return False
