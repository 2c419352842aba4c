"""May this token do this here and now? Source: SPEC.md sections 2 and 3.1.

Owns the order of the checks: cheap ones first, so that a junk token costs the lock almost nothing, and the count of
uses last, so that nothing is spent on a refusal. The caller, session.py, sees to both signatures.
"""

from micropython import const

from ..crypto.ed25519 import DENY
from . import reasons, scopes
from .decision import denied, granted
from .schedule import is_open
from .uses import UsesError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable

    from .decision import Decision
    from .provision import Issuer, Provision
    from .token import Token
    from .uses import Uses

LOCK = const(0)  # actions: Matter LockOperationTypeEnum, and our hold
UNLOCK = const(1)
HOLD = const(128)
COURIER = const(129)  # moves nothing: the holder may take sealed records along
_SCOPE_OF = {LOCK: scopes.UNLOCK, UNLOCK: scopes.UNLOCK, HOLD: scopes.HOLD, COURIER: scopes.COURIER}

TIME_TRUSTED = const(1)
TIME_COASTING = const(2)


class Policy:
    """The rules of one provisioned lock.

    verify_issuer(issuer, message, signature) -> int returns GRANT of crypto.ed25519 if a pinned issuer signed.
    """

    def __init__(
        self, provision: "Provision", verify_issuer: "Callable[[Issuer, bytes, bytes], int]", uses: "Uses"
    ) -> None:
        self.lock_id = provision.lock_id
        self._addresses = [provision.lock_id] + provision.groups
        self._issuers = provision.issuers
        self._zone = provision.zone
        self._verify_issuer = verify_issuer
        self._uses = uses

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

    def check(self, token: "Token", reading: "tuple[int, int]") -> int:
        """Return GRANTED or why `token` is good for nothing here now; its signature is not looked at."""
        issuer = self.issuer_of(token)
        if issuer is None or (token.issuer_name is not None and token.issuer_name != issuer.name):
            return reasons.ISSUER_UNKNOWN
        if not self._is_addressed(token, issuer):
            return reasons.AUDIENCE_MISMATCH
        if token.scopes & ~issuer.scopes:
            return reasons.SCOPE_NOT_ALLOWED
        if token.exp <= token.not_before:
            return reasons.LIFETIME_INVERTED
        if token.exp - token.not_before > issuer.max_lifetime_s:
            return reasons.LIFETIME_EXCEEDED
        now_s, time_state = reading
        if time_state != TIME_TRUSTED and time_state != TIME_COASTING:
            return reasons.TIME_UNTRUSTED
        if now_s < token.not_before:
            return reasons.NOT_YET_VALID
        if now_s >= token.exp:
            return reasons.EXPIRED
        return reasons.GRANTED

    def decide(self, token: "Token", action: int, uv: bool, reading: "tuple[int, int]") -> "Decision":
        """Decide an act of the authentic holder of `token`: both signatures must have been verified before.

        A grant of a token with a number of uses has been counted durably when this returns.
        """
        reason = self._judge(token, action, uv, reading)
        return granted(token) if reason == reasons.GRANTED else denied(reason, token, True)

    def _judge(self, token: "Token", action: int, uv: bool, reading: "tuple[int, int]") -> int:
        # all of it again, although present has checked it: time has passed since
        reason = self.check(token, reading)
        if reason != reasons.GRANTED:
            return reason
        if action not in _SCOPE_OF:
            return reasons.ACTION_UNKNOWN
        if not token.scopes & _SCOPE_OF[action]:
            return reasons.SCOPE_MISSING
        now_s = reading[0]
        if token.windows:
            weekday_bit, minute = self._zone.local(now_s)
            if not is_open(token.windows, weekday_bit, minute):
                return reasons.OUTSIDE_WINDOW
        if token.needs_uv and uv is not True:
            return reasons.USER_VERIFICATION_REQUIRED
        if token.persons != 1:
            return reasons.PERSONS_REQUIRED
        if token.uses is None:
            return reasons.GRANTED
        try:
            is_spent = self._uses.spend(token.kid, token.cti, token.exp, token.uses, now_s)
        except UsesError:
            return reasons.FAULT
        return reasons.GRANTED if is_spent is True else reasons.USES_EXHAUSTED

    def _is_addressed(self, token: "Token", issuer: "Issuer") -> bool:
        return any(audience in self._addresses and audience in issuer.audiences for audience in token.audiences)
