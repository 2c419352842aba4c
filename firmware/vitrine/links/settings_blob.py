"""Settings of a link as they lie in NVS: a CBOR map of numbered fields, taken whole or refused (SPEC.md 5, 14)."""

from micropython import const

from vitrine.codec import cbor

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

_MAX_BLOB = const(1984)
_VERSION = const(1)


class SettingsBlobError(ValueError):
    """Not such a blob. The text names a field, never its value: some are secret."""


def read(blob: bytes, last: int) -> "dict[int, Any]":
    """Return the fields, whose keys are among 1 (the version, which is 1) to `last`. Raises SettingsBlobError."""
    try:
        fields = cbor.decode(blob, _MAX_BLOB)
    except cbor.CborError:
        raise SettingsBlobError("CBOR")
    if type(fields) is not dict or not all(type(key) is int and _VERSION <= key <= last for key in fields):
        raise SettingsBlobError("map")
    number(fields, _VERSION, 1, 1)
    return fields


def sized(fields: "dict[int, Any]", key: int, kind: type, most: int, least: int = 1) -> "Any":
    """Return field `key`: bytes or text (`kind`) of `least` to `most`. Raises SettingsBlobError."""
    value = fields.get(key)
    if value is None or type(value) is not kind or not least <= len(value) <= most:
        raise SettingsBlobError("field %d" % key)
    return value


def number(fields: "dict[int, Any]", key: int, least: int, most: int) -> int:
    """Return field `key`, a whole number. Raises SettingsBlobError."""
    value = fields.get(key)
    if type(value) is not int or not least <= value <= most:
        raise SettingsBlobError("field %d" % key)
    return value
