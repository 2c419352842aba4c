"""Figures of the whole firmware on the emulated board: start, unlock, heap. `run()` returns them; times are medians.

The unix port on this machine, not an ESP32: what they are good for is to see a change, and what the firmware adds to
the verifications.
"""

import asyncio
import contextlib
import functools
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mpremote.romfs import VfsRomWriter, copy_recursively
from vitrine_tools import names, protocol
from vitrine_tools.demo.cast import LOCK_ID, Cast
from vitrine_tools.emulator import BumblePhone, EmulatedLock, VirtualRadio
from vitrine_tools.phone import Phone
from vitrine_tools.protocol import Action, Op, Status

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "checks"))

ROUNDS = 9
UNLOCKS = 10_000
WARM_UP = 500
ADVERTISE_MS = 20


@functools.cache
def image() -> Path:
    """The firmware as a ROMFS image of .mpy files: its code runs in place, as frozen code on the chip."""
    from mpy_sizes import MPY_CROSS, compile_tree

    folder = compile_tree("x64")
    for name in ("boot", "main"):
        source = ROOT / "firmware" / f"{name}.py"
        subprocess.run(
            [MPY_CROSS, "-march=x64", "-O1", "-s", f"{name}.py", "-o", folder / f"{name}.mpy", source], check=True
        )
    writer = VfsRomWriter()
    with contextlib.redirect_stdout(io.StringIO()):
        copy_recursively(writer, f"{folder}/", "", False)
    path = ROOT / "build" / "mpy" / "x64.romfs"
    path.write_bytes(writer.finalise())
    return path


def new_lock(radio: VirtualRadio, folder: Path, players: Cast, *, is_virtual: bool) -> EmulatedLock:
    """A provisioned lock that runs from .mpy and advertises every 20 ms."""
    return EmulatedLock(
        radio,
        flash=folder / "flash.bin",
        provision=players.provision(advertise_ms=ADVERTISE_MS).to_bytes(),
        firmware=image(),
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
    """The heap of the libraries alone: asyncio, aioble and the emulated board under an empty main.py."""
    empty = folder / "empty"
    empty.mkdir()
    (empty / "boot.py").write_text("")
    (empty / "main.py").write_text("import asyncio, aioble, machine, esp32, board, collections, struct\n")
    lock = EmulatedLock(VirtualRadio(), flash=folder / "bare.bin", firmware=empty, virtual=True)
    async with lock:
        return {"heap_of_libraries_bytes": (await lock.memory())["used"]}


def _ms(samples: list[float]) -> float:
    return round(statistics.median(samples) * 1000, 2)


def run() -> dict[str, Any]:
    """Return all figures."""
    figures: dict[str, Any] = {}
    for measure in (starts_and_unlocks, heap, bare_heap):
        with tempfile.TemporaryDirectory() as folder:
            figures |= asyncio.run(measure(Path(folder)))
    figures["heap_of_vitrine_bytes"] = figures["heap_after_boot_bytes"] - figures["heap_of_libraries_bytes"]
    return figures


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:34} {value}")
