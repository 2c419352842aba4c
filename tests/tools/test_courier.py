"""A courier's way: from the firmware's own request path through a phone's file to a collector's store, and back."""

import asyncio
import secrets

import pytest

from support.nor_flash import NorFlash
from support.session_lab import Clock, Door, Lab
from support.sync_process import journal_secrets
from vitrine.access.policy import Policy
from vitrine.access.provision import parse_provision
from vitrine.app.dispatch import Dispatch
from vitrine.audit.journal import Journal, provision
from vitrine.audit.outbox import Outbox
from vitrine.crypto import ed25519
from vitrine_tools import cbor, courier, protocol, tokens
from vitrine_tools.audit import query, sealed, verdict
from vitrine_tools.collector import bag, escrow
from vitrine_tools.collector.intake import Intake
from vitrine_tools.collector.store import Store
from vitrine_tools.errors import ToolError
from vitrine_tools.keys import PrivateKey
from vitrine_tools.phone import LinkError, Phone
from vitrine_tools.protocol import Op, Status
from vitrine_tools.provisioning import Issuer, Provision

LOCK = "case-12"
EPOCH = 1_800_000_000
ISSUER, HOLDER = (PrivateKey.from_seed(seed * 32) for seed in (b"\x01", b"\x02"))


class Blob:
    data = None

    def load(self):
        return self.data

    def save(self, data):
        self.data = data


class Lock:
    """The firmware's request path with a real journal; nothing moves."""

    def __init__(self):
        self.root = secrets.token_bytes(32)
        flash, keys = NorFlash(32), Blob()
        provision(flash, keys, EPOCH, *journal_secrets(self.root, LOCK, EPOCH))
        self.clock = Clock()
        self.journal = Journal(flash, keys, self.clock)
        self.outbox = Outbox(self.journal, LOCK)
        self.door = Door()
        issuer = Issuer(
            public_key=ISSUER.public,
            name="store",
            scopes=("unlock", "courier"),
            audiences=(LOCK,),
            max_lifetime_s=86_400,
        )
        record = Provision(lock_id=LOCK, issuers=(issuer,), provisioned_at_s=EPOCH).to_bytes()
        self.judgement = Lab()
        self.judgement.policy = Policy(
            parse_provision(record),
            lambda issuer, message, signature: ed25519.verdict(issuer.public_key, message, signature),
            self.judgement.rules,
        )
        self.dispatch = Dispatch(self.judgement, self, secrets.token_bytes, self.door, self, self.clock, lambda: None)

    # what Dispatch wants of the key tables
    verify_holder = staticmethod(ed25519.verdict)

    def expect(self, raw):
        pass

    def holder(self, raw):
        pass

    # what Dispatch wants of the evidence
    is_sound = True
    missed = 0

    @property
    def count(self):
        return self.journal.count

    @property
    def head(self):
        return self.journal.head

    def record(self, kind, fields):
        unix_s, state = self.clock.reading()
        self.journal.append({**fields, 1: kind, 2: unix_s, 3: state})

    def live(self, times):
        for i in range(times):
            self.record(2, {4: 0, 5: 1, 6: 7, 7: b"p%07d" % i, 8: bytes(16), 13: b"issuer-7"})

    def phone(self, *, breaks_after=10**9):
        return Phone(Wire(self.dispatch.channel(1), breaks_after), LOCK)

    def token(self, *scopes):
        claims = tokens.Claims.for_holder(
            HOLDER.public, [LOCK], now_s=self.clock.unix_s, valid_s=3600, scopes=scopes or ("courier",)
        )
        return tokens.issue(claims, ISSUER)


class Wire:
    """A connection without a radio, at the largest ATT_MTU."""

    att_mtu = 247

    def __init__(self, channel, breaks_after):
        self._chunks = asyncio.Queue()
        self._channel = channel
        self._assembler = protocol.Assembler(protocol.MAX_REQUEST)
        self._left = breaks_after

    async def write_chunk(self, chunk):
        message = self._assembler.feed(chunk)
        if message is None:
            return
        self._left -= 1
        if self._left < 0 or self._channel.is_exhausted:
            raise LinkError("gone")
        for each in protocol.split(self._channel.handle(message), self.att_mtu):
            self._chunks.put_nowait(each)

    async def read_chunk(self):
        return await self._chunks.get()

    async def close(self):
        self._channel.close()


@pytest.fixture
def lock(tmp_path):
    lock = Lock()
    escrow.save(tmp_path / "keys", LOCK, EPOCH, lock.root)
    return lock


@pytest.fixture
def collect(tmp_path):
    store = Store(str(tmp_path / "vitrine.db"))
    yield lambda: bag.empty(tmp_path / "bag", Intake(escrow.Escrow(tmp_path / "keys"), store))
    store.close()


async def visit(lock, tmp_path, **options):
    scopes = options.pop("scopes", ("courier",))
    phone = lock.phone(**options)
    return await courier.visit(phone, LOCK, lock.token(*scopes), HOLDER, tmp_path / "bag")


async def test_records_go_to_the_store_and_the_acknowledgement_comes_back(lock, collect, tmp_path):
    lock.live(40)
    carried = await visit(lock, tmp_path)
    assert carried.is_complete and carried.batches > 10  # 448 bytes hold few
    assert lock.journal.acknowledged == 0, "handing over releases nothing"
    emptied = collect()
    assert emptied.stored == 41 and emptied.acknowledged == (LOCK,) and not emptied.refused
    # any later phone, without a token that opens anything
    carried = await visit(lock, tmp_path, scopes=("unlock",))
    assert carried.delivered == 1 and carried.batches == 0
    assert lock.journal.acknowledged == 41
    assert courier.load(tmp_path / "bag") == []
    store = Store(str(tmp_path / "vitrine.db"))
    assert verdict.judge(store, escrow.Escrow(tmp_path / "keys"))[0].is_whole
    kinds = [entry.word(5) for entry in query.select(store, query.Filter())]
    assert kinds == ["Unlock"] * 40 + ["Courier"], "who took the records along is on record"
    assert lock.door.moves == []


async def test_a_visit_that_breaks_off_keeps_what_it_has(lock, collect, tmp_path):
    lock.live(40)
    carried = await visit(lock, tmp_path, breaks_after=8)
    assert not carried.is_complete and carried.batches == 5
    assert collect().stored > 0
    assert (await visit(lock, tmp_path)).is_complete
    collect()
    await visit(lock, tmp_path)
    assert lock.journal.acknowledged >= 40


async def test_without_the_scope_nothing_is_handed_over(lock, tmp_path):
    lock.live(3)
    assert (await visit(lock, tmp_path, scopes=("unlock",))).batches == 0
    phone = lock.phone()
    await phone.hello()
    assert await phone.ask(Op.COURIER, {1: None}) == (Status.REFUSED, None)
    assert await phone.ask(Op.COURIER, {3: 0}) == (Status.REFUSED, None)


async def test_a_courier_does_not_pull(lock, tmp_path):
    phone = lock.phone()
    nonce = (await phone.hello()).nonce
    token = lock.token()
    await phone.present(token)
    await phone.act(protocol.Action.COURIER, token=token, holder=HOLDER, nonce=nonce)
    assert (await phone.ask(Op.COURIER, {1: None}))[0] == Status.OK
    assert await phone.ask(Op.COURIER, {3: 0}) == (Status.REFUSED, None)


@pytest.mark.parametrize(
    "body", [None, {}, {1: None, 2: b""}, {1: "x"}, {1: True}, {2: 5}, {3: None}, {3: True}, {4: 1}, [1], {1: {}}]
)
async def test_a_request_of_another_form_is_malformed(lock, body):
    phone = lock.phone()
    assert (await phone.ask(Op.COURIER, body))[0] == Status.MALFORMED


async def test_forged_acknowledgements_release_nothing_and_cost_the_connection(lock):
    lock.live(5)
    forged = sealed.Acknowledgement(EPOCH, 5, bytes(16)).to_bytes()
    phone = lock.phone()
    for _ in range(4):
        assert await phone.ask(Op.COURIER, {2: forged}) == (Status.REFUSED, None)
    with pytest.raises(LinkError):
        await phone.ask(Op.COURIER, {2: forged})
    assert lock.journal.acknowledged == 0


async def test_an_acknowledgement_from_the_future_is_a_fault_once(lock):
    lock.live(5)
    ahead = sealed.acknowledge(sealed.Keys(lock.root, LOCK, EPOCH), 50).to_bytes()
    for _ in range(3):
        assert await lock.phone().ask(Op.COURIER, {2: ahead}) == (Status.OK, None)
    walk = lock.journal.unsent(5)
    assert walk.step() and not walk.step()
    unix_s, state = lock.clock.reading()
    assert cbor.decode(walk.body, 224) == {1: 129, 2: unix_s, 3: state, 15: "journal set back", 18: 1}


@pytest.mark.parametrize("start", [-1, 0, 3, 2**32, 2**62])
async def test_any_start_gives_a_batch_or_a_refusal(lock, start):
    lock.live(5)
    phone = lock.phone()
    nonce = (await phone.hello()).nonce
    token = lock.token()
    await phone.present(token)
    await phone.act(protocol.Action.COURIER, token=token, holder=HOLDER, nonce=nonce)
    status, body = await phone.ask(Op.COURIER, {1: start})
    assert status == Status.OK
    batch = sealed.read(body[1])
    assert batch.first == (start if 0 <= start <= 6 else 0)


def test_a_damaged_bag_is_told_and_kept(tmp_path, collect, lock):
    path = tmp_path / "bag"
    for data in (b"\x00", b"\x82\x61a", b"\x82\x63abc\x41x\xff", cbor.encode(["NOT A LOCK", b""]), b"\x82\x9f\xff\xff"):
        path.write_bytes(data)
        with pytest.raises(courier.BagError, match="not a courier's file"):
            courier.load(path)
        assert path.read_bytes() == data
    path.unlink()
    with pytest.raises(ToolError, match="nothing in"):
        collect()


def test_what_is_refused_stays_in_the_bag(tmp_path, collect, lock):
    path = tmp_path / "bag"
    batch, _ = lock.outbox.batch()
    stranger = courier.Item("case-99", batch)
    forged = courier.Item(LOCK, batch[:-1] + bytes([batch[-1] ^ 1]))
    courier.save(path, [stranger, forged, courier.Item(LOCK, batch)])
    emptied = collect()
    assert len(emptied.refused) == 2
    assert courier.load(path) == [stranger, forged]
