"""Asks a time server now and then. What it says is a hint, of which app.timekeeper makes little; see SPEC.md 5.2.

SNTP (RFC 5905 section 14, packet in section 7.3). Anybody on the way can lie; who is not on the way cannot, because an
answer must give back the 64 random bits of the request. No names: a resolver would block the loop.
"""

import asyncio
import errno
import socket
import struct

from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable

KISS = const(-1)  # the server does not want to be asked

_PORT = const(123)
_FIRST_MS = const(10_000)
_HOUR_MS = const(3_600_000)
_DAY_MS = const(86_400_000)  # after a kiss of death (section 7.4): the server wants to be left alone
_LIMIT_MS = const(5_000)
_LOOK_MS = const(10)
_SIZE = const(48)
_REQUEST = b"\x23" + bytes(39)  # version 4, mode 3 (client); the transmit timestamp follows
_SERVER = const(4)
_NOT_SYNCHRONISED = const(3)
_STRATUM_MAX = const(15)
_UNIX_S = const(2_208_988_800)  # 1900 to 1970
_ERA_BIT = const(0x80000000)  # clear since 2036-02-07: the count begins anew (era 1)
_ERA_S = const(0x100000000)


class Sntp:
    """Sntp(clock, random_bytes, hint): `run` is its task, `hint(unix_ms)` gets what the server says it is now.

    clock: drivers.clock.Clock; its settings name the server (sntp_address). port: of the server.
    """

    def __init__(
        self, clock, random_bytes: "Callable[[int], bytes]", hint: "Callable[[int], None]", port: int = _PORT
    ) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._hint = hint
        self._port = port

    async def run(self, vote) -> None:
        """Ask every hour while there is a server to ask and a trusted or coasting clock that it may trim."""
        pause_ms = _FIRST_MS
        while True:
            await asyncio.sleep_ms(pause_ms)
            vote()
            pause_ms = _FIRST_MS
            if self._clock.settings.sntp_address and self._clock.reading()[1]:
                pause_ms = _HOUR_MS
                try:
                    unix_ms = await self.ask()
                except OSError:
                    continue  # no network, or nobody there
                if unix_ms == KISS:
                    pause_ms = _DAY_MS
                elif unix_ms is not None:
                    self._hint(unix_ms)

    async def ask(self) -> "int | None":
        """Return what time it is now by the server, in Unix ms, KISS, or None without an answer. Raises OSError."""
        clock = self._clock
        host = "%d.%d.%d.%d" % tuple(clock.settings.sntp_address.to_bytes(4, "big"))
        nonce = self._random_bytes(8)
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            server.setblocking(False)
            # from now on the stack drops what comes from anywhere else
            server.connect(socket.getaddrinfo(host, self._port)[0][-1])
            sent_ms = clock.ticks_ms()
            server.send(_REQUEST + nonce)
            while True:
                await asyncio.sleep_ms(_LOOK_MS)
                trip_ms = clock.ticks_diff(clock.ticks_ms(), sent_ms)
                if trip_ms > _LIMIT_MS:
                    return None
                try:
                    unix_ms = told(server.recv(_SIZE), nonce)
                except OSError as error:
                    if error.errno == errno.EAGAIN:
                        continue
                    raise
                if unix_ms == KISS:
                    return KISS
                if unix_ms is not None:
                    return unix_ms + trip_ms // 2
        finally:
            server.close()


def told(answer: bytes, nonce: bytes) -> "int | None":
    """Return the Unix ms in a server's answer to the request with `nonce`; KISS; or None if it is no answer to it."""
    if len(answer) < _SIZE or answer[24:32] != nonce or answer[0] & 7 != _SERVER:
        return None
    stratum = answer[1]
    if stratum == 0:
        return KISS
    seconds, fraction = struct.unpack(">II", answer[40:48])
    if stratum > _STRATUM_MAX or answer[0] >> 6 == _NOT_SYNCHRONISED or not seconds:
        return None
    if not seconds & _ERA_BIT:
        seconds += _ERA_S
    return (seconds - _UNIX_S) * 1000 + (fraction * 1000 >> 32)
