"""The device's part of the ledger's benchmark, on MicroPython: filling it on a simulated flash, then looking things up.

Prints one JSON line.
"""

import gc
import json
import time

from support.ledger_flash import DAY, NOW_S, REVOKED, SPENT, digest, fresh
from vitrine.access.ledger import Ledger

REVOKED_MOST = 2000
SPENT_MOST = 4096
LOOKUPS = 2000


def tend(ledger, now_s=None):
    while ledger.tend(now_s):
        pass


def cost(name, flash, number, took_us, waited_us):
    waited_us.sort()
    return {
        "name": name,
        "programmed per spent id, bytes": flash.bytes_programmed / number,
        "erases per spent id": sum(flash.erases) / number,
        "programs per spent id": flash.programs / number,
        "erases of a sector, least": min(flash.erases),
        "erases of a sector, most": max(flash.erases),
        "flash time of one, median, ms (estimate)": waited_us[number // 2] / 1000,
        "flash time of one, longest, ms (estimate)": waited_us[-1] / 1000,
        "this machine, us": took_us / number,
    }


def spend(name, flash, ledger, numbers, until_s, now_s):
    """Add spent ids, with the idle work in between; `now_s(i)` is the time."""
    flash.zero_counters()
    waited_us = []
    took_us = 0
    for i, number in enumerate(numbers):
        name_of = digest(number)
        before_us = flash.device_us
        begin = time.ticks_us()
        if not ledger.add(SPENT, name_of, until_s(i)):
            raise RuntimeError(f"no room for {i}")
        took_us += time.ticks_diff(time.ticks_us(), begin)
        waited_us.append(flash.device_us - before_us)
        tend(ledger, now_s(i))
    return cost(name, flash, len(waited_us), took_us, waited_us)


def lookups(name, flash, ledger, numbers, is_there):
    names = [digest(number) for number in numbers]
    gc.collect()
    flash.bytes_read = flash.reads = 0
    begin = time.ticks_us()
    found = sum(ledger.has(SPENT, each) for each in names)
    took_us = time.ticks_diff(time.ticks_us(), begin)
    if found != (len(names) if is_there else 0):
        raise RuntimeError(f"{found} found")
    read = flash.bytes_read / len(names)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    ledger.has(SPENT, names[0])
    garbage = gc.mem_alloc() - before
    gc.enable()
    return {
        "name": name,
        "this machine, us": took_us / len(names),
        "reads of 256 bytes": read / 256,
        "garbage, bytes": garbage,
    }


def main():
    flash, ledger = fresh()
    for number in range(REVOKED_MOST):
        ledger.add(REVOKED, digest(number), 0)
        tend(ledger)
    rows = [spend("filling it", flash, ledger, range(SPENT_MOST), lambda i: NOW_S + i * 300, lambda i: None)]
    found = [
        lookups("full, there", flash, ledger, range(0, SPENT_MOST, 2), True),
        lookups("full, not there", flash, ledger, range(9000, 9000 + LOOKUPS), False),
    ]
    flash.bytes_read = 0
    begin = time.ticks_us()
    ledger = Ledger(flash)
    mount = {
        "mount, this machine, ms": time.ticks_diff(time.ticks_us(), begin) / 1000,
        "mount reads, bytes": flash.bytes_read,
        "mount reads, percent of the partition": 100 * flash.bytes_read / len(flash.image),
    }
    ledger = None
    gc.collect()
    before = gc.mem_alloc()
    ledger = Ledger(flash)
    gc.collect()
    mount["heap of the ledger beside its flash, bytes"] = gc.mem_alloc() - before
    # one comes when one goes: each lasts as long as it takes to spend nearly as many as there is room for
    life_s = 3600 * 3600
    now_s = NOW_S + SPENT_MOST * 300 + 2 * DAY
    tend(ledger, now_s)
    rows.append(
        spend(
            "full, as many come as go",
            flash,
            ledger,
            range(20_000, 20_000 + 2 * SPENT_MOST),
            lambda i: now_s + i * 3600 + life_s,
            lambda i: now_s + i * 3600,
        )
    )
    print(json.dumps({"cost": rows, "lookup": found, "mount": mount, "spent at the end": ledger.count(SPENT)}))


main()
