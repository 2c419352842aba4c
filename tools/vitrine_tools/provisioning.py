"""The provisioning record: who a lock is, which issuers it trusts how far, and its settings (SPEC.md sections 5, 6)."""

import binascii
import struct
from dataclasses import dataclass, field
from typing import Any, Final

from . import cbor, names, tokens, when
from .configuration import INITIAL, INITIAL_SCENARIO, NAME_OF_KEY, check_settings
from .errors import ProvisionError, ToolError
from .keys import PublicKey

VERSION: Final = 1
MAX_RECORD: Final = 1900
MAX_ZONE: Final = 48
MAX_REVOCATIONS: Final = 256
MAX_LIFETIME_S: Final = 0xFFFFFFFF
NO_LOCKOUTS: Final = bytes.fromhex("010058c223be")  # SPEC.md 3.5
_MAX_ISSUERS_KEPT: Final = 12  # so many fit in 256 bytes; at most 4 are pinned
PER_ISSUER: Final = {"revocations": 2, "operations": 1}  # blobs, and how many numbers, 0 at first, come after a kid


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A key whose tokens the lock believes, within these bounds."""

    public_key: PublicKey
    name: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    max_lifetime_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """A whole record. `door` holds the settings that differ from their default, by name."""

    lock_id: str
    issuers: tuple[Issuer, ...]
    provisioned_at_s: int
    groups: tuple[str, ...] = ()
    zone: str = "UTC0"
    door: dict[str, int] = field(default_factory=dict)

    @property
    def hint(self) -> bytes:
        """The 6 bytes by which phones find this lock."""
        return names.hint(self.lock_id)

    def issuer_of(self, kid: bytes) -> Issuer | None:
        """Return the pinned issuer with this kid."""
        return next((issuer for issuer in self.issuers if issuer.public_key.kid == kid), None)

    def to_bytes(self) -> bytes:
        """Return the record as the lock stores it; ProvisionError names the value that breaks a rule."""
        _check(self)
        record = {
            1: VERSION,
            2: self.lock_id,
            3: list(self.groups),
            4: [
                {
                    1: issuer.public_key.raw,
                    2: issuer.name,
                    3: " ".join(issuer.scopes),
                    4: list(issuer.audiences),
                    5: issuer.max_lifetime_s,
                }
                for issuer in self.issuers
            ],
            5: self.zone,
            6: check_settings(self.door).by_key(),
            7: self.provisioned_at_s,
        }
        data = cbor.encode(record)
        if len(data) > MAX_RECORD:
            raise ProvisionError(f"the record would have {len(data)} bytes, at most {MAX_RECORD}: name fewer audiences")
        return data


def trusted_time_mark(unix_s: int, error_ms: int = 1000) -> bytes:
    """Return what the technician's tool leaves in the RTC's memory when it sets the clock (SPEC.md section 5.1).

    error_ms: by how much the clock may be wrong then. The computer's own error and the way to the lock: *within 1 s*.
    """
    mark = struct.pack(">4sQIi", b"VTR2", unix_s, error_ms, 0)
    return mark + struct.pack(">I", binascii.crc32(mark))


def initial_blobs(provision_blob: bytes) -> dict[str, bytes]:
    """Return the first contents, by name, of what a lock has beside its provisioning record (SPEC.md section 5).

    To be written before the record. ProvisionError if that is none.
    """
    kids = [issuer.public_key.kid for issuer in parse(provision_blob).issuers]
    contents = {
        "configuration": INITIAL,
        "scenario": INITIAL_SCENARIO,
        "receipts": [],
    } | {name: [[kid, *[0] * numbers] for kid in kids] for name, numbers in PER_ISSUER.items()}
    return {"lockout": NO_LOCKOUTS} | {name: cbor.encode(content) for name, content in contents.items()}


def renewed(name: str, present: bytes, provision_blob: bytes) -> bytes:
    """Return the blob `name`, of PER_ISSUER, for a lock that has `present` and gets another provisioning record.

    What is in it stays, also of issuers that are pinned no more, as they may come back; who is new comes in with
    nothing revoked or done. One that no lock could read stays as it is: it does not say what was.
    """
    new = [0] * PER_ISSUER[name]
    try:
        entries = cbor.decode(present, MAX_REVOCATIONS)
        known = {kid: [kid, *numbers] for kid, *numbers in entries if len(numbers) == len(new)}
        if len(known) != len(entries):
            return present
    except (TypeError, ValueError):  # CborError among them
        return present
    pinned = [issuer.public_key.kid for issuer in parse(provision_blob).issuers]
    entries = [known.pop(kid, [kid, *new]) for kid in pinned]
    return cbor.encode((entries + list(known.values()))[:_MAX_ISSUERS_KEPT])


def parse(data: bytes) -> Provision:
    """Read a record as strictly as a lock does; ProvisionError says what is wrong."""
    try:
        record = cbor.decode(data, MAX_RECORD)
    except cbor.CborError as error:
        raise ProvisionError(f"not a provisioning record: {error}") from None
    if not isinstance(record, dict) or record.keys() != set(range(1, 8)):
        raise ProvisionError("not a provisioning record: it must have the keys 1 to 7")
    version, lock_id, groups, issuers, zone, door, provisioned_at_s = (record[key] for key in range(1, 8))
    if version is not VERSION:
        raise ProvisionError(f"a provisioning record of version {version!r}; this program knows version {VERSION}")
    if not isinstance(door, dict) or not door.keys() <= NAME_OF_KEY.keys():
        raise ProvisionError("the settings are not a map of known ones")
    provision = Provision(
        lock_id=_text(lock_id, "the lock id"),
        groups=_texts(groups, "the groups"),
        issuers=tuple(_read_issuer(issuer) for issuer in _list(issuers, "the issuers")),
        zone=_text(zone, "the time zone"),
        door={NAME_OF_KEY[key]: value for key, value in door.items()},
        provisioned_at_s=provisioned_at_s,
    )
    _check(provision)
    return provision


def _read_issuer(value: Any) -> Issuer:
    if not isinstance(value, dict) or value.keys() != set(range(1, 6)):
        raise ProvisionError("an issuer must have the keys 1 to 5")
    raw, name, scopes, audiences, max_lifetime_s = (value[key] for key in range(1, 6))
    if not isinstance(raw, bytes) or len(raw) != 32:
        raise ProvisionError("an issuer's public key must be 32 bytes")
    return Issuer(
        public_key=PublicKey(raw),
        name=_text(name, "an issuer's name"),
        scopes=tuple(_text(scopes, "an issuer's scopes").split(" ")),
        audiences=_texts(audiences, "an issuer's audiences"),
        max_lifetime_s=max_lifetime_s,
    )


def _check(provision: Provision) -> None:
    """Hold every value against SPEC.md sections 1, 5 and 6."""
    try:
        names.check_lock_id(provision.lock_id)
        for group in provision.groups:
            if not group.startswith(names.GROUP_PREFIX):
                raise ProvisionError(f"the group {group!r} must begin with {names.GROUP_PREFIX!r}")
            names.check_group(group)
        when.posix_zone(provision.zone)
        for issuer in provision.issuers:
            for audience in issuer.audiences:
                names.check_audience(audience)
        check_settings(provision.door)
    except ToolError as error:
        raise ProvisionError(str(error)) from None
    if len(provision.groups) > 8:
        raise ProvisionError("a lock belongs to at most 8 groups")
    if not 1 <= len(provision.issuers) <= 4:
        raise ProvisionError("a lock trusts 1 to 4 issuers")
    if len({issuer.public_key.kid for issuer in provision.issuers}) != len(provision.issuers):
        raise ProvisionError("an issuer's key is there twice")
    if len(provision.zone.encode()) > MAX_ZONE:
        raise ProvisionError(f"the time zone is longer than {MAX_ZONE} bytes")
    for issuer in provision.issuers:
        _check_issuer(issuer)
    _number(provision.provisioned_at_s, "the time of provisioning", 0, 2**32 - 1)


def _check_issuer(issuer: Issuer) -> None:
    if not issuer.public_key.is_sound:
        raise ProvisionError("an issuer's public key is not one of Ed25519, or one under which anybody can sign")
    if not 1 <= len(issuer.name.encode()) <= 32:
        raise ProvisionError("an issuer's name must be 1 to 32 bytes")
    scopes = set(issuer.scopes)
    if not scopes or len(scopes) != len(issuer.scopes) or not scopes <= set(tokens.SCOPES):
        raise ProvisionError(f"an issuer's scopes must be words of '{' '.join(tokens.SCOPES)}', each once")
    if not 1 <= len(issuer.audiences) <= 8:
        raise ProvisionError("an issuer may address 1 to 8 locks or groups")
    _number(issuer.max_lifetime_s, "an issuer's maximum lifetime", 1, MAX_LIFETIME_S)


def _number(value: Any, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ProvisionError(f"{name} must be a whole number from {least} to {most}")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ProvisionError(f"{name} must be a text")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ProvisionError(f"{name} must be an array")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    return tuple(_text(item, name) for item in _list(value, name))
