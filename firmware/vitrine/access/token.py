"""A token, taken apart and checked for form. Source: SPEC.md section 2; RFC 8392, RFC 8747, RFC 9052.

Whether it is genuine and good for anything is decided in policy.py.
"""

from hashlib import sha256

from micropython import const

from ..codec import cbor, cose
from .revocation import parse_entries
from .schedule import parse_windows
from .scopes import parse_scopes

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

MAX_SIZE = const(512)
KID_SIZE = const(8)

_ISS = const(1)
_SUB = const(2)
_AUD = const(3)
_EXP = const(4)
_NBF = const(5)
_IAT = const(6)
_CTI = const(7)
_CNF = const(8)
_SCOPE = const(9)
_CNONCE = const(39)
_EXI = const(40)
_WINDOWS = const(-70001)
_UV = const(-70002)
_USES = const(-70003)
_PERSONS = const(-70004)
_REF = const(-70005)
_REVOKE = const(-70006)
_DURESS = const(-70007)
_PLAIN = (_ISS, _SUB, _AUD, _EXP, _NBF, _IAT, _CTI, _CNF, _SCOPE, _CNONCE, _EXI)
_KNOWN = _PLAIN + (_WINDOWS, _UV, _USES, _PERSONS, _REF, _REVOKE, _DURESS)

_MAX_TEXT = const(32)
_MAX_AUDIENCES = const(8)
_MAX_WINDOWS = const(32)
_MAX_USES = const(1000)
_MAX_EXI_S = const(86400)
_MAX_SEQUENCE = const(0xFFFFFFFF)
_CNONCE_SIZE = const(16)
_SEQUENCE_SIZE = const(8)  # of the cti of a token with exi

# COSE_Key members and values, RFC 9053 section 7.2
_COSE_KEY = const(1)
_KTY = const(1)
_OKP = const(1)
_CRV = const(-1)
_ED25519 = const(6)
_X = const(-2)
_KEY_SIZE = const(32)


class TokenError(ValueError):
    """Not a token of SPEC.md section 2."""


class Token:
    """The claims of one token, as presented: well-formed, but not verified.

    kid, hash, holder_key: bytes. issuer_name: str or None. audiences: list of str. scopes: mask of scopes.py.
    cti, sub, cnonce, ref: bytes, all but the first or None. Either exp, Unix seconds, or exi, seconds, is not None.
    not_before: Unix seconds; None only with exi. issued: iat, or nbf in its place, or None.
    windows: list of [days, start, end], may be empty. needs_uv, is_duress: bool. uses: int or None. persons: 1 to 3.
    revokes: (previous, sequence, entries of revocation.py) or None. signature: 64 bytes.
    """

    def __init__(self, data: bytes) -> None:
        """Take apart `data`; raise TokenError for any other bytes."""
        try:
            self._sign1 = cose.parse_sign1(data, MAX_SIZE)
            payload = self._sign1.payload
            if payload is None:
                raise TokenError("detached")
            self._read_header(self._sign1.header)
            self._read_claims(cbor.decode(payload, MAX_SIZE))
        except ValueError:
            # CborError, CoseError, and what parse_scopes raises; none says more than the peer may know
            raise TokenError("not a token")
        self.signature = self._sign1.signature
        self.hash = sha256(data).digest()

    def message(self) -> bytes:
        """Return what the issuer signed."""
        return cose.sig_structure(self._sign1.protected, self._sign1.payload or b"")

    def _read_header(self, header: "dict[Any, Any]") -> None:
        if len(header) != 2:  # alg, which parse_sign1 wants, and kid
            raise TokenError("header")
        self.kid = read_bytes(header.get(cose.KID), KID_SIZE, KID_SIZE)

    def _read_claims(self, claims: "Any") -> None:
        if not cbor.is_map(claims):
            raise TokenError("claims")
        for key in claims:
            # an unknown claim may be a restriction that this firmware cannot keep
            if key not in _KNOWN:
                raise TokenError("claim")
        self.issuer_name = _text(claims[_ISS]) if _ISS in claims else None
        self.sub = read_bytes(claims[_SUB], 1, 16) if _SUB in claims else None
        self.audiences = read_audiences(claims.get(_AUD))
        self.exp = _unsigned(claims[_EXP]) if _EXP in claims else None
        self.exi = read_whole(claims[_EXI], 1, _MAX_EXI_S) if _EXI in claims else None
        if (self.exp is None) == (self.exi is None):
            raise TokenError("either exp or exi")
        nbf = _unsigned(claims[_NBF]) if _NBF in claims else None
        iat = _unsigned(claims[_IAT]) if _IAT in claims else None
        self.issued = nbf if iat is None else iat
        # with exi, iat only says when: the lock may not know the time
        self.not_before = nbf if nbf is not None or self.exi is not None else _unsigned(iat)
        self.cnonce = None
        if _CNONCE in claims or self.exi is not None:
            self.cnonce = read_bytes(claims.get(_CNONCE), _CNONCE_SIZE, _CNONCE_SIZE)
        self.cti = read_bytes(claims.get(_CTI), 8, 16 if self.exi is None else _SEQUENCE_SIZE)
        self.holder_key = _holder_key(claims.get(_CNF))
        self.scopes = parse_scopes(claims.get(_SCOPE))
        self.windows = parse_windows(claims[_WINDOWS], 1, _MAX_WINDOWS) if _WINDOWS in claims else []
        self.needs_uv = _flag(claims, _UV)
        self.uses = read_whole(claims[_USES], 1, _MAX_USES) if _USES in claims else None
        self.persons = read_whole(claims.get(_PERSONS, 1), 1, 3)
        self.ref = read_bytes(claims[_REF], 1, 32) if _REF in claims else None
        self.revokes = _revokes(claims[_REVOKE]) if _REVOKE in claims else None
        self.is_duress = _flag(claims, _DURESS)


def read_bytes(value: object, low: int, high: int) -> bytes:
    """Return bytes of a length in bounds; TokenError for anything else."""
    if not isinstance(value, bytes) or not low <= len(value) <= high:
        raise TokenError("bytes")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value.encode()) > _MAX_TEXT:
        raise TokenError("text")
    return value


def read_whole(value: object, low: int, high: int) -> int:
    """Return a whole number in bounds; TokenError for anything else."""
    # `type`, because True is an int in CPython
    if type(value) is not int or not low <= value <= high:
        raise TokenError("number")
    return value


def _unsigned(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TokenError("time")
    return value


def read_audiences(value: object) -> "list[str]":
    """Return the locks and groups of an aud; TokenError for anything else."""
    audiences = value if cbor.is_array(value) else [value]
    if not 0 < len(audiences) <= _MAX_AUDIENCES:
        raise TokenError("aud")
    return [_text(audience) for audience in audiences]


def _holder_key(value: object) -> bytes:
    if not cbor.is_map(value) or len(value) != 1:
        raise TokenError("cnf")
    key = value.get(_COSE_KEY)
    if not cbor.is_map(key) or len(key) != 3:
        raise TokenError("cnf")
    read_whole(key.get(_KTY), _OKP, _OKP)
    read_whole(key.get(_CRV), _ED25519, _ED25519)
    return read_bytes(key.get(_X), _KEY_SIZE, _KEY_SIZE)


def _flag(claims: "dict[Any, Any]", key: int) -> bool:
    if key not in claims:
        return False
    if claims[key] is not True:
        raise TokenError("flag")
    return True


def _revokes(value: object) -> "tuple[int, int, Any]":
    if not cbor.is_array(value) or len(value) != 3:
        raise TokenError("revoke")
    previous, sequence, entries = value
    return read_whole(previous, 0, _MAX_SEQUENCE), read_whole(sequence, 1, _MAX_SEQUENCE), parse_entries(entries)
