"""The collector at a broker: messages in, groups of them into the store, acknowledgements out (SPEC.md 10.2).

Nothing here needs to be careful about losing a message: what was not stored is not acknowledged, and the lock sends it
again. It only has to be careful never to acknowledge what is not stored.
"""

import asyncio
import logging
import random
import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Final

import aiomqtt

from .broker import Broker
from .intake import Intake, Message, Refused
from .store import Covered, StoreTrouble, Verified

GROUP_MAX: Final = 64  # messages in one transaction: a commit costs the same for one and for many
QUEUE_MAX: Final = 2048  # some MB; what comes beyond is dropped, and sent again by its lock
TOPIC: Final = "vitrine/+/journal"
CONNECT_S: Final = 10.0
_PAUSE_MIN_S: Final = 1.0
_PAUSE_MAX_S: Final = 60.0
_COMPLAIN_S: Final = 60.0

Say = Callable[[str], None]


class Collector:
    """Collector(intake, broker, say): `run` collects until it is cancelled. `say` takes one line for a person."""

    def __init__(self, intake: Intake, broker: Broker, say: Say, *, group: str = "vitrine") -> None:
        self._intake = intake
        self._broker = broker
        self._say = say
        self._share = f"$share/{group}/{TOPIC}"
        self._queue: asyncio.Queue[Message] = asyncio.Queue(QUEUE_MAX)
        self._client: aiomqtt.Client | None = None
        self._complaints = _Complaints(say)
        self.is_subscribed = asyncio.Event()
        self._heard_of_tls = ""
        self._logger = logging.Logger("vitrine.collector")  # not the program's: its lines are ours to say
        self._logger.addFilter(self._listen_for_tls)
        self._logger.addHandler(logging.NullHandler())

    async def run(self) -> None:
        """Collect for ever: the broker may go and come back, and so may the database."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._store())
            pause_s = _PAUSE_MIN_S
            while True:
                begin_s = time.monotonic()
                self._heard_of_tls = ""
                try:
                    await self._receive()
                except (aiomqtt.MqttError, OSError) as error:
                    if time.monotonic() - begin_s > _COMPLAIN_S:
                        pause_s = _PAUSE_MIN_S
                    wait_s = pause_s * random.uniform(0.5, 1.0)
                    self._say(
                        f"the broker {self._broker}: {self._heard_of_tls or _text(error)}; next try in {wait_s:.0f} s"
                    )
                    await asyncio.sleep(wait_s)
                    pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _receive(self) -> None:
        client = aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.user,
            password=self._broker.password,
            tls_context=self._broker.tls,
            identifier=f"vitrine-collector-{secrets.token_hex(4)}",
            max_queued_incoming_messages=QUEUE_MAX,
            max_inflight_messages=GROUP_MAX,
            timeout=CONNECT_S,
            logger=self._logger,
        )
        async with client:
            await client.subscribe(self._share, qos=1)
            self._client = client
            self._say(f"collecting from {self._broker}")
            self.is_subscribed.set()
            try:
                async for message in client.messages:
                    if isinstance(message.payload, bytes):
                        await self._queue.put(Message(str(message.topic).split("/")[1], message.payload))
            finally:
                self._client = None
                self.is_subscribed.clear()

    def _listen_for_tls(self, record: logging.LogRecord) -> bool:
        """Keep why a broker refused our certificate: TLS 1.3 tells it late, and the client library only logs it."""
        text = record.getMessage()
        if "[SSL: " in text:
            reason = text.partition("[SSL: ")[2].partition("]")[0]
            self._heard_of_tls = f"TLS failed ({reason}): does it take our certificate?"
        return True

    async def _store(self) -> None:
        while True:
            group = [await self._queue.get()]
            while len(group) < GROUP_MAX and not self._queue.empty():
                group.append(self._queue.get_nowait())
            for lock_id, acknowledgement in await self._keep(group):
                await self._publish(lock_id, acknowledgement)

    async def _keep(self, group: Sequence[Message]) -> list[tuple[str, bytes]]:
        """Store a group; try again until the database takes it. Returns what to acknowledge."""
        proven = await asyncio.to_thread(self._judge, group)
        if not proven:
            return []
        pause_s = _PAUSE_MIN_S
        while True:
            try:
                answers, findings = await asyncio.to_thread(self._intake.store, proven)
            except StoreTrouble as trouble:
                self._say(f"the database does not take it: {trouble}; next try in {pause_s:.0f} s")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
                continue
            if pause_s > _PAUSE_MIN_S:
                self._say("the database works again")
            for finding in findings:
                self._say(f"FOUND {finding}")
            return answers

    def _judge(self, group: Sequence[Message]) -> list[Verified | Covered]:
        proven = []
        for message in group:
            try:
                proven.append(self._intake.judge(message))
            except Refused as refusal:
                self._complaints.add(message.lock_id, str(refusal))
        return proven

    async def _publish(self, lock_id: str, acknowledgement: bytes) -> None:
        """Acknowledge, if there is a broker. If not, the lock sends again, and is acknowledged then."""
        client = self._client
        if client is None:
            return
        try:
            await client.publish(f"vitrine/{lock_id}/acknowledgement", acknowledgement, qos=1, retain=True)
        except aiomqtt.MqttError as error:
            self._say(f"an acknowledgement for {lock_id} did not get through: {_text(error)}")


class _Complaints:
    """Tells of refused messages without letting whoever sends them fill the log: one at once, then counts."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._quiet_until_s = 0.0
        self._count = 0

    def add(self, lock_id: str, text: str) -> None:
        self._count += 1
        if time.monotonic() >= self._quiet_until_s:
            others = f" (and {self._count - 1} others before it)" if self._count > 1 else ""
            self._say(f"refused a message on the topic of {lock_id}: {text}{others}")
            self._count = 0
            self._quiet_until_s = time.monotonic() + _COMPLAIN_S


def _text(error: BaseException) -> str:
    """Return in one line what a technician can act on."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not to be trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({cause.reason or cause}): does it take our certificate?"
        if isinstance(cause, ConnectionRefusedError):
            return "nobody listens there"
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split()) or type(error).__name__
