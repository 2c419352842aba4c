"""Which network the lock belongs to, and what it serves there: the blob `network` (SPEC.md section 14)."""

from micropython import const

from .settings_blob import SettingsBlobError as NetworkSettingsError
from .settings_blob import number, read, sized

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

    from vitrine.app.event_log import EventLog

_SSID = const(2)
_PASSPHRASE = const(3)
_HTTP_PORT = const(4)
_CERTIFICATE = const(5)
_KEY = const(6)
_MAX_SSID = const(32)
_MIN_PASSPHRASE = const(8)  # IEEE Std 802.11-2020, annex J.4.1: 8 to 63 characters of printable ASCII
_MAX_PASSPHRASE = const(63)
_MAX_CERTIFICATE = const(1024)
_MAX_KEY = const(256)


class NetworkSettings:
    """ssid (bytes), passphrase, http_port (None: no HTTP), certificate and key (DER; both None: HTTP without TLS)."""

    def __init__(self, fields: "dict[int, Any]") -> None:
        self.ssid = sized(fields, _SSID, bytes, _MAX_SSID)
        self.passphrase = sized(fields, _PASSPHRASE, str, _MAX_PASSPHRASE, _MIN_PASSPHRASE)
        if not all(" " <= character <= "~" for character in self.passphrase):
            raise NetworkSettingsError("field %d" % _PASSPHRASE)
        self.http_port = number(fields, _HTTP_PORT, 1, 65535) if _HTTP_PORT in fields else None
        self.certificate = self.key = None
        if _CERTIFICATE in fields or _KEY in fields:
            self.certificate = sized(fields, _CERTIFICATE, bytes, _MAX_CERTIFICATE)
            self.key = sized(fields, _KEY, bytes, _MAX_KEY)


def parse(blob: bytes) -> NetworkSettings:
    """Return the settings in `blob`. Raises NetworkSettingsError."""
    return NetworkSettings(read(blob, _KEY))


def take(blob: bytes, events: "EventLog") -> "NetworkSettings | None":
    """Return the settings in `blob`; None, with a Fault, if it is malformed."""
    try:
        return parse(blob)
    except NetworkSettingsError as error:
        events.fault("network", error)
        return None
