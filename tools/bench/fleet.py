"""How many emulated locks this machine carries: the largest fleet whose unlock p99 is at most twice a lone lock's.

Real time: every lock is a process of its own with the whole firmware, and its records go to mosquitto and a collector.
The phones, the radio, the collector and this measurement share one more process, and the broker the same cores, so the
figure is the harness's as much as the locks'. Let nothing else run; `load_at_the_start` is what is known of that here.

The lone lock is measured before all and after all, each step in between; each in RUNS runs of UNLOCKS unlocks or more,
of whose p99 the median counts. An unlock that fails is slower than any limit. From two locks on the same number of
unlocks comes in a minute, so that what differs is the number of locks. One step that is too slow does not end it.
"""

import asyncio
import math
import os
import statistics
import sys
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

STEPS: Final = (2, 4, 8, 16, 32, 64)
RUNS: Final = 3
UNLOCKS: Final = 100  # of each run, at least
PER_MINUTE: Final = 400  # in all, from two locks on
DOOR_S: Final = 0.05
PHONES: Final = 16
RATIO: Final = 2.0
BAD_MOST: Final = 2  # steps that are too slow one after the other: then it ends
TOTAL_S: Final = 1_200.0
_RUN_S: Final = 60.0
_START_S: Final = 60.0  # of a step's locks
_SETTLE_S: Final = 30.0  # until all are at the broker, and what they recorded as they started is stored
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
    steps: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        stack = AsyncExitStack()
        try:
            fleet = Fleet(Path(name) / "fleet", "mosquitto", has_bus=False)
            await stack.enter_async_context(fleet)
            before = await _step(fleet, 1)
            why = f"the most that is tried, {STEPS[-1]}"
            for count in STEPS:
                if asyncio.get_running_loop().time() > end_s:
                    why = "the time of this measurement"
                    break
                steps.append(await _step(fleet, count))
                if not steps[-1]["runs"]:  # who knows what of the fleet is there: it ends here
                    why = f"{count} locks that did not come up in time"
                    break
                if not any(_is_within(step, before) for step in steps[-BAD_MOST:]) and len(steps) >= BAD_MOST:
                    why = f"unlock p99 of {' and '.join(str(step['locks']) for step in steps[-BAD_MOST:])} locks"
                    break
            after = await _step(fleet, 1) if not steps or steps[-1]["runs"] else None
        finally:
            await _within(3 * _END_S, stack.aclose())
    return {**judge(before, after, steps), "limited_by": why, "load_at_the_start": round(load, 2)}


def judge(before: dict[str, Any], after: dict[str, Any] | None, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures: the lone lock before and after, what a step may take, and the largest that takes no more."""
    lone = before | {"runs": before["runs"] + (after["runs"] if after else [])}
    alone_ms = _p99(lone)
    if alone_ms is None:
        raise ToolError("the lone lock could not be measured: it did not start, or did not open each time")
    rows = [before | {"name": "1 lock, before"}, *steps, *([after | {"name": "1 lock, after"}] if after else [])]
    rows = [_row(row, row["locks"] == 1 or _is_within(row, lone)) for row in rows]
    best = max((row for row in rows if row["within"]), key=lambda row: row["locks"])
    return {
        "largest_locks_with_p99_within_2x": best["locks"],
        "too_slow_below_that": [row["locks"] for row in rows if row["locks"] < best["locks"] and not row["within"]],
        "unlock_p99_of_1_ms": alone_ms,
        "unlock_p99_of_largest_ms": best["p99_ms"],
        "rss_per_lock_kib": best["rss_kib"],
        "pss_per_lock_kib": best["pss_kib"],
        "harness_rss_per_lock_kib": best["harness_rss_kib"],
        "collector_lag_p50_ms": best["lag_p50_ms"],
        "collector_lag_p99_ms": best["lag_p99_ms"],
        "cores": os.cpu_count(),
        "steps": rows,
    }


def _p99(step: dict[str, Any]) -> float | None:
    """Return the median of the runs' p99; None if half of them had too few unlocks, or too many that failed."""
    return _median(step, "p99_ms")


def _median(step: dict[str, Any], name: str) -> float | None:
    middle = statistics.median_high(run[name] for run in step["runs"]) if step["runs"] else math.inf
    return middle if middle < math.inf else None


def _is_within(step: dict[str, Any], lone: dict[str, Any]) -> bool:
    p99_ms, alone_ms = _p99(step), _p99(lone)
    return p99_ms is not None and alone_ms is not None and p99_ms <= alone_ms * RATIO


def _row(step: dict[str, Any], is_within: bool) -> dict[str, Any]:
    """Return a step as the table shows it."""
    runs = step["runs"]
    return {
        **{name: value for name, value in step.items() if name != "runs"},
        "p50_ms": _median(step, "p50_ms"),
        "p99_ms": _p99(step),
        "p99_ms_of_runs": ", ".join(f"{run['p99_ms']:.1f}" for run in runs),
        **{name: sum(run[name] for run in runs) for name in ("unlocks", "failed", "missed")},
        "within": is_within,
    }


async def _step(fleet: Fleet, count: int) -> dict[str, Any]:
    """Bring the fleet to `count` locks and measure them; without `runs` if they do not come up."""
    step: dict[str, Any] = {"name": f"{count} locks", "locks": count, "runs": []}
    if await _within(_START_S + _SETTLE_S, _resize(fleet, count)) is None:
        return step
    fleet.lags_s.clear()  # of records made while locks started
    runs = [await (_alone(fleet) if count == 1 else _together(fleet)) for _ in range(RUNS)]
    return step | _figures(fleet) | {"runs": runs}


async def _alone(fleet: Fleet) -> dict[str, Any]:
    """Open one lock again and again, each time after its door was opened and closed."""
    traffic = Traffic(fleet.radio, lambda: fleet.members, 0, DOOR_S)
    before = _failed(fleet)

    async def visits() -> bool:
        async with BumblePhone(fleet.radio) as phone:
            for _ in range(UNLOCKS):
                await traffic.visit(phone, fleet.members[0])
        return True

    await _within(_RUN_S, visits())
    return result(list(traffic.latencies_ms), _failed(fleet) - before, 0)


async def _together(fleet: Fleet) -> dict[str, Any]:
    """Open locks at random until there were enough unlocks. Who is at a lock then finishes: slow ones count as well."""
    open_to_all = list(fleet.members)
    before = _failed(fleet)
    async with Traffic(fleet.radio, lambda: open_to_all, PHONES, DOOR_S) as traffic:
        task = asyncio.create_task(traffic.run(PER_MINUTE))

        async def enough() -> bool:
            while len(traffic.latencies_ms) + _failed(fleet) - before < UNLOCKS and not task.done():
                await asyncio.sleep(_TICK_S)
            open_to_all.clear()
            while any(member.is_visited for member in fleet.members) and not task.done():
                await asyncio.sleep(_TICK_S)
            return True

        try:
            missed = traffic.missed if await _within(_RUN_S, enough()) else UNLOCKS
        finally:
            open_to_all.clear()
            task.cancel()
            await asyncio.wait({task}, timeout=_END_S)
    return result(list(traffic.latencies_ms), _failed(fleet) - before, missed)


def result(latencies_ms: list[float], failed: int, missed: int) -> dict[str, Any]:
    """Return the figures of a run. What failed took for ever; and so did a run with too few unlocks."""
    values = latencies_ms + [math.inf] * max(failed, UNLOCKS - len(latencies_ms))
    return {
        "p50_ms": percentile(values, 50),
        "p99_ms": percentile(values, 99),
        "unlocks": len(latencies_ms),
        "failed": failed,
        "missed": missed,
    }


async def _resize(fleet: Fleet, count: int) -> bool:
    await fleet.resize(count)
    while not all(member.is_online and member.stored == member.records > 0 for member in fleet.members):
        await asyncio.sleep(_TICK_S)
    return True


def _failed(fleet: Fleet) -> int:
    return sum(member.failed + member.refused for member in fleet.members)


def _figures(fleet: Fleet) -> dict[str, Any]:
    """Return memory and the collector's lag."""
    count = len(fleet.members)
    memory = [_memory_kib(member.lock.firmware.pid) for member in fleet.members]
    lags_ms = [1000 * lag_s for lag_s in fleet.lags_s]
    return {
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
        print(f"fleet: {error}", file=sys.stderr)
        return None
    if error is not None:
        raise error
    return task.result()


if __name__ == "__main__":
    import json

    print(json.dumps(run(), indent=1))
