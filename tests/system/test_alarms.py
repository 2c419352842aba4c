"""The whole firmware and its sensors: each alarm of SPEC.md 7.2 on the board where it happens, begun and over."""

import cbor2
import pytest

from support.store import DOOR_LOCK_ALARM, LOCK_OPERATION, NOW_S, OPERATION, SOURCE, of_kind, strike_changes
from vitrine_tools.protocol import Action

ALARM, COUNT, SHADOW = 11, 14, 23
EOL = {"dps_mode": 1}
HUNG_LIMIT_MS = 3_000


def alarms(lock, since=0):
    """[(code, step)] of what is on record."""
    return [(event[ALARM], event[COUNT]) for event in of_kind(lock, DOOR_LOCK_ALARM)[since:]]


async def told(lock, ms):
    """Let time pass; return [(ms since now, code, step)] of the alarms that were raised or ended meanwhile."""
    seen, start_ms = len(of_kind(lock, DOOR_LOCK_ALARM)), lock.now_ms
    await lock.advance(ms)
    return [(event["t_ms"] - start_ms, event[ALARM], event[COUNT]) for event in of_kind(lock, DOOR_LOCK_ALARM)[seen:]]


def tones(lock, since_ms):
    return [ms for ms, name, level in lock.pin_trace if name == "BUZZER" and level and ms >= since_ms]


@pytest.mark.parametrize("line", ["contact", "eol"])
async def test_a_day_of_openings_raises_nothing(store, line):
    """Every sensor is there and everything is as it should be."""
    door = {"dps_mode": int(line == "eol"), "battery_low_mv": 4_500, "unattended_ms": 20_000}
    async with store.lock(door=door, dps_line=line) as lock:
        for action in (Action.UNLOCK, Action.HOLD, Action.UNLOCK):
            assert (await store.open(lock, action=action)).is_granted
            await lock.advance(500)
            assert lock.bolt_drawn and lock.pull_door()
            await lock.advance(5_000)
            lock.set_door(True)
            await lock.advance(20_000)
            assert not lock.bolt_drawn
        lock.press_rex()
        await lock.advance(1_000)
        lock.press_rex(False)
        await lock.advance(60_000)
        assert alarms(lock) == []


@pytest.mark.parametrize("line", ["contact", "eol"])
@pytest.mark.parametrize("debounce_ms", [5, 30, 160])
async def test_forced_open_within_250_ms(store, line, debounce_ms):
    door = {"dps_mode": int(line == "eol"), "debounce_ms": debounce_ms}
    delays = []
    async with store.lock(door=door, dps_line=line) as lock:
        for phase_ms in (0, 17, 53, 101, 149, 197, 211):
            await lock.advance(2_000 + phase_ms)
            lock.set_door(False)
            ((delay_ms, code, step),) = await told(lock, 1_000)
            assert (code, step) == (6, 1)
            delays.append(delay_ms)
            lock.set_door(True)
            ((_, code, step),) = await told(lock, 5_000)
            assert (code, step) == (6, 0)
    print(f"forced open ({line}, debounce_ms {debounce_ms}): seen after {max(delays):g} ms at most")
    assert max(delays) <= 250, delays


async def test_ajar_in_three_steps(store):
    async with store.lock(door={"ajar_ms": 20_000, "ajar_step_ms": 15_000}) as lock:
        await store.open(lock)
        await lock.advance(100)
        lock.pull_door()
        steps = await told(lock, 100_000)
        assert [(code, step) for _, code, step in steps] == [(7, 1), (7, 2), (7, 3)]
        for (ms, _, _), wanted_ms in zip(steps, (20_000, 35_000, 50_000), strict=True):
            assert abs(ms - wanted_ms) <= 1_000
        lock.set_door(True)
        assert [said[1:] for said in await told(lock, 1_000)] == [(7, 0)]


async def test_a_grant_ends_ajar_and_forced(store, lock):
    lock.set_door(False)
    await lock.advance(1_000)
    assert (await store.open(lock)).is_granted
    assert alarms(lock) == [(6, 1), (6, 0)]
    await lock.advance(31_000)
    assert (await store.open(lock)).is_granted
    assert alarms(lock, 2) == [(7, 1), (7, 0)]


async def test_unattended(store):
    async with store.lock(door={"unattended_ms": 10_000, "ajar_ms": 60_000}) as lock:
        await store.open(lock)
        await lock.advance(100)
        lock.set_motion()
        lock.pull_door()
        assert await told(lock, 20_000) == []
        lock.set_motion(False)
        ((ms, code, step),) = await told(lock, 15_000)
        assert (code, step) == (128, 1) and 10_000 <= ms <= 10_500
        lock.set_motion()
        assert [said[1:] for said in await told(lock, 1_000)] == [(128, 0)]


async def test_a_bolt_that_does_not_draw(store, lock):
    lock.strike_stuck()
    assert (await store.open(lock)).is_granted  # the alarm blocks nothing that was not configured
    ((ms, code, step),) = await told(lock, 4_000)
    assert (code, step) == (0, 1) and 1_500 <= ms <= 2_000
    assert [said[1:] for said in await told(lock, 4_000)] == [(0, 0)]


async def test_a_bolt_that_stays_drawn(store, lock):
    await store.open(lock)
    await lock.advance(1_000)
    lock.strike_stuck()
    assert {said[1:] for said in await told(lock, 10_000)} == {(131, 1), (0, 1)}
    lock.strike_stuck(False)
    lock.pick_bolt(False)
    assert {said[1:] for said in await told(lock, 1_000)} == {(131, 0), (0, 0)}


async def test_a_picked_bolt(store, lock):
    await lock.advance(5_000)
    lock.pick_bolt()
    ((ms, code, step),) = await told(lock, 5_000)
    assert (code, step) == (131, 1) and 1_500 <= ms <= 2_000
    assert lock.pull_door()
    assert [said[1:] for said in await told(lock, 1_000)] == [(6, 1)]


async def test_the_housing(store, lock):
    await lock.advance(1_000)
    lock.open_housing()
    ((ms, code, step),) = await told(lock, 1_000)
    assert (code, step) == (5, 1) and ms <= 450
    lock.open_housing(False)
    assert [said[1:] for said in await told(lock, 3_000)] == [(5, 0)]


@pytest.mark.parametrize(("fault", "code"), [("dps_cut", 129), ("dps_short", 130)])
async def test_a_line_that_is_cut_or_shorted_is_told_from_closed(store, fault, code):
    async with store.lock(door=EOL, dps_line="eol") as lock:
        await lock.advance(1_000)
        getattr(lock, fault)()
        said = await told(lock, 1_000)
        # it counts as open, and nobody had the right to open it
        assert sorted(one[1:] for one in said) == [(6, 1), (code, 1)] and all(ms <= 250 for ms, _, _ in said)
        getattr(lock, fault)(False)
        assert sorted(one[1:] for one in await told(lock, 3_000)) == [(6, 0), (code, 0)]
        # whoever is entitled still gets in
        getattr(lock, fault)()
        await lock.advance(1_000)
        assert (await store.open(lock)).is_granted and lock.strike_energised


async def test_the_exit_button_held(store):
    async with store.lock(door={"rex_held_ms": 4_000}) as lock:
        lock.press_rex()
        ((ms, code, step),) = await told(lock, 10_000)
        assert (code, step) == (132, 1) and 4_000 <= ms <= 4_300
        lock.press_rex(False)
        assert [said[1:] for said in await told(lock, 1_000)] == [(132, 0)]


async def test_a_low_battery(store):
    async with store.lock(door={"battery_low_mv": 4_500}) as lock:
        lock.set_battery_mv(4_400)
        ((ms, code, step),) = await told(lock, 15_000)
        assert (code, step) == (133, 1) and 10_000 <= ms <= 11_500
        lock.set_battery_mv(4_600)
        assert await told(lock, 30_000) == []
        lock.set_battery_mv(4_800)
        ((ms, code, step),) = await told(lock, 15_000)
        assert (code, step) == (133, 0) and 10_000 <= ms <= 11_500


async def test_a_brown_out_loop(store):
    async with store.lock(battery=True) as lock:
        for _ in range(4):
            await lock.advance(30_000)
            assert alarms(lock) == []
            await lock.power_cut()
            await lock.start()
        await lock.advance(59_000)
        assert alarms(lock) == [(134, 1)]
        await lock.advance(2_000)
        assert alarms(lock) == [(134, 1), (134, 0)]
        await lock.power_cut()
        await lock.start()
        await lock.advance(61_000)
        assert len(alarms(lock)) == 2


async def test_an_alarm_is_heard_and_then_reminded_of(store, lock):
    await lock.advance(1_000)
    lock.set_door(False)
    await lock.advance(12_000)
    assert len(tones(lock, 1_000)) >= 50
    quiet_ms = lock.now_ms
    await lock.advance(61_000)
    assert 2 <= len(tones(lock, quiet_ms)) <= 3
    lock.set_door(True)
    await lock.advance(2_000)
    over_ms = lock.now_ms
    await lock.advance(60_000)
    assert tones(lock, over_ms) == []


async def test_light_only(store):
    async with store.lock(door={"is_loud": 0}) as lock:
        lock.set_door(False)
        await lock.advance(12_000)
        assert alarms(lock) == [(6, 1)] and tones(lock, 0) == []
        assert len([ms for ms, name, level in lock.pin_trace if name == "LED" and level]) >= 50


async def scenario(lock, **keys):
    """Start the lock with another scenario than it had (SPEC.md 6.2)."""
    await lock.power_cut()
    record = {1: 1, 2: False, 3: False, 4: [], 5: []}
    record.update({{"lockdown": 2, "shadow": 3, "passage": 5}[name]: value for name, value in keys.items()})
    lock.flash.nvs_put("vitrine", "scenario", cbor2.dumps(record, canonical=True))
    await lock.start()
    await lock.advance(2_000)


async def test_passage_holds_the_strike_and_ends_by_itself(store):
    async with store.lock(battery=True) as lock:
        await scenario(lock, passage=[[NOW_S, NOW_S + 300]])
        assert lock.strike_energised
        await lock.advance(250_000)
        assert lock.strike_energised and lock.pull_door()
        await lock.advance(20_000)
        lock.set_door(True)
        await lock.advance(35_000)
        assert not lock.strike_energised and alarms(lock) == []
        moves = [(event[OPERATION], event[SOURCE]) for event in of_kind(lock, LOCK_OPERATION)]
        assert moves == [(1, 6), (0, 6), (0, 4)]


async def test_a_lock_that_hangs_in_passage_lets_go(store):
    async with store.lock(battery=True) as lock:
        await scenario(lock, passage=[[NOW_S, NOW_S + 3_600]])
        for wait_ms in (0, 1_234, 4_567, 7_890):
            await lock.advance(wait_ms)
            assert lock.strike_energised
            await lock.hang()
            hung_ms = lock.now_ms
            await lock.advance(HUNG_LIMIT_MS)
            assert not lock.strike_energised
            assert strike_changes(lock)[-1][0] <= hung_ms + HUNG_LIMIT_MS
            await lock.advance(15_000)  # the watchdog brings it back, and the time with it


async def test_passage_without_time_stays_locked(store, lock):
    await scenario(lock, passage=[[0, 2**32 - 1]])  # the power cut took the clock
    await lock.advance(60_000)
    assert not lock.strike_energised and not [level for _, level in strike_changes(lock) if level]


async def test_lockdown_survives_a_start_and_leaves_the_way_out(store):
    async with store.lock(battery=True) as lock:
        await scenario(lock, lockdown=True, passage=[[NOW_S, NOW_S + 3_600]])
        assert (await store.open(lock)).reason_name == "LockedDown"
        await lock.advance(10_000)
        assert not any(level for _, level in strike_changes(lock))
        lock.press_rex()
        await lock.advance(100)
        assert lock.strike_energised


async def test_shadow_decides_and_moves_nothing(store):
    async with store.lock(battery=True) as lock:
        await scenario(lock, shadow=True, passage=[[NOW_S + 60, NOW_S + 90]])
        assert (await store.open(lock)).is_granted
        lock.press_rex()
        await lock.advance(500)
        lock.press_rex(False)
        lock.set_door(False)  # the other lock has opened
        await lock.advance(10_000)
        lock.set_door(True)
        await lock.advance(120_000)
        assert not any(level for _, level in strike_changes(lock)) and alarms(lock) == []
        moves = [(event[OPERATION], event[SOURCE], event.get(SHADOW)) for event in of_kind(lock, LOCK_OPERATION)]
        assert [move for move in moves if move[2]] == [(1, 7, True), (1, 5, True), (1, 6, True), (0, 6, True)]
