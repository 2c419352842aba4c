"""A fleet that runs for people until they end it: a live table, or JSON, one object a line, every second."""

import asyncio
import json
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from ..errors import ToolError
from ..workspace import GROUP
from .fleet import Fleet
from .member import Member
from .traffic import Traffic
from .uplink import COMMANDER

_PERIOD_S: Final = 1.0
_AROUND: Final = 8  # lines of the screen that are not locks


async def play(fleet: Fleet, count: int, per_minute: float, phones: int, *, as_json: bool) -> None:
    """Start `count` locks, unlock them so often, and show them until Ctrl-C; ends everything that it began."""
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end.set)
    running = asyncio.ensure_future(_run(fleet, count, per_minute, phones, as_json))
    ending = asyncio.ensure_future(end.wait())
    await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if not running.done():
        running.cancel()
        await asyncio.wait({running})
    if not running.cancelled():
        running.result()


async def _run(fleet: Fleet, count: int, per_minute: float, phones: int, as_json: bool) -> None:
    async with fleet:
        await fleet.resize(count)
        about = {"fleet": str(fleet.folder), "locks": count, "broker": fleet.uplink.name}
        _print({**about, "to_all": to_all(fleet, "lockdown")} if as_json else _hint(fleet))
        async with Traffic(fleet.radio, lambda: fleet.members, phones) as traffic:
            task = asyncio.create_task(traffic.run(per_minute)) if per_minute else None
            try:
                await (_tell(fleet, traffic) if as_json else _show(fleet, traffic))
            finally:
                if task is not None:
                    task.cancel()
                    await asyncio.wait({task})


async def _tell(fleet: Fleet, traffic: Traffic) -> None:
    """Print what changed of each lock, then the sum."""
    begin_s, said = time.monotonic(), {}
    while True:
        for member in fleet.members:
            now = row(member)
            if said.get(member.lock_id) != now:
                said[member.lock_id] = now
                _print(now)
        _print({"at_s": round(time.monotonic() - begin_s, 1), **summary(fleet, traffic)})
        await asyncio.sleep(_PERIOD_S)


async def _show(fleet: Fleet, traffic: Traffic) -> None:
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        while True:
            live.update(_screen(fleet, traffic, live.console.height - _AROUND), refresh=True)
            await asyncio.sleep(_PERIOD_S)


def row(member: Member) -> dict[str, Any]:
    """Return what is known of one lock."""
    return {
        "lock": member.lock_id,
        "state": member.state.get("lock"),
        "door": member.state.get("door"),
        "trouble": member.trouble,
        "unlocks": member.granted,
        "refused": member.refused,
        "failed": member.failed,
        "records": member.records,
        "stored": member.stored,
    }


def summary(fleet: Fleet, traffic: Traffic) -> dict[str, Any]:
    """Return the sums over the fleet; times of the latest unlocks and records."""
    members = fleet.members
    return {
        "locks": len(members),
        "online": sum(member.is_online for member in members),
        "unlocks": sum(member.granted for member in members),
        "refused": sum(member.refused for member in members),
        "failed": sum(member.failed for member in members),
        "missed": traffic.missed,
        "unlock_p50_ms": percentile(traffic.latencies_ms, 50),
        "unlock_p99_ms": percentile(traffic.latencies_ms, 99),
        "stored": sum(member.stored for member in members),
        "lag_p50_ms": percentile([1000 * lag_s for lag_s in fleet.lags_s], 50),
        "lag_p99_ms": percentile([1000 * lag_s for lag_s in fleet.lags_s], 99),
        "last_failure": traffic.last_failure,
    }


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Return the value that `percent` of `values` do not exceed; None without values."""
    ordered = sorted(values)
    return round(ordered[max(0, -(-len(ordered) * percent // 100) - 1)], 1) if ordered else None


def _screen(fleet: Fleet, traffic: Traffic, room: int) -> Group:
    table = Table()
    # on 80 columns a state may be cut, a lock's name may not: it is what one types
    table.add_column("lock", no_wrap=True, min_width=max(len(member.lock_id) for member in fleet.members))
    for name in ("bolt", "door", "unlocks", "refused", "failed", "stored", "trouble"):
        table.add_column(name)
    # what needs somebody comes first
    members = sorted(fleet.members, key=lambda member: (not member.trouble, member.lock_id))
    for member in members[: max(1, room)]:
        known = row(member)
        table.add_row(
            member.lock_id,
            str(known["state"]),
            str(known["door"]),
            *(str(known[name]) for name in ("unlocks", "refused", "failed")),
            f"{member.stored}/{member.records}",
            member.trouble,
            style="red" if member.trouble else "",
        )
    lines = [f"{name} {value}" for name, value in summary(fleet, traffic).items() if value not in ("", None)]
    hidden = len(members) - max(1, room)
    return Group(table, *([f"... and {hidden} more"] if hidden > 0 else []), "  ".join(lines))


def _hint(fleet: Fleet) -> str:
    member = fleet.members[-1]
    key = member.space.folder / "issuer.pem"
    lines = [
        f"{len(fleet.members)} locks at {fleet.uplink.name}; Ctrl-C ends them. From a second terminal:",
        f"  {sys.argv[0]} unlock --emulator {fleet.folder} --lock {member.lock_id}",
        f"  {sys.argv[0]} command lockdown --emulator {fleet.folder} --lock {member.lock_id} --key {key}",
    ]
    words = to_all(fleet, "lockdown")
    if words:
        lines.append(f"  {shlex.join([sys.argv[0], *words])}")
    return "\n".join(lines) + "\n"


def to_all(fleet: Fleet, command: str) -> list[str]:
    """Return the words of one `vitrine command` for all locks; none without their issuer's key, or a certificate."""
    if fleet.issuer_key is None:
        return []
    try:
        fleet.uplink.client(COMMANDER)
    except ToolError:
        return []
    folder = fleet.uplink.folder
    return [
        *("command", command, "--group", GROUP.removeprefix("group:"), "--key", str(fleet.issuer_key)),
        *("--broker", fleet.uplink.url, "--broker-ca", str(folder / "ca.crt")),
        *("--broker-cert", str(folder / f"{COMMANDER}.crt"), "--broker-key", str(folder / f"{COMMANDER}.key")),
    ]


def _print(what: dict[str, Any] | str) -> None:
    print(what if isinstance(what, str) else json.dumps(what), flush=True)
