"""The wire of the board: requests in lines, and for who may, MicroPython's prompt (SPEC.md section 18).

Owns the lines, the banner of a lock in service, and the time limits. What a request means is app.dispatch's; the prompt
is console_repl, and runs programs by drivers.console_programs: both are loaded when the console opens.
"""

import asyncio
import binascii
import select
import sys

from micropython import const, kbd_intr

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vitrine.app.dispatch import Channel, Dispatch

_LINK_CONSOLE = const(4)  # SPEC.md section 7, field 18
_REQUEST = const(b">vitrine ")
_ANSWER = const(b"<vitrine ")
_WIPE = const(b">wipe")
LINE_MAX = 1100
_IDLE_MS = const(5_000)
_TOTAL_MS = const(15_000)
_BANNER_MS = const(1_000)
_TEND_MS = const(250)
# Bytes that are taken before anything else has its turn: 11 ms of the wire.
_BATCH = const(128)
_CTRL_D = const(4)


class Console:
    """The lock's end of the wire. lock_id is empty while the lock is unprovisioned: then it is open.

    wipe: given for a lock whose record is there but cannot be used. It is closed: what it was told in confidence may
    be there, and it knows nobody who might ask. The line `>wipe` calls it, to erase that all and start again.
    make_programs() returns a drivers.console_programs.Programs; restart() starts the chip again; write(bytes) sends,
    unchanged.
    """

    def __init__(
        self,
        dispatch: "Dispatch",
        lock_id: str,
        make_programs: "Callable[[], Any]",
        restart: "Callable[[], object]",
        wipe: "Callable[[], object] | None" = None,
        write: "Callable[[bytes], Any] | None" = None,
    ) -> None:
        self._dispatch: "Any" = dispatch
        self._clock = dispatch.clock
        self._lock_id = lock_id
        self._make_programs = make_programs
        self._restart = restart
        self._wipe = wipe
        out: "Any" = sys.stdout
        self._write = write or out.buffer.write
        self._line = bytearray()
        self._was_cr = False
        self._said_ms: "int | None" = None
        self._has_to_say = False  # that it is closed, when a second has passed
        self._channel: "Channel | None" = None
        self._since_ms = self._asked_ms = 0
        self._repl: "Any" = None
        self._number = 0  # of the service session that its names belong to
        self._stirred: "Any" = None

    async def run(self, vote: "Callable[[], None]") -> None:
        """Serve the wire for ever. What ends it, ends its channel and its programs' names; then it can be run again."""
        self._stirred = asyncio.Event()
        reader: "Any" = asyncio.create_task(self._read())
        try:
            while not reader.done():
                await self._stirred.wait()
                if self.tend():
                    await asyncio.sleep_ms(_TEND_MS)
                else:
                    self._stirred.clear()
            await reader
        finally:
            reader.cancel()
            self._hang_up()
            self._forget()

    async def _read(self) -> None:
        """Take what comes, some bytes at a time. One by one: to ask for more waits on the chip until so many are there.

        Nothing is taken behind a Ctrl-D: it may be for the program that this starts.
        """
        kbd_intr(-1)
        stdin: "Any" = sys.stdin
        stream: "Any" = asyncio.StreamReader(stdin.buffer)
        poller = select.poll()
        poller.register(stdin.buffer, select.POLLIN)
        one = bytearray(1)
        batch = bytearray(_BATCH)
        try:
            while True:
                if not await stream.readinto(one):
                    return
                n = 0
                while True:
                    batch[n] = one[0]
                    n += 1
                    if n == _BATCH or one[0] == _CTRL_D:
                        break
                    for _ in poller.ipoll(0):
                        break
                    else:
                        break
                    stdin.buffer.readinto(one)
                self.feed(bytes(memoryview(batch)[:n]))
                await asyncio.sleep_ms(0)
        finally:
            self._stirred.set()

    def feed(self, data: bytes) -> None:
        """Take bytes from the wire, any bytes."""
        if self._stirred is not None:
            self._stirred.set()
        while data:
            if not self._is_open():
                data = self._take_line(data)
                continue
            if self._lock_id:
                self._dispatch.service.touch()
            if self._repl is None:
                from .console_repl import Repl

                self._line = bytearray()
                self._repl = Repl(self._write, self._make_programs(), self.request, self._lock_id)
            data = self._repl.feed(data)
            if self._repl.is_ended:
                self._end()

    def tend(self) -> bool:
        """End what has had its time; return whether anything is left to mind."""
        now_ms = self._clock.ticks_ms()
        age_ms = self._clock.ticks_diff
        if self._channel is not None and (
            age_ms(now_ms, self._asked_ms) >= _IDLE_MS or age_ms(now_ms, self._since_ms) >= _TOTAL_MS
        ):
            self._hang_up()
        is_open = self._is_open()
        if self._has_to_say and not is_open:
            self._say_closed()
        service = self._dispatch.service
        has_run = bool(service and service.has_run)
        if service and has_run and service.is_to_restart(self._dispatch.is_quiet()):
            self._restart()
        return (is_open and bool(self._lock_id)) or self._channel is not None or self._has_to_say or has_run

    def request(self, line: bytes) -> bool:
        """Answer `line` if it is a request of SPEC.md section 18; return whether it is one."""
        if not line.startswith(_REQUEST):
            return False
        channel: "Any" = self._channel
        now_ms = self._asked_ms = self._clock.ticks_ms()
        if channel is None:
            channel = self._channel = self._dispatch.channel(_LINK_CONSOLE, b"console")
            self._since_ms = now_ms
        text = line[len(_REQUEST) :].replace(b"-", b"+").replace(b"_", b"/")
        try:
            message = binascii.a2b_base64(text + b"==")  # pyright: ignore[reportAttributeAccessIssue]
        except ValueError:
            answer = channel.malformed()
        else:
            answer = channel.handle(message)
        text = binascii.b2a_base64(answer)  # pyright: ignore[reportAttributeAccessIssue]
        text = text.rstrip(b"=\n").replace(b"+", b"-").replace(b"/", b"_")
        self._write(_ANSWER + text + b"\r\n")
        if channel.is_exhausted:
            self._hang_up()
        return True

    def _take_line(self, data: bytes) -> bytes:
        """Take bytes of the wire of a closed console, to the end of the line; return the rest."""
        line = self._line
        taken = 0
        for byte in data:
            taken += 1
            was_cr, self._was_cr = self._was_cr, byte == 13
            if byte == 10 and was_cr:
                continue
            if byte == 10 or byte == 13:
                self._line = bytearray()
                if self._wipe is not None and line == _WIPE:
                    self._wipe()
                elif len(line) <= LINE_MAX and not self.request(bytes(line)):
                    self._say_closed()
                break
            if byte >= 32 and len(line) <= LINE_MAX:  # what tools send to get a prompt is no part of a line
                line.append(byte)
        return data[taken:]

    def _say_closed(self) -> None:
        now_ms = self._clock.ticks_ms()
        self._has_to_say = self._said_ms is not None and 0 <= self._clock.ticks_diff(now_ms, self._said_ms) < _BANNER_MS
        if not self._has_to_say:
            self._said_ms = now_ms
            self._write(b"Vitrine " + (self._lock_id or "(damaged)").encode() + b": service is closed\r\n")

    def _is_open(self) -> bool:
        """Whether there is a prompt. Programs' names go with the session that they belong to."""
        if not self._lock_id:
            return self._wipe is None
        service = self._dispatch.service
        is_open = bool(service and service.is_open())
        if is_open:
            self._has_to_say = False
        number = service.number if is_open else 0
        if number != self._number:
            self._number = number
            self._forget()
        return is_open

    def _end(self) -> None:
        """Who was served has had enough."""
        self._forget()
        if self._lock_id:
            self._dispatch.service.end("closed")
            self._said_ms = None
            self._say_closed()

    def _forget(self) -> None:
        repl, self._repl = self._repl, None
        if repl is not None:
            repl.end()

    def _hang_up(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
