"""The taps: they hear what a lock publishes or answers, whoever asks it, and find what does not fit."""

import asyncio
import base64
import contextlib
import json
import subprocess

import pytest

from support.http_client import ask
from support.message_tap import exchange_misfits, json_misfits, raw_misfits, tap_clients
from support.mosquitto import Mosquitto, needs_mosquitto
from support.store import LOCK_ID, Store
from vitrine_tools import cbor, protocol
from vitrine_tools.audit import sealed
from vitrine_tools.ble.private_bus import PrivateBus
from vitrine_tools.commanding_broker import connected
from vitrine_tools.field.console_link import reach
from vitrine_tools.http_phone import HttpPhone
from vitrine_tools.protocol import Op, ProtocolError

from .test_bleak_unlock import VITRINE, Emulator, unlock_words, vitrine

pytestmark = pytest.mark.system

HELLO = {1: "case-12", 2: 1, 3: bytes(16), 4: 1, 5: [0, bytes(sealed.HEAD_SIZE)]}
AUDIT = base64.urlsafe_b64encode(bytes(sealed.HEAD_SIZE)).decode().rstrip("=")
JSON_HELLO = json.dumps({"lock": "case-12", "version": 1, "nonce": "A" * 22, "time": 1, "audit": [0, AUDIT]}).encode()
BAD_HELLO = base64.urlsafe_b64encode(cbor.encode([4, 0, {**HELLO, 9: 1}])).rstrip(b"=")


@needs_mosquitto
async def test_what_does_not_fit_at_the_broker_is_found(messages_fit, tmp_path):
    mosquitto = Mosquitto(tmp_path)
    await mosquitto.start()
    try:
        async with connected(mosquitto.client("case-7")) as lock:
            await lock.publish("vitrine/case-7/state", b"what a test publishes itself may be anything", qos=1)
            for topic, payload in (
                ("vitrine/case-7/availability", b"online"),
                ("vitrine/case-7/result", b'{"id": "0a0a0a0a0a0a0a0a", "reason": "Fine"}'),
                ("vitrine/case-7/journal", b"\x80"),
            ):
                lock._client.publish(topic, payload, qos=1)  # as another process would: past the tap's notes
            async with asyncio.timeout(10):
                while len(messages_fit) < 2:
                    await asyncio.sleep(0.01)
    finally:
        await mosquitto.stop()
    assert [line.partition(":")[0] for line in messages_fit] == ["vitrine/case-7/result", "vitrine/case-7/journal"]
    messages_fit.clear()


def head(kind, body, code=200):
    return f"HTTP/1.0 {code} OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def serving(answer, stack):
    """A server that answers everything so; returns its port."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stack.callback(server.close)
    return server.sockets[0].getsockname()[1]


def test_an_exchange_over_http_is_judged():
    good = cbor.encode(HELLO)
    assert exchange_misfits(Op.HELLO, None, 200, good) == []
    assert exchange_misfits(Op.HELLO, None, 408, b"") == []
    assert "answer-hello" in exchange_misfits(Op.HELLO, None, 200, cbor.encode({**HELLO, 9: 1}))[0]
    assert "fits" in exchange_misfits(Op.HELLO, None, 400, cbor.encode(None))[0]
    assert "does not fit" in exchange_misfits(Op.PRESENT, 5, 200, cbor.encode({1: bytes(32)}))[0]


def test_json_is_judged_by_the_document():
    assert json_misfits("GET", "/v1/hello", None, 200, JSON_HELLO) == []
    assert json_misfits("GET", "/v1/hello", None, 200, JSON_HELLO.replace(b"1", b'"1"'))
    assert json_misfits("GET", "/v1/hello", None, 418, b"{}")
    assert json_misfits("GET", "/v1/nothing", None, 404, b"") == []
    assert json_misfits("GET", "/v1/nothing", None, 200, b"{}")
    assert json_misfits("POST", "/v1/present", b'{"key": 1}', 200, b'{"hash": "AAAA"}')


def test_bytes_are_judged_where_they_are_an_exchange():
    request = b"GET /v1/hello HTTP/1.1\r\nHost: lock\r\n\r\n"
    assert raw_misfits(request, head("application/json", JSON_HELLO)) == []
    assert raw_misfits(request, head("application/json", b"{}"))
    assert raw_misfits(request, head("application/cbor", b"\xf6"))
    assert raw_misfits(b"garbage", b"garbage") == []


@pytest.mark.parametrize("where", ["this process", "the tests' own client", "a program"])
async def test_what_does_not_fit_over_http_is_found(monkeypatch, tmp_path, messages_fit, where):
    wrong = []
    end = tap_clients(monkeypatch, wrong, tmp_path / "notes")
    with contextlib.ExitStack() as stack:
        bad = head("application/cbor", cbor.encode({**HELLO, 9: 1}))
        url = f"http://127.0.0.1:{await serving(bad, stack)}"
        if where == "this process":
            with contextlib.suppress(ProtocolError):
                await HttpPhone(url, "case-12").hello()
        elif where == "the tests' own client":
            await ask(int(url.rpartition(":")[2]), "GET", "/v1/hello", Accept="application/cbor")
        else:
            words = ["unlock", "--lock", "case-12", "--http", url, "--token", "token", "--key", "holder.pem"]
            store = Store(tmp_path)
            (tmp_path / "token").write_bytes(store.token())
            store.holder.save(tmp_path / "holder.pem")
            process = await asyncio.create_subprocess_exec(*VITRINE, *words, cwd=tmp_path, stderr=subprocess.DEVNULL)
            await process.wait()
            assert wrong == []
        end()
    assert wrong[0].startswith("answer-hello: ")
    messages_fit.clear()  # the tests' own tap has found it as well


async def test_what_goes_over_the_wire_is_judged(monkeypatch, tmp_path, messages_fit):
    wrong, notes = [], tmp_path / "notes"
    end = tap_clients(monkeypatch, wrong, notes)
    store = Store(tmp_path)
    async with store.lock(virtual=False, console=tmp_path / "wire") as lock:
        await lock.wait_advertising()
        async with reach(tmp_path / "wire", LOCK_ID) as phone:
            assert (await phone.open(store.token(), store.holder)).is_granted
            monkeypatch.setattr(phone.wire, "lines", lambda _end_s: iter([b"<vitrine " + BAD_HELLO]))
            with contextlib.suppress(ProtocolError):
                await phone.hello()
    end()
    assert [line.partition(":")[0] for line in wrong] == ["answer-hello"]
    messages_fit.clear()


@pytest.mark.skipif(not PrivateBus.is_available(), reason="dbus-daemon is not installed (Debian: dbus)")
async def test_what_a_program_says_over_bleak_is_heard(monkeypatch, tmp_path):
    wrong, notes = [], tmp_path / "notes"
    end = tap_clients(monkeypatch, wrong, notes)
    emulator = Emulator(tmp_path / "lock")
    try:
        await emulator.start()
        assert (await vitrine(*unlock_words(emulator.folder)))[0] == 0
    finally:
        await emulator.stop()
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    assert {line[2] for line in lines if line[0] == "ble"} == {"written", "notified"}
    with notes.open("a") as file:
        for direction, message in (("written", [0, 7, None]), ("notified", [7, 0, {**HELLO, 9: 1}])):
            for chunk in protocol.split(cbor.encode(message), 247):
                file.write(json.dumps(["ble", "other", direction, chunk.hex()]) + "\n")
    end()
    assert [line.partition(":")[0] for line in wrong] == ["answer-hello"]
