"""The collector: what it believes, what it stores, and that it acknowledges nothing else."""

import asyncio
import random
import signal
import sqlite3
import sys
from datetime import timedelta
from pathlib import Path

import aiomqtt
import pytest
import sqlalchemy as sa

from support.mosquitto import Mosquitto, needs_mosquitto
from support.postgres import PostgreSQL
from support.sim_lock import SimLock
from vitrine_tools import cbor
from vitrine_tools.audit import query, sealed, verdict
from vitrine_tools.certificates import Authority
from vitrine_tools.collector import broker as brokers
from vitrine_tools.collector import escrow
from vitrine_tools.collector.intake import Intake, Message, Refused
from vitrine_tools.collector.service import Collector
from vitrine_tools.collector.store import Store, StoreError, StoreTrouble, records
from vitrine_tools.errors import ToolError

LOCK = "case-12"


class Desk:
    """An escrow, a store and an intake in a folder."""

    def __init__(self, folder, url=None):
        self.folder = folder
        self.url = url or str(folder / "vitrine.db")
        (folder / "keys").mkdir(exist_ok=True)
        self.escrow = escrow.Escrow(folder / "keys")
        self.store = Store(self.url)
        self.intake = Intake(self.escrow, self.store)

    def lock(self, lock_id=LOCK, **options):
        lock = SimLock(lock_id, **options)
        escrow.save(self.folder / "keys", lock_id, lock.keys.epoch, lock.root)
        return lock

    def take(self, lock, *batches):
        """Store batches of one lock at once; return the count that is acknowledged."""
        proven = [self.intake.judge(Message(lock.lock_id, data)) for data in batches]
        answers, self.findings = self.intake.store(proven)
        if not answers:
            return 0
        [(lock_id, data)] = answers
        said = sealed.read(data)
        assert lock_id == lock.lock_id and sealed.is_authentic(said, lock.keys)
        return said.count

    def verdict(self):
        return verdict.judge(self.store, self.escrow)[0]

    def numbers(self):
        return sorted(entry.sequence for entry in query.select(self.store, query.Filter()))


@pytest.fixture(scope="module")
def postgres():
    if not PostgreSQL.is_there():
        pytest.skip("PostgreSQL is not installed")
    with PostgreSQL() as server:
        yield server


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def desk(request, tmp_path):
    url = request.getfixturevalue("postgres").new_database() if request.param == "PostgreSQL" else None
    desk = Desk(tmp_path, url)
    yield desk
    desk.store.close()


def test_batches_in_any_order_are_acknowledged_only_as_far_as_they_join(desk):
    lock = desk.lock()
    lock.live(100)
    parts = [lock.batch(first)[0] for first in range(0, 100, 20)]
    assert desk.take(lock, parts[2]) == 0
    assert desk.take(lock, parts[4], parts[1]) == 0
    assert desk.take(lock, parts[0]) == 60
    assert desk.take(lock, parts[0], parts[2]) == 60
    assert desk.take(lock, parts[3]) == 100
    assert desk.numbers() == list(range(100))
    assert desk.intake.repeated == 40
    assert desk.verdict().is_whole and desk.verdict().proved == 100


def test_two_collectors_with_one_database_do_not_lose_or_double(desk):
    lock = desk.lock()
    lock.live(400)
    parts = [lock.batch(first)[0] for first in range(0, 400, 20)]
    other = Desk(desk.folder, desk.url)

    async def both():
        def work(mine, share):
            return [mine.take(lock, part) for part in share]

        return await asyncio.gather(
            asyncio.to_thread(work, desk, parts[::2]),
            asyncio.to_thread(work, other, parts[1::2]),
        )

    reached = asyncio.run(both())
    other.store.close()
    assert max(map(max, reached)) == 400
    assert desk.numbers() == list(range(400))


def test_an_altered_record_is_evidence_and_is_named(desk):
    lock = desk.lock()
    lock.live(10)
    genuine = [(n, lock.bodies[n]) for n in range(10)]
    content = sealed.read(lock.batch(0)[0])
    rows = [[n, body, lock.keys.record_tag(n, body)] for n, body in genuine]
    rows[4][1] = rows[4][1].replace(b"person-4", b"person-1")
    altered = _batch_of(lock, content, rows)
    assert desk.take(lock, altered) == 10
    assert desk.findings == [f"{LOCK}: record 4 altered"]
    assert not desk.verdict().is_whole
    assert [(each.kind.value, each.first) for each in desk.verdict().findings] == [("altered", 4)]


def test_a_lock_that_was_set_back_is_found_out(desk):
    lock = desk.lock()
    lock.live(10)
    image = list(lock.bodies), list(lock.heads)
    lock.live(5)
    assert desk.take(lock, lock.batch(0)[0]) == 15
    lock.bodies, lock.heads = image
    lock.live(5, **{"9": b"another life"})
    assert desk.take(lock, lock.batch(10)[0]) == 15
    assert len(desk.findings) == 6  # five other records, and a head that contradicts
    assert {each.kind.value for each in desk.verdict().findings} == {"forked", "head"}


def test_numbers_that_a_lock_gave_up_are_told_from_numbers_that_are_missing(desk):
    lock = desk.lock()
    lock.live(10)
    lock.live(1, **{"1": 133, "14": 3, "20": [2, 4], "21": 1})
    read = sealed.read(lock.batch(0)[0])
    rows = [[record.sequence, record.body, record.tag] for record in read.records if record.sequence not in (2, 3, 4)]
    assert desk.take(lock, _batch_of(lock, read, rows)) == 11
    assert desk.verdict().is_whole
    assert [(each.kind.value, each.first, each.last) for each in desk.verdict().findings] == [("lost", 2, 4)]
    lock.live(3)
    read = sealed.read(lock.batch(11)[0])
    rows = [[record.sequence, record.body, record.tag] for record in read.records if record.sequence != 12]
    assert desk.take(lock, _batch_of(lock, read, rows)) == 14
    assert ("missing", 12) in [(each.kind.value, each.first) for each in desk.verdict().findings]
    assert not desk.verdict().is_whole


def test_an_intruder_in_the_database_is_found(desk):
    lock = desk.lock()
    lock.live(10)
    desk.take(lock, lock.batch(0)[0])

    with desk.store.engine.begin() as connection:
        connection.execute(records.update().where(records.c.sequence == 3).values(body=lock.bodies[4]))
        connection.execute(sa.delete(records).where(records.c.sequence == 7))
    assert {(each.kind.value, each.first) for each in desk.verdict().findings} == {("altered", 3), ("missing", 7)}


def test_nothing_follows_from_what_is_not_authentic(tmp_path):
    desk = Desk(tmp_path)
    lock, other = desk.lock(), desk.lock("case-13")
    lock.live(10)
    other.live(3)
    good, _ = lock.batch(0)
    content = sealed.read(good).content
    bad = {
        "empty": b"",
        "text": b"hello",
        "oversized": bytes(sealed.MAX_BATCH + 1),
        "flipped content": good[:9] + bytes([good[9] ^ 1]) + good[10:],
        "flipped tag": good[:-1] + bytes([good[-1] ^ 1]),
        "cut": good[:-1],
        "longer": good + b"\x00",
        "unsealed": _sealed(content, bytes(16)),
        "another lock's": other.batch(0)[0],
        "another lock's tag": _sealed(content, other.keys.batch_tag(10, content)),
        "far ahead": sealed.make_batch(lock.keys, first=0, to=0, count=10, head=bytes(32), records=[]).replace(
            b"\x0a\x58\x20", b"\x1a\x7f\xff\xff\xff\x58\x20"
        ),
        "forged acknowledgement": sealed.Acknowledgement(lock.keys.epoch, 10, bytes(16)).to_bytes(),
        "unknown epoch": sealed.acknowledge(sealed.Keys(lock.root, LOCK, 5), 10).to_bytes(),
    }
    for name, data in bad.items():
        with pytest.raises(Refused):
            pytest.fail(f"{name} became {desk.intake.judge(Message(LOCK, data))}")
    with pytest.raises(Refused):
        desk.intake.judge(Message("case-99", good))
    assert desk.numbers() == []
    assert desk.intake.refused.total() >= len(bad)
    desk.store.close()


@pytest.mark.parametrize("topic", ["", "..", "A B", "x" * 5000, "\x00", "case-12/../case-12"])
def test_a_topic_of_no_lock_is_refused_whatever_comes_on_it(tmp_path, topic):
    desk = Desk(tmp_path)
    lock = desk.lock()
    lock.live(3)
    for data in (lock.batch(0)[0], sealed.acknowledge(lock.keys, 3).to_bytes(), b""):
        with pytest.raises(Refused):
            desk.intake.judge(Message(topic, data))
    desk.store.close()


def test_one_damaged_key_file_costs_one_lock(tmp_path):
    desk = Desk(tmp_path)
    lock, other = desk.lock(), desk.lock("case-13")
    lock.live(3)
    other.live(3)
    path = tmp_path / "keys" / f"{LOCK}-{lock.keys.epoch}{escrow.SUFFIX}"
    whole = path.read_bytes()
    path.write_bytes(b"{")
    with pytest.raises(Refused, match="is not a journal's root key"):
        desk.take(lock, lock.batch(0)[0])
    assert desk.take(other, other.batch(0)[0]) == 3
    path.write_bytes(whole)
    assert desk.take(lock, lock.batch(0)[0]) == 3
    desk.store.close()


def test_no_changed_byte_gets_through(tmp_path):
    desk = Desk(tmp_path)
    lock = desk.lock()
    lock.live(3)
    good, _ = lock.batch(0)
    rng = random.Random(7)
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 << rng.randrange(8)
        with pytest.raises(Refused):
            desk.intake.judge(Message(LOCK, bytes(bad)))
    for _ in range(1000):
        bad = bytes(rng.randbytes(rng.randrange(200)))
        with pytest.raises(Refused):
            desk.intake.judge(Message(LOCK, bad))
    desk.store.close()


def test_a_locked_database_is_trouble_and_nothing_is_acknowledged(tmp_path, monkeypatch):
    monkeypatch.setattr("vitrine_tools.collector.store.BUSY_S", 0.05)
    desk = Desk(tmp_path)
    lock = desk.lock()
    lock.live(5)
    blocker = sqlite3.connect(tmp_path / "vitrine.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreTrouble, match="locked"):
        desk.take(lock, lock.batch(0)[0])
    blocker.execute("ROLLBACK")
    blocker.close()
    assert desk.take(lock, lock.batch(0)[0]) == 5
    desk.store.close()


def test_a_full_database_is_trouble_and_nothing_is_acknowledged(tmp_path):
    desk = Desk(tmp_path)
    lock = desk.lock()
    lock.live(2000)
    reached = 0
    with pytest.raises(StoreTrouble, match="full"):
        while True:
            with desk.store.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA max_page_count=60")
            reached = desk.take(lock, lock.batch(reached)[0])
    assert desk.numbers() == list(range(reached))
    desk.store.close()


def test_what_cannot_be_used_is_told_in_one_line(tmp_path):
    for url in ("nonsense://x", "postgresql+psycopg://vitrine@/nobody?host=/nonexistent", str(tmp_path)):
        with pytest.raises(StoreError) as caught:
            Store(url)
        assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="no database"):
        Store(str(tmp_path / "none.db"), is_new_allowed=False)
    (tmp_path / "text.db").write_text("this is no database, but quite long enough to be taken for one " * 20)
    with pytest.raises(StoreError):
        Store(str(tmp_path / "text.db"))
    with pytest.raises(ToolError):
        escrow.Escrow(tmp_path / "none")
    for url in ("http://x", "mqtts://", "mqtts://x:99999", "mqtts://x/y"):
        with pytest.raises(brokers.BrokerError):
            brokers.parse(url)


def test_the_escrow_reads_only_what_it_is(tmp_path):
    folder = tmp_path / "keys"
    path = escrow.save(folder, LOCK, 7, bytes(32))
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(escrow.EscrowError):
        escrow.save(folder, LOCK, 7, b"\x01" * 32)
    path.rename(folder / f"case-13-7{escrow.SUFFIX}")
    with pytest.raises(escrow.EscrowError, match="its own name"):
        escrow.Escrow(folder).of("case-13", 7)
    (folder / f"case-14-7{escrow.SUFFIX}").write_text('{"lock": "case-14", "epoch": 7}')
    with pytest.raises(escrow.EscrowError):
        escrow.Escrow(folder).of("case-14", 7)
    assert escrow.Escrow(folder).of(LOCK, 7) is None


# --- at a broker ---


@pytest.fixture
async def mosquitto(tmp_path):
    folder = tmp_path / "broker"
    folder.mkdir()
    mosquitto = Mosquitto(folder)
    await mosquitto.start()
    yield mosquitto
    await mosquitto.stop()


@needs_mosquitto
async def test_two_collectors_share_the_load(mosquitto, tmp_path):
    desks = [Desk(tmp_path), Desk(tmp_path)]
    locks = [desks[0].lock(f"case-{n}") for n in range(6)]
    for lock in locks:
        lock.live(200)
    collectors = [Collector(desk.intake, mosquitto.client(), lambda text: None) for desk in desks]
    tasks = [asyncio.create_task(collector.run()) for collector in collectors]
    async with asyncio.timeout(60):
        for collector in collectors:
            await collector.is_subscribed.wait()
        await asyncio.gather(*(lock.run(mosquitto.client(lock.lock_id)) for lock in locks))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(desk.intake.new > 0 for desk in desks), "one did it all"
    assert sum(desk.intake.new for desk in desks) == 1200
    assert all(each.is_whole and each.proved == 200 for each in verdict.judge(desks[0].store, desks[0].escrow))
    for desk in desks:
        desk.store.close()


@needs_mosquitto
async def test_a_collector_that_is_killed_again_and_again_loses_nothing(mosquitto, tmp_path):
    desk = Desk(tmp_path)
    lock = desk.lock()
    lock.live(1200)
    desk.store.close()
    mosquitto.client()
    folder = mosquitto.folder
    command = [Path(sys.executable).parent / "vitrine"]
    command += ["collect", "--broker", f"mqtts://localhost:{mosquitto.port}", "--ca", mosquitto.ca]
    command += ["--cert", folder / "collector.crt", "--key", folder / "collector.key"]
    command += ["--db", tmp_path / "vitrine.db", "--keys", tmp_path / "keys"]
    sender = asyncio.create_task(lock.run(mosquitto.client(LOCK)))
    kills = 0
    try:
        async with asyncio.timeout(90):
            while lock.acknowledged < 1200:
                before = lock.acknowledged
                process = await asyncio.create_subprocess_exec(*map(str, command), stdout=asyncio.subprocess.PIPE)
                # let it take some, then pull the plug in the middle of it
                while lock.acknowledged < min(1200, before + 400) and process.returncode is None:
                    await asyncio.sleep(0.005)
                process.send_signal(signal.SIGKILL)
                await process.communicate()
                kills += 1
            await sender
    finally:
        sender.cancel()
    assert kills >= 2
    store = Store(str(tmp_path / "vitrine.db"))
    judged = verdict.judge(store, escrow.Escrow(tmp_path / "keys"))[0]
    store.close()
    assert judged.is_whole and judged.proved == judged.accounted == 1200
    assert lock.forged == 0


@needs_mosquitto
async def test_a_database_that_is_locked_for_a_while_delays_and_does_not_lose(mosquitto, tmp_path, monkeypatch):
    monkeypatch.setattr("vitrine_tools.collector.store.BUSY_S", 0.05)
    monkeypatch.setattr("vitrine_tools.collector.service._PAUSE_MIN_S", 0.05)
    desk = Desk(tmp_path)
    lock = desk.lock()
    lock.live(50)
    lines = []
    troubled = asyncio.Event()

    def say(text):
        lines.append(text)
        if "the database does not take it" in text:
            troubled.set()

    collector = Collector(desk.intake, mosquitto.client(), say)
    task = asyncio.create_task(collector.run())
    blocker = sqlite3.connect(tmp_path / "vitrine.db", isolation_level=None)
    async with asyncio.timeout(30):
        await collector.is_subscribed.wait()
        blocker.execute("BEGIN EXCLUSIVE")
        sender = asyncio.create_task(lock.run(mosquitto.client(LOCK)))
        await troubled.wait()
        assert lock.acknowledged == 0
        blocker.execute("ROLLBACK")
        await sender
    blocker.close()
    task.cancel()
    await asyncio.wait({task})
    desk.store.close()
    assert "the database works again" in lines
    assert all("\n" not in line for line in lines)


@needs_mosquitto
async def test_strangers_messages_are_refused_and_told_once(mosquitto, tmp_path):
    desk = Desk(tmp_path)
    lock = desk.lock()
    lock.live(20)
    lines = []
    acknowledgement = sealed.Acknowledgement(1, 5, bytes(16)).to_bytes()
    collector = Collector(desk.intake, mosquitto.client(), lines.append)
    task = asyncio.create_task(collector.run())
    intruder = mosquitto.client("intruder")
    async with asyncio.timeout(30):
        await collector.is_subscribed.wait()
        async with aiomqtt.Client(intruder.host, intruder.port, tls_context=intruder.tls) as client:
            for payload in (b"", b"\xff" * 5000, lock.batch(0)[0][:-1], b"\x84\x01\x02\x03\x40") * 5:
                await client.publish(f"vitrine/{LOCK}/journal", payload, qos=1)
            await client.publish("vitrine/UPPER CASE/journal", lock.batch(0)[0], qos=1)
            await client.publish("vitrine/UPPER CASE/journal", acknowledgement, qos=1)
        await lock.run(mosquitto.client(LOCK))
    task.cancel()
    await asyncio.wait({task})
    assert desk.intake.refused.total() == 22
    assert sum("refused" in line for line in lines) == 1
    assert desk.numbers() == list(range(20))
    desk.store.close()


@needs_mosquitto
@pytest.mark.parametrize("what", ["expired", "another CA", "nobody there"])
async def test_a_broker_without_trust_is_one_readable_line(mosquitto, tmp_path, monkeypatch, what):
    monkeypatch.setattr("vitrine_tools.collector.service.CONNECT_S", 1.0)
    desk = Desk(tmp_path)
    if what == "expired":
        broker = mosquitto.client("late", start=-timedelta(days=2), end=-timedelta(days=1))
    elif what == "another CA":
        ca, _ = Authority.new("Another").save(tmp_path, "another")
        broker = brokers.parse(f"mqtts://localhost:{mosquitto.port}", ca=ca)
    else:
        broker = mosquitto.client()
        await mosquitto.stop()
    lines = asyncio.Queue()
    task = asyncio.create_task(Collector(desk.intake, broker, lines.put_nowait).run())
    async with asyncio.timeout(20):
        line = await lines.get()
    task.cancel()
    await asyncio.wait({task})
    desk.store.close()
    wanted = {
        "expired": "does it take our certificate",
        "another CA": "not to be trusted",
        "nobody there": "nobody listens",
    }
    assert wanted[what] in line and "\n" not in line


def _sealed(content, tag):
    return cbor.encode([content, tag])


def _batch_of(lock, read, rows):
    """The batch `read` again with other records, its tag right: what a lock with an altered flash sends."""
    content = cbor.encode([1, read.lock_id, read.epoch, read.first, read.to, read.count, read.head, rows])
    return _sealed(content, lock.keys.batch_tag(read.count, content))
