"""A lock in Home Assistant, over a real broker: what is shown is what the lock says, and a button opens nothing."""

import asyncio
import json
import secrets
import time
from contextlib import asynccontextmanager

import pytest

from support.homeassistant import HomeAssistant
from support.mosquitto import HOST, needs_mosquitto
from support.sync_process import mqtt_blob
from vitrine.version import VERSION
from vitrine_tools import commanding, names
from vitrine_tools.collector.escrow import Escrow, save
from vitrine_tools.collector.intake import Intake
from vitrine_tools.collector.service import Collector
from vitrine_tools.collector.store import Store
from vitrine_tools.commanding_broker import connected
from vitrine_tools.demo.cast import LOCK_ID, Cast
from vitrine_tools.emulator import BumblePhone, EmulatedLock, FlashImage, VirtualRadio
from vitrine_tools.homeassistant import discovery
from vitrine_tools.homeassistant.bridge import Bridge, Options, remove
from vitrine_tools.homeassistant.events import NewRecords
from vitrine_tools.phone import Phone
from vitrine_tools.protocol import Reason

from .test_bleak_unlock import vitrine

pytestmark = [needs_mosquitto, pytest.mark.system]
IDLE = {"lock": "LOCKED", "door": "OFF", "tamper": "OFF", "battery": "OFF", "motion": "None", "problem": "OFF"}


@pytest.fixture
def players():
    return Cast()


@pytest.fixture
async def lock(broker, players, tmp_path):
    flash = FlashImage(tmp_path / "flash.bin").create()
    flash.provision(players.provision(ajar_ms=5000).to_bytes())
    root = secrets.token_bytes(32)
    save(tmp_path / "keys", LOCK_ID, players.now_s, root)
    flash.provision_journal(LOCK_ID, root, players.now_s)
    client = broker.authority.issue(LOCK_ID)
    flash.nvs_put("vitrine", "mqtt", mqtt_blob(HOST, broker.port, broker.authority.certificate_der, client))
    radio = VirtualRadio()
    lock = EmulatedLock(radio, flash=flash.path, rtc_s=players.now_s, is_time_trusted=True)
    lock.radio = radio
    yield lock


@asynccontextmanager
async def bridging(broker, *, options=None, new_records=None):
    """A running bridge; yields the lines it says."""
    lines = []
    serving = Bridge(broker.client("homeassistant"), options or Options(), lines.append, new_records)
    task = asyncio.create_task(serving.run())
    try:
        async with asyncio.timeout(20):
            await serving.is_subscribed.wait()
        yield lines
    finally:
        task.cancel()
        await asyncio.wait({task})


async def unlock(lock, players):
    async with BumblePhone(lock.radio) as radio_phone:
        await radio_phone.connect(await radio_phone.scan(names.hint(LOCK_ID)))
        outcome = await Phone(radio_phone, LOCK_ID).open(players.token(), players.holder)
        assert outcome.is_granted


async def test_what_is_shown_follows_the_lock_and_goes_with_it(broker, lock, players):
    async with bridging(broker), HomeAssistant(broker.client("intruder")) as shown, lock:
        await shown.shows(LOCK_ID, connectivity="ON", update="None", **IDLE)
        await unlock(lock, players)
        await shown.shows(LOCK_ID, lock="UNLOCKED", door="OFF")
        lock.pull_door()
        await shown.shows(LOCK_ID, lock="UNLOCKED", door="ON", problem="OFF")
        lock.open_housing()
        await shown.shows(LOCK_ID, tamper="ON", problem="ON")
        await shown.shows(LOCK_ID, door="ON", problem="ON")
        lock.open_housing(False)
        lock.set_door(True)
        await shown.shows(LOCK_ID, **IDLE)
        lock.set_door(False)  # nobody was granted anything
        await shown.shows(LOCK_ID, lock="UNLOCKED", door="ON", problem="ON")
        await lock.power_cut()
        # the broker tells, when the lock's connection is found dead
        await shown.shows(LOCK_ID, connectivity="OFF", **dict.fromkeys(IDLE, "unavailable"))


async def test_an_update_is_shown_where_somebody_says_what_there_is(broker, lock):
    async with HomeAssistant(broker.client("intruder")) as shown, lock:
        for release, wanted in ((VERSION, "OFF"), ("99.0", "ON")):
            async with bridging(broker, options=Options(release=release)):
                await shown.shows(LOCK_ID, update=wanted)
        assert await remove(broker.client("homeassistant"), Options()) == [LOCK_ID]
        await shown.until(lambda: shown.messages[discovery.release_topic(LOCK_ID)] == "")
        assert shown.states(LOCK_ID) == {}


async def test_a_broken_state_is_unknown_and_a_missing_one_too(broker):
    topic = "vitrine/case-7/"
    async with (
        bridging(broker),
        HomeAssistant(broker.client("intruder")) as shown,
        connected(broker.client("case-7")) as impostor,
    ):
        await impostor.publish(topic + "availability", b"online", qos=1, retain=True)
        await shown.shows("case-7", connectivity="ON", **dict.fromkeys(IDLE, "None"))
        good = {"lock": "Locked", "door": "DoorClosed", "time": "trusted", "scenario": "normal", "alarms": []}
        await impostor.publish(topic + "state", json.dumps(good), qos=1, retain=True)
        await shown.shows("case-7", update="unavailable", **IDLE)
        await impostor.publish(topic + "state", b'{"lock": "Locked"', qos=1, retain=True)
        await shown.shows("case-7", **dict.fromkeys(IDLE, "None"))
        await impostor.publish(topic + "availability", b"perhaps", qos=1, retain=True)
        await shown.shows("case-7", connectivity="None", lock="unavailable")


async def test_a_button_opens_nothing_and_is_told_why(broker, lock):
    async with bridging(broker) as lines, HomeAssistant(broker.client("intruder")) as shown, lock:
        await shown.shows(LOCK_ID, **IDLE)
        records = len(lock.events)
        for payload in (b"UNLOCK", b"OPEN", b"", b"\xff\x00", b"UNLOCK" * 1000):
            await shown.press(LOCK_ID, payload)
        await shown.until(lambda: shown.notices)
        # and straight to where a lock listens: it is no command
        await shown.client.publish(f"vitrine/{LOCK_ID}/command", b"UNLOCK", qos=1)
        await lock.wait_event(lambda record: record.get(1) == 134)
        assert shown.states(LOCK_ID)["lock"] == "LOCKED"
        assert not lock.strike_energised and not [
            level for _, name, level in lock.pin_trace if name == "STRIKE" if level
        ]
        assert len(lock.events) == records + 1
    (notice,) = shown.notices  # pressed five times, answered once
    assert notice["last_request"] == "UNLOCK" and "is no authority" in notice["last_answer"]
    assert sum("UNLOCK from Home Assistant refused" in line for line in lines) == 1


async def test_with_a_key_of_its_own_it_signs_a_command_for_the_locks_that_were_named(broker, players):
    options = Options(key=players.headquarters, allow=frozenset({"case-7"}), timeout_s=5)
    async with (
        bridging(broker, options=options),
        HomeAssistant(broker.client("intruder")) as shown,
        connected(broker.client("case-7")) as lock,
    ):
        await lock.subscribe("vitrine/case-7/command", qos=1)
        for name in ("case-7", "case-8"):
            await shown.client.publish(f"vitrine/{name}/availability", b"online", qos=1, retain=True)
            await shown.shows(name, connectivity="ON")
        await shown.press("case-7", b"UNLOCK")
        sequences = []
        for reason in (Reason.SequenceStale, Reason.Granted):  # another one of this second came first
            async with asyncio.timeout(10):
                envelope = commanding.parse((await anext(lock.messages)).payload)
            command = envelope.command
            sequences.append(command.sequence)
            assert envelope.sign1.is_signed_by(players.headquarters.public)
            assert (command.number, command.body, command.audiences) == (5, {1: 1}, ("case-7",))
            assert time.time() < command.exp_s <= time.time() + 61
            result = {"id": command.id.hex(), "reason": reason.name, "sequence": command.sequence}
            await lock.publish("vitrine/case-7/result", json.dumps(result), qos=1)
        assert sequences[1] == sequences[0] + 1
        await shown.until(lambda: shown.notices)
        assert shown.notices[0]["last_answer"] == "done"
        assert shown.states("case-7")["lock"] == "None"  # that it was done is no state
        await shown.press("case-8", b"UNLOCK")
        await shown.until(lambda: len(shown.notices) == 2)
        assert "not one that may be opened from here" in shown.notices[1]["last_answer"]


async def test_with_a_key_the_lock_opens_and_says_so_itself(broker, lock, players):
    options = Options(key=players.issuer, allow=frozenset({LOCK_ID}))
    async with bridging(broker, options=options), HomeAssistant(broker.client("intruder")) as shown, lock:
        await shown.shows(LOCK_ID, **IDLE)
        await shown.press(LOCK_ID, b"UNLOCK")
        record = await lock.wait_event(lambda record: record.get(1) == 2 and record.get(5) == 1)
        assert record[18] == 3 and record[13] == players.issuer.public.kid
        await shown.shows(LOCK_ID, lock="UNLOCKED", door="OFF")
        await shown.until(lambda: shown.notices)
        assert shown.notices[0]["last_answer"] == "done"


async def test_a_request_that_the_broker_kept_is_not_even_answered(broker):
    async with connected(broker.client("intruder")) as client:
        await client.publish("vitrine-homeassistant/case-7/command", b"UNLOCK", qos=1, retain=True)
    async with bridging(broker) as lines, connected(broker.client("intruder")) as client:
        await client.publish("vitrine-homeassistant/case-8/command", b"LOCK", qos=1)
        async with asyncio.timeout(10):
            while not any("case-8" in line for line in lines):
                await asyncio.sleep(0.01)
    assert not any("case-7" in line for line in lines)


async def test_home_assistants_restart_brings_the_messages_again(broker):
    async with connected(broker.client("case-7")) as client, bridging(broker):
        await client.publish("vitrine/case-7/availability", b"online", qos=1, retain=True)
        async with HomeAssistant(broker.client("intruder")) as shown:
            await shown.shows("case-7", connectivity="ON")
            before = shown.configured
            await shown.client.publish("homeassistant/status", b"online", qos=1)
            await shown.until(lambda: shown.configured > before)
            # what no lock can be called is none, and the topics of others are let alone
            await shown.client.publish("vitrine/Case 9/availability", b"online", qos=1)
            await shown.client.publish("vitrine/case-9/availability/x", b"online", qos=1)
            await shown.client.publish("homeassistant/status", b"online", qos=1)
            await shown.until(lambda: shown.configured > before + 1)
            assert list(shown.configs) == ["homeassistant/device/vitrine_case-7/config"]


async def test_new_records_become_events(broker, lock, players, tmp_path):
    store = Store(str(tmp_path / "records.db"))
    collector = Collector(Intake(Escrow(tmp_path / "keys"), store), broker.client(), lambda line: None)
    task = asyncio.create_task(collector.run())
    try:
        async with bridging(broker, new_records=NewRecords(store)), HomeAssistant(broker.client("intruder")) as shown:
            async with lock:
                await shown.shows(LOCK_ID, **IDLE)
                await unlock(lock, players)
                await shown.until(lambda: any(event["event_type"] == "LockOperation" for event in shown.events))
            text = json.dumps(shown.events)
            opening = next(event for event in shown.events if event["event_type"] == "LockOperation")
            assert opening["operation"] == "Unlock" and opening["link"] == "BLE" and opening["reason"] == "Granted"
            assert "staff-17" not in text and b"staff-17".hex() not in text
            numbers = [event["number"] for event in shown.events]
            assert len(set(numbers)) == len(numbers)
    finally:
        task.cancel()
        await asyncio.wait({task})
        store.close()


async def test_published_once_and_removed_from_the_command_line(broker, tmp_path):
    certificate, key = broker.authority.issue("homeassistant").save(tmp_path, "homeassistant")
    way = ["--broker", f"mqtts://{HOST}:{broker.port}", "--broker-ca", broker.ca]
    way += ["--broker-cert", certificate, "--broker-key", key]
    async with connected(broker.client("intruder")) as client:
        await client.publish("homeassistant/device/vitrine_other/config", b'{"origin": {"name": "else"}}', retain=True)
        await client.publish("vitrine/case-7/availability", b"offline", qos=1, retain=True)
        await client.publish("vitrine/case-8/state", b"{}", qos=1, retain=True)
        async with HomeAssistant(broker.client("intruder")) as shown:
            done = await vitrine("homeassistant", "publish", *way, "--without", "battery")
            assert done == (0, "Published: case-7, case-8.\n", "")
            await shown.shows("case-7", connectivity="OFF", lock="unavailable")
            assert "battery" not in shown.states("case-8")
            done = await vitrine("homeassistant", "remove", *way, "--lock", "case-8")
            assert done == (0, "Removed: case-8.\n", "")
            done = await vitrine("homeassistant", "remove", *way)
            assert done == (0, "Removed: case-7.\n", "")
            await shown.until(lambda: list(shown.configs) == ["homeassistant/device/vitrine_other/config"])


async def test_mistakes_are_told_in_a_line(tmp_path):
    for words, told in (
        (("run", "--broker", "x", "--allow", "case-7"), "give --key and --allow together"),
        (("publish", "--broker", "x", "--without", "door"), "nothing that a lock can lack"),
        (("publish", "--broker", "x", "--prefix", "a b"), "not a discovery prefix"),
        (("publish", "--broker", "mqtt://localhost:1", "--lock", "Case"), "not a lock id"),
        (("publish", "--broker", "mqtt://localhost:1", "--lock", "case-7"), "the broker localhost:1"),
        (("run", "--broker", "x", "--db", tmp_path / "none.db"), "there is no database"),
    ):
        status, out, err = await vitrine("homeassistant", *words)
        assert (status, out) == (2, "") and told in err and err.count("\n") == 1, err
