"""The lock file: what a lock holds when it decides, as JSON that a person can write and `vitrine policy snapshot` does.

Only the identity is required; whatever else is left out is as a lock has it that was provisioned just now, knows the
time and has refused nobody. A provisioning record (SPEC.md section 5) is a lock file too: that of such a lock.

| field | what | if left out |
|---|---|---|
| lock, groups | lock id, groups | required; none |
| issuers | key, name, scopes, audiences, max_lifetime_s | required, 1 to 4 |
| zone, settings, holidays, hours | as in a configuration file | UTC0, defaults, none, none |
| scenario | lockdown, shadow, weekly (windows), passage (from and until, Unix seconds) | nothing special |
| time | state (untrusted, trusted, coasting), error_s | trusted, 0 |
| revoked | kid and one of cti, sub, key or before (Unix seconds) | none |
| lists | by kid, the sequence of the last revocation list | 0 |
| spent | kid, cti, uses: how often a token was used here | none |
| receipts | by kid, the highest sequence number of a token with exi | none |
| locked_out | key (of the holder, or the 8 bytes that SPEC.md 3.5 keeps of it), until (Unix seconds) | nobody |
| alarms | names of those that are active (SPEC.md 7.2) | none |
| risk | score, rule: what the lock would find | 0 |
| noted | who has asked before: token or sub (and key), action, seconds_ago | nobody |
| ledger | revoked, spent: what a snapshot finds there (SPEC.md 13), 39 bits each | none |
| broken | names of stores that are missing or damaged: everything is refused | none |

Bytes (keys, kid, cti, sub, token) are hexadecimal.
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from .. import names, provisioning, tokens
from ..configuration import Configuration, Hours, Zone, check_settings
from ..errors import ProvisionError, ToolError
from ..keys import PublicKey, read_file
from ..protocol import Action
from .local_time import LocalTime

MAX_FILE: Final = 4 << 20
ALARMS: Final = {  # name: bit in alarm_blocks, or None (SPEC.md 7.2)
    "LockJammed": 1,
    "WrongCodeEntryLimit": None,
    "FrontEsceutcheonRemoved": 0,
    "DoorForcedOpen": 2,
    "DoorAjar": None,
    "ForcedUser": None,
    "DoorUnattended": None,
    "SwitchCut": 3,
    "SwitchShorted": 4,
    "StrikeStuck": 5,
    "ExitHeld": None,
    "BatteryLow": 6,
    "BrownoutLoop": 7,
}


class LockFileError(ToolError):
    """Not a lock file."""


def _from_hex(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return bytes.fromhex(value)
    except (TypeError, ValueError):
        raise ValueError("not hexadecimal") from None


def _to_alarm(value: str) -> str:
    if value not in ALARMS:
        raise ValueError(f"no such alarm; there are {', '.join(ALARMS)}")
    return value


Bytes = Annotated[bytes, BeforeValidator(_from_hex), PlainSerializer(bytes.hex, return_type=str)]
Kid = Annotated[Bytes, Field(min_length=8, max_length=8)]
Key = Annotated[Bytes, Field(min_length=32, max_length=32)]
LockedKey = Annotated[Bytes, Field(min_length=8, max_length=32)]
Cti = Annotated[Bytes, Field(min_length=8, max_length=16)]
Sub = Annotated[Bytes, Field(min_length=1, max_length=16)]
Digest = Annotated[Bytes, Field(min_length=5, max_length=5)]
U32 = Annotated[int, Field(ge=0, le=2**32 - 1)]
U64 = Annotated[int, Field(ge=0, le=2**64 - 1)]
Percent = Annotated[int, Field(ge=0, le=100)]
Alarm = Annotated[str, AfterValidator(_to_alarm)]
Scope = Literal["unlock", "hold", "courier", "service", "admin", "update"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Issuer(_Model):
    """A pinned issuer and its bounds."""

    key: Key
    name: Annotated[str, Field(min_length=1, max_length=32)]
    scopes: list[Scope] = ["unlock"]
    audiences: Annotated[list[str], Field(min_length=1, max_length=8)]
    max_lifetime_s: Annotated[U32, Field(ge=1)]

    @cached_property
    def kid(self) -> bytes:
        """The name of its key in tokens."""
        return names.kid(self.key)


class Scenario(_Model):
    """What the door is set to (SPEC.md 6.2)."""

    lockdown: bool = False
    shadow: bool = False
    weekly: Annotated[list[Hours], Field(max_length=16)] = []
    passage: Annotated[list[tuple[U64, U64]], Field(max_length=8)] = []


class Time(_Model):
    """What the lock thinks of its clock."""

    state: Literal["untrusted", "trusted", "coasting"] = "trusted"
    error_s: U32 = 0


class Revocation(_Model):
    """One entry of a revocation list."""

    kid: Kid
    cti: Cti | None = None
    sub: Sub | None = None
    key: Key | None = None
    before: U64 | None = None

    @model_validator(mode="after")
    def _is_one_of_four(self) -> Self:
        if sum(value is not None for value in (self.cti, self.sub, self.key, self.before)) != 1:
            raise ValueError("give exactly one of cti, sub, key and before")
        return self


class Spent(_Model):
    """How often a token was used here."""

    kid: Kid
    cti: Cti
    uses: Annotated[U32, Field(le=1000)]


class LockedOut(_Model):
    """A holder's key that is locked out."""

    key: LockedKey
    until: U64


class Risk(_Model):
    """What the lock would find."""

    score: Percent = 0
    rule: str = ""


class Noted(_Model):
    """Somebody who has asked before: with a token, or just by sub and, if it matters, holder's key."""

    token: Bytes | None = None
    sub: Sub | None = None
    key: Key | None = None
    action: Literal["lock", "unlock", "hold", "courier", "service", "test"] = "unlock"
    seconds_ago: Annotated[float, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _is_somebody(self) -> Self:
        if (self.token is None) == (self.sub is None):
            raise ValueError("give either token or sub")
        if self.token is not None:
            tokens.parse(self.token)
        return self

    @property
    def action_number(self) -> int:
        """The action as requests have it."""
        return Action[self.action.upper()]


class Ledger(_Model):
    """The first 39 bits of each digest that the ledger holds, with a zero bit in front."""

    revoked: frozenset[Digest] = frozenset()
    spent: frozenset[Digest] = frozenset()


class Lock(Configuration):
    """A whole lock file."""

    lock: str
    groups: Annotated[list[str], Field(max_length=8)] = []
    issuers: Annotated[list[Issuer], Field(min_length=1, max_length=4)]
    zone: Zone | None = "UTC0"
    scenario: Scenario = Scenario()
    time: Time = Time()
    revoked: list[Revocation] = []
    lists: dict[Kid, U32] = {}
    spent: list[Spent] = []
    receipts: dict[Kid, U64] = {}
    locked_out: list[LockedOut] = []
    alarms: list[Alarm] = []
    risk: Risk = Risk()
    noted: Annotated[list[Noted], Field(max_length=8)] = []
    ledger: Ledger = Ledger()
    broken: list[str] = []

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        names.check_lock_id(self.lock)
        for group in self.groups:
            names.check_audience(group)
        for issuer in self.issuers:
            if not PublicKey(issuer.key).is_sound:
                raise ValueError("an issuer's key is not one of Ed25519, or one under which anybody can sign")
        if len({issuer.kid for issuer in self.issuers}) != len(self.issuers):
            raise ValueError("an issuer's key is there twice")
        self.local_time  # noqa: B018 - refuses a zone that locks do not know
        return self

    @cached_property
    def local_time(self) -> LocalTime:
        """The clock on the wall beside the lock."""
        return LocalTime(self.zone or "UTC0", self.holidays)

    def issuer_of(self, kid: bytes) -> Issuer | None:
        """Return the pinned issuer with this kid."""
        return next((issuer for issuer in self.issuers if issuer.kid == kid), None)


def load(path: Path) -> Lock:
    """Read a lock file, or a provisioning record; a ToolError says in one line what is wrong with it."""
    data = read_file(path, "lock file", MAX_FILE)
    try:
        if not data.lstrip().startswith(b"{"):
            return of_provision(provisioning.parse(data))
        return Lock.model_validate_json(data)
    except ProvisionError as error:
        raise LockFileError(f"{path} is neither a lock file nor a provisioning record: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ")
        raise LockFileError(f"{path} is not a lock file: {place}{': ' if place else ''}{text}") from None


def of_provision(record: provisioning.Provision) -> Lock:
    """Return the lock of a provisioning record, as it is before anything happened to it."""
    return Lock.model_validate({**identity(record), "settings": check_settings(record.door)})


def identity(record: provisioning.Provision) -> dict[str, Any]:
    """Return the fields of a lock file that come from a provisioning record alone."""
    issuers = [
        {
            "key": issuer.public_key.raw,
            "name": issuer.name,
            "scopes": list(issuer.scopes),
            "audiences": list(issuer.audiences),
            "max_lifetime_s": issuer.max_lifetime_s,
        }
        for issuer in record.issuers
    ]
    return {"lock": record.lock_id, "groups": list(record.groups), "issuers": issuers, "zone": record.zone}
