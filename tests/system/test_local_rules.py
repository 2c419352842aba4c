"""The whole firmware in a room with a camera, an alarm relay and a trigger contact: no broker, no network."""

from contextlib import asynccontextmanager

import pytest

from support.store import DOOR_LOCK_ALARM, LOCK_OPERATION, LOCK_OPERATION_ERROR, SOURCE, of_kind
from vitrine_tools.protocol import Action

OPENED, REFUSED, ALARMED, TRIGGERED, MOVED = 1, 2, 4, 8, 16
COUNT, SINCE, TRIGGER = 14, 19, 135
CONTACT, MOTION = 1, 4
LIMIT_MS = 200


def edges(lock, pin="CAMERA"):
    return [(ms, level) for ms, name, level in lock.pin_trace if name == pin]


def pulses(lock):
    """[(begin, length)] of the camera's pulses."""
    seen = edges(lock)
    assert [level for _, level in seen] == [1, 0] * (len(seen) // 2), "each pulse is over"
    return [(seen[i][0], seen[i + 1][0] - seen[i][0]) for i in range(0, len(seen), 2)]


@asynccontextmanager
async def room(store, **door):
    async with store.lock(door=door) as lock:
        await lock.advance(3_000)
        assert edges(lock) == edges(lock, "RELAY") == [], "nothing at the start"
        yield lock


async def test_nothing_is_filmed_that_was_not_configured(store):
    async with room(store) as lock:
        assert (await store.open(lock)).is_granted
        lock.trigger()
        lock.set_motion()
        lock.open_housing()
        await lock.advance(60_000)
        assert edges(lock) == edges(lock, "RELAY") == []
        assert len(of_kind(lock, TRIGGER)) == 1, "but the contact is on record"


@pytest.mark.parametrize("camera_ms", [50, 500, 5_000])
async def test_an_opening_is_filmed(store, camera_ms):
    async with room(store, camera_events=OPENED, camera_ms=camera_ms) as lock:
        begin_ms = lock.now_ms
        assert (await store.open(lock, action=Action.HOLD)).is_granted
        await lock.advance(20_000)
        ((ms, length),) = pulses(lock)
        assert 0 <= ms - begin_ms <= LIMIT_MS and abs(length - camera_ms) <= 1
        lock.press_rex()
        await lock.advance(20_000)
        assert len(pulses(lock)) == 2


async def test_a_refusal_of_a_proven_holder_is_filmed_and_nobodys_is_not(store):
    async with room(store, camera_events=REFUSED) as lock:
        token = store.token(scopes=("unlock",))
        assert not (await store.open(lock, token, holder=store.thief)).is_granted
        await lock.advance(5_000)
        assert len(of_kind(lock, LOCK_OPERATION_ERROR)) == 1 and pulses(lock) == []
        assert not (await store.open(lock, token, action=Action.HOLD)).is_granted
        await lock.advance(5_000)
        assert len(of_kind(lock, LOCK_OPERATION_ERROR)) == 2 and len(pulses(lock)) == 1


async def test_an_alarm_is_filmed_and_switches_the_relay_while_it_lasts(store):
    async with room(store, camera_events=ALARMED, relay_alarms=1 << 2) as lock:
        lock.set_door(False)
        begin_ms = lock.now_ms
        await lock.advance(10_000)
        ((ms, _),) = pulses(lock)
        ((relay_ms, level),) = edges(lock, "RELAY")
        print(f"forced open -> camera {ms - begin_ms:g} ms, relay {relay_ms - begin_ms:g} ms")
        raised_ms = of_kind(lock, DOOR_LOCK_ALARM)[0]["t_ms"]
        assert level == 1 and relay_ms == ms == raised_ms and relay_ms - begin_ms <= 250
        lock.open_housing()  # not one that the relay is for
        lock.set_door(True)
        await lock.advance(10_000)
        assert [level for _, level in edges(lock, "RELAY")] == [1, 0]
        assert len(pulses(lock)) == 2, "the end of an alarm is no event to film"


async def test_the_relay_for_an_open_door_and_a_held_button(store):
    async with room(store, relay_alarms=1 << 8 | 1 << 9, ajar_ms=5_000, rex_held_ms=2_000) as lock:
        lock.press_rex()
        await lock.advance(3_000)
        assert lock.pins["RELAY"] == 1
        lock.press_rex(False)
        await lock.advance(2_000)
        assert lock.pins["RELAY"] == 0
        lock.press_rex()
        await lock.advance(200)
        lock.press_rex(False)
        assert lock.pull_door()
        await lock.advance(4_000)
        assert lock.pins["RELAY"] == 0
        await lock.advance(3_000)
        assert lock.pins["RELAY"] == 1
        lock.set_door(True)
        await lock.advance(2_000)
        assert lock.pins["RELAY"] == 0


async def test_trigger_and_motion_react_within_200_ms(store):
    async with room(store, camera_events=TRIGGERED | MOVED) as lock:
        slowest_ms = 0.0
        for phase_ms in (0, 1, 13, 57, 101, 333, 777):
            for act, source in ((lock.trigger, CONTACT), (lock.set_motion, MOTION)):
                await lock.advance(31_000 + phase_ms)
                begin_ms, known = lock.now_ms, len(of_kind(lock, TRIGGER))
                act(True)
                await lock.advance(2_000)
                act(False)
                record = of_kind(lock, TRIGGER)[known]
                assert record[SOURCE] == source and COUNT not in record
                assert record["t_ms"] <= pulses(lock)[-1][0], "the record comes first: the clip is called by its number"
                slowest_ms = max(slowest_ms, pulses(lock)[-1][0] - begin_ms)
        print(f"trigger and motion -> camera: {slowest_ms:g} ms at most")
        assert slowest_ms <= LIMIT_MS and len(of_kind(lock, TRIGGER)) == 14


async def test_a_trigger_in_the_middle_of_an_unlock_costs_it_nothing(store):
    async with room(store, camera_events=TRIGGERED) as lock:
        async with store.phone(lock) as (_, session):
            lock.trigger()
            outcome = await session.open(store.token(), store.holder)
        assert outcome.is_granted
        await lock.advance(2_000)
        assert len(pulses(lock)) == 1 and of_kind(lock, LOCK_OPERATION)


async def test_motion_in_front_of_an_open_door_is_nobodys_business(store):
    async with room(store, camera_events=MOVED) as lock:
        assert (await store.open(lock)).is_granted
        await lock.advance(100)
        lock.pull_door()
        lock.set_motion()
        await lock.advance(5_000)
        assert pulses(lock) == [] and of_kind(lock, TRIGGER) == []


async def test_a_contact_that_flaps_does_not_fill_the_journal(store):
    async with room(store, camera_events=TRIGGERED) as lock:
        closings = 0
        for _ in range(1_000):
            lock.trigger(True)
            await lock.advance(60)
            lock.trigger(False)
            await lock.advance(60)
            closings += 1
        await lock.advance(1_300_000)
        records = of_kind(lock, TRIGGER)
        assert sum(record.get(COUNT, 1) for record in records) == closings, "every one of them is accounted for"
        assert len(records) <= 25
        assert all(SINCE in record for record in records if COUNT in record)
        assert len(pulses(lock)) == 1, "one long one"


async def test_chatter_is_one_closing_or_none(store):
    async with room(store, camera_events=TRIGGERED) as lock:
        for index in range(9):
            lock.trigger(index % 2 == 0)
            await lock.advance(1.5)
        await lock.advance(5_000)
        assert len(of_kind(lock, TRIGGER)) == 1
        lock.trigger(False)
        await lock.advance(5_000)
        lock.trigger()
        await lock.advance(10)
        lock.trigger(False)
        await lock.advance(5_000)
        assert len(of_kind(lock, TRIGGER)) == 1, "10 ms are a disturbance"


async def test_what_is_closed_at_power_up_is_no_event_and_duress_is_not_shown(store):
    lock = store.lock(door={"camera_events": ALARMED | TRIGGERED})
    lock.trigger()
    lock.set_motion()
    async with lock:
        await lock.advance(5_000)
        assert (await store.open(lock, store.token(is_duress=True))).is_granted
        await lock.advance(5_000)
        assert of_kind(lock, LOCK_OPERATION)[-1][11] == 8
        assert edges(lock) == [] and of_kind(lock, TRIGGER) == []


async def test_in_shadow_nothing_is_opened_and_nothing_is_filmed(store):
    async with room(store, camera_events=OPENED) as lock:
        assert (await store.command(lock, 4, {3: True})).reason == 0
        assert (await store.open(lock)).is_granted
        await lock.advance(5_000)
        assert edges(lock) == []


async def test_a_reset_ends_a_pulse(store):
    async with room(store, camera_events=OPENED, camera_ms=5_000, relay_alarms=1) as lock:
        await store.open(lock)
        lock.open_housing()
        await lock.advance(500)
        assert lock.pins["CAMERA"] == lock.pins["RELAY"] == 1
        await lock.reset()
        assert lock.pins["CAMERA"] == 0
