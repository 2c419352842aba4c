"""A phone's session over HTTP (SPEC.md section 15): what phone.Phone does over BLE, request by request.

What a lock answers is input from a stranger, whatever it is reached by: its size and its time are bounded here.
"""

import asyncio
import http.client
import ssl
from typing import Any
from urllib.parse import urlsplit

from . import cbor, names, protocol
from .errors import LinkError, ToolError
from .phone import Limits, NoTransport, Phone
from .protocol import Op, ProtocolError, Status

PORT = 80
CBOR = "application/cbor"
STATUSES = {200: Status.OK, 403: Status.REFUSED, 503: Status.BUSY, 400: Status.MALFORMED}
SESSION_GONE = 440
GETS = frozenset({Op.HELLO, Op.STATUS, Op.FRESH})
_SESSION = "Vitrine-Session"


class HttpPhone(Phone):
    """A session with the lock `lock_id` at `url` (http://host[:port], or https with `ca`, a file of certificates)."""

    def __init__(self, url: str, lock_id: str, limits: Limits | None = None, ca: str | None = None) -> None:
        super().__init__(NoTransport(), lock_id, limits)
        self._scheme, self._host, self._port = parse_url(url)
        self._tls = None
        if self._scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca)
            except OSError as error:
                raise ToolError(f"cannot use the certificates in {ca} ({error.strerror or error})") from error
        self._session: str | None = None

    async def ask(self, op: int, body: Any = None) -> tuple[Status, Any]:
        """Send one request and return (status, body) of its answer; LinkError or ProtocolError."""
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(self._limits.answer_s):
                    code, session, data = await asyncio.to_thread(self._exchange, Op(op), body)
            except TimeoutError:
                raise LinkError(f"the lock did not answer within {self._limits.answer_s:g} s") from None
            except http.client.HTTPException as error:
                raise ProtocolError(f"an answer that is not HTTP ({type(error).__name__})") from None
            except OSError as error:
                raise LinkError(f"{self._host}:{self._port}: {error.strerror or error}") from None
        if code == SESSION_GONE:
            raise LinkError("the lock has ended the session")
        if code not in STATUSES:
            raise ProtocolError(f"an answer with HTTP status {code}")
        self._session = session or self._session
        return STATUSES[code], data

    def _exchange(self, op: Op, body: Any) -> tuple[int, str | None, Any]:
        """Do one request on a connection of its own; return (HTTP status, session, body)."""
        timeout_s = self._limits.answer_s
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)
            if self._tls
            else http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        )
        headers = {"Accept": CBOR} | ({_SESSION: self._session} if self._session else {})
        method, data = "GET", None
        if op not in GETS:
            method, data, headers["Content-Type"] = "POST", cbor.encode(body), CBOR
        try:
            connection.request(method, f"/v1/{op.name.lower()}", data, headers)
            answer = connection.getresponse()
            content = answer.read(protocol.MAX_ANSWER + 1)
        finally:
            connection.close()
        session = answer.headers.get(_SESSION)
        if answer.status not in STATUSES or answer.headers.get_content_type() != CBOR:
            return answer.status, session, None
        try:
            return answer.status, session, cbor.decode(content, protocol.MAX_ANSWER)
        except cbor.CborError as error:
            raise ProtocolError(f"an answer that is not CBOR as it must be: {error}") from None


def parse_url(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port) of a lock's address; ToolError if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ToolError(f"{url} is not a lock's address: give http://HOST or http://HOST:PORT, or https://")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else PORT)


async def find(name: str, timeout_s: float, *, is_tls: bool = False) -> str:
    """Return the URL of the lock that is called `name` (or NAME:PORT) in the local network."""
    host, _, port = name.partition(":")
    host = names.check_lock_id(host.removesuffix(".local"))
    url = f"http{'s' if is_tls else ''}://{await resolve(host, timeout_s)}"
    return f"{url}:{port}" if port else url


async def resolve(name: str, timeout_s: float, interfaces: list[str] | None = None) -> str:
    """Ask the local network (mDNS, RFC 6762) for the IPv4 address of `name`.local; LinkError if nobody answers."""
    from zeroconf import AddressResolverIPv4, InterfaceChoice, IPVersion  # pyright: ignore[reportPrivateImportUsage]
    from zeroconf.asyncio import AsyncZeroconf

    try:
        network = AsyncZeroconf(interfaces=interfaces or InterfaceChoice.All)
    except OSError as error:
        raise LinkError(f"no local network to ask in ({error.strerror or error})") from None
    try:
        resolver = AddressResolverIPv4(f"{name}.local.")
        if not await resolver.async_request(network.zeroconf, timeout_s * 1000):
            raise LinkError(f"nobody in the local network is called {name}.local")
        return str(resolver.ip_addresses_by_version(IPVersion.V4Only)[0])
    finally:
        await network.async_close()
