"""Generated questions to a lock, as a judge on the host reads them and as a lock does.

A case begins as one that would be granted; then up to 3 edges move one thing each to its limit or over it. Nothing here
says what is right: the implementations are held against each other.
"""

import random
import zlib
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from hashlib import sha256
from typing import Any

from vitrine_tools import cbor, provisioning, tokens
from vitrine_tools.configuration import SETTINGS
from vitrine_tools.policy.case import Act
from vitrine_tools.policy.lock_file import ALARMS, Lock

from .explain_edges import CNONCE, CTI, GROUPS, ISSUERS, LOCK, Draft, make_draft

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Case:
    """One question, in both forms."""

    token: bytes
    lock: Lock
    act: Act
    device: dict[str, Any]


def cases(seed: int, number: int) -> list[Case]:
    """Return `number` cases, the same for the same seed."""
    draw = random.Random(seed)
    return [_finish(make_draft(draw)) for _ in range(number)]


def holiday_rows(days: list[tuple[date, date]]) -> list[list[int]]:
    """Return holidays as SPEC.md 6.1 has them."""
    return [[(first - _EPOCH).days, (last - first).days + 1] for first, last in days]


def _finish(draft: Draft) -> Case:
    draw = draft.draw
    token = tokens.sign(draft.claims, draft.signer, algorithm=draft.some((-19, -19, -8)), is_tagged=draw.random() < 0.2)
    if draft.is_tampered:
        at = draw.randrange(len(token))
        token = token[:at] + bytes([token[at] ^ 1 << draw.randrange(8)]) + token[at + 1 :]
    kid, cti = draft.kid, draft.claims.get(CTI, b"")
    # a bit of the tag or of an array's head makes another form; one in what is signed, another token
    is_signed = not draft.is_tampered
    used = draft.lock.pop("spent", 0)
    is_cti = isinstance(cti, bytes) and 8 <= len(cti) <= 16
    if used and is_cti:
        draft.lock["spent"] = [{"kid": kid, "cti": cti, "uses": min(used, 1000)}]
    if "presented_ago_s" in draft.act:  # and was received then
        draft.lock.pop("receipts", None)
        draft.cnonces = dict.fromkeys(draft.cnonces, 1000)
    cnonce = draft.claims.get(CNONCE)
    age_ms = draft.cnonces.get(cnonce.hex()) if isinstance(cnonce, bytes) else None
    act = Act(at_s=draft.at_s, **{"nonce_age_s": None if age_ms is None else age_ms / 1000, **draft.act})
    lock = _lock(draft)
    return Case(token, lock, act, _device(draft, lock, act, token, is_signed, used if is_cti else 0))


def _lock(draft: Draft) -> Lock:
    values = {**_identity(draft.zone), "settings": draft.settings, "issuers": _base_lock(draft.zone).issuers}
    return Lock.model_validate({**values, **draft.lock})


def _identity(zone: str) -> dict[str, Any]:
    return {"lock": LOCK, "groups": list(GROUPS), "zone": zone}


@lru_cache
def _base_lock(zone: str) -> Lock:
    issuers = [
        {
            "key": key.public.raw,
            "name": name,
            "scopes": list(scopes),
            "audiences": list(audiences),
            "max_lifetime_s": most_s,
        }
        for key, name, scopes, audiences, most_s in ISSUERS
    ]
    return Lock.model_validate({**_identity(zone), "issuers": issuers})


@lru_cache
def _provision(zone: str) -> str:
    issuers = tuple(
        provisioning.Issuer(public_key=key.public, name=name, scopes=scopes, audiences=audiences, max_lifetime_s=most_s)
        for key, name, scopes, audiences, most_s in ISSUERS
    )
    record = provisioning.Provision(lock_id=LOCK, groups=GROUPS, issuers=issuers, zone=zone, provisioned_at_s=0)
    return record.to_bytes().hex()


def _device(draft: Draft, lock: Lock, act: Act, token: bytes, is_signed: bool, used: int) -> dict[str, Any]:
    """Return the case for explain_batch.py: stores as they lie in flash, made from SPEC.md."""
    revoked, befores = set(), {}
    for entry in lock.revoked:
        for letter, value in (
            (b"c", entry.cti),
            (b"s", entry.sub),
            (b"k", entry.key and sha256(entry.key).digest()[:8]),
        ):
            if value is not None:
                revoked.add(sha256(entry.kid + letter + value).hexdigest())
        if entry.before is not None:
            befores[entry.kid] = max(befores.get(entry.kid, 0), entry.before)
    spent = [
        sha256(entry.kid + b"u" + bytes([len(entry.cti)]) + entry.cti + n.to_bytes(2, "big")).hexdigest()
        for entry in lock.spent
        for n in range(1, entry.uses + 1)
    ]
    kids = [issuer.kid for issuer in lock.issuers]
    ago_s = act.presented_ago_s
    return {
        "provision": _provision(draft.zone),
        "settings": {SETTINGS[name].key: value for name, value in draft.settings.items()},
        "zone": draft.zone,
        "holidays": holiday_rows(lock.holidays),
        "broken": lock.broken,
        "revoked": sorted(revoked),
        "spent": spent,
        "revocations": cbor.encode([[kid, lock.lists.get(kid, 0), befores.get(kid, 0)] for kid in kids]).hex(),
        "receipts": cbor.encode([[kid, number] for kid, number in lock.receipts.items()]).hex(),
        "nonces": draft.cnonces,
        "lockout": _lockout_blob(lock, act.at_s).hex(),
        "lockdown": lock.scenario.lockdown,
        "score": lock.risk.score,
        "alarms": sum(1 << bit for name in lock.alarms if (bit := ALARMS[name]) is not None),
        "noted": [[entry.token.hex(), entry.action_number, round(entry.seconds_ago * 1000)] for entry in lock.noted],
        "token": token.hex(),
        "signed": is_signed,
        "received_ms_ago": None if ago_s is None else round(ago_s * 1000),
        "used": used,
        "instant": [act.at_s, ("untrusted", "trusted", "coasting").index(lock.time.state), lock.time.error_s],
        "action": act.action,
        "uv": act.is_user_verified,
    }


def _lockout_blob(lock: Lock, at_s: int) -> bytes:
    body = bytes([1, len(lock.locked_out)])
    for entry in lock.locked_out:
        body += b"\1" + sha256(b"\1" + entry.key).digest()[:8] + b"\x10" + (entry.until - at_s).to_bytes(2, "big")
    return body + zlib.crc32(body).to_bytes(4, "big")
