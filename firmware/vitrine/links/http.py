"""HTTP: the requests of SPEC.md section 15 over the local network, routed by microdot.

Owns connections with their limits, sessions, and the JSON form of bodies. Knows nothing of tokens: each request goes to
an app.dispatch.Channel as over BLE. What is over a bound never reaches microdot, which would wait and allocate for it.
"""

import asyncio
import binascii
import json

from microdot import Microdot, Request, Response
from micropython import const

from vitrine.codec import cbor

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vitrine.app.dispatch import Dispatch
    from vitrine.app.event_log import EventLog

    from .network_settings import NetworkSettings

_LINK_HTTP = const(2)  # SPEC.md section 7, field 18
_HEAD_MAX = const(1024)
_BODY_MAX = const(1152)  # a request of 768 bytes in base64, or a piece of an update
_ANSWER_BOUND = const(512)
_CONNECTIONS_MAX = const(4)
_SESSIONS_MAX = const(3)
_HEAD_MS = const(2_000)
_TOTAL_MS = const(5_000)
_LINGER_MS = const(500)
_IDLE_MS = const(5_000)
_SESSION_MS = const(15_000)
_SWEEP_MS = const(200)

# By op (SPEC.md section 3): the last part of the path; names for the keys of a JSON request and of its answer, from 1.
_PATHS = ("hello", "present", "act", "status", "identify", "courier", "command", "fresh", "doctor", "update")
_FIELDS = (
    "",
    "token",
    "action uv proof",
    "",
    "",
    "from acknowledgement pull",
    "command",
    "",
    "challenge offset",
    "manifest offset bytes shadow",
)
_ANSWERS = (
    "lock version nonce time audit",
    "hash",
    "- nonce lock_state door_state",
    "lock - lock_state door_state time",
    "",
    "batch acknowledgement",
    "reason - sequence",
    "cnonce time",
    "piece total",
    "state offset running sequence reason",
)
_REFUSED = const("reason nonce persons wait_s")
_HELLO = const(0)
_COURIER = const(5)  # from here on a request needs no session
_COMMAND = const(6)
_UPDATE = const(9)


class Guest:
    """Who is served until `left_ms` after `since_ms`: a connection with its answer, or a session with its channel."""

    left_ms = _HEAD_MS
    answer = b""
    standing = 0  # as of a channel
    key: "Any" = 0

    def __init__(self, peer: "Any", now_ms: int, end: "Callable[[], object]") -> None:
        self.peer = peer
        self.since_ms = now_ms
        self.end = end
        self.channel: "Any" = self

    async def awrite(self, data: bytes) -> None:
        """Take what microdot writes. In one piece on the wire it waits for no acknowledgement of its first line."""
        self.answer += data


class HttpLink:
    """The lock's HTTP server at `address`."""

    def __init__(self, dispatch: "Dispatch", events: "EventLog", settings: "NetworkSettings", address: str) -> None:
        self._dispatch = dispatch
        self._clock = dispatch.clock
        self._events = events
        self._settings = settings
        self._address = address
        self._gate: "Any" = None  # a TlsGate
        self._connections: "list[Guest]" = []
        self._sessions: "list[Guest]" = []
        self._app = app = Microdot()
        for op in range(len(_PATHS)):
            app.route("/v1/" + _PATHS[op], ["GET" if op in (0, 3, 7) else "POST"])(self._handle)
        app.errorhandler(405)(lambda request: ({}, 405, app.default_options_handler(request)))

    async def run(self, vote) -> None:
        """Serve for ever; raises OSError when there is no network to serve on, and can then be run again."""
        settings = self._settings
        if settings.certificate:
            import ssl

            from .tls_gate import TlsGate

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(settings.certificate, settings.key)
            self._gate = TlsGate(context, self._clock)
        server = await asyncio.start_server(self._serve, self._address, settings.http_port)
        try:
            while True:
                vote()
                await asyncio.sleep_ms(_SWEEP_MS)
                if self._gate:
                    self._gate.tend()
                for places in (self._connections, self._sessions):
                    for guest in places[:]:
                        if self._age_ms(guest) >= guest.left_ms:
                            places.remove(guest)
                            guest.end()
        finally:
            server.close()

    def _age_ms(self, guest: Guest) -> int:
        return self._clock.ticks_diff(self._clock.ticks_ms(), guest.since_ms)

    def _admit(self, places: "list[Guest]", most: int, guest: Guest) -> None:
        """Give a guest a place: its peer's own oldest gives way first, or else the oldest of who has shown least."""
        if len(places) >= most:
            peer = guest.peer
            first = min(places, key=lambda g: (g.peer != peer) * 16 + g.channel.standing)
            places.remove(first)
            first.end()
        places.append(guest)

    async def _serve(self, stream, _writer) -> None:
        """One connection: one request, one answer."""
        peer = stream.get_extra_info("peername")[0].encode()
        task: "Any" = asyncio.current_task()
        connection: "Any" = Guest(peer, self._clock.ticks_ms(), task.cancel)
        gate = self._gate
        if gate and not gate.admits(connection):
            await stream.wait_closed()
            return
        self._admit(self._connections, _CONNECTIONS_MAX, connection)
        try:
            if gate:
                gate.wrap(stream)
            try:
                response = await self._answer(connection, stream)
            except ValueError:
                response = _error(400)
            except asyncio.CancelledError:
                stream.write(b"HTTP/1.0 408 N/A\r\nContent-Length: 0\r\n\r\n")
                raise
            await response.write(connection)
            stream.write(connection.answer)
            await stream.drain()
            # Whoever closes first waits for late packets: the peer. And what it sent unread would lose it the answer.
            connection.left_ms = self._age_ms(connection) + _LINGER_MS
            await stream.read(_HEAD_MAX)
        except (asyncio.CancelledError, OSError):
            pass
        except Exception as error:  # noqa: BLE001
            self._events.fault("http", error)
        finally:
            if connection in self._connections:
                self._connections.remove(connection)
            if gate and connection.left_ms == _HEAD_MS:
                gate.failed(connection)
            await stream.wait_closed()
            if gate:
                stream.get_extra_info("socket").close()

    async def _answer(self, connection: Guest, stream) -> Response:
        """Read one request within its bounds and have it answered; ValueError if it is none."""
        data = b""
        headers = None
        method = path = ""
        size = end = 0
        while headers is None or len(data) < end + size:
            more = await stream.read(_HEAD_MAX)
            if not more:
                raise ValueError
            data += more
            if headers is not None:
                continue
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 or end > _HEAD_MAX:
                if len(data) >= _HEAD_MAX:
                    return _error(431)
                continue
            connection.left_ms = _TOTAL_MS
            lines = data[: end - 4].decode().split("\r\n")
            method, path, _ = lines[0].split(" ")
            headers = {}
            for line in lines[1:]:
                name, _, value = line.partition(":")
                name = name.lower()
                if name in headers:
                    raise ValueError
                headers[name] = value.strip()
            if "transfer-encoding" in headers or (method == "POST" and "content-length" not in headers):
                return _error(411)
            size = int(headers.get("content-length", 0))
            if not 0 <= size <= _BODY_MAX:
                return _error(413)
        body = data[end : end + size]
        return await self._app.dispatch_request(Request(self._app, connection.peer, method, path, "1.1", headers, body))

    def _handle(self, request: Request):
        """Answer one request that microdot has found a route for."""
        op = _PATHS.index(request.path[4:])
        peer: "Any" = request.client_addr
        headers = request.headers
        body = request.body
        kind = headers.get("content-type" if body else "accept", "")
        is_cbor = "/cbor" in kind
        if body and not is_cbor and "/json" not in kind:
            return {}, 415
        key = headers.get("vitrine-session")
        headers = {}
        session = None
        for guest in self._sessions:
            if guest.key == key and guest.peer == peer:
                session = guest
        if not session:
            if key or _HELLO < op < _COURIER:
                return {}, 440
            channel = self._dispatch.channel(_LINK_HTTP, peer)
            session = Guest(peer, self._clock.ticks_ms(), channel.close)
            session.channel = channel
            if op == _HELLO:
                self._admit(self._sessions, _SESSIONS_MAX, session)
                headers["Vitrine-Session"] = session.key = binascii.hexlify(self._dispatch.random_bytes(8)).decode()
        channel = session.channel
        try:
            if body and not is_cbor:
                try:
                    body = _from_json(op, body)
                except ValueError:
                    body = b"\xff"  # to be counted as what it is
            data = channel.handle(bytes((0x83, op, 0)) + (body or b"\xf6"))
            status = data[2]
            body = data[3:]
            if is_cbor:
                headers["Content-Type"] = "application/cbor"
            else:
                names = _REFUSED if status and op not in (_COMMAND, _UPDATE) else _ANSWERS[op]
                body = _to_json(cbor.decode(body, _ANSWER_BOUND), names.split()) or {}
        except Exception as error:  # noqa: BLE001
            self._events.fault("http", error)
            status, body = 4, {}
        session.left_ms = min(_SESSION_MS, self._age_ms(session) + _IDLE_MS)
        if not session.key or channel.is_exhausted:
            session.key = 0  # no name any more: nobody comes back to it
            channel.close()
        if status == 2:
            headers["Retry-After"] = "5"
        return body, (200, 403, 503, 400, 500)[status], headers


def _error(code: int) -> Response:
    body: "Any" = {}
    return Response(body, code)


def _from_json(op: int, body: bytes) -> bytes:
    """Return the CBOR of a JSON request's body; ValueError if it is none."""
    message = json.loads(body) or {}
    if type(message) is not dict:
        raise ValueError
    names = _FIELDS[op].split()
    fields = {}
    for name, value in message.items():
        if type(value) is str:
            text = value.replace("-", "+").replace("_", "/") + "=="
            value = binascii.a2b_base64(text)  # pyright: ignore[reportAttributeAccessIssue]
        fields[names.index(name) + 1] = value
    return cbor.encode(fields.get(1) if len(names) == 1 else fields if fields or op == _UPDATE else None)


def _to_json(value, names) -> "Any":
    """Return a decoded value as JSON has it: `names` in place of a map's keys, bytes in base64url."""
    if type(value) is bytes:
        text = binascii.b2a_base64(value)  # pyright: ignore[reportAttributeAccessIssue]
        return text.decode().rstrip("=\n").replace("+", "-").replace("/", "_")
    if type(value) is list:
        return [_to_json(item, names) for item in value]
    if type(value) is dict:
        return {names[key - 1]: _to_json(value[key], names) for key in value}
    return value
