"""Nonces that tie what is made elsewhere to this lock and to the last 300 s. Source: SPEC.md section 3.3.

Nothing is kept of a nonce: its time is in it, under a tag that only this start of this lock can make. So nobody can
fill a list, and a reset ends them all. One nonce may serve many statements; where it may serve only one, who takes the
statement sees to it (app.timekeeper; the sequence numbers of commands and tokens).
"""

from micropython import const

from ..crypto.hmac256 import constant_time_equal, hmac_sha256
from .ticks import ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable

_MAX_AGE_MS = const(300_000)
_KEY_MS = const(300_000)  # how long a key makes nonces
_KEPT_MS = const(600_000)  # and how long one of them can still be good
_KEY_SIZE = const(16)
_TICKS_MASK = const(0x3FFFFFFF)


class Freshness:
    """Freshness(random_bytes): makes nonces and tells their age. now_ms: ticks, as everywhere."""

    def __init__(self, random_bytes: "Callable[[int], bytes]") -> None:
        self._random_bytes = random_bytes
        self._keys: "list[tuple[int, bytes]]" = []  # (made at, key), the newest first; at most two

    def issue(self, now_ms: int) -> bytes:
        """Return a nonce of 16 bytes. Two asked for in the same millisecond are the same nonce."""
        self.tick(now_ms)
        if not self._keys or ticks_diff(now_ms, self._keys[0][0]) >= _KEY_MS:
            self._keys.insert(0, (now_ms, self._random_bytes(_KEY_SIZE)))
        made = (now_ms & _TICKS_MASK).to_bytes(4, "big")
        return made + _tag(self._keys[0][1], made)

    def age_ms(self, cnonce: bytes, now_ms: int) -> "int | None":
        """Return how long ago `cnonce` was made, or None if it is not of this start of this lock, or is too old."""
        self.tick(now_ms)
        if len(cnonce) != 16:
            return None
        made = cnonce[:4]
        age_ms = ticks_diff(now_ms, int.from_bytes(made, "big"))
        if not 0 <= age_ms <= _MAX_AGE_MS:
            return None
        for _, key in self._keys:
            if constant_time_equal(_tag(key, made), cnonce[4:]):
                return age_ms
        return None

    def tick(self, now_ms: int) -> None:
        """Drop the keys of which no nonce is good any more.

        Call it at least every minute: ticks wrap after 12 days, and a nonce as old as that would look new under a key
        that was still there.
        """
        while self._keys and not 0 <= ticks_diff(now_ms, self._keys[-1][0]) < _KEPT_MS:
            self._keys.pop()


def _tag(key: bytes, made: bytes) -> bytes:
    return hmac_sha256(key, b"vitrine/cnonce", made)[:12]
