"""One connection of one peer: nonce, token, proof of possession. Source: SPEC.md section 3.

Owns the order of the two signatures and who may learn what. Knows no time but what it is given.
"""

from micropython import const

from ..crypto.ed25519 import DENY, GRANT
from . import proof as proofs
from . import reasons
from .decision import accepted, denied
from .ticks import ticks_diff
from .token import Token, TokenError

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable

    from .decision import Decision
    from .policy import Instant, Policy

_NONCE_SIZE = const(16)
NONCE_LIFETIME_MS = const(10_000)  # longer, and a proof that leaked could be carried to the lock at leisure

_UNVERIFIED = const(0)
_ALL_BITS = const(0x3FFFFFFF)  # GRANT ^ DENY


class VerifiedTokens:
    """The verdicts on the tokens whose issuer's signature was verified last; one for all sessions of a lock."""

    def __init__(self, capacity: int = 8) -> None:
        self._capacity = capacity
        self._verdicts: "list[tuple[bytes, int]]" = []  # (token's hash, verdict)

    def verdict(self, token_hash: bytes) -> int:
        """Return the verdict on the token, which then outlives the others; DENY if it is not known."""
        for i, (known, verdict) in enumerate(self._verdicts):
            if known == token_hash:
                self._verdicts.append(self._verdicts.pop(i))
                # compared again, by its bits: what was said of another token is no GRANT for this one
                return verdict ^ (int.from_bytes(known, "big") ^ int.from_bytes(token_hash, "big"))
        return DENY

    def add(self, token_hash: bytes, verdict: int) -> None:
        """Remember the verdict on a token that is not known, in place of the one used longest ago."""
        if len(self._verdicts) >= self._capacity:
            self._verdicts.pop(0)
        self._verdicts.append((token_hash, verdict))

    def clear(self) -> None:
        """Forget all; for when the pinned issuers change."""
        self._verdicts.clear()


class Session:
    """What one peer has shown so far.

    verify_holder(public_key, message, signature) -> int verifies under any key: GRANT of crypto.ed25519, or not.
    random_bytes(size) -> bytes must be unpredictable. cache: the lock's VerifiedTokens.
    nonce: the one that the next act must use, or None. applied: the sequence of the list of revocations that the last
    present or act brought and that holds since, or None.
    """

    def __init__(
        self,
        policy: "Policy",
        verify_holder: "Callable[[bytes, bytes, bytes], int]",
        random_bytes: "Callable[[int], bytes]",
        cache: VerifiedTokens,
    ) -> None:
        self._policy = policy
        self._verify_holder = verify_holder
        self._random_bytes = random_bytes
        self._cache = cache
        self._place = proofs.place(policy.lock_id)
        self.nonce: "bytes | None" = None
        self.applied: "int | None" = None
        self._nonce_ms = 0
        self._token: "Token | None" = None
        self._why_no_token = reasons.NO_TOKEN
        self._issuer_verdict = _UNVERIFIED  # on the token

    def hello(self, now_ms: int) -> bytes:
        """Return a new nonce, good for one act within 10 s; the one before ends."""
        self.nonce = None
        nonce = self._random_bytes(_NONCE_SIZE)
        if len(nonce) != _NONCE_SIZE:
            raise ValueError("random source")
        self.nonce = nonce
        self._nonce_ms = now_ms
        return nonce

    def present(self, token_bytes: bytes, instant: "Instant", now_ms: int) -> "Decision":
        """Check a token while its user is still confirming; `is_accepted` tells the outcome, which is never a grant.

        The token is kept, refused or not, so that its authentic holder can learn the reason from an act.
        """
        self._token = None
        self.applied = None
        self._issuer_verdict = _UNVERIFIED
        self._why_no_token = reasons.TOKEN_MALFORMED
        try:
            token = Token(token_bytes)
        except TokenError:
            return denied(reasons.TOKEN_MALFORMED)
        self._token = token
        reason = self._policy.check(token, instant)
        if reason != reasons.GRANTED:
            return denied(reason, token)
        if self._verify_token(token) != GRANT:
            return denied(reasons.TOKEN_FORGED, token)
        reason = self._revoke(token) or self._policy.admit(token, now_ms)
        return accepted(token) if reason == reasons.GRANTED else denied(reason, token)

    def act(self, action: int, uv: bool, proof: bytes, now_ms: int, instant: "Instant") -> "Decision":
        """Decide one act. Uses up the nonce, whatever comes of it, and makes a new one."""
        nonce = self.nonce
        self.nonce = None
        self.applied = None
        if nonce is not None and not 0 <= ticks_diff(now_ms, self._nonce_ms) <= NONCE_LIFETIME_MS:
            nonce = None
        decision = self._decide(nonce, action, uv, proof, now_ms, instant)
        self.hello(now_ms)
        return decision

    def _decide(
        self, nonce: "bytes | None", action: int, uv: bool, proof: bytes, now_ms: int, instant: "Instant"
    ) -> "Decision":
        token = self._token
        if token is None:
            return denied(self._why_no_token)
        if nonce is None:
            return denied(reasons.NONCE_MISSING, token)
        # what can never be shown to be authentic is not worth verifying a proof for
        if self._policy.issuer_of(token) is None:
            return denied(reasons.ISSUER_UNKNOWN, token)
        if self._issuer_verdict != _UNVERIFIED and self._issuer_verdict != GRANT:
            return denied(reasons.TOKEN_FORGED, token)
        try:
            alg, signature = proofs.split(proof)
        except proofs.ProofError:
            return denied(reasons.PROOF_MALFORMED, token)
        message = proofs.message(alg, self._place, nonce, action, uv, token.hash)
        holder_verdict = self._verify_holder(token.holder_key, message, signature)
        if holder_verdict != GRANT:
            return denied(reasons.PROOF_FORGED, token)
        if self._verify_token(token) != GRANT:
            return denied(reasons.TOKEN_FORGED, token)
        reason = self._revoke(token)
        if reason == reasons.GRANTED:
            decision = self._policy.decide(token, action, uv, instant, now_ms)
        else:
            decision = denied(reason, token, True)
        # asked again, by other operations: a fault that skips one branch above must not open the lock
        if holder_verdict ^ DENY == _ALL_BITS and self._issuer_verdict ^ DENY == _ALL_BITS:
            return decision
        return denied(reasons.FAULT, token)

    def _verify_token(self, token: Token) -> int:
        """Return GRANT if the issuer signed `token`; verifies once, and not at all what the lock has seen before."""
        if self._issuer_verdict == _UNVERIFIED:
            verdict = self._cache.verdict(token.hash)
            if verdict != GRANT:
                verdict = self._policy.verify(token)
                if verdict == GRANT:
                    self._cache.add(token.hash, verdict)
            self._issuer_verdict = verdict
        return self._issuer_verdict

    def _revoke(self, token: Token) -> int:
        """Take what a verified token revokes; return GRANTED, or why it must be refused for it."""
        # asked again, by another operation: what a forged token revoked would stay so
        if self._issuer_verdict ^ DENY != _ALL_BITS:
            return reasons.FAULT
        reason = self._policy.revoke(token)
        if reason == reasons.GRANTED and token.revokes is not None:
            self.applied = token.revokes[1]
        # known already, or waiting for another list: neither is the token's fault
        return reasons.GRANTED if reason in (reasons.SEQUENCE_STALE, reasons.SEQUENCE_GAP) else reason
