"""Keeps Home Assistant up to date: discovery messages, events, and an answer to whoever presses "unlock" there.

The broker is transport: what comes over it, on whatever topic, is no authority. A plain UNLOCK is answered with an
explanation; only with a key of its own, and for locks that were named, does the bridge sign a command (SPEC.md 11.3).
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import aiomqtt

from .. import commanding, names
from ..collector.broker import Broker
from ..collector.store import StoreTrouble
from ..commanding import Answer, Command, Envelope
from ..commanding_broker import connected
from ..errors import LinkError, ToolError
from ..keys import PrivateKey
from ..protocol import Action, ProtocolError
from . import discovery
from .events import NewRecords

_LOCKS_MAX: Final = 10_000  # a broker that names more is making them up
_SETTLE_S: Final = 1.0
_POLL_S: Final = 1.0
_REQUEST_PAUSE_S: Final = 2.0
_VALID_S: Final = 60
_ACTIONS: Final = {b"LOCK": Action.LOCK, b"UNLOCK": Action.UNLOCK}
WORKS_FOR: Final = "a token on a phone, or a signed command, opens this lock"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the bridge does. `locks`: only these; empty: all that the broker knows. `key` with `allow`: it may sign."""

    prefix: str = discovery.PREFIX
    locks: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    release: str | None = None  # the version that locks could have
    key: PrivateKey | None = None
    allow: frozenset[str] = frozenset()
    timeout_s: float = 10.0


class Bridge:
    """Bridge(broker, options, say, new_records): `run` serves until cancelled. `say` takes one line for a person."""

    def __init__(
        self, broker: Broker, options: Options, say: Callable[[str], None], new_records: NewRecords | None = None
    ) -> None:
        self._broker = broker
        self._options = options
        self._say = say
        self._new_records = new_records
        self._locks: set[str] = set()
        self._requests: dict[str, float] = {}  # by lock: when the last one came
        self._waiting: dict[bytes, asyncio.Future[Answer]] = {}
        self.is_subscribed = asyncio.Event()

    async def run(self) -> None:
        """Serve, over every loss of the broker."""
        pause_s = 1.0
        while True:
            try:
                async with connected(self._broker) as client, asyncio.TaskGroup() as tasks:
                    self._locks.clear()
                    await self._subscribe(client)
                    self._say(f"showing locks of {self._broker} to Home Assistant")
                    self.is_subscribed.set()
                    pause_s = 1.0
                    if self._new_records is not None:
                        tasks.create_task(self._tell_events(client, self._new_records))
                    async for message in client.messages:
                        await self._take(client, message, tasks)
                    raise LinkError("the connection has ended")
            except* (LinkError, aiomqtt.MqttError) as errors:
                self._say(f"{_first(errors)}; next try in {pause_s:.0f} s")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 60.0)
            finally:
                self.is_subscribed.clear()

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        topics = ["vitrine/+/state", "vitrine/+/availability", f"{self._options.prefix}/status"]
        topics.append(f"{discovery.OWN}/+/command")
        if self._options.key is not None:
            topics.append("vitrine/+/result")
        for topic in topics:
            await client.subscribe(topic, qos=1)

    async def _take(self, client: aiomqtt.Client, message: aiomqtt.Message, tasks: asyncio.TaskGroup) -> None:
        topic, payload = str(message.topic), message.payload
        if not isinstance(payload, bytes):
            return
        if topic == f"{self._options.prefix}/status":
            if payload == b"online" and not message.retain:
                # Home Assistant has started: it may have lost what it knew
                await publish(client, self._options, sorted(self._locks))
            return
        lock_id = _lock(topic)
        if lock_id is None or (self._options.locks and lock_id not in self._options.locks):
            return
        kind = topic.rpartition("/")[2]
        if kind == "result":
            self._take_result(payload)
        elif kind == "command":
            if not message.retain:  # a retained one was pressed long ago
                tasks.create_task(self._answer(client, lock_id, payload))
        elif payload and lock_id not in self._locks and len(self._locks) < _LOCKS_MAX:
            self._locks.add(lock_id)
            await publish(client, self._options, [lock_id])
            self._say(f"{lock_id} is known to Home Assistant")

    async def _answer(self, client: aiomqtt.Client, lock_id: str, payload: bytes) -> None:
        """Answer what somebody asked for in Home Assistant."""
        now_s = time.monotonic()
        if now_s - self._requests.get(lock_id, -_REQUEST_PAUSE_S) < _REQUEST_PAUSE_S:
            return  # whoever presses again and again is answered once
        if len(self._requests) >= _LOCKS_MAX:
            self._requests.clear()
        self._requests[lock_id] = now_s
        action = _ACTIONS.get(payload)
        asked = payload.decode() if action is not None else "something unknown"
        if action is None:
            outcome = "refused: not a request of a lock entity"
        elif self._options.key is None:
            outcome = f"refused: {asked} by itself is no authority; {WORKS_FOR}"
        elif lock_id not in self._options.allow:
            outcome = f"refused: this lock is not one that may be opened from here; {WORKS_FOR}"
        else:
            outcome = await self._command(client, self._options.key, lock_id, action)
        self._say(f"{lock_id}: {asked} from Home Assistant {outcome}")
        notice = {"last_request": asked, "last_answer": outcome, "last_request_at": int(time.time())}
        with contextlib.suppress(aiomqtt.MqttError):  # then the connection's own end tells
            await client.publish(f"{discovery.OWN}/{lock_id}/notice", json.dumps(notice), qos=1)

    async def _command(self, client: aiomqtt.Client, key: PrivateKey, lock_id: str, action: Action) -> str:
        """Have the lock do it by a signed command; return what came of it."""
        carrier = _Carrier(client, lock_id, self._waiting, self._options.timeout_s)
        try:
            command = commanding.operation(action, (lock_id,), commanding.next_sequence())
            answer = await commanding.carry_out(carrier, key, command, is_sequence_free=True)
        except (LinkError, ToolError, aiomqtt.MqttError) as error:
            return f"sent, and not answered: {error}"
        return "done" if answer.is_done else f"refused by the lock: {answer.reason_name}"

    def _take_result(self, payload: bytes) -> None:
        try:
            command_id, answer = commanding.read_result(payload)
        except ProtocolError:
            return
        waiting = self._waiting.get(command_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def _tell_events(self, client: aiomqtt.Client, new_records: NewRecords) -> None:
        is_told = False
        while True:
            try:
                found = await asyncio.to_thread(new_records.take)
                is_told = False
            except StoreTrouble as trouble:
                found = []
                if not is_told:
                    self._say(f"the database does not answer: {trouble}")
                is_told = True
            for lock_id, event in found:
                if not self._options.locks or lock_id in self._options.locks:
                    await client.publish(f"{discovery.OWN}/{lock_id}/event", json.dumps(event), qos=1)
            await asyncio.sleep(_POLL_S)


@dataclass
class _Carrier:
    """The way to a lock over the bridge's own connection, which others read."""

    client: aiomqtt.Client
    lock_id: str
    waiting: dict[bytes, "asyncio.Future[Answer]"]
    timeout_s: float

    async def bound(self, command: Command) -> Command:
        """Return `command` with an end: soon, as whoever pressed does not wait long."""
        return replace(command, exp_s=int(time.time()) + _VALID_S)

    async def send(self, envelope: Envelope) -> Answer:
        """Publish it, and wait for the result that has its id."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.waiting[envelope.command.id] = answer
        try:
            await self.client.publish(f"vitrine/{self.lock_id}/command", envelope.data, qos=1, retain=False)
            async with asyncio.timeout(self.timeout_s):
                return await answer
        except TimeoutError:
            raise LinkError(
                f"no result within {self.timeout_s:g} s: is the lock connected, and trusts this key?"
            ) from None
        finally:
            del self.waiting[envelope.command.id]


async def publish(client: aiomqtt.Client, options: Options, locks: Iterable[str]) -> None:
    """Publish the discovery messages of `locks`, and what they could have, retained."""
    for lock_id in locks:
        message = json.dumps(discovery.message(lock_id, without=options.without))
        await client.publish(discovery.device_topic(lock_id, options.prefix), message, qos=1, retain=True)
        if options.release is not None:
            await client.publish(discovery.release_topic(lock_id), options.release, qos=1, retain=True)


async def publish_once(broker: Broker, options: Options) -> list[str]:
    """Publish discovery for the locks that are named, or else for those that the broker knows; return them."""
    async with connected(broker) as client:
        locks = set(options.locks) or await _known(client)
        await publish(client, options, sorted(locks))
    return sorted(locks)


async def remove(broker: Broker, options: Options) -> list[str]:
    """Take locks out of Home Assistant again: those that are named, or else all that this program published."""
    async with connected(broker) as client:
        locks = set(options.locks)
        if not locks:
            await client.subscribe(f"{options.prefix}/device/+/config", qos=1)
            for message in await _retained(client):
                lock_id = discovery.lock_of_topic(str(message.topic), options.prefix)
                if lock_id and isinstance(message.payload, bytes) and discovery.is_ours(message.payload):
                    locks.add(lock_id)
        for lock_id in sorted(locks):
            for topic in (discovery.device_topic(lock_id, options.prefix), discovery.release_topic(lock_id)):
                await client.publish(topic, b"", qos=1, retain=True)
    return sorted(locks)


async def _known(client: aiomqtt.Client) -> set[str]:
    """Return the locks whose state or availability the broker keeps."""
    for topic in ("vitrine/+/state", "vitrine/+/availability"):
        await client.subscribe(topic, qos=1)
    locks = {_lock(str(message.topic)) for message in await _retained(client)}
    return {lock_id for lock_id in locks if lock_id is not None}


async def _retained(client: aiomqtt.Client) -> list[aiomqtt.Message]:
    """Return what the broker kept for the subscriptions: until it has been quiet for a second."""
    found: list[aiomqtt.Message] = []
    messages = aiter(client.messages)
    while len(found) < 2 * _LOCKS_MAX:
        try:
            async with asyncio.timeout(_SETTLE_S):
                message = await anext(messages)
        except TimeoutError:
            break
        if message.retain and message.payload:
            found.append(message)
    return found


def _lock(topic: str) -> str | None:
    """Return the lock that `root/LOCK/kind` is about, or None."""
    parts = topic.split("/")
    try:
        return names.check_lock_id(parts[1]) if len(parts) == 3 else None
    except names.NameRuleError:
        return None


def _first(error: BaseException) -> BaseException:
    """Return the first error in a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
