"""What a rollout makes of one lock at a broker: done, returned, refused or silent; and of a broker that goes away."""

import asyncio
import contextlib

import pytest

from support.mosquitto import broker, needs_mosquitto
from support.update_lock import UpdateLock
from vitrine_tools.errors import LinkError
from vitrine_tools.updates.links import Exchange
from vitrine_tools.updates.push import Patience
from vitrine_tools.updates.rollout.rings import State
from vitrine_tools.updates.rollout.targets import Targets

from .test_links import at_broker
from .test_push import CONTENT, release

__all__ = ["broker"]
pytestmark = needs_mosquitto
FAST = Patience(silent_s=1.5, wait_s=1.5, pause_s=0.05, poll_s=0.05, quiet_s=0.05)


@contextlib.asynccontextmanager
async def targets_at(broker, sequence=7, **how):
    async with Exchange(broker.client("commander")) as exchange:
        yield Targets(exchange, *release(sequence, **how), 1.5, FAST)


@pytest.mark.parametrize(
    ("how", "state", "detail"),
    [
        ({}, State.DONE, ""),
        ({"is_good": False}, State.RETURNED, "runs 1 again"),
        ({"running": 7}, State.DONE, ""),
        ({"running": 9}, State.DONE, "runs 9 already"),
    ],
)
async def test_outcomes(broker, how, state, detail):
    lock = UpdateLock(piece=1024, **how)
    async with at_broker(broker, lock), targets_at(broker) as targets:
        outcome = await targets.push(lock.lock_id, False)
        assert (outcome.state, outcome.detail) == (state, detail)
        assert (await targets.check(lock.lock_id, False)).state is state
        # once more, as after a kill: nothing is installed twice, and it comes to the same
        assert (await targets.push(lock.lock_id, False)).state is state
        assert len(lock.installed) == (how.get("running", 1) < 7)


async def test_refused_and_silent(broker):
    lock = UpdateLock(piece=1024)
    async with at_broker(broker, lock):
        async with targets_at(broker, audiences=("case-99",)) as targets:
            outcome = await targets.push(lock.lock_id, False)
            assert (outcome.state, outcome.detail) == (State.REFUSED, "AudienceMismatch")
        async with targets_at(broker) as targets:
            assert (await targets.push("case-98", False)).state is State.SILENT
            lock.is_free = False  # it has all of it, and never finds a moment to switch
            outcome = await targets.push(lock.lock_id, False)
            assert outcome.state is State.SILENT and "it is staged" in outcome.detail


async def test_one_that_came_back_from_something_newer_refuses(broker):
    lock = UpdateLock(piece=1024, is_good=False)
    async with at_broker(broker, lock):
        async with targets_at(broker, 9) as targets:
            assert (await targets.push(lock.lock_id, False)).state is State.RETURNED
        async with targets_at(broker, 8) as targets:
            outcome = await targets.push(lock.lock_id, False)
            assert outcome.state is State.REFUSED and outcome.detail.startswith("SequenceStale: ")


async def test_shadow(broker):
    lock = UpdateLock(piece=1024)
    async with at_broker(broker, lock), targets_at(broker) as targets:
        assert (await targets.push(lock.lock_id, True)).state is State.DONE and lock.running == 1
        assert (await targets.check(lock.lock_id, True)).state is State.DONE
        assert (await targets.check(lock.lock_id, False)).state is State.SILENT
        assert (await targets.push(lock.lock_id, False)).state is State.DONE and lock.running == 7
        assert lock.installed == [CONTENT]


async def test_no_lock_is_to_blame_for_a_broker_that_goes_away(broker):
    lock = UpdateLock(piece=1024)
    async with targets_at(broker) as targets:
        with contextlib.suppress(LinkError):  # the lock's own connection breaks as well
            async with at_broker(broker, lock):
                pushing = asyncio.create_task(targets.push(lock.lock_id, False))
                while not lock.stream:
                    await asyncio.sleep(0.01)
                await broker.stop()
        await asyncio.sleep(2)  # longer than a lock may be silent
        assert not pushing.done()
        await broker.start()
        async with at_broker(broker, lock), asyncio.timeout(30):
            assert (await pushing).state is State.DONE and lock.installed == [CONTENT]
