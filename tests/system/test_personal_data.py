"""Nothing personal anywhere: every topic and payload at the broker, what the tools say, and the flash of the lock."""

import asyncio
import secrets
import time

import pytest

from support.broker_lock import GROUP, LOCK, BrokerLock, till_at
from support.mosquitto import needs_mosquitto
from vitrine_tools.collector import escrow
from vitrine_tools.collector.intake import Intake
from vitrine_tools.collector.service import Collector
from vitrine_tools.collector.store import Store
from vitrine_tools.commanding_broker import connected, send_to_group
from vitrine_tools.emulator.flash import FLASH_SIZE
from vitrine_tools.personal_data import find
from vitrine_tools.pos.bridge import Bridge, Shop
from vitrine_tools.pos.till_book import TillBook
from vitrine_tools.protocol import Action

pytestmark = [needs_mosquitto, pytest.mark.system]


async def _scene(case, folder, lines):
    """A day in the shop: tokens and refusals, a door held open, commands, a sale, and the records on their way."""
    escrow.save(folder / "keys", LOCK, case.epoch, case.root)
    store = Store(str(folder / "records.db"))
    collector = Collector(Intake(escrow.Escrow(folder / "keys"), store), case.broker.client(), lines.append)
    book = TillBook(folder / "sales.db")
    pos = case.broker.client("pos")
    bridge = Bridge(Shop(issuer=case.till, fixtures=frozenset({LOCK})), pos, pos, book, lines.append)
    tasks = [asyncio.create_task(collector.run()), asyncio.create_task(bridge.run())]
    try:
        async with case.running() as lock, connected(case.broker.client("commander")) as client:
            async with case.phone() as phone:
                sub, ref = secrets.token_bytes(8), secrets.token_bytes(8)
                assert (await phone.open(case.token(sub=sub, ref=ref), case.holder)).is_granted
                assert not (await phone.open(case.token(sub=sub), case.holder, action=Action.HOLD)).is_granted
            async with case.phone() as phone:
                assert not (await phone.open(secrets.token_bytes(200), case.holder)).is_granted
            lock.set_door(closed=False)
            await case.on_record(1, f10=0)
            lock.set_door(closed=True)
            carrier = case.carrier(client)
            assert (await carrier.send(case.order(sequence=5, ref=secrets.token_bytes(8)))).is_done
            assert not (await carrier.send(case.order(sequence=4))).is_done
            await client.publish(f"vitrine/{LOCK}/command", secrets.token_bytes(300), qos=1)
            assert await send_to_group(client, GROUP, case.order(sequence=6, audiences=(GROUP,)), 1)
            async with asyncio.timeout(20):
                await bridge.is_listening.wait()
            async with till_at(case.broker) as till:
                await till.sell("a" + secrets.token_hex(8)[1:])
                assert (await till.told())["opened"]
                # what a careless till sends is the till's; from us on it goes nowhere
            down = case.order(number=4, body={2: True}, sequence=5, signer=case.issuer)
            assert (await carrier.send(down)).is_done
            async with asyncio.timeout(30):
                while len(case.kinds(2)) < 4 or store_count(store) < len(lock.events) - 2:
                    await asyncio.sleep(0.1)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        book.close()
        store.close()


def store_count(store):
    from vitrine_tools.audit import query

    return len(list(query.select(store, query.Filter())))


async def _listen(broker, seen):
    async with connected(broker.client("intruder")) as watcher:
        await watcher.subscribe("#", qos=1)
        async for message in watcher.messages:
            seen.append((str(message.topic), bytes(message.payload)))


async def test_a_day_in_the_shop_leaves_nothing_personal_anywhere(broker, tmp_path):
    case = BrokerLock(tmp_path, broker)
    seen, lines = [], []
    listener = asyncio.create_task(_listen(broker, seen))
    try:
        await _scene(case, tmp_path, lines)
    finally:
        listener.cancel()
        await asyncio.wait({listener})
    topics = {topic for topic, _ in seen}
    expected = ("availability", "state", "journal", "acknowledgement", "fresh", "command", "result")
    assert {f"vitrine/{LOCK}/{name}" for name in expected} <= topics
    assert {"vitrine/group/jewellery/command", "vitrine-pos/sale", "vitrine-pos/opened"} <= topics
    assert len(seen) > 20 and lines
    where = [(topic, payload) for topic, payload in seen if list(find(topic.encode())) or list(find(payload))]
    assert where == []
    assert [line for line in lines if list(find(line.encode()))] == []
    flash = case.flash.path.read_bytes()
    assert len(flash) == FLASH_SIZE and list(find(flash)) == []
    for name in ("sales.db", "records.db"):
        assert list(find((tmp_path / name).read_bytes())) == [], name


async def test_the_scan_would_find_what_somebody_put_there(broker, tmp_path):
    """A token that another tool made, with a person in it: the lock keeps what is signed, and the scan sees it."""
    case = BrokerLock(tmp_path, broker)
    seen = []
    listener = asyncio.create_task(_listen(broker, seen))
    try:
        async with case.running(), case.phone() as phone:
            for personal in (b"anna@shop.example", b"4111111111111111", b"+4930123456789"):
                assert (await phone.open(case.token(ref=personal), case.holder)).is_granted
            begin_s = time.monotonic()
            while time.monotonic() - begin_s < 20 and _kinds(seen) < 3:
                await asyncio.sleep(0.1)
    finally:
        listener.cancel()
        await asyncio.wait({listener})
    assert _kinds(seen) == 3
    assert len({finding.kind for finding in find(case.flash.path.read_bytes())}) == 3


def _kinds(seen):
    return len({finding.kind for _, payload in seen for finding in find(payload)})
