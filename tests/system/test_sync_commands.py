"""Commands over a real broker: carried out at once, answered, and nothing that nobody signed, or that is old."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import pytest

from support.mosquitto import HOST, needs_mosquitto
from support.sync_process import SyncLock, mqtt_blob
from vitrine_tools import commanding
from vitrine_tools.commanding import Command, sign
from vitrine_tools.commanding_broker import BrokerCarrier, TimeServer, connected
from vitrine_tools.errors import LinkError
from vitrine_tools.keys import PrivateKey
from vitrine_tools.protocol import Reason

from .test_bleak_unlock import vitrine

pytestmark = [needs_mosquitto, pytest.mark.system]
LOCK = "case-12"
ISSUER = PrivateKey.from_seed(b"i" * 32)
STRANGER = PrivateKey.from_seed(b"s" * 32)
COMMAND = f"vitrine/{LOCK}/command"


@pytest.fixture
async def lock(broker):
    client = broker.authority.issue(LOCK)
    blob = mqtt_blob(HOST, broker.port, broker.authority.certificate_der, client)
    lock = SyncLock(blob, LOCK, issuer=ISSUER.public.raw)
    yield lock
    await lock.stop()


@asynccontextmanager
async def commanding_it(broker, lock, tmp_path, timeout_s=10):
    """The lock connected, and a way to it."""
    async with connected(broker.client("intruder")) as watcher:
        await watcher.subscribe(f"vitrine/{LOCK}/state")
        await lock.start(tmp_path)
        async with asyncio.timeout(20):
            await anext(watcher.messages)
    async with connected(broker.client("commander")) as client:
        yield BrokerCarrier(client, LOCK, timeout_s)


def scenario(body, **change):
    now_s = int(time.time())
    fields = {"number": 4, "audiences": (LOCK,), "body": body, "sequence": now_s, "exp_s": now_s + 60}
    return Command(**(fields | change))


def commands(lock):
    return [event for event in lock.events if event["event"] == "command"]


async def test_a_lockdown_holds_within_a_second_even_while_somebody_is_in_session(broker, lock, tmp_path):
    async with commanding_it(broker, lock, tmp_path) as carrier:
        await lock.ask(do="session", is_busy=True)
        begin_ms = time.time() * 1000
        answer = await commanding.carry_out(carrier, ISSUER, scenario({2: True}))
        assert answer.is_done and answer.sequence is not None
        executed = await lock.heard(event="executed", lockdown=True)
        assert executed["at_ms"] - begin_ms < 1000
    assert [event["kind"] for event in commands(lock)] == [130]


async def test_state_names_the_scenario_after_a_command(broker, lock, tmp_path):
    async with connected(broker.client("intruder")) as watcher:
        await watcher.subscribe(f"vitrine/{LOCK}/state")
        async with commanding_it(broker, lock, tmp_path) as carrier:
            await lock.ask(do="session", is_busy=True)  # for 30 s no records go out, and this does
            await carrier.send(sign(scenario({3: True}), ISSUER))
            async with asyncio.timeout(10):
                async for message in watcher.messages:
                    if json.loads(message.payload)["scenario"] == "shadow":
                        break


async def test_configuration_and_revocations_are_taken_in_their_sequence(broker, lock, tmp_path):
    async with commanding_it(broker, lock, tmp_path) as carrier:
        configuration = {2: {4: 45000}, 3: [], 4: None, 5: []}
        assert (await carrier.send(sign(scenario(configuration, number=3, sequence=9), ISSUER))).is_done
        assert {"ajar_ms=45000", "configure"} <= {event["detail"] for event in commands(lock)}
        gap = {1: 5, 2: [[1, b"identity", 0]]}
        answer = await carrier.send(sign(scenario(gap, number=2, sequence=6), ISSUER))
        assert (answer.reason, answer.sequence) == (Reason.SequenceGap, 0)
        assert (await carrier.send(sign(scenario({1: 0, 2: []}, number=2, sequence=5), ISSUER))).is_done
        assert (await carrier.send(sign(scenario(gap, number=2, sequence=6), ISSUER))).is_done


async def test_what_nobody_signed_or_is_not_for_it_or_old_changes_nothing_and_is_on_record(broker, lock, tmp_path):
    now_s = int(time.time())
    good = sign(scenario({3: True}, sequence=100), ISSUER)
    kid_of_issuer = sign(scenario({2: True}), ISSUER).data
    forged = kid_of_issuer[:-1] + bytes([kid_of_issuer[-1] ^ 1])
    silent = [
        (b"", Reason.CommandMalformed),
        (b"\xff" * 100, Reason.CommandMalformed),
        (bytes(705), Reason.CommandMalformed),
        (bytes(100_000), Reason.CommandMalformed),
        (sign(scenario({2: True}), STRANGER).data, Reason.IssuerUnknown),
        (sign(scenario({2: True}, audiences=("case-13",)), ISSUER).data, Reason.AudienceMismatch),
        (forged, Reason.CommandForged),
    ]
    told = [
        (sign(scenario({2: True}, exp_s=now_s - 10), ISSUER), Reason.Expired),
        (sign(scenario({2: True}, cnonce=bytes(16)), ISSUER), Reason.FreshnessMissing),
        (sign(scenario({2: 1}), ISSUER), Reason.CommandMalformed),
        (sign(scenario(None, number=77), ISSUER), Reason.CommandUnknown),
        (good, Reason.SequenceStale),  # the same bytes again
        (sign(scenario({2: True}, sequence=99), ISSUER), Reason.SequenceStale),
    ]
    async with commanding_it(broker, lock, tmp_path) as carrier:
        assert (await carrier.send(good)).is_done
        for data, _ in silent:
            await carrier.client.publish(COMMAND, data, qos=1)
        for envelope, reason in told:
            answer = await carrier.send(envelope)
            assert answer.reason == reason, reason
    reasons = [event["reason"] for event in lock.events if event["event"] == "executed"]
    assert reasons == [0] + [int(reason) for _, reason in silent + told]
    assert not any(event.get("lockdown") for event in lock.events)
    assert [event["reason"] for event in commands(lock) if event["kind"] == 134] == reasons[1:]


async def test_a_retained_command_is_never_carried_out(broker, lock, tmp_path):
    async with connected(broker.client("commander")) as client:
        await client.publish(COMMAND, sign(scenario({2: True}), ISSUER).data, qos=1, retain=True)
    async with commanding_it(broker, lock, tmp_path) as carrier:
        await lock.heard(event="command", detail="command:retained")
        assert (await carrier.send(sign(scenario({3: True}), ISSUER))).is_done
    executed = [event for event in lock.events if event["event"] == "executed"]
    assert len(executed) == 1 and not executed[0]["lockdown"]


async def test_a_flood_of_junk_delays_the_real_one_and_does_not_lose_it(broker, lock, tmp_path):
    async with commanding_it(broker, lock, tmp_path, timeout_s=25) as carrier:
        forged = bytearray(sign(scenario({2: True}), ISSUER).data)
        forged[-1] ^= 1
        for number in range(150):
            await carrier.client.publish(COMMAND, bytes(forged) if number % 10 == 0 else bytes(number), qos=1)
        assert (await carrier.send(sign(scenario({2: True}), ISSUER))).is_done
        assert len([event for event in lock.events if event["event"] == "executed"]) == 151
        # and the lock is still there for its collector
        assert (await lock.ask(do="count"))["count"] > 0


async def test_a_key_that_is_not_the_issuers_gets_no_answer(broker, lock, tmp_path):
    async with commanding_it(broker, lock, tmp_path, timeout_s=0.5) as carrier:
        with pytest.raises(LinkError, match="no result"):
            await carrier.send(sign(scenario({2: True}), STRANGER))


async def test_a_lock_without_time_is_told_it_by_the_time_server(broker, lock, tmp_path):
    lock.time_state = 0
    lines = []
    server = TimeServer(broker.client("commander"), ISSUER, lines.append)
    task = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(20):
            await server.is_subscribed.wait()
        await lock.start(tmp_path)
        told = await lock.heard(event="time")
        assert abs(told["unix_s"] - time.time()) < 5 and 0 <= told["age_ms"] < 5000
        await lock.heard(event="executed", reason=0)
        # who asks again and again does not make it sign again and again
        async with connected(broker.client("intruder")) as client:
            for _ in range(20):
                await client.publish(f"vitrine/{LOCK}/fresh", json.dumps({"cnonce": "00" * 16, "time": "x"}), qos=1)
            for junk in (b"", b"[]", b"{}", b'{"cnonce": "00"}', b'{"cnonce": 7}', b"1" * 300):
                await client.publish("vitrine/case-13/fresh", junk, qos=1)
            await client.publish("vitrine/Case 14/fresh", json.dumps({"cnonce": "00" * 16}), qos=1)
            await client.publish("vitrine/case-15/fresh", json.dumps({"cnonce": "00" * 16}), qos=1)
            async with asyncio.timeout(10):
                while server.served < 2:
                    await asyncio.sleep(0.01)
        assert server.served == 2
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert sum("told case-12" in line for line in lines) == 1


async def test_from_the_command_line(broker, lock, tmp_path):
    ISSUER.save(tmp_path / "issuer.pem")
    certificate, key = broker.authority.issue("commander").save(tmp_path, "commander")
    way = ["--key", tmp_path / "issuer.pem", "--lock", LOCK, "--broker", f"mqtts://{HOST}:{broker.port}"]
    way += ["--broker-ca", broker.ca, "--broker-cert", certificate, "--broker-key", key]
    async with commanding_it(broker, lock, tmp_path):
        status, out, err = await vitrine("command", "lockdown", *way)
        assert (status, err) == (0, "") and out.startswith(f"{LOCK}: lockdown done (sequence ")
        status, _, err = await vitrine("command", "release", *way, "--sequence", 1)
        assert status == 1 and "SequenceStale (it is at sequence" in err
        for sub in ("anna", "bert"):
            assert (await vitrine("command", "revoke", *way, "--sub", sub))[0] == 0
        # one of two locks is not there: status 2, and the other one is commanded all the same
        status, out, err = await vitrine("command", "release", *way, "--lock", "case-13", "--timeout", 1)
        assert status == 2 and f"{LOCK}: release done" in out and "no answer to rely on from case-13" in err
