"""May this token do this here and now? Source: SPEC.md sections 2, 3, 3.1, 3.4.

Owns the order of the checks: cheap ones first, so that a junk token costs the lock almost nothing, and the uses last,
so that nothing is spent on a refusal. The caller, session.py, sees to both signatures.

A check returns GRANTED, which is 0, or the reason of a refusal; so `a or b or c` is the first refusal, if there is one.
"""

from micropython import const

from ..crypto.ed25519 import DENY
from . import reasons, scopes
from .decision import denied, granted
from .revocation import StoreError
from .uses import UsesError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable

    from .decision import Decision
    from .provision import Issuer, Provision
    from .rules import Rules
    from .token import Token

    Instant = tuple[int, int, int]

LOCK = const(0)  # actions: Matter LockOperationTypeEnum, and our hold
UNLOCK = const(1)
HOLD = const(128)
COURIER = const(129)  # moves nothing: the holder may take sealed records along
SERVICE = const(130)  # moves nothing: the console opens (SPEC.md section 18), and the lock tells how it is (19)
TEST = const(131)  # of the strike, from the console: it opens, and app.dispatch knows of none elsewhere
_SCOPE_OF = {
    LOCK: scopes.UNLOCK,
    UNLOCK: scopes.UNLOCK,
    HOLD: scopes.HOLD,
    COURIER: scopes.COURIER,
    SERVICE: scopes.SERVICE,
    TEST: scopes.SERVICE,
}
_HARMLESS = (LOCK, COURIER, SERVICE)  # they open nothing

_TIME_TRUSTED = const(1)
_TIME_COASTING = const(2)

_RISK_PERSONS = const(2)  # so many the risk can ask for


class Policy:
    """The decisions of one provisioned lock.

    verify_issuer(issuer, message, signature) -> int returns GRANT of crypto.ed25519 if a pinned issuer signed.
    An instant is (Unix seconds, time state, error in seconds); now_ms are ticks.
    """

    def __init__(
        self, provision: "Provision", verify_issuer: "Callable[[Issuer, bytes, bytes], int]", rules: "Rules"
    ) -> None:
        self.lock_id = provision.lock_id
        self._addresses = [provision.lock_id] + provision.groups
        self._issuers = provision.issuers
        self._verify_issuer = verify_issuer
        self._rules = rules

    def issuer_of(self, token: "Token") -> "Issuer | None":
        """Return the pinned issuer whose kid `token` names, if there is one."""
        for issuer in self._issuers:
            if issuer.kid == token.kid:
                return issuer
        return None

    def verify(self, token: "Token") -> int:
        """Verify the issuer's signature; return GRANT of crypto.ed25519, or not. The expensive part of a present."""
        issuer = self.issuer_of(token)
        if issuer is None:
            return DENY
        return self._verify_issuer(issuer, token.message(), token.signature)

    def check(self, token: "Token", instant: "Instant") -> int:
        """Return GRANTED or why `token` is good for nothing here now; its signature is not looked at."""
        if self._rules.is_sound is not True:
            return reasons.FAULT
        return self._check_claims(token, instant)

    def _check_claims(self, token: "Token", instant: "Instant") -> int:
        issuer = self.issuer_of(token)
        if issuer is None or (token.issuer_name is not None and token.issuer_name != issuer.name):
            return reasons.ISSUER_UNKNOWN
        if not self._is_addressed(token, issuer):
            return reasons.AUDIENCE_MISMATCH
        if token.scopes & ~issuer.scopes:
            return reasons.SCOPE_NOT_ALLOWED
        return _check_lifetime(token, issuer.max_lifetime_s) or _check_time(token, instant)

    def revoke(self, token: "Token") -> int:
        """Take what a token revokes whose signature was verified; return what became of it, or FAULT.

        GRANTED: it holds now, durably.
        """
        if token.revokes is None:
            return reasons.SEQUENCE_STALE
        previous, sequence, entries = token.revokes
        try:
            return self._rules.revocations.apply(token.kid, previous, sequence, entries)
        except StoreError:
            return reasons.FAULT

    def admit(self, token: "Token", now_ms: int) -> int:
        """Return GRANTED or why a token whose signature was verified is not taken: revoked, or not received.

        That a token with exi was received is durable then.
        """
        try:
            # anything but a clear no is a yes
            if self._rules.revocations.is_revoked(token) is not False:
                return reasons.REVOKED
            if token.cnonce is not None:
                return self._rules.receipts.receive(token, now_ms)
        except StoreError:
            return reasons.FAULT
        return reasons.GRANTED

    def decide(self, token: "Token", action: int, uv: bool, instant: "Instant", now_ms: int) -> "Decision":
        """Decide an act of the authentic holder of `token`: both signatures must have been verified before.

        The uses of a grant have been counted durably when this returns. A power cut in between costs a use, of each who
        asks together in the worst case, and gives none back.
        """
        decision = self._decide(token, action, uv, instant, now_ms)
        if action == SERVICE and decision.reason == reasons.FAULT:
            decision = self._repair(token, action, uv, instant, now_ms)
        return decision

    def _decide(self, token: "Token", action: int, uv: bool, instant: "Instant", now_ms: int) -> "Decision":
        rules = self._rules
        if rules.is_sound is not True:
            return denied(reasons.FAULT, token, True)
        settings = rules.configuration.settings
        score = 0
        rule = None
        if settings.risk_uv or settings.risk_persons:
            score, rule = rules.risk.assess(token, action, instant, now_ms)
        reason = self._judge(token, action, uv, score, instant, now_ms)
        if reason == reasons.GRANTED:
            decision = self._join(token, action, uv, score, instant, now_ms)
        else:
            decision = denied(reason, token, True)
            if reason == reasons.LOCKED_OUT:
                decision.wait_s = rules.lockouts.key_wait_s(token.holder_key, now_ms)
        if rule is not None:
            decision.set_risk(score, rule)
        else:
            # nothing hangs on it: nobody waits for what only the record says
            decision.assess = lambda: rules.risk.assess(token, action, instant, now_ms)
        return decision

    def _repair(self, token: "Token", action: int, uv: bool, instant: "Instant", now_ms: int) -> "Decision":
        """Decide an act 130 at a lock that has lost its rules or its memory (SPEC.md section 5): else nobody mends it.

        Asked twice, as in `_join`.
        """
        reason = self._check_repair(token, action, uv, instant, now_ms)
        reason = reason or self._check_repair(token, action, uv, instant, now_ms)
        return granted(token, reason) if reason == reasons.GRANTED else denied(reason, token, True)

    def _check_repair(self, token: "Token", action: int, uv: bool, instant: "Instant", now_ms: int) -> int:
        rules = self._rules
        # made for this lock just now: nothing that was lost can have been about it
        if action != SERVICE or rules.receipts.is_just_made(token, now_ms) is not True:
            return reasons.FAULT
        # but what only the lost part could tell
        if token.uses is not None or token.windows or token.persons > 1 or token.revokes is not None:
            return reasons.FAULT
        try:
            if rules.revocations.is_revoked(token) is not False:
                return reasons.REVOKED
        except StoreError:
            pass  # that is what is lost
        if rules.can_prove() is not True:
            return reasons.FAULT
        return (
            self._check_claims(token, instant)
            or self._check_act(token, action, instant[0], now_ms)
            or self._check_uv(token, action, uv, 0)
        )

    def _judge(self, token: "Token", action: int, uv: bool, score: int, instant: "Instant", now_ms: int) -> int:
        """Return GRANTED or why the holder may not do this: all but what others must do, and the uses."""
        # all of it again, although present has checked it: time has passed since
        return (
            self.check(token, instant)
            or self.admit(token, now_ms)
            or self._check_act(token, action, instant[0], now_ms)
            or self._check_uv(token, action, uv, score)
        )

    def _check_act(self, token: "Token", action: int, now_s: int, now_ms: int) -> int:
        rules = self._rules
        configuration = rules.configuration
        if rules.lockouts.key_wait_s(token.holder_key, now_ms) != 0:
            return reasons.LOCKED_OUT
        if action not in _SCOPE_OF:
            return reasons.ACTION_UNKNOWN
        if not token.scopes & _SCOPE_OF[action]:
            return reasons.SCOPE_MISSING
        opens = action not in _HARMLESS
        if opens and rules.scenario.is_lockdown is not False and not token.scopes & scopes.ADMIN:
            return reasons.LOCKED_DOWN
        if token.windows and not configuration.calendar.is_open(token.windows, now_s):
            return reasons.OUTSIDE_WINDOW
        if opens and rules.alarms() & configuration.settings.alarm_blocks:
            return reasons.ALARM_ACTIVE
        return reasons.GRANTED

    def _check_uv(self, token: "Token", action: int, uv: bool, score: int) -> int:
        needs_uv = token.needs_uv
        if action not in _HARMLESS:
            settings = self._rules.configuration.settings
            needs_uv = needs_uv or settings.uv_required or _is_risky(score, settings.risk_uv)
        return reasons.USER_VERIFICATION_REQUIRED if needs_uv and uv is not True else reasons.GRANTED

    def _join(self, token: "Token", action: int, uv: bool, score: int, instant: "Instant", now_ms: int) -> "Decision":
        """Decide what is in order for the holder of `token`: with as many others as it needs, and the uses of all.

        All that counts is asked twice on the way to a grant, here and before or in `is_grant`: one fault that skips one
        branch once must not open the lock.
        """
        persons = self._rules.persons
        wanted = self._wanted(token, action, score)
        joined = [token]
        try:
            if wanted > 1:
                window_ms = self._rules.configuration.settings.persons_window_ms
                others = [
                    other
                    for other in persons.others(token, action, now_ms, window_ms)
                    if self._judge(other, action, persons.was_verified(other), 0, instant, now_ms) == reasons.GRANTED
                    and self._has_uses(other)
                ]
                # a token that wants more persons than this one takes part only where so many do
                for other in sorted(others, key=_persons):
                    if len(joined) < wanted:
                        joined.append(other)
                        wanted = max(wanted, other.persons)
            reason = self._judge(token, action, uv, score, instant, now_ms)
            for other in joined[1:]:
                reason = reason or self._judge(other, action, persons.was_verified(other), 0, instant, now_ms)
            if len(joined) < wanted:
                reason = reason or reasons.PERSONS_REQUIRED
            if self._rules.can_prove() is not True:
                reason = reason or reasons.FAULT
            reason = reason or self._spend(joined, instant[0])
        except UsesError:
            reason = reasons.FAULT
        decision = granted(token, reason) if reason == reasons.GRANTED else denied(reason, token, True)
        if len(joined) > 1:
            decision.persons = min(len({one.sub for one in joined}), len({one.holder_key for one in joined}))
            decision.others = [other.sub for other in joined[1:]]
        decision.wanted = max(wanted, self._wanted(token, action, score))
        decision.is_duress = any(one.is_duress for one in joined)
        if reason == reasons.PERSONS_REQUIRED:
            persons.note(token, action, now_ms, uv)
        elif reason == reasons.GRANTED:  # whoever has no use left, or meets a fault, costs nobody their asking
            persons.forget(joined)
        return decision

    def _wanted(self, token: "Token", action: int, score: int) -> int:
        """Return how many persons this needs."""
        if action in _HARMLESS:
            return token.persons
        settings = self._rules.configuration.settings
        risk_persons = _RISK_PERSONS if _is_risky(score, settings.risk_persons) else 1
        return max(token.persons, settings.persons_required, risk_persons)

    def _spend(self, tokens: "list[Token]", now_s: int) -> int:
        """Count a use of each, if all have one left; return GRANTED when that is durable. Raises UsesError."""
        for token in tokens:
            if not self._has_uses(token):
                return reasons.USES_EXHAUSTED
        for token in tokens:
            if token.uses is None:
                continue
            if token.exp is None:
                is_spent = self._rules.receipts.spend(token)
            else:
                is_spent = self._rules.uses.spend(token.kid, token.cti, token.exp, token.uses, now_s)
            if is_spent is not True:
                # there was one left: if there still is, the lock is full, which is not the holder's fault (3.5)
                return reasons.STORE_FULL if self._has_uses(token) else reasons.USES_EXHAUSTED
        return reasons.GRANTED

    def _has_uses(self, token: "Token") -> bool:
        if token.uses is None:
            return True
        if token.exp is None:
            return self._rules.receipts.uses_left(token) > 0
        return self._rules.uses.left(token.kid, token.cti, token.uses) > 0

    def _is_addressed(self, token: "Token", issuer: "Issuer") -> bool:
        for audience in token.audiences:  # noqa: SIM110 - on the way of every opening
            if audience in self._addresses and audience in issuer.audiences:
                return True
        return False


def _check_lifetime(token: "Token", max_lifetime_s: int) -> int:
    lifetime_s = token.exi
    if token.exp is not None:
        lifetime_s = token.exp - (token.not_before or 0)
        if lifetime_s <= 0:
            return reasons.LIFETIME_INVERTED
    if lifetime_s is None or lifetime_s > max_lifetime_s:
        return reasons.LIFETIME_EXCEEDED
    return reasons.GRANTED


def _check_time(token: "Token", instant: "Instant") -> int:
    if token.exp is None and token.not_before is None and not token.windows:
        return reasons.GRANTED  # nothing in it depends on the time; its seconds run on ticks
    now_s, time_state, error_s = instant
    if time_state != _TIME_TRUSTED and time_state != _TIME_COASTING:
        return reasons.TIME_UNTRUSTED
    if token.not_before is not None and now_s < token.not_before:
        return reasons.NOT_YET_VALID
    # against the latest time that it can be
    if token.exp is not None and now_s + error_s >= token.exp:
        return reasons.EXPIRED
    return reasons.GRANTED


def _is_risky(score: int, limit: int) -> bool:
    return 0 < limit <= score


def _persons(token: "Token") -> int:
    return token.persons
