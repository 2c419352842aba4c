"""`make bench`: all figures, printed as tables and written to build/bench.json.

Every figure is of this machine and of MicroPython's unix port, unless it says *estimate*; ratios are taken in one run.
A budget that is missed is shown and ends in status 1.
"""

import importlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUT = ROOT / "build" / "bench.json"
_WIDTH = 5  # figures side by side that still fit a terminal
PARTS = ("system", "unlock", "crypto", "journal", "ledger", "sync", "risk", "local_http", "console", "field", "fleet")

sys.path[:0] = [str(HERE), str(ROOT / "tools" / "checks")]


def tables(name: str, figures: dict[str, Any]) -> list[Table]:
    """One table for the plain figures, and one for each group of them."""
    plain = Table(title=name, title_justify="left")
    plain.add_column("figure")
    plain.add_column("value", justify="right")
    groups = []
    for key, value in figures.items():
        if isinstance(value, dict):
            groups += tables(f"{name}: {key}", value)
        elif isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            groups.append(_rows(f"{name}: {key}", value))
        else:
            plain.add_row(key, _text(value))
    return ([plain] if plain.row_count else []) + groups


def _rows(title: str, rows: list[dict[str, Any]]) -> Table:
    """One line for each row; or, where there are too many figures for that, one column for each."""
    table = Table(title=title, title_justify="left")
    keys = sorted(rows[0], key=lambda key: key != "name")
    if len(keys) > _WIDTH and "name" in keys:
        table.add_column("figure")
        for row in rows:
            table.add_column(str(row["name"]), justify="right")
        for key in keys[1:]:
            table.add_row(key, *(_text(row.get(key)) for row in rows))
        return table
    for key in keys:
        table.add_column(key, justify="left" if isinstance(rows[0][key], str) else "right")
    for row in rows:
        table.add_row(*(_text(row.get(key)) for key in keys))
    return table


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return str(value)


def missed(figures: Any) -> list[str]:
    """The names of the budgets that are missed: rows {name, figure, budget, ok} anywhere in the figures."""
    if isinstance(figures, dict):
        if "budget" in figures and figures.get("ok") is False:
            return [str(figures.get("name"))]
        return [name for value in figures.values() for name in missed(value)]
    if isinstance(figures, list):
        return [name for value in figures for name in missed(value)]
    return []


def main(names: list[str]) -> int:
    """Run the parts named, or all; return the exit status."""
    unknown = [name for name in names if name not in (*PARTS, "mpy_sizes")]
    if unknown:
        print(f"no such part: {', '.join(unknown)}; there are {', '.join((*PARTS, 'mpy_sizes'))}", file=sys.stderr)
        return 2
    console = Console()
    report: dict[str, Any] = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "note": "unix port on this machine, not an ESP32",
    }
    late: list[str] = []
    for name in names or (*PARTS, "mpy_sizes"):
        begin_s = time.perf_counter()
        part = importlib.import_module(name)
        report[name] = part.run()
        late += getattr(part, "failures", missed)(report[name])
        report[name]["bench_took_s"] = round(time.perf_counter() - begin_s, 1)
        if hasattr(part, "report"):
            part.report(report[name], console)
            continue
        for table in tables(name, report[name]):
            console.print(table)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(report, indent=1, default=str) + "\n")
    console.print(f"written to {OUT.relative_to(ROOT)}")
    if late:
        console.print(f"[bold red]budgets missed: {', '.join(late)}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
