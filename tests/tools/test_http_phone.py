"""`vitrine unlock` over the network: what it makes of every answer and of none; names by mDNS."""

import socket
import threading

import pytest
from zeroconf import ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from support.http_client import free_port
from vitrine_tools import cbor, cli, http_phone, tokens
from vitrine_tools.errors import LinkError, ToolError
from vitrine_tools.http_phone import HttpPhone, parse_url
from vitrine_tools.keys import PrivateKey
from vitrine_tools.phone import Limits
from vitrine_tools.protocol import ProtocolError, Status

HOLDER = PrivateKey.from_seed(b"h" * 32)
ISSUER = PrivateKey.from_seed(b"i" * 32)


class Server:
    """Answers every connection on loopback with the same bytes."""

    def __init__(self, answer: bytes):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked = []
        self._answer = answer
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                asked = b""
                while not asked.endswith(b"\xf6" if asked.startswith(b"POST") else b"\r\n\r\n"):
                    asked += connection.recv(4096)
                self.asked.append(asked)
                connection.sendall(self._answer)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def serve():
    servers = []

    def start(answer: bytes) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def answer(code: int, body: bytes = b"", kind: str = "application/cbor") -> bytes:
    return f"HTTP/1.0 {code} N/A\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("code", "status"), [(200, Status.OK), (403, Status.REFUSED), (503, Status.BUSY), (400, Status.MALFORMED)]
)
async def test_statuses(serve, code, status):
    server = serve(answer(code, cbor.encode({1: 5})))
    assert await HttpPhone(f"http://127.0.0.1:{server.port}", "case-12").ask(4) == (status, {1: 5})
    assert server.asked[0].startswith(b"POST /v1/identify HTTP/1.1\r\n") and server.asked[0].endswith(b"\xf6")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer(440), LinkError),
        (answer(500), ProtocolError),
        (answer(302), ProtocolError),
        (answer(200, b"\xff"), ProtocolError),
        (answer(200, bytes(5000)), ProtocolError),
        (b"", (LinkError, ProtocolError)),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", ProtocolError),
        (b"HTTP/1.0 200 OK\r\n" + b"a: b\r\n" * 5000, ProtocolError),
        (b"\xff" * 70_000, ProtocolError),
    ],
)
async def test_answers_that_are_none(serve, said, error):
    server = serve(said)
    with pytest.raises(error):
        await HttpPhone(f"http://127.0.0.1:{server.port}", "case-12").hello()


async def test_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(LinkError, match=r"within 0\.1 s|timed out"):
            await HttpPhone(f"http://127.0.0.1:{port}", "case-12", Limits(answer_s=0.1)).hello()
    with pytest.raises(LinkError, match="refused"):
        await HttpPhone(f"http://127.0.0.1:{port}", "case-12").hello()


def test_addresses():
    assert parse_url("http://192.0.2.1") == ("http", "192.0.2.1", 80)
    assert parse_url("https://case-12.local/") == ("https", "case-12.local", 443)
    assert parse_url("http://[::1]:8080") == ("http", "::1", 8080)
    for url in ("192.0.2.1", "ftp://192.0.2.1", "http://", "http://a:b", "http://a:99999", "http://a/v1", "http://a?b"):
        with pytest.raises(ToolError, match="not a lock's address"):
            parse_url(url)


async def test_a_name_in_the_local_network():
    loopback = ["127.0.0.1"]
    try:
        responder = AsyncZeroconf(interfaces=loopback)
    except OSError as error:
        pytest.skip(f"no multicast on loopback: {error}")
    try:
        address = socket.inet_aton("127.0.0.9")
        kind = "_http._tcp.local."
        info = ServiceInfo(kind, f"case-12.{kind}", port=80, addresses=[address], server="case-12.local.")
        await responder.async_register_service(info)
        assert await http_phone.resolve("case-12", 5, loopback) == "127.0.0.9"
        with pytest.raises(LinkError, match=r"called case-13\.local"):
            await http_phone.resolve("case-13", 0.3, loopback)
    finally:
        await responder.async_close()


async def test_find_gives_an_url(monkeypatch):
    async def resolve(name, timeout_s):
        assert name == "case-12"
        return "192.0.2.1"

    monkeypatch.setattr(http_phone, "resolve", resolve)
    assert await http_phone.find("case-12", 1) == "http://192.0.2.1"
    assert await http_phone.find("case-12.local:8443", 1, is_tls=True) == "https://192.0.2.1:8443"
    with pytest.raises(ToolError):
        await http_phone.find("evil/../name", 1)


@pytest.fixture
def unlock(tmp_path, monkeypatch, capsys):
    claims = tokens.Claims.for_holder(HOLDER.public, ("case-12",), now_s=1_800_000_000, valid_s=60)
    (tmp_path / "token.cbor").write_bytes(tokens.issue(claims, ISSUER))
    HOLDER.save(tmp_path / "holder.pem")
    monkeypatch.chdir(tmp_path)

    def run(*words):
        command = "vitrine unlock --lock case-12 --token token.cbor --key holder.pem"
        monkeypatch.setattr("sys.argv", [*command.split(), *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def test_every_failure_is_one_line(unlock, serve):
    for words in (
        ["--http", f"http://127.0.0.1:{free_port()}"],
        ["--http", f"http://127.0.0.1:{serve(answer(500)).port}"],
        ["--http", f"http://127.0.0.1:{serve(b'junk').port}"],
        ["--http", "nowhere"],
        ["--http", "https://127.0.0.1", "--ca", "nothing.pem"],
        ["--http", "http://a", "--mdns", "b"],
        ["--mdns", "UPPER"],
    ):
        status, out, err = unlock(*words)
        assert status == 2 and out == "" and err.count("\n") == 1 and "unexpected" not in err, (words, err)
