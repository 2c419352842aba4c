"""Who plays in the demo: the store's issuer, headquarters, two holders, a thief, and the lock with its case."""

import time
from dataclasses import dataclass, field
from typing import Any

from ..keys import PrivateKey
from ..provisioning import Issuer, Provision
from ..tokens import Claims, issue

LOCK_ID = "case-12"
GROUP = "group:jewellery"
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Cast:
    """The keys of the play; all are made anew each time and never leave memory."""

    issuer: PrivateKey = field(default_factory=PrivateKey.generate)
    holder: PrivateKey = field(default_factory=PrivateKey.generate)
    colleague: PrivateKey = field(default_factory=PrivateKey.generate)
    headquarters: PrivateKey = field(default_factory=PrivateKey.generate)
    till: PrivateKey = field(default_factory=PrivateKey.generate)
    thief: PrivateKey = field(default_factory=PrivateKey.generate)
    now_s: int = field(default_factory=lambda: int(time.time()))

    def provision(self, **settings: int) -> Provision:
        """What the lock is told about itself and about whom it trusts; `settings` are those of SPEC.md section 6."""
        issuer = Issuer(
            public_key=self.issuer.public,
            name="store-7",
            scopes=("unlock", "hold"),
            audiences=(LOCK_ID, GROUP),
            max_lifetime_s=DAY_S,
        )
        headquarters = Issuer(
            public_key=self.headquarters.public,
            name="headquarters",
            scopes=("admin",),
            audiences=(LOCK_ID, GROUP),
            max_lifetime_s=DAY_S,
        )
        till = Issuer(
            public_key=self.till.public, name="till", scopes=("unlock",), audiences=(LOCK_ID,), max_lifetime_s=DAY_S
        )
        return Provision(
            lock_id=LOCK_ID,
            groups=(GROUP,),
            issuers=(issuer, headquarters, till),
            provisioned_at_s=self.now_s,
            zone="CET-1CEST,M3.5.0,M10.5.0/3",
            door={"unlock_ms": 4000} | settings,
        )

    def token(self, *, audience: str = GROUP, age_s: int = 0, signer: PrivateKey | None = None, **others: Any) -> bytes:
        """A token for the holder: eight hours from `age_s` ago; `others` are claims."""
        holder = others.pop("holder", self.holder)
        others = {"sub": b"staff-17"} | others
        claims = Claims.for_holder(holder.public, (audience,), now_s=self.now_s - age_s, valid_s=8 * 3600, **others)
        return issue(claims, signer or self.issuer)
