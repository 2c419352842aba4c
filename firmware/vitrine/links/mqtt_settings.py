"""Where the broker is and how it is known: the blob `mqtt` (SPEC.md section 5)."""

from micropython import const

from .settings_blob import SettingsBlobError as MqttSettingsError
from .settings_blob import number, read, sized

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

    from vitrine.app.event_log import EventLog

    from .mqtt import MqttLink

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


class MqttSettings:
    """host, port, ca, certificate and key (DER; both None without a client certificate), heartbeat_s."""

    def __init__(self, fields: "dict[int, Any]") -> None:
        self.host = sized(fields, _HOST, str, _MAX_HOST)
        self.port = number(fields, _PORT, 1, 65535)
        self.ca = sized(fields, _CA, bytes, _MAX_CERTIFICATE)
        self.certificate = self.key = None
        if _CERTIFICATE in fields or _KEY in fields:
            self.certificate = sized(fields, _CERTIFICATE, bytes, _MAX_CERTIFICATE)
            self.key = sized(fields, _KEY, bytes, _MAX_KEY)
        self.heartbeat_s = _HEARTBEAT_DEFAULT_S
        if _HEARTBEAT_S in fields:
            self.heartbeat_s = number(fields, _HEARTBEAT_S, 10, 86400)


def parse(blob: bytes) -> MqttSettings:
    """Return the settings in `blob`. Raises MqttSettingsError."""
    return MqttSettings(read(blob, _HEARTBEAT_S))


def open_link(blob: bytes, lock_id: str, events: "EventLog", groups: "list[str] | tuple[()]" = ()) -> "MqttLink | None":
    """Return the link that the blob `mqtt` describes; None, with a Fault, if it is malformed."""
    try:
        settings = parse(blob)
        from .mqtt import MqttLink
    except (MqttSettingsError, ImportError) as error:
        events.fault("mqtt", error)
        return None
    return MqttLink(settings, lock_id, groups)
