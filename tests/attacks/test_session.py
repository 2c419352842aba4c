"""Attacks on the session, over the air: each is refused, recorded with its reason, and the strike does not move."""

import pytest

from support.store import LOCK_ID, LOCK_OPERATION_ERROR, REASON, of_kind, strike_changes
from vitrine_tools import protocol
from vitrine_tools.emulator import PhoneError
from vitrine_tools.keys import PrivateKey
from vitrine_tools.protocol import Action, Op, Reason, Status


def never_moved(lock):
    return not any(level for _, level in strike_changes(lock))


def reasons(lock):
    return [event[REASON] for event in of_kind(lock, LOCK_OPERATION_ERROR)]


def proof_of(store, token, nonce, *, lock_id=LOCK_ID, action=Action.UNLOCK, uv=False, holder=None):
    return protocol.make_proof(holder or store.holder, lock_id, nonce, action, uv, protocol.token_hash(token))


async def act(session, proof, *, action=Action.UNLOCK, uv=False):
    return protocol.read_acted(*await session.ask(Op.ACT, protocol.act_body(action, uv, proof)))


async def test_a_proof_replayed_in_the_same_session(store, lock):
    token = store.token()
    async with store.phone(lock) as (_, session):
        nonce = (await session.hello()).nonce
        await session.present(token)
        proof = proof_of(store, token, nonce)
        assert (await act(session, proof)).status == Status.OK
        await lock.advance(6_000)
    before = len(strike_changes(lock))
    async with store.phone(lock) as (_, session):
        await session.hello()
        await session.present(token)
        acted = await act(session, proof)
        assert acted.status == Status.REFUSED and acted.reason is None
    assert reasons(lock) == [Reason.ProofForged]
    assert len(strike_changes(lock)) == before


async def test_a_proof_replayed_after_a_reset(store):
    async with store.lock(battery=True) as lock:
        token = store.token()
        async with store.phone(lock) as (_, session):
            nonce = (await session.hello()).nonce
            proof = proof_of(store, token, nonce)
        await lock.power_cut()
        await lock.start()
        async with store.phone(lock) as (_, session):
            await session.present(token)
            assert (await act(session, proof)).status == Status.REFUSED
            await session.hello()
            assert (await act(session, proof)).status == Status.REFUSED
        assert reasons(lock) == [Reason.NonceMissing, Reason.ProofForged]
        assert never_moved(lock)


@pytest.mark.parametrize(
    "change",
    [
        {"lock_id": "case-13"},
        {"action": Action.HOLD},
        {"action": Action.LOCK},
        {"uv": True},
        {"holder": PrivateKey.from_seed(b"\x03" * 32)},
    ],
    ids=["another lock", "hold for unlock", "lock for unlock", "user verification added", "another key"],
)
async def test_a_proof_of_something_else(store, lock, change):
    token = store.token()
    async with store.phone(lock) as (_, session):
        nonce = (await session.hello()).nonce
        await session.present(token)
        acted = await act(session, proof_of(store, token, nonce, **change))
        assert acted.status == Status.REFUSED and acted.reason is None
    assert reasons(lock) == [Reason.ProofForged]
    assert never_moved(lock)


async def test_a_token_swapped_between_present_and_act(store, lock):
    mine, other = store.token(), store.token(sub=b"other")
    async with store.phone(lock) as (_, session):
        nonce = (await session.hello()).nonce
        await session.present(mine)
        assert (await act(session, proof_of(store, other, nonce))).reason is None
    assert reasons(lock) == [Reason.ProofForged]
    assert never_moved(lock)


async def test_a_nonce_of_another_connection(store, lock):
    token = store.token()
    async with store.phone(lock) as (_, one), store.phone(lock) as (_, two):
        nonce = (await one.hello()).nonce
        await two.hello()
        await two.present(token)
        assert (await act(two, proof_of(store, token, nonce))).status == Status.REFUSED
    assert never_moved(lock)


async def test_a_nonce_that_has_grown_old(store, lock):
    token = store.token()
    async with store.phone(lock) as (_, session):
        nonce = (await session.hello()).nonce
        for _ in range(3):
            await lock.advance(3_500)
            await session.present(token)  # keeps the connection, not the nonce
        assert (await act(session, proof_of(store, token, nonce))).status == Status.REFUSED
    assert reasons(lock) == [Reason.NonceMissing]
    assert never_moved(lock)


async def test_an_act_before_everything(store, lock):
    async with store.phone(lock) as (_, session):
        assert (await act(session, bytes(75))).status == Status.REFUSED
    assert reasons(lock) == [Reason.NoToken]
    assert never_moved(lock)


async def test_junk_tokens_cost_a_connection_each_and_a_holder_still_opens(store, lock):
    token = bytearray(store.token())
    token[-1] ^= 1
    async with store.phone(lock) as (phone, session):
        for _ in range(4):
            assert not await session.present(bytes(token))
        with pytest.raises(PhoneError):
            await lock.during(session.present(bytes(token)))
        assert not phone.is_connected
    assert reasons(lock) == [Reason.TokenForged] * 4
    assert never_moved(lock)
    assert (await store.open(lock)).is_granted


async def test_three_malformed_requests_end_the_connection(store, lock):
    async with store.phone(lock) as (phone, session):
        for _ in range(3):
            await phone.write_chunk(b"\x80\xff\xff")
            assert (await phone.read_chunk())[1:] == b"\x83\x00\x03\xf6"
        await lock.during(phone.disconnected.wait())
    assert never_moved(lock)


async def test_uses_are_spent_for_good(store):
    """A token for one use opens once, also across a power cut."""
    async with store.lock(battery=True) as lock:
        token = store.token(uses=1)
        assert (await store.open(lock, token)).is_granted
        assert (await store.open(lock, token)).reason_name == "UsesExhausted"
        await lock.power_cut()
        await lock.start()
        assert (await store.open(lock, token)).reason_name == "UsesExhausted"


async def test_a_phone_that_dribbles_chunks_does_not_stop_the_others(store, lock):
    async with store.phone(lock, mtu=23) as (slow, _):
        for counter in range(100):
            await slow.write_chunk(bytes([counter]) + b"x")
        assert (await store.open(lock)).is_granted
