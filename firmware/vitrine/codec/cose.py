"""COSE_Sign1 with Ed25519: taking it apart, and the bytes that are signed. Verifies nothing itself.

Source: RFC 9052 sections 4.2 and 4.4, RFC 9864 (alg), narrowed by SPEC.md sections 2 and 3.
"""

from micropython import const

from . import cbor

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

_ALG = const(1)  # header labels, RFC 9052 section 3.1
KID = const(4)

_ED25519 = const(-19)  # RFC 9864
_EDDSA = const(-8)  # RFC 9053; means Ed25519 here too, because every key is pinned or bound as one

_SIGNATURE_SIZE = const(64)


class CoseError(ValueError):
    """Not a COSE_Sign1 of this profile."""


class Sign1:
    """One COSE_Sign1, taken apart.

    protected: bytes as signed. header: what they hold, alg among it. payload: bytes, or None when detached.
    signature: 64 bytes, not verified.
    """

    def __init__(self, protected: bytes, header: "dict[Any, Any]", payload: "bytes | None", signature: bytes) -> None:
        self.protected = protected
        self.header = header
        self.payload = payload
        self.signature = signature


def parse_sign1(data: bytes, bound: int) -> Sign1:
    """Take apart `data`, tagged or not, of at most `bound` bytes with the tag. Raises CoseError for any other bytes."""
    try:
        if len(data) > bound:
            raise CoseError("too long")
        message = cbor.decode(data[1:] if data[:1] == b"\xd2" else data, bound)
        if not cbor.is_array(message) or len(message) != 4:
            raise CoseError("not an array of four")
        protected, unprotected, payload, signature = message
        if not isinstance(protected, bytes):
            raise CoseError("protected header is no byte string")
        header = cbor.decode(protected, bound)
    except cbor.CborError:
        raise CoseError("not deterministic CBOR")
    if not cbor.is_map(header):
        raise CoseError("protected header is no map")
    # nothing in it is signed, so nothing in it can be believed
    if unprotected != {}:
        raise CoseError("unprotected header is not an empty map")
    if header.get(_ALG) not in (_ED25519, _EDDSA):
        raise CoseError("alg is not Ed25519")
    if payload is not None and not isinstance(payload, bytes):
        raise CoseError("payload is no byte string")
    if not isinstance(signature, bytes) or len(signature) != _SIGNATURE_SIZE:
        raise CoseError("signature is not 64 bytes")
    return Sign1(protected, header, payload, signature)


def sig_structure(protected: bytes, payload: bytes) -> bytes:
    """Return what the signature of a COSE_Sign1 signs, without external data (RFC 9052 section 4.4)."""
    return cbor.encode(["Signature1", protected, b"", payload])
