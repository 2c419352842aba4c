"""Composition root: builds drivers and links, injects them, starts the supervisor. boot.py ran before."""

import asyncio

import board
import machine

from vitrine.access.freshness import Freshness
from vitrine.app.configuration import Configuration
from vitrine.app.controller import Controller
from vitrine.app.dispatch import Dispatch
from vitrine.app.event_log import EventLog
from vitrine.app.evidence import Evidence
from vitrine.app.identity import Identity
from vitrine.app.judgement import Judgement
from vitrine.app.key_tables import KeyTables
from vitrine.app.scenario import Scenario
from vitrine.app.starts import Starts
from vitrine.app.supervisor import RESTART, Supervisor
from vitrine.app.timekeeper import Timekeeper
from vitrine.audit.journal import Journal
from vitrine.audit.record import COUNT, DETAIL, FAULT, START
from vitrine.drivers.clock import Clock
from vitrine.drivers.files import Files
from vitrine.drivers.hardware import Hardware
from vitrine.drivers.nvs import Blob, Integer
from vitrine.drivers.partition import data_partition
from vitrine.drivers.rng import random_bytes
from vitrine.drivers.watchdog import Watchdog
from vitrine.later_parts import add_console, add_doctor, add_room, add_updates, go_on_wiping
from vitrine.links.ble import BleLink
from vitrine.links.uplinks import add_broker, add_network

SPACE = "vitrine"
WATCHDOG_MS, DOOR_VOTE_MS, VOTE_MS = 8_000, 3_000, 30_000


def blob(key):
    return Blob(SPACE, key)


def build():
    """Build the lock and return its supervisor."""
    watchdog = Watchdog(WATCHDOG_MS)  # first: a lock that fails to come up tries again, it does not stay dead
    go_on_wiping(SPACE, watchdog)
    machine.freq(board.CPU_HZ)
    identity = Identity(blob("provision"))
    configuration = Configuration(blob("configuration"), identity.provision)
    scenario = Scenario(blob("scenario"))
    clock = Clock(machine.RTC(), identity.provisioned_at, configuration.settings)
    ticks_ms = clock.ticks_ms
    events = EventLog(clock, board.trace)
    freshness = Freshness(random_bytes)
    timekeeper = Timekeeper(clock, freshness, Integer(SPACE, "floor"), events.record)
    evidence = Evidence(events, lambda: Journal(data_partition("journal"), blob("journal"), clock), identity.lock_id)
    hardware = Hardware(board, lambda: configuration.settings, ticks_ms)
    events.record(START, {COUNT: machine.reset_cause()})
    if identity.trouble:
        events.record(FAULT, {DETAIL: identity.trouble})
    events.add_sink(hardware.indicator.show)
    starts = Starts(Integer(SPACE, "starts"), events, ticks_ms())
    strike, inputs, sensors = hardware.strike, hardware.inputs, hardware.sensors
    door = Controller(
        strike, inputs, configuration.settings, events, ticks_ms, sensors, lambda: scenario.is_shadow, starts
    )
    scenario.attach(door, clock, configuration, evidence)
    configuration.add_listener(clock.configure)
    configuration.add_listener(door.configure)
    tables = KeyTables(Files("/"), lambda event, _: events.record(FAULT, {DETAIL: event}), blob("tables"), random_bytes)
    judgement = Judgement(
        identity, blob, data_partition, tables, configuration, scenario, door, timekeeper, freshness, clock, evidence
    )
    events.add_sink(judgement.risk.note)
    dispatch = Dispatch(judgement, tables, random_bytes, door, evidence, clock, hardware.indicator.identify)
    ble = BleLink(dispatch, events, identity.lock_id, configuration.settings.advertise_ms)
    supervisor = Supervisor(watchdog, events, machine.reset, ticks_ms)
    is_busy = dispatch.is_busy
    supervisor.add("door", door.run, RESTART, DOOR_VOTE_MS)
    # it may have to be restarted for ever, each 30 s: a dead radio leaves the lock to Wi-Fi
    supervisor.add("ble", ble.run, RESTART, 2 * VOTE_MS)
    supervisor.add("evidence", lambda vote: evidence.run(vote, is_busy), RESTART, VOTE_MS)
    supervisor.add("judgement", lambda vote: judgement.run(vote, is_busy), RESTART, VOTE_MS)
    supervisor.add("time", lambda vote: timekeeper.run(vote, is_busy), RESTART, VOTE_MS)
    supervisor.add("scenario", scenario.run, RESTART, VOTE_MS)
    supervisor.add("keys", lambda _vote: tables.run(), RESTART)
    supervisor.add("indicator", hardware.indicator.run, RESTART)
    parts = {"identity": identity, "configuration": configuration, "scenario": scenario, "judgement": judgement}
    parts.update(events=events, starts=starts, hardware=hardware, supervisor=supervisor)
    add_doctor(dispatch, SPACE, **parts)
    add_updates(supervisor, blob, SPACE, dispatch, ble)
    add_room(supervisor, hardware.room, configuration, events, door, clock)
    add_broker(supervisor, blob, identity, events, dispatch, scenario, timekeeper.hint)
    add_network(supervisor, blob, identity, events, dispatch, board.SERVE_ON)
    add_console(supervisor, SPACE, identity, events, dispatch, watchdog, door)
    return supervisor


asyncio.run(build().run())
