"""Where the broker is and how to trust it: mqtts://host:port with a CA, and a certificate of our own."""

import ssl
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from ..errors import ToolError

_PORTS = {"mqtts": 8883, "mqtt": 1883}


class BrokerError(ToolError):
    """The URL or the certificates cannot be used."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker's address; `tls` is None for mqtt://, which only a broker on this machine should be asked over."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    user: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse(url: str, *, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> Broker:
    """Return the broker of `url`; BrokerError says what is wrong with it or with a file."""
    try:
        parts = urllib.parse.urlsplit(url if "://" in url else f"mqtts://{url}")
        port = parts.port
    except ValueError as error:
        raise BrokerError(f"{url!r} is not a broker's address: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/"):
        raise BrokerError(f"{url!r} is not a broker's address: write it like mqtts://broker.example:8883")
    if (certificate is None) != (key is None):
        raise BrokerError("give the certificate and its key together: --cert and --key")
    context = None
    if parts.scheme == "mqtts":
        try:
            context = ssl.create_default_context(cafile=ca)
        except OSError as error:
            raise BrokerError(f"cannot use the CA certificate {ca}: {_text(error)}") from None
        if certificate is not None:
            try:
                context.load_cert_chain(certificate, key)
            except OSError as error:
                raise BrokerError(
                    f"cannot use the certificate {certificate} with the key {key}: {_text(error)}"
                ) from None
    return Broker(parts.hostname, port or _PORTS[parts.scheme], context, parts.username, parts.password)


def _text(error: OSError) -> str:
    return error.strerror or str(error)
