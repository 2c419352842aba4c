"""With what right a technician asks a lock for service: a token with its holder's key, or an issuer's key.

An issuer's key makes a token on the spot, for a holder's key that is made for this once. It needs no time on the lock:
its seconds run from when the lock first sees it (exi, SPEC.md section 2).
"""

import time
from pathlib import Path
from typing import Final

from .. import keys, protocol, tokens
from ..errors import ToolError
from ..phone import Phone, Unready
from ..protocol import Acted, Action, Reason, Status

MINTED_S: Final = 900  # as long as a console can be in service

_ADVICE: Final[dict[int, str]] = {
    Reason.NotProvisioned: "it has no identity yet: `vitrine provision` gives it one, and its console is open",
    Reason.ScopeMissing: "the token lacks the scope service: `vitrine token issue --scope service`",
    Reason.ScopeNotAllowed: "this issuer may not give the scope service: its provisioning record does not say so",
    Reason.IssuerUnknown: "the issuer is not pinned in this lock",
    Reason.AudienceMismatch: "the token is for other locks, or the issuer may not address this one",
    Reason.TimeUntrusted: "the lock does not know the time: use --key, or tell it with `vitrine command time`",
    Reason.Expired: "the token has expired",
    Reason.Revoked: "the token, its holder or its issuer is revoked",
    Reason.LockedOut: "too many bad tries",
    Reason.LockedDown: "the lock is in lockdown",
    Reason.PersonsRequired: "another person must ask within 30 s, with a token and a key of their own",
    Reason.UserVerificationRequired: "the token asks for a verified user: --uv says that there is one",
    Reason.Fault: "the lock could not do it, or has lost its rules: --key, an issuer's, opens service all the same",
    Reason.ActionUnknown: "the strike is tested over the wire only, and in service",
}


class ServiceError(ToolError):
    """The lock refused; the text says what can be done."""

    def __init__(self, acted: Acted) -> None:
        self.acted = acted
        text = "it says no more to who has proved nothing (wrong issuer, token, key or lock?)"
        if acted.status == Status.BUSY:
            text = "it is busy, or has locked this way out: try again later"
        elif acted.reason is not None:
            advice = _ADVICE.get(acted.reason)
            text = protocol.reason_name(acted.reason) + (f"; {advice}" if advice else "")
        super().__init__(f"the lock refused: {text}")


class Authority:
    """Either a token with its holder's key, or an issuer's key. Good for several sessions with one lock."""

    def __init__(
        self,
        token: bytes | None = None,
        holder: keys.PrivateKey | None = None,
        *,
        issuer: keys.PrivateKey | None = None,
        sub: bytes | None = None,
        is_user_verified: bool = False,
    ) -> None:
        self._shown = (token, holder) if token is not None and holder is not None else None
        self._issuer = issuer
        self._sub = sub
        self._is_user_verified = is_user_verified
        if (token is None) != (holder is None) or (self._shown is None) == (issuer is None):
            raise ToolError("give --token with --holder, or --key, an issuer's private key")

    @classmethod
    def load(
        cls, token: Path | None, holder: Path | None, key: Path | None, *, sub: bytes | None = None, uv: bool = False
    ) -> "Authority":
        """Read the files that were given; ToolError if they do not make one."""
        shown = keys.read_file(token, "token") if token is not None else None
        private = keys.load_private(holder) if holder is not None else None
        authority = cls(
            shown, private, issuer=keys.load_private(key) if key is not None else None, sub=sub, is_user_verified=uv
        )
        if shown is not None and private is not None and tokens.parse(shown).claims.holder != private.public:
            raise ToolError(f"{holder} is not the key that {token} was issued for: give the holder's private key")
        if sub is not None and shown is not None:
            raise ToolError("--sub is for a token that is made here, with --key: a token has its own")
        return authority

    def renewed(self) -> "Authority":
        """Return the same for a lock that has started again: that ends a token which was made for it."""
        if self._issuer is None:
            return self
        return Authority(issuer=self._issuer, sub=self._sub, is_user_verified=self._is_user_verified)

    async def ask(self, phone: Phone, action: Action) -> Acted:
        """Begin a session and have `action` granted; ServiceError if it is not."""
        try:
            hello = await phone.hello()
            if self._shown is None:
                self._shown = await self._mint(phone, hello.lock_id)
        except Unready as unready:
            raise ServiceError(unready.acted) from None
        await phone.present(self._shown[0])
        return await self.again(phone, action, hello.nonce)

    async def again(self, phone: Phone, action: Action, nonce: bytes | None) -> Acted:
        """Have another action granted in a session that has begun, with the nonce of the answer before."""
        if self._shown is None or nonce is None:
            raise ToolError("there is no session that can go on")
        token, holder = self._shown
        acted = await phone.act(
            action, token=token, holder=holder, nonce=nonce, is_user_verified=self._is_user_verified
        )
        if acted.status != Status.OK:
            raise ServiceError(acted)
        return acted

    async def _mint(self, phone: Phone, lock_id: str) -> tuple[bytes, keys.PrivateKey]:
        if self._issuer is None:
            raise ToolError("there is no issuer's key to make a token with")
        holder = keys.PrivateKey.generate()
        cnonce, _ = await phone.fresh()
        claims = tokens.Claims.for_seconds(
            holder.public,
            (lock_id,),
            exi_s=MINTED_S,
            cnonce=cnonce,
            now_s=int(time.time()),
            scopes=("service",),
            sub=self._sub,
        )
        return tokens.issue(claims, self._issuer), holder
