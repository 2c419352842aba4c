"""A lock at the end of a wire, and a technician who drives the real mpremote at the other."""

import asyncio
import base64
import contextlib
import os
import sys
import termios
import time
import tty
from dataclasses import dataclass
from pathlib import Path

from mpremote.transport_serial import SerialTransport

from support.store import LOCK_ID, NOW_S, Store
from vitrine_tools import protocol
from vitrine_tools.emulator import EmulatedLock
from vitrine_tools.field.console_link import ConsolePhone, reach
from vitrine_tools.phone import NoTransport
from vitrine_tools.protocol import Action

LIMIT_S = 60
LINK_CONSOLE, SERVICE = 4, 136  # SPEC.md section 7
COUNT, DIGEST, DETAIL = 14, 31, 15
BANNER = f"Vitrine {LOCK_ID}: service is closed\r\n".encode()


@dataclass
class Technician:
    """Who has the cable in hand. `lock`: at its other end."""

    store: Store
    lock: EmulatedLock
    port: Path

    async def mpremote(self, *command: str, is_ok: bool = True) -> str:
        """Run mpremote on the port; return what it prints. It must end well, or badly if that is expected."""
        process = await self.start(*command)
        out, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
        text = out.decode("utf-8", "replace")
        assert (process.returncode == 0) is is_ok, f"{text}\n--\n{self.lock.last_words()}"
        return text.replace("\r\n", "\n")

    async def start(self, *command: str, stdin: int = asyncio.subprocess.DEVNULL) -> asyncio.subprocess.Process:
        """Start mpremote on the port."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mpremote", "connect", str(self.port), *command),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def serve(self) -> None:
        """Open service, with a token and over the wire, as `vitrine service open` does."""
        token = self.store.token(scopes=("service",))
        async with reach(self.port, LOCK_ID) as phone:
            outcome = await phone.open(token, self.store.holder, action=Action.SERVICE)
        assert outcome.is_granted, outcome

    async def check(self) -> None:
        """The lock is as it should be: a tool that connects gets its answer, nothing was reset, nothing has failed."""
        assert await self.mpremote("exec", "print(6 * 7)") == "42\n"
        self.check_quiet()

    def check_quiet(self) -> None:
        assert self.lock.resets == [] and self.lock.ended is None, self.lock.last_words()
        assert [event for event in self.lock.events if event[1] == 129] == [], self.lock.last_words()


@contextlib.asynccontextmanager
async def at_the_wire(folder: Path, kind: str = "unprovisioned"):
    """A technician at a lock in real time that is `unprovisioned`, `closed`, or `open` for service."""
    store = Store(folder)
    port = folder / "wire"
    options = {"virtual": False, "console": port}
    if kind == "unprovisioned":
        lock = EmulatedLock(store.radio, flash=folder / "bare.bin", rtc_s=NOW_S, **options)
    else:
        lock = store.lock(**options)
    async with lock:
        await lock.wait_advertising()
        technician = Technician(store, lock, port)
        if kind == "open":
            await technician.serve()
        yield technician
        assert lock.strike_power == 0 or kind != "unprovisioned"


class Cable(SerialTransport):
    """mpremote's own transport over a cable that is pulled after `limit` bytes have gone to the lock."""

    def __init__(self, port: Path, limit: int | None = None, exclusive: bool = True) -> None:
        super().__init__(str(port), exclusive=exclusive)
        self.sent = bytearray()
        self._limit = limit
        self._write, self.serial.write = self.serial.write, self._pass

    def _pass(self, data: bytes) -> int:
        if self._limit is not None and len(self.sent) + len(data) >= self._limit:
            self._write(data[: self._limit - len(self.sent)])
            self.serial.close()
            raise Pulled
        self.sent += data
        return self._write(data)

    def close_port(self) -> None:
        """Let go of the port, pulled or not; what was on its way gets there."""
        if self.serial.is_open:
            self.serial.flush()
            self.serial.close()


class Pulled(Exception):
    """Somebody has pulled the cable."""


class Bytes:
    """The port without any tool: bytes out, bytes in."""

    def __init__(self, port: Path) -> None:
        self._file = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._file)
        termios.tcflush(self._file, termios.TCIFLUSH)

    def write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._file, data) :]
            except BlockingIOError:
                return  # the wire has no memory

    def read(self) -> bytes:
        try:
            return os.read(self._file, 65536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self._file)


class StillPhone(ConsolePhone):
    """A session over the wire of a lock in virtual time, which does not pass meanwhile."""

    def __init__(self, lock: EmulatedLock, wire: Bytes) -> None:
        super().__init__(NoTransport(), LOCK_ID)  # pyright: ignore[reportArgumentType]
        self._lock = lock
        self._bytes = wire
        self._heard = b""

    async def ask(self, op, body=None):
        self._request_id += 1
        request = base64.urlsafe_b64encode(protocol.request(op, self._request_id, body)).rstrip(b"=")
        self.write(b">vitrine " + request + b"\r")
        await self.hear(b"<vitrine ")
        text = (await self.hear(b"\r\n"))[:-2]
        request_id, status, body = protocol.read_answer(base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)))
        assert request_id == self._request_id
        return status, body

    async def say(self, data: bytes, until: bytes) -> bytes:
        """Send bytes; return what comes back, to where `until` ends."""
        self.write(data)
        return await self.hear(until)

    def write(self, data: bytes) -> None:
        """Send bytes, and do not wait."""
        self._bytes.write(data)

    async def hear(self, until: bytes) -> bytes:
        """Return what has come, to where `until` ends. The terminal itself takes a moment of real time."""
        end_s = time.monotonic() + LIMIT_S
        while until not in self._heard and time.monotonic() < end_s:
            await asyncio.sleep(0.001)
            await self._lock.advance(0)
            self._heard += self._bytes.read()
        at = self._heard.find(until) + len(until)
        assert at >= len(until), (self._heard, self._lock.last_words())
        heard, self._heard = self._heard[:at], self._heard[at:]
        return heard
