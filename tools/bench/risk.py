"""Benchmark of the risk rules: what they find in the labelled traces, how often they ask for nothing, and their cost.

`run()` returns the figures; as a program it prints them. The traces are generated (tools/risk/traces.py), so these say
how the rules do on what that program thinks attacks and ordinary weeks are. Scored on MicroPython's unix port.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
MICROPYTHON = os.environ.get("MICROPYTHON") or str(Path(sys.executable).parent / "micropython")
# the limits were chosen on the first; the second judges them
TRACES = {"chosen on": "tuning.txt", "held out": "heldout.txt"}
RECALL = 0.95
FALSE_ALARMS = 1.0


def run() -> dict:
    """Return rows by scenario and by kind of fixture, the budgets of the held-out trace, and the cost."""
    seen = {name: _play(file) for name, file in TRACES.items()}
    held_out = seen["held out"]
    return {
        "found": [row for name, each in seen.items() for row in _scenarios(name, each)],
        "false alarms": [row for name, each in seen.items() for row in _fixtures(name, each)],
        "cost": held_out["cost"],
        "heap, bytes": held_out["heap"],
        "score that counts": held_out["alarm"],
        "budgets": [
            _budget("recall, held out, at least", -_recall(held_out), -RECALL),
            _budget("false alarms per lock and week, held out", _false_alarms(held_out), FALSE_ALARMS),
        ],
    }


def _play(file: str) -> dict:
    path = ":".join(str(ROOT / folder) for folder in ("firmware", "tests"))
    script = Path(__file__).with_name("risk_device.py")
    result = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=16M", str(script), str(ROOT / "tests" / "data" / "risk" / file)],
        env={**os.environ, "MICROPYPATH": f"{path}:.frozen"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if result.returncode:
        raise RuntimeError(f"the device part ended with {result.returncode}: {result.stderr[-2000:]}")
    return json.loads(result.stdout)


def _recall(seen: dict) -> float:
    return sum(seen["found"].values()) / sum(seen["attacks"].values())


def _false_alarms(seen: dict) -> float:
    return sum(seen["false_alarms"].values()) / sum(seen["weeks"].values())


def _scenarios(name: str, seen: dict) -> list[dict]:
    """One row for each scenario and one for all; the opening is the median number of the one at which it was found."""
    rows = []
    for scenario in [*sorted(seen["attacks"]), None]:
        of = [scenario] if scenario else list(seen["attacks"])
        attacks, found = (sum(seen[key].get(each, 0) for each in of) for key in ("attacks", "found"))
        at = [opening for each in of for opening in seen["found_at"].get(each, [])]
        row = {"name": f"{scenario or 'all'}, {name}", "attacks": attacks, "found": found, "recall": found / attacks}
        rows.append({**row, "at opening": int(median(at)) if at else 0})
    return rows


def _fixtures(name: str, seen: dict) -> list[dict]:
    rows: dict[str, dict] = {}
    for lock, weeks in seen["weeks"].items():
        row = rows.setdefault(lock.rpartition("-")[0], {"openings": 0, "weeks": 0, "false": 0})
        row["openings"] += seen["openings"][lock]
        row["weeks"] += weeks
        row["false"] += seen["false_alarms"].get(lock, 0)
    return [
        {
            "name": f"{kind}, {name}",
            "lock-weeks": row["weeks"],
            "openings a week": row["openings"] / row["weeks"],
            "false alarms a week": row["false"] / row["weeks"],
        }
        for kind, row in rows.items()
    ]


def _budget(name: str, figure: float, budget: float) -> dict:
    return {"name": name, "figure": abs(figure), "budget": abs(budget), "ok": figure <= budget}


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
