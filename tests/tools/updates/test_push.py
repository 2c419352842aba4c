"""Pushing an update: whatever breaks on the way, the lock gets exactly the component, or nothing; and it ends."""

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.fake_lock import MemoryTransport
from support.update_lock import BOARD, ISSUER, UpdateLock
from vitrine_tools.errors import LinkError
from vitrine_tools.keys import PrivateKey
from vitrine_tools.phone import Phone
from vitrine_tools.protocol import ProtocolError, Reason, Status
from vitrine_tools.updates import manifest as manifests
from vitrine_tools.updates.component import Component, Kind
from vitrine_tools.updates.links import over_sessions
from vitrine_tools.updates.push import Patience, Refused, Report, Sender, State, ask_state, read_report

CONTENT = random.Random(7).randbytes(4096 * 3 + 1234)


def release(sequence=7, data=CONTENT, issuer=ISSUER, **how):
    component = Component(Kind.IMAGE, data)
    how = {"board": BOARD, "sequence": sequence, "version": "1.2.3"} | how
    return manifests.sign(manifests.of_component(component, **how), issuer), component


class Time:
    """A clock that moves by sleeping."""

    now_s = 0.0

    async def sleep(self, seconds):
        self.now_s += seconds

    def __call__(self):
        return self.now_s


class Memory:
    """Connections straight to an UpdateLock. cuts: after so many requests on a connection it breaks, in turn."""

    def __init__(self, lock, piece=512, cuts=(), before_answer=False):
        self.lock, self.piece = lock, piece
        self.cuts = list(cuts)
        self.before_answer = before_answer
        self.opened = 0

    @contextlib.asynccontextmanager
    async def __call__(self):
        self.opened += 1
        self.left = self.cuts.pop(0) if self.cuts else None
        yield self

    async def ask(self, body):
        if self.left == 0 and self.before_answer:
            self.lock.ask(body)  # it came, and the answer is lost
        if self.left == 0:
            raise LinkError("cut")
        if self.left is not None:
            self.left -= 1
        return self.lock.ask(body)


def sender(connect, signed, component, **how):
    time = Time()
    return Sender(connect, signed, component, sleep=time.sleep, clock=time, **how)


async def test_it_comes_whole_and_is_confirmed():
    lock, (signed, component), heard = UpdateLock(), release(), []
    push = sender(Memory(lock), signed, component, told=lambda *what: heard.append(what))
    assert (await push.push()).state is State.STAGED
    assert lock.installed == [CONTENT]
    assert [sent for _, sent, _ in heard] == sorted(sent for _, sent, _ in heard[:-1]) + [0]
    assert {total for *_, total in heard} == {len(component.stream)}
    report = await push.wait()
    assert push.is_confirmed(report) and report.running == 7
    # once more: nothing to do, and nothing is sent
    asked = len(lock.asked)
    assert push.is_confirmed(await sender(Memory(lock), signed, component).push())
    assert lock.asked[asked:] == [{}]


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=30), st.booleans(), st.sampled_from([100, 512, 4096]))
async def test_cut_anywhere_it_goes_on_where_it_stopped(cuts, before_answer, piece):
    lock, (signed, component) = UpdateLock(piece=4096), release()
    lock.is_free = False
    way = Memory(lock, piece, cuts, before_answer)
    patience = Patience(silent_s=10_000)
    assert (await sender(way, signed, component, patience=patience).push()).state is State.STAGED
    assert lock.installed == [CONTENT] and way.opened <= len(cuts) + 1
    sent = [body for body in lock.asked if 2 in body]
    assert len({body[2] for body in sent}) >= len(sent) - len(cuts), "at most one piece again for each cut"


async def test_a_damaged_block_comes_again():
    lock, (signed, component) = UpdateLock(), release()
    lock.spoil = {3, 40, 70, 5000, len(component.stream) - 1}
    assert (await sender(Memory(lock), signed, component).push()).state is State.STAGED
    assert lock.installed == [CONTENT] and not lock.spoil


async def test_a_link_that_damages_every_block_is_given_up():
    lock, (signed, component) = UpdateLock(), release()

    class Bad(Memory):
        async def ask(self, body):
            if 2 in body:
                body = body | {3: b"\xff" * len(body[3])}
            return await super().ask(body)

    with pytest.raises(Refused) as refused:
        await sender(Bad(lock), signed, component).push()
    assert refused.value.reason == Reason.DigestMismatch and not lock.installed


async def test_busy_means_wait_but_not_for_ever():
    lock, (signed, component) = UpdateLock(), release()
    lock.busy = 5
    push = sender(Memory(lock), signed, component)
    assert (await push.push()).state is State.STAGED and push.connections == 1
    lock = UpdateLock()
    lock.busy = 10**6
    with pytest.raises(LinkError, match=r"nothing moved for 120 s: it is busy"):
        await sender(Memory(lock), signed, component).push()
    assert len(lock.asked) < 40


async def test_a_lock_that_is_away_is_given_up_after_a_while():
    @contextlib.asynccontextmanager
    async def nobody():
        raise LinkError("out of reach")
        yield

    signed, component = release()
    push = sender(nobody, signed, component)
    with pytest.raises(LinkError, match="nothing moved for 120 s: out of reach"):
        await push.push()
    assert push.connections < 40


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"issuer": PrivateKey.from_seed(b"o" * 32)}, None),
        ({"audiences": ("case-13",)}, Reason.AudienceMismatch),
        ({"board": "VITRINE_ESP32C3"}, Reason.NotForThisBoard),
        ({"sequence": 3}, Reason.SequenceStale),
        ({"preconditions": manifests.Preconditions(sequence=6)}, Reason.PreconditionFailed),
    ],
)
async def test_the_wrong_manifest(how, reason):
    lock, (signed, component) = UpdateLock(running=5), release(**how)
    with pytest.raises(Refused) as refused:
        await sender(Memory(lock), signed, component).push()
    assert refused.value.reason == reason and not lock.installed
    assert not [body for body in lock.asked if 2 in body]


def test_another_file_than_the_manifests_is_not_even_tried():
    signed, _ = release()
    with pytest.raises(manifests.ManifestError, match="another file"):
        sender(Memory(UpdateLock()), signed, Component(Kind.IMAGE, CONTENT[:-1]))


async def test_shadow_ends_staged():
    lock, (signed, component) = UpdateLock(), release()
    push = sender(Memory(lock), signed, component, is_shadow=True, patience=Patience(wait_s=20))
    assert (await push.push()).state is State.STAGED
    with pytest.raises(LinkError, match="it is staged"):
        await push.wait()
    assert lock.running == 1 and lock.installed == [CONTENT]
    # for real: nothing is sent again
    push = sender(Memory(lock), signed, component)
    before = len(lock.asked)
    await push.push()
    assert push.is_confirmed(await push.wait())
    assert not [body for body in lock.asked[before:] if 2 in body]


async def test_a_bad_build_returns():
    lock, (signed, component) = UpdateLock(is_good=False), release()
    push = sender(Memory(lock), signed, component)
    await push.push()
    report = await push.wait()
    assert report.state is State.RETURNED and lock.running == 1 and not push.is_confirmed(report)
    # not by itself once more, as whoever goes on with a rollout would
    assert (await sender(Memory(lock), signed, component).push()).state is State.RETURNED
    with pytest.raises(Refused, match="SequenceStale: it runs this one or a newer one"):
        await sender(Memory(lock), *release(6)).push()  # an older one than that is only old
    assert len(lock.installed) == 1
    lock.is_good = True
    push = sender(Memory(lock), *release(8))
    await push.push()
    assert push.is_confirmed(await push.wait()) and len(lock.installed) == 2


async def test_two_pushers_of_the_same():
    lock, (signed, component) = UpdateLock(), release()
    first, second = (sender(Memory(lock, piece), signed, component) for piece in (100, 333))
    import asyncio

    class Turns(Memory):
        async def ask(self, body):
            await asyncio.sleep(0)
            return await super().ask(body)

    first._connect, second._connect = Turns(lock, 100), Turns(lock, 333)
    reports = await asyncio.gather(first.push(), second.push())
    assert {report.state for report in reports} == {State.STAGED} and lock.installed == [CONTENT]


async def test_a_higher_sequence_takes_its_place():
    lock, (old, component), (new, other) = UpdateLock(), release(7), release(8, CONTENT[::-1])

    class Interrupted(Memory):
        async def ask(self, body):
            if len(lock.stream) > 5000 and lock.signed.manifest.sequence == 7:
                lock.ask({1: new.data})
            return await super().ask(body)

    with pytest.raises(Refused, match="sequence 8"):
        await sender(Interrupted(lock), old, component).push()
    assert (await sender(Memory(lock), new, other).push()).state is State.STAGED
    assert lock.installed == [CONTENT[::-1]]
    with pytest.raises(Refused) as refused:
        await sender(Memory(lock), old, component).push()
    assert refused.value.reason == Reason.SequenceStale


class Liar:
    """Answers what it is told, whatever it is asked."""

    piece = 512

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    @contextlib.asynccontextmanager
    async def __call__(self):
        yield self

    async def ask(self, body):
        self.asked += 1
        if self.asked > 5000:
            raise AssertionError("it goes on for ever")
        return self.answers[min(self.asked, len(self.answers)) - 1]


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([(Status.MALFORMED, None)], ProtocolError),
        ([(Status.OK, None)], ProtocolError),
        ([(Status.OK, {})], ProtocolError),
        ([(Status.OK, {1: 5})], ProtocolError),
        ([(Status.OK, {1: True})], ProtocolError),
        ([(Status.OK, {1: 1, 6: 0})], ProtocolError),
        ([(Status.OK, {1: 1, 2: -1})], ProtocolError),
        ([(Status.OK, {1: 1, 2: "0"})], ProtocolError),
        ([(Status.OK, {1: 1, 2: 2**31})], ProtocolError),
        ([(Status.OK, {1: 1})], ProtocolError),
        ([(Status.OK, {1: 0, 3: 5})], Refused),
        ([(Status.OK, {1: 0, 3: 5, 5: 33})], Refused),
        ([(Status.OK, {1: 3, 3: 5})], LinkError),  # a trial of something else that never ends
        ([(Status.REFUSED, {5: "x"})], ProtocolError),
        ([(Status.REFUSED, {5: 0})], ProtocolError),
        ([(Status.REFUSED, {})], Refused),
        ([(Status.REFUSED, None)], Refused),
        ([(Status.OK, {1: 1, 2: 0, 4: 7})], Refused),  # the same for ever
        ([(Status.OK, {1: 1, 2: len(CONTENT) + 64, 4: 7})], LinkError),  # all is there, and it does not end
        ([(Status.BUSY, None)], LinkError),
    ],
)
async def test_liars_are_left(answers, error):
    signed, component = release()
    with pytest.raises(error):
        await sender(Liar(*answers), signed, component).push()


async def test_what_comes_back_is_waited_for_and_what_is_gone_is_told():
    signed, component = release()
    gone = Report(State.IDLE, running=3)
    for last, match in (({1: 0, 3: 3}, "let go of the update"), ({1: 0}, "let go")):
        with pytest.raises(Refused, match=match):
            await sender(
                Liar((Status.BUSY, None), (Status.OK, {1: 3, 3: 7}), (Status.OK, last)), signed, component
            ).wait()
    assert not sender(Liar(), signed, component).is_confirmed(gone)
    with pytest.raises(LinkError, match="not confirmed within 300 s: it is trial"):
        await sender(Liar((Status.OK, {1: 3, 3: 7})), signed, component).wait()


async def test_over_a_session_the_lock_is_asked_for_its_name_once():
    lock, (signed, component) = UpdateLock(), release()

    @contextlib.asynccontextmanager
    async def reach():
        yield Phone(MemoryTransport(lock, mtu=247), lock.lock_id)

    push = sender(over_sessions(reach), signed, component)
    assert (await push.push()).state is State.STAGED and lock.installed == [CONTENT]
    assert (await ask_state(over_sessions(reach, is_known=True))).running == 7
    other = UpdateLock("case-13")
    lock.handle = other.handle
    with pytest.raises(ProtocolError, match="case-13"):
        await sender(over_sessions(reach), signed, component).push()
    assert not other.installed and not other.asked


def test_names_of_reasons():
    assert read_report(Status.OK, {1: 1, 2: 0, 5: 36}).reason_name == "DigestMismatch"
    assert read_report(Status.OK, {1: 4}).reason_name is None
