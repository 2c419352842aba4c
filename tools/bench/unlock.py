"""Unlocks in real time while the network is as it should be, and while it is not; over BLE, and over HTTP beside it.

One emulated lock for each row, all at once, visited in turns in a random order: what else this machine does hits all of
them alike. Times are the harness's: from the moment before a request is sent to the edge at the strike's pin.
Each lock has a sealed journal, Wi-Fi, HTTP and a broker of its own kind. Not an ESP32, and no air.
"""

import asyncio
import contextlib
import os
import random
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bad_brokers import hole, slowly
from local_http import free_port
from system import image

from vitrine_tools import cbor, protocol
from vitrine_tools.audit import query
from vitrine_tools.certificates import Authority
from vitrine_tools.collector import escrow
from vitrine_tools.collector.intake import Intake
from vitrine_tools.collector.service import Collector
from vitrine_tools.collector.store import Store
from vitrine_tools.demo.brokers import HOST, LocalBroker, local_broker
from vitrine_tools.demo.cast import LOCK_ID, Cast
from vitrine_tools.emulator import BumblePhone, EmulatedLock, VirtualRadio
from vitrine_tools.fleet.play import percentile
from vitrine_tools.http_phone import HttpPhone
from vitrine_tools.phone import Phone
from vitrine_tools.protocol import Action, Op, Status

UNLOCKS: Final = 200  # of each row
WARM_UP: Final = 3
BUDGET_MS: Final = 10.0  # what the p99 may be over that of the idle row of the same transport
IDLE: Final = "all is well"
SLOW: Final = "broker: 1 byte/s"
SLOW_LATER: Final = "broker: 1 byte/s once connected"
DEAD: Final = "broker: a black hole (TCP)"
SILENT: Final = "broker: silent after TCP"
FLAPPING: Final = "Wi-Fi flapping"
# (condition, over HTTP), a lock each: an HTTP session lasts beyond the unlock, and the broker waits for its end.
ROWS: Final = (
    (IDLE, False),
    (IDLE, True),
    *((each, False) for each in (DEAD, SILENT, SLOW, SLOW_LATER, FLAPPING)),
    *((each, True) for each in (DEAD, SLOW_LATER)),
)
_HANDSHAKE: Final = 3_500  # bytes each way that pass before a broker gets slow: TLS and CONNECT
_FLAP_S: Final = (2.5, 1.0)  # in the network, and not
_JOIN_MS: Final = 200
_EDGE_S: Final = 5.0
_TICK_S: Final = 0.001
_EPOCH: Final = 1
_DATABASE: Final = "collected.db"


@dataclass(frozen=True, slots=True)
class Row:
    """One condition over one transport; milliseconds to the strike's edge from `act`, and from `present`, was sent."""

    lock: EmulatedLock
    condition: str
    database: Path  # of the collector that hears of it, if any does
    url: str = ""  # empty: over BLE
    act_ms: list[float] = field(default_factory=list)
    present_ms: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{'HTTP' if self.url else 'BLE'}, {self.condition}"


def run() -> dict[str, Any]:
    """Return {"unlocks": rows, "budgets": rows} and the machine's load before."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        rows = asyncio.run(_run(Path(name)))
    idle = {bool(row.url): row for row in rows if row.condition == IDLE}
    budgets = []
    for row in rows:
        if row.condition == IDLE:
            continue
        for what in ("act", "present"):
            lost = _p99(row, what) - _p99(idle[bool(row.url)], what)
            name = f"{row.name}: p99 of {what} to edge over idle, ms"
            budgets.append({"name": name, "figure": round(lost, 1), "budget": BUDGET_MS, "ok": lost <= BUDGET_MS})
    return {"load_at_the_start": round(load, 2), "unlocks": [_figures(row) for row in rows], "budgets": budgets}


def _figures(row: Row) -> dict[str, Any]:
    return {
        "way": row.name,
        "act to edge, p50 ms": percentile(row.act_ms, 50),
        "act, p99": _p99(row, "act"),
        "present to edge, p50 ms": percentile(row.present_ms, 50),
        "present, p99": _p99(row, "present"),
        "n": len(row.act_ms),
    }


def _check(rows: list[Row]) -> None:
    """RuntimeError if what the rows are called is not what was."""
    stored = {row.name: _stored(row) for row in rows}
    told = stored[rows[0].name]
    if told < UNLOCKS:
        raise RuntimeError(f"{rows[0].name}: only {told} records came to the collector")
    for row in rows:
        if row.condition not in (IDLE, FLAPPING) and stored[row.name] > told / 2:
            raise RuntimeError(f"{row.name}: {stored[row.name]} records came to the collector, of all {told}")
        if (len(row.lock.wifi.tries) > 1) != (row.condition == FLAPPING):
            raise RuntimeError(f"{row.name}: {len(row.lock.wifi.tries)} tries to join the network")


def _stored(row: Row) -> int:
    if not row.database.exists():
        return 0
    with contextlib.closing(Store(str(row.database))) as store:
        return sum(1 for _ in query.select(store, query.Filter()))


def _p99(row: Row, what: str) -> float:
    value = percentile(row.act_ms if what == "act" else row.present_ms, 99)
    if value is None:
        raise RuntimeError(f"{row.name}: nothing was measured")
    return value


async def _run(folder: Path) -> list[Row]:
    players, radio = Cast(), VirtualRadio()
    async with contextlib.AsyncExitStack() as stack:
        rows = []
        for number, (condition, is_http) in enumerate(ROWS):
            place = folder / str(number)
            place.mkdir()
            lock, port = await _lock(stack, radio, players, place, condition)
            url = f"http://127.0.0.1:{port}" if is_http else ""
            rows.append(Row(lock, condition, place / _DATABASE, url))
        flapping = asyncio.create_task(_flap(next(row.lock for row in rows if row.condition == FLAPPING)))
        try:
            await _visit(rows, radio, players, WARM_UP)
            for row in rows:
                row.act_ms.clear()
                row.present_ms.clear()
            await _visit(rows, radio, players, UNLOCKS)
            _check(rows)
        finally:
            flapping.cancel()
            await asyncio.wait({flapping})
    return rows


async def _lock(
    stack: contextlib.AsyncExitStack, radio: VirtualRadio, players: Cast, folder: Path, condition: str
) -> tuple[EmulatedLock, int]:
    """Start a lock in a network of this condition; return it and the port of its HTTP."""
    root = secrets.token_bytes(32)
    mqtt = await _broker(stack, folder, condition, root)
    lock = EmulatedLock(
        radio,
        flash=folder / "flash.bin",
        provision=players.provision(advertise_ms=20).to_bytes(),
        journal=(LOCK_ID, root, _EPOCH),
        firmware=image(),
        rtc_s=players.now_s,
        is_time_trusted=True,
        name=condition,
    )
    lock.flash.create()
    port = free_port()
    lock.flash.nvs_put("vitrine", "network", cbor.encode({1: 1, 2: b"Store", 3: "correct horse", 4: port}))
    lock.flash.nvs_put("vitrine", "mqtt", mqtt)
    lock.wifi.join_ms = _JOIN_MS
    await stack.enter_async_context(lock)
    await lock.wait_advertising()
    return lock, port


async def _broker(stack: contextlib.AsyncExitStack, folder: Path, condition: str, root: bytes) -> bytes:
    """Have a broker of this condition; return the blob `mqtt` (SPEC.md section 5) that leads a lock to it."""
    if condition in (DEAD, SILENT):
        port = await stack.enter_async_context(hole(is_full=condition == DEAD))
        authority = Authority.new("CA")
    else:
        broker = local_broker(folder)
        await broker.start()
        stack.push_async_callback(broker.stop)
        await _collect(stack, broker, folder, root)
        port, authority = broker.port, broker.authority
        if condition in (SLOW, SLOW_LATER):
            free = _HANDSHAKE if condition == SLOW_LATER else 0
            port = await stack.enter_async_context(slowly(port, 1, 1.0, free))
    client = authority.issue(LOCK_ID)
    fields = {1: 1, 2: HOST, 3: port, 4: authority.certificate_der, 5: client.certificate_der, 6: client.key_der}
    return cbor.encode(fields)


async def _collect(stack: contextlib.AsyncExitStack, broker: LocalBroker, folder: Path, root: bytes) -> None:
    """Have a collector acknowledge what the lock records, as it is in a store."""
    keys = folder / "escrow"
    escrow.save(keys, LOCK_ID, _EPOCH, root)
    store = Store(str(folder / _DATABASE))
    stack.callback(store.close)
    collector = Collector(Intake(escrow.Escrow(keys), store), broker.client(), lambda _line: None)
    task = asyncio.create_task(collector.run())

    async def end() -> None:
        task.cancel()
        await asyncio.wait({task})

    stack.push_async_callback(end)
    await collector.is_subscribed.wait()


async def _flap(lock: EmulatedLock) -> None:
    while True:
        for is_up, pause_s in zip((True, False), _FLAP_S, strict=True):
            lock.wifi_up(is_up)
            await asyncio.sleep(pause_s)


async def _visit(rows: list[Row], radio: VirtualRadio, players: Cast, rounds: int) -> None:
    """Open each lock once in a round, in a random order."""
    token = players.token()
    async with BumblePhone(radio) as radio_phone:
        for _ in range(rounds):
            for row in random.sample(rows, len(rows)):
                if row.url:
                    await _unlock(row, HttpPhone(row.url, LOCK_ID), token, players)
                    continue
                await radio_phone.connect(row.lock.address)
                await _unlock(row, Phone(radio_phone, LOCK_ID), token, players)
                await radio_phone.disconnect()
                await radio_phone.disconnected.wait()


async def _unlock(row: Row, phone: Phone, token: bytes, players: Cast) -> None:
    """Open a lock, note both times, and lock it again. RuntimeError if it does not do as it is told."""
    lock = row.lock
    lock.pin_trace.clear()
    nonce = (await phone.hello()).nonce
    presented_ms = lock.now_ms
    if not await phone.present(token):
        raise RuntimeError(f"{row.name}: the token was refused\n{lock.last_words()}")
    acted_ms = 0.0
    for action, level in ((Action.UNLOCK, 1), (Action.LOCK, 0)):
        proof = protocol.make_proof(players.holder, LOCK_ID, nonce, action, False, protocol.token_hash(token))
        sent_ms = lock.now_ms
        status, answer = await phone.ask(Op.ACT, protocol.act_body(action, False, proof))
        if status != Status.OK:
            raise RuntimeError(f"{row.name}: {action.name} was answered {status.name}\n{lock.last_words()}")
        acted_ms = acted_ms or sent_ms
        nonce = answer[2]
        async with asyncio.timeout(_EDGE_S):
            while lock.pins["STRIKE"] != level:
                await asyncio.sleep(_TICK_S)
    edge_ms = next(ms for ms, name, level in lock.pin_trace if name == "STRIKE" and level)
    row.act_ms.append(edge_ms - acted_ms)
    row.present_ms.append(edge_ms - presented_ms)


if __name__ == "__main__":
    import json

    print(json.dumps(run(), indent=1))
