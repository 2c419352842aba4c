"""What came of each try: its record, the bad tries it adds to, and the alarm when they are too many.

Owns the fields of a refusal's record (SPEC.md section 7) and what counts as a bad try of whom (section 3.5). A try at
which nothing was proved counts against the peer's address alone: whoever shows somebody else's token locks no one out.
"""

from micropython import const

from vitrine.access import reasons
from vitrine.audit import record

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

    from vitrine.access.decision import Decision
    from vitrine.access.lockout import Lockouts

    from .evidence import Evidence

SOURCE_REMOTE = const(7)
_OPERATION_MAX = const(255)
_WRONG_CODE_ENTRY_LIMIT = const(4)  # Matter AlarmCodeEnum

# What its holder could have known to be no use. Not a clock that is not set, nor a second person who is late.
_BAD_FOR_KEY = (
    reasons.AUDIENCE_MISMATCH,
    reasons.EXPIRED,
    reasons.LIFETIME_EXCEEDED,
    reasons.SCOPE_MISSING,
    reasons.SCOPE_NOT_ALLOWED,
    reasons.OUTSIDE_WINDOW,
    reasons.USES_EXHAUSTED,
    reasons.LIFETIME_INVERTED,
    reasons.REVOKED,
)


class Attempts:
    """Shared by all channels of a lock. A peer is the address of its link, or empty where the link has none."""

    def __init__(self, evidence: "Evidence", lockouts: "Lockouts", clock) -> None:
        self._evidence = evidence
        self._lockouts = lockouts
        self._ticks_ms = clock.ticks_ms

    def is_locked_out(self, peer: bytes) -> bool:
        """Whether nothing of this peer is looked at now."""
        return len(peer) > 0 and self._lockouts.peer_wait_s(peer, self._ticks_ms()) > 0

    def granted(self, decision: "Decision", peer: bytes) -> None:
        """Forget the bad tries of the key and of the peer."""
        if decision.token is not None:
            self._lockouts.succeeded(decision.token.holder_key, peer, self._ticks_ms())

    def refused(
        self,
        peer: bytes,
        link: int,
        reason: int,
        operation: "int | None" = None,
        decision: "Decision | None" = None,
        more: "dict[int, Any] | None" = None,
    ) -> None:
        """Record a refusal, and count it."""
        fields = {record.ERROR: reasons.error_code(reason)}
        if more:
            fields.update(more)
        self.record(record.LOCK_OPERATION_ERROR, link, reason, operation, decision, fields)
        token = decision.token if decision is not None and decision.is_authentic else None
        if token is None:
            self.count_peer(peer, link)
        elif reason in _BAD_FOR_KEY:
            self._alarm(self._lockouts.failed_key(token.holder_key, self._ticks_ms()) > 0, link, token)

    def count_peer(self, peer: bytes, link: int) -> None:
        """A bad try of a peer that has proved nothing."""
        if peer and self._lockouts.failed_peer(peer, self._ticks_ms()):
            self.tend(link)

    def tend(self, link: int) -> None:
        """Raise the alarm for the peers that were locked out, at most once in 5 minutes for all of them."""
        count = self._lockouts.peer_alarm(self._ticks_ms())
        if count:
            fields = {record.ALARM: _WRONG_CODE_ENTRY_LIMIT, record.LINK: link, record.COUNT: count}
            self._evidence.record(record.DOOR_LOCK_ALARM, fields)

    def record(
        self,
        kind: int,
        link: int,
        reason: int,
        operation: "int | None",
        decision: "Decision | None",
        more: "dict[int, Any] | None" = None,
    ) -> None:
        """Record an operation or its refusal."""
        fields: "dict[int, Any]" = {record.REASON: reason, record.SOURCE: SOURCE_REMOTE, record.LINK: link}
        # any peer can name an action that no record holds (SPEC.md section 7): the reason says it all
        if operation is not None and 0 <= operation <= _OPERATION_MAX:
            fields[record.OPERATION] = operation
        if decision is not None and decision.token is not None:
            describe_token(fields, decision.token)
            if decision.is_authentic:
                fields[record.AUTHENTIC] = True
            if kind != record.LOCK_OPERATION_ERROR and decision.others:
                fields[record.PERSONS] = decision.persons
                fields[record.OTHERS] = decision.others
            if decision.score:
                fields[record.SCORE] = decision.score
                fields[record.RULE] = decision.rule
        if more:
            fields.update(more)
        self._evidence.record(kind, fields)

    def _alarm(self, has_begun: bool, link: int, token) -> None:
        if has_begun:
            fields = {record.ALARM: _WRONG_CODE_ENTRY_LIMIT, record.LINK: link, record.COUNT: 1}
            describe_token(fields, token)
            self._evidence.record(record.DOOR_LOCK_ALARM, fields)


def describe_token(fields: "dict[int, Any]", token) -> None:
    """Put the claims of `token` that belong in a record into `fields`."""
    for key, value in (
        (record.SUB, token.sub),
        (record.CTI, token.cti),
        (record.REF, token.ref),
        (record.KID, token.kid),
    ):
        if value is not None:
            fields[key] = value
