"""The judge of `vitrine policy explain` and the firmware, on both interpreters, decide alike; and as zoneinfo says."""

import importlib.util
import json
import os
import random
import subprocess
import sys
import zoneinfo
from collections import Counter
from datetime import datetime, time, timedelta
from pathlib import Path

import pytest

from support import explain_cases
from support import explain_edges as edges
from vitrine_tools.policy.judge import judge
from vitrine_tools.policy.local_time import LocalTime
from vitrine_tools.protocol import Reason

ROOT = Path(__file__).resolve().parents[2]
SEED = 20_270_115
CASES = 11_000


def sibling(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


device = sibling("explain_batch")


def on_micropython(cases):
    """Run explain_batch.py on the unix port; return its answers."""
    python = os.environ.get("MICROPYTHON") or str(Path(sys.executable).parent / "micropython")
    run = subprocess.run(
        [python, "-X", "heapsize=4M", str(Path(__file__).parent / "explain_batch.py")],
        input="".join(json.dumps(case) + "\n" for case in cases),
        env={**os.environ, "MICROPYPATH": f"{ROOT / 'firmware'}:.frozen"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout[-500:] + run.stderr[-2000:]
    return [int(line) for line in run.stdout.splitlines()]


def test_judge_and_firmware_decide_alike():
    cases = explain_cases.cases(SEED, CASES)
    judged = [judge(case.token, case.lock, case.act).reason for case in cases]
    # as MicroPython reads them: numbers as keys are texts in JSON
    decided = [device.decide(json.loads(json.dumps(case.device))) for case in cases]
    on_device = on_micropython([case.device for case in cases])
    differences = [
        (n, judged[n].name, Reason(decided[n]).name, Reason(on_device[n]).name)
        for n in range(CASES)
        if not judged[n] == decided[n] == on_device[n]
    ]
    assert len(on_device) == CASES and not differences, (len(differences), differences[:5])
    # the cases are worth something: every reason that such a question can have, often
    found = Counter(judged)
    assert found.keys() >= {Reason(number) for number in (*range(15), 19, 21, 22, 23, 24, 25, 26, 27, 28)}
    assert min(found.values()) >= 20 and CASES // 4 < found[Reason.Granted] < CASES // 2, found.most_common()


@pytest.mark.skipif(not zoneinfo.available_timezones(), reason="no time zones on this machine")
def test_windows_are_open_when_zoneinfo_says_so():
    """10,000 instants, most of them around changes of clocks and midnights, in 11 zones."""
    draw = random.Random(SEED)
    cases, expected, judged = [], [], []
    near_changes = Counter()
    for _ in range(10_000):
        name = draw.choice(sorted(edges.ZONES))
        text = edges.ZONES[name]
        at_s = edges.instant(draw, text)
        holidays = edges.holidays(draw, LocalTime(text), at_s)
        zone = LocalTime(text, holidays)
        windows = edges.windows(draw, zone, at_s, draw.choice((1, 1, 2, 16)))
        cases.append({"w": windows, "at": at_s, "zone": text, "holidays": explain_cases.holiday_rows(holidays)})
        expected.append(is_open(windows, holidays, zoneinfo.ZoneInfo(name), at_s))
        judged.append(zone.is_open(windows, at_s))
        near_changes[name] += any(abs(at_s - change_s) <= 7200 for change_s in edges.change_times(text))
    wrong = [case for case, right, answer in zip(cases, expected, judged, strict=True) if right != answer]
    assert not wrong, (len(wrong), wrong[:3])
    assert [device.is_open(case) for case in cases] == expected
    assert on_micropython(cases) == expected
    assert 3000 < sum(expected) < 7000
    assert sum(count > 100 for count in near_changes.values()) >= 10, near_changes


def is_open(windows, holidays, zone, at_s):
    """Say it in the words of SPEC.md: a window begins on each of its days, and lasts until its end."""
    wall = datetime.fromtimestamp(at_s, zone).replace(tzinfo=None)
    for day in (wall.date(), wall.date() - timedelta(1)):
        is_holiday = any(first <= day <= last for first, last in holidays)
        bit = 128 if is_holiday else (2, 4, 8, 16, 32, 64, 1)[day.weekday()]
        for days, start, end in windows:
            midnight = datetime.combine(day, time())
            begin = midnight + timedelta(minutes=start)
            stop = midnight + timedelta(minutes=end, days=0 if end > start else 1)
            if days & bit and begin <= wall < stop:
                return True
    return False
