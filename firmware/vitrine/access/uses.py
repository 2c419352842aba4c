"""How often tokens with a number of uses were used here, durably: each use is an entry of the ledger (SPEC.md 13).

A use is counted before the strike moves, so a power cut can lose one but never give one back.
"""

from hashlib import sha256

from micropython import const

from .ledger import SPENT
from .ledger_pages import LedgerError

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from .ledger import Ledger


class UsesError(Exception):
    """The ledger cannot tell, or cannot be written: nothing was granted."""


class Uses:
    """The counts in `ledger`. Keeps nothing itself."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger

    def left(self, kid: bytes, cti: bytes, allowed: int) -> int:
        """Return how many of `allowed` uses are left, 0 or more. Raises UsesError."""
        try:
            return allowed - self._spent(kid, cti, allowed)
        except LedgerError as error:
            raise UsesError(str(error))

    def spend(self, kid: bytes, cti: bytes, exp: int, allowed: int, now_s: int) -> bool:
        """Count one use of a token that expires at `exp`; return True once that is durable.

        False if all are spent, or if there is no room to count one. Raises UsesError; then it may be counted or not.
        """
        if now_s >= exp:
            return False
        ledger = self._ledger
        try:
            spent = self._spent(kid, cti, allowed)
            if spent >= allowed:
                return False
            # Another token of this identity that expires later: its uses must not come back when the first ones expire.
            # From the first one on, so that none ever lasts longer than the one before.
            if spent and not ledger.has(SPENT, _digest(kid, cti, spent), exp):
                for use in range(1, spent + 1):
                    if not ledger.add(SPENT, _digest(kid, cti, use), exp):
                        return False
            return ledger.add(SPENT, _digest(kid, cti, spent + 1), exp)
        except LedgerError as error:
            raise UsesError(str(error))

    def _spent(self, kid: bytes, cti: bytes, allowed: int) -> int:
        """Return how many of the uses from 1 to `allowed` are spent: they are so one after the other. Galloping."""
        low = 0
        high = 1
        while high <= allowed and self._ledger.has(SPENT, _digest(kid, cti, high)):
            low = high
            high *= 2
        high = min(high, allowed + 1)
        while low + 1 < high:
            middle = (low + high) // 2
            if self._ledger.has(SPENT, _digest(kid, cti, middle)):
                low = middle
            else:
                high = middle
        return low


def _digest(kid: bytes, cti: bytes, use: int) -> bytes:
    return sha256(kid + b"u" + bytes((len(cti),)) + cti + use.to_bytes(2, "big")).digest()
