"""What a lock remembers: revoked tokens, spent uses, locked-out keys (SPEC.md sections 11.2, 13 and 3.5).

A lock file names them in full, or as a snapshot finds them: by the first 39 bits of a digest, which can be looked up
and not turned back.
"""

import hashlib
from typing import TYPE_CHECKING, Final

from .. import names, when
from .lock_file import Revocation

if TYPE_CHECKING:
    from ..tokens import Token
    from .lock_file import Lock

_LETTERS: Final = {1: b"c", 2: b"s", 3: b"k"}  # by kind of an entry


def revoked_by(lock: "Lock", token: "Token") -> str | None:
    """Return what revokes `token` at this lock, in words, or None; what it revokes itself counts as well."""
    claims = token.claims
    key = names.kid(claims.holder.raw)  # made the same way: the first 8 bytes of SHA-256
    mine = ((b"c", claims.cti, "this token"), (b"s", claims.sub, "its sub"), (b"k", key, "its key"))
    for letter, value, what in mine:
        if value is not None and _digest(token.kid + letter + value) in lock.ledger.revoked:
            return f"revoked {what}"
    befores = []
    for entry in lock.revoked:
        if entry.kid != token.kid:
            continue
        if entry.before is not None:
            befores.append(entry.before)
        elif entry.cti is not None and entry.cti == claims.cti:
            return "revoked this token"
        elif entry.sub is not None and entry.sub == claims.sub:
            return "revoked its sub"
        elif entry.key is not None and entry.key == claims.holder.raw:
            return "revoked its key"
    before_s = max(befores, default=0)
    issued_s = claims.iat_s if claims.iat_s is not None else claims.nbf_s
    if before_s and (issued_s is None or issued_s < before_s):
        return f"revoked all from before {when.time_text(before_s)}"
    return None


def brought_by(lock: "Lock", token: "Token") -> "Lock":
    """Return `lock` as it is once it has taken what the token's issuer revokes with it, if it takes that."""
    if token.claims.revoke is None:
        return lock
    previous, sequence, entries = token.claims.revoke
    known = lock.lists.get(token.kid, 0)
    if sequence <= known or previous > known:
        return lock
    revoked, digests = list(lock.revoked), set(lock.ledger.revoked)
    for kind, value, _ in entries:
        if isinstance(value, int):
            revoked.append(Revocation(kid=token.kid, before=value))
        else:
            digests.add(_digest(token.kid + _LETTERS[kind] + value))
    ledger = lock.ledger.model_copy(update={"revoked": frozenset(digests)})
    return lock.model_copy(update={"revoked": revoked, "ledger": ledger, "lists": {**lock.lists, token.kid: sequence}})


def uses_spent(lock: "Lock", token: "Token") -> int:
    """Return how many of the token's uses are spent. Those of one with exi are not in the ledger."""
    claims = token.claims
    spent = max((entry.uses for entry in lock.spent if (entry.kid, entry.cti) == (token.kid, claims.cti)), default=0)
    known = lock.ledger.spent if claims.exi_s is None else frozenset()
    start = token.kid + b"u" + bytes([len(claims.cti)]) + claims.cti
    while known and spent < (claims.uses or 0) and _digest(start + (spent + 1).to_bytes(2, "big")) in known:
        spent += 1
    return spent


def lockout_left_s(lock: "Lock", holder_key: bytes, at_s: int) -> int:
    """Return for how many seconds the holder's key is locked out."""
    known = (holder_key, lockout_digest(holder_key))
    return max(
        (entry.until - at_s for entry in lock.locked_out if entry.key in known and entry.until > at_s), default=0
    )


def lockout_digest(holder_key: bytes) -> bytes:
    """Return what a lock keeps of a key that is locked out."""
    return hashlib.sha256(b"\1" + holder_key).digest()[:8]


def _digest(data: bytes) -> bytes:
    """Return the first 39 bits of a digest, as 5 bytes with a zero bit in front."""
    return (int.from_bytes(hashlib.sha256(data).digest()[:5], "big") >> 1).to_bytes(5, "big")
