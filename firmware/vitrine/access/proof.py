"""The proof of possession of an act: taking it apart, and what it signs. Verifies nothing itself.

Deterministic CBOR leaves one encoding of a proof for each alg, and one of what it signs. So both are handled as bytes:
somebody stands at the door while this runs. Source: SPEC.md section 3 (act), RFC 9052 sections 2 and 4.4.
"""

from micropython import const

from ..codec import cbor

# an array of four; protected header {1: alg}; an empty map; no payload; 64 bytes
_HEAD = const(b"\x84\x43\xa1\x01")
_TAIL = const(b"\xa0\xf6\x58\x40")
_ALGS = const(b"\x32\x27")  # Ed25519 (RFC 9864) and EdDSA (RFC 9053), as CBOR
_TAG = const(b"\xd2")  # COSE_Sign1, optional
_SIZE = const(73)

_SIG_HEAD = const(b"\x84\x6aSignature1\x43\xa1\x01")  # the context, and the protected header but for alg
_CONTEXT = const(b"\x86\x69vitrine/1")
_BYTES_16 = const(b"\x50")
_BYTES_32 = const(b"\x58\x20")
_ONE_BYTE_INT = const(24)


class ProofError(ValueError):
    """Not a proof."""


def split(proof: bytes) -> "tuple[bytes, bytes]":
    """Return (alg as CBOR, signature) of a proof, tagged or not; ProofError for any other bytes."""
    if proof[:1] == _TAG:
        proof = proof[1:]
    if len(proof) != _SIZE or proof[:4] != _HEAD or proof[4] not in _ALGS or proof[5:9] != _TAIL:
        raise ProofError("not a proof")
    return proof[4:5], proof[9:]


def place(lock_id: str) -> bytes:
    """Return what `message` begins with at this lock: it is the same for every act."""
    return _CONTEXT + cbor.encode(lock_id) + _BYTES_16


def message(alg: bytes, place: bytes, nonce: bytes, action: int, uv: bool, token_hash: bytes) -> bytes:
    """Return the Sig_structure that the proof of this act signs. nonce: 16 bytes; token_hash: 32."""
    # true is no 1: a caller that lets it through must not make another act of it
    is_small = type(action) is int and 0 <= action < _ONE_BYTE_INT
    act = bytes((action,)) if is_small else cbor.encode(action)
    signed = place + nonce + act + (b"\xf5" if uv else b"\xf4") + _BYTES_32 + token_hash
    # of 65 to 104 bytes: its length has one byte of its own
    return _SIG_HEAD + alg + b"\x40\x58" + bytes((len(signed),)) + signed
