"""Benchmark of the ledger: what a lookup costs when it is full, and what a spent id costs the flash.

`run()` returns the figures; as a program it prints them. Bytes and erases are counted on a simulated NOR flash; times
of the flash are *estimates* from typical figures of its data sheet (0.7 ms for a page, 45 ms for an erase).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MICROPYTHON = os.environ.get("MICROPYTHON") or str(Path(sys.executable).parent / "micropython")


def run() -> dict:
    """Return {"lookup": rows, "cost": rows, "mount": figures, "budgets": rows}."""
    path = ":".join(str(ROOT / folder) for folder in ("firmware", "tests"))
    result = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=8M", str(Path(__file__).with_name("ledger_device.py"))],
        env={**os.environ, "MICROPYPATH": f"{path}:.frozen"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if result.returncode:
        raise RuntimeError(f"the device part ended with {result.returncode}: {result.stderr[-2000:]}")
    figures = json.loads(result.stdout)
    filling, steady = figures["cost"]
    mount = figures["mount"]
    reads = max(row["reads of 256 bytes"] for row in figures["lookup"])
    figures["budgets"] = [
        _budget("reads of 256 bytes for a lookup in a full ledger", reads, 4),
        _budget("bytes programmed per spent id, filling it", filling["programmed per spent id, bytes"], 256),
        _budget("erases per spent id, filling it", filling["erases per spent id"], 0.06),
        _budget("bytes programmed per spent id, full", steady["programmed per spent id, bytes"], 400),
        _budget("erases per spent id, full", steady["erases per spent id"], 0.1),
        _budget("mount reads, percent of the partition", mount["mount reads, percent of the partition"], 12.5),
        _budget("heap of the ledger, bytes", mount["heap of the ledger beside its flash, bytes"], 5 * 1024),
    ]
    return figures


def _budget(name: str, figure: float, budget: float) -> dict:
    return {"name": name, "figure": figure, "budget": budget, "ok": figure <= budget}


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
