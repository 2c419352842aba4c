"""Figures of HTTP on the emulated board, beside BLE and beside plain microdot. `run()` returns them.

Loopback, no air and no Wi-Fi: what is compared is the lock's own part.
"""

import asyncio
import os
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from system import MICROPYTHON, ROOT, image

from vitrine_tools import cbor, names
from vitrine_tools.demo.cast import LOCK_ID, Cast
from vitrine_tools.emulator import BumblePhone, EmulatedLock, VirtualRadio, stand_ins
from vitrine_tools.http_phone import HttpPhone
from vitrine_tools.phone import Phone

ROUNDS = 40
REQUESTS = 300
SLOWER_BUDGET_MS = 10.0  # what an unlock over BLE may lose while HTTP is abused
GARBAGE = bytes(range(256)) * 5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def new_lock(folder: Path, players: Cast, radio: VirtualRadio, port: int | None) -> EmulatedLock:
    lock = EmulatedLock(
        radio,
        flash=folder / f"flash-{port}.bin",
        provision=players.provision(advertise_ms=20).to_bytes(),
        firmware=image(),
        rtc_s=players.now_s,
        is_time_trusted=True,
    )
    lock.flash.create()
    network = {1: 1, 2: b"Store", 3: "correct horse"} | ({} if port is None else {4: port})
    lock.flash.nvs_put("vitrine", "network", cbor.encode(network))
    return lock


async def unlocks(phone: Phone, token: bytes, players: Cast) -> list[float]:
    """Milliseconds from `present` to the answer of `act`: the strike moves before that goes out."""
    outcome = await phone.open(token, players.holder)
    if not outcome.is_granted:
        raise RuntimeError(f"refused: {outcome.reason_name}")
    return [outcome.timings_ms["present"] + outcome.timings_ms["act"]]


async def by_ble(radio: VirtualRadio, token: bytes, players: Cast) -> list[float]:
    times: list[float] = []
    for _ in range(ROUNDS):
        async with BumblePhone(radio) as radio_phone:
            await radio_phone.connect(await radio_phone.scan(names.hint(LOCK_ID)), mtu=247)
            times += await unlocks(Phone(radio_phone, LOCK_ID), token, players)
    return times


async def by_http(port: int, token: bytes, players: Cast) -> list[float]:
    times: list[float] = []
    for _ in range(ROUNDS):
        times += await unlocks(HttpPhone(f"http://127.0.0.1:{port}", LOCK_ID), token, players)
    return times


async def requests_per_s(port: int) -> float:
    """One after another, each on a connection of its own."""
    begin_s = time.perf_counter()
    for _ in range(REQUESTS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/hello HTTP/1.1\r\nHost: lock\r\n\r\n")
        await reader.readuntil(b"}")
        writer.close()
    return REQUESTS / (time.perf_counter() - begin_s)


async def abuse(port: int) -> None:
    """Garbage, as fast as it is taken."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GARBAGE)
            await reader.read()
            writer.close()
        except OSError:
            await asyncio.sleep(0.005)


async def plain_microdot() -> tuple[float, int]:
    """Return (requests per second, heap of the import) of microdot alone."""
    port = free_port()
    process = subprocess.Popen(
        [MICROPYTHON, str(ROOT / "tools" / "bench" / "local_http_device.py"), str(port)],
        env={**os.environ, "MICROPYPATH": f"{stand_ins.packages()}:.frozen"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        heap = int(process.stdout.readline())
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            await asyncio.sleep(0.01)
        return await requests_per_s(port), heap
    finally:
        process.kill()
        process.wait()


def p99(times: list[float]) -> float:
    return sorted(times)[-max(1, len(times) // 100)]


async def measure(folder: Path) -> dict[str, Any]:
    players = Cast()
    token = players.token()
    radio = VirtualRadio()
    async with new_lock(folder, players, radio, None) as lock:
        await lock.wait_advertising()
        await asyncio.sleep(0.5)
        heap_off = (await lock.memory())["used"]
    port = free_port()
    async with new_lock(folder, players, radio, port) as lock:
        await lock.wait_advertising()
        await asyncio.sleep(0.5)
        heap_on = (await lock.memory())["used"]
        await by_ble(radio, token, players)  # the comb table of the key
        ble, http = await by_ble(radio, token, players), await by_http(port, token, players)
        rate = await requests_per_s(port)
        abusers = [asyncio.create_task(abuse(port)) for _ in range(2)]
        try:
            abused = await by_ble(radio, token, players)
        finally:
            for task in abusers:
                task.cancel()
    plain_rate, plain_heap = await plain_microdot()
    lost_ms = statistics.median(abused) - statistics.median(ble)
    return {
        "present and act over BLE, median ms": statistics.median(ble),
        "present and act over HTTP, median ms": statistics.median(http),
        "unlock over BLE, p99 ms, HTTP idle": p99(ble),
        "unlock over BLE, p99 ms, HTTP abused": p99(abused),
        "requests/s": rate,
        "requests/s of plain microdot": plain_rate,
        "heap of HTTP, bytes": heap_on - heap_off,
        "heap of microdot's import, bytes": plain_heap,
        "budgets": [
            {
                "name": "ms that abuse of HTTP costs an unlock over BLE (median)",
                "figure": lost_ms,
                "budget": SLOWER_BUDGET_MS,
                "ok": lost_ms <= SLOWER_BUDGET_MS,
            }
        ],
    }


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measure(Path(folder)))
