"""How the fleet's bench judges: failures count, one noisy step ends nothing, the lone lock is both before and after."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest

from vitrine_tools.errors import ToolError

_PATH = Path(__file__).resolve().parents[2] / "tools" / "bench" / "fleet.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_fleet", _PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def step(locks, *p99_ms):
    runs = [{"p50_ms": 1.0, "p99_ms": each, "unlocks": 100, "failed": 0, "missed": 0} for each in p99_ms]
    memory = {name: 1 for name in ("rss_kib", "pss_kib", "harness_rss_kib", "lag_p50_ms", "lag_p99_ms")}
    return {"name": f"{locks} locks", "locks": locks, **memory, "runs": runs}


def test_a_failed_unlock_is_slower_than_any(bench):
    good = [float(n) for n in range(1, 101)]
    assert bench.result(good, 0, 0)["p99_ms"] == 99
    assert bench.result(good, 1, 0)["p99_ms"] == 100
    assert bench.result(good, 2, 0)["p99_ms"] == math.inf
    assert bench.result(good[:98], 0, 0)["p99_ms"] == math.inf, "too few unlocks"
    assert bench.result([], 3, 0) == {"p50_ms": math.inf, "p99_ms": math.inf, "unlocks": 0, "failed": 3, "missed": 0}


def test_the_median_of_the_runs_counts(bench):
    lone = step(1, 10.0, 11.0, 500.0)
    figures = bench.judge(lone, step(1, 11.0, 12.0, 12.0), [step(2, 20.0, 20.0, math.inf), step(4, 20.0, 30.0, 30.0)])
    assert figures["unlock_p99_of_1_ms"] == 12.0
    assert figures["largest_locks_with_p99_within_2x"] == 2
    assert [row["within"] for row in figures["steps"]] == [True, True, False, True]


def test_a_noisy_step_is_named_and_ends_nothing(bench):
    figures = bench.judge(step(1, 10.0), step(1, 10.0), [step(2, 19.0), step(4, 99.0), step(8, 20.0), step(16, 21.0)])
    assert figures["largest_locks_with_p99_within_2x"] == 8
    assert figures["too_slow_below_that"] == [4]


def test_locks_that_did_not_come_up_carry_nothing(bench):
    figures = bench.judge(step(1, 10.0), None, [step(2, 10.0), {"name": "4 locks", "locks": 4, "runs": []}])
    assert figures["largest_locks_with_p99_within_2x"] == 2
    assert figures["steps"][-1]["p99_ms"] is None
    with pytest.raises(ToolError, match="lone lock"):
        bench.judge(step(1, math.inf), None, [])
