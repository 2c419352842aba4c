"""A store for system tests: issuer, holder, a provisioned lock on the virtual radio, and phones. Virtual time."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vitrine_tools import commanding, names
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
    colleague: PrivateKey = field(default_factory=lambda: PrivateKey.from_seed(b"\x04" * 32))
    headquarters: PrivateKey = field(default_factory=lambda: PrivateKey.from_seed(b"\x05" * 32))
    locks: list[EmulatedLock] = field(default_factory=list)

    def provision(self, lock_id: str = LOCK_ID, **door: int) -> bytes:
        issuer = Issuer(
            public_key=self.issuer.public,
            name="store-7",
            scopes=("unlock", "hold", "service"),
            audiences=(lock_id, "group:jewellery"),
            max_lifetime_s=86_400,
        )
        headquarters = Issuer(
            public_key=self.headquarters.public,
            name="headquarters",
            scopes=("unlock", "admin"),
            audiences=(lock_id, "group:jewellery"),
            max_lifetime_s=86_400,
        )
        return Provision(
            lock_id=lock_id,
            groups=("group:jewellery",),
            issuers=(issuer, headquarters),
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

    def token(
        self,
        audience: str = LOCK_ID,
        *,
        valid_s: int = 28_800,
        age_s: int = 0,
        holder: PrivateKey | None = None,
        issuer: PrivateKey | None = None,
        **claims,
    ) -> bytes:
        claims = {"scopes": ("unlock", "hold")} | claims
        public = (holder or self.holder).public
        wanted = Claims.for_holder(public, (audience,), now_s=NOW_S - age_s, valid_s=valid_s, **claims)
        return issue(wanted, issuer or self.issuer)

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

    def envelope(
        self, number: int, body, *, sequence: int | None = 1, issuer: PrivateKey | None = None, **how
    ) -> bytes:
        """A command for the lock, signed at headquarters unless told otherwise; good until an hour from NOW_S."""
        how = {"audiences": (LOCK_ID,), "exp_s": None if how.get("cnonce") else NOW_S + 3600} | how
        command = commanding.Command(number=number, body=body, sequence=sequence, **how)
        return commanding.sign(command, issuer or self.headquarters).data

    async def command(self, lock: EmulatedLock, number: int, body, **how) -> commanding.Answer:
        """Have a phone of nobody in particular bring a command to `lock`."""
        async with self.phone(lock) as (_, session):
            return await session.command(self.envelope(number, body, **how))

    async def tell_time(self, lock: EmulatedLock, unix_s: int, **how) -> commanding.Answer:
        """Have a phone fetch a nonce, and bring back the time by headquarters."""
        async with self.phone(lock) as (_, session):
            cnonce, _ = await session.fresh()
            envelope = self.envelope(commanding.Number.TIME, unix_s, sequence=None, cnonce=cnonce, **how)
            return await session.command(envelope)


def of_kind(lock: EmulatedLock, kind: int) -> list[dict]:
    """The lock's events of one kind."""
    return [event for event in lock.events if event[KIND] == kind]


def strike_changes(lock: EmulatedLock) -> list[tuple[float, int]]:
    """(ms, level) of every change of the strike's output."""
    return [(ms, level) for ms, name, level in lock.pin_trace if name == "STRIKE"]
