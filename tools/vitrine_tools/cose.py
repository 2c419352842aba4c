"""COSE_Sign1 under Ed25519, as tokens and proofs use it (RFC 9052 section 4.2; SPEC.md sections 2 and 3)."""

from dataclasses import dataclass
from typing import Any

from . import cbor
from .keys import PrivateKey, PublicKey

ALG_ED25519 = -19  # RFC 9864, fully specified
ALG_EDDSA = -8  # RFC 9053; means Ed25519 here because the key says so
ALGORITHMS = {ALG_ED25519: "Ed25519", ALG_EDDSA: "EdDSA"}
HEADER_ALG = 1
HEADER_KID = 4
_TAG_18 = b"\xd2"


class CoseError(ValueError):
    """Not a COSE_Sign1 of the form that Vitrine uses."""


@dataclass(frozen=True, slots=True)
class Sign1:
    """One COSE_Sign1 as read: `payload` is None when it is detached, `header` is the protected map."""

    protected: bytes
    payload: bytes | None
    signature: bytes
    header: dict[Any, Any]
    is_tagged: bool

    def is_signed_by(self, key: PublicKey, detached_payload: bytes | None = None) -> bool:
        """Tell whether `key` made the signature over the payload, or over `detached_payload` if that is given."""
        payload = self.payload if detached_payload is None else detached_payload
        return payload is not None and key.verify(signature_input(self.protected, payload), self.signature)


def signature_input(protected: bytes, payload: bytes) -> bytes:
    """Return the Sig_structure of RFC 9052 section 4.4, without external data."""
    return cbor.encode(["Signature1", protected, b"", payload])


def sign1(
    header: dict[Any, Any], payload: bytes, key: PrivateKey, *, is_detached: bool = False, is_tagged: bool = False
) -> bytes:
    """Return a COSE_Sign1 over `payload` with the protected `header` and an empty unprotected one."""
    protected = cbor.encode(header)
    signature = key.sign(signature_input(protected, payload))
    body = cbor.encode([protected, {}, None if is_detached else payload, signature])
    return _TAG_18 + body if is_tagged else body


def parse_sign1(data: bytes, bound: int) -> Sign1:
    """Read a COSE_Sign1 of at most `bound` bytes, tag 18 or none; CoseError says what is wrong with it."""
    if len(data) > bound:
        raise CoseError(f"{len(data)} bytes, at most {bound} are allowed")
    is_tagged = data[:1] == _TAG_18
    try:
        body = cbor.decode(data[1:] if is_tagged else data, bound)
        if not (isinstance(body, list) and len(body) == 4):
            raise CoseError("not a COSE_Sign1")
        protected, unprotected, payload, signature = body
        if not (isinstance(protected, bytes) and isinstance(signature, bytes) and isinstance(payload, bytes | None)):
            raise CoseError("not a COSE_Sign1")
        if unprotected != {}:
            raise CoseError("the unprotected header is not empty")
        if len(signature) != 64:
            raise CoseError("the signature is not 64 bytes")
        header = cbor.decode(protected, bound)
    except cbor.CborError as error:
        raise CoseError(str(error)) from error
    if not (isinstance(header, dict) and header.get(HEADER_ALG) in tuple(ALGORITHMS)):  # it may be a list
        raise CoseError("the algorithm is neither Ed25519 (-19) nor EdDSA (-8)")
    return Sign1(protected, payload, signature, header, is_tagged)
