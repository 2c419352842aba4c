"""The traces that vitrine.app.risk is judged on: they are what their generator yields, and other seeds agree."""

import importlib.util
import sys
from pathlib import Path

import pytest

from support.risk_traces import Outcome

SEEDS = (201, 202, 203, 204)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def traces():
    spec = importlib.util.spec_from_file_location("risk_traces_generator", ROOT / "tools" / "risk" / "traces.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses looks there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_data_are_what_the_generator_yields(traces):
    for name, seed in traces.FILES.items():
        data = (traces.FOLDER / name).read_text()
        assert data.splitlines() == list(traces.trace(seed)), name
        assert len(data) < 500_000
    assert traces.main(["--check"]) == 0


def test_a_change_of_the_data_is_seen(traces, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(traces, "FOLDER", tmp_path)
    assert traces.main(["--check"]) == 1 and "tuning.txt" in capsys.readouterr().err
    assert traces.main([]) == 0 and traces.main(["--check"]) == 0
    path = tmp_path / "heldout.txt"
    path.write_text(path.read_text().replace("night/", "prop/", 1))
    assert traces.main(["--check"]) == 1


def test_each_line_has_its_form_and_order(traces):
    open_until = clock_s = 0
    for line in traces.trace(7, weeks=3):
        words = line.split()
        if words[0] == "lock":
            open_until = clock_s = 0
            assert len(words) == 4
            continue
        assert words[1] in "orja" and int(words[0]) >= 0, line
        assert words[-1] == "-" or words[-1].split("/")[0] in traces.ATTACKS
        clock_s += int(words[0])
        if words[1] == "o":
            assert clock_s >= open_until, "nobody opens an open door"
            open_until = clock_s + 2 + int(words[3])


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_that_nobody_looked_at(traces, seed):
    """Each drawn with its own staff, habits and attacks; one draw alone has some noise."""
    found = Outcome(traces.trace(seed))
    assert found.recall() >= 0.93 and found.false_alarms_per_week() <= 1


def test_all_of_them_together_hold_the_bounds(traces):
    outcomes = [Outcome(traces.trace(seed)) for seed in SEEDS]
    attacks = sum(sum(each.attacks.values()) for each in outcomes)
    weeks = sum(sum(each.weeks.values()) for each in outcomes)
    assert sum(sum(each.found.values()) for each in outcomes) / attacks >= 0.95
    assert sum(sum(each.false_alarms.values()) for each in outcomes) / weeks <= 1


def test_a_lock_that_was_never_attacked_asks_for_little(traces, monkeypatch):
    """The aftermath of attacks is part of the figures above; this is without."""
    monkeypatch.setattr(traces, "FIRST_ATTACK_WEEK", 99)
    found = Outcome(traces.trace(105))
    assert not found.attacks and found.false_alarms_per_week() <= 0.7


def test_the_judge_can_fail(traces):
    """Without any alarm nothing is found; with one at every opening all is, and the false alarms are over the bound."""
    lines = list(traces.trace(7, weeks=3))
    assert Outcome(lines, alarm=101).recall() == 0
    every = Outcome(lines, alarm=0)
    assert every.recall() == 1 and every.false_alarms_per_week() > 50
