"""Trusted time on the whole lock: statements, jumps, the floor over power cuts, and what is on record (SPEC.md 5.2)."""

import struct

import pytest

from support.store import DETAIL, LOCK_OPERATION_ERROR, NOW_S, REASON, of_kind

TIME, TIME_STATE, SINCE, ERROR_BOUND = 2, 3, 19, 29
TIME_CHANGE = 131
TIME_UNTRUSTED = 10
UNTRUSTED, TRUSTED, COASTING = range(3)


def changes(lock, since=0):
    """Return the details of the TimeChange records from the since-th event on."""
    return [event[DETAIL] for event in lock.events[since:] if event.get(1) == TIME_CHANGE]


def floor_s(lock):
    """Return what a power cut now would leave of the floor."""
    return struct.unpack("<i", lock.flash.nvs_get("vitrine", "floor"))[0] & 0xFFFFFFFF


async def time_state(store, lock):
    async with store.phone(lock) as (_, session):
        return (await session.hello()).time_state


async def test_a_lock_without_time_gets_it_from_any_phone(store):
    """The statement is headquarters'; the phone that carries it has no token."""
    async with store.lock(rtc_s=None, is_time_trusted=False) as lock:
        outcome = await store.open(lock)
        assert outcome.reason_name == "TimeUntrusted"
        answer = await store.tell_time(lock, NOW_S)
        assert answer.is_done
        assert abs(lock.rtc_s - NOW_S) <= 2
        await lock.advance(3_000)
        assert changes(lock) == ["statement"]
        record = of_kind(lock, TIME_CHANGE)[0]
        assert (record[TIME_STATE], record[ERROR_BOUND], record[SINCE]) == (TRUSTED, 1, NOW_S)
        assert len(record[13]) == 8 and 8 <= len(record[26]) <= 16  # who said so, with which command
        assert (await store.open(lock)).is_granted


async def test_an_issuer_without_admin_sets_no_clock(store):
    async with store.lock(rtc_s=None, is_time_trusted=False) as lock:
        answer = await store.tell_time(lock, NOW_S, issuer=store.issuer)
        assert not answer.is_done
        await lock.advance(2_000)
        assert changes(lock) == [] and await time_state(store, lock) == UNTRUSTED


async def test_a_statement_is_good_once_and_not_after_300_s(store):
    async with store.lock(rtc_s=None, is_time_trusted=False) as lock:
        async with store.phone(lock) as (_, session):
            cnonce, _ = await session.fresh()
            envelope = store.envelope(1, NOW_S, sequence=None, cnonce=cnonce)
            assert (await session.command(envelope)).is_done
            answer = await session.command(envelope)
            assert answer.reason_name == "FreshnessMissing"
        await lock.reset()
        async with store.phone(lock) as (_, session):
            assert (await session.command(envelope)).reason_name == "FreshnessMissing"
            late, _ = await session.fresh()
        await lock.advance(300_001)
        async with store.phone(lock) as (_, session):
            answer = await session.command(store.envelope(1, NOW_S + 500, sequence=None, cnonce=late))
            assert answer.reason_name == "FreshnessMissing"


@pytest.mark.parametrize("jump_s", [-31_536_000, -3, 3, 3_600, 315_360_000])
async def test_a_clock_that_is_moved_opens_nothing_and_is_on_record(store, lock, jump_s):
    """At once, whether or not a task has looked; over a reset; until somebody states the time."""
    lock.clock_jump(jump_s)
    outcome = await store.open(lock)
    assert outcome.reason_name == "TimeUntrusted"
    await lock.advance(2_000)
    assert changes(lock) == ["jump"]
    record = of_kind(lock, TIME_CHANGE)[0]
    assert record[TIME_STATE] == UNTRUSTED and abs(record[SINCE] - NOW_S) <= 3 and ERROR_BOUND not in record
    assert of_kind(lock, LOCK_OPERATION_ERROR)[0][REASON] == TIME_UNTRUSTED
    lock.clock_jump(-jump_s)
    await lock.reset()
    await lock.advance(2_000)
    assert await time_state(store, lock) == UNTRUSTED and changes(lock) == ["jump"]
    assert (await store.tell_time(lock, NOW_S + 10)).is_done
    assert (await store.open(lock)).is_granted
    assert changes(lock) == ["jump", "statement"]


async def test_the_floor_survives_a_power_cut_and_is_at_most_60_s_old(store, lock):
    for _ in range(40):
        await lock.advance(7_300)
        assert 0 <= lock.rtc_s - floor_s(lock) <= 60.3
    known_s = lock.rtc_s
    await lock.power_cut()
    await lock.start()
    await lock.advance(2_000)
    assert changes(lock) == ["lost"]
    record = of_kind(lock, TIME_CHANGE)[0]
    assert known_s - 61 <= record[TIME] <= known_s and await time_state(store, lock) == UNTRUSTED
    # a statement from before is refused, one from now is not
    assert (await store.tell_time(lock, int(known_s) - 120)).reason_name == "TimeUntrusted"
    assert (await store.tell_time(lock, int(known_s) + 2)).is_done


async def test_with_a_battery_time_goes_on(store):
    async with store.lock(battery=True) as lock:
        await lock.advance(10_000)
        await lock.power_cut()
        await lock.start()
        await lock.advance(2_000)
        assert changes(lock) == [] and await time_state(store, lock) == TRUSTED


async def test_with_a_battery_but_turned_back_while_it_was_off(store):
    async with store.lock(battery=True) as lock:
        await lock.advance(600_000)
        await lock.power_cut()
        lock.clock_jump(-300)
        await lock.start()
        await lock.advance(2_000)
        assert changes(lock) == ["back"]
        assert (await store.open(lock)).reason_name == "TimeUntrusted"


async def test_it_coasts_and_at_last_knows_no_time(store):
    lock = store.lock(door={"coast_after_s": 3_900, "max_error_s": 5, "drift_ppm": 1000})
    lock.trust_time(ago_s=3_840)
    async with lock:
        await lock.advance(65_000)
        assert changes(lock) == ["coasting"] and await time_state(store, lock) == COASTING
        assert (await store.open(lock)).is_granted
        await lock.advance(120_000)
        assert changes(lock) == ["coasting", "drifted"] and await time_state(store, lock) == UNTRUSTED
        assert (await store.open(lock)).reason_name == "TimeUntrusted"


async def test_ticks_that_wrap_are_no_jump(store):
    async with store.lock(uptime_ms=2**30 - 5_000) as lock:
        await lock.advance(20_000)
        assert changes(lock) == [] and await time_state(store, lock) == TRUSTED
        assert (await store.open(lock)).is_granted
