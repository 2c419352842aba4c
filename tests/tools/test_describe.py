"""Audit records in words: each kind of SPEC.md section 7, each alarm of 7.2, and what a newer lock may write."""

import pytest

from support.paths import ROOT
from vitrine_tools.describe import describe

SPEC = (ROOT / "firmware" / "SPEC.md").read_text()


def alarms():
    table = SPEC.split("### 7.2 Alarms")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if line.startswith("| ")]
    return [int(row[1]) for row in rows if row[1].isdigit()]


@pytest.mark.parametrize("alarm", alarms())
def test_each_alarm_has_words_and_an_end(alarm):
    begun, over = (describe({1: 0, 11: alarm, 14: step}) for step in (1, 0))
    assert begun.is_bad and begun.what.startswith("ALARM: ") and "no. " not in begun.what
    assert not over.is_bad and over.what.startswith("alarm over: ")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({1: 0, 11: 7, 14: 2}, "step 2"),
        ({1: 2, 5: 1, 23: True, 17: 1}, "would have done it (shadow): unlock"),
        ({1: 130, 15: "revoke", 26: b"\x01" * 8, 27: 5}, "commanded: revoke"),
        ({1: 131, 3: 1, 15: "statement", 29: 2}, "time: statement"),
        ({1: 131, 3: 0, 15: "lost"}, "time: lost"),
        ({1: 133, 14: 9}, "9 records"),
        ({1: 134, 4: 31, 14: 16}, "command refused (16 times): CommandForged"),
        ({1: 135, 6: 1}, "trigger"),
        ({1: 135, 6: 4, 14: 8}, "motion (8 times)"),
        ({1: 136, 15: "begin"}, "service: begin"),
        ({1: 136, 15: "idle", 14: 1, 31: bytes(32)}, "service: idle, 1 program run"),
        ({1: 137, 15: "staged", 27: 7, 31: bytes(32)}, "update 7 staged"),
        ({1: 137, 15: "refused", 27: 7, 4: 34}, "update 7 refused: NotForThisBoard"),
        ({1: 2, 5: 1, 15: "test"}, "strike TESTED"),
        ({1: 250}, "event 250"),
        ({}, "event None"),
    ],
)
def test_it_says_what_happened(record, words):
    assert words in describe(record).what


def test_it_says_why():
    line = describe({1: 2, 5: 1, 6: 7, 18: 1, 16: True, 28: 2, 24: 60, 25: "burst", 7: b"p-17"})
    assert line.why == "phone, over BLE, holder proved, 2 persons, risk 60 (burst), sub p-17"
    assert describe({1: 131, 3: 2, 15: "coasting", 29: 9}).why == "within 9 s"
    assert describe({1: 131, 3: 0, 15: "jump"}).is_bad
