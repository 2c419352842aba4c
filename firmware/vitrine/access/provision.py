"""What a lock knows about itself and whom it trusts, from its provisioning record. Source: SPEC.md sections 1 and 5."""

from hashlib import sha256

from micropython import const

from ..codec import cbor
from ..crypto.ed25519 import PublicKey
from .schedule import Zone
from .scopes import parse_scopes
from .token import KID_SIZE

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

MAX_SIZE = const(1900)
_VERSION = const(1)

_MAX_NAME = const(32)
_MAX_GROUP = const(26)
_MAX_GROUPS = const(8)
_MAX_ISSUERS = const(4)
_MAX_AUDIENCES = const(8)
_MAX_SETTINGS = const(64)
_MAX_U32 = const(0xFFFFFFFF)
_GROUP_PREFIX = const("group:")


class ProvisionError(ValueError):
    """Not a provisioning record; the lock is unprovisioned."""


class Issuer:
    """A pinned issuer and its bounds. scopes: mask of scopes.py. audiences: list of lock ids and groups."""

    def __init__(self, public_key: bytes, name: str, scopes: int, audiences: "list[str]", max_lifetime_s: int) -> None:
        self.public_key = public_key
        self.kid = sha256(public_key).digest()[:KID_SIZE]
        self.name = name
        self.scopes = scopes
        self.audiences = audiences
        self.max_lifetime_s = max_lifetime_s


class Provision:
    """A whole, checked record. door: the settings that differ from their default, checked by who uses them."""

    def __init__(
        self,
        lock_id: str,
        groups: "list[str]",
        issuers: "list[Issuer]",
        zone: Zone,
        door: "dict[int, int]",
        provisioned_at: int,
    ) -> None:
        self.lock_id = lock_id
        self.groups = groups
        self.issuers = issuers
        self.zone = zone
        self.door = door
        self.provisioned_at = provisioned_at


def parse_provision(blob: bytes) -> Provision:
    """Return the record in `blob`; raise ProvisionError if one thing in it is not as SPEC.md section 5 wants it."""
    try:
        record = cbor.decode(blob, MAX_SIZE)
        version, lock_id, groups, issuers, zone, door, provisioned_at = _fields(record, 7)
        _whole(version, _VERSION, _VERSION)
        if not is_lock_id(lock_id):
            raise ProvisionError("lock id")
        for group in _list(groups, 0, _MAX_GROUPS):
            if not is_group(group):
                raise ProvisionError("group")
        pinned = [_issuer(issuer) for issuer in _list(issuers, 1, _MAX_ISSUERS)]
        # with two under one kid, whose bounds hold would depend on their order
        if len({issuer.kid for issuer in pinned}) != len(pinned):
            raise ProvisionError("issuer twice")
        return Provision(lock_id, groups, pinned, Zone(zone), _settings(door), _whole(provisioned_at, 0, _MAX_U32))
    except ValueError as error:
        # CborError, ZoneError, and what PublicKey and parse_scopes raise
        raise ProvisionError("provisioning record: %s" % error)


def is_lock_id(value: object) -> bool:
    """Tell whether `value` is a lock id: 1 to 32 of `a-z 0-9 -`."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME and _is_plain(value)


def is_group(value: object) -> bool:
    """Tell whether `value` is a group: `group:` and 1 to 26 of `a-z 0-9 -`."""
    if not isinstance(value, str) or not value.startswith(_GROUP_PREFIX):
        return False
    name = value[len(_GROUP_PREFIX) :]
    return 0 < len(name) <= _MAX_GROUP and _is_plain(name)


def _is_plain(text: str) -> bool:
    return all("a" <= character <= "z" or "0" <= character <= "9" or character == "-" for character in text)


def _issuer(value: "Any") -> Issuer:
    public_key, name, scopes, audiences, max_lifetime_s = _fields(value, 5)
    if not isinstance(public_key, bytes):
        raise ProvisionError("public key")
    PublicKey(public_key)  # 32 bytes, a point, not of small order; raises ValueError
    if not isinstance(name, str) or not 0 < len(name.encode()) <= _MAX_NAME:
        raise ProvisionError("issuer's name")
    for audience in _list(audiences, 1, _MAX_AUDIENCES):
        if not is_lock_id(audience) and not is_group(audience):
            raise ProvisionError("issuer's audience")
    return Issuer(public_key, name, parse_scopes(scopes), audiences, _whole(max_lifetime_s, 1, _MAX_U32))


def _settings(value: "Any") -> "dict[int, int]":
    if not cbor.is_map(value) or len(value) > _MAX_SETTINGS:
        raise ProvisionError("door settings")
    for key in value:
        _whole(key, 1, _MAX_U32)
        _whole(value[key], 0, _MAX_U32)
    return value


def _fields(value: "Any", count: int) -> "list[Any]":
    """Return the values of a map whose keys are exactly 1 to `count`."""
    if not cbor.is_map(value) or len(value) != count:
        raise ProvisionError("missing or unknown field")
    fields: "list[Any]" = []
    for key in range(1, count + 1):
        if key not in value:
            raise ProvisionError("missing or unknown field")
        fields.append(value[key])
    return fields


def _list(value: "Any", low: int, high: int) -> "list[Any]":
    if not cbor.is_array(value) or not low <= len(value) <= high:
        raise ProvisionError("list")
    return value


def _whole(value: "Any", low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ProvisionError("number")
    return value
