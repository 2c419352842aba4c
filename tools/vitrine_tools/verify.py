"""Judges a token rule by rule, as a lock would, so that an issuer sees why it will or will not open (SPEC.md 2, 3)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo

from . import tokens, when
from .errors import TokenError
from .keys import PublicKey
from .protocol import Action, Reason
from .provisioning import Issuer, Provision

SCOPE_OF_ACTION = {
    Action.LOCK: "unlock",
    Action.UNLOCK: "unlock",
    Action.HOLD: "hold",
    Action.COURIER: "courier",
    Action.SERVICE: "service",
    Action.TEST: "service",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One rule: whether it holds (None: could not be checked with what was given), and the reason if it does not."""

    rule: str
    is_met: bool | None
    detail: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """All rules in the order in which a lock checks them."""

    token: tokens.Token | None
    checks: tuple[Check, ...]

    @property
    def reason(self) -> Reason:
        """Granted, or the reason that the lock would give."""
        return next((check.reason for check in self.checks if check.is_met is False), Reason.Granted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Against what a token is judged: a provisioned lock, or an issuer's key and what is known of the lock."""

    now_s: int
    action: Action = Action.UNLOCK
    is_user_verified: bool = False
    issuer_key: PublicKey | None = None
    provision: Provision | None = None
    lock_id: str | None = None
    groups: tuple[str, ...] = ()
    zone: tzinfo | None = None


def verify(data: bytes, situation: Situation) -> Verdict:
    """Return the verdict on the token `data`. A malformed token has one check and no more."""
    try:
        token = tokens.parse(data)
    except TokenError as error:
        return Verdict(None, (Check("form", False, str(error), Reason.TokenMalformed),))
    size = Check("form", True, f"{len(data)} bytes of at most {tokens.MAX_TOKEN}", Reason.TokenMalformed)
    return Verdict(token, (size, *_checks(token, situation)))


def _checks(token: tokens.Token, situation: Situation) -> Iterator[Check]:
    claims = token.claims
    provision = situation.provision
    issuer = provision.issuer_of(token.kid) if provision else None
    key = situation.issuer_key or (issuer.public_key if issuer else None)

    is_known = (provision is None or issuer is not None) and key is not None and key.kid == token.kid
    yield Check("kid", is_known, token.kid.hex(), Reason.IssuerUnknown)
    if claims.issuer is not None:
        is_met = claims.issuer == issuer.name if issuer else None
        yield Check("iss", is_met, repr(claims.issuer), Reason.IssuerUnknown)
    yield _check_audience(claims.audiences, situation, issuer)
    yield from _check_bounds(claims, issuer)
    yield from _check_time(claims, situation.now_s)
    if claims.cnonce is not None:
        detail = f"{claims.cnonce.hex()}; only the lock knows whether it is fresh"
        yield Check("cnonce", None, detail, Reason.FreshnessMissing)
    if claims.exi_s is not None:
        detail = f"{int.from_bytes(claims.cti, 'big')}; only the lock knows the one before"
        yield Check("sequence", None, detail, Reason.SequenceStale)
    yield Check(
        "signature",
        token.is_signed_by(key) if key is not None and is_known else None,
        f"{token.algorithm} under the issuer's key",
        Reason.TokenForged,
    )
    needed = SCOPE_OF_ACTION[situation.action]
    yield Check(
        "scope",
        needed in claims.scopes,
        f"{' '.join(claims.scopes)!r}; {situation.action.name.lower()} needs {needed!r}",
        Reason.ScopeMissing,
    )
    if claims.windows:
        zone = when.posix_zone(provision.zone) if provision else situation.zone
        is_met = when.is_within(list(claims.windows), situation.now_s, zone) if zone else None
        detail = "; ".join(when.window_text(window) for window in claims.windows)
        yield Check("windows", is_met, detail, Reason.OutsideWindow)
    if claims.needs_uv:
        detail = "the phone must have verified its user"
        yield Check("uv", situation.is_user_verified, detail, Reason.UserVerificationRequired)
    if claims.persons is not None:
        yield Check("persons", claims.persons == 1, f"{claims.persons} in all", Reason.PersonsRequired)
    if claims.uses is not None:
        yield Check("uses", None, f"{claims.uses} in all; only the lock knows how many are left", Reason.UsesExhausted)


def _check_audience(audiences: tuple[str, ...], situation: Situation, issuer: Issuer | None) -> Check:
    provision = situation.provision
    lock_id = provision.lock_id if provision else situation.lock_id
    groups = provision.groups if provision else situation.groups
    detail = ", ".join(map(repr, audiences))
    if lock_id is None and not groups:
        return Check("aud", None, detail, Reason.AudienceMismatch)
    mine = {*groups, *([lock_id] if lock_id else [])}
    allowed = set(issuer.audiences) if issuer else mine
    return Check("aud", bool(mine & allowed & set(audiences)), detail, Reason.AudienceMismatch)


def _check_bounds(claims: tokens.Claims, issuer: Issuer | None) -> Iterator[Check]:
    if issuer is not None:
        is_met = set(claims.scopes) <= set(issuer.scopes)
        detail = f"{' '.join(claims.scopes)!r} of {' '.join(issuer.scopes)!r}"
        yield Check("issuer's scopes", is_met, detail, Reason.ScopeNotAllowed)
    lifetime_s = claims.lifetime_s
    detail = when.duration_text(lifetime_s) if lifetime_s > 0 else "ends before it begins"
    yield Check("begin and end", lifetime_s > 0, detail, Reason.LifetimeInverted)
    if issuer is not None:
        most = when.duration_text(issuer.max_lifetime_s)
        is_met = lifetime_s <= issuer.max_lifetime_s
        yield Check("lifetime", is_met, f"{detail} of at most {most}", Reason.LifetimeExceeded)


def _check_time(claims: tokens.Claims, now_s: int) -> Iterator[Check]:
    if claims.has_start:
        yield Check("nbf", now_s >= claims.start_s, when.time_text(claims.start_s), Reason.NotYetValid)
    if claims.exp_s is not None:
        yield Check("exp", now_s < claims.exp_s, when.time_text(claims.exp_s), Reason.Expired)
