"""Updates over a real broker: one client for many locks, what others say there, and a broker that goes away."""

import asyncio
import contextlib

import pytest

from support.mosquitto import broker, needs_mosquitto
from support.update_lock import UpdateLock
from vitrine_tools import cbor
from vitrine_tools.commanding_broker import connected
from vitrine_tools.errors import LinkError
from vitrine_tools.protocol import ProtocolError, Reason, Status
from vitrine_tools.updates.links import Exchange, read_answer
from vitrine_tools.updates.push import Patience, Refused, Sender, State, ask_state

from .test_push import CONTENT, release

__all__ = ["broker"]
pytestmark = needs_mosquitto


@contextlib.asynccontextmanager
async def at_broker(broker, lock, *, late_s=0.0, lose=()):
    """`lock` hears its topic and answers; it loses those requests whose numbers are in `lose`."""
    address = broker.client(lock.lock_id)
    async with connected(address) as client:
        await client.subscribe(f"vitrine/{lock.lock_id}/update", qos=1)

        async def serve():
            number = 0
            async for message in client.messages:
                number += 1
                if message.retain or number in lose:
                    continue
                status, body = lock.ask(cbor.decode(message.payload, 4608))
                if status == Status.MALFORMED:
                    continue
                if late_s and number == 3:
                    await asyncio.sleep(late_s)
                await client.publish(f"vitrine/{lock.lock_id}/update/answer", cbor.encode(body), qos=1)

        task = asyncio.create_task(serve())
        try:
            yield lock
        finally:
            task.cancel()
            await asyncio.wait({task})


@contextlib.asynccontextmanager
async def exchange_at(broker):
    address = broker.client("commander")
    async with Exchange(address) as exchange, connected(broker.client("intruder")) as client:
        yield exchange, client


def fast(exchange, lock_id, signed, component, **how):
    how = {"patience": Patience(silent_s=20, pause_s=0.05, poll_s=0.05, quiet_s=0.05)} | how
    return Sender(exchange.way(lock_id, 1.0), signed, component, **how)


async def test_three_locks_at_once(broker):
    locks = [UpdateLock(f"case-{n}", piece=4096, is_good=n != 2) for n in (1, 2, 3)]
    signed, component = release()
    async with contextlib.AsyncExitStack() as stack:
        for lock in locks:
            await stack.enter_async_context(at_broker(broker, lock))
        exchange, _ = await stack.enter_async_context(exchange_at(broker))

        async def bring(lock):
            push = fast(exchange, lock.lock_id, signed, component)
            assert (await push.push()).state is State.STAGED
            return (await push.wait()).state

        assert await asyncio.gather(*map(bring, locks)) == [State.IDLE, State.RETURNED, State.IDLE]
        assert [lock.running for lock in locks] == [7, 1, 7]
        assert all(lock.installed == [CONTENT] for lock in locks)


async def test_late_and_lost_answers(broker):
    lock, (signed, component) = UpdateLock(piece=4096), release()
    async with at_broker(broker, lock, late_s=1.1, lose={5}), exchange_at(broker) as (exchange, _):
        await fast(exchange, lock.lock_id, signed, component).push()
    assert lock.installed == [CONTENT]
    # the late one must not have every piece that follows sent twice
    assert len([body for body in lock.asked if 2 in body]) <= len(component.stream) // 1024 + 4


async def test_what_others_say(broker):
    lock, (signed, component) = UpdateLock(piece=4096), release()
    async with at_broker(broker, lock), exchange_at(broker) as (exchange, client):
        topic = f"vitrine/{lock.lock_id}/update/answer"
        await client.publish(topic, cbor.encode({1: 0, 3: 7}), qos=1, retain=True)
        for number in range(40):  # more than are kept
            await client.publish(topic, bytes([number]) * 3, qos=1)
            await client.publish("vitrine/case-99/update/answer", b"\xa0", qos=1)
        assert (await fast(exchange, lock.lock_id, signed, component).push()).state is State.STAGED
        assert lock.installed == [CONTENT]
        await client.publish(topic, b"", qos=1, retain=True)
        with pytest.raises(LinkError, match="is case-98 connected"):
            await ask_state(exchange.way("case-98", 0.2))


async def test_whoever_else_asks_it_at_the_same_time(broker):
    lock, (signed, component) = UpdateLock(piece=4096), release()
    lock.is_free = False
    async with at_broker(broker, lock), exchange_at(broker) as (exchange, client):
        topic = f"vitrine/{lock.lock_id}/update"

        async def meddle():
            while True:
                for body in ({}, {1: b"no manifest"}, {2: 77, 3: b"x"}, {2: 0, 3: b"x" * 100}):
                    await client.publish(topic, cbor.encode(body), qos=1)
                    await asyncio.sleep(0.01)

        meddling = asyncio.create_task(meddle())
        for _ in range(3):
            assert (await fast(exchange, lock.lock_id, signed, component).push()).state is State.STAGED
        meddling.cancel()
        await asyncio.wait({meddling})
    assert lock.installed == [CONTENT]


async def test_refusals(broker):
    lock, (signed, component) = UpdateLock(running=9, piece=4096), release()
    async with at_broker(broker, lock), exchange_at(broker) as (exchange, _):
        with pytest.raises(Refused) as refused:
            await fast(exchange, lock.lock_id, signed, component).push()
        assert refused.value.reason == Reason.SequenceStale


async def test_a_broker_that_comes_back(broker):
    lock, (signed, component) = UpdateLock(piece=4096), release()
    address = broker.client("commander")
    async with Exchange(address) as exchange:
        async with at_broker(broker, lock):
            begun = asyncio.ensure_future(fast(exchange, lock.lock_id, signed, component).push())
            while not lock.stream:
                await asyncio.sleep(0.01)
            with contextlib.suppress(LinkError):  # the lock's own connection
                await broker.stop()
                await asyncio.sleep(0.2)
        with pytest.raises(LinkError, match=r"broker .* is gone"):
            await ask_state(exchange.way("case-98", 0.2))
        await broker.start()
        async with at_broker(broker, lock):
            assert (await begun).state is State.STAGED and lock.installed == [CONTENT]
    await broker.stop()
    with pytest.raises(LinkError, match="the broker"):
        async with Exchange(address):
            pass
    await broker.start()


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff", b"\x80", b"\xa1\x01", bytes(2000), b"\xa1\x01\x00\x00"])
def test_no_answer(data):
    with pytest.raises(ProtocolError):
        read_answer(data)


def test_answers():
    assert read_answer(cbor.encode({1: 0})) == (Status.OK, {1: 0})
    assert read_answer(cbor.encode({5: 28})) == (Status.REFUSED, {5: 28})
    assert read_answer(cbor.encode({})) == (Status.REFUSED, {})
    assert read_answer(cbor.encode(None)) == (Status.BUSY, None)
