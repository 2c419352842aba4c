"""A small MQTT 3.1.1 broker, for the demo on a machine without mosquitto. In memory, for a handful of clients.

TLS with required client certificates, QoS 0 and 1, retained messages, last wills, shared subscriptions. It keeps no
sessions and sends nothing again: what gets lost is for Vitrine's own acknowledgements to notice.
"""

import asyncio
import contextlib
import itertools
import ssl
from dataclasses import dataclass, field
from typing import Final

_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK = 1, 2, 3, 4, 8, 9
_PINGREQ, _PINGRESP, _DISCONNECT = 12, 13, 14
_MAX_PACKET: Final = 16_384


class _Bad(Exception):
    """The client does not keep to MQTT."""


@dataclass(eq=False)
class _Client:
    """One connection. `filters`: (group or "", topic filter)."""

    writer: asyncio.StreamWriter
    filters: list[tuple[str, str]] = field(default_factory=list)
    will: tuple[str, bytes, bool] | None = None
    numbers: itertools.cycle = field(default_factory=lambda: itertools.cycle(range(1, 65536)))

    def send(self, kind: int, body: bytes, flags: int = 0) -> None:
        if not self.writer.is_closing():
            self.writer.write(bytes((kind << 4 | flags,)) + _length(len(body)) + body)


class EmbeddedBroker:
    """EmbeddedBroker(tls): `await start(port)`, `await stop()`, as often as one likes."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._clients: list[_Client] = []
        self._retained: dict[str, bytes] = {}
        self._turns: dict[tuple[str, str], int] = {}

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self._tls)

    async def stop(self) -> None:
        """Drop everybody and forget everything, as if its machine had lost its power."""
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.will = None
            client.writer.transport.abort()
        if self._server is not None:
            await self._server.wait_closed()
        self._clients.clear()
        self._retained.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(writer)
        try:
            with contextlib.suppress(_Bad, OSError, asyncio.IncompleteReadError, UnicodeDecodeError, IndexError):
                while await self._packet(client, reader):
                    await writer.drain()
        finally:
            if client in self._clients:
                self._clients.remove(client)
            if client.will is not None:
                self._publish(*client.will)
            writer.close()

    async def _packet(self, client: _Client, reader: asyncio.StreamReader) -> bool:
        """Take one packet; False when the client says goodbye."""
        first = (await reader.readexactly(1))[0]
        body = await reader.readexactly(await _read_length(reader))
        kind = first >> 4
        if (kind == _CONNECT) == (client in self._clients):
            raise _Bad  # CONNECT comes first, and once
        if kind == _CONNECT:
            self._connect(client, body)
        elif kind == _PUBLISH:
            self._take(client, first, body)
        elif kind == _SUBSCRIBE:
            self._subscribe(client, body)
        elif kind == _PINGREQ:
            client.send(_PINGRESP, b"")
        elif kind == _DISCONNECT:
            client.will = None
            return False
        elif kind != _PUBACK:
            raise _Bad
        return True

    def _connect(self, client: _Client, body: bytes) -> None:
        protocol, rest = _field(body)
        if protocol != b"MQTT" or rest[0] != 4:
            raise _Bad
        flags = rest[1]
        _, rest = _field(rest[4:])
        if flags & 0x04:
            topic, rest = _field(rest)
            message, rest = _field(rest)
            client.will = (topic.decode(), message, bool(flags & 0x20))
        self._clients.append(client)
        client.send(_CONNACK, b"\x00\x00")

    def _take(self, client: _Client, first: int, body: bytes) -> None:
        topic, rest = _field(body)
        if first & 0x06:
            client.send(_PUBACK, rest[:2])
            rest = rest[2:]
        self._publish(topic.decode(), rest, bool(first & 1))

    def _subscribe(self, client: _Client, body: bytes) -> None:
        number, rest = body[:2], body[2:]
        granted = b""
        added = []
        while rest:
            text, rest = _field(rest)
            granted += bytes((min(rest[0], 1),))
            rest = rest[1:]
            group, wanted = "", text.decode()
            if wanted.startswith("$share/"):
                _, group, wanted = wanted.split("/", 2)
            client.filters.append((group, wanted))
            added += [] if group else [wanted]
        client.send(_SUBACK, number + granted)
        for topic, payload in self._retained.items():
            if any(_matches(wanted, topic) for wanted in added):
                self._deliver(client, topic, payload, is_retained=True)

    def _publish(self, topic: str, payload: bytes, is_retained: bool) -> None:
        if is_retained:
            self._retained[topic] = payload
            if not payload:
                del self._retained[topic]
        shared: dict[tuple[str, str], list[_Client]] = {}
        for client in self._clients:
            for group, wanted in client.filters:
                if _matches(wanted, topic) and group:
                    shared.setdefault((group, wanted), []).append(client)
                elif _matches(wanted, topic):
                    self._deliver(client, topic, payload)
        for key, members in shared.items():
            turn = self._turns[key] = self._turns.get(key, -1) + 1
            self._deliver(members[turn % len(members)], topic, payload)

    @staticmethod
    def _deliver(client: _Client, topic: str, payload: bytes, is_retained: bool = False) -> None:
        name = topic.encode()
        number = next(client.numbers).to_bytes(2, "big")
        client.send(_PUBLISH, len(name).to_bytes(2, "big") + name + number + payload, flags=2 | is_retained)


def _matches(wanted: str, topic: str) -> bool:
    """MQTT 3.1.1 section 4.7: `+` stands for one level, `#` for the rest."""
    levels, names = wanted.split("/"), topic.split("/")
    for level, name in zip(levels, names, strict=False):
        if level == "#":
            return True
        if level not in ("+", name):
            return False
    return len(levels) == len(names) or levels[len(names) :] == ["#"]


def _field(data: bytes) -> tuple[bytes, bytes]:
    """Return (a field with its length in front, what follows)."""
    size = int.from_bytes(data[:2], "big")
    if len(data) < 2 + size:
        raise _Bad
    return data[2 : 2 + size], data[2 + size :]


def _length(size: int) -> bytes:
    encoded = bytearray()
    while size > 0x7F:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*encoded, size])


async def _read_length(reader: asyncio.StreamReader) -> int:
    size = 0
    for shift in range(0, 28, 7):
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 0x7F) << shift
        if not byte & 0x80:
            if size > _MAX_PACKET:
                raise _Bad
            return size
    raise _Bad
