"""The sealed journal in the running lock: every event is in flash, sealed, and what cannot be recorded is not done."""

import pytest

from support.store import (
    DETAIL,
    FAULT,
    KIND,
    LOCK_ID,
    LOCK_OPERATION,
    LOCK_OPERATION_ERROR,
    NOW_S,
    OPERATION,
    REASON,
    of_kind,
    strike_changes,
)
from vitrine_tools import cbor
from vitrine_tools.audit import image
from vitrine_tools.audit.seal import Witness
from vitrine_tools.audit.sealed import Keys
from vitrine_tools.protocol import Op, Reason

SUB, PERSONS, OTHERS = 7, 28, 30
ROOT = bytes(range(32))
EPOCH = NOW_S
JOURNAL = (LOCK_ID, ROOT, EPOCH)
BODY_MAX = 224


@pytest.fixture
async def lock(store):
    async with store.lock(journal=JOURNAL, battery=True) as lock:
        yield lock


def judge(lock, witnesses=()):
    """What an auditor with the escrowed root key finds in the flash chip."""
    return image.verify(lock.flash.read("journal"), Keys(ROOT, LOCK_ID, EPOCH), list(witnesses))


def records(verdict):
    return [cbor.decode(record.body, BODY_MAX) for _, record in sorted(verdict.records.items())]


async def test_every_event_is_sealed_in_flash(store, lock):
    await store.open(lock)
    lock.pull_door()
    await lock.advance(300)
    lock.set_door(True)
    await lock.advance(2_000)
    assert (await store.open(lock, holder=store.thief)).is_granted is False
    await lock.advance(1_000)
    lock.set_door(False)
    await lock.advance(500)
    verdict = judge(lock)
    assert verdict.is_whole and verdict.findings == []
    kept = records(verdict)
    traced = [{key: value for key, value in event.items() if key != "t_ms"} for event in lock.events]
    assert kept == traced


async def test_whoever_opens_together_is_on_record_whatever_strangers_do(store, lock):
    """A flood folds refusals, among them the one of who asked first: the grant names them all."""
    first = store.token(sub=b"p-1", persons=2)
    second = store.token(sub=b"p-2", persons=2, holder=store.colleague)
    junk = store.token(issuer=store.thief)
    for _ in range(3):
        async with store.phone(lock) as (_, session):
            for _ in range(3):
                await session.present(junk)
    assert (await store.open(lock, first)).reason == Reason.PersonsRequired
    assert (await store.open(lock, second, holder=store.colleague)).is_granted
    grant = records(judge(lock))[-1]
    assert (grant[KIND], grant[SUB], grant[PERSONS], grant[OTHERS]) == (LOCK_OPERATION, b"p-2", 2, [b"p-1"])


async def test_the_head_in_hello_is_the_journal_s(store, lock):
    async with store.phone(lock) as (_, session):
        first = await session.hello()
    await lock.power_cut()
    await lock.start()
    async with store.phone(lock) as (_, session):
        second = await session.hello()
    assert second.audit_count > first.audit_count >= 2
    witnesses = [Witness(hello.audit_count, hello.audit_head) for hello in (first, second)]
    assert judge(lock, witnesses).is_whole
    forged = Witness(first.audit_count, bytes(32))
    assert not judge(lock, [forged]).is_whole


async def test_power_cuts_at_any_moment_of_an_unlock_lose_no_grant_that_was_answered(store):
    """Cut the supply after so many bytes of flash; whatever the phone was told stays on record."""
    answers = set()
    for after in (0, 1, 17, 40, 64, 96, 130, 160, 200, 260, 400):
        async with store.lock(lock_id=LOCK_ID, journal=JOURNAL, battery=True) as lock:
            lock.flash_cut(after)
            try:
                granted = (await store.open(lock)).is_granted
            except Exception:  # the power may fail in the middle of anything
                granted = False
            await lock.power_cut()
            assert not lock.strike_energised
            await lock.start()
            await lock.advance(1_000)
            verdict = judge(lock)
            assert verdict.is_whole, (after, verdict.findings)
            grants = [
                record for record in records(verdict) if record[KIND] == LOCK_OPERATION and record.get(REASON) == 0
            ]
            assert len(grants) == granted or (len(grants) == 1 and not granted), after
            answers.add((granted, len(grants)))
        lock.flash.path.unlink()
    assert answers == {(False, 0), (False, 1), (True, 1)}, "the cuts fell before, into and behind the record"


async def test_a_foreign_journal_opens_for_nobody_and_lets_out(store):
    """The partition was wiped: what the lock would do could not be proved. The exit button works all the same."""
    async with store.lock(journal=JOURNAL, battery=True) as lock:
        await lock.power_cut()
        lock.flash.erase("journal")
        await lock.start()
        assert of_kind(lock, FAULT)[-1][DETAIL] == "journal:Foreign"
        outcome = await store.open(lock)
        assert not outcome.is_granted and outcome.reason_name == "Fault"
        assert not any(level for _, level in strike_changes(lock))
        lock.press_rex()
        await lock.advance(200)
        assert lock.strike_energised


async def test_a_lock_without_a_journal_works_and_counts(store):
    async with store.lock() as lock:
        assert (await store.open(lock)).is_granted
        async with store.phone(lock) as (_, session):
            assert (await session.hello()).audit_count >= 3


async def test_a_flood_of_refusals_is_folded_and_evicts_no_grant(store, lock):
    await store.open(lock)
    await lock.advance(6_000)
    bad = bytearray(store.token())
    bad[-1] ^= 1
    for _ in range(30):
        async with store.phone(lock) as (_, session):
            for _ in range(3):
                await session.present(bytes(bad))
        await lock.advance(100)
    await lock.advance(700_000)  # what was folded is written after 10 minutes at the latest
    verdict = judge(lock)
    assert verdict.is_whole
    kept = records(verdict)
    assert [record for record in kept if record[KIND] == LOCK_OPERATION and record.get(REASON) == 0]
    refusals = [record for record in kept if record[KIND] == LOCK_OPERATION_ERROR]
    assert len(refusals) < 60
    assert sum(record.get(14, 1) for record in refusals) == 90


@pytest.mark.parametrize("action", [-(2**63), -1, 256, 2**64 - 1])
async def test_no_action_that_a_stranger_names_silences_the_journal(store, lock, action):
    """A number that no record can hold comes from the air: it is a refusal like others, not a fault of the lock."""
    async with store.phone(lock) as (_, session):
        await session.ask(Op.ACT, {1: action, 2: False, 3: b""})
    assert not of_kind(lock, FAULT)
    assert (await store.open(lock)).is_granted
    verdict = judge(lock)
    assert verdict.is_whole
    refusal = next(record for record in records(verdict) if record[KIND] == LOCK_OPERATION_ERROR)
    assert refusal[REASON] == Reason.NoToken and OPERATION not in refusal
