"""The sync path of a lock without door and radio: journal (flash in RAM), outbox, sync, link. Runs on MicroPython.

Started by sync_process.py. Lines of JSON: commands on standard input, what happens on standard output.
"""

import asyncio
import json
import os
import sys
import time
from binascii import hexlify, unhexlify

from support.nor_flash import NorFlash
from vitrine.access.freshness import Freshness
from vitrine.access.provision import Issuer, Provision
from vitrine.access.revocation import Revocations, empty
from vitrine.access.schedule import Zone
from vitrine.access.scopes import parse_scopes
from vitrine.app import configuration, scenario
from vitrine.app.commands import Commands
from vitrine.app.sync import SENT, UP, Sync
from vitrine.audit.journal import Journal, provision
from vitrine.audit.outbox import Outbox
from vitrine.codec import cbor
from vitrine.crypto import ed25519
from vitrine.links.mqtt import MqttLink
from vitrine.links.mqtt_settings import parse


def tell(**fields):
    print(json.dumps(fields))


class Link(MqttLink):
    """Tells when it tries."""

    tries = 0

    def open(self):
        super().open()
        self.tries += 1
        tell(event="link", state="open", tries=self.tries)


class Clock:
    def reading(self):
        return int(time.time()), 1

    def ticks_ms(self):
        return time.ticks_ms()


class Door(Clock):
    """State and time as the test says."""

    lock_state = door_state = time_state = 1
    alarms = ()

    def reading(self):
        return int(time.time()), self.time_state

    def instant(self):
        return int(time.time()), self.time_state, 1


class Store:
    def __init__(self, data=None):
        self.data = data

    def load(self):
        return self.data

    def save(self, data):
        self.data = data


class Ledger:
    """Entries in RAM."""

    def __init__(self):
        self.entries = set()

    def has(self, of_class, digest):
        return digest in self.entries

    def add(self, of_class, digest, until_s):
        self.entries.add(digest)
        return True


class Timekeeper:
    """Tells what time the lock was told."""

    def __init__(self, door, events):
        self.door = door
        self.events = events

    def take(self, unix_s, age_ms, fields):
        self.door.time_state = 1
        tell(event="time", unix_s=unix_s, age_ms=age_ms)
        self.events.record(131, fields)
        return 0


class Events:
    """Stands for app.event_log: every record goes into the journal, and wakes the sync."""

    is_sound = True

    def __init__(self, journal):
        self.journal = journal
        self.sink = None

    def record(self, kind, fields=None):
        record = dict(fields or {})
        record[1] = kind
        record[2], record[3] = int(time.time()), 1
        self.journal.append(record)
        if kind in (130, 134):
            tell(event="command", kind=kind, reason=record.get(4), detail=record.get(15), sequence=record.get(27))
        elif 15 in record:
            tell(event="fault", detail=record[15], count=record.get(14))
        if self.sink:
            self.sink(record)


class Gap:
    """How long the event loop was away, at most: a ticker of 2 ms."""

    def __init__(self):
        self.worst_us = 0

    async def run(self):
        before = time.ticks_us()
        while True:
            await asyncio.sleep_ms(2)
            now = time.ticks_us()
            self.worst_us = max(self.worst_us, time.ticks_diff(now, before) - 2000)
            before = now


async def main():
    setup = json.loads(sys.stdin.readline())
    flash, store = NorFlash(setup["sectors"]), Store()
    provision(flash, store, setup["epoch"], unhexlify(setup["first_key"]), unhexlify(setup["acknowledge_key"]))
    journal = Journal(flash, store, Clock())
    outbox = Outbox(journal, setup["lock"])
    events = Events(journal)
    link = Link(parse(unhexlify(setup["mqtt"])), setup["lock"])
    link.heartbeat_s = setup["heartbeat_s"]  # shorter than a lock may be told to have it
    door = Door()
    door.time_state = setup["time_state"]
    freshness = Freshness(os.urandom)
    shown, commands = commanded(setup, door, events, freshness)
    sync = Sync(outbox, link, events, door, door, os.urandom, commands, freshness, shown)
    for _ in range(setup["backlog"]):
        journal.append(operation(0))
    gap = Gap()
    tasks = [asyncio.create_task(gap.run())]
    commands = asyncio.StreamReader(sys.stdin)
    if setup["watch"]:
        tasks.append(asyncio.create_task(watch(journal)))
    tell(event="ready")
    if setup["single"]:
        await send_singly(link, setup["single"])
        return
    events.sink = sync.wake
    tasks.append(asyncio.create_task(sync.run(lambda: None, lambda: setup.get("is_busy", False))))
    while True:
        line = await commands.readline()
        if not line:
            break
        command = json.loads(line)
        if command["do"] == "unlock":
            for i in range(command["times"]):
                events.record(2, operation(i))
                await asyncio.sleep_ms(0)
        elif command["do"] == "state":
            door.lock_state, door.door_state, door.time_state = command["state"]
            sync.wake(None)
        elif command["do"] == "session":
            setup["is_busy"] = command["is_busy"]
            tell(event="session")
        elif command["do"] == "gap":
            tell(event="gap", ms=gap.worst_us / 1000)
            gap.worst_us = 0
        elif command["do"] == "count":
            tell(event="count", count=journal.count, acknowledged=journal.acknowledged, head=hexlify(journal.head))
        elif command["do"] == "batch":
            batch, to = outbox.batch(command["start"], 4096)
            tell(event="batch", data=hexlify(batch), to=to)
    for task in tasks:
        task.cancel()


def commanded(setup, door, events, freshness):
    """Return (scenario, commands) of a lock that trusts the issuer in `setup` with everything."""
    key = unhexlify(setup["issuer"])
    issuer = Issuer(key, "issuer", parse_scopes("unlock admin"), [setup["lock"]], 60)
    provision = Provision(setup["lock"], [], [issuer], Zone("UTC0"), {}, 0)
    shown = scenario.Scenario(Store(scenario.empty()))
    commands = Commands(
        provision,
        lambda issuer, message, signature: ed25519.verdict(issuer.public_key, message, signature),
        door,
        freshness,
        Timekeeper(door, events),
        Revocations(Store(empty([issuer.kid])), Ledger()),
        configuration.Configuration(Store(configuration.empty()), provision),
        shown,
        events,
    )
    execute = commands.execute

    def told(envelope, link):
        result = execute(envelope, link)
        tell(event="executed", reason=result.reason, lockdown=shown.is_lockdown, at_ms=int(time.time() * 1000))
        return result

    commands.execute = told
    return shown, commands


async def send_singly(link, times):
    """For the benchmark: each record a message of its own, the next when the broker has it."""
    link.open()
    while await link.next(10_000) != (UP, None):
        pass
    begin = time.ticks_ms()
    for i in range(times):
        link.send("journal", cbor.encode([i, cbor.encode(operation(0)), bytes(16)]), False)
        while await link.next(10_000) != (SENT, None):
            pass
    tell(event="single", ms=time.ticks_diff(time.ticks_ms(), begin))
    link.close()


def operation(i):
    return {1: 2, 2: int(time.time()), 3: 1, 4: 0, 5: 1, 6: 7, 7: b"person-%03d" % i, 8: bytes(16), 13: b"issuer-7"}


async def watch(journal):
    before = -1
    while True:
        if journal.acknowledged != before:
            before = journal.acknowledged
            tell(event="acknowledged", count=before)
        await asyncio.sleep_ms(5)


asyncio.run(main())
