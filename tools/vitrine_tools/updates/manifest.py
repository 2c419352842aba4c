"""The manifest of an update: what a lock may install, signed by an issuer with the scope `update` (SPEC.md 20.1).

The information model is RFC 9124's; each field names its section there.
"""

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

from .. import cbor, cose, keys, names
from ..bundle import SIZE_MAX as MAX_APPLICATION
from ..errors import ToolError
from ..field.boards import VENDOR_ID
from .component import BLOCK, DIGEST, MAX_IMAGE, Component, Kind

MAX_MANIFEST: Final = 512
CONTENT_TYPE: Final = "vitrine/manifest"
FORMAT: Final = 1
MAX_SEQUENCE: Final = 2**32 - 1
_HEADER_CONTENT_TYPE = 3
_FORMAT, _SEQUENCE, _VENDOR, _CLASS, _COMPONENT, _SIZE, _DIGEST, _TABLE, _VERSION, _PRECONDITIONS, _AUD = range(1, 12)
_REQUIRED = set(range(_FORMAT, _VERSION + 1))
_OWN_SEQUENCE, _BATTERY, _IMAGE_SEQUENCE = 1, 2, 3
_MAX_BATTERY_MV = 30_000


class ManifestError(ToolError):
    """Not a manifest of SPEC.md section 20.1, or one that no lock would take."""


def vendor_id(domain: str = "vitrine.example") -> bytes:
    """Return the 16 bytes that name a vendor (RFC 9124 section 3.3)."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, domain).bytes


def class_id(board: str, vendor: bytes = VENDOR_ID) -> bytes:
    """Return the 16 bytes that name a vendor's board, e.g. VITRINE_ESP32S3 (RFC 9124 section 3.4)."""
    return uuid.uuid5(uuid.UUID(bytes=vendor), board).bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """What has to be true of a lock before it installs (RFC 9124 section 3.13); None: nothing is asked for."""

    sequence: int | None = None  # the lowest that may be running
    battery_mv: int | None = None
    image_sequence: int | None = None  # the lowest of the image under an application

    def to_map(self) -> dict[int, int]:
        """Return those that there are."""
        values = {_OWN_SEQUENCE: self.sequence, _BATTERY: self.battery_mv, _IMAGE_SEQUENCE: self.image_sequence}
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an issuer signs."""

    sequence: int
    vendor: bytes
    class_id: bytes
    kind: Kind
    size: int
    digest: bytes
    table: bytes  # SHA-256 of the table of blocks
    version: str
    preconditions: Preconditions = field(default_factory=Preconditions)
    audiences: tuple[str, ...] = ()  # every lock of the class if empty

    @property
    def stream_size(self) -> int:
        """Bytes of the table and the component."""
        return -(-self.size // BLOCK) * DIGEST + self.size

    def to_map(self) -> dict[int, Any]:
        """Return the payload."""
        payload = {
            _FORMAT: FORMAT,
            _SEQUENCE: self.sequence,
            _VENDOR: self.vendor,
            _CLASS: self.class_id,
            _COMPONENT: int(self.kind),
            _SIZE: self.size,
            _DIGEST: self.digest,
            _TABLE: self.table,
            _VERSION: self.version,
        }
        preconditions = self.preconditions.to_map()
        if preconditions:
            payload[_PRECONDITIONS] = preconditions
        if self.audiences:
            payload[_AUD] = self.audiences[0] if len(self.audiences) == 1 else list(self.audiences)
        return payload


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed manifest as read; nothing is verified by reading it."""

    data: bytes
    manifest: Manifest
    kid: bytes
    sign1: cose.Sign1

    def is_signed_by(self, key: keys.PublicKey) -> bool:
        """Tell whether `key` signed it."""
        return self.kid == key.kid and self.sign1.is_signed_by(key)

    def check(self, component: Component) -> None:
        """ManifestError unless it is about this very component."""
        manifest = self.manifest
        if manifest.kind != component.kind:
            raise ManifestError(f"the manifest is for an {manifest.kind.name.lower()}, and the file is none")
        said = (manifest.size, manifest.digest, manifest.table)
        if said != (len(component.data), component.digest, table_digest(component)):
            raise ManifestError("the manifest is for another file: size or digest differ")


def table_digest(component: Component) -> bytes:
    """Return what the manifest says of the table of blocks."""
    return hashlib.sha256(component.table).digest()


def of_component(
    component: Component,
    board: str,
    *,
    sequence: int | None = None,
    version: str | None = None,
    preconditions: Preconditions | None = None,
    audiences: tuple[str, ...] = (),
    vendor: bytes = VENDOR_ID,
) -> Manifest:
    """Return the manifest of `component` for a board.

    A bundle says its own sequence and version, and no manifest may say others; of an image they have to be given.
    """
    for name, own, given in (("sequence", component.sequence, sequence), ("version", component.version, version)):
        if own is None and given is None:
            raise ManifestError(f"an image does not say its {name}: give --{name}")
        if own is not None and given not in (None, own):
            raise ManifestError(f"the bundle's {name} is {own}: a manifest cannot give it another one")
    manifest = Manifest(
        sequence=component.sequence if sequence is None else sequence,  # type: ignore[arg-type]
        vendor=vendor,
        class_id=class_id(board, vendor),
        kind=component.kind,
        size=len(component.data),
        digest=component.digest,
        table=table_digest(component),
        version=component.version if version is None else version,  # type: ignore[arg-type]
        preconditions=preconditions or Preconditions(),
        audiences=tuple(names.check_audience(audience) for audience in audiences),
    )
    return _read_payload(manifest.to_map())


def sign(manifest: Manifest, issuer: keys.PrivateKey) -> Signed:
    """Return the signed manifest; ManifestError if it breaks a rule or does not fit in 512 bytes."""
    header = {
        cose.HEADER_ALG: cose.ALG_ED25519,
        _HEADER_CONTENT_TYPE: CONTENT_TYPE,
        cose.HEADER_KID: issuer.public.kid,
    }
    data = cose.sign1(header, cbor.encode(manifest.to_map()), issuer)
    if len(data) > MAX_MANIFEST:
        raise ManifestError(f"the manifest would have {len(data)} bytes; locks take at most {MAX_MANIFEST}")
    return parse(data)


def parse(data: bytes) -> Signed:
    """Read a manifest as strictly as a lock does; ManifestError names the rule that it breaks."""
    try:
        sign1 = cose.parse_sign1(data, MAX_MANIFEST)
        payload = cbor.decode(sign1.payload or b"", MAX_MANIFEST)
    except (cose.CoseError, cbor.CborError) as error:
        raise ManifestError(f"not a manifest: {error}") from None
    kid = sign1.header.get(cose.HEADER_KID)
    if len(sign1.header) != 3 or sign1.header.get(_HEADER_CONTENT_TYPE) != CONTENT_TYPE:
        raise ManifestError("not a manifest: its header is another one")
    if not isinstance(kid, bytes) or len(kid) != 8:
        raise ManifestError("not a manifest: the issuer's kid must be 8 bytes")
    return Signed(data, _read_payload(payload), kid, sign1)


def _read_payload(payload: Any) -> Manifest:
    if not isinstance(payload, dict) or not _REQUIRED <= payload.keys() <= _REQUIRED | {_PRECONDITIONS, _AUD}:
        raise ManifestError("not a manifest: fields are missing, or unknown")
    if type(payload[_FORMAT]) is not int or payload[_FORMAT] != FORMAT:
        raise ManifestError("a manifest of a format that is not known here")
    kind = Kind(_whole(payload[_COMPONENT], "the component", 0, max(Kind)))
    most = MAX_APPLICATION if kind is Kind.APPLICATION else MAX_IMAGE
    version = payload[_VERSION]
    is_text = isinstance(version, str) and 1 <= len(version) <= 32
    if not is_text or not all(" " <= letter <= "~" for letter in version):
        raise ManifestError("the version must be 1 to 32 printable ASCII characters")
    return Manifest(
        sequence=_whole(payload[_SEQUENCE], "the sequence", 1, MAX_SEQUENCE),
        vendor=_blob(payload[_VENDOR], "the vendor", 16),
        class_id=_blob(payload[_CLASS], "the class", 16),
        kind=kind,
        size=_whole(payload[_SIZE], "the size", 1, most),
        digest=_blob(payload[_DIGEST], "the digest", 32),
        table=_blob(payload[_TABLE], "the digest of the table", 32),
        version=version,
        preconditions=_preconditions(payload.get(_PRECONDITIONS, {})),
        audiences=_audiences(payload[_AUD]) if _AUD in payload else (),
    )


def _preconditions(value: Any) -> Preconditions:
    if not isinstance(value, dict) or not all(type(key) is int and 1 <= key <= 3 for key in value):
        raise ManifestError("a precondition that no lock knows")
    most = {_OWN_SEQUENCE: MAX_SEQUENCE, _BATTERY: _MAX_BATTERY_MV, _IMAGE_SEQUENCE: MAX_SEQUENCE}
    read = {key: _whole(number, "a precondition", 0, most[key]) for key, number in value.items()}
    return Preconditions(
        sequence=read.get(_OWN_SEQUENCE), battery_mv=read.get(_BATTERY), image_sequence=read.get(_IMAGE_SEQUENCE)
    )


def _audiences(value: Any) -> tuple[str, ...]:
    audiences = value if isinstance(value, list) else [value]
    if not 1 <= len(audiences) <= 8 or not all(
        isinstance(each, str) and 1 <= len(each.encode()) <= 32 for each in audiences
    ):
        raise ManifestError("aud must name 1 to 8 locks or groups")
    return tuple(audiences)


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ManifestError(f"{name} must be a whole number from {least} to {most}")
    return value


def _blob(value: Any, name: str, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise ManifestError(f"{name} must be {size} bytes")
    return value
