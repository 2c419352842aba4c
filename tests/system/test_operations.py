"""Operations by command on the whole firmware, at a real broker and over BLE: opened once, answered, on record."""

import asyncio
import time

import pytest

from support.broker_lock import GROUP, LOCK, BrokerLock
from support.mosquitto import needs_mosquitto
from vitrine_tools import commanding
from vitrine_tools.commanding import Command, Number, sign
from vitrine_tools.commanding_broker import connected, send_to_group
from vitrine_tools.protocol import Reason

from .test_bleak_unlock import vitrine

pytestmark = [needs_mosquitto, pytest.mark.system]
OPERATION, SOURCE, REF, KID, LINK, COMMAND, SEQUENCE = 5, 6, 9, 13, 18, 26, 27
REF_SENT = bytes.fromhex("9f03c1d2")


@pytest.fixture
def case(tmp_path, broker):
    return BrokerLock(tmp_path, broker)


async def test_a_command_opens_and_its_id_ties_together_what_the_door_did(case):
    async with case.running() as lock, connected(case.broker.client("commander")) as client:
        envelope = case.order(sequence=10, ref=REF_SENT)
        answer = await case.carrier(client).send(envelope)
        assert (answer.reason, answer.sequence) == (0, 10)
        lock.set_door(closed=False)
        await case.on_record(1, f10=0)
        lock.set_door(closed=True)
        await case.on_record(2, f5=0)
        (opened,) = [event for event in case.kinds(2) if event.get(KID)]
        expected = {OPERATION: 1, SOURCE: 2, REF: REF_SENT, KID: case.till.public.kid, LINK: 3}
        assert expected.items() <= opened.items()
        assert (opened[COMMAND], opened[SEQUENCE]) == (envelope.command.id, 10)
        moved = [event.get(COMMAND) for event in case.kinds(1)]
        assert moved == [None, envelope.command.id, envelope.command.id]
        # the same over BLE, by whoever carries it
        async with case.phone() as phone:
            assert (await phone.command(case.order(sequence=11).data)).is_done
            assert (await phone.command(case.order(sequence=11).data)).reason == Reason.SequenceStale
        assert case.openings() == 2


async def test_identify_and_audit(case):
    async with case.running(), connected(case.broker.client("collector")) as collector:
        await collector.subscribe(f"vitrine/{LOCK}/journal", qos=1)
        async with connected(case.broker.client("commander")) as client:
            carrier = case.carrier(client)
            now_s = int(time.time())
            command = Command(number=Number.IDENTIFY, audiences=(LOCK,), body=None, sequence=5)
            assert (await commanding.carry_out(carrier, case.issuer, command)).is_done
            (shown,) = await case.on_record(132)
            assert (shown[SOURCE], shown[LINK], shown[SEQUENCE]) == (2, 3, 5)
            # nobody acknowledges: the lock waits 10 s before it sends again; a command makes it send at once
            await _quiet(collector)
            begin_s = time.monotonic()
            command = Command(number=Number.AUDIT, audiences=(LOCK,), body=None, sequence=6)
            assert (await commanding.carry_out(carrier, case.issuer, command)).is_done
            async with asyncio.timeout(5):
                message = await anext(collector.messages)
            assert time.monotonic() - begin_s < 3 and case.lock.events[0] is not None and now_s
            from vitrine_tools.audit import sealed

            assert sealed.read(message.payload).first == 0, "from the acknowledged count on"


async def _quiet(client):
    """Wait until nothing has come for a second."""
    try:
        while True:
            async with asyncio.timeout(1):
                await anext(client.messages)
    except TimeoutError:
        return


async def test_a_group_answers_lock_by_lock(tmp_path, broker):
    first, second = BrokerLock(tmp_path, broker), BrokerLock(tmp_path, broker, "case-13")
    async with first.running(), second.running(), connected(broker.client("commander")) as client:
        envelope = first.order(sequence=10, audiences=(GROUP,))
        answers = await send_to_group(client, GROUP, envelope, 3)
        assert {lock_id: answer.reason for lock_id, answer in answers.items()} == {LOCK: 0, "case-13": 0}
        # the same again, at each by itself: each has its own sequence
        assert (await first.carrier(client).send(first.order(sequence=11))).is_done
        answers = await send_to_group(client, GROUP, first.order(sequence=11, audiences=(GROUP,)), 3)
        assert {lock_id: answer.reason for lock_id, answer in answers.items()} == {LOCK: 28, "case-13": 0}
        assert (first.openings(), second.openings()) == (2, 2)


async def test_nothing_that_is_retained_old_foreign_or_unsigned_opens_and_all_is_on_record(case):
    now_s = int(time.time())
    stranger = commanding.keys.PrivateKey.from_seed(b"s" * 32)
    good = case.order(sequence=100)
    forged = bytearray(case.order(sequence=101).data)
    forged[-1] ^= 1
    silent = [
        (b"", Reason.CommandMalformed),
        (bytes(forged), Reason.CommandForged),
        (case.order(sequence=101, signer=stranger).data, Reason.IssuerUnknown),
        (case.order(sequence=101, audiences=("case-13",)).data, Reason.AudienceMismatch),
        (case.order(sequence=101, audiences=("group:shoes",)).data, Reason.AudienceMismatch),
    ]
    told = [
        (good, Reason.SequenceStale),
        (case.order(sequence=99), Reason.SequenceStale),
        (case.order(sequence=101, exp_s=now_s - 10), Reason.Expired),
        (case.order(sequence=101, exp_s=now_s + 400), Reason.LifetimeExceeded),
        (case.order(128, sequence=101), Reason.ScopeNotAllowed),
        (case.order(sequence=101, body={1: 129}), Reason.CommandMalformed),
        (sign(Command(number=7, audiences=(LOCK,), body=None, sequence=101, exp_s=now_s + 60), case.till), 8),
    ]
    async with connected(case.broker.client("commander")) as client:
        for topic in (f"vitrine/{LOCK}/command", "vitrine/group/jewellery/command"):
            await client.publish(topic, case.order(sequence=50, audiences=(LOCK, GROUP)).data, qos=1, retain=True)
    async with case.running() as lock, connected(case.broker.client("commander")) as client:
        await case.on_record(134, 2, f15="command:retained")
        assert case.openings() == 0
        carrier = case.carrier(client)
        assert (await carrier.send(good)).is_done
        async with case.phone() as phone:
            for data, _ in silent[1:3]:
                assert (await phone.command(data)).reason is None
            assert (await phone.command(good.data)).reason == Reason.SequenceStale
        for data, _ in silent:
            for topic in (f"vitrine/{LOCK}/command", "vitrine/group/jewellery/command"):
                await client.publish(topic, data, qos=1)
        for envelope, reason in told:
            assert (await carrier.send(envelope)).reason == reason
        assert case.openings() == 1
        # folded, as refused records are: none is lost from the count
        counted = sum(event.get(14, 1) for event in case.kinds(134))
        assert 2 <= counted <= 2 + 3 + 2 * len(silent) + len(told)
        assert {Reason.CommandForged, Reason.IssuerUnknown} <= {event.get(4) for event in case.kinds(134)}
        assert lock.events


async def test_what_was_done_is_not_done_after_a_reset_or_a_power_cut(case):
    async with case.running() as lock, connected(case.broker.client("commander")) as client:
        envelope = case.order(sequence=10)
        assert (await case.carrier(client).send(envelope)).is_done
        await lock.reset()
        async with case.phone() as phone:
            assert (await phone.command(envelope.data)).reason == Reason.SequenceStale
        await lock.power_cut()
        await lock.start()
        async with case.phone() as phone:
            assert (await phone.command(envelope.data)).reason == Reason.TimeUntrusted
            cnonce, _ = await phone.fresh()
            assert (await phone.command(case.order(sequence=10, cnonce=cnonce).data)).reason == Reason.SequenceStale
        assert case.openings() == 1


async def test_from_the_command_line(case, tmp_path):
    case.issuer.save(tmp_path / "issuer.pem")
    certificate, key = case.broker.authority.issue("commander").save(tmp_path, "commander")
    way = ["--key", tmp_path / "issuer.pem", "--broker", f"mqtts://localhost:{case.broker.port}"]
    way += ["--broker-ca", case.broker.ca, "--broker-cert", certificate, "--broker-key", key]
    async with case.running():
        status, out, err = await vitrine("command", "unlock", *way, "--lock", LOCK, "--ref", "hex:9f03c1d2")
        assert (status, err) == (0, "") and out.startswith(f"{LOCK}: unlock done (sequence ")
        assert case.kinds(2)[0][REF] == REF_SENT
        last = int(out.split("sequence ")[1].strip(")\n"))
        status, _, err = await vitrine("command", "unlock", *way, "--lock", LOCK, "--sequence", last)
        assert status == 1 and f"give --sequence {last + 1}" in err
        for number, name in enumerate(("hold", "lock", "identify", "audit")):
            words = ["command", name, *way, "--group", "jewellery", "--timeout", 2, "--sequence", last + 1 + number]
            status, out, err = await vitrine(*words)
            assert (status, err) == (0, "") and out.startswith(f"{LOCK}: {name} done"), name
        status, _, err = await vitrine("command", "unlock", *way, "--group", "shoes", "--timeout", 0.5)
        assert status == 2 and "no answer to rely on from group:shoes" in err
        for personal in ("anna@shop.example", "+4930123456789", "4111 1111 1111 1111"):
            status, _, err = await vitrine("command", "unlock", *way, "--lock", LOCK, "--ref", personal)
            assert status == 2 and "give a pseudonym" in err and personal not in err
        status, _, err = await vitrine("command", "unlock", *way, "--lock", LOCK, "--for", "1h")
        assert status == 2 and "5 minutes" in err
