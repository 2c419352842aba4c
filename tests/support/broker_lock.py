"""The whole firmware at a real broker, in real time: an emulated lock, mosquitto, issuers, and who may command."""

import asyncio
import json
import secrets
import time
from contextlib import asynccontextmanager
from pathlib import Path

from vitrine_tools import cbor, commanding, names
from vitrine_tools.audit import sealed
from vitrine_tools.commanding_broker import BrokerCarrier, connected
from vitrine_tools.emulator import BumblePhone, EmulatedLock, FlashImage, VirtualRadio
from vitrine_tools.keys import PrivateKey
from vitrine_tools.phone import Phone
from vitrine_tools.provisioning import Issuer, Provision
from vitrine_tools.tokens import Claims, issue

from .mosquitto import HOST, Mosquitto

LOCK = "case-12"
GROUP = "group:jewellery"
LIMIT_S = 30


class BrokerLock:
    """One such lock; `issuer` may do everything, `till` may only unlock."""

    issuer = PrivateKey.from_seed(b"i" * 32)
    till = PrivateKey.from_seed(b"t" * 32)
    holder = PrivateKey.from_seed(b"h" * 32)

    def __init__(self, folder: Path, broker: Mosquitto, lock_id: str = LOCK, radio: VirtualRadio | None = None) -> None:
        self.broker = broker
        self.lock_id = lock_id
        self.radio = radio or VirtualRadio()
        self.epoch = int(time.time())
        self.root = secrets.token_bytes(32)
        self.flash = FlashImage(folder / f"{lock_id}.bin").create()
        self.flash.provision(self._provision())
        self.flash.provision_journal(lock_id, self.root, self.epoch)
        client = broker.authority.issue(lock_id)
        settings = {1: 1, 2: HOST, 3: broker.port, 4: broker.authority.certificate_der}
        settings |= {5: client.certificate_der, 6: client.key_der}
        self.flash.nvs_put("vitrine", "mqtt", cbor.encode(settings))
        self.lock = self._board()

    @property
    def keys(self) -> sealed.Keys:
        return sealed.Keys(self.root, self.lock_id, self.epoch)

    def _board(self) -> EmulatedLock:
        return EmulatedLock(self.radio, flash=self.flash.path, rtc_s=time.time(), is_time_trusted=True)

    def _provision(self) -> bytes:
        limits = {"audiences": (self.lock_id, GROUP), "max_lifetime_s": 86_400}
        issuers = (
            Issuer(
                public_key=self.issuer.public, name="store-7", scopes=("unlock", "hold", "courier", "admin"), **limits
            ),
            Issuer(public_key=self.till.public, name="till", scopes=("unlock",), **limits),
        )
        return Provision(lock_id=self.lock_id, groups=(GROUP,), issuers=issuers, provisioned_at_s=self.epoch).to_bytes()

    @asynccontextmanager
    async def running(self):
        """The lock, connected to its broker."""
        async with connected(self.broker.client("intruder")) as watcher:
            await watcher.subscribe(f"vitrine/{self.lock_id}/state", qos=1)
            async with self.lock:
                await self.online(watcher)
                yield self.lock

    async def online(self, watcher) -> None:
        """Wait until the lock has said its state, and not the broker its last one."""
        async with asyncio.timeout(LIMIT_S):
            async for message in watcher.messages:
                if not message.retain:
                    return

    def carrier(self, client, timeout_s: float = 10) -> BrokerCarrier:
        return BrokerCarrier(client, self.lock_id, timeout_s, 120)

    def order(self, action: int = 1, *, sequence: int, audiences=None, ref=None, exp_s=None, signer=None, **change):
        """Return the signed order to do `action`."""
        command = commanding.operation(action, audiences or (self.lock_id,), sequence, ref)
        exp_s = int(time.time()) + 120 if exp_s is None else exp_s
        fields = {name: getattr(command, name) for name in ("number", "audiences", "body", "sequence", "id")}
        return commanding.sign(commanding.Command(**(fields | {"exp_s": exp_s} | change)), signer or self.till)

    def token(self, **claims) -> bytes:
        wanted = Claims.for_holder(self.holder.public, (self.lock_id,), now_s=int(time.time()), valid_s=600, **claims)
        return issue(wanted, self.issuer)

    @asynccontextmanager
    async def phone(self):
        async with BumblePhone(self.radio) as radio_phone:
            await radio_phone.connect(await radio_phone.scan(names.hint(self.lock_id)))
            yield Phone(radio_phone, self.lock_id)

    def openings(self) -> int:
        """How often somebody opened it; and if nobody did, the strike has not moved."""
        opened = [event for event in self.kinds(2) if event[5] in (1, 128)]
        moved = any(level for _, name, level in self.lock.pin_trace if name == "STRIKE")
        assert moved == bool(opened)
        return len(opened)

    def kinds(self, kind: int) -> list[dict]:
        return [event for event in self.lock.events if event[1] == kind]

    async def on_record(self, kind: int, count: int = 1, **fields) -> list[dict]:
        """Wait for so many records of a kind whose fields have these values: f15="..." for field 15."""
        wanted = {int(name[1:]): value for name, value in fields.items()}
        async with asyncio.timeout(LIMIT_S):
            while len(found := [e for e in self.kinds(kind) if wanted.items() <= e.items()]) < count:
                await asyncio.sleep(0.02)
        return found


class Till:
    """Publishes sales and hears what came of them."""

    def __init__(self, client) -> None:
        self._client = client

    async def sell(self, sale: str, fixture: str = LOCK, *, paid: object = True, **how) -> None:
        message = json.dumps({"sale": sale, "fixture": fixture, "paid": paid})
        await self._client.publish("vitrine-pos/sale", message, qos=1, **how)

    async def told(self, limit_s: float = LIMIT_S) -> dict:
        async with asyncio.timeout(limit_s):
            return json.loads((await anext(self._client.messages)).payload)


@asynccontextmanager
async def till_at(broker: Mosquitto):
    async with connected(broker.client("till")) as client:
        await client.subscribe("vitrine-pos/opened", qos=1)
        yield Till(client)
