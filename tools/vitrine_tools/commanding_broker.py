"""Commands over a broker, to locks that are connected to it, and the time for locks that ask (SPEC.md section 10)."""

import asyncio
import contextlib
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Final

import aiomqtt

from . import commanding, keys, names
from .collector.broker import Broker
from .commanding import Answer, Command, Envelope
from .errors import LinkError, ToolError
from .protocol import ProtocolError

CONNECT_S: Final = 10.0
_VALID_S: Final = 300
_MAX_FRESH: Final = 256
_LEAST_PAUSE_S: Final = 10.0  # between two statements for one lock: it asks every four minutes
_LOCKS_MAX: Final = 100_000
_CNONCE = re.compile(r"[0-9a-f]{32}")


@contextlib.asynccontextmanager
async def connected(broker: Broker) -> AsyncIterator[aiomqtt.Client]:
    """A connection to `broker`; LinkError if there is none, or when it breaks."""
    client = aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.user,
        password=broker.password,
        tls_context=broker.tls,
        identifier=f"vitrine-command-{secrets.token_hex(4)}",
        timeout=CONNECT_S,
    )
    try:
        async with client:
            yield client
    except (aiomqtt.MqttError, OSError) as error:
        raise LinkError(f"the broker {broker}: {' '.join(str(error).split())}") from error


@dataclass
class BrokerCarrier:
    """The way to a lock over a connected client. Commands get an end, as no nonce of the lock is at hand."""

    client: aiomqtt.Client
    lock_id: str
    timeout_s: float
    valid_s: int = _VALID_S
    _is_subscribed: bool = field(default=False, init=False)

    async def bound(self, command: Command) -> Command:
        """Return `command` with an end."""
        return replace(command, exp_s=int(time.time()) + self.valid_s)

    async def send(self, envelope: Envelope) -> Answer:
        """Publish it, and wait for the result that has its id."""
        if not self._is_subscribed:
            await self.client.subscribe(f"vitrine/{self.lock_id}/result", qos=1)
            self._is_subscribed = True
        await self.client.publish(f"vitrine/{self.lock_id}/command", envelope.data, qos=1, retain=False)
        try:
            async with asyncio.timeout(self.timeout_s):
                async for message in self.client.messages:
                    answer = self._answer(message, envelope.command.id)
                    if answer is not None:
                        return answer
        except TimeoutError:
            pass
        raise LinkError(
            f"no result within {self.timeout_s:g} s: is {self.lock_id} connected, and does it trust this key?"
        )

    def _answer(self, message: aiomqtt.Message, command_id: bytes) -> Answer | None:
        if not message.topic.matches(f"vitrine/{self.lock_id}/result") or not isinstance(message.payload, bytes):
            return None
        try:
            result_id, answer = commanding.read_result(message.payload)
        except ProtocolError:
            return None
        return answer if result_id == command_id else None


async def send_to_group(client: aiomqtt.Client, group: str, envelope: Envelope, timeout_s: float) -> dict[str, Answer]:
    """Publish it for all locks of `group`; return the answer of each lock that gives one within the time."""
    await client.subscribe("vitrine/+/result", qos=1)
    await client.publish(f"vitrine/{group.replace(':', '/')}/command", envelope.data, qos=1, retain=False)
    answers: dict[str, Answer] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            async for message in client.messages:
                answer = read_message(message)
                if answer is not None and answer[1] == envelope.command.id and len(answers) < _LOCKS_MAX:
                    answers.setdefault(answer[0], answer[2])
    return answers


def read_message(message: aiomqtt.Message) -> tuple[str, bytes, Answer] | None:
    """Return (lock, id of the command, answer) if `message` is a lock's result, and not one of old."""
    parts = str(message.topic).split("/")
    if message.retain or len(parts) != 3 or parts[2] != "result" or not isinstance(message.payload, bytes):
        return None
    try:
        return names.check_lock_id(parts[1]), *commanding.read_result(message.payload)
    except (ProtocolError, ToolError):
        return None


class TimeServer:
    """Answers every nonce that a lock publishes with a statement of the time, signed by `issuer`.

    `say` takes one line for a person. A broker can hold a statement back, but not for long: the lock takes half the age
    of its nonce as the error, and none that is older than 300 s.
    """

    def __init__(self, broker: Broker, issuer: keys.PrivateKey, say: Callable[[str], None]) -> None:
        self._broker = broker
        self._issuer = issuer
        self._say = say
        self._last: dict[str, float] = {}
        self.served = 0
        self.is_subscribed = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled, over every loss of the broker."""
        pause_s = 1.0
        while True:
            try:
                async with connected(self._broker) as client:
                    await client.subscribe("vitrine/+/fresh", qos=1)
                    self._say(f"telling the time at {self._broker}")
                    self.is_subscribed.set()
                    pause_s = 1.0
                    async for message in client.messages:
                        await self._serve(client, message)
            except LinkError as error:
                self._say(f"{error}; next try in {pause_s:.0f} s")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 60.0)
            finally:
                self.is_subscribed.clear()

    async def _serve(self, client: aiomqtt.Client, message: aiomqtt.Message) -> None:
        # a retained nonce is an old one
        if message.retain or not isinstance(message.payload, bytes) or len(message.payload) > _MAX_FRESH:
            return
        lock_id = str(message.topic).split("/")[1]
        cnonce = _cnonce(message.payload)
        now_s = time.monotonic()
        if cnonce is None or now_s - self._last.get(lock_id, -_LEAST_PAUSE_S) < _LEAST_PAUSE_S:
            return
        try:
            names.check_lock_id(lock_id)
            # last thing before it goes out: its time is to be the one now
            envelope = commanding.sign(commanding.time_statement(lock_id, cnonce, time.time()), self._issuer)
        except ToolError as error:
            self._say(f"no time for {lock_id}: {error}")
            return
        if len(self._last) >= _LOCKS_MAX:
            self._last.clear()
        self._last[lock_id] = now_s
        await client.publish(f"vitrine/{lock_id}/command", envelope.data, qos=1, retain=False)
        self.served += 1
        self._say(f"told {lock_id} the time")


def _cnonce(payload: bytes) -> bytes | None:
    try:
        fields = json.loads(payload)
    except ValueError:
        return None
    text = fields.get("cnonce") if isinstance(fields, dict) else None
    return bytes.fromhex(text) if isinstance(text, str) and _CNONCE.fullmatch(text) else None
