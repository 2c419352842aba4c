"""The HTTP link without a network: the vectors of BLE pass over it, in CBOR and in JSON, and its bounds hold."""

import asyncio
import binascii
import json

from support.session_lab import Lab, case
from vitrine.codec import cbor
from vitrine.links.http import HttpLink

HELLO, PRESENT, ACT = 0, 1, 2
STATUSES = {200: 0, 403: 1, 503: 2, 400: 3}
ALL = (
    "valid",
    "hold",
    "expired",
    "early",
    "elsewhere",
    "forged",
    "stolen",
    "other_nonce",
    "other_lock",
    "needs_uv",
    "needs_scope",
)


class Settings:
    http_port = 80
    certificate = key = None


class Stream:
    """A connection whose peer has sent `pieces`, and then closed its side; `answer` is what came back."""

    def __init__(self, pieces, address="192.0.2.7"):
        self.pieces = list(pieces)
        self.address = address
        self.answer = b""
        self.closed = False

    def get_extra_info(self, name):
        assert name == "peername"
        return self.address, 40000

    async def read(self, size):
        await asyncio.sleep(0)
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]

    def write(self, data):
        self.answer += data

    async def drain(self):
        pass

    async def wait_closed(self):
        self.closed = True


class Client:
    """One lock on the network, and a peer that speaks in `form`."""

    def __init__(self, form="json", address="192.0.2.7", **options):
        self.lab = Lab(is_same_nonce=True, **options)
        self.faults = []
        self.link = HttpLink(self.lab.dispatch, self, Settings, "0.0.0.0")
        self.form = form
        self.address = address
        self.session = None

    def fault(self, name, error):
        self.faults.append((name, type(error)))

    def send(self, data, address=None):
        """Send bytes on a connection; return (HTTP status, headers, body)."""
        stream = Stream(data if type(data) is list else [data], address or self.address)
        asyncio.run(self.link._serve(stream, stream))
        assert stream.closed and not self.link._connections
        head, _, body = stream.answer.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.split(": ") for line in lines[1:])
        assert int(headers["Content-Length"]) == len(body)
        return int(lines[0].split()[1]), headers, body

    def ask(self, name, body=None, **more):
        """One request; return (status of SPEC.md section 3, body) with the body decoded."""
        method = "GET" if name in ("hello", "status", "fresh") else "POST"
        lines = [f"{method} /v1/{name} HTTP/1.1", "Accept: application/" + self.form]
        data = b""
        if method == "POST":
            data = json.dumps(body).encode() if self.form == "json" else cbor.encode(body)
            lines += ["Content-Type: application/" + self.form, f"Content-Length: {len(data)}"]
        if self.session:
            lines.append("Vitrine-Session: " + self.session)
        code, headers, answer = self.send(("\r\n".join(lines) + "\r\n\r\n").encode() + data, **more)
        self.session = headers.get("Vitrine-Session", self.session)
        if code not in STATUSES:
            return code, None
        return STATUSES[code], cbor.decode(answer, 512) if self.form == "cbor" else json.loads(answer)

    def attempt(self, name, action=1):
        """hello, present, act with a case of the vectors; return (present's status, act's status, reason or None)."""
        token, proof = case(name)
        assert self.ask("hello")[0] == 0
        if self.form == "cbor":
            presented = self.ask("present", token)
            acted = self.ask("act", {1: action, 2: False, 3: proof})
            return presented[0], acted[0], acted[1].get(1)
        presented = self.ask("present", {"token": text(token)})
        acted = self.ask("act", {"action": action, "uv": False, "proof": text(proof)})
        return presented[0], acted[0], acted[1].get("reason")


def text(data):
    return binascii.b2a_base64(data).decode().strip().replace("=", "").replace("+", "-").replace("/", "_")


def over_ble(name, action):
    lab = Lab()
    channel = lab.channel()
    token, proof = case(name)
    assert lab.ask(channel, HELLO)[0] == 0
    presented = lab.ask(channel, PRESENT, token)
    acted = lab.ask(channel, ACT, {1: action, 2: False, 3: proof})
    return (presented[0], acted[0], acted[1].get(1)), lab.door.moves, lab.events.reasons()


def test_the_vectors_pass_as_over_ble():
    outcomes = set()
    for name in ALL:
        action = 128 if name == "hold" else 1
        expected, moves, records = over_ble(name, action)
        outcomes.add(expected)
        for form in ("cbor", "json"):
            client = Client(form)
            assert client.attempt(name, action) == expected, (name, form)
            assert client.lab.door.moves == moves and client.lab.events.reasons() == records, (name, form)
            assert client.faults == []
    assert len(outcomes) > 4  # the vectors do differ


def test_names_in_json_are_those_of_the_keys_in_cbor():
    client = Client("json")
    _, hello = client.ask("hello")
    assert set(hello) == {"lock", "version", "nonce", "time", "audit"} and hello["lock"] == "case-12"
    assert hello["audit"] == [0, text(bytes(32))]
    token, proof = case("valid")
    _, presented = client.ask("present", {"token": text(token)})
    assert list(presented) == ["hash"] and len(presented["hash"]) == 43
    _, acted = client.ask("act", {"uv": False, "action": 1, "proof": text(proof)})
    assert set(acted) == {"nonce", "lock_state", "door_state"}
    _, state = client.ask("status")
    assert state == {"lock": "case-12", "lock_state": 2, "door_state": 1, "time": 1}
    assert client.ask("identify", None) == (0, {})
    assert client.ask("identify", None) == (2, {}) and client.lab.identified == 1
    assert set(client.ask("fresh")[1]) == {"cnonce", "time"}


def test_a_session_is_its_peers_alone():
    client = Client("cbor")
    client.ask("hello")
    token, proof = case("valid")
    assert client.ask("present", token, address="192.0.2.8") == (440, None)
    assert client.ask("present", token)[0] == 0
    client.session = "0" * 16
    assert client.ask("act", {1: 1, 2: False, 3: proof}) == (440, None)
    assert client.lab.door.moves == []


def test_without_a_session_only_what_needs_none():
    for name, body in (("present", b"x"), ("act", {}), ("identify", None), ("status", None)):
        assert Client("cbor").ask(name, body) == (440, None), name
    client = Client("cbor")
    assert client.ask("fresh")[0] == 0
    assert client.ask("command", b"x") == (1, None)
    assert client.ask("courier", {2: bytes(16)}) == (1, None)
    assert client.ask("courier", {1: None}) == (1, None)
    assert client.lab.dispatch.sessions == 0  # nothing is kept of them


def test_a_session_ends_with_its_third_bad_request():
    client = Client("json")
    client.ask("hello")
    for body in ({"token": 5}, {"proof": ""}, [1]):
        assert client.ask("present", body) == (3, {})
    assert client.ask("present", {"token": ""}) == (440, None)
    assert client.lab.dispatch.sessions == 0


def test_json_that_is_no_request_is_malformed_and_nothing_else():
    bodies = (
        b"",
        b"{",
        b'{"token": }',
        b'{"token": [1]}',
        b'{"token": {"token": 1}}',
        b'{"token": 1.5}',
        b'{"token": 1' + b"0" * 300 + b"}",
        b'{"token": "a"}',
        b'{"other": "aaaa"}',
        b'{"action": "aaaa"}',
        b'"text"',
        b"\xff\xfe",
        b"[" * 900,
        b'{"token": "\xff"}',
        b"null",
    )
    for body in bodies:
        for name in ("present", "act", "courier", "command"):
            client = Client("json")
            client.ask("hello")
            head = f"POST /v1/{name} HTTP/1.1\r\nVitrine-Session: {client.session}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            code, _, _ = client.send(head.encode() + body)
            assert code == 400 and client.faults == [], (body, name)


def request(line, *headers):
    return "\r\n".join([line] + list(headers) + ["", ""]).encode()


def test_bounds():
    act, cbor_type = "POST /v1/command HTTP/1.1", "Content-Type: application/cbor"
    cases = (
        (404, request("GET /v1/nothing HTTP/1.1")),
        (404, request("GET / HTTP/1.1")),
        (405, request("PUT /v1/hello HTTP/1.1")),
        (405, request("GET /v1/present HTTP/1.1")),
        (411, request(act, cbor_type)),
        (411, request(act, cbor_type, "Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\n\r\n"),
        (411, request(act, cbor_type, "Transfer-Encoding: chunked", "Content-Length: 1") + b"a"),
        (413, request(act, cbor_type, "Content-Length: 1153")),
        (413, request(act, cbor_type, "Content-Length: 99999999999999999999999")),
        (413, request(act, cbor_type, "Content-Length: -1")),
        (400, request(act, cbor_type, "Content-Length: five")),
        (400, request(act, cbor_type, "Content-Length: 1", "Content-Length: 2") + b"ab"),
        (400, request(act, cbor_type, "Content-Length: 9") + b"short"),
        (415, request(act, "Content-Type: text/plain", "Content-Length: 1") + b"a"),
        (415, request(act, "Content-Length: 1") + b"a"),
        (431, request("GET /v1/hello HTTP/1.1", "X: " + "x" * 1000)),
        (431, b"G" * 5000),
        (400, b"GET /v1/hello\r\n\r\n"),
        (400, b"\xff\xfe\x00\r\n\r\n"),
        (400, b"\r\n\r\n"),
        (400, b""),
        (400, request("GET /v1/hello?a=%zz HTTP/1.1")),
        (400, request("GET /v1/hello HTTP/1.1 more")),
    )
    for code, data in cases:
        client = Client("cbor")
        assert client.send(data)[0] == code, (code, data[:60])
        assert client.send([data[i : i + 1] for i in range(len(data))])[0] == code, (code, data[:60])
        assert client.faults == [] and client.lab.dispatch.sessions == 0 and client.lab.verifications == 0


def test_405_says_what_is_allowed():
    assert "POST" in Client().send(request("GET /v1/act HTTP/1.1"))[1]["Allow"]
    assert "GET" in Client().send(request("DELETE /v1/hello HTTP/1.1"))[1]["Allow"]


def test_what_follows_the_request_is_not_looked_at():
    client = Client("json")
    hello = request("GET /v1/hello HTTP/1.1")
    assert client.send(hello * 50)[0] == 200
    assert client.lab.dispatch.sessions == 1


def test_a_fourth_session_takes_the_place_of_who_has_shown_least():
    client = Client("cbor")
    token, proof = case("valid")

    def begin(address):
        client.session = None
        client.link._dispatch.random_bytes = lambda size: bytes([len(names)]) * size
        assert client.ask("hello", address=address)[0] == 0
        names.append((client.session, address))

    def is_there(number):
        client.session, address = names[number]
        return client.ask("hello", address=address)[0] == 0

    names = []
    begin("192.0.2.1")
    assert client.ask("present", token, address="192.0.2.1")[0] == 0
    begin("192.0.2.2")
    begin("192.0.2.3")
    begin("192.0.2.4")  # in place of 2, the oldest with nothing to show
    assert [is_there(number) for number in range(4)] == [True, False, True, True]
    for _ in range(5):
        begin("192.0.2.4")  # who keeps asking pushes out nobody else
    assert is_there(0) and is_there(2)
    assert client.lab.dispatch.sessions == 3


def test_a_locked_out_address_is_told_to_wait():
    client = Client("cbor")
    for _ in range(4):
        client.session = None
        client.ask("hello")
        client.ask("present", case("valid")[0])
        assert client.ask("act", {1: 1, 2: False, 3: case("stolen")[1]})[0] == 1
    client.session = None
    code, headers, _ = client.send(request("GET /v1/fresh HTTP/1.1"))
    assert code == 503 and int(headers["Retry-After"]) > 0
    assert client.ask("fresh", address="192.0.2.9")[0] == 0
    assert client.ask("hello", address="192.0.2.9")[0] == 0


def test_an_exception_is_a_fault_and_a_500():
    client = Client("cbor")

    def breaks(now_ms):
        raise KeyError("secret")

    client.lab.freshness.issue = breaks
    assert client.ask("fresh") == (500, None)
    assert client.faults == [("http", KeyError)] and client.lab.dispatch.sessions == 0
