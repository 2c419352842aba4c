"""The rules of a decision, in the order of SPEC.md section 3 for an act whose holder has proved the key.

`RULES` is that order. Each rule says what the token says to it and what the lock says; a rule with a reason fails.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .. import when
from ..keys import PublicKey
from ..protocol import Action, Reason
from . import memory, persons
from .case import Case
from .lock_file import ALARMS

NONCE_LIFE_S: Final = 300
SCOPES: Final = {
    Action.LOCK: "unlock",
    Action.UNLOCK: "unlock",
    Action.HOLD: "hold",
    Action.COURIER: "courier",
    Action.SERVICE: "service",
    Action.TEST: "service",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What the token and the lock say; `reason` None: the rule is kept."""

    token: str
    lock: str
    reason: Reason | None


NOTHING: Final = Told("-", "-", None)


@dataclass(frozen=True, slots=True)
class Rule:
    """`reason` is the usual one of the rule."""

    name: str
    reason: Reason
    ask: Callable[[Case], Told]


def _issuer(case: Case) -> Told:
    issuer = case.lock.issuer_of(case.token.kid)
    known = ", ".join(f"{issuer.name} ({issuer.kid.hex()})" for issuer in case.lock.issuers)
    return Told(f"kid {case.token.kid.hex()}", f"pinned: {known}", Reason.IssuerUnknown if issuer is None else None)


def _signature(case: Case) -> Told:
    is_good = case.token.is_signed_by(PublicKey(case.issuer.key))
    text = "is right" if is_good else "is WRONG"
    return Told(case.token.algorithm, f"{text} under the issuer's key", None if is_good else Reason.TokenForged)


def _stores(case: Case) -> Told:
    broken = case.lock.broken
    text = f"missing or damaged: {', '.join(broken)}" if broken else "whole"
    return Told("-", text, Reason.Fault if broken else None)


def _issuer_name(case: Case) -> Told:
    name = case.claims.issuer
    is_good = name in (None, case.issuer.name)
    return Told("-" if name is None else repr(name), repr(case.issuer.name), None if is_good else Reason.IssuerUnknown)


def _audience(case: Case) -> Told:
    lock, issuer = case.lock, case.issuer
    shared = {lock.lock, *lock.groups} & set(issuer.audiences) & set(case.claims.audiences)
    mine = " ".join((lock.lock, *lock.groups))
    detail = f"is {mine}; the issuer may address {' '.join(issuer.audiences)}"
    return Told(" ".join(case.claims.audiences), detail, None if shared else Reason.AudienceMismatch)


def _issuer_scopes(case: Case) -> Told:
    is_good = set(case.claims.scopes) <= set(case.issuer.scopes)
    detail = f"the issuer may give {' '.join(case.issuer.scopes)}"
    return Told(" ".join(case.claims.scopes), detail, None if is_good else Reason.ScopeNotAllowed)


def _order(case: Case) -> Told:
    claims = case.claims
    if claims.exp_s is None:
        return NOTHING
    says = f"{when.time_text(claims.start_s)} to {when.time_text(claims.exp_s)}"
    is_good = claims.exp_s > claims.start_s
    return Told(says, "the end must lie after the begin", None if is_good else Reason.LifetimeInverted)


def _lifetime(case: Case) -> Told:
    lifetime_s, most_s = case.claims.lifetime_s, case.issuer.max_lifetime_s
    detail = f"the issuer may give {when.duration_text(most_s)}"
    return Told(when.duration_text(lifetime_s), detail, None if lifetime_s <= most_s else Reason.LifetimeExceeded)


def _time(case: Case) -> Told:
    claims, time = case.claims, case.lock.time
    is_needed = claims.has_start or bool(claims.windows)
    is_known = time.state != "untrusted"
    detail = f"time is {time.state}" + (f", {time.error_s} s off at most" if is_known else "")
    says = "needs the time" if is_needed else "needs no time"
    return Told(says, detail, Reason.TimeUntrusted if is_needed and not is_known else None)


def _begin(case: Case) -> Told:
    claims = case.claims
    if not claims.has_start:
        return NOTHING
    is_good = case.act.at_s >= claims.start_s
    detail = f"the clock says {when.time_text(case.act.at_s)}"
    return Told(f"from {when.time_text(claims.start_s)}", detail, None if is_good else Reason.NotYetValid)


def _end(case: Case) -> Told:
    claims = case.claims
    if claims.exp_s is None:
        return NOTHING
    latest_s = case.act.at_s + case.lock.time.error_s
    detail = f"it may be {when.time_text(latest_s)} by now"
    return Told(f"until {when.time_text(claims.exp_s)}", detail, None if latest_s < claims.exp_s else Reason.Expired)


def _freshness(case: Case) -> Told:
    claims, act = case.claims, case.act
    if claims.cnonce is None:
        return NOTHING
    says = f"cnonce {claims.cnonce.hex()}"
    if act.presented_ago_s is not None:
        return Told(says, "was fresh when the token was received", None)
    if act.nonce_age_s is None:
        return Told(says, "made no such nonce", Reason.FreshnessMissing)
    is_good = act.nonce_age_s <= NONCE_LIFE_S
    detail = f"made it {act.nonce_age_s:g} s ago, {NONCE_LIFE_S} s at most"
    return Told(says, detail, None if is_good else Reason.FreshnessMissing)


def _sequence(case: Case) -> Told:
    claims, act = case.claims, case.act
    if claims.exi_s is None:
        return NOTHING
    number = int.from_bytes(claims.cti, "big")
    if act.presented_ago_s is not None:
        return Told(f"number {number}", "received", None)
    highest = case.lock.receipts.get(case.token.kid, -1)
    detail = f"received {highest} last" if highest >= 0 else "received none before"
    return Told(f"number {number}", detail, None if number > highest else Reason.SequenceStale)


def _seconds(case: Case) -> Told:
    claims, ago_s = case.claims, case.act.presented_ago_s or 0
    if claims.exi_s is None:
        return NOTHING
    detail = f"received {ago_s:g} s ago" if ago_s else "receives it now"
    return Told(f"{claims.exi_s} s from when it is received", detail, None if ago_s < claims.exi_s else Reason.Expired)


def _revocation(case: Case) -> Told:
    entry = memory.revoked_by(memory.brought_by(case.lock, case.token), case.token)
    sub = case.claims.sub
    token = f"cti {case.claims.cti.hex()}" + ("" if sub is None else f", sub {sub.hex()}")
    return Told(token, entry or "revoked nothing of it", None if entry is None else Reason.Revoked)


def _lockout(case: Case) -> Told:
    wait_s = memory.lockout_left_s(case.lock, case.claims.holder.raw, case.act.at_s)
    detail = f"locked out for {when.duration_text(wait_s)}" if wait_s else "not locked out"
    return Told(f"key {case.claims.holder.raw.hex()[:16]}...", detail, Reason.LockedOut if wait_s else None)


def _action(case: Case) -> Told:
    is_known = case.act.action in SCOPES
    name = Action(case.act.action).name.lower() if is_known else str(case.act.action)
    return Told("-", f"asked for: {name}", None if is_known else Reason.ActionUnknown)


def _scope(case: Case) -> Told:
    needed = SCOPES[Action(case.act.action)]
    is_good = needed in case.claims.scopes
    return Told(" ".join(case.claims.scopes), f"needs {needed}", None if is_good else Reason.ScopeMissing)


def _lockdown(case: Case) -> Told:
    is_down = case.lock.scenario.lockdown and case.opens
    is_good = not is_down or "admin" in case.claims.scopes
    detail = "LOCKDOWN: only the scope admin opens" if is_down else "no lockdown"
    return Told(" ".join(case.claims.scopes), detail, None if is_good else Reason.LockedDown)


def _windows(case: Case) -> Told:
    windows = case.claims.windows
    if not windows:
        return NOTHING
    text = "; ".join(map(when.window_text, windows))
    local = case.lock.local_time
    is_open = local.is_open(windows, case.act.at_s)
    return Told(text, local.text(case.act.at_s), None if is_open else Reason.OutsideWindow)


def _alarms(case: Case) -> Told:
    mask = case.lock.settings.alarm_blocks
    active = case.lock.alarms
    blocking = [name for name in active if case.opens and (bit := ALARMS[name]) is not None and mask >> bit & 1]
    if blocking:
        return Told("-", f"{', '.join(blocking)}: set to block", Reason.AlarmActive)
    return Told("-", f"{', '.join(active)}: not set to block" if active else "no alarm", None)


def _user(case: Case) -> Told:
    why = []
    if case.opens and case.lock.settings.uv_required:
        why.append("is set to require it")
    if case.is_risky(case.lock.settings.risk_uv):
        why.append(f"requires it at a risk of {case.lock.risk.score}")
    is_needed = case.claims.needs_uv or bool(why)
    why.append(f"the phone has {'' if case.act.is_user_verified else 'not '}verified its user")
    reason = Reason.UserVerificationRequired if is_needed and not case.act.is_user_verified else None
    return Told("requires it" if case.claims.needs_uv else "-", "; ".join(why), reason)


def _persons(case: Case) -> Told:
    wanted, asked = persons.count(case, _is_still_good)
    says = "-" if case.claims.persons is None else str(case.claims.persons)
    detail = f"needs {wanted}, {asked} asked"
    if asked < wanted and case.claims.sub is None:
        detail += "; the token names nobody (sub)"
    return Told(says, detail, Reason.PersonsRequired if asked < wanted else None)


def _is_still_good(case: Case) -> bool:
    """Judge somebody again who asked before: whether the phone had verified its user was judged then."""
    asked_before = (_user, _persons)
    return all(rule.ask(case).reason is None for rule in RULES if rule.ask not in asked_before)


def _uses(case: Case) -> Told:
    allowed = case.claims.uses
    if allowed is None:
        return NOTHING
    is_new = case.claims.exi_s is not None and case.act.presented_ago_s is None
    spent = 0 if is_new else memory.uses_spent(case.lock, case.token)
    return Told(f"{allowed} in all", f"{spent} are spent", None if spent < allowed else Reason.UsesExhausted)


RULES: Final = (
    Rule("issuer", Reason.IssuerUnknown, _issuer),
    Rule("signature", Reason.TokenForged, _signature),
    Rule("stores", Reason.Fault, _stores),
    Rule("issuer's name", Reason.IssuerUnknown, _issuer_name),
    Rule("audience", Reason.AudienceMismatch, _audience),
    Rule("issuer's scopes", Reason.ScopeNotAllowed, _issuer_scopes),
    Rule("begin and end", Reason.LifetimeInverted, _order),
    Rule("lifetime", Reason.LifetimeExceeded, _lifetime),
    Rule("time", Reason.TimeUntrusted, _time),
    Rule("begin", Reason.NotYetValid, _begin),
    Rule("end", Reason.Expired, _end),
    Rule("revocation", Reason.Revoked, _revocation),
    Rule("freshness", Reason.FreshnessMissing, _freshness),
    Rule("sequence", Reason.SequenceStale, _sequence),
    Rule("seconds", Reason.Expired, _seconds),
    Rule("lock-out", Reason.LockedOut, _lockout),
    Rule("action", Reason.ActionUnknown, _action),
    Rule("scope", Reason.ScopeMissing, _scope),
    Rule("lockdown", Reason.LockedDown, _lockdown),
    Rule("windows", Reason.OutsideWindow, _windows),
    Rule("alarms", Reason.AlarmActive, _alarms),
    Rule("user", Reason.UserVerificationRequired, _user),
    Rule("persons", Reason.PersonsRequired, _persons),
    Rule("uses", Reason.UsesExhausted, _uses),
)
