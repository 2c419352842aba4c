"""A store for system tests: issuer, holder, a provisioned lock on the virtual radio, and phones. Virtual time."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vitrine_tools import names
from vitrine_tools.emulator import BumblePhone, EmulatedLock, VirtualRadio
from vitrine_tools.keys import PrivateKey
from vitrine_tools.phone import Outcome, Phone
from vitrine_tools.protocol import Action
from vitrine_tools.provisioning import Issuer, Provision
from vitrine_tools.tokens import Claims, issue

NOW_S = 1_800_000_000  # a Friday, 08:00 UTC
LOCK_ID = "case-12"

# SPEC.md section 7: keys and kinds
KIND, REASON, OPERATION, SOURCE, DOOR, ALARM, DETAIL, LOCK_STATE = 1, 4, 5, 6, 10, 11, 15, 17
DOOR_LOCK_ALARM, DOOR_STATE_CHANGE, LOCK_OPERATION, LOCK_OPERATION_ERROR, START, FAULT = 0, 1, 2, 3, 128, 129


@dataclass
class Store:
    """Keys, radio and one lock."""

    folder: Path
    radio: VirtualRadio = field(default_factory=VirtualRadio)
    issuer: PrivateKey = field(default_factory=lambda: PrivateKey.from_seed(b"\x01" * 32))
    holder: PrivateKey = field(default_factory=lambda: PrivateKey.from_seed(b"\x02" * 32))
    thief: PrivateKey = field(default_factory=lambda: PrivateKey.from_seed(b"\x03" * 32))
    locks: list[EmulatedLock] = field(default_factory=list)

    def provision(self, lock_id: str = LOCK_ID, **door: int) -> bytes:
        issuer = Issuer(
            public_key=self.issuer.public,
            name="store-7",
            scopes=("unlock", "hold"),
            audiences=(lock_id, "group:jewellery"),
            max_lifetime_s=86_400,
        )
        return Provision(
            lock_id=lock_id,
            groups=("group:jewellery",),
            issuers=(issuer,),
            provisioned_at_s=NOW_S,
            door=door,
        ).to_bytes()

    def lock(self, *, lock_id: str = LOCK_ID, door: dict[str, int] | None = None, **options) -> EmulatedLock:
        """A provisioned lock with trusted time, not started yet."""
        settings = {
            "flash": self.folder / f"{lock_id}.bin",
            "provision": self.provision(lock_id, **(door or {})),
            "virtual": True,
            "rtc_s": NOW_S,
            "is_time_trusted": True,
        }
        self.locks.append(EmulatedLock(self.radio, **(settings | options)))
        return self.locks[-1]

    def token(self, audience: str = LOCK_ID, *, valid_s: int = 28_800, age_s: int = 0, **claims) -> bytes:
        claims = {"scopes": ("unlock", "hold")} | claims
        wanted = Claims.for_holder(self.holder.public, (audience,), now_s=NOW_S - age_s, valid_s=valid_s, **claims)
        return issue(wanted, self.issuer)

    @asynccontextmanager
    async def phone(self, lock: EmulatedLock, *, mtu: int = 247, lock_id: str = LOCK_ID):
        """A phone that is connected to `lock`; yields (radio phone, session)."""
        async with BumblePhone(self.radio) as phone:
            address = await phone.scan(names.hint(lock_id))
            await phone.connect(address, mtu=mtu)
            yield phone, Phone(phone, lock_id)

    async def open(
        self, lock: EmulatedLock, token: bytes | None = None, *, action: Action = Action.UNLOCK, mtu: int = 247, **how
    ) -> Outcome:
        """Open `lock` once with a phone of its own."""
        holder = how.pop("holder", self.holder)
        async with self.phone(lock, mtu=mtu) as (_, session):
            return await session.open(token or self.token(), holder, action=action, **how)


def of_kind(lock: EmulatedLock, kind: int) -> list[dict]:
    """The lock's events of one kind."""
    return [event for event in lock.events if event[KIND] == kind]


def strike_changes(lock: EmulatedLock) -> list[tuple[float, int]]:
    """(ms, level) of every change of the strike's output."""
    return [(ms, level) for ms, name, level in lock.pin_trace if name == "STRIKE"]
