"""The phone's session over memory: what it says, in which order, and what it makes of every answer and silence."""

import asyncio
import itertools

import pytest

from support.fake_lock import FakeSession, MemoryTransport
from vitrine_tools import cbor, protocol, tokens
from vitrine_tools.errors import LinkError
from vitrine_tools.keys import PrivateKey
from vitrine_tools.phone import Limits, Phone
from vitrine_tools.protocol import Action, Op, ProtocolError, Reason, Status
from vitrine_tools.provisioning import Issuer, Provision

ISSUER = PrivateKey.from_seed(b"i" * 32)
HOLDER = PrivateKey.from_seed(b"h" * 32)
THIEF = PrivateKey.from_seed(b"t" * 32)
NOW_S = 1_800_000_000
LOCK = Provision(
    lock_id="case-12",
    issuers=(
        Issuer(
            public_key=ISSUER.public,
            name="store",
            scopes=("unlock", "hold"),
            audiences=("case-12",),
            max_lifetime_s=86400,
        ),
    ),
    provisioned_at_s=0,
)
QUICK = Limits(answer_s=0.05, confirm_s=0.05)


def token(**change):
    change = {"audiences": ["case-12"], "now_s": NOW_S, "valid_s": 3600, **change}
    return tokens.issue(tokens.Claims.for_holder(HOLDER.public, **change), ISSUER)


def lock(now_s=NOW_S, mtu=23):
    return MemoryTransport(FakeSession(LOCK, now_s), mtu)


def ops(transport):
    return [Op(request[0]).name for request in transport.session.requests]


@pytest.mark.parametrize("mtu", [23, 24, 64, 247, 517])
async def test_opens_at_every_mtu(mtu):
    transport = lock(mtu=mtu)
    outcome = await Phone(transport, "case-12").open(token(), HOLDER)
    assert outcome.is_granted and outcome.is_token_accepted
    assert (outcome.reason_name, outcome.lock_state, outcome.door_state) == ("Granted", 2, 1)
    assert outcome.hello.audit_count == 7 and outcome.hello.audit_head == bytes(range(32))
    assert transport.session.operations == [Action.UNLOCK]
    assert ops(transport) == ["HELLO", "PRESENT", "ACT"]
    assert set(outcome.timings_ms) == {"hello", "present", "confirm", "act", "total"}
    assert max(map(len, transport.written)) <= mtu - 3


async def test_says_action_and_user_verification():
    transport = lock()
    data = token(scopes=("unlock", "hold"), needs_uv=True)
    outcome = await Phone(transport, "case-12").open(data, HOLDER, action=Action.HOLD, is_user_verified=True)
    assert outcome.is_granted and transport.session.operations == [Action.HOLD]
    outcome = await Phone(lock(), "case-12").open(data, HOLDER)
    assert outcome.reason == Reason.UserVerificationRequired


async def test_goes_on_to_act_when_the_token_was_refused_and_is_told_why():
    transport = lock(now_s=NOW_S + 7200)
    outcome = await Phone(transport, "case-12").open(token(), HOLDER)
    assert ops(transport) == ["HELLO", "PRESENT", "ACT"]
    assert (outcome.is_granted, outcome.is_token_accepted, outcome.reason_name) == (False, False, "Expired")
    assert transport.session.operations == []


async def test_a_thief_is_told_nothing():
    outcome = await Phone(lock(), "case-12").open(token(), THIEF)
    assert (outcome.is_granted, outcome.status, outcome.reason) == (False, Status.REFUSED, None)


async def test_presents_while_the_person_confirms():
    transport = lock()
    presented = asyncio.Event()
    write = transport.write_chunk

    async def write_chunk(chunk):
        await write(chunk)
        if "PRESENT" in ops(transport):
            presented.set()

    transport.write_chunk = write_chunk

    async def confirm():
        await asyncio.wait_for(presented.wait(), 1)  # the token is there before the person is done
        return True

    outcome = await Phone(transport, "case-12").open(token(needs_uv=True), HOLDER, confirm=confirm)
    assert outcome.is_granted


async def test_a_slow_person_keeps_the_connection_and_the_nonce_fresh(monkeypatch):
    monkeypatch.setattr("vitrine_tools.phone.KEEP_ALIVE_S", 0.01)
    transport = lock()
    enough = asyncio.Event()
    count = itertools.count()
    handle = transport.session.handle

    def counting(request):
        if next(count) == 4:
            enough.set()
        return handle(request)

    transport.session.handle = counting

    async def confirm():
        await enough.wait()
        return False

    outcome = await Phone(transport, "case-12").open(token(), HOLDER, confirm=confirm)
    assert outcome.is_granted
    assert ops(transport)[:2] == ["HELLO", "PRESENT"] and ops(transport)[-1] == "ACT"
    assert ops(transport).count("HELLO") >= 4


async def test_nobody_confirms():
    async def confirm():
        await asyncio.Event().wait()

    transport = lock()
    with pytest.raises(LinkError, match="nobody confirmed"):
        await Phone(transport, "case-12", QUICK).open(token(), HOLDER, confirm=confirm)
    assert "ACT" not in ops(transport)


async def test_a_person_who_declines_ends_the_session():
    class Declined(Exception):
        pass

    async def confirm():
        raise Declined

    transport = lock()
    with pytest.raises(Declined):
        await Phone(transport, "case-12").open(token(), HOLDER, confirm=confirm)
    assert "ACT" not in ops(transport)


async def test_another_lock_is_not_shown_the_token():
    transport = lock()
    with pytest.raises(ProtocolError, match="'case-12', not 'case-13'"):
        await Phone(transport, "case-13").open(token(), HOLDER)
    assert ops(transport) == ["HELLO"]


class Silent:
    att_mtu = 23

    async def write_chunk(self, chunk):
        pass

    async def read_chunk(self):
        await asyncio.Event().wait()


class Stuck(Silent):
    async def write_chunk(self, chunk):
        await asyncio.Event().wait()


@pytest.mark.parametrize("transport", [Silent, Stuck])
async def test_every_wait_has_a_limit(transport):
    with pytest.raises(LinkError, match=r"did not answer within 0\.05 s"):
        await Phone(transport(), "case-12", QUICK).open(token(), HOLDER)


class Scripted(Silent):
    """Answers the n-th request with the n-th script entry: a function of the request's id."""

    def __init__(self, *script):
        self.script = iter(script)
        self.chunks = asyncio.Queue()
        self.assembler = protocol.Assembler(768)

    async def write_chunk(self, chunk):
        request = self.assembler.feed(chunk)
        if request is not None:
            for answer in next(self.script)(cbor.decode(request, 768)[1]):
                for piece in protocol.split(answer, 23):
                    self.chunks.put_nowait(piece)

    async def read_chunk(self):
        return await self.chunks.get()


def answer(status, body):
    return lambda number: [cbor.encode([number, status, body])]


HELLO = {1: "case-12", 2: 1, 3: bytes(16), 4: 1, 5: [0, bytes(32)]}


async def test_a_lock_without_identity():
    outcome = await Phone(Scripted(answer(1, {1: 20})), "case-12").open(token(), HOLDER)
    assert (outcome.is_granted, outcome.reason_name) == (False, "NotProvisioned")


async def test_a_busy_lock():
    outcome = await Phone(Scripted(answer(2, None)), "case-12").open(token(), HOLDER)
    assert (outcome.status, outcome.reason) == (Status.BUSY, None)
    script = [answer(0, HELLO), answer(2, None), answer(2, None)]
    outcome = await Phone(Scripted(*script), "case-12").open(token(), HOLDER)
    assert (outcome.status, outcome.reason, outcome.is_token_accepted) == (Status.BUSY, None, False)


async def test_malformed_without_an_id_is_an_answer():
    script = Scripted(lambda number: [cbor.encode([0, 3, None])])
    assert await Phone(script, "case-12").ask(Op.HELLO) == (Status.MALFORMED, None)


async def test_answers_to_something_else_are_passed_over():
    script = Scripted(lambda number: [cbor.encode([number + 1, 0, None]), cbor.encode([number, 0, HELLO])])
    assert (await Phone(script, "case-12").hello()).lock_id == "case-12"


@pytest.mark.parametrize(
    "script",
    [
        [lambda number: [b"\xff"]],
        [lambda number: [b"junk" * 200]],
        [answer(0, None)],
        [answer(0, {**HELLO, 2: 2})],
        [answer(0, HELLO), answer(0, {1: bytes(32)})],
        [answer(0, HELLO), answer(0, None)],
        [answer(0, HELLO), answer(1, None), answer(0, None)],
        [answer(0, HELLO), answer(1, None), answer(1, {1: 0, 2: bytes(16)})],
    ],
)
async def test_a_lock_that_lies_about_the_protocol_is_an_error(script):
    with pytest.raises(ProtocolError):
        await Phone(Scripted(*script), "case-12").open(token(), HOLDER)


async def test_a_broken_chunk_is_an_error():
    transport = Scripted()
    transport.write_chunk = Silent().write_chunk
    transport.chunks.put_nowait(b"\x05oops")
    with pytest.raises(ProtocolError, match="chunk"):
        await Phone(transport, "case-12").hello()


async def test_status_and_identify():
    transport = lock()
    phone = Phone(transport, "case-12")
    assert (await phone.status()).door_state == 1
    assert await phone.identify() == Status.OK
    with pytest.raises(ProtocolError, match="proved nothing"):
        await Phone(Scripted(answer(1, None)), "case-12").status()


async def test_requests_wait_for_each_other():
    transport = lock()
    phone = Phone(transport, "case-12")
    await asyncio.gather(*(phone.hello() for _ in range(5)))
    assert [request[1] for request in transport.session.requests] == [1, 2, 3, 4, 5]


async def test_request_ids_wrap_within_their_range():
    phone = Phone(lock(), "case-12")
    phone._request_id = 0xFFFE
    for expected in (0xFFFF, 1):
        await phone.hello()
        assert phone._request_id == expected


async def test_outcome_for_scripts():
    outcome = await Phone(lock(), "case-12").open(token(), HOLDER)
    shown = outcome.to_json()
    assert (shown["granted"], shown["reason"], shown["lock_state"], shown["door_state"]) == (
        True,
        "Granted",
        "Unlocked",
        "DoorClosed",
    )
    assert shown["audit"] == {"count": 7, "head": bytes(range(32)).hex()}
    refused = (await Phone(lock(), "case-12").open(token(), THIEF)).to_json()
    assert (refused["granted"], refused["reason"], refused["lock_state"]) == (False, None, None)
