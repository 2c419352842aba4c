"""Commands that issuers sign, from whichever link brings them: judged, carried out, on record. Source: SPEC.md 11.

Owns the order of the checks; what a command changes belongs to others. A command changes nothing unless its issuer's
signature was verified, and that verdict is asked twice, by different operations, like that on a grant.
"""

from micropython import const

from vitrine.access import reasons
from vitrine.access.command import (
    AUDIT,
    CONFIGURE,
    IDENTIFY,
    OPERATE,
    REVOKE,
    SCENARIO,
    TIME,
    Command,
    CommandError,
)
from vitrine.access.revocation import StoreError, parse_entries
from vitrine.access.scopes import HOLD
from vitrine.audit import record as r
from vitrine.codec import cbor
from vitrine.crypto.ed25519 import DENY, GRANT

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vitrine.access.provision import Issuer, Provision
    from vitrine.access.revocation import Revocations

    from .evidence import Evidence
    from .operations import Operations

_ALL_BITS = const(0x3FFFFFFF)
_TIME_KNOWN = const((1, 2))  # trusted, coasting
_NAMES = const(("time", "revoke", "configure", "scenario", "operate", "identify", "audit"))
_HOLD = const(128)  # an action
_SCOPES = b"\x10\x10\x10\x10\x01\x01\x04"  # of access.scopes, by number: admin four times, unlock twice, courier
_SHORT_S = const(300)  # an operation ends within this time

_PREVIOUS = const(1)  # of a body of revoke, SPEC.md 11.2
_ENTRIES = const(2)
_OF_ISSUER = const(3)
_LOCKDOWN = const(2)  # of a body of scenario, SPEC.md 6.2


class Result:
    """What came of a command.

    reason: SPEC.md 3.1. is_authentic: an issuer signed it; nobody else is told anything. id: the command's, or None.
    sequence: the lock's now, or None where the command has none. number: of access.command, or None.
    """

    def __init__(self) -> None:
        self.reason = reasons.FAULT
        self.is_authentic = False
        self.id: "bytes | None" = None
        self.sequence: "int | None" = None
        self.number: "int | None" = None

    @property
    def is_done(self) -> bool:
        """Whether the command was carried out."""
        return self.reason == reasons.GRANTED and self.is_authentic

    def body(self) -> "dict[int, Any] | None":
        """Return the body of the answer to op 6 (SPEC.md section 3): its status is ok if `is_done`, else refused."""
        if not self.is_authentic:
            return None
        body: "dict[int, Any]" = {}
        if self.sequence is not None:
            body[3] = self.sequence
        if not self.is_done:
            body[1] = self.reason
        return body


class Commands:
    """Carries out what the issuers of `provision` sign.

    verify_issuer(issuer, message, signature) returns GRANT of crypto.ed25519 if it is signed. clock: instant(),
    ticks_ms(). freshness: age_ms(cnonce, now_ms). timekeeper: take(unix_s, age_ms, fields). configuration and scenario:
    apply(body, sequence), sequence; configuration.changes(before) besides, of its settings.
    """

    def __init__(
        self,
        provision: "Provision",
        verify_issuer: "Callable[[Issuer, bytes, bytes], int]",
        clock,
        freshness,
        timekeeper,
        revocations: "Revocations",
        configuration,
        scenario,
        evidence: "Evidence",
        operations: "Operations | None" = None,
    ) -> None:
        self._addresses = [provision.lock_id] + provision.groups
        self._issuers = provision.issuers
        self._verify_issuer = verify_issuer
        self._clock = clock
        self._freshness = freshness
        self._timekeeper = timekeeper
        self._revocations = revocations
        self._configuration = configuration
        self._scenario = scenario
        self._evidence = evidence
        self._operations: "Any" = operations  # without any, what asks for them is a Fault

    def execute(self, envelope: bytes, link: int) -> Result:
        """Judge `envelope`, any bytes that came over `link` (SPEC.md section 7, field 18), and do what it says.

        What it changes is durable, and in force, when this returns. Never raises: whatever fails is a Fault.
        """
        result = Result()
        fields: "dict[int, Any]" = {r.LINK: link}
        try:
            self._decide(Command(envelope), result, fields)
        except CommandError:
            result.reason = reasons.COMMAND_MALFORMED
        except Exception as error:  # noqa: BLE001
            result.reason = reasons.FAULT
            fields[r.DETAIL] = ("command:" + type(error).__name__)[: r.DETAIL_MAX]
        if result.reason != reasons.GRANTED:
            fields[r.REASON] = result.reason
            fields[r.ERROR] = reasons.error_code(result.reason)
            if result.is_authentic:
                fields[r.AUTHENTIC] = True
            self._record(r.COMMAND_ERROR, fields)
        return result

    def _record(self, kind: int, fields: "dict[int, Any]") -> None:
        try:
            self._evidence.record(kind, fields)
        except Exception:  # noqa: BLE001
            # no memory even for this; what was done is done, and the answer says so
            return

    def _decide(self, command: Command, result: Result, fields: "dict[int, Any]") -> None:
        result.number = command.number
        result.id = fields[r.COMMAND] = command.id
        fields[r.KID] = command.kid
        if command.sequence is not None:
            fields[r.SEQUENCE] = command.sequence
        if TIME <= command.number <= AUDIT:
            fields[r.DETAIL] = _NAMES[command.number - 1]
        issuer = self._issuer(command.kid)
        if issuer is None:
            result.reason = reasons.ISSUER_UNKNOWN
            return
        if not any([each in self._addresses and each in issuer.audiences for each in command.audiences]):
            result.reason = reasons.AUDIENCE_MISMATCH
            return
        reason = self._judge(command, issuer)
        # also of one that is refused: who signed it is told why, and where the sequence stands
        verdict = self._verify_issuer(issuer, command.message(), command.signature)
        result.is_authentic = verdict == GRANT
        if verdict != GRANT and reason == reasons.GRANTED:
            reason = reasons.COMMAND_FORGED
        if reason == reasons.GRANTED:
            reason = self._carry_out(command, verdict, fields)
        result.reason = reason
        result.sequence = self._sequence(command)

    def _judge(self, command: Command, issuer: "Issuer") -> int:
        """Return GRANTED or why not, as far as that can be told without the signature."""
        number = command.number
        if not TIME <= number <= AUDIT:
            return reasons.COMMAND_UNKNOWN
        if not issuer.scopes & _scopes(command):
            return reasons.SCOPE_NOT_ALLOWED
        now_s, time_state, error_s = self._clock.instant()
        is_time_known = time_state in _TIME_KNOWN
        if command.cnonce is None and not is_time_known and not _takes_away(command):
            return reasons.TIME_UNTRUSTED
        if command.exp is not None and is_time_known and now_s + error_s >= command.exp:
            return reasons.EXPIRED
        if number >= OPERATE and command.exp is not None and command.exp > now_s + _SHORT_S:
            return reasons.LIFETIME_EXCEEDED
        if command.cnonce is not None and self._age_ms(command) is None:
            return reasons.FRESHNESS_MISSING
        if command.sequence is None:
            return reasons.GRANTED
        now = self._sequence(command)
        if now is None:
            # revocations of an issuer who is not pinned, or a blob that is damaged (SPEC.md section 5)
            is_pinned = self._issuer(_issuer_meant(command)) is not None
            return reasons.FAULT if is_pinned else reasons.ISSUER_UNKNOWN
        if command.sequence <= now:
            return reasons.SEQUENCE_STALE
        if number == REVOKE and _previous(command) > now:
            return reasons.SEQUENCE_GAP
        return reasons.GRANTED

    def _carry_out(self, command: Command, verdict: int, fields: "dict[int, Any]") -> int:
        """Do what an authentic command says; return GRANTED when it is done, and on record."""
        if (verdict ^ DENY) != _ALL_BITS:
            return reasons.COMMAND_FORGED
        # what could not be proved afterwards is not done, but for what only takes rights away
        if not self._evidence.is_sound and not _takes_away(command):
            return reasons.FAULT
        changes = []
        if command.number == TIME:
            age_ms = self._age_ms(command)  # now: to verify has taken its time
            # puts it on record itself, with what came of it
            return reasons.FRESHNESS_MISSING if age_ms is None else self._timekeeper.take(command.body, age_ms, fields)
        if command.number == REVOKE:
            reason = self._revoke(command)
        elif command.number == CONFIGURE:
            before = self._configuration.settings
            reason = self._configuration.apply(command.body, command.sequence)
            if reason == reasons.GRANTED:
                changes = self._configuration.changes(before)
        elif command.number >= OPERATE:
            issuer: "Any" = self._issuer(command.kid)
            reason = self._operations.execute(command, issuer.scopes, verdict, fields)
            if command.number == OPERATE:
                return reason  # the door has put it on record
        else:
            reason = self._scenario.apply(command.body, command.sequence)
        if reason == reasons.GRANTED:
            # the indicator shows an Identify
            self._record(r.IDENTIFY if command.number == IDENTIFY else r.CONFIGURATION_CHANGE, fields)
            for key, text in changes:
                fields[r.COUNT] = key
                fields[r.DETAIL] = text
                self._record(r.CONFIGURATION_CHANGE, fields)
        return reason

    def _revoke(self, command: Command) -> int:
        body = command.body
        if not cbor.is_map(body) or len(body) != (3 if _OF_ISSUER in body else 2) or _previous(command) < 0:
            return reasons.COMMAND_MALFORMED
        try:
            entries = parse_entries(body.get(_ENTRIES))
        except ValueError:
            return reasons.COMMAND_MALFORMED
        sequence = command.sequence or 0
        return self._revocations.apply(_issuer_meant(command), _previous(command), sequence, entries)

    def _sequence(self, command: Command) -> "int | None":
        """Return the sequence that this command goes by, as it is now; None if it has none, or it is not known."""
        if command.number == CONFIGURE:
            return self._configuration.sequence
        if command.number == SCENARIO:
            return self._scenario.sequence
        if OPERATE <= command.number <= AUDIT:
            return self._operations.sequence(command.kid)
        if command.number == REVOKE:
            try:
                return self._revocations.sequence(_issuer_meant(command))
            except StoreError:
                return None
        return None

    def _age_ms(self, command: Command) -> "int | None":
        return self._freshness.age_ms(command.cnonce, self._clock.ticks_ms())

    def _issuer(self, kid: bytes) -> "Issuer | None":
        for issuer in self._issuers:
            if issuer.kid == kid:
                return issuer
        return None


def _takes_away(command: Command) -> bool:
    """Tell whether all that a command can do is to take rights away: these are carried out in doubt too."""
    body = command.body
    if command.number == SCENARIO:
        return cbor.is_map(body) and len(body) == 1 and body.get(_LOCKDOWN) is True
    return command.number == REVOKE


def _scopes(command: Command) -> int:
    """Return the scopes of which the issuer must have one."""
    number = command.number
    if number == OPERATE and cbor.is_map(command.body) and command.body.get(1) == _HOLD:
        return HOLD
    return -1 if number == REVOKE and _issuer_meant(command) == command.kid else _SCOPES[number - 1]


def _issuer_meant(command: Command) -> bytes:
    """Return the kid of the issuer whose tokens a `revoke` is about; of none, if its body is not in order."""
    kid = command.body.get(_OF_ISSUER, command.kid) if cbor.is_map(command.body) else command.kid
    return kid if isinstance(kid, bytes) else b""


def _previous(command: Command) -> int:
    """Return the sequence of the list before, -1 if the body does not have one."""
    previous = command.body.get(_PREVIOUS) if cbor.is_map(command.body) else None
    return previous if type(previous) is int else -1
