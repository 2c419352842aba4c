"""Holds every message of a test to its schema: frames over each link, what locks publish at mosquitto.

A lock may not answer what its schema does not have; nor call a request malformed that fits, or take one that does not.
What the test itself publishes may be anything: only messages that it did not send are judged.
"""

import asyncio
import contextlib
import functools
import json
import os
import sys
from pathlib import Path

import aiomqtt
from jsonschema import Draft202012Validator

from support import client_tap
from support.http_client import parse
from vitrine_tools import cbor, protocol
from vitrine_tools.audit import sealed
from vitrine_tools.http_phone import STATUSES as _HTTP_STATUSES
from vitrine_tools.protocol import Op, Status
from vitrine_tools.schemas import openapi, payloads
from vitrine_tools.schemas.forms import project

_REQUEST_BOUND = protocol.MAX_REQUEST
_BODY_BOUND = 1152  # over HTTP (SPEC.md section 15)
_TEXTS = ("availability",)
_JSON = ("state", "fresh", "result")
_END_S = 0.5
_OPS = {f"/v1/{op.name.lower()}": op for op in Op}
_TAP_SITE = Path(__file__).resolve().parent / "tap_site"


@functools.cache
def validator(name):
    return Draft202012Validator(payloads.schema(name))


def misfit(name, value):
    """What is wrong with `value`, the JSON of a message, by the schema `name`; None if it fits."""
    if validator(name).is_valid(value):
        return None
    error = next(validator(name).iter_errors(value))
    return f"{name}: {error.message[:300]} in {str(value)[:300]}"


def cbor_misfit(name, data, bound=4096):
    """The same of CBOR bytes."""
    try:
        return misfit(name, project(cbor.decode(data, bound)))
    except cbor.CborError as error:
        return f"{name}: {error}"


def topic_misfit(kind, payload):
    """What is wrong with a message that a lock published as `kind`, all the way down; None if nothing is."""
    if kind in _TEXTS:
        return misfit(kind, payload.decode(errors="replace"))
    if kind in _JSON:
        try:
            return misfit(kind, json.loads(payload))
        except ValueError:
            return f"{kind}: not JSON: {payload[:80]!r}"
    return journal_misfit(payload) if kind == "journal" else None


def journal_misfit(data):
    """What is wrong with a batch or an acknowledgement."""
    wrong = cbor_misfit("journal", data)
    if wrong:
        return wrong
    message = sealed.read(data)
    if not isinstance(message, sealed.Batch):
        return None
    wrong = cbor_misfit("batch-content", message.content)
    for record in message.records:
        wrong = wrong or cbor_misfit("record", record.body, sealed.MAX_BODY)
    return wrong


class FrameTap:
    """The two directions of one connection."""

    def __init__(self, wrong):
        self._wrong = wrong
        self._requests = protocol.Assembler(_REQUEST_BOUND)
        self._answers = protocol.Assembler(protocol.MAX_ANSWER)
        self._pending = []  # (id, op, whether it fits) that wait for their answer
        self.is_blind = False  # chunks went out in a way that is not seen here

    def written(self, chunk):
        with contextlib.suppress(protocol.ProtocolError):
            message = self._requests.feed(chunk)
            if message is not None:
                self.asked(message)

    def notified(self, chunk):
        try:
            message = self._answers.feed(chunk)
        except protocol.ProtocolError as error:
            self._wrong.append(f"answer: {error}")
            return
        if message is not None:
            self.answered(message)

    def asked(self, message):
        self._pending.append(_request(message))

    def answered(self, message):
        try:
            self._wrong += self._misfits(cbor.decode(message, protocol.MAX_ANSWER))
        except cbor.CborError as error:
            self._wrong.append(f"answer: {error}")

    def _misfits(self, answer):
        answer_id, status, body = answer if isinstance(answer, list) and len(answer) == 3 else (None, None, None)
        place = next((n for n, pending in enumerate(self._pending) if pending[0] == answer_id), None)
        if place is None or self.is_blind:
            return _listed(misfit("answer", project(answer)))
        _, op, fits = self._pending[place]
        del self._pending[: place + 1]
        if answer_id == 0 and status in (Status.MALFORMED, Status.BUSY):
            fits = False  # it may be about chunks, or about a peer that is locked out
        elif body == {1: 20}:
            fits = False  # an unprovisioned lock looks at nothing
        elif (status == Status.MALFORMED) is fits:
            return [f"a request for {op!r} that {'fits' if fits else 'does not fit'} was answered {answer}"]
        return _listed(misfit(f"answer-{Op(op).name.lower()}" if fits else "answer", project(answer)))


def _listed(wrong):
    return [wrong] if wrong else []


def _request(message, bound=_REQUEST_BOUND):
    try:
        value = cbor.decode(message, bound)
    except cbor.CborError:
        return 0, None, False
    if not isinstance(value, list) or len(value) != 3 or type(value[1]) is not int or not 0 <= value[1] <= 0xFFFF:
        return 0, None, False
    op = value[0] if type(value[0]) is int and value[0] in Op.__members__.values() else None
    return value[1], op, op is not None and misfit(f"request-{Op(op).name.lower()}", project(value)) is None


def tap_frames(monkeypatch, wrong):
    """Have every BumblePhone's frames judged; what does not fit is added to `wrong`."""
    from vitrine_tools.emulator.bumble_link import BumblePhone

    connect_raw, write, write_command = BumblePhone.connect_raw, BumblePhone.write, BumblePhone.write_command

    class Queue(asyncio.Queue):
        def put_nowait(self, chunk):
            self.tap.notified(bytes(chunk))
            super().put_nowait(chunk)

    async def tapped_connect_raw(self, *args, **how):
        await connect_raw(self, *args, **how)
        self.chunks = Queue()
        self.chunks.tap = self.tap = FrameTap(wrong)

    async def tapped_write(self, handle, value):
        if self._request is not None and handle == self._request.handle:
            self.tap.written(bytes(value))
        else:
            self.tap.is_blind = True
        await write(self, handle, value)

    async def tapped_write_command(self, handle, value):
        self.tap.is_blind = True
        await write_command(self, handle, value)

    monkeypatch.setattr(BumblePhone, "connect_raw", tapped_connect_raw)
    monkeypatch.setattr(BumblePhone, "write", tapped_write)
    monkeypatch.setattr(BumblePhone, "write_command", tapped_write_command)


class NoteJudge:
    """Takes the notes of client_tap.py, in the order in which they were made in each process."""

    def __init__(self, wrong):
        self._wrong = wrong
        self._connections = {}

    def take(self, note):
        kind, *rest = note
        if kind in ("ble", "wire"):
            name, direction, data = rest
            tap = self._connections.setdefault(name, FrameTap(self._wrong))
            getattr(tap, direction)(bytes.fromhex(data))
        else:
            op, request, code, answer = rest
            body = cbor.decode(bytes.fromhex(request), _BODY_BOUND) if request else None
            self._wrong += exchange_misfits(op, body, code, bytes.fromhex(answer))


def exchange_misfits(op, body, code, answer):
    """What is wrong with one exchange over HTTP whose bodies are CBOR; `answer` is empty where it had none."""
    if code not in _HTTP_STATUSES or not answer:
        return []
    tap = FrameTap([])
    tap._pending.append(_request(cbor.encode([int(op), 1, body]), _BODY_BOUND + 8))
    return tap._misfits([1, int(_HTTP_STATUSES[code]), cbor.decode(answer, protocol.MAX_ANSWER)])


@functools.cache
def openapi_document():
    return openapi.document()


def _in_document(schema):
    return Draft202012Validator({**schema, "components": openapi_document()["components"]})


def json_misfits(method, path, body, code, answer):
    """What is wrong with one exchange in JSON, by the OpenAPI document; `body` is what was sent, or None."""
    operation = openapi_document()["paths"].get(path, {}).get(method.lower())
    if operation is None:
        return [] if code in (404, 405, 408, 431) else [f"{method} {path} was answered {code}"]
    described = operation["responses"].get(str(code))
    if described is None:
        return [f"{method} {path}: HTTP status {code} is not in the document"]
    try:
        value = json.loads(answer) if "content" in described else None
    except ValueError:
        return [f"{method} {path}: not JSON: {answer[:80]!r}"]
    errors = (
        [] if value is None else list(_in_document(described["content"][openapi.JSON]["schema"]).iter_errors(value))
    )
    wrong = [f"{method} {path} {code}: {error.message[:300]}" for error in errors[:1]]
    if code == 200 and body and "requestBody" in operation:
        asked = _in_document(operation["requestBody"]["content"][openapi.JSON]["schema"])
        if not asked.is_valid(json.loads(body)):
            wrong.append(f"{method} {path}: took a body that the document does not have")
    return wrong


def raw_misfits(request, data):
    """What is wrong with what the lock sent for these bytes; nothing is known of what is no request or no answer."""
    head, _, body = request.partition(b"\r\n\r\n")
    try:
        method, path, _ = head.decode().split("\r\n")[0].split(" ")
        answer = parse(data)
    except (ValueError, AssertionError, KeyError):
        return []
    kind = answer.headers.get("content-type", "")
    is_json_asked = b"/cbor" not in head.lower()
    if "/json" in kind:
        return json_misfits(method, path, body if is_json_asked else None, answer.status, answer.body)
    op = _OPS.get(path)
    if "/cbor" not in kind or op is None:
        return []
    try:
        asked = cbor.decode(body, _BODY_BOUND) if body else None
    except cbor.CborError:
        return [] if answer.status == 400 else [f"{path}: took what is no CBOR"]
    return exchange_misfits(op, asked, answer.status, answer.body)


def tap_clients(monkeypatch, wrong, notes):
    """Have bleak, HTTP and wires judged: this process's at once, programs' by their notes in `notes`, at `end`."""
    judge = NoteJudge(wrong)
    for name, wrap in client_tap.WRAPS.items():
        if name in sys.modules:
            for owner, attribute, function in wrap(sys.modules[name], judge.take):
                monkeypatch.setattr(owner, attribute, function)
    if "support.http_client" in sys.modules:
        _tap_test_client(monkeypatch, sys.modules["support.http_client"], wrong)
    monkeypatch.setenv("VITRINE_TAP", str(notes))
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", str(_TAP_SITE) + (os.pathsep + path if path else ""))

    def end():
        for line in notes.read_text().splitlines() if notes.exists() else ():
            judge.take(json.loads(line))

    return end


def _tap_test_client(monkeypatch, client, wrong):
    converse = client.converse

    async def tapped(reader, writer, data, **how):
        answer = await converse(reader, writer, data, **how)
        wrong.extend(raw_misfits(data, answer))
        return answer

    monkeypatch.setattr(client, "converse", tapped)


def tap_topics(monkeypatch, wrong):
    """Have what locks publish at each mosquitto judged; what does not fit is added to `wrong`."""
    from vitrine_tools.demo.brokers import Mosquitto

    start, stop, publish = Mosquitto.start, Mosquitto.stop, aiomqtt.Client.publish
    own = set()
    taps = {}

    async def noted_publish(self, topic, payload=None, *args, **how):
        data = payload.encode() if isinstance(payload, str) else bytes(payload or b"")
        own.add((topic, data))
        await publish(self, topic, payload, *args, **how)

    async def listen(broker, is_listening):
        address = broker.client("intruder")
        with contextlib.suppress(aiomqtt.MqttError, OSError):  # the broker ends before we do
            async with aiomqtt.Client(address.host, address.port, tls_context=address.tls, timeout=10) as client:
                await client.subscribe("vitrine/+/+", qos=1)
                is_listening.set()
                async for message in client.messages:
                    topic, payload = str(message.topic), bytes(message.payload)
                    problem = topic_misfit(topic.rpartition("/")[2], payload) if payload else None
                    if problem and (topic, payload) not in own:
                        wrong.append(f"{topic}: {problem}")
        is_listening.set()

    async def tapped_start(self):
        await start(self)
        is_listening = asyncio.Event()
        taps[self] = asyncio.create_task(listen(self, is_listening))
        await is_listening.wait()

    async def tapped_stop(self):
        await stop(self)
        task = taps.pop(self, None)
        if task is not None:
            # it reads what has come, and ends with the connection
            await asyncio.wait({task}, timeout=_END_S)
            task.cancel()

    monkeypatch.setattr(aiomqtt.Client, "publish", noted_publish)
    monkeypatch.setattr(Mosquitto, "start", tapped_start)
    monkeypatch.setattr(Mosquitto, "stop", tapped_stop)
