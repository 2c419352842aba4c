"""The decision of SPEC.md sections 2 and 3 about an act: rule by rule, in the order in which a lock asks.

What needs the radio is taken for given: the nonce lives, and the holder has proved the key.
"""

from dataclasses import dataclass
from enum import Enum

from .. import tokens
from ..errors import TokenError
from ..protocol import Reason
from .case import Act, Case
from .lock_file import Lock
from .rules import RULES


class Outcome(Enum):
    """What became of a rule."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule: what the token says to it, what the lock says, and the reason that the lock gives when it fails."""

    rule: str
    token: str
    lock: str
    outcome: Outcome
    reason: Reason


@dataclass(frozen=True, slots=True)
class Judgement:
    """All rules in order, and the token if it could be read."""

    findings: tuple[Finding, ...]
    token: tokens.Token | None

    @property
    def reason(self) -> Reason:
        """The decision: Granted, or the reason of the rule that failed."""
        failed = (finding.reason for finding in self.findings if finding.outcome is Outcome.FAILED)
        return next(failed, Reason.Granted)


def judge(data: bytes, lock: Lock, act: Act) -> Judgement:
    """Return the judgement on the act of the authentic holder of the token `data`."""
    findings: list[Finding] = []
    token = None
    try:
        token = tokens.parse(data)
        findings.append(_form(f"{len(data)} bytes", Outcome.PASSED))
        case = Case(token, lock, act)
        for rule in RULES:
            told = rule.ask(case)
            reason = told.reason or rule.reason
            outcome = Outcome.PASSED if told.reason is None else Outcome.FAILED
            findings.append(Finding(rule.name, told.token, told.lock, outcome, reason))
            if told.reason is not None:
                break
    except TokenError as error:
        findings.append(_form(str(error), Outcome.FAILED))
    rest = RULES[len(findings) - 1 :]
    findings += (Finding(rule.name, "", "", Outcome.NOT_REACHED, rule.reason) for rule in rest)
    return Judgement(tuple(findings), token)


def _form(text: str, outcome: Outcome) -> Finding:
    return Finding("form", text, f"at most {tokens.MAX_TOKEN} bytes", outcome, Reason.TokenMalformed)
