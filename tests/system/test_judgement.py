"""Who may open, when, on the whole lock: commanded, revoked, spent, asked of two, forbidden; over power cuts."""

import pytest

from support.store import (
    ALARM,
    DETAIL,
    DOOR_LOCK_ALARM,
    FAULT,
    LOCK_ID,
    LOCK_OPERATION,
    NOW_S,
    REASON,
    Store,
    of_kind,
    strike_changes,
)
from vitrine_tools.commanding import Number
from vitrine_tools.emulator.flash import FlashImage
from vitrine_tools.field import diagnosis
from vitrine_tools.field.authority import Authority, ServiceError
from vitrine_tools.protocol import Action, Reason
from vitrine_tools.tokens import Claims, issue

CONFIGURATION_CHANGE, TIME_CHANGE, COMMAND_ERROR = 130, 131, 134
SEQUENCE, PERSONS, SHADOW = 27, 28, 23
FORCED_USER = 8
NEVER = 0
LOCKDOWN, RELEASE = {2: True}, {2: False}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


async def reason_of(store, lock, token=None, **how):
    outcome = await store.open(lock, token, **how)
    return outcome.reason


def configured(**settings):
    from vitrine_tools.configuration import SETTINGS

    return {2: {SETTINGS[name].key: value for name, value in settings.items()}, 3: [], 4: None, 5: []}


async def test_a_revoked_token_opens_no_more_and_no_power_cut_gives_it_back(store):
    token = store.token(cti=b"revoke-me")
    async with store.lock(battery=True) as lock:
        assert await reason_of(store, lock, token) == Reason.Granted
        async with store.phone(lock) as (_, session):
            # a session under way: it holds for this one as well
            await session.hello()
            assert await session.present(token)
            answer = await store.command(
                lock, Number.REVOKE, {1: 0, 2: [[1, b"revoke-me", NEVER]]}, issuer=store.issuer
            )
            assert answer.is_done and answer.sequence == 1
            assert (await session.open(token, store.holder)).reason == Reason.Revoked
        await lock.power_cut()
        await lock.start()
        assert await reason_of(store, lock, token) == Reason.Revoked
        assert await reason_of(store, lock) == Reason.Granted
        changes = of_kind(lock, CONFIGURATION_CHANGE)
        assert [(change[SEQUENCE], change[DETAIL]) for change in changes] == [(1, "revoke")]


@pytest.mark.parametrize("entry", ["sub", "key", "before"])
async def test_all_ways_to_revoke(store, entry):
    from hashlib import sha256

    entries = {
        "sub": [2, b"p-17", NEVER],
        "key": [3, sha256(store.holder.public.raw).digest()[:8], NEVER],
        "before": [4, NOW_S + 1, NEVER],
    }
    token = store.token(sub=b"p-17")
    later = store.token(sub=b"p-18", holder=store.colleague, nbf_s=NOW_S + 5)
    async with store.lock(rtc_s=NOW_S + 10) as lock:
        assert await reason_of(store, lock, token) == Reason.Granted
        answer = await store.command(lock, Number.REVOKE, {1: 0, 2: [entries[entry]]}, issuer=store.issuer)
        assert answer.is_done
        assert await reason_of(store, lock, token) == Reason.Revoked
        assert await reason_of(store, lock, later, holder=store.colleague) == Reason.Granted


async def test_an_issuer_revokes_its_own_tokens_only_unless_it_is_admin(store):
    token = store.token(cti=b"revoke-me", issuer=store.headquarters, scopes=("unlock",))
    body = {1: 0, 2: [[1, b"revoke-me", NEVER]], 3: store.headquarters.public.kid}
    async with store.lock() as lock:
        assert (await store.command(lock, Number.REVOKE, body, issuer=store.issuer)).reason == Reason.ScopeNotAllowed
        assert await reason_of(store, lock, token) == Reason.Granted
        assert (await store.command(lock, Number.REVOKE, body | {3: store.issuer.public.kid})).is_done
        assert await reason_of(store, lock, token) == Reason.Granted
        assert (await store.command(lock, Number.REVOKE, body)).is_done
        assert await reason_of(store, lock, token) == Reason.Revoked


async def test_a_later_token_carries_a_revocation(store):
    old, new = store.token(cti=b"revoke-me"), store.token(revoke=(0, 5, [[1, b"revoke-me", NEVER]]))
    async with store.lock() as lock:
        async with store.phone(lock) as (_, session):
            await session.hello()
            assert await session.present(new)  # presenting it is enough
        assert await reason_of(store, lock, old) == Reason.Revoked
        assert [change[SEQUENCE] for change in of_kind(lock, CONFIGURATION_CHANGE)] == [5]
        forged = store.token(issuer=store.thief, revoke=(5, 6, [[4, NOW_S + 100, NEVER]]))
        assert await reason_of(store, lock, forged) is None
        assert await reason_of(store, lock) == Reason.Granted


async def test_a_use_is_spent_for_good_before_the_strike_moves(store):
    token = store.token(uses=2)
    async with store.lock(battery=True) as lock:
        assert await reason_of(store, lock, token) == Reason.Granted
        for _ in range(2):
            await lock.power_cut()
            await lock.start()
        assert await reason_of(store, lock, token) == Reason.Granted
        assert await reason_of(store, lock, token) == Reason.UsesExhausted
        assert await reason_of(store, lock) == Reason.Granted


async def test_lockdown_shuts_at_once_and_outlives_a_reset(store):
    master = store.token(issuer=store.headquarters, scopes=("unlock", "admin"))
    async with store.lock(battery=True) as lock:
        assert await reason_of(store, lock, action=Action.HOLD) == Reason.Granted
        assert lock.strike_energised
        before_ms = lock.now_ms
        assert (await store.command(lock, Number.SCENARIO, LOCKDOWN)).is_done
        await lock.advance(1)
        assert not lock.strike_energised and strike_changes(lock)[-1][0] - before_ms <= 1000
        assert await reason_of(store, lock) == Reason.LockedDown
        await lock.power_cut()
        await lock.start()
        assert await reason_of(store, lock) == Reason.LockedDown
        lock.press_rex()
        await lock.advance(100)
        assert lock.strike_energised, "nobody is locked in"
        lock.press_rex(False)
        await lock.advance(20_000)
        assert await reason_of(store, lock, master) == Reason.Granted
        # an old release, and a new one
        assert (await store.command(lock, Number.SCENARIO, RELEASE, sequence=1)).reason == Reason.SequenceStale
        assert (await store.command(lock, Number.SCENARIO, RELEASE, sequence=2)).is_done
        assert await reason_of(store, lock) == Reason.Granted


async def test_passage_opens_for_its_time_and_ends_by_itself(store):
    window = [NOW_S + 60, NOW_S + 120]
    async with store.lock() as lock:
        assert (await store.command(lock, Number.SCENARIO, {5: [window]})).is_done
        await lock.advance(59_000)
        assert not lock.strike_energised
        await lock.advance(3_000)
        assert lock.strike_energised
        for _ in range(5):  # customers come and go, and none of them is an alarm
            assert lock.pull_door()
            await lock.advance(5_000)
            lock.set_door(True)
            await lock.advance(5_000)
        assert lock.strike_energised and not of_kind(lock, DOOR_LOCK_ALARM)
        await lock.advance(10_000)
        assert not lock.strike_energised and not lock.pull_door()
        assert not of_kind(lock, DOOR_LOCK_ALARM)


async def test_passage_needs_a_clock_that_can_be_trusted(store):
    async with store.lock() as lock:
        assert (await store.command(lock, Number.SCENARIO, {5: [[NOW_S, NOW_S + 600]]})).is_done
        await lock.advance(2_000)
        assert lock.strike_energised
        await lock.power_cut()
        await lock.start()
        await lock.advance(5_000)
        assert not lock.strike_energised
        assert (await store.tell_time(lock, NOW_S + 60)).is_done
        await lock.advance(2_000)
        assert lock.strike_energised


async def test_shadow_mode_decides_records_and_never_moves(store):
    async with store.lock() as lock:
        assert (await store.command(lock, Number.SCENARIO, {3: True})).is_done
        assert await reason_of(store, lock) == Reason.Granted
        assert await reason_of(store, lock, store.token(scopes=("hold",)), action=Action.UNLOCK) == Reason.ScopeMissing
        lock.press_rex()
        await lock.advance(200)
        assert [event[SHADOW] for event in of_kind(lock, LOCK_OPERATION)] == [True, True]
        assert not [level for _, level in strike_changes(lock) if level]


async def test_two_persons_open_what_one_may_not(store):
    first = store.token(sub=b"p-1", persons=2)
    second = store.token(sub=b"p-2", persons=2, holder=store.colleague)
    same_person = store.token(sub=b"p-1", persons=2, holder=store.colleague)
    async with store.lock() as lock:
        assert await reason_of(store, lock, first) == Reason.PersonsRequired
        assert await reason_of(store, lock, first) == Reason.PersonsRequired
        assert await reason_of(store, lock, same_person, holder=store.colleague) == Reason.PersonsRequired
        assert not lock.strike_energised
        await lock.advance(31_000)
        assert await reason_of(store, lock, first) == Reason.PersonsRequired
        await lock.advance(31_000)
        assert await reason_of(store, lock, second, holder=store.colleague) == Reason.PersonsRequired
        await lock.advance(29_000)
        assert await reason_of(store, lock, first) == Reason.Granted
        assert of_kind(lock, LOCK_OPERATION)[-1][PERSONS] == 2


async def test_duress_opens_and_tells_nobody_at_the_door(store):
    async with store.lock() as lock:
        plain = await store.open(lock)
        await lock.advance(20_000)
        forced = await store.open(lock, store.token(is_duress=True))
        assert (forced.status, forced.lock_state, forced.door_state) == (
            plain.status,
            plain.lock_state,
            plain.door_state,
        )
        grants = [event for event in of_kind(lock, LOCK_OPERATION) if event.get(REASON) == 0]
        assert [event.get(ALARM) for event in grants] == [None, FORCED_USER]
        assert not of_kind(lock, DOOR_LOCK_ALARM)


async def test_a_fixture_asks_for_the_users_verification(store):
    async with store.lock(battery=True) as lock:
        assert (await store.command(lock, Number.CONFIGURE, configured(uv_required=1))).is_done
        assert await reason_of(store, lock) == Reason.UserVerificationRequired
        assert await reason_of(store, lock, is_user_verified=True) == Reason.Granted
        await lock.power_cut()
        await lock.start()
        assert await reason_of(store, lock) == Reason.UserVerificationRequired
        old = await store.command(lock, Number.CONFIGURE, configured())
        assert (old.reason, old.sequence) == (Reason.SequenceStale, 1)
        wrong = await store.command(lock, Number.CONFIGURE, {2: {1: 99}, 3: [], 4: None, 5: []}, sequence=2)
        assert wrong.reason == Reason.CommandMalformed
        assert await reason_of(store, lock) == Reason.UserVerificationRequired


async def test_settings_hold_at_once(store):
    async with store.lock() as lock:
        assert (await store.command(lock, Number.CONFIGURE, configured(unlock_ms=1000))).is_done
        assert await reason_of(store, lock) == Reason.Granted
        await lock.advance(1_050)
        assert not lock.strike_energised


async def test_the_time_comes_back_with_any_phone(store):
    async with store.lock() as lock:
        await lock.advance(120_000)
        await lock.power_cut()
        await lock.start()
        assert await reason_of(store, lock) == Reason.TimeUntrusted
        assert (await store.tell_time(lock, NOW_S - 1)).reason == Reason.TimeUntrusted, "below the floor"
        assert (await store.tell_time(lock, NOW_S + 200, issuer=store.issuer)).reason == Reason.ScopeNotAllowed
        assert (await store.tell_time(lock, NOW_S + 200)).is_done
        assert await reason_of(store, lock) == Reason.Granted
        details = [event[DETAIL] for event in of_kind(lock, TIME_CHANGE)]
        assert details[-2:] == ["lost", "statement"]


async def test_a_token_with_exi_opens_a_lock_that_does_not_know_the_time(store):
    async with store.lock(is_time_trusted=False, rtc_s=None) as lock:
        assert await reason_of(store, lock) == Reason.TimeUntrusted
        async with store.phone(lock) as (_, session):
            cnonce, _ = await session.fresh()
        token, older = (
            issue(
                Claims.for_seconds(
                    store.holder.public,
                    (LOCK_ID,),
                    exi_s=120,
                    cnonce=cnonce,
                    now_s=NOW_S,
                    cti=number.to_bytes(8, "big"),
                ),
                store.issuer,
            )
            for number in (7, 6)
        )
        assert await reason_of(store, lock, token) == Reason.Granted
        assert await reason_of(store, lock, older) == Reason.SequenceStale
        await lock.advance(119_000)
        assert await reason_of(store, lock, token) == Reason.Granted
        await lock.advance(2_000)
        assert await reason_of(store, lock, token) == Reason.Expired
        await lock.power_cut()
        await lock.start()
        assert await reason_of(store, lock, token) == Reason.FreshnessMissing


@pytest.mark.parametrize("name", ["configuration", "scenario", "revocations", "receipts", "access"])
async def test_a_lock_that_does_not_know_what_was_forbidden_opens_for_nobody(store, name):
    lock = store.lock()
    async with lock:
        await lock.advance(10)
    image = FlashImage(store.folder / f"{LOCK_ID}.bin")
    if name == "access":
        for offset in range(0, 65_536, 7):
            image.flip_bit("access", offset)
    else:
        image.nvs_put("vitrine", name, b"\xff")
    async with store.lock() as lock:
        assert "rules:" + name in [event.get(DETAIL) for event in of_kind(lock, FAULT)]
        assert await reason_of(store, lock) == Reason.Fault
        assert not [level for _, level in strike_changes(lock) if level]
        # who mends it is let in: with a token that its issuer made for this lock just now
        assert await reason_of(store, lock, store.token(scopes=("service",)), action=Action.SERVICE) == Reason.Fault
        async with store.phone(lock) as (_, session):
            authority = Authority(issuer=store.issuer)
            acted = await authority.ask(session, Action.SERVICE)
            assert "rules:" + name in (await diagnosis.fetch(session, LOCK_ID)).told[10]
            with pytest.raises(ServiceError, match="Fault"):
                await authority.again(session, Action.LOCK, acted.nonce)
        assert not [level for _, level in strike_changes(lock) if level]


async def test_what_nobody_signed_does_nothing_and_is_on_record(store):
    async with store.lock() as lock:
        for how, reason in (
            ({"issuer": store.thief}, Reason.IssuerUnknown),
            ({"exp_s": NOW_S}, Reason.Expired),
            ({"audiences": ("case-13",)}, Reason.AudienceMismatch),
            ({"issuer": store.issuer}, Reason.ScopeNotAllowed),
        ):
            answer = await store.command(lock, Number.SCENARIO, LOCKDOWN, **how)
            is_told = reason in (Reason.Expired, Reason.ScopeNotAllowed)  # who signed for this lock
            assert answer.reason == (reason if is_told else None)
            assert of_kind(lock, COMMAND_ERROR)[-1][REASON] == reason
        assert await reason_of(store, lock) == Reason.Granted


async def test_a_lock_without_its_journal_stands_open_for_nobody(store):
    root = bytes(range(32))
    async with store.lock(battery=True, journal=(LOCK_ID, root, NOW_S)) as lock:
        assert (await store.command(lock, Number.SCENARIO, {5: [[NOW_S, NOW_S + 600]]})).is_done
        await lock.advance(2_000)
        assert lock.strike_energised
        await lock.power_cut()
        lock.flash.erase("journal")
        await lock.start()
        await lock.advance(5_000)
        assert not lock.strike_energised
        assert await reason_of(store, lock) == Reason.Fault
