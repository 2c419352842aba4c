"""Every test that the threat model names exists, and every threat names one.

python tools/checks/threats.py       status 1, and a line for each mistake
"""

import ast
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "firmware" / "SECURITY-MODEL.md"
_NAMED = re.compile(r"`([\w/.-]+\.py)::(\w+)`")
_SHOWN = 2  # the column of a table of threats that says which tests show it


@cache
def tests_of(path: Path) -> frozenset[str]:
    """Return the names of the tests in a file; none if there is no such file."""
    try:
        tree = ast.parse(path.read_text())
    except OSError:
        return frozenset()
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in nodes if node.name.startswith("test_"))


def mistakes(model: str, tests: Path) -> list[str]:
    """Return what is wrong with the text of a threat model, whose tests are below the folder `tests`."""
    wrong = []
    for path, name in _NAMED.findall(model):
        if name not in tests_of(tests / path):
            wrong.append(f"there is no test {name} in {tests.name}/{path}")
    in_threats = False
    count = 0
    for line in model.splitlines():
        if line.startswith("| threat |"):
            in_threats = True
        elif not line.startswith("|"):
            in_threats = False
        elif in_threats and not line.startswith("|---"):
            count += 1
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) != _SHOWN + 2 or not all(cells):
                wrong.append(f"not four cells: {line[:80]}")
            elif not _NAMED.search(cells[_SHOWN]):
                wrong.append(f"no test shows: {cells[0]}")
    if not count:
        wrong.append("there are no threats in it")
    return wrong


def main() -> int:
    """Check the threat model; return the exit status."""
    wrong = mistakes(MODEL.read_text(), ROOT / "tests")
    for line in wrong:
        print(f"{MODEL.relative_to(ROOT)}: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
