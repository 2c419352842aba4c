"""The answer to "may it open?", built so that one fault in the controller does not turn a no into a yes.

The verdicts differ in all 30 bits (30: a small integer on 32-bit MicroPython), so no flipped bit, cleared word or
uninitialised value is a GRANT, and `is_grant` asks twice, by different operations.
"""

from micropython import const

from . import reasons

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable

    from .token import Token

GRANT = const(0x1A6C53B9)
DENY = const(0x2593AC46)
# The token is in order, but its holder has proved nothing: good for no act. Half of the bits away from both.
ACCEPT = const(0x15635CB6)

_ALL_BITS = const(0x3FFFFFFF)


class Decision:
    """One decision.

    verdict: GRANT, DENY or ACCEPT. reason: SPEC.md 3.1. token: the Token it is about, or None; its claims are true only
    if is_authentic, which says that the issuer's signature and the holder's proof were both verified: only then may the
    peer be told the reason.

    score, rule: what the risk rules gave it (SPEC.md 12). persons of wanted holders have asked; others: the sub of each
    but the one of token. wait_s: seconds of a lock-out that are left. is_duress: one of those who open it is under
    duress. command, sequence: of the command that it is about, in place of a holder's act (SPEC.md 11.3), or None.
    """

    def __init__(
        self,
        verdict: int = DENY,
        reason: int = reasons.FAULT,
        token: "Token | None" = None,
        is_authentic: bool = False,
    ) -> None:
        self.verdict = verdict
        self.reason = reason
        self.token = token
        self.is_authentic = is_authentic
        self.assess: "Callable[[], tuple[int, str]] | None" = None  # what tells score and rule, if it was not asked yet
        self._risk = (0, "")
        self.persons = 1
        self.wanted = 1
        self.others: "list[bytes | None]" = []
        self.wait_s = 0
        self.is_duress = False
        self.command: "bytes | None" = None
        self.sequence: "int | None" = None

    def risk(self) -> "tuple[int, str]":
        """Return (score, rule). Reckoned when it is asked for: for the record, that is when the strike has moved."""
        if self.assess is not None:
            self._risk = self.assess()
            self.assess = None
        return self._risk

    def set_risk(self, score: int, rule: str) -> None:
        """Say what was reckoned already."""
        self._risk = (score, rule)

    @property
    def score(self) -> int:
        return self.risk()[0]

    @property
    def rule(self) -> str:
        return self.risk()[1]


def granted(token: "Token", reason: int) -> Decision:
    """Return the grant of an act to the authentic holder of `token`, which is one if `reason` says so too."""
    return Decision(GRANT, reason, token, True)


def accepted(token: "Token") -> Decision:
    """Return that `token` as such is in order; `is_grant` is False for it."""
    return Decision(ACCEPT, reasons.GRANTED, token, False)


def denied(reason: int, token: "Token | None" = None, is_authentic: bool = False) -> Decision:
    """Return a refusal. A `reason` of GRANTED becomes FAULT: it would read as a grant in the record."""
    return Decision(DENY, reasons.FAULT if reason == reasons.GRANTED else reason, token, is_authentic)


def is_grant(decision: Decision) -> bool:
    """Tell whether `decision` lets the strike move: verdict, reason, authenticity and persons must all say so."""
    if decision.verdict != GRANT or decision.reason != reasons.GRANTED:
        return False
    if decision.is_authentic is not True or decision.persons < decision.wanted:
        return False
    return (decision.verdict ^ DENY) == _ALL_BITS


def is_accepted(decision: Decision) -> bool:
    """Tell whether a presented token was found in order."""
    return decision.verdict == ACCEPT and (decision.verdict ^ DENY) == (ACCEPT ^ DENY)
