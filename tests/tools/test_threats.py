"""The threat model names tests that exist, one at least for each threat; and what checks that can fail."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def threats():
    spec = importlib.util.spec_from_file_location("threats", ROOT / "tools" / "checks" / "threats.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tests(tmp_path):
    (tmp_path / "tests" / "attacks").mkdir(parents=True)
    (tmp_path / "tests" / "attacks" / "test_x.py").write_text("def test_one(): pass\nasync def test_two(): pass\n")
    return tmp_path / "tests"


def model(*rows):
    return "\n".join(["| threat | counter-measure | shown by | R |", "|---|---|---|---|", *rows, "", "text"])


def test_the_threat_model_holds(threats):
    assert threats.mistakes(threats.MODEL.read_text(), ROOT / "tests") == []


def test_tests_that_exist_are_taken(threats, tests):
    text = model("| a | b | `attacks/test_x.py::test_one`, `attacks/test_x.py::test_two` | none |")
    assert threats.mistakes(text, tests) == []


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("| a | b | `attacks/test_x.py::test_three` | none |", "there is no test test_three"),
        ("| a | b | `attacks/test_y.py::test_one` | none |", "there is no test test_one"),
        ("| a | b | a good look at it | none |", "no test shows: a"),
        ("| a | b | `attacks/test_x.py::test_one` |  |", "not four cells"),
        ("| a | `attacks/test_x.py::test_one` | none |", "not four cells"),
    ],
)
def test_what_is_wrong_is_said(threats, tests, row, wrong):
    found = threats.mistakes(model(row), tests)
    assert len(found) == 1 and found[0].startswith(wrong)


def test_a_model_without_threats_is_none(threats, tests):
    assert threats.mistakes("# Threat model\n", tests) == ["there are no threats in it"]
