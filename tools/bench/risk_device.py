"""Runs on MicroPython: what the risk rules find in a trace, and what they cost. Prints one line of JSON.

micropython risk_device.py TRACE       (MICROPYPATH: firmware, tests, .frozen)
"""

import gc
import json
import sys
import time

from support.risk_traces import ALARM, Lock, Outcome, Token

ROUNDS = 500


def time_us(function, *arguments):
    """Return the mean time of a call, collecting its garbage included."""
    gc.collect()
    start_us = time.ticks_us()
    for _ in range(ROUNDS):
        function(*arguments)
    gc.collect()
    return time.ticks_diff(time.ticks_us(), start_us) / ROUNDS


def filled_lock(gap_s):
    """A lock that knows 32 holders, after 64 openings `gap_s` apart."""
    lock = Lock("lock bench 1799625600 62:540:1200")
    lock.clock_s = lock.start_s
    lock.play("43200 j 1 -")
    for n in range(64):
        lock.play(f"{gap_s} o {n % 32} {min(5, gap_s)} -")
    return lock


def heap_of_one():
    """Return the bytes of one Risk."""
    lock = Lock("lock bench 1799625600 62:540:1200")
    gc.collect()
    before = gc.mem_alloc()
    lock.risk = None
    gc.collect()
    return before - gc.mem_alloc()


def main(path):
    with open(path) as file:
        outcome = Outcome(file)
    cost = []
    for name, gap_s in (("an ordinary hour", 300), ("64 openings within 10 minutes", 9)):
        lock = filled_lock(gap_s)
        instant = (lock.now_s, 1, 1)
        # the holder whose place is found last
        token = Token(b"31")
        assess_us = time_us(lock.risk.assess, token, 1, instant, lock.ticks_ms())
        gc.collect()
        gc.disable()
        before = gc.mem_alloc()
        lock.risk.assess(token, 1, instant, lock.ticks_ms())
        garbage = gc.mem_alloc() - before
        gc.enable()
        record = {1: 3, 2: lock.now_s, 3: 1, 4: 11, 7: b"31", 8: b"identity", 13: b"issuer-7", 16: True}
        note_us = time_us(lock.risk.note, record)
        cost.append({"name": name, "assess us": assess_us, "garbage bytes": garbage, "note us": note_us})
    print(
        json.dumps(
            {
                "alarm": ALARM,
                "attacks": outcome.attacks,
                "found": outcome.found,
                "found_at": outcome.found_at,
                "false_alarms": outcome.false_alarms,
                "openings": outcome.openings,
                "weeks": outcome.weeks,
                "falsely": outcome.falsely,
                "cost": cost,
                "heap": heap_of_one(),
            }
        )
    )


main(sys.argv[1])
