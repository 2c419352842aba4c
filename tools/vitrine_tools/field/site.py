"""The site file: whom the locks of a store trust, how they reach network and broker, what differs from lock to lock.

    zone = "Europe/Vienna"
    groups = ["group:jewellery"]

    [door]                                  # settings of firmware/SPEC.md section 6 that differ from their default
    unlock_ms = 4000

    [[issuers]]
    name = "store-7"
    key = "store-7.pub.pem"
    scopes = ["unlock", "hold"]
    audiences = ["{lock}", "group:jewellery"]
    max_lifetime = "24h"

    [broker]
    host = "broker.example"
    ca = "ca.crt"
    certificate = "locks/{lock}.crt"
    key = "locks/{lock}.key"

    [wifi]
    ssid = "store-7"
    passphrase_env = "STORE_WIFI"           # or passphrase_file = "wifi.txt"
    http_port = 443
    certificate = "locks/{lock}.https.crt"
    key = "locks/{lock}.https.key"

    [locks.case-12]                         # if there are any, --lock must be one of them
    groups = ["group:watches"]
    door = { relock_ms = 800 }

{lock} stands for the lock's id. Files are named from the folder of this one, and lie in it. There is no secret in it.
"""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import cbor, keys, names, when
from ..errors import ToolError
from ..provisioning import Issuer, Provision

MAX_FILE: Final = 64 * 1024
MAX_BLOB: Final = 1984
_MAX_CERTIFICATE, _MAX_KEY = 1024, 256
_MAX_PASSPHRASE_FILE: Final = 256


class SiteError(ToolError):
    """The site file, or one that it names, is not what a lock can be provisioned with."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class IssuerTable(_Table):
    """One key whose tokens the locks believe."""

    name: str
    key: str
    scopes: list[str]
    audiences: list[str]
    max_lifetime: str


class BrokerTable(_Table):
    """Where the locks bring their records."""

    host: str = Field(min_length=1, max_length=64)
    port: int = Field(default=8883, ge=1, le=65535)
    ca: str
    certificate: str | None = None
    key: str | None = None
    heartbeat_s: int | None = Field(default=None, ge=10, le=86400)


class WifiTable(_Table):
    """The store's network."""

    ssid: str
    passphrase_env: str | None = None
    passphrase_file: str | None = None
    http_port: int | None = Field(default=None, ge=1, le=65535)
    certificate: str | None = None
    key: str | None = None


class LockTable(_Table):
    """What one lock has otherwise than the others."""

    groups: list[str] | None = None
    door: dict[str, int] = {}


class SiteTable(_Table):
    """The whole file."""

    zone: str = "UTC0"
    groups: list[str] = []
    door: dict[str, int] = {}
    issuers: list[IssuerTable] = Field(min_length=1, max_length=4)
    broker: BrokerTable | None = None
    wifi: WifiTable | None = None
    locks: dict[str, LockTable] = {}


@dataclass(frozen=True, slots=True)
class Plan:
    """What one lock is to have. mqtt and network: the blobs of that name, or None; both are secret."""

    lock_id: str
    provision: Provision
    mqtt: bytes | None
    network: bytes | None

    def record(self, provisioned_at_s: int) -> bytes:
        """Return the provisioning record of that time."""
        fields = {name: getattr(self.provision, name) for name in ("lock_id", "issuers", "groups", "zone", "door")}
        return Provision(**fields, provisioned_at_s=provisioned_at_s).to_bytes()

    def __repr__(self) -> str:
        return f"Plan({self.lock_id})"


class Site:
    """A site file and its folder. Raises SiteError, or a ToolError of what it names."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._folder = path.resolve().parent
            self._table = SiteTable.model_validate(tomllib.loads(keys.read_file(path, "site file", MAX_FILE).decode()))
        except ValidationError as error:
            raise SiteError(f"{path}: {_first(error)}") from None
        except (ValueError, RecursionError) as error:
            raise SiteError(f"{path} is no site file: {' '.join(str(error).split())}") from None

    def plan(self, lock_id: str) -> Plan:
        """Return what the lock `lock_id` is to have, checked as strictly as a lock does it."""
        names.check_lock_id(lock_id)
        table = self._table
        if table.locks and lock_id not in table.locks:
            raise SiteError(f"{self._path} has no [locks.{lock_id}]: is that the lock's name?")
        own = table.locks.get(lock_id) or LockTable()
        provision = Provision(
            lock_id=lock_id,
            issuers=tuple(self._issuer(issuer, lock_id) for issuer in table.issuers),
            provisioned_at_s=0,
            groups=tuple(table.groups if own.groups is None else own.groups),
            zone=when.posix_zone_text(table.zone),
            door=table.door | own.door,
        )
        provision.to_bytes()  # ProvisionError if a lock would not take it
        return Plan(lock_id, provision, self._mqtt(lock_id), self._network(lock_id))

    def _issuer(self, issuer: IssuerTable, lock_id: str) -> Issuer:
        return Issuer(
            public_key=keys.load_public(self._file(issuer.key, lock_id)),
            name=issuer.name,
            scopes=tuple(issuer.scopes),
            audiences=tuple(audience.replace("{lock}", lock_id) for audience in issuer.audiences),
            max_lifetime_s=when.parse_duration(issuer.max_lifetime),
        )

    def _mqtt(self, lock_id: str) -> bytes | None:
        broker = self._table.broker
        if broker is None:
            return None
        fields: dict[int, Any] = {1: 1, 2: broker.host, 3: broker.port, 4: self._certificate(broker.ca, lock_id)}
        pair = self._pair("broker", broker.certificate, broker.key, lock_id)
        if pair is not None:
            fields |= {5: pair[0], 6: pair[1]}
        if broker.heartbeat_s is not None:
            fields[7] = broker.heartbeat_s
        return self._blob("broker", fields)

    def _network(self, lock_id: str) -> bytes | None:
        wifi = self._table.wifi
        if wifi is None:
            return None
        if not 1 <= len(wifi.ssid.encode()) <= 32:
            raise SiteError(f"{self._path}: wifi.ssid has 1 to 32 bytes")
        fields: dict[int, Any] = {1: 1, 2: wifi.ssid.encode(), 3: self._passphrase(wifi, lock_id)}
        if wifi.http_port is not None:
            fields[4] = wifi.http_port
        pair = self._pair("wifi", wifi.certificate, wifi.key, lock_id)
        if pair is not None:
            fields |= {5: pair[0], 6: pair[1]}
        return self._blob("wifi", fields)

    def _passphrase(self, wifi: WifiTable, lock_id: str) -> str:
        if (wifi.passphrase_env is None) == (wifi.passphrase_file is None):
            raise SiteError(f"{self._path}: wifi needs passphrase_env or passphrase_file, and not both")
        if wifi.passphrase_file is not None:
            path = self._file(wifi.passphrase_file, lock_id)
            data = keys.read_file(path, "Wi-Fi passphrase", _MAX_PASSPHRASE_FILE)
            text, place = data.decode("latin-1").rstrip("\r\n"), str(path)
        else:
            place = f"the environment's {wifi.passphrase_env}"
            text = os.environ.get(wifi.passphrase_env or "", "")
        if not 8 <= len(text) <= 63 or not text.isascii() or not text.isprintable():
            raise SiteError(f"{place} is no Wi-Fi passphrase: 8 to 63 printable ASCII characters")
        return text

    def _pair(self, what: str, certificate: str | None, key: str | None, lock_id: str) -> tuple[bytes, bytes] | None:
        if (certificate is None) != (key is None):
            raise SiteError(f"{self._path}: {what}.certificate and {what}.key come together")
        if certificate is None or key is None:
            return None
        place = self._file(key, lock_id)
        data = keys.read_file(place, "private key")
        try:
            load = serialization.load_pem_private_key if b"-----" in data else serialization.load_der_private_key
            private = load(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SiteError(f"{place} is no private key without a passphrase") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise SiteError(f"{place} must be a key of EC P-256: a lock has no room for others")
        public = self._read_certificate(self._file(certificate, lock_id))
        if public.public_key() != private.public_key():
            raise SiteError(f"{place} is not the key of {self._file(certificate, lock_id)}")
        form, cipher = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        der = private.private_bytes(serialization.Encoding.DER, form, cipher)
        if len(der) > _MAX_KEY:
            raise SiteError(f"{place} has more than {_MAX_KEY} bytes as DER")
        return self._certificate(certificate, lock_id), der

    def _certificate(self, name: str, lock_id: str) -> bytes:
        path = self._file(name, lock_id)
        der = self._read_certificate(path).public_bytes(serialization.Encoding.DER)
        if len(der) > _MAX_CERTIFICATE:
            raise SiteError(f"{path} has {len(der)} bytes as DER: a lock takes {_MAX_CERTIFICATE}")
        return der

    @staticmethod
    def _read_certificate(path: Path) -> x509.Certificate:
        data = keys.read_file(path, "certificate")
        try:
            return x509.load_pem_x509_certificate(data) if b"-----" in data else x509.load_der_x509_certificate(data)
        except ValueError:
            raise SiteError(f"{path} is no certificate in PEM or DER") from None

    def _blob(self, what: str, fields: dict[int, Any]) -> bytes:
        data = cbor.encode(fields)
        if len(data) > MAX_BLOB:
            raise SiteError(f"{self._path}: what a lock needs for {what} has {len(data)} bytes, at most {MAX_BLOB}")
        return data

    def _file(self, name: str, lock_id: str) -> Path:
        """Return the path of a file of this site: whoever wrote the site file does not get at others."""
        path = self._folder / name.replace("{lock}", lock_id)
        try:
            is_within = "\0" not in name and path.resolve().is_relative_to(self._folder)
        except (OSError, RuntimeError):
            is_within = False
        if not is_within:
            raise SiteError(f"{self._path}: {name!r} is not in the site file's folder")
        return path


def _first(error: ValidationError) -> str:
    """Return the first mistake in one line that names its field, and shows no value."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{field} is nothing that a site file has"
    return f"{field}: {first['msg'][:1].lower()}{first['msg'][1:]}"
