"""Figures of field work on the emulated board: provisioning, an update, starts from a slot, memory in service.

The real tools at the real wire of the board, but no baud rate, no chip and no air. `run()` returns the figures.
"""

import asyncio
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from console import SIZE
from system import ROOT, image

sys.path[:0] = [str(ROOT / "tests")]

from support import field_site  # noqa: E402
from support.store import LOCK_ID, Store  # noqa: E402
from support.update_lab import UpdateStore, application, updates_of  # noqa: E402
from vitrine_tools import names  # noqa: E402
from vitrine_tools.emulator import BumblePhone, EmulatedLock, VirtualRadio  # noqa: E402
from vitrine_tools.errors import ToolError  # noqa: E402
from vitrine_tools.field import diagnosis, service  # noqa: E402
from vitrine_tools.field.console_link import reach  # noqa: E402
from vitrine_tools.phone import Phone  # noqa: E402

ROUNDS: Final = 3
STARTS: Final = 9  # of each kind
HEAP: Final = 1 << 20
START_BUDGET_MS: Final = 1_500
_LOOK_S: Final = 11.0  # the lock looks at its heap every 10 s
_OWN, _SLOT = "the image's own", "slot"


def run() -> dict[str, Any]:
    """Return the figures by group."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (_provisioning, _update, _starts):
            figures |= asyncio.run(part(folder))
    return figures


async def _provisioning(folder: Path) -> dict[str, Any]:
    """From the power of a bare board to a lock that its own report says is well, ROUNDS times; then its memory."""
    whole, record, memory = [], [], {}
    for round_ in range(ROUNDS):
        place = folder / f"site-{round_}"
        place.mkdir()
        site, port = field_site.Store(place), place / "port"
        begin_s = time.perf_counter()
        lock = EmulatedLock(VirtualRadio(), flash=place / "flash.bin", console=port, firmware=image())
        async with lock:
            await lock.wait_advertising()
            plugged_s = time.perf_counter()
            try:
                done = await asyncio.to_thread(site.provision, port)
            except ToolError as error:
                raise RuntimeError(f"not provisioned; the board said last:\n{lock.last_words()}") from error
            end_s = time.perf_counter()
            if not done.changed:
                raise RuntimeError("the board was not bare")
            whole.append(end_s - begin_s)
            record.append(end_s - plugged_s)
            if round_ == ROUNDS - 1:
                memory = await _service(lock, site, port, place)
    return {
        "provisioning": {
            "power to provisioned and examined, median s": round(statistics.median(whole), 2),
            "of it `vitrine provision`, median s": round(statistics.median(record), 2),
        },
        "memory in service": memory,
    }


async def _service(lock: EmulatedLock, site: field_site.Store, port: Path, folder: Path) -> dict[str, Any]:
    """Copy files by mpremote for as long as the lock takes to look at its heap; return what it saw."""
    closed = await lock.memory()
    async with reach(port, LOCK_ID) as phone:
        await service.begin(phone, site.right.renewed())
    file = folder / "file"
    file.write_bytes(random.Random(1).randbytes(SIZE))
    end_s, copies = time.perf_counter() + _LOOK_S, 0
    while time.perf_counter() < end_s:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mpremote", "connect", str(port), "cp", str(file), ":file"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        if await process.wait():
            raise RuntimeError("mpremote did not copy")
        copies += 1
    async with reach(port, LOCK_ID) as phone:
        report = diagnosis.plain(await diagnosis.fetch(phone, LOCK_ID))
    whole = closed["used"] + closed["free"]
    least = min(each for each in report["heap"].values() if each)  # now, and at the lock's own looks
    return {
        "files copied": copies,
        "heap free while closed, bytes": closed["free"],
        "least free in service, bytes": least,
        "most that was taken, bytes, without the image": whole - least - image().stat().st_size,
    }


async def _update(folder: Path) -> dict[str, Any]:
    """One application over BLE, in virtual time: what it costs the flash. Leaves flash files for the starts."""
    place = folder / "update"
    place.mkdir()
    store = UpdateStore(place)
    update = application(_sequence() + 1)
    async with store.lock(firmware=image()) as lock:
        await lock.advance(5_000)
        shutil.copyfile(lock.flash.path, folder / "own.bin")
        before = await lock.flash_counts()
        begin_ms = lock.now_ms
        sender = store.sender(lock, update)
        await sender.push()
        staged, staged_ms = await lock.flash_counts(), lock.now_ms
        if not sender.is_confirmed(await sender.wait()):
            raise RuntimeError(f"the update was not confirmed: {updates_of(lock)}")
        confirmed = await lock.flash_counts()  # since the start of what is new
    shutil.copyfile(lock.flash.path, folder / "slot.bin")
    return {
        "update of the application": {
            "component, bytes": len(update.data),
            "programmed while it comes, bytes": staged["programmed"] - before["programmed"],
            "erased while it comes, sectors": staged["erased"] - before["erased"],
            "programmed from its start to its confirmation, bytes": confirmed["programmed"],
            "erased from its start to its confirmation, sectors": confirmed["erased"],
            "on its way over BLE, virtual s (no air)": round((staged_ms - begin_ms) / 1000, 1),
        }
    }


def _sequence() -> int:
    """The sequence of the firmware in this tree."""
    found = re.search(r"^SEQUENCE = (\d+)$", (ROOT / "firmware" / "vitrine" / "version.py").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError("firmware/vitrine/version.py has no sequence")
    return int(found[1])


async def _starts(folder: Path) -> dict[str, Any]:
    """Real time, in turns: from power to the air, and to an unlock, of the image's application and of a slot's."""
    store = Store(folder)  # the same keys
    air: dict[str, list[float]] = {_OWN: [], _SLOT: []}
    opened: dict[str, list[float]] = {_OWN: [], _SLOT: []}
    for _ in range(STARTS):
        for kind, flash in ((_OWN, "own.bin"), (_SLOT, "slot.bin")):
            store.radio = VirtualRadio()
            lock = store.lock(flash=folder / flash, provision=None, firmware=image(), virtual=False)
            async with BumblePhone(store.radio) as phone:
                begin_s = time.perf_counter()
                async with lock:
                    await lock.wait_advertising()
                    air[kind].append(time.perf_counter() - begin_s)
                    await phone.connect(await phone.scan(names.hint(LOCK_ID)))
                    outcome = await Phone(phone, LOCK_ID).open(store.token(), store.holder)
                    opened[kind].append(time.perf_counter() - begin_s)
                    if not outcome.is_granted:
                        raise RuntimeError(f"{kind}: refused, {outcome.reason_name}")
    rows = [
        {
            "application": kind,
            "power to the air, median ms": round(1000 * statistics.median(air[kind]), 1),
            "power to unlocked, median ms": round(1000 * statistics.median(opened[kind]), 1),
        }
        for kind in (_OWN, _SLOT)
    ]
    slot_ms = rows[1]["power to the air, median ms"]
    budget = {"name": "power to the air from a slot, ms", "figure": slot_ms, "budget": START_BUDGET_MS}
    return {"starts": rows, "budgets": [budget | {"ok": slot_ms <= START_BUDGET_MS}]}


if __name__ == "__main__":
    import json

    print(json.dumps(run(), indent=1))
