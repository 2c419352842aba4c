"""Figures of the whole firmware on the emulated board: start, unlock, heap. `run()` returns them; times are medians.

The unix port on this machine, not an ESP32: what they are good for is to see a change, and what the firmware adds to
the verifications.
"""

import asyncio
import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from vitrine_tools import names, protocol
from vitrine_tools.demo.cast import LOCK_ID, Cast
from vitrine_tools.emulator import BumblePhone, EmulatedLock, VirtualRadio
from vitrine_tools.phone import Phone
from vitrine_tools.protocol import Action, Op, Status

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "checks"))

OUT = ROOT / "build" / "mpy" / "bench"
MICROPYTHON = os.environ.get("MICROPYTHON") or str(Path(sys.executable).parent / "micropython")

ROUNDS = 9
UNLOCKS = 10_000
WARM_UP = 500
ADVERTISE_MS = 20

START_BUDGET_MS = 1_500
UNLOCK_BUDGET_MS = 300
REPLY_BUDGET = 1.1  # of one verification under any key
HEAP_BUDGET = 98_304
# A leak of one block of 32 bytes an unlock would be 320,000. What is less than this comes and goes: the collector is
# conservative, a word on the stack or in a buffer that looks like an address keeps a dead object for one more round.
GROWTH_BUDGET = 1_024


@functools.cache
def image() -> Path:
    """The firmware, its code in place."""
    from mpy_image import build

    return build(OUT)


@functools.cache
def bare_image() -> Path:
    """The board and the libraries alone, in the same way."""
    from mpy_image import build

    return build(OUT, ROOT / "tools" / "bench" / "libraries_device.py")


def new_lock(
    radio: VirtualRadio, folder: Path, players: Cast, *, is_virtual: bool, firmware: Path | None = None
) -> EmulatedLock:
    """A provisioned lock that runs from .mpy and advertises every 20 ms."""
    return EmulatedLock(
        radio,
        flash=folder / "flash.bin",
        provision=players.provision(advertise_ms=ADVERTISE_MS).to_bytes(),
        firmware=firmware or image(),
        virtual=is_virtual,
        rtc_s=players.now_s,
        is_time_trusted=True,
        battery=True,
    )


async def starts_and_unlocks(folder: Path) -> dict[str, float]:
    """Real time: power to advertising; a phone from scan to unlocked; the proof's write to the strike's edge."""
    players = Cast()
    radio = VirtualRadio()
    lock = new_lock(radio, folder, players, is_virtual=False)
    token = players.token()
    start, found, whole, reply, act = [], [], [], [], []
    try:
        for _ in range(ROUNDS):
            begin_s = time.perf_counter()
            await lock.start()
            await lock.wait_advertising()
            start.append(time.perf_counter() - begin_s)
            for _ in range(3):
                async with BumblePhone(radio) as radio_phone:
                    begin_s = time.perf_counter()
                    address = await radio_phone.scan(names.hint(LOCK_ID))
                    found.append(time.perf_counter() - begin_s)
                    await radio_phone.connect(address)
                    phone = Phone(radio_phone, LOCK_ID)
                    nonce = (await phone.hello()).nonce
                    await phone.present(token)
                    proof = protocol.make_proof(
                        players.holder, LOCK_ID, nonce, Action.UNLOCK, False, protocol.token_hash(token)
                    )
                    asked_ms = lock.now_ms
                    act_s = time.perf_counter()
                    body = protocol.act_body(Action.UNLOCK, False, proof)
                    status, _ = await phone.ask(Op.ACT, body)
                    act.append(time.perf_counter() - act_s)
                    whole.append(time.perf_counter() - begin_s)
                    if status != Status.OK:
                        raise RuntimeError(f"the lock answered {status!r}")
                    edges = [ms for ms, name, level in lock.pin_trace if name == "STRIKE" and level and ms >= asked_ms]
                    if edges:
                        reply.append((edges[0] - asked_ms) / 1000)
            await lock.power_cut()
    finally:
        await lock.close()
    return {
        "start_to_advertising_ms": _ms(start),
        "scan_to_found_ms": _ms(found),
        "scan_to_unlocked_ms": _ms(whole),
        "challenge_reply_to_strike_ms": _ms(reply),
        "act_round_trip_ms": _ms(act),
    }


async def reply(folder: Path) -> dict[str, float]:
    """The firmware's own time from a whole challenge reply to the coil, its token known, beside one verification."""
    players = Cast()
    token = players.token()
    proof = protocol.make_proof(players.holder, LOCK_ID, bytes(16), Action.UNLOCK, False, protocol.token_hash(token))
    used = players.token(uses=1000)
    request = protocol.request(Op.ACT, 1, protocol.act_body(Action.UNLOCK, False, proof))
    done = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=2M", str(Path(__file__).with_name("reply_device.py"))],
        input="".join(f"{part.hex()}\n" for part in (players.provision().to_bytes(), token, request, used)),
        env={**os.environ, "MICROPYPATH": f"{ROOT / 'firmware'}:{ROOT / 'tests'}:.frozen"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(done.stderr or done.stdout)
    reply_us, verify_us, decide_us, spend_us, programmed = map(int, done.stdout.split())
    return {
        "challenge_reply_to_coil_ms": reply_us / 1000,
        "verify_any_key_ms": verify_us / 1000,
        "decision_ms": decide_us / 1000,
        "decision_that_spends_a_use_ms": spend_us / 1000,
        "flash_programmed_by_a_spent_use_bytes": programmed,
    }


async def heap(folder: Path) -> dict[str, float]:
    """Virtual time: the live heap after boot, and its growth over 10,000 unlocks on one connection."""
    players = Cast()
    radio = VirtualRadio()
    lock = new_lock(radio, folder, players, is_virtual=True)
    token = players.token()
    hash_of_token = protocol.token_hash(token)
    async with lock:
        await lock.advance(5_000)
        boot = (await lock.memory())["used"]
        async with BumblePhone(radio) as radio_phone:
            await radio_phone.connect(await radio_phone.scan(names.hint(LOCK_ID)))
            phone = Phone(radio_phone, LOCK_ID)
            nonce = (await phone.hello()).nonce
            await phone.present(token)
            warm = 0
            begin_s = time.perf_counter()
            for number in range(WARM_UP + UNLOCKS):
                if number == WARM_UP:
                    warm = (await lock.memory())["used"]
                    begin_s = time.perf_counter()
                proof = protocol.make_proof(players.holder, LOCK_ID, nonce, Action.UNLOCK, False, hash_of_token)
                status, answer = await phone.ask(Op.ACT, protocol.act_body(Action.UNLOCK, False, proof))
                if status != Status.OK:
                    raise RuntimeError(f"unlock {number}: the lock answered {status!r}")
                nonce = answer[2]
            took_s = time.perf_counter() - begin_s
            grown = (await lock.memory())["used"] - warm
    # the image lies in flash on the chip; here it is one object on the heap
    boot -= image().stat().st_size
    return {
        "heap_after_boot_bytes": boot,
        "heap_growth_over_unlocks_bytes": grown,
        "unlocks": UNLOCKS,
        "unlocks_per_s": round(UNLOCKS / took_s, 1),
    }


async def bare_heap(folder: Path) -> dict[str, float]:
    """The same for the board and the libraries, in use as the firmware uses them, without the firmware."""
    lock = new_lock(VirtualRadio(), folder, Cast(), is_virtual=True, firmware=bare_image())
    async with lock:
        await lock.advance(5_000)
        if lock.ended is not None:
            raise RuntimeError(lock.last_words())
        return {"heap_of_libraries_bytes": (await lock.memory())["used"] - bare_image().stat().st_size}


def _ms(samples: list[float]) -> float:
    return round(statistics.median(samples) * 1000, 2)


def run() -> dict[str, Any]:
    """Return all figures."""
    figures: dict[str, Any] = {}
    for measure in (starts_and_unlocks, reply, heap, bare_heap):
        with tempfile.TemporaryDirectory() as folder:
            figures |= asyncio.run(measure(Path(folder)))
    figures["heap_of_vitrine_bytes"] = figures["heap_after_boot_bytes"] - figures["heap_of_libraries_bytes"]
    figures["budgets"] = budgets(figures)
    return figures


def budgets(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold the figures to what the design allows: rows of name, figure, budget, ok."""
    reply_ms = round(figures["verify_any_key_ms"] * REPLY_BUDGET, 3)
    rows = [
        ("start to advertising, ms", figures["start_to_advertising_ms"], START_BUDGET_MS),
        ("phone: scan to unlocked, ms", figures["scan_to_unlocked_ms"], UNLOCK_BUDGET_MS),
        ("live heap after boot beside the libraries, bytes", figures["heap_of_vitrine_bytes"], HEAP_BUDGET),
        (f"heap growth over {UNLOCKS:,} unlocks, bytes", figures["heap_growth_over_unlocks_bytes"], GROWTH_BUDGET),
        ("challenge reply to coil, its token known, ms", figures["challenge_reply_to_coil_ms"], reply_ms),
    ]
    return [{"name": name, "figure": figure, "budget": bound, "ok": figure <= bound} for name, figure, bound in rows]


if __name__ == "__main__":
    figures = run()
    for row in figures.pop("budgets"):
        print("{name:50} {figure:>12,} {budget:>12,} {verdict}".format(**row, verdict="ok" if row["ok"] else "MISSED"))
    for name, value in figures.items():
        print(f"{name:34} {value}")
