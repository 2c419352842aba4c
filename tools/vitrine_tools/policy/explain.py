"""A judgement for people and for scripts."""

from typing import Any, Final, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import when
from ..protocol import Action, Reason
from .case import Act
from .judge import Judgement, Outcome
from .lock_file import Lock

_WIDTH: Final = 120  # of a table that goes into a file
_STYLES: Final = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.NOT_REACHED: "dim"}


def conclusion(judgement: Judgement, lock: Lock, act: Act) -> list[str]:
    """Return what the lock decides, in lines, with what else decides whether its door can be opened."""
    reason = judgement.reason
    if reason == Reason.Granted:
        lines = [f"{lock.lock} would grant it (reason 0, Granted)"]
        if lock.scenario.shadow:
            lines.append("but it only records what it would do (shadow): the strike does not move")
    else:
        lines = [f"{lock.lock} would refuse it (reason {reason.value}, {reason.name})"]
    if is_passage(lock, act.at_s):
        lines.append("the door is open to everybody at that time (passage)")
    if judgement.token is not None and judgement.token.claims.is_duress and reason == Reason.Granted:
        lines.append("and raise ForcedUser silently: it is a duress token")
    return lines


def is_passage(lock: Lock, at_s: int) -> bool:
    """Tell whether the door is held open then for whoever comes (SPEC.md 6.2)."""
    scenario = lock.scenario
    if scenario.lockdown or scenario.shadow or lock.time.state == "untrusted":
        return False
    return any(start <= at_s < end for start, end in scenario.passage) or lock.local_time.is_open(scenario.weekly, at_s)


def to_json(judgement: Judgement, lock: Lock, act: Act) -> dict[str, Any]:
    """Return the judgement as JSON: the rules in order, and the decision."""
    return {
        "lock": lock.lock,
        "at": act.at_s,
        "action": Action(act.action).name.lower(),
        "granted": judgement.reason == Reason.Granted,
        "reason": judgement.reason.name,
        "number": judgement.reason.value,
        "shadow": lock.scenario.shadow,
        "passage": is_passage(lock, act.at_s),
        "rules": [
            {
                "rule": finding.rule,
                "token": finding.token,
                "lock": finding.lock,
                "outcome": finding.outcome.value,
                "refuses_as": finding.reason.name,
            }
            for finding in judgement.findings
        ],
    }


def print_table(judgement: Judgement, act: Act, file: TextIO) -> None:
    """Print the rules as a table."""
    title = f"{Action(act.action).name.lower()} at {when.time_text(act.at_s)}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name, ratio in (("rule", None), ("the token says", 1), ("the lock says", 1), ("", None)):
        table.add_column(name, overflow="fold", ratio=ratio, no_wrap=ratio is None)
    for finding in judgement.findings:
        outcome = finding.reason.name if finding.outcome is Outcome.FAILED else finding.outcome.value
        cells = (finding.rule, finding.token, finding.lock, outcome)
        table.add_row(*map(_plain, cells), style=_STYLES[finding.outcome])
    Console(file=file, width=None if file.isatty() else _WIDTH).print(table)


def _plain(text: str) -> Text:
    """Return `text`, which may come from a stranger, without control characters and without markup."""
    return Text("".join(character if character.isprintable() else "?" for character in text))
