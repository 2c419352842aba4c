"""The manifest of an update, taken apart and checked for form. Source: SPEC.md section 20.1; RFC 9124, RFC 9052.

Whether an issuer signed it, and whether this lock takes it, is decided in app/update.py.
"""

from micropython import const

from ..codec import cbor, cose
from .token import KID_SIZE, read_audiences, read_bytes, read_whole

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

MAX_SIZE = const(512)
APPLICATION = const(0)
IMAGE = const(1)
RUNNING = const(1)  # preconditions
BATTERY = const(2)
IMAGE_SEQUENCE = const(3)

_CONTENT_TYPE = const(3)  # RFC 9052 section 3.1; what makes nothing else a manifest
_MANIFEST_TYPE = const("vitrine/manifest")
_FORMAT = const(1)
_KEYS = const(9)  # 1 to 9 are in every manifest
_PRECONDITIONS = const(10)
_AUD = const(11)
_BLOCK = const(4096)
_DIGEST = const(16)  # of each block in the table
_APPLICATION_MAX = const(196_608)
_IMAGE_MAX = const(0x800000)
_VERSION_MAX = const(32)
_U32 = const(0xFFFFFFFF)


class ManifestError(ValueError):
    """Not a manifest of SPEC.md section 20.1."""


class Manifest:
    """One manifest as sent: well-formed, but not verified.

    data: its bytes. kid, vendor, of_class, digest, table: bytes. sequence, component, size: int. audiences: list of
    str, empty for every lock of the class. preconditions: {number: int}.
    """

    def __init__(self, data: bytes) -> None:
        """Take apart `data`; raise ManifestError for any other bytes."""
        try:
            self._sign1 = sign1 = cose.parse_sign1(data, MAX_SIZE)
            if len(sign1.header) != 3 or sign1.header.get(_CONTENT_TYPE) != _MANIFEST_TYPE:  # the third is alg
                raise ManifestError("header")
            self.kid = read_bytes(sign1.header.get(cose.KID), KID_SIZE, KID_SIZE)
            self._read(cbor.decode(sign1.payload or b"", MAX_SIZE))
        except ValueError:
            # CborError, CoseError, TokenError; none says more than the peer may know
            raise ManifestError("not a manifest")
        self.data = data
        self.signature = sign1.signature

    @property
    def blocks(self) -> int:
        """How many blocks the component has."""
        return -(-self.size // _BLOCK)

    @property
    def table_size(self) -> int:
        """How many bytes of the stream come before the component."""
        return self.blocks * _DIGEST

    def block_size(self, number: int) -> int:
        """Return how many bytes a block has: all have 4096, but for the last."""
        return min(_BLOCK, self.size - number * _BLOCK)

    def message(self) -> bytes:
        """Return what the issuer signed."""
        return cose.sig_structure(self._sign1.protected, self._sign1.payload or b"")

    def _read(self, fields: "Any") -> None:
        if not cbor.is_map(fields):
            raise ManifestError("payload")
        for key in fields:
            # an unknown field may be a condition that this firmware cannot keep
            if type(key) is not int or not 1 <= key <= _AUD:
                raise ManifestError("field")
        read_whole(fields.get(1), _FORMAT, _FORMAT)
        self.sequence = read_whole(fields.get(2), 1, _U32)
        self.vendor = read_bytes(fields.get(3), 16, 16)
        self.of_class = read_bytes(fields.get(4), 16, 16)
        self.component = read_whole(fields.get(5), APPLICATION, IMAGE)
        self.size = read_whole(fields.get(6), 1, _IMAGE_MAX if self.component else _APPLICATION_MAX)
        self.digest = read_bytes(fields.get(7), 32, 32)
        self.table = read_bytes(fields.get(8), 32, 32)
        version = fields.get(_KEYS)
        if not isinstance(version, str) or not 0 < len(version) <= _VERSION_MAX:
            raise ManifestError("version")
        for character in version:
            if not " " <= character <= "~":
                raise ManifestError("version")
        self.preconditions: "dict[int, int]" = fields.get(_PRECONDITIONS, {})
        if not cbor.is_map(self.preconditions):
            raise ManifestError("preconditions")
        for key in self.preconditions:
            if type(key) is not int:
                raise ManifestError("preconditions")
            read_whole(self.preconditions[key], 0, _U32)
        self.audiences: "list[str]" = read_audiences(fields[_AUD]) if _AUD in fields else []
