"""Figures of the console on the emulated board, the real mpremote at the other end of the wire. `run()` returns them.

No baud rate: files go as fast as both ends can. The gap is that of a ticker of 5 ms on the firmware's event loop.
"""

import asyncio
import os
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from system import image

from vitrine_tools import names
from vitrine_tools.demo.cast import LOCK_ID, Cast
from vitrine_tools.emulator import BumblePhone, EmulatedLock, VirtualRadio
from vitrine_tools.field.console_link import reach
from vitrine_tools.phone import Phone
from vitrine_tools.protocol import Action

SIZE = 20_000
GAP_BUDGET_MS = 20.0
_QUIET_S = 1.0
_LIMIT_S = 120


class Bench:
    """A lock in real time, somebody with its cable, and phones."""

    def __init__(self, folder: Path) -> None:
        self.players = Cast()
        record = self.players.provision(advertise_ms=20)
        store = replace(record.issuers[0], scopes=("unlock", "hold", "service"))
        self.port = folder / "wire"
        self.radio = VirtualRadio()
        self.lock = EmulatedLock(
            self.radio,
            flash=folder / "flash.bin",
            provision=replace(record, issuers=(store, *record.issuers[1:])).to_bytes(),
            firmware=image(),
            rtc_s=self.players.now_s,
            is_time_trusted=True,
            console=self.port,
        )
        self.opened_ms: list[float] = []
        self.is_over = False

    async def serve(self) -> None:
        """Open service."""
        token = self.players.token(scopes=("service",))
        async with reach(self.port, LOCK_ID) as phone:
            outcome = await phone.open(token, self.players.holder, action=Action.SERVICE)
        if not outcome.is_granted:
            raise RuntimeError(f"no service: {outcome.reason_name}")

    async def mpremote(self, *command: str) -> float:
        """Run mpremote; return the seconds that it took."""
        begin_s = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mpremote", "connect", str(self.port), *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(), _LIMIT_S)
        if process.returncode:
            raise RuntimeError(f"mpremote {command[0]}: {out.decode(errors='replace')}")
        return time.perf_counter() - begin_s

    async def phones(self) -> None:
        """Open the lock again and again."""
        token = self.players.token()
        while not self.is_over:
            async with BumblePhone(self.radio) as phone:
                await phone.connect(await phone.scan(names.hint(LOCK_ID)), mtu=247)
                outcome = await Phone(phone, LOCK_ID).open(token, self.players.holder)
            if not outcome.is_granted:
                raise RuntimeError(f"refused: {outcome.reason_name}")
            self.opened_ms.append(outcome.timings_ms["present"] + outcome.timings_ms["act"])

    async def gap_ms(self, name: str, *command: str) -> dict[str, Any]:
        """The loop's longest gap while a command runs, or while none does."""
        await self.lock.loop_gap_ms()
        await (self.mpremote(*command) if command else asyncio.sleep(_QUIET_S))
        gap = await self.lock.loop_gap_ms()
        return {"name": name, "ms": round(gap, 2), "budget": GAP_BUDGET_MS, "ok": gap <= GAP_BUDGET_MS}


async def measure(folder: Path) -> dict[str, Any]:
    bench = Bench(folder)
    file = folder / "file"
    file.write_bytes(random.Random(1).randbytes(SIZE))
    up, down = ("cp", str(file), ":file"), ("cp", ":file", str(folder / "back"))
    async with bench.lock as lock:
        await lock.wait_advertising()
        closed = await lock.memory()
        begin_s = time.perf_counter()
        await bench.serve()
        served_s = time.perf_counter() - begin_s
        gaps = [await bench.gap_ms("nothing runs")]
        one_s = await bench.mpremote("exec", "1")
        serving = await lock.memory()
        up_s, down_s = await bench.mpremote(*up) - one_s, await bench.mpremote(*down) - one_s
        gaps += [await bench.gap_ms(f"cp of {SIZE:,} bytes to the lock", *up)]
        gaps += [await bench.gap_ms(f"cp of {SIZE:,} bytes from the lock", *down)]
        phones = asyncio.create_task(bench.phones())
        try:
            gaps += [await bench.gap_ms("cp to the lock while phones unlock", *up)]
        finally:
            bench.is_over = True
            await phones
        if (folder / "back").read_bytes() != file.read_bytes():
            raise RuntimeError("the file came back as another")
        return {
            "service opened, ms": round(1000 * served_s, 1),
            "one exec by mpremote, ms": round(1000 * one_s, 1),
            "to the lock, bytes per s": round(SIZE / up_s),
            "from the lock, bytes per s": round(SIZE / down_s),
            "heap that service takes, bytes": serving["used"] - closed["used"],
            "unlocks meanwhile": len(bench.opened_ms),
            "slowest of them, ms": round(max(bench.opened_ms, default=0.0), 1),
            "loop gaps": gaps,
        }


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        return asyncio.run(measure(Path(folder)))
