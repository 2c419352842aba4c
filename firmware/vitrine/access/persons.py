"""Who has asked for an opening that needs more persons, in the last seconds. Source: SPEC.md section 3.4.

Keeps whom it is given, each person once, and knows no rules: policy.py judges everybody again at the grant. All of it
is in RAM: a reset forgets it.
"""

from micropython import const

from .ticks import ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Iterable

    from .token import Token

_MAX_NOTED = const(8)


class Persons:
    """The tokens of those who have asked and await others, of all links."""

    def __init__(self) -> None:
        self._noted: "list[tuple[Token, int, int, bool]]" = []  # with action, ticks, uv; oldest first, no person twice

    def note(self, token: "Token", action: int, now_ms: int, uv: bool = False) -> None:
        """Note the authentic holder of `token`, who asks for `action`; what they asked before is forgotten."""
        if token.sub is None:
            return
        self._noted = [entry for entry in self._noted if _differ(entry[0], token)]
        self._noted.append((token, action, now_ms, uv))
        if len(self._noted) > _MAX_NOTED:
            self._noted.pop(0)

    def others(self, token: "Token", action: int, now_ms: int, window_ms: int) -> "list[Token]":
        """Return the tokens of the other persons who asked for `action` within `window_ms`, each person once."""
        self.tend(now_ms, window_ms)
        return [noted for noted, wanted, _, _ in self._noted if wanted == action and _differ(noted, token)]

    def was_verified(self, token: "Token") -> bool:
        """Return the uv with which the holder of `token`, one of `others`, has asked."""
        return any(entry[0] is token and entry[3] is True for entry in self._noted)

    def forget(self, tokens: "Iterable[Token]") -> None:
        """Forget the holders of `tokens`: their asking has been answered."""
        if self._noted:
            self._noted = [entry for entry in self._noted if all(_differ(entry[0], token) for token in tokens)]

    def tend(self, now_ms: int, window_ms: int) -> None:
        """Forget who asked longer than `window_ms` ago. Needed every few days: ticks wrap."""
        self._noted = [entry for entry in self._noted if 0 <= ticks_diff(now_ms, entry[2]) <= window_ms]


def _differ(one: "Token", other: "Token") -> bool:
    """Tell whether two tokens are certainly of different persons: nobody knows who a holder without sub is."""
    if one.sub is None or other.sub is None:
        return False
    return one.sub != other.sub and one.holder_key != other.holder_key
