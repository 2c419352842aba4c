"""Pulling a lock's records: what is kept when it breaks off, what is gone on with, and what the seals say of it."""

import contextlib
from pathlib import Path

import pytest

from vitrine_tools import cbor, cli, courier
from vitrine_tools.audit.seal import Kind
from vitrine_tools.audit.sealed import Keys, acknowledge, make_batch, next_head
from vitrine_tools.commands.reaching import Reach
from vitrine_tools.errors import LinkError, ToolError
from vitrine_tools.field import pull
from vitrine_tools.protocol import ProtocolError, Status

LOCK, EPOCH = "case-12", 1_800_000_000
KEYS = Keys(b"r" * 32, LOCK, EPOCH)


def body_of(number):
    return cbor.encode({1: 2, 2: EPOCH + number, 3: 1, 5: 1, 6: 7, 7: b"p-%d" % number})


class Lock:
    """A simulated lock with `count` records, of which a collector has those below `acknowledged`."""

    def __init__(self, count=20, acknowledged=0, gone=(), keys=KEYS, size=3):
        self.bodies = [body_of(number) for number in range(count)]
        self.acknowledged, self.gone, self.keys, self.size = acknowledged, set(gone), keys, size
        self.breaks_after = 10**9
        self.connections = 0
        self.asked = []
        self.spoil = lambda message: message

    @contextlib.asynccontextmanager
    async def connect(self):
        self.connections += 1
        yield Session(self, self.breaks_after)

    def batch(self, start):
        head = bytes(32)
        for number, body in enumerate(self.bodies):
            head = next_head(head, number, self.keys.record_tag(number, body))
        count = len(self.bodies)
        start = start if start <= count else self.acknowledged
        to = min(start + self.size, count)
        records = [(number, self.bodies[number]) for number in range(start, to) if number not in self.gone]
        return make_batch(self.keys, first=start, to=to, count=count, head=head, records=records)


class Session:
    lock_id = LOCK

    def __init__(self, lock, left):
        self._lock, self._left = lock, left

    async def ask(self, op, body):
        lock = self._lock
        self._left -= 1
        if self._left < 0:
            raise LinkError("gone")
        lock.asked.append(body)
        if 1 in body:
            answer = {1: lock.batch(lock.acknowledged)}
            if lock.acknowledged:
                answer[2] = acknowledge(lock.keys, lock.acknowledged).to_bytes()
            return Status.OK, answer
        return Status.OK, {1: lock.spoil(lock.batch(body[3]))}


async def pulled(lock, path: Path):
    return await pull.Puller(path).pull(lock.connect)


async def test_all_that_is_there_and_the_seals_are_right(tmp_path):
    lock = Lock()
    told = []
    done = await pull.Puller(tmp_path / "out", lambda *numbers: told.append(numbers)).pull(lock.connect)
    assert done.is_complete and done.count == 20 and told[-1] == (20, 20) and lock.connections == 1
    judged = pull.judge(done, KEYS)
    assert judged.is_whole and judged.proved == 20 and judged.findings == () and judged.absent == 0
    # the file is a courier's
    assert {item.lock_id for item in courier.load(tmp_path / "out")} == {LOCK}


async def test_what_broke_off_is_gone_on_with(tmp_path):
    lock = Lock(count=30)
    lock.breaks_after = 4
    with pytest.raises(LinkError):
        await give_up_after(lock, tmp_path / "out", 2)
    first = len(courier.load(tmp_path / "out"))
    assert first == 6
    lock.asked.clear()
    lock.breaks_after = 10**9
    done = await pulled(lock, tmp_path / "out")
    assert done.count == 30 and lock.asked[1] == {3: 18}, "from where it was"
    assert pull.judge(done, KEYS).proved == 30
    # and once more: nothing new but what has happened since
    lock.bodies.append(body_of(30))
    lock.asked.clear()
    done = await pulled(lock, tmp_path / "out")
    assert lock.asked == [{1: None}, {3: 30}] and pull.judge(done, KEYS).proved == 31


async def give_up_after(lock, path, connections):
    """Pull until so many connections have broken off."""
    connect = lock.connect

    def limited():
        if lock.connections >= connections:
            raise LinkError("pulled out")
        return connect()

    return await pull.Puller(path).pull(limited)


async def test_connections_that_bring_nothing_come_to_an_end(tmp_path):
    lock = Lock()
    lock.breaks_after = 1
    with pytest.raises(LinkError):
        await pulled(lock, tmp_path / "out")
    assert lock.connections == 4 and not (tmp_path / "out").exists()


async def test_what_a_collector_has_is_not_missed(tmp_path):
    lock = Lock(count=20, acknowledged=10, gone=range(7))
    judged = pull.judge(await pulled(lock, tmp_path / "out"), KEYS)
    assert judged.is_whole and judged.collected == 10 and judged.absent == 7 and judged.proved == 13


async def test_what_is_missing_is_said(tmp_path):
    judged = pull.judge(await pulled(Lock(gone=(11, 12)), tmp_path / "out"), KEYS)
    assert not judged.is_whole
    assert [(each.kind, each.first, each.last) for each in judged.findings] == [(Kind.MISSING, 11, 12)]
    # an acknowledgement that no collector made excuses nothing
    forger = Keys(b"f" * 32, LOCK, EPOCH)
    done = await pulled(Lock(gone=range(5)), tmp_path / "two")
    false = pull.Pulled(LOCK, EPOCH, done.batches, acknowledge(forger, 20), True)
    assert pull.judge(false, KEYS).collected == 0 and not pull.judge(false, KEYS).is_whole


async def test_an_altered_record_is_told(tmp_path):
    lock = Lock()
    lock.bodies[5] = body_of(99)
    honest = lock.batch

    def batch(start):
        content, _ = cbor.decode(honest(start), 4096)
        fields = cbor.decode(content, 4096)
        for row in fields[7]:
            if row[0] == 5:
                row[2] = KEYS.record_tag(5, body_of(5))
        fields[6] = bytes(32)
        content = cbor.encode(fields)
        return cbor.encode([content, KEYS.batch_tag(20, content)])

    lock.batch = batch
    judged = pull.judge(await pulled(lock, tmp_path / "out"), KEYS)
    assert Kind.ALTERED in [each.kind for each in judged.findings] and judged.proved == 19


async def test_batches_of_somebody_else_are_not_taken_for_the_locks(tmp_path):
    done = await pulled(Lock(), tmp_path / "out")
    with pytest.raises(ToolError, match="not from case-12"):
        pull.judge(done, Keys(b"s" * 32, LOCK, EPOCH))


async def test_a_file_of_another_journal_is_left_alone(tmp_path):
    await pulled(Lock(), tmp_path / "out")
    before = (tmp_path / "out").read_bytes()
    with pytest.raises(ToolError, match="provisioned anew"):
        await pulled(Lock(keys=Keys(b"s" * 32, LOCK, EPOCH + 1)), tmp_path / "out")
    with pytest.raises(ToolError, match="set back"):
        await pulled(Lock(count=5), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == before
    # what it holds of other locks stays in it
    other = courier.Item("case-99", b"x")
    courier.save(tmp_path / "mixed", [other])
    await pulled(Lock(), tmp_path / "mixed")
    assert courier.load(tmp_path / "mixed")[0] == other


async def test_a_lock_that_turns_in_circles(tmp_path):
    lock = Lock()
    lock.spoil = lambda message: b"no batch"
    with pytest.raises(ProtocolError, match="no batch"):
        await pulled(lock, tmp_path / "out")
    lock.spoil = lambda message: make_batch(KEYS, first=3, to=3, count=20, head=bytes(32), records=[])
    with pytest.raises(ToolError, match="set back"):
        await pulled(lock, tmp_path / "out")
    lock.spoil = lambda message: make_batch(KEYS, first=0, to=0, count=20, head=bytes(32), records=[])
    with pytest.raises(ProtocolError, match="again and again"):
        await pulled(lock, tmp_path / "out")
    foreign = Keys(b"r" * 32, "case-13", EPOCH)
    lock.spoil = lambda message: make_batch(foreign, first=0, to=1, count=20, head=bytes(32), records=[])
    with pytest.raises(ProtocolError, match="another lock"):
        await pulled(lock, tmp_path / "out")


def test_who_interrupts_it_is_told_that_it_can_be_gone_on_with(monkeypatch, capsys, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Reach, "run", interrupted)
    monkeypatch.setattr("sys.argv", ["vitrine", "logs", "pull", "--out", str(tmp_path / "bag"), "--port", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130 and "the same command goes on with what has come" in capsys.readouterr().err
