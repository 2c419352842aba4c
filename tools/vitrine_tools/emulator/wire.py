"""The firmware's process and the wire to it: framed JSON over an inherited socket (boards/unix/modules/_link.py)."""

import asyncio
import functools
import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from vitrine_tools.emulator import stand_ins
from vitrine_tools.emulator.places import BOARD, interpreter


class WireError(Exception):
    """The firmware's process could not be started, or spoke nonsense."""


class FirmwareProcess(asyncio.Protocol):
    """One run of the firmware, from reset to the next. Ends with the process.

    on_message(message), on_output(line) and on_exit(process) are called on the event loop.
    """

    def __init__(
        self,
        on_message: Callable[[dict], None],
        on_output: Callable[[str], None],
        on_exit: Callable[["FirmwareProcess"], None],
    ) -> None:
        self._on_message = on_message
        self._on_output = on_output
        self._on_exit = on_exit
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task] = []
        self.sent = 0  # messages sent to the firmware
        self.is_alive = False

    async def start(self, heap: str, terminal: int | None = None) -> None:
        """Start the process. terminal: descriptor that is its console; without one nobody is at its wire."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            self._process = await asyncio.create_subprocess_exec(
                interpreter(),
                "-X",
                f"heapsize={heap}",
                str(BOARD / "run.py"),
                stdin=_silence() if terminal is None else terminal,
                stdout=asyncio.subprocess.PIPE if terminal is None else terminal,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                env={
                    "VITRINE_BOARD_FD": str(theirs.fileno()),
                    "VITRINE_BOARD_MODULES": str(stand_ins.folder()),
                    "MICROPYPATH": ".frozen",
                    "TZ": "UTC0",
                },
                cwd=BOARD,
                start_new_session=True,  # Ctrl-C is for the harness
            )
        except OSError as error:
            ours.close()
            raise WireError(f"cannot start {interpreter()}: {error.strerror}") from error
        finally:
            theirs.close()
        self.is_alive = True
        self._transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)
        self._tasks = [asyncio.create_task(self._read_output()), asyncio.create_task(self._watch())]

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def cpu_seconds(self) -> float:
        """Processor time used so far: tells a hung firmware from a slow machine."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def send(self, message: dict) -> None:
        """Send one message; a message to a process that is gone is dropped, as a level on a dead chip's pin."""
        if self.is_alive and self._transport is not None:
            self.sent += 1
            data = json.dumps(message).encode()
            self._transport.write(struct.pack("<I", len(data)) + data)

    def kill(self) -> None:
        """Stop it now: no message of it is heard after this."""
        self.is_alive = False
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        if self._transport is not None:
            self._transport.abort()

    async def wait_gone(self) -> None:
        """Wait until the process is reaped and its last output read."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self.is_alive and len(self._buffer) >= 4:
            (size,) = struct.unpack("<I", self._buffer[:4])
            if len(self._buffer) < 4 + size:
                return
            frame, self._buffer = self._buffer[4 : 4 + size], self._buffer[4 + size :]
            self._on_message(json.loads(frame))

    async def _read_output(self) -> None:
        stream = self._process.stdout if self._process else None
        while stream is not None:
            try:
                line = await stream.readline()
            except ValueError:  # a line longer than the reader's limit
                line = b"(a very long line)\n"
            if not line:
                return
            self._on_output(line.decode("utf-8", "replace").rstrip("\r\n"))

    async def _watch(self) -> None:
        if self._process is not None:
            await self._process.wait()
        if self.is_alive:
            self.is_alive = False
            self._on_exit(self)


@functools.cache
def _silence() -> int:
    """A wire on which nobody ever says anything: its other end stays open, and unused."""
    return os.pipe()[0]
