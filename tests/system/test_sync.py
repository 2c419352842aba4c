"""Sync end to end: a lock's sealed records over a real broker into a real store, and what can go wrong between them."""

import asyncio
import json
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import aiomqtt
import pytest

from support.mosquitto import HOST, needs_mosquitto
from support.sync_process import SyncLock, mqtt_blob
from vitrine.version import VERSION
from vitrine_tools.audit import query, sealed, verdict
from vitrine_tools.certificates import Authority
from vitrine_tools.collector import escrow
from vitrine_tools.collector.intake import Intake
from vitrine_tools.collector.service import Collector
from vitrine_tools.collector.store import Store

pytestmark = [needs_mosquitto, pytest.mark.system]
LOCK = "case-12"


@pytest.fixture
async def lock(broker, tmp_path):
    client = broker.authority.issue(LOCK)
    lock = SyncLock(mqtt_blob(HOST, broker.port, broker.authority.certificate_der, client), LOCK)
    escrow.save(tmp_path / "keys", LOCK, lock.epoch, lock.root)
    yield lock
    await lock.stop()


@asynccontextmanager
async def collecting(broker, tmp_path, lines=None):
    """A collector that runs within the block."""
    store = Store(str(tmp_path / "vitrine.db"))
    intake = Intake(escrow.Escrow(tmp_path / "keys"), store)
    collector = Collector(intake, broker.client(), (lines if lines is not None else []).append)
    task = asyncio.create_task(collector.run())
    try:
        async with asyncio.timeout(20):
            await collector.is_subscribed.wait()
        yield intake
    finally:
        task.cancel()
        await asyncio.wait({task})
        store.close()


def stored(tmp_path):
    store = Store(str(tmp_path / "vitrine.db"))
    entries = list(query.select(store, query.Filter()))
    verdicts = verdict.judge(store, escrow.Escrow(tmp_path / "keys"))
    store.close()
    return entries, verdicts


async def test_every_record_reaches_the_store_in_order_and_verified(broker, lock, tmp_path):
    lock.backlog = 100
    async with collecting(broker, tmp_path):
        await lock.start(tmp_path)
        await lock.acknowledged(100)
        lock.do(do="unlock", times=5)
        await lock.acknowledged(105)
    entries, verdicts = stored(tmp_path)
    assert [entry.sequence for entry in sorted(entries, key=lambda entry: entry.sequence)] == list(range(105))
    assert [entry.person for entry in entries[-5:]] == [f"person-{i:03}" for i in range(5)]
    assert verdicts[0].is_whole and verdicts[0].proved == 105


async def test_a_broker_that_is_down_costs_nothing_but_time(broker, lock, tmp_path):
    await broker.stop()
    await lock.start(tmp_path)
    lock.do(do="unlock", times=5)
    await lock.heard(event="fault", detail="mqtt:refused")
    await broker.start()
    async with collecting(broker, tmp_path) as intake:
        await lock.acknowledged(6)
    entries, verdicts = stored(tmp_path)
    assert [entry.person for entry in entries if entry.person] == [f"person-{i:03}" for i in range(5)]
    assert [entry.fields[15] for entry in entries if entry.kind_name == "Fault"] == ["mqtt:refused"]
    assert verdicts[0].is_whole
    assert not intake.refused


async def test_a_broker_that_is_killed_in_the_middle_loses_nothing(broker, lock, tmp_path, monkeypatch):
    # the collector is to be back before the lock, which would otherwise send into the void once, and wait
    monkeypatch.setattr("vitrine_tools.collector.service._PAUSE_MIN_S", 0.05)
    lock.backlog = 1500
    async with collecting(broker, tmp_path):
        await lock.start(tmp_path)
        await lock.acknowledged(100)
        await broker.stop()
        await lock.heard(event="fault", detail="mqtt:closed")
        assert (await lock.ask(do="count"))["acknowledged"] < 1500, "it was over before the broker died"
        await broker.start()
        await lock.acknowledged(1500)
    entries, verdicts = stored(tmp_path)
    assert len({entry.sequence for entry in entries}) == len(entries) >= 1500
    assert verdicts[0].is_whole


@pytest.mark.parametrize("what", ["another CA", "another name", "no client certificate", "expired client certificate"])
async def test_without_trust_there_is_no_sync_and_one_record_says_why(broker, tmp_path, what):
    authority, host = broker.authority, HOST
    client = authority.issue(LOCK)
    if what == "another CA":
        authority = Authority.new("Somebody else's CA")
    elif what == "another name":
        host = "127.0.0.1"  # the broker's certificate is for localhost
    elif what == "no client certificate":
        client = None
    else:
        client = authority.issue(LOCK, start=-timedelta(days=3), end=-timedelta(days=1))
    lock = SyncLock(mqtt_blob(host, broker.port, authority.certificate_der, client), LOCK)
    try:
        await lock.start(tmp_path)
        await lock.heard(event="fault", detail="mqtt:tls")
        await lock.when(lambda event: event.get("tries", 0) >= 2)
        faults = [event for event in lock.events if event["event"] == "fault"]
        assert len(faults) == 1, "one for the cause, not one for each try"
    finally:
        await lock.stop()


async def test_forged_replayed_and_foreign_acknowledgements_release_nothing(broker, lock, tmp_path):
    lock.backlog = 40
    keys = lock.keys
    async with listening(broker, "intruder") as (client, messages):
        await lock.start(tmp_path)
        await next_on(messages, "journal")  # connected, and waiting for its acknowledgement
        topic = f"vitrine/{LOCK}/acknowledgement"
        other = sealed.Keys(bytes(32), LOCK, lock.epoch)
        for payload in (
            b"",
            b"\xff" * 20,
            sealed.acknowledge(other, 40).to_bytes(),
            sealed.acknowledge(sealed.Keys(lock.root, LOCK, lock.epoch - 1), 40).to_bytes(),
            sealed.Acknowledgement(lock.epoch, 40, keys.acknowledgement_tag(39)).to_bytes(),
            bytes(70_000),  # more than the lock ever reads
            bytes(200),
        ):
            await client.publish(topic, payload, qos=1)
        await lock.heard(event="fault", detail="ack:forged")
        before = await lock.ask(do="count")
        assert before["acknowledged"] == 0
        # the right one gets through all the same
        await client.publish(topic, sealed.acknowledge(keys, 40).to_bytes(), qos=1)
        await lock.acknowledged(40)
        await client.publish(topic, sealed.acknowledge(keys, 7).to_bytes(), qos=1)
        lock.do(do="unlock", times=1)
        await next_on(messages, "journal", lambda payload: sealed.read(payload).count > 41)
    assert (await lock.ask(do="count"))["acknowledged"] == 40
    faults = [event["detail"] for event in lock.events if event["event"] == "fault"]
    assert faults.count("ack:forged") == 1


async def test_state_is_retained_and_the_will_tells_when_the_lock_is_gone(broker, lock, tmp_path):
    await lock.start(tmp_path)
    async with listening(broker, "intruder") as (_, messages):
        assert await next_on(messages, "availability") == b"online"
        more = {"version": VERSION, "scenario": "normal", "alarms": []}
        wanted = {"lock": "Locked", "door": "DoorClosed", "time": "trusted", **more}
        assert json.loads(await next_on(messages, "state")) == wanted
        lock.do(do="state", state=[2, 0, 2])
        wanted = {"lock": "Unlocked", "door": "DoorOpen", "time": "coasting", **more}
        assert json.loads(await next_on(messages, "state")) == wanted
        await lock.stop()
        assert await next_on(messages, "availability") == b"offline"
    async with listening(broker, "intruder") as (_, messages):
        assert await next_on(messages, "availability") == b"offline", "retained"


async def test_heads_go_out_when_nothing_happens(broker, lock, tmp_path):
    lock.mqtt = mqtt_blob(
        HOST, broker.port, broker.authority.certificate_der, broker.authority.issue(LOCK), heartbeat_s=10
    )
    lock.heartbeat_s = 1
    await lock.start(tmp_path)
    async with listening(broker, "intruder") as (_, messages):
        for _ in range(2):
            batch = sealed.read(await next_on(messages, "journal"))
            assert isinstance(batch, sealed.Batch)
            assert batch.is_heartbeat
            assert sealed.open_batch(batch, lock.keys) == ()
            assert (batch.count, batch.head) == (0, bytes(32))


async def test_a_new_store_learns_what_another_one_has(broker, lock, tmp_path):
    lock.backlog = 30
    async with collecting(broker, tmp_path):
        await lock.start(tmp_path)
        await lock.acknowledged(30)
    (tmp_path / "vitrine.db").rename(tmp_path / "old.db")
    for path in tmp_path.glob("vitrine.db-*"):
        path.unlink()
    await broker.stop()
    await broker.start()
    async with collecting(broker, tmp_path):
        lock.do(do="unlock", times=3)
        await lock.acknowledged(33)
    entries, verdicts = stored(tmp_path)
    assert min(entry.sequence for entry in entries) == 30
    assert verdicts[0].is_whole
    assert "another store" in verdicts[0].findings[0].text


@pytest.mark.parametrize("silence", ["TCP", "TLS", "slow"])
async def test_the_event_loop_does_not_wait_for_a_broker(tmp_path, silence):
    authority = Authority.new("CA")
    async with black_hole(silence) as port:
        lock = SyncLock(mqtt_blob(HOST, port, authority.certificate_der, authority.issue(LOCK)), LOCK, backlog=20)
        try:
            await lock.start(tmp_path)
            await lock.heard(event="link", state="open")
            await lock.ask(do="gap")
            lock.do(do="unlock", times=5)
            await asyncio.sleep(1)  # what is measured is time
            assert (await lock.ask(do="count"))["count"] >= 25
            gap_ms = (await lock.ask(do="gap"))["ms"]
        finally:
            await lock.stop()
    assert gap_ms < 100, "the machine may be busy, but a blocked loop would be away for the whole second"


SUBACK = tuple(b"\x90\x03\x00%c\x01" % n for n in (1, 2, 3))  # for acknowledgements, commands and updates


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        ([b""], "tls"),  # breaks off before CONNACK: as one that does not like our certificate does
        ([b"\x20\x02\x00\x05"], "denied"),
        ([b"\x30\x02\x00\x00"], "protocol"),
        ([b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x80"], "denied"),
        ([b"\x20\x02\x00\x00", SUBACK[0], b"\x90\x03\x00\x02\x80"], "denied"),
        ([b"\x20\x02\x00\x00", *SUBACK], "closed"),
        ([b"\x20\x02\x00\x00", *SUBACK, b"\x30" + b"\xff" * 40], "protocol"),  # a length without an end
        ([b"\x20\x02\x00\x00", *SUBACK, b"\x32\x03\x00\x05abcde" + bytes(9)], "protocol"),  # less than nothing
        ([b"\x20\x02\x00\x00", *SUBACK, b"\x32\xff\xff\xff\x7f\x00\x01a\x00\x01"], "protocol"),  # 256 MB
        ([b"\x20\x02\x00\x00", *SUBACK, b"\x34\x04\x00\x01a\x00\x01"], "protocol"),  # QoS 2
        ([b"\x20\x02\x00\x00", *SUBACK, b"\xd0\x07"], "protocol"),
    ],
)
async def test_a_hostile_broker_ends_its_own_connection_and_nothing_else(tmp_path, answers, cause):
    authority = Authority.new("CA")
    certificate, key = authority.issue("broker", hosts=(HOST,)).save(tmp_path, "broker")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def serve(reader, writer):
        with suppress(OSError):
            for answer in answers:
                await reader.read(4096)
                writer.write(answer)
                await writer.drain()
            if cause == "protocol":
                await reader.read()  # it is for the lock to hang up
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    lock = SyncLock(mqtt_blob(HOST, port, authority.certificate_der, authority.issue(LOCK)), LOCK, backlog=5)
    try:
        await lock.start(tmp_path)
        assert (await lock.heard(event="fault"))["detail"] == f"mqtt:{cause}"
        await lock.when(lambda event: event.get("tries", 0) >= 2)
        assert (await lock.ask(do="count"))["acknowledged"] == 0
    finally:
        await lock.stop()
        server.close()


@asynccontextmanager
async def black_hole(kind):
    """A broker that takes connections and says nothing, does not even take them, or sends a byte now and then."""
    held = []
    if kind == "TCP":
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            held.append(filler)
        yield listener.getsockname()[1]
        for each in (*held, listener):
            each.close()
        return

    async def serve(_reader, writer):
        held.append(asyncio.current_task())
        try:
            while kind == "slow" and not writer.is_closing():
                writer.write(b"\x16")
                await asyncio.sleep(0.05)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


@asynccontextmanager
async def listening(broker, name):
    """A client that may hear and say everything; what it hears is in a queue as (suffix, payload)."""
    address = broker.client(name)
    messages = asyncio.Queue()
    async with aiomqtt.Client(address.host, address.port, tls_context=address.tls) as client:
        await client.subscribe(f"vitrine/{LOCK}/#", qos=1)

        async def listen():
            async for message in client.messages:
                await messages.put((str(message.topic).rpartition("/")[2], message.payload))

        task = asyncio.create_task(listen())
        try:
            yield client, messages
        finally:
            task.cancel()
            await asyncio.wait({task})


async def next_on(messages, suffix, is_it=lambda payload: True):
    async with asyncio.timeout(20):
        while True:
            on, payload = await messages.get()
            if on == suffix and is_it(payload):
                return payload
