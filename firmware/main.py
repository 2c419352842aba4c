"""Composition root: builds drivers and links, injects them, starts the supervisor. boot.py ran before."""

import asyncio

import board
import machine

from vitrine.access.policy import Policy
from vitrine.access.session import VerifiedTokens
from vitrine.access.uses import Uses
from vitrine.app.controller import Controller
from vitrine.app.dispatch import Dispatch
from vitrine.app.event_log import EventLog
from vitrine.app.evidence import Evidence
from vitrine.app.identity import Identity
from vitrine.app.key_tables import KeyTables
from vitrine.app.supervisor import RESTART, Supervisor
from vitrine.app.sync import Sync
from vitrine.audit.journal import Journal
from vitrine.audit.record import COUNT, DETAIL, FAULT, START
from vitrine.drivers.clock import UNTRUSTED, Clock
from vitrine.drivers.files import Files
from vitrine.drivers.indicator import Indicator
from vitrine.drivers.inputs import Inputs
from vitrine.drivers.nvs import Blob
from vitrine.drivers.partition import data_partition
from vitrine.drivers.rng import random_bytes
from vitrine.drivers.strike import Strike
from vitrine.drivers.watchdog import Watchdog
from vitrine.links.ble import BleLink
from vitrine.links.mqtt_settings import open_link

WATCHDOG_MS = 8_000
DOOR_VOTE_MS = 3_000
BLE_VOTE_MS = 30_000
EVIDENCE_VOTE_MS = 30_000


def policy_of(provision, tables):
    """Return the access policy of a provisioned lock, its issuers' keys checked and ready."""
    keys = {issuer.kid: tables.pin(issuer.public_key) for issuer in provision.issuers}

    def verify_issuer(issuer, message, signature):
        return keys[issuer.kid].verdict(message, signature)

    return Policy(provision, verify_issuer, Uses(Blob("vitrine", "uses")))


def build():
    """Build the lock and return its supervisor."""
    watchdog = Watchdog(WATCHDOG_MS)  # first: a lock that fails to come up tries again, it does not stay dead
    machine.freq(board.CPU_HZ)
    identity = Identity(Blob("vitrine", "provision"))
    provision, settings = identity.provision, identity.settings
    clock = Clock(machine.RTC(), identity.provisioned_at, settings)
    events = EventLog(clock)
    if board.trace:
        events.add_sink(board.trace)

    def open_journal():
        return Journal(data_partition("journal"), Blob("vitrine", "journal"), clock)

    evidence = Evidence(events, open_journal, identity.lock_id)
    strike = Strike(machine.Pin(board.STRIKE), settings.pull_ms, settings.hold_duty_pct, clock.ticks_ms)
    inputs = Inputs(machine.Pin(board.DPS), machine.Pin(board.REX), settings, clock.ticks_ms)
    events.record(START, {COUNT: machine.reset_cause()})
    if identity.trouble:
        events.record(FAULT, {DETAIL: identity.trouble})
    indicator = Indicator(machine.Pin(board.LED), machine.Pin(board.BUZZER))
    events.add_sink(indicator.show)
    door = Controller(strike, inputs, settings, events, clock.ticks_ms)
    tables = KeyTables(Files("keys"), lambda event, _detail: events.record(FAULT, {DETAIL: event}))
    policy = policy_of(provision, tables) if provision else None
    dispatch = Dispatch(policy, VerifiedTokens(), tables, random_bytes, door, evidence, clock, indicator.identify)

    def radio_state():
        return provision is not None, clock.reading()[1] != UNTRUSTED

    ble = BleLink(dispatch, events, identity.lock_id, settings.advertise_ms, radio_state)
    supervisor = Supervisor(watchdog, events, machine.reset, clock.ticks_ms)
    supervisor.add("door", door.run, RESTART, DOOR_VOTE_MS)
    supervisor.add("ble", ble.run, RESTART, BLE_VOTE_MS)
    supervisor.add("evidence", lambda vote: evidence.run(vote, dispatch.is_busy), RESTART, EVIDENCE_VOTE_MS)
    supervisor.add("keys", lambda _vote: tables.run(), RESTART)
    supervisor.add("indicator", indicator.run, RESTART)
    outbox = evidence.outbox
    link = open_link(Blob("vitrine", "mqtt").load(), identity.lock_id, events) if outbox else None
    if outbox and link:
        sync = Sync(outbox, link, events, door, clock, random_bytes)
        events.add_sink(sync.wake)
        supervisor.add("sync", lambda vote: sync.run(vote, dispatch.is_busy), RESTART)
    return supervisor


asyncio.run(build().run())
