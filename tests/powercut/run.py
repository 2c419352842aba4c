"""Run every power cut there is, on all cores: `make powercut`. Print progress, and the id of each case that fails.

python tests/powercut/run.py [--jobs N] [--every N] [--seed N] [--of journal|ledger|updates|field]

Journal and ledger run on this interpreter, updates on MicroPython: they are about its file system. Field work
(provisioning, deprovisioning) runs on the emulated board.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

_TESTS = Path(__file__).resolve().parent.parent
_FIRMWARE = _TESTS.parent / "firmware"
_MICROPYTHON = os.environ.get("MICROPYTHON") or str(Path(sys.executable).parent / "micropython")
sys.path[:0] = [str(_TESTS), str(_FIRMWARE), str(_TESTS / "support" / "cpython_shims")]

from powercut.cases import PowerCuts  # noqa: E402
from powercut.field_work import FieldCuts  # noqa: E402
from powercut.ledger import LIVES, LedgerCuts  # noqa: E402

_SHOWN = 20


def share(job, jobs, every, seed, of, reports):
    """Run every `jobs`-th operation's cases, from the `job`-th on."""
    lives = [PowerCuts(seed=seed)] if of in (None, "journal") else []
    lives += [LedgerCuts(life) for life in LIVES] if of in (None, "ledger") else []
    total = sum(len(cuts.operations) for cuts in lives)
    for cuts in lives:
        for operation in range(job * every, len(cuts.operations), jobs * every):
            cuts.go_to(operation)
            cases = 0
            broken = []
            for name, what in cuts.run_all():
                cases += 1
                if what:
                    broken.append((name, what))
            reports.put((total, cases, broken))
    if of in (None, "updates"):
        share_updates(job, jobs, every, total, reports)
    if of in (None, "field"):
        share_field_work(job, jobs, every, total, reports)
    reports.put(None)


def share_updates(job, jobs, every, total, reports):
    """The same for updates, on MicroPython."""
    command = [_MICROPYTHON, "-X", "heapsize=32M", str(_TESTS / "powercut" / "updates.py")]
    environment = {**os.environ, "MICROPYPATH": f"{_FIRMWARE}:{_TESTS}:.frozen"}
    broken = []
    process = subprocess.Popen(
        [*command, str(job), str(jobs), str(every)], env=environment, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        kind, _, rest = line.strip().partition(" ")
        if kind == "total":
            total += int(rest)
        elif kind == "broken":
            broken.append(tuple(rest.split(" ", 1)))
        elif kind == "cases":
            reports.put((total, int(rest), broken))
            broken = []
    if process.wait():
        raise RuntimeError("the power cuts of updates did not come to their end")


def share_field_work(job, jobs, every, total, reports):
    """The same for provisioning and deprovisioning, on the emulated board."""
    cuts = FieldCuts()
    try:
        for operation in range(job * every, len(cuts.operations), jobs * every):
            cases = cuts.run(operation)
            broken = [(name, what) for name, what in cases if what]
            reports.put((total + len(cuts.operations), len(cases), broken))
    finally:
        cuts.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--every", type=int, default=1, help="only each Nth operation")
    parser.add_argument("--seed", type=int, default=12, help="of the journal's life; give it to replay.py too")
    parser.add_argument("--of", choices=("journal", "ledger", "updates", "field"), help="only one of them")
    options = parser.parse_args()
    reports = multiprocessing.Queue()
    plan = (options.jobs, options.every, options.seed, options.of)
    workers = [
        multiprocessing.Process(target=share, args=(job, *plan, reports), daemon=True) for job in range(options.jobs)
    ]
    begin = time.monotonic()
    for worker in workers:
        worker.start()
    running = len(workers)
    operations = cases = failed = 0
    while running:
        report = reports.get()
        if report is None:
            running -= 1
            continue
        total, more, broken = report
        operations += 1
        cases += more
        for name, what in broken:
            failed += 1
            if failed <= _SHOWN:
                again = name if options.seed == 12 else f"{name} {options.seed}"
                print(f"BROKEN {name}: {what}   (python tests/powercut/replay.py {again})", flush=True)
        if operations % 250 == 0:
            done = operations * options.every * 100 // total
            print(f"{done:3} %  {cases:,} cuts, {failed} broken, {time.monotonic() - begin:.0f} s", flush=True)
    for worker in workers:
        worker.join()
        failed += worker.exitcode != 0
    print(f"{cases:,} power cuts in {operations:,} flash operations: {failed} broken, {time.monotonic() - begin:.0f} s")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
