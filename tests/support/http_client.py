"""A lock's HTTP as a client writes it, byte by byte if need be: requests, answers, and a lock that listens."""

import asyncio
import json
import socket
from dataclasses import dataclass

from vitrine_tools import cbor

LIMIT_S = 10


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def network_blob(port: int | None, more: dict[int, bytes] | None = None) -> bytes:
    """The blob `network` of SPEC.md section 14; `more`: further fields by key."""
    fields = {1: 1, 2: b"Store", 3: "correct horse"} | ({} if port is None else {4: port})
    return cbor.encode(fields | (more or {}))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, *, to_end: bool) -> bytes:
    """Send these bytes and return what comes back: all until the lock ends it, or what Content-Length says."""
    try:
        writer.write(data)
        if to_end:
            return await reader.read()
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        return head + await reader.readexactly(length)
    finally:
        writer.close()


async def exchange(port: int, data: bytes) -> bytes:
    """Send these bytes on a connection of their own and return all that comes back until the lock ends it."""
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await converse(reader, writer, data, to_end=True)
        except ConnectionResetError:
            return b""


def parse(data: bytes) -> Answer:
    """One whole answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    assert line.startswith("HTTP/1."), data
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert len(body) == int(headers["content-length"])
    return Answer(int(line.split()[1]), headers, body)


def request(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """One request as bytes; `content_type` is sent as Content-Type."""
    fields = {"Host": "lock"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")


async def ask(
    port: int, method: str, path: str, body: bytes | None = None, *, source: str = "127.0.0.1", **headers: str
) -> Answer:
    """Send one request and return its answer. Reads what Content-Length says and closes, as clients do."""
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        return parse(await converse(reader, writer, request(method, path, body, **headers), to_end=False))
