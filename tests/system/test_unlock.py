"""A phone opens a lock: the way of every day, and the phones around it."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from bumble.core import UUID

from support.store import (
    DOOR,
    DOOR_STATE_CHANGE,
    FAULT,
    KIND,
    LOCK_ID,
    LOCK_OPERATION,
    LOCK_OPERATION_ERROR,
    LOCK_STATE,
    NOW_S,
    OPERATION,
    REASON,
    SOURCE,
    of_kind,
    strike_changes,
)
from vitrine_tools import names
from vitrine_tools.emulator import BumblePhone
from vitrine_tools.emulator.bumble_link import SERVICE_UUID
from vitrine_tools.protocol import Action, Op, Status
from vitrine_tools.tokens import Claims, issue


@pytest.mark.parametrize("mtu", [23, 247])
async def test_open_and_relock(store, lock, mtu):
    outcome = await store.open(lock, mtu=mtu)
    assert outcome.is_granted and outcome.is_token_accepted
    assert lock.strike_energised
    await lock.advance(300)
    assert lock.pull_door()
    await lock.advance(300)
    assert not lock.strike_energised  # an open door needs no current
    lock.set_door(True)
    await lock.advance(200)
    assert of_kind(lock, DOOR_STATE_CHANGE)[-1][LOCK_STATE] != 1  # closed, not settled yet
    await lock.advance(1000)
    operations = [(event[OPERATION], event[SOURCE], event[LOCK_STATE]) for event in of_kind(lock, LOCK_OPERATION)]
    assert operations == [(1, 7, 2), (0, 4, 1)]  # unlocked by a phone, locked by itself


@pytest.mark.parametrize("mtu", [23, 247])
async def test_the_longest_lock_id_and_the_longest_token(store, mtu):
    """Every bound at its greatest: 32 characters of id, more than a name on the air has, and 512 bytes of token."""
    lock_id = "abcdefghij-0123456789-abcdefghij"
    windows = ((127, 0, 1440),) * 32
    token = store.token(lock_id, windows=windows, scopes=("unlock",), sub=bytes(16), ref=bytes(32))
    spare = 512 - len(token)
    audience = (lock_id, "group:" + "x" * (spare - 8))
    claims = Claims.for_holder(
        store.holder.public, audience, now_s=NOW_S, valid_s=28_800, windows=windows, sub=bytes(16), ref=bytes(32)
    )
    token = issue(claims, store.issuer)
    assert len(lock_id) == 32 and len(token) == 512
    async with store.lock(lock_id=lock_id) as lock:
        async with store.phone(lock, lock_id=lock_id, mtu=mtu) as (_, session):
            assert (await session.open(token, store.holder)).is_granted
        assert lock.strike_energised
        assert not of_kind(lock, FAULT)


async def test_nobody_opens_the_door_and_it_locks(store, lock):
    await store.open(lock)
    await lock.advance(4_900)
    assert lock.strike_energised
    await lock.advance(600)
    assert not lock.strike_energised
    assert of_kind(lock, LOCK_OPERATION)[-1][LOCK_STATE] == 1


async def test_hold_is_longer_and_lock_ends_it(store, lock):
    assert (await store.open(lock, action=Action.HOLD)).is_granted
    await lock.advance(8_000)
    assert lock.strike_energised
    assert (await store.open(lock, action=Action.LOCK)).is_granted
    await lock.advance(1_000)
    assert not lock.strike_energised


async def test_several_phones_at_once(store, lock):
    """Three phones in session together; the lock goes on advertising for a fourth."""
    token = store.token()
    async with store.phone(lock) as (_, one), store.phone(lock) as (_, two), store.phone(lock) as (_, three):
        outcomes = await asyncio.gather(*(each.open(token, store.holder) for each in (one, two, three)))
        assert all(outcome.is_granted for outcome in outcomes)
        async with BumblePhone(store.radio) as fourth:
            assert await fourth.scan(names.hint(LOCK_ID))


async def test_interleaved_chunks_of_two_phones_do_not_mix(store, lock):
    """At ATT_MTU 23 a token is many chunks; two phones write theirs in turn."""
    async with store.phone(lock, mtu=23) as (_, one), store.phone(lock, mtu=23) as (_, two):
        accepted = await asyncio.gather(one.present(store.token(sub=b"one")), two.present(store.token(sub=b"two")))
        assert accepted == [True, True]


async def test_a_silent_connection_ends_after_5_s(store, lock):
    async with store.phone(lock) as (phone, _):
        await lock.advance(4_900)
        assert phone.is_connected
        await lock.advance(300)
        await phone.disconnected.wait()
    assert lock.connections == 0


async def test_a_busy_connection_ends_after_15_s(store, lock):
    async with store.phone(lock) as (phone, session):
        begin_ms = lock.now_ms
        while phone.is_connected and lock.now_ms - begin_ms < 20_000:
            await session.hello()
            await lock.advance(990)
        assert 14_000 <= lock.now_ms - begin_ms <= 16_000


async def test_a_fourth_phone_is_let_in_at_the_cost_of_an_idle_one(store, lock):
    """Three connections that prove nothing cannot keep a customer waiting."""
    async with store.phone(lock) as (first, _), store.phone(lock), store.phone(lock):
        await lock.advance(1_100)
        outcome = await store.open(lock)
        assert outcome.is_granted
        await lock.advance(100)
        assert not first.is_connected


async def test_strangers_who_keep_connecting_do_not_push_out_who_is_still_confirming(store, lock):
    token = store.token()
    async with AsyncExitStack() as strangers, store.phone(lock) as (phone, session):
        nonce = (await session.hello()).nonce
        assert await session.present(token)
        for _ in range(20):  # the person takes 4 s to confirm
            await strangers.enter_async_context(store.phone(lock))
            await lock.advance(200)
        assert phone.is_connected
        acted = await session.act(Action.UNLOCK, token=token, holder=store.holder, nonce=nonce)
        assert acted.status == Status.OK


async def test_whoever_shows_copies_of_a_token_does_not_keep_its_holder_out(store, lock):
    token = store.token()
    async with AsyncExitStack() as strangers:
        sessions = [(await strangers.enter_async_context(store.phone(lock)))[1] for _ in range(3)]
        for session in sessions:
            await session.hello()
            assert await session.present(token)
        for _ in range(2):
            await lock.advance(4_100)
            for session in sessions:
                await session.fresh()
        assert (await store.open(lock, token)).is_granted


async def test_a_phone_that_has_proved_itself_is_not_pushed_out(store, lock):
    token = store.token()
    async with store.phone(lock) as (proved, session):
        await session.open(token, store.holder)
        async with store.phone(lock), store.phone(lock):
            await lock.advance(1_100)
            async with store.phone(lock):
                assert proved.is_connected
                assert (await session.status()).lock_state == 2


async def test_finds_its_own_among_50_without_connecting_to_another(store, lock):
    """49 locks around it, each with another hint; none of them sees a connection."""
    neighbours = [names.hint(f"case-{number}") for number in range(100, 149)]
    async with crowd(store.radio, neighbours) as neighbourhood, BumblePhone(store.radio) as phone:
        address = await phone.scan(names.hint(LOCK_ID))
        assert address == lock.address
        await phone.connect(address)
        assert lock.connections == 1
        assert neighbourhood.connections == []


class crowd:
    """Neighbouring locks: advertisers with a hint of their own, which note whether anybody connects."""

    def __init__(self, radio, hints):
        self._phones = [BumblePhone(radio, f"neighbour-{n}") for n in range(len(hints))]
        self._hints = hints
        self.connections = []

    async def __aenter__(self):
        for phone, hint in zip(self._phones, self._hints, strict=True):
            await phone.power_on()
            service = UUID(SERVICE_UUID).to_bytes()
            data = b"\x02\x01\x06" + bytes([25, 0x21]) + service + b"\x01\x03" + hint
            phone.device.on("connection", lambda _connection: self.connections.append(1))
            await phone.device.start_advertising(advertising_data=data, auto_restart=False)
        return self

    async def __aexit__(self, *_):
        for phone in self._phones:
            await phone.close()


async def test_status_and_identify(store, lock):
    async with store.phone(lock) as (_, session):
        status, _ = await session.ask(Op.STATUS)
        assert status == Status.REFUSED
        await session.open(store.token(), store.holder)
        assert (await session.status()).lock_id == LOCK_ID
        assert await session.identify() == Status.OK
        await lock.advance(300)
        assert any(name in ("LED", "BUZZER") for _, name, _ in lock.pin_trace)
        assert await session.identify() == Status.BUSY


async def test_a_forced_door_raises_the_alarm(lock):
    before_ms = lock.now_ms
    lock.set_door(False)
    await lock.advance(250)
    (alarm,) = [event for event in lock.events if event[KIND] == 0]
    assert alarm[11] == 6 and alarm["t_ms"] - before_ms <= 250
    assert of_kind(lock, DOOR_STATE_CHANGE)[-1][DOOR] == 3
    assert strike_changes(lock) == []


async def test_the_exit_button_always_opens(lock):
    lock.press_rex()
    await lock.advance(100)
    assert lock.strike_energised
    lock.press_rex(False)
    lock.pull_door()
    await lock.advance(300)
    assert not [event for event in lock.events if event[KIND] == 0]  # leaving is not forcing


async def test_an_ajar_door_is_reported_once(store, lock):
    await store.open(lock)
    lock.pull_door()
    await lock.advance(60_000)
    alarms = [event[11] for event in lock.events if event[KIND] == 0]
    assert alarms == [7]


async def test_a_quiet_hour_leaves_no_fault_and_an_expired_token(store, lock):
    token = store.token(valid_s=1_800)
    await lock.advance(3_600_000)
    assert not of_kind(lock, FAULT) and lock.restarts == 0
    outcome = await store.open(lock, token)
    assert (outcome.status, outcome.reason_name) == (Status.REFUSED, "Expired")
    assert [event[REASON] for event in of_kind(lock, LOCK_OPERATION_ERROR)] == [5]
