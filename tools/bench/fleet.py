"""How many emulated locks this machine carries: the largest fleet whose unlock p99 is at most twice a lone lock's.

Real time: every lock is a process of its own with the whole firmware, and its records go to mosquitto and a collector.
The phones, the radio, the collector and this measurement share one more process, and the broker the same cores, so the
figure is the harness's as much as the locks'. Let nothing else run: load while the lone lock is measured makes the
figure too good, load later too bad, each several times over; `load_at_the_start` is all that is known of it here.
A step has few unlocks, and below 100 the p99 is the slowest of them: see `unlocks` as well.
"""

import asyncio
import os
import statistics
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, TypeVar

from vitrine_tools.demo.brokers import MOSQUITTO
from vitrine_tools.emulator import BumblePhone
from vitrine_tools.errors import ToolError
from vitrine_tools.fleet.fleet import Fleet
from vitrine_tools.fleet.play import percentile
from vitrine_tools.fleet.traffic import Traffic

SINGLE: Final = 60  # unlocks of the lone lock
PER_LOCK: Final = 6  # unlocks a minute
BUSY: Final = (30, 120)  # a small fleet opens more often, or a step had too few unlocks: a minute and lock, a minute
OBSERVE_S: Final = 8.0
MOST: Final = 64
PHONES: Final = 16
RATIO: Final = 2.0
BISECTIONS: Final = 2
TOTAL_S: Final = 150.0
_SINGLE_S: Final = 75.0
_STEP_S: Final = 50.0
_SETTLE_S: Final = 20.0  # until all are at the broker, and what they recorded as they started is stored
_END_S: Final = 10.0
_TICK_S: Final = 0.05
_T = TypeVar("_T")


def run() -> dict[str, Any]:
    """Return the figures and the `steps` they come from; a line that says why if there is no broker."""
    if MOSQUITTO is None:
        return {"skipped": "mosquitto is not installed (apt-get install mosquitto)"}
    return asyncio.run(_run())


async def _run() -> dict[str, Any]:
    load = os.getloadavg()[0]
    end_s = asyncio.get_running_loop().time() + TOTAL_S
    with tempfile.TemporaryDirectory() as name:
        stack = AsyncExitStack()
        try:
            fleet = Fleet(Path(name) / "fleet", "mosquitto", has_bus=False)
            await stack.enter_async_context(fleet)
            single = await _within(_SINGLE_S, _alone(fleet))
            if single is None:
                raise ToolError("the lone lock could not be measured: it did not start, or did not open each time")
            steps, limit = await _search(fleet, single["p99_ms"] * RATIO, end_s)
        finally:
            await _within(3 * _END_S, stack.aclose())
    best = max((step for step in [single, *steps] if step["within"]), key=lambda step: step["locks"])
    return {
        "largest_locks_with_p99_within_2x": best["locks"],
        "limited_by": limit,
        "unlock_p99_of_1_ms": single["p99_ms"],
        "unlock_p99_of_largest_ms": best["p99_ms"],
        "rss_per_lock_kib": best["rss_kib"],
        "pss_per_lock_kib": best["pss_kib"],
        "harness_rss_per_lock_kib": best["harness_rss_kib"],
        "collector_lag_p50_ms": best["lag_p50_ms"],
        "collector_lag_p99_ms": best["lag_p99_ms"],
        "load_at_the_start": round(load, 2),
        "cores": os.cpu_count(),
        "steps": [single, *steps],
    }


async def _search(fleet: Fleet, limit_ms: float, end_s: float) -> tuple[list[dict[str, Any]], str]:
    """Double the fleet until it is too slow, then halve the distance to the last that was not; return steps and why."""
    steps: list[dict[str, Any]] = []
    good, bad, bisections, count = 1, 0, 0, 2
    while count:
        left_s = end_s - asyncio.get_running_loop().time() - _END_S
        if left_s < OBSERVE_S + _END_S:
            return steps, "the time of this measurement"
        step = await _within(min(_STEP_S, left_s), _together(fleet, count, limit_ms))
        if step is None:  # who knows what of the fleet is there: it ends here
            steps.append({"name": f"{count} locks", "locks": count, "within": False})
            return steps, f"{count} locks that did not come up, or did not open, in time"
        steps.append(step)
        if step["within"]:
            good = count
        else:
            bad = count
        if not bad:
            count = 2 * good if good < MOST else 0
        else:
            count = (good + bad) // 2 if bad - good > 1 and bisections < BISECTIONS else 0
            bisections += 1
    return steps, f"unlock p99 of {bad} locks, or failed unlocks" if bad else f"the most that is tried, {MOST}"


async def _alone(fleet: Fleet) -> dict[str, Any]:
    """Open one lock again and again, each time after its door was opened and closed."""
    await _resize(fleet, 1)
    traffic = Traffic(fleet.radio, lambda: fleet.members, 0)
    async with BumblePhone(fleet.radio) as phone:
        for _ in range(SINGLE):
            if not await traffic.visit(phone, fleet.members[0]):
                raise ToolError(f"an unlock failed: {traffic.last_failure}")
    return {**_figures(fleet, traffic), "within": True}


async def _together(fleet: Fleet, count: int, limit_ms: float) -> dict[str, Any]:
    """Open `count` locks at random for a while. An unlock that fails is slower than any limit."""
    await _resize(fleet, count)
    open_to_all = list(fleet.members)
    before = _failed(fleet)
    async with Traffic(fleet.radio, lambda: open_to_all, PHONES) as traffic:
        task = asyncio.create_task(traffic.run(max(PER_LOCK * count, min(BUSY[0] * count, BUSY[1]))))
        try:
            await asyncio.wait({task}, timeout=OBSERVE_S)
            missed = traffic.missed
            open_to_all.clear()  # who is at a lock finishes: the slow ones count as well
            async with asyncio.timeout(_END_S):
                while any(member.is_visited for member in fleet.members):
                    await asyncio.sleep(_TICK_S)
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=_END_S)
    figures = _figures(fleet, traffic) | {"failed": _failed(fleet) - before, "missed": missed}
    p99_ms = figures["p99_ms"]
    return figures | {"within": p99_ms is not None and p99_ms <= limit_ms and not figures["failed"]}


async def _resize(fleet: Fleet, count: int) -> None:
    await fleet.resize(count)
    async with asyncio.timeout(_SETTLE_S):
        while not all(member.is_online and member.stored == member.records > 0 for member in fleet.members):
            await asyncio.sleep(_TICK_S)
    fleet.lags_s.clear()  # of records made while locks started


def _failed(fleet: Fleet) -> int:
    return sum(member.failed + member.refused for member in fleet.members)


def _figures(fleet: Fleet, traffic: Traffic) -> dict[str, Any]:
    count = len(fleet.members)
    memory = [_memory_kib(member.lock.firmware.pid) for member in fleet.members]
    lags_ms = [1000 * lag_s for lag_s in fleet.lags_s]
    return {
        "name": f"{count} locks",
        "locks": count,
        "unlocks": len(traffic.latencies_ms),
        "p50_ms": percentile(traffic.latencies_ms, 50),
        "p99_ms": percentile(traffic.latencies_ms, 99),
        "lag_p50_ms": percentile(lags_ms, 50),
        "lag_p99_ms": percentile(lags_ms, 99),
        "rss_kib": statistics.median_low(each["Rss"] for each in memory),
        "pss_kib": statistics.median_low(each["Pss"] for each in memory),
        "harness_rss_kib": _memory_kib(os.getpid())["Rss"] // count,
    }


def _memory_kib(pid: int) -> dict[str, int]:
    """Return Rss and Pss (a page that n processes share counts one n-th) as the kernel says."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name.rstrip(":"): int(value) for name, value, *_ in map(str.split, lines) if name in ("Rss:", "Pss:")}


async def _within(limit_s: float, work: Coroutine[Any, Any, _T]) -> _T | None:
    """Return what the work does; None if it fails or is not done in time, and then it is not waited for any longer.

    A task of its own, not asyncio.timeout: what lies below may take a cancellation for the end of a connection.
    """
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=limit_s)
    task.cancel()  # does nothing to what is done
    await asyncio.wait({task}, timeout=_END_S)
    if not task.done() or task.cancelled():
        return None
    if isinstance(error := task.exception(), (ToolError, TimeoutError)):
        return None
    if error is not None:
        raise error
    return task.result()


if __name__ == "__main__":
    import json

    print(json.dumps(run(), indent=1))
