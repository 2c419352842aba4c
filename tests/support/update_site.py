"""Locks that run the whole firmware and take updates, reached over each link; and a shop of them at a broker."""

import asyncio
from contextlib import asynccontextmanager

from support.broker_lock import BrokerLock
from support.http_client import free_port, network_blob
from support.update_lab import PUBLISHER, UpdateStore
from vitrine_tools.errors import LinkError
from vitrine_tools.provisioning import Issuer, Provision
from vitrine_tools.updates.push import Link


def over_network(store: UpdateStore, **options):
    """A lock of `store` in a network; `.http_port` is where it serves."""
    lock = store.lock(**options)
    lock.http_port = free_port()
    lock.flash.create()
    lock.flash.nvs_put("vitrine", "network", network_blob(lock.http_port))
    return lock


class UpdateBrokerLock(BrokerLock):
    """A lock at a broker, in real time, whose publisher may sign updates."""

    def _provision(self) -> bytes:
        limits = {"audiences": (self.lock_id, "group:jewellery"), "max_lifetime_s": 86_400}
        issuers = (
            Issuer(public_key=self.issuer.public, name="store-7", scopes=("unlock", "courier", "admin"), **limits),
            Issuer(public_key=PUBLISHER.public, name="publisher", scopes=("update",), **limits),
        )
        record = Provision(
            lock_id=self.lock_id, groups=("group:jewellery",), issuers=issuers, provisioned_at_s=self.epoch
        )
        return record.to_bytes()

    def updates(self) -> list[tuple]:
        """(detail, sequence, reason) of its records of updates."""
        return [(event.get(15), event.get(27), event.get(4)) for event in self.kinds(137)]


@asynccontextmanager
async def running(*locks: UpdateBrokerLock):
    """All of them on the air and at the broker."""
    async with asyncio.timeout(120):
        entered = [lock.running() for lock in locks]
        await asyncio.gather(*(each.__aenter__() for each in entered))
    try:
        yield
    finally:
        await asyncio.gather(*(each.__aexit__(None, None, None) for each in entered))


class Cut:
    """A way whose first connections break: after `after` requests each, in turn; with the answer still on its way."""

    def __init__(self, connect, *after: int) -> None:
        self._connect = connect
        self._after = list(after)
        self.begun = 0

    @asynccontextmanager
    async def __call__(self):
        self.begun += 1
        left = self._after.pop(0) if self._after else None
        async with self._connect() as link:
            yield link if left is None else _CutLink(link, left)


class _CutLink(Link):
    def __init__(self, link: Link, left: int) -> None:
        self._link = link
        self._left = left
        self.piece = link.piece

    async def ask(self, body):
        self._left -= 1
        answer = await self._link.ask(body)
        if not self._left:
            raise LinkError("cut")
        return answer
