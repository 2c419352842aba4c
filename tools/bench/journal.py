"""Benchmark of the audit journal: what one durable record costs the flash, beside littlefs in the same run.

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
RECORDS = 8000


def run(records: int = RECORDS) -> dict:
    """Return {"cost": rows of journal and littlefs, "mount": figures of a full 512 KiB ring, "budgets": rows}."""
    path = ":".join(str(ROOT / folder) for folder in ("firmware", "tests"))
    result = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=16M", str(Path(__file__).with_name("journal_device.py")), str(records)],
        env={**os.environ, "MICROPYPATH": f"{path}:.frozen"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if result.returncode:
        raise RuntimeError(f"the device part ended with {result.returncode}: {result.stderr[-2000:]}")
    figures = json.loads(result.stdout)
    own, other = figures["cost"]
    size = figures["mount"]["record, bytes of CBOR"]
    for row in (own, other):
        row["times the record"] = row["programmed per record, bytes"] / size
    figures["budgets"] = [
        _budget("bytes programmed, times the record", own["times the record"], 3),
        _budget("erases per record", own["erases per record"], 0.04),
        _budget("mount reads, percent of a full 512 KiB ring", figures["mount"]["mount reads, percent of the ring"], 5),
    ]
    return figures


def _budget(name: str, figure: float, budget: float) -> dict:
    return {"name": name, "figure": figure, "budget": budget, "ok": figure <= budget}


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
