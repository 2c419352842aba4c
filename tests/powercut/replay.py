"""Run one power cut again by its id, on the interpreter that runs this file: python tests/powercut/replay.py 1234.17.0

A case of the ledger: python tests/powercut/replay.py ledger.0.123.17.0; of updates, on MicroPython: updates.123.17.0.
On MicroPython: MICROPYPATH=firmware:tests:.frozen micropython -X heapsize=16M tests/powercut/replay.py 1234.17.0
"""

import sys

_HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
sys.path[:0] = [_HERE + "/..", _HERE + "/../../firmware"]
if sys.implementation.name != "micropython":
    sys.path.append(_HERE + "/../support/cpython_shims")

from powercut.cases import PowerCuts, parse  # noqa: E402
from powercut.ledger import LedgerCuts  # noqa: E402

if sys.implementation.name == "micropython":
    from powercut.updates import UpdateCuts


def main(name, seed="12"):
    if name.startswith("ledger."):
        _, life, name = name.split(".", 2)
        cuts = LedgerCuts(int(life))
    elif name.startswith("updates."):
        name = name.split(".", 1)[1]
        cuts = UpdateCuts()
    else:
        cuts = PowerCuts(seed=int(seed))
    operation, done, bits, again = parse(name)
    cuts.go_to(operation)
    sector, offset, data = cuts.operations[operation]
    what = "erase" if data is None else f"program {len(data)} bytes"
    print(f"operation {operation}: {what} in sector {sector} at {offset}, cut after {done} bytes")
    broken = cuts.outcome(done, bits, True, again)
    print("BROKEN: " + broken if broken else "kept")
    sys.exit(1 if broken else 0)


main(*sys.argv[1:3])
