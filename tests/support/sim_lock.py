"""A lock at a broker as the collector sees it, without firmware: it seals records, sends them, hears answers."""

import asyncio
import secrets
import time

import aiomqtt

from vitrine_tools import cbor
from vitrine_tools.audit import sealed
from vitrine_tools.collector.broker import Broker

RESEND_S = 2.0  # a real lock waits longer
PER_BATCH = 20


class SimLock:
    """`live` makes records; `run` keeps sending what is not acknowledged, at most `ahead` batches of it at once."""

    def __init__(self, lock_id: str, epoch: int = 1_800_000_000, *, ahead: int = 3) -> None:
        self.root = secrets.token_bytes(32)
        self.keys = sealed.Keys(self.root, lock_id, epoch)
        self.lock_id = lock_id
        self.bodies: list[bytes] = []
        self.heads = [bytes(sealed.HEAD_SIZE)]
        self.acknowledged = 0
        self.forged = 0
        self.sent = 0
        self._ahead = ahead
        self._moved = asyncio.Event()

    def live(self, times: int, **fields: object) -> None:
        """Seal `times` unlocks."""
        for _ in range(times):
            n = len(self.bodies)
            record = {1: 2, 2: int(time.time()), 3: 1, 4: 0, 5: 1, 6: 7, 7: b"person-%d" % (n % 5), 8: bytes(16)}
            body = cbor.encode(
                record | {13: b"issuer-7", 16: True, 17: 2, 18: 1} | {int(k): v for k, v in fields.items()}
            )
            self.bodies.append(body)
            self.heads.append(sealed.next_head(self.heads[-1], n, self.keys.record_tag(n, body)))

    def batch(self, first: int, to: int | None = None) -> tuple[bytes, int]:
        """Return (batch from `first`, where the next begins)."""
        count = len(self.bodies)
        to = min(count, first + PER_BATCH) if to is None else to
        records = [(n, self.bodies[n]) for n in range(first, to)]
        data = sealed.make_batch(self.keys, first=first, to=to, count=count, head=self.heads[count], records=records)
        return data, to

    async def run(self, broker: Broker) -> None:
        """Send until everything is acknowledged."""
        while True:
            try:
                async with aiomqtt.Client(broker.host, broker.port, tls_context=broker.tls) as client:
                    await client.subscribe(f"vitrine/{self.lock_id}/acknowledgement", qos=1)
                    listener = asyncio.create_task(self._listen(client))
                    try:
                        await self._send(client)
                        return
                    finally:
                        listener.cancel()
            except aiomqtt.MqttError:
                await asyncio.sleep(0.2)

    async def _send(self, client: aiomqtt.Client) -> None:
        at = self.acknowledged
        while self.acknowledged < len(self.bodies):
            while at < len(self.bodies) and at - self.acknowledged < self._ahead * PER_BATCH:
                data, at = self.batch(at)
                await client.publish(f"vitrine/{self.lock_id}/journal", data, qos=1)
                self.sent += 1
            self._moved.clear()
            try:
                async with asyncio.timeout(RESEND_S):
                    await self._moved.wait()
                at = max(at, self.acknowledged)
            except TimeoutError:
                at = self.acknowledged

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            said = sealed.read(bytes(message.payload))
            assert isinstance(said, sealed.Acknowledgement)
            if not sealed.is_authentic(said, self.keys):
                self.forged += 1
            elif said.count > self.acknowledged:
                assert said.count <= len(self.bodies), "acknowledged what was never sent"
                self.acknowledged = said.count
                self._moved.set()
