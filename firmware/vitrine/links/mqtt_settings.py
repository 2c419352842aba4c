"""Where the broker is and how it is known: the blob `mqtt` (SPEC.md section 5)."""

from micropython import const

from vitrine.codec import cbor

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from vitrine.app.event_log import EventLog

    from .mqtt import MqttLink

_MAX_BLOB = const(1984)

_VERSION = const(1)
_HOST = const(2)
_PORT = const(3)
_CA = const(4)
_CERTIFICATE = const(5)
_KEY = const(6)
_HEARTBEAT_S = const(7)
_MAX_HOST = const(64)
_MAX_CERTIFICATE = const(1024)
_MAX_KEY = const(256)
_HEARTBEAT_DEFAULT_S = const(300)


class MqttSettingsError(ValueError):
    """Not a blob of SPEC.md section 5. The text names a field, never its value: one of them is a private key."""


class MqttSettings:
    """host, port, ca, certificate and key (DER; both None without a client certificate), heartbeat_s."""

    def __init__(self, fields: "dict[int, Any]") -> None:
        _number(fields, _VERSION, 1, 1)
        if not all(_VERSION <= key <= _HEARTBEAT_S for key in fields):
            raise MqttSettingsError("keys")
        self.host = _sized(fields, _HOST, str, _MAX_HOST)
        self.port = _number(fields, _PORT, 1, 65535)
        self.ca = _sized(fields, _CA, bytes, _MAX_CERTIFICATE)
        self.certificate = self.key = None
        if _CERTIFICATE in fields or _KEY in fields:
            self.certificate = _sized(fields, _CERTIFICATE, bytes, _MAX_CERTIFICATE)
            self.key = _sized(fields, _KEY, bytes, _MAX_KEY)
        self.heartbeat_s = _HEARTBEAT_DEFAULT_S
        if _HEARTBEAT_S in fields:
            self.heartbeat_s = _number(fields, _HEARTBEAT_S, 10, 86400)


def parse(blob: bytes) -> MqttSettings:
    """Return the settings in `blob`. Raises MqttSettingsError."""
    try:
        fields = cbor.decode(blob, _MAX_BLOB)
    except cbor.CborError:
        raise MqttSettingsError("CBOR")
    if type(fields) is not dict or not all(type(key) is int for key in fields):
        raise MqttSettingsError("map")
    return MqttSettings(fields)


def open_link(blob: bytes, lock_id: str, events: "EventLog") -> "MqttLink | None":
    """Return the link that the blob `mqtt` describes; None, with a Fault, if it is malformed."""
    try:
        settings = parse(blob)
        from .mqtt import MqttLink
    except (MqttSettingsError, ImportError) as error:
        events.fault("mqtt", error)
        return None
    return MqttLink(settings, lock_id)


def _sized(fields: "dict[int, Any]", key: int, kind: type, most: int) -> "Any":
    value = fields.get(key)
    if value is None or type(value) is not kind or not 1 <= len(value) <= most:
        raise MqttSettingsError("field %d" % key)
    return value


def _number(fields: "dict[int, Any]", key: int, least: int, most: int) -> int:
    value = fields.get(key)
    if type(value) is not int or not least <= value <= most:
        raise MqttSettingsError("field %d" % key)
    return value
