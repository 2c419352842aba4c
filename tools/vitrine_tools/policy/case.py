"""What a decision is about: a token, a lock, and what is asked of it when."""

from dataclasses import dataclass

from ..protocol import Action
from ..tokens import Claims, Token
from .lock_file import Issuer, Lock, Noted


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What is asked of the lock, and when.

    noted: who has asked before, beside those of the lock file. nonce_age_s: of the token's cnonce; None: not one of
    this lock. presented_ago_s: how long ago the lock took a token with exi; None: it is presented now.
    """

    at_s: int
    action: int = Action.UNLOCK
    is_user_verified: bool = False
    noted: tuple[Noted, ...] = ()
    nonce_age_s: float | None = 0
    presented_ago_s: float | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One question. Nothing in the token is believed before the rule about its signature has passed."""

    token: Token
    lock: Lock
    act: Act

    @property
    def claims(self) -> Claims:
        """What the token says."""
        return self.token.claims

    @property
    def issuer(self) -> Issuer:
        """The issuer whose kid the token names; KeyError if it is not pinned, which the first rule finds."""
        issuer = self.lock.issuer_of(self.token.kid)
        if issuer is None:
            raise KeyError(self.token.kid)
        return issuer

    @property
    def opens(self) -> bool:
        """Whether the action opens the door: what the fixture or the risk ask for is about those."""
        return self.act.action in (Action.UNLOCK, Action.HOLD, Action.TEST)

    def is_risky(self, limit: int) -> bool:
        """Tell whether the risk is high enough for what is asked from `limit` on; 0: never."""
        return self.opens and 0 < limit <= self.lock.risk.score
