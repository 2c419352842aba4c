"""The broker of a fleet, and who is who there: one that is started with the fleet, or one that is there already."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .. import cbor
from ..certificates import Authority, Identity
from ..collector.broker import Broker, BrokerError, parse
from ..demo.brokers import HOST, Embedded, LocalBroker, Mosquitto, local_broker

COLLECTOR = "collector"
COMMANDER = "commander"
_OWN: dict[str, Callable[[Path], LocalBroker]] = {"auto": local_broker, "mosquitto": Mosquitto, "embedded": Embedded}


class Uplink(Protocol):
    """How a fleet reaches its broker. `name`: in words; `folder`: where `client` puts NAME.crt and NAME.key."""

    name: str
    url: str
    folder: Path

    async def start(self) -> None:
        """Return when the broker takes connections."""

    async def stop(self) -> None:
        """End what was started."""

    def client(self, name: str) -> Broker:
        """Return the broker as the program `name` reaches it."""
        ...

    def settings(self, lock_id: str) -> bytes:
        """Return the blob `mqtt` of a lock (SPEC.md section 5), with a certificate of its own."""
        ...


class OwnUplink:
    """A broker of this machine only, whose authority lives as long as it: `kind` is auto, mosquitto or embedded."""

    def __init__(self, kind: str, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self._broker = _OWN[kind](folder)
        self.folder = folder
        self.name = f"{self._broker.name} at {HOST}:{self._broker.port}"
        self.url = f"mqtts://{HOST}:{self._broker.port}"

    async def start(self) -> None:
        await self._broker.start()

    async def stop(self) -> None:
        await self._broker.stop()

    def client(self, name: str) -> Broker:
        return self._broker.client(name)

    def settings(self, lock_id: str) -> bytes:
        authority = self._broker.authority
        return _settings(HOST, self._broker.port, authority.certificate_der, authority.issue(lock_id))


class GivenUplink:
    """The broker at `url`. `folder` holds ca.crt, and NAME.crt and NAME.key of each lock and of `collector` (PEM).

    With ca.key beside ca.crt, what is missing is issued and kept there. BrokerError says what cannot be used.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        ca, key = _load_certificate(folder / "ca.crt"), folder / "ca.key"
        self._ca_der = ca.public_bytes(serialization.Encoding.DER)
        self._authority = Authority(ca, _load_key(key)) if key.exists() else None
        broker = self.client(COLLECTOR)
        if broker.tls is None:
            raise BrokerError(f"locks speak TLS only: give the broker as mqtts://{broker}")
        self._host, self._port = broker.host, broker.port
        self.name = str(broker)

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def client(self, name: str) -> Broker:
        certificate, key = self._files(name)
        return parse(self.url, ca=self.folder / "ca.crt", certificate=certificate, key=key)

    def settings(self, lock_id: str) -> bytes:
        certificate, key = self._files(lock_id)
        return _settings(self._host, self._port, self._ca_der, Identity(_load_certificate(certificate), _load_key(key)))

    def _files(self, name: str) -> tuple[Path, Path]:
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if self._authority is not None and not certificate.exists():
            try:
                return self._authority.issue(name).save(self.folder, name)
            except OSError as error:
                raise BrokerError(f"cannot write {certificate}: {error.strerror}") from None
        return certificate, key


def _settings(host: str, port: int, ca_der: bytes, identity: Identity) -> bytes:
    return cbor.encode({1: 1, 2: host, 3: port, 4: ca_der, 5: identity.certificate_der, 6: identity.key_der})


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise BrokerError(f"cannot read {path}: {error.strerror}; `--certificates` is where it should be") from None
    except ValueError:
        raise BrokerError(f"{path} is not a certificate in PEM") from None


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise BrokerError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BrokerError(
            f"{path} is not an unencrypted elliptic-curve key in PEM, the only kind that a lock has room for"
        )
    return key
