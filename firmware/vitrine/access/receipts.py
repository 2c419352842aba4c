"""Which tokens with a cnonce were received here. Source: SPEC.md sections 2, 3.3 and 5; RFC 9200 section 5.10.3.

The highest sequence number of each issuer is durable before a token with exi is accepted, so none is ever taken twice.
When it came is in RAM: a reset ends every such token, as the lock can no longer tell how long ago that was.
"""

from micropython import const

from ..codec import cbor
from . import reasons
from .revocation import StoreError
from .ticks import ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Protocol

    from .freshness import Freshness
    from .token import Token

    class Store(Protocol):
        """Keeps one blob; both raise OSError if they cannot."""

        def load(self) -> "bytes | None": ...

        def save(self, data: bytes) -> None: ...


_MAX_SIZE = const(128)  # 4 issuers take 77 bytes
_MAX_RECEIVED = const(8)
_KEPT_MS = const(
    172_800_000
)  # 2 days: the longest exi and another, in which a token that is over is told from a replay


class _Receipt:
    """One token that was received: its hash, when (ticks), and the grants it has left (None: not counted here)."""

    def __init__(self, token: "Token", now_ms: int) -> None:
        self.token_hash = token.hash
        self.exi = token.exi
        self.received_ms = now_ms
        self.uses = token.uses

    def left_ms(self, now_ms: int) -> int:
        """Return what is left of exi. A reception in the future is one of over six days ago."""
        age_ms = ticks_diff(now_ms, self.received_ms)
        return max(0, (self.exi or 0) * 1000 - age_ms) if age_ms >= 0 else 0


class Receipts:
    """The tokens with a cnonce that this lock has received."""

    def __init__(self, store: "Store", freshness: "Freshness") -> None:
        self._store = store
        self._freshness = freshness
        self._received: "list[_Receipt]" = []  # oldest first
        self._taken = _load(store)

    @property
    def is_sound(self) -> bool:
        """Whether the sequence numbers taken before are known."""
        return self._taken is not None

    def receive(self, token: "Token", now_ms: int) -> int:
        """Return GRANTED if `token`, whose signature was verified, is received now or was before and is not over.

        A sequence number is durable when this returns. Raises StoreError.
        """
        receipt = self._find(token)
        if receipt is not None:
            is_over = token.exi is not None and receipt.left_ms(now_ms) <= 0
            return reasons.EXPIRED if is_over else reasons.GRANTED
        return self._refusal(token, now_ms) or self._keep(token, now_ms)

    def left_ms(self, token: "Token", now_ms: int) -> int:
        """Return how long a token with exi is still valid; 0 if it is over or was not received."""
        receipt = self._find(token)
        return 0 if receipt is None else receipt.left_ms(now_ms)

    def is_just_made(self, token: "Token", now_ms: int) -> bool:
        """Whether a token with exi was made for this lock so lately, 300 s or its exi, that no memory is needed."""
        if token.exi is None or token.cnonce is None:
            return False
        age_ms = self._freshness.age_ms(token.cnonce, now_ms)
        return age_ms is not None and age_ms < 1000 * token.exi

    def uses_left(self, token: "Token") -> int:
        """Return how many grants a token with exi and uses has left."""
        receipt = self._find(token)
        return 0 if receipt is None else receipt.uses or 0

    def spend(self, token: "Token") -> bool:
        """Count one grant of a token with exi and uses; return whether there was one left."""
        receipt = self._find(token)
        if receipt is None or not receipt.uses:
            return False
        receipt.uses -= 1
        return True

    def tend(self, now_ms: int) -> None:
        """Forget what is over. Needed every few days: ticks wrap, and a token that was over would be valid again."""
        self._received = [
            receipt
            for receipt in self._received
            if receipt.exi is None or 0 <= ticks_diff(now_ms, receipt.received_ms) < _KEPT_MS
        ]

    def _find(self, token: "Token") -> "_Receipt | None":
        for receipt in self._received:
            if receipt.token_hash == token.hash:
                return receipt
        return None

    def _refusal(self, token: "Token", now_ms: int) -> int:
        """Return GRANTED or why `token` cannot be received now."""
        if token.cnonce is None or self._freshness.age_ms(token.cnonce, now_ms) is None:
            return reasons.FRESHNESS_MISSING
        if token.exi is not None and int.from_bytes(token.cti, "big") <= self._highest().get(token.kid, -1):
            return reasons.SEQUENCE_STALE
        return reasons.GRANTED

    def _keep(self, token: "Token", now_ms: int) -> int:
        # asked again: a fault that skips a branch once must not put a token here, which is believed from then on
        reason = self._refusal(token, now_ms)
        if reason == reasons.GRANTED:
            if token.exi is not None:
                self._take(token)
            self._received.append(_Receipt(token, now_ms))
            del self._received[:-_MAX_RECEIVED]
        return reason

    def _take(self, token: "Token") -> None:
        """Make the sequence number in cti the highest of its issuer."""
        taken = dict(self._highest())
        taken[token.kid] = int.from_bytes(token.cti, "big")
        try:
            self._store.save(cbor.encode([[kid, taken[kid]] for kid in taken]))
        except OSError:
            raise StoreError("cannot write")
        self._taken = taken

    def _highest(self) -> "dict[bytes, int]":
        """Return the highest sequence number taken, by kid."""
        if self._taken is None:
            raise StoreError("not known")
        return self._taken


def empty() -> bytes:
    """Return the store that provisioning writes: no token was received yet."""
    return cbor.encode([])


def _load(store: "Store") -> "dict[bytes, int] | None":
    """Return the highest sequence number by kid, or None if that is not known."""
    taken: "dict[bytes, int]" = {}
    try:
        entries = cbor.decode(store.load() or b"", _MAX_SIZE)
        if not cbor.is_array(entries):
            return None
        for kid, sequence in entries:
            if not isinstance(kid, bytes) or type(sequence) is not int or sequence < 0:
                return None
            taken[kid] = sequence
    except (OSError, ValueError, TypeError):
        # CborError; what is not an array of pairs is no better than what is missing
        return None
    return taken
