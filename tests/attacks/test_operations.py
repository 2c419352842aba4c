"""Attacks on what opens without a phone: forged, replayed, misdirected or late orders move nothing; all on record."""

import asyncio

import pytest

from support.store import (
    ALARM,
    LOCK_ID,
    LOCK_OPERATION,
    NOW_S,
    REASON,
    Store,
    of_kind,
    strike_changes,
)
from vitrine_tools.commanding import Number
from vitrine_tools.protocol import Reason

COMMAND_ERROR, COMMAND, COUNT, AUTHENTIC = 134, 26, 14, 16


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def order(store, body=None, **how):
    """The till's envelope to open, good for 120 s."""
    how = {"sequence": 10, "issuer": store.issuer, "exp_s": None if how.get("cnonce") else NOW_S + 120} | how
    return store.envelope(Number.OPERATE, body or {1: 1}, **how)


async def brought(store, lock, *envelopes):
    """Bring envelopes over BLE, three to a connection; return what the lock answered."""
    answers = []
    for at in range(0, len(envelopes), 3):
        async with store.phone(lock) as (_, session):
            answers += [await session.command(each) for each in envelopes[at : at + 3]]
    return [answer.reason for answer in answers]


def opened(lock):
    return len([event for event in of_kind(lock, LOCK_OPERATION) if event.get(COMMAND)])


def never_moved(lock):
    return not any(level for _, level in strike_changes(lock))


async def test_forged_orders_move_nothing_and_their_maker_learns_nothing(store):
    async with store.lock() as lock:
        forged = [bytearray(order(store)) for _ in range(3)]
        forged[0][-1] ^= 1
        forged[1][20] ^= 1
        forged[2][-80] ^= 1
        envelopes = [bytes(each) for each in forged] + [
            order(store, issuer=store.thief),
            order(store, issuer=store.holder),
        ]
        assert await brought(store, lock, *envelopes) == [None] * 5
        assert never_moved(lock)
        assert not any(event.get(AUTHENTIC) for event in of_kind(lock, COMMAND_ERROR))
        assert await brought(store, lock, order(store)) == [Reason.Granted], "and the real one still does"


async def test_replayed_at_once_after_a_reset_and_after_a_power_cut(store):
    async with store.lock() as lock:
        envelope = order(store)
        assert await brought(store, lock, envelope, envelope) == [Reason.Granted, Reason.SequenceStale]
        await lock.reset()
        assert await brought(store, lock, envelope) == [Reason.SequenceStale]
        await lock.power_cut()
        await lock.start()
        assert await brought(store, lock, envelope) == [Reason.TimeUntrusted]
        async with store.phone(lock) as (_, session):
            cnonce, _ = await session.fresh()
            # only who has the key can make it fresh, and then the sequence still stands
            answer = await session.command(order(store, cnonce=cnonce))
            assert (answer.reason, answer.sequence) == (Reason.SequenceStale, 10)
        assert opened(lock) == 1


async def test_what_was_refused_is_not_kept_for_a_better_moment(store):
    async with store.lock() as lock:
        assert (await store.command(lock, Number.SCENARIO, {2: True})).is_done
        held_back = order(store)
        assert await brought(store, lock, held_back) == [Reason.LockedDown]
        assert (await store.command(lock, Number.SCENARIO, {2: False}, sequence=2)).is_done
        assert await brought(store, lock, held_back) == [Reason.SequenceStale]
        assert never_moved(lock)


async def test_orders_for_other_locks_and_groups(store):
    async with store.lock() as lock:
        for audiences in (("case-13",), ("group:shoes",), ("case-13", "group:shoes")):
            assert await brought(store, lock, order(store, audiences=audiences)) == [None]
        assert never_moved(lock)
        both = order(store, audiences=("case-13", "group:jewellery"))
        assert await brought(store, lock, both, order(store, audiences=(LOCK_ID,))) == [0, Reason.SequenceStale]
        assert opened(lock) == 1


async def test_old_sequences_of_two_tills_with_one_key(store):
    """Each second at most one of them opens this case; the other one is told, and nothing opens twice."""
    async with store.lock() as lock:
        tills = [order(store, {1: 1, 2: bytes([till]) * 8}, sequence=100) for till in (1, 2)]
        async with store.phone(lock) as (_, one), store.phone(lock) as (_, other):
            answers = await asyncio.gather(one.command(tills[0]), other.command(tills[1]))
        assert sorted(answer.reason or 0 for answer in answers) == [Reason.Granted, Reason.SequenceStale]
        assert opened(lock) == 1
        assert await brought(store, lock, order(store, sequence=99), order(store, sequence=101)) == [28, 0]
        # another issuer's sequence is its own
        mine = order(store, sequence=1, issuer=store.headquarters)
        assert await brought(store, lock, mine, mine) == [Reason.Granted, Reason.SequenceStale]


async def test_an_id_that_comes_again(store):
    async with store.lock() as lock:
        envelopes = [order(store, sequence=number, id=b"the-same") for number in (10, 10, 11)]
        assert await brought(store, lock, *envelopes) == [0, Reason.SequenceStale, 0]
        assert {event[COMMAND] for event in of_kind(lock, LOCK_OPERATION) if event.get(COMMAND)} == {b"the-same"}


async def test_clock_jumps_make_no_old_order_good(store):
    async with store.lock() as lock:
        late = order(store, exp_s=NOW_S - 1)
        assert await brought(store, lock, late) == [Reason.Expired]
        lock.clock_jump(-3600)
        assert await brought(store, lock, late) == [Reason.TimeUntrusted]
        assert await brought(store, lock, order(store)) == [Reason.TimeUntrusted]
        assert never_moved(lock)
    async with store.lock(lock_id="case-14") as lock:
        async with store.phone(lock, lock_id="case-14") as (_, session):
            lock.clock_jump(3600)
            answer = await session.command(order(store, audiences=("case-14",)))
            assert answer.reason == Reason.TimeUntrusted
        assert never_moved(lock)


async def test_an_order_that_would_be_good_for_long(store):
    async with store.lock() as lock:
        assert await brought(store, lock, order(store, exp_s=NOW_S + 86_400)) == [Reason.LifetimeExceeded]
        assert never_moved(lock)


async def test_where_the_fixture_asks_for_more_no_order_opens(store):
    for setting, value, reason in (
        ("uv_required", 1, Reason.UserVerificationRequired),
        ("persons_required", 2, Reason.PersonsRequired),
    ):
        async with store.lock(lock_id=f"case-{value}0", door={setting: value}) as lock:
            async with store.phone(lock, lock_id=f"case-{value}0") as (_, session):
                answer = await session.command(order(store, audiences=(f"case-{value}0",)))
                assert answer.reason == reason
            assert never_moved(lock)


async def test_an_open_housing_stops_orders_where_it_was_configured_to(store):
    async with store.lock(door={"alarm_blocks": 1}) as lock:
        lock.open_housing()
        await lock.during(lock.wait_event(lambda event: event.get(ALARM) == 5))
        assert await brought(store, lock, order(store)) == [Reason.AlarmActive]
        assert never_moved(lock)


async def test_no_token_is_an_order_and_no_order_a_token(store):
    async with store.lock() as lock:
        async with store.phone(lock) as (_, session):
            assert (await session.command(store.token())).reason is None
        outcome = await store.open(lock, order(store))
        assert not outcome.is_granted
        assert never_moved(lock)


async def test_in_shadow_an_order_is_on_record_and_moves_nothing(store):
    async with store.lock() as lock:
        assert (await store.command(lock, Number.SCENARIO, {3: True})).is_done
        assert await brought(store, lock, order(store)) == [Reason.Granted]
        assert never_moved(lock) and of_kind(lock, LOCK_OPERATION)[-1][23] is True


async def test_a_damaged_blob_refuses_orders_and_nothing_else(store):
    from vitrine_tools.emulator import FlashImage

    lock = store.lock()
    image = FlashImage(store.folder / f"{LOCK_ID}.bin").create()
    image.provision(store.provision())
    image.nvs_put("vitrine", "operations", b"\xff")
    async with lock:
        assert [event for event in of_kind(lock, 129) if event.get(15) == "rules:operations"]
        assert await brought(store, lock, order(store)) == [Reason.Fault]
        assert never_moved(lock)
        assert (await store.open(lock)).is_granted
        assert not of_kind(lock, COMMAND_ERROR)[0].get(COUNT) and of_kind(lock, COMMAND_ERROR)[0][REASON] == 21


async def test_an_order_that_revokes_all_before_ends_what_was_signed_for_later(store):
    async with store.lock() as lock:
        before = {1: 0, 2: [[4, NOW_S + 200, 0]]}
        assert (await store.command(lock, Number.REVOKE, before, issuer=store.issuer)).is_done
        assert await brought(store, lock, order(store)) == [Reason.Revoked]
        assert never_moved(lock)
