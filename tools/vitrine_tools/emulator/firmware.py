"""The firmware as the hardware sees it: one process after another, idle or busy, hung or dead.

Virtual time moves only while the firmware is quiet: it said that it waits (and has heard everything sent to it), or it
is hung, or there is none.
"""

import asyncio
import itertools
import time
from collections.abc import Callable

from vitrine_tools.emulator.wire import FirmwareProcess

HUNG_CPU_S = 5.0  # processor time without a sign of life, after which the firmware counts as hung
STALLED_S = 20.0  # real time without a sign of life and without work: blocked on something outside
_LOOK_S = 0.25
_REPLY_LIMIT_S = 10


class FirmwareGoneError(Exception):
    """The process ended before it could answer."""


class Firmware:
    """Boots and kills processes, sends them messages with the hardware's time, and knows what they are doing.

    on_message(message), on_output(line) as in FirmwareProcess; on_crash() when a process ends by itself.
    """

    def __init__(
        self,
        now_us: Callable[[], int],
        on_message: Callable[[dict], None],
        on_output: Callable[[str], None],
        on_crash: Callable[[], None],
    ) -> None:
        self._now_us = now_us
        self._on_message = on_message
        self._on_output = on_output
        self._on_crash = on_crash
        self._process: FirmwareProcess | None = None
        self._dying: FirmwareProcess | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._replies: dict[int, asyncio.Future[dict]] = {}
        self._reply_numbers = itertools.count(1)
        self.is_idle = False
        self.is_hung = False
        self.due_us: int | None = None  # when an idle firmware wants to be woken; None: by an event only

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_alive

    @property
    def is_quiet(self) -> bool:
        return self._quiet.is_set()

    @property
    def pid(self) -> int:
        """The process's number, 0 without one."""
        return self._process.pid if self._process else 0

    async def boot(self, heap: str, terminal: int | None = None) -> None:
        """Start a process, after the one before is gone. WireError if it cannot be started."""
        await self.wait_gone()
        process = FirmwareProcess(self._receive, self._on_output, self._exited)
        self._process = process
        self.is_idle = self.is_hung = False
        self._quiet.clear()
        try:
            await process.start(heap, terminal)
        except BaseException:
            self._process = None
            self._quiet.set()
            raise

    def kill(self, is_restarting: bool = False) -> None:
        """End the process in whatever it does. The firmware is quiet then, unless another one follows."""
        process, self._process = self._process, None
        self.is_idle = self.is_hung = False
        for future in self._replies.values():
            if not future.done():
                future.set_exception(FirmwareGoneError())
        if process is not None:
            process.kill()
            self._dying = process
        if is_restarting:
            self._quiet.clear()
        else:
            self._quiet.set()

    async def wait_gone(self) -> None:
        """Wait until the killed process is reaped and its output read."""
        if self._dying is not None:
            await self._dying.wait_gone()

    def send(self, message: dict) -> None:
        """Send a message; nothing happens if there is no process."""
        if self._process is not None and self.is_running:
            self._process.send(message | {"t": self._now_us()})
            if not self.is_hung:
                self.is_idle = False
                self._quiet.clear()

    async def ask(self, kind: str) -> dict:
        """Send a request of boards/unix/modules/_testing.py, return its reply. TimeoutError, FirmwareGoneError."""
        number = next(self._reply_numbers)
        future = self._replies[number] = asyncio.get_running_loop().create_future()
        self.send({"e": kind, "i": number})
        try:
            return await asyncio.wait_for(future, _REPLY_LIMIT_S)
        finally:
            del self._replies[number]

    def replied(self, message: dict) -> None:
        future = self._replies.get(message["i"])
        if future is not None and not future.done():
            future.set_result(message)

    def said_idle(self, heard: int, due_us: int | None) -> None:
        """The firmware waits, having heard so many messages; with more on their way it will say so once again."""
        if self._process is not None and heard == self._process.sent:
            self.is_idle = True
            self.due_us = due_us
            self._quiet.set()

    def said_busy(self) -> None:
        self.is_idle = False
        self._quiet.clear()

    def set_hung(self) -> None:
        """From now on nobody waits for it."""
        self.is_hung = True
        self._quiet.set()

    async def wait_quiet(self) -> None:
        """Wait until the firmware is quiet; after a while without a sign of life it counts as hung."""
        process, started_s, spent_s = self._process, time.monotonic(), 0.0
        while not self._quiet.is_set():
            try:
                await asyncio.wait_for(self._quiet.wait(), _LOOK_S)
                continue  # it may have been for a moment only, in a reset
            except TimeoutError:
                pass
            if process is None or process is not self._process or spent_s == 0.0:
                process, started_s = self._process, time.monotonic()
                spent_s = process.cpu_seconds() if process else 0.0
            elif process.cpu_seconds() - spent_s > HUNG_CPU_S or time.monotonic() - started_s > STALLED_S:
                self.set_hung()

    def _receive(self, message: dict) -> None:
        if self.is_hung:
            self.is_hung = False  # it was only slow
            self._quiet.clear()
        self._on_message(message)

    def _exited(self, process: FirmwareProcess) -> None:
        if process is self._process:
            self._on_crash()
