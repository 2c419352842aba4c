"""Updates brought to the whole firmware over each link, cut and resumed; and rolled out to a shop that has three locks.

What the lock does with an update is in test_updates.py and tests/powercut; here is how it gets there.
"""

import asyncio
import hashlib
import json
import time

import pytest

from support.mosquitto import needs_mosquitto
from support.store import LOCK_ID
from support.update_lab import UpdateStore, application, signed, updates_of
from support.update_site import Cut, UpdateBrokerLock, over_network, running
from vitrine_tools import commanding
from vitrine_tools.commanding_broker import connected
from vitrine_tools.keys import PrivateKey
from vitrine_tools.protocol import Reason
from vitrine_tools.updates import links
from vitrine_tools.updates.push import Patience, Refused, Sender, State, ask_state
from vitrine_tools.updates.rollout.book import Book, Course
from vitrine_tools.updates.rollout.plan import Plan
from vitrine_tools.updates.rollout.rings import assign
from vitrine_tools.updates.rollout.runner import Runner
from vitrine_tools.updates.rollout.targets import Targets

from .test_bleak_unlock import vitrine

STRANGER = PrivateKey.from_seed(b"s" * 32)
DONE = [("staged", 8, None), ("installed", 8, None), ("confirmed", 8, None)]


@pytest.fixture
def store(tmp_path):
    return UpdateStore(tmp_path)


def virtual(lock, connect, of, sequence=None, **how):
    """A sender whose time is the lock's."""

    async def sleep(seconds):
        await lock.advance(seconds * 1000)

    how = {"patience": Patience(silent_s=60, wait_s=120)} | how
    return Sender(connect, signed(of, sequence), of, sleep=sleep, clock=lambda: lock.now_ms / 1000, **how)


async def test_over_http_cut_and_resumed(store):
    app = application(8)
    async with over_network(store) as lock:
        way = Cut(links.over_http(LOCK_ID, f"http://localhost:{lock.http_port}", None, 2.0), 1, 2, 40, 3)
        push = virtual(lock, way, app)
        assert (await push.push()).state in (State.STAGED, State.TRIAL)
        assert way.begun == 5
        assert push.is_confirmed(await push.wait())
        assert updates_of(lock) == DONE


async def test_over_ble_in_connections_of_15_s(store):
    """Whole, though no connection lasts; a second sender in between takes nothing away."""
    app = application(8)
    async with store.lock() as lock:
        one, two = store.sender(lock, app), store.sender(lock, app)
        one._connect = Cut(one._connect, 100, 1, 50)
        two._connect = Cut(two._connect, 60)
        # who is not the one that brings the last piece may find it switched already
        reports = await asyncio.gather(one.push(), two.push())
        assert all(report.state in (State.STAGED, State.TRIAL) or one.is_confirmed(report) for report in reports)
        assert one.is_confirmed(await one.wait())
        assert updates_of(lock) == DONE


async def test_the_wrong_manifest(store):
    app, old = application(8), application(6)
    async with store.lock() as lock:
        for of, how, reason in (
            (app, {"key": STRANGER}, None),
            (app, {"key": store.headquarters}, None),  # pinned, and not for updates
            (app, {"board": "VITRINE_ESP32"}, None),
            (app, {"audiences": ("case-13",)}, None),
            (old, {}, Reason.SequenceStale),
        ):
            with pytest.raises(Refused) as refused:
                await store.sender(lock, of, **how).push()
            assert refused.value.reason == reason
            await lock.advance(3000)
        assert {detail for detail, *_ in updates_of(lock)} == {"refused"}
        assert (await ask_state(store.sender(lock, app)._connect)).state is State.IDLE


async def test_from_the_command_line_over_the_wire(store, tmp_path):
    """The console of a provisioned lock is closed to all but requests; the chip starts again in between."""
    app, wire = application(8), tmp_path / "wire"
    (tmp_path / "app.manifest").write_bytes(signed(app).data)
    (tmp_path / "app.bundle").write_bytes(app.data)
    words = ["update", "push", tmp_path / "app.manifest", tmp_path / "app.bundle", "--lock", LOCK_ID, "--port", wire]
    async with store.lock(virtual=False, console=wire) as lock:
        await lock.wait_advertising()
        status, out, err = await vitrine(*words, "--shadow", "--json")
        assert (status, json.loads(out)["outcome"], err) == (0, "staged", "")
        assert (await vitrine("update", "status", "--lock", LOCK_ID, "--port", wire))[1].startswith(
            f"{LOCK_ID}: staged; sequence 7 runs; sequence 8 is on its way"
        )
        status, out, err = await vitrine(*words, "--wait")
        assert (status, out) == (0, f"{LOCK_ID}: 0.7.8 runs, confirmed\n")
        assert err.splitlines()[:2] == [f"{LOCK_ID}: staged", f"{LOCK_ID}: switched"], err
        assert updates_of(lock) == DONE
        status, _, err = await vitrine("update", "status", "--lock", "case-13", "--port", wire)
        assert status == 2 and "case-13" in err


@needs_mosquitto
async def test_over_a_broker(broker, tmp_path):
    case, app = UpdateBrokerLock(tmp_path, broker), application(8)
    manifest = signed(app)
    async with running(case), links.Exchange(broker.client("commander")) as exchange:
        way = Cut(exchange.way(case.lock_id), 30, 1)
        push = Sender(
            way, manifest, app, patience=Patience(silent_s=30, wait_s=90, pause_s=0.1, poll_s=0.5, quiet_s=0.5)
        )
        # nobody's rubbish in between does any harm
        async with connected(broker.client("intruder")) as intruder:
            topic = f"vitrine/{case.lock_id}/update"
            pushing = asyncio.ensure_future(push.push())
            for rubbish in (b"", b"\xff", b"\xa1\x01\x40", bytes(5000), commanding.cbor.encode({2: 0, 3: bytes(1024)})):
                await intruder.publish(topic, rubbish, qos=1)
            await intruder.publish(topic, commanding.cbor.encode({1: manifest.data}), qos=1, retain=True)
            assert (await pushing).state in (State.STAGED, State.TRIAL)
        assert push.is_confirmed(await push.wait())
        assert [each for each in case.updates() if each[0] != "refused"] == DONE
        # once more: it has it
        again = Sender(exchange.way(case.lock_id), manifest, app)
        assert again.is_confirmed(await again.push())


PLAN = {
    "manifest": "m",
    "component": "c",
    "fleet": ["case-1", "case-2", "case-3"],
}
CAREFUL = [{"name": "canary", "locks": ["case-2"], "soak": "1s"}, {"percent": 100}]
BOLD = [{"percent": 100, "soak": "1s"}]


async def roll_out(tmp_path, broker, app, sequence, rings):
    """Roll `app` out; return (how it ended, the book, the lines)."""
    manifest, plan, lines = signed(app, sequence), Plan.model_validate(PLAN | {"ring": rings}), []
    rings = assign(plan, hashlib.sha256(manifest.data).digest())
    book = Book.create(tmp_path / f"{sequence}.rollout", "", tmp_path, manifest.data, rings, time.time())
    async with links.Exchange(broker.client("commander")) as exchange:
        patience = Patience(silent_s=60, wait_s=90, pause_s=0.1, poll_s=0.5, quiet_s=0.5)
        targets = Targets(exchange, manifest, app, 60, patience)
        runner = Runner(book, plan, push=targets.push, check=targets.check, told=lines.append)
        return await runner.run(), book, lines


@needs_mosquitto
async def test_a_rollout_stops_at_the_canary_that_returns_and_the_next_one_passes(broker, tmp_path):
    locks = [UpdateBrokerLock(tmp_path, broker, f"case-{n}") for n in (1, 2, 3)]
    async with running(*locks):
        # a build that says another sequence than its own does not pass its trial
        course, book, lines = await roll_out(tmp_path, broker, application(8, said=9), 8, CAREFUL)
        assert course is Course.STOPPED and "canary: 1 of 1 failed (case-2 returned)" in book.course[1], lines
        one, canary, three = locks
        assert canary.updates()[-1][:2] == ("returned", 8) and canary.updates()[0] == DONE[0]
        assert not one.updates() and not three.updates(), "nobody else was even asked"
        # the lock that went back works, and takes a better one; so do the others
        course, book, lines = await roll_out(tmp_path, broker, application(9), 9, BOLD)
        assert course is Course.FINISHED, lines
        for lock in locks:
            assert lock.updates()[-1] == ("confirmed", 9, None)
