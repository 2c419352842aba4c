"""A session over the wire of the board (SPEC.md section 18): what phone.Phone does over BLE, line by line.

The port is a serial device, or a pseudo-terminal of an emulated board. What comes over the wire is input from a
stranger: only whole lines of the right form are looked at, within a bound and a time.
"""

import asyncio
import base64
import binascii
import contextlib
import errno
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import serial

from .. import protocol
from ..errors import LinkError, ToolError
from ..phone import Limits, NoTransport, Phone, Unready
from ..protocol import Hello, Op, ProtocolError, Status

BAUD: Final = 115_200
REQUEST: Final = b">vitrine "
ANSWER: Final = b"<vitrine "
ANSWER_S: Final = 10.0  # a program that runs lets nothing else of the lock run
_POLL_S: Final = 0.05
_LINE_MAX: Final = 1100
_NOISE_MAX: Final = 256 * 1024  # what a board may print before its answer
# On an open console: give up what was begun, leave raw mode. On a closed one: the rest of a line, which ends here.
_FRESH_LINE: Final = b"\x03\x02\r"


class Wire:
    """The opened port. Blocks; one request at a time."""

    def __init__(self, port: str | Path) -> None:
        """Open it for this process alone; ToolError if that cannot be."""
        self.port = str(port)
        try:
            self._serial = serial.Serial(self.port, BAUD, timeout=_POLL_S, write_timeout=ANSWER_S, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise ToolError(f"cannot open {self.port}: {_why_not(error)}") from None
        self._rest = b""
        self._is_fresh = False

    def close(self) -> None:
        """Let go of the port."""
        with contextlib.suppress(OSError, serial.SerialException):
            self._serial.close()

    def exchange(self, request: bytes, timeout_s: float) -> bytes:
        """Send a request of SPEC.md section 3 and return the next answer; LinkError if none comes in time."""
        line = REQUEST + base64.urlsafe_b64encode(request).rstrip(b"=") + b"\r"
        end_s = time.monotonic() + timeout_s
        self.write(line if self._is_fresh else _FRESH_LINE + line)
        self._is_fresh = True
        return self.answer(end_s)

    def answer(self, end_s: float) -> bytes:
        """Return the next answer that comes before `end_s` (of time.monotonic)."""
        for line in self.lines(end_s):
            at = line.rfind(ANSWER)
            if at >= 0:
                return _decode(line[at + len(ANSWER) :])
        raise LinkError("the board does not answer: is it a Vitrine lock, and has it started?")

    def lines(self, end_s: float) -> Iterator[bytes]:
        """Yield the lines that come before `end_s`, without their ends; those that are too long are cut."""
        noise = 0
        while time.monotonic() < end_s and noise < _NOISE_MAX:
            line, end, rest = self._rest.partition(b"\n")
            if end:
                self._rest = rest
                yield line.rstrip(b"\r")
                continue
            data = self._read()
            noise += len(data)
            self._rest = line[-_LINE_MAX:] + data

    def hear(self, limit_s: float, until: bytes | None = None) -> bytes:
        """Return what comes within `limit_s`, or up to where `until` has come."""
        heard, self._rest = self._rest, b""
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s and len(heard) < _NOISE_MAX and (until is None or until not in heard):
            heard += self._read()
        return heard

    def write(self, data: bytes) -> None:
        """Send bytes as they are; LinkError if they do not go."""
        try:
            self._serial.write(data)
        except (serial.SerialException, OSError) as error:
            raise LinkError(f"{self.port}: {_one_line(error)}") from None

    def _read(self) -> bytes:
        try:
            return self._serial.read(max(1, self._serial.in_waiting))
        except (serial.SerialException, OSError, TypeError) as error:  # TypeError: closed meanwhile
            raise LinkError(f"{self.port}: {_one_line(error)}") from None


class ConsolePhone(Phone):
    """A session with the lock at the other end of `wire`; `lock_id` "" until a hello says whose it is."""

    def __init__(self, wire: Wire, lock_id: str = "", limits: Limits | None = None) -> None:
        super().__init__(NoTransport(), lock_id, limits or Limits(answer_s=ANSWER_S))
        self.wire = wire

    async def hello(self) -> Hello:
        """Ask who the lock is and for a nonce. Whoever names no lock means the one that the cable leads to."""
        if not self._lock_id:
            status, body = await self.ask(Op.HELLO)
            if status != Status.OK:
                raise Unready(protocol.read_acted(status, body))
            self._lock_id = protocol.read_hello(body).lock_id
        return await super().hello()

    async def ask(self, op: int, body: Any = None) -> tuple[Status, Any]:
        """Send one request and return (status, body) of its answer; LinkError or ProtocolError."""
        async with self._one_at_a_time:
            self._request_id = self._request_id % 0xFFFF + 1
            request = protocol.request(op, self._request_id, body)
            return await asyncio.to_thread(self._exchange, request)

    def _exchange(self, request: bytes) -> tuple[Status, Any]:
        end_s = time.monotonic() + self._limits.answer_s
        answer = self.wire.exchange(request, self._limits.answer_s)
        while True:
            request_id, status, body = protocol.read_answer(answer)
            if request_id == self._request_id or (request_id == 0 and status == Status.MALFORMED):
                return status, body
            answer = self.wire.answer(end_s)  # that one was to a request that was given up


@contextlib.asynccontextmanager
async def reach(port: str | Path, lock_id: str = "", limits: Limits | None = None) -> AsyncIterator[ConsolePhone]:
    """Open the port for a session with `lock_id`, or with whatever lock is there; ToolError if it cannot be opened."""
    wire = await asyncio.to_thread(Wire, port)
    try:
        yield ConsolePhone(wire, lock_id, limits)
    finally:
        wire.close()


def _decode(text: bytes) -> bytes:
    try:
        if len(text) > _LINE_MAX:
            raise ValueError
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("an answer that is not base64url") from None


def _why_not(error: Exception) -> str:
    """Return why a port cannot be opened: pyserial says it twice, or in the system's words."""
    number = getattr(error, "errno", None)
    if number in (errno.EAGAIN, errno.EBUSY):
        return "another program has it"
    if number in (errno.EACCES, errno.EPERM):
        return "no permission (on Debian, be in the group dialout)"
    if number == errno.ENOENT:
        return "there is no such port"
    if "configure port" in str(error):
        return "it is no serial port"
    return _one_line(error)


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
