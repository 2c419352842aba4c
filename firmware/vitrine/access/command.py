"""A command, taken apart and checked for form. Source: SPEC.md section 11; RFC 9052.

Whether an issuer signed it, and may, is decided in app/commands.py.
"""

from micropython import const

from ..codec import cbor, cose

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

MAX_SIZE = const(704)

TIME = const(1)
REVOKE = const(2)
CONFIGURE = const(3)
SCENARIO = const(4)

_CONTENT_TYPE = const(3)  # RFC 9052 section 3.1; what makes no token a command, and no command a token
_COMMAND_TYPE = "vitrine/command"
_KID_SIZE = const(8)
_CNONCE_SIZE = const(16)

_NUMBER = const(1)
_AUD = const(2)
_ID = const(3)
_SEQUENCE = const(4)
_EXP = const(5)
_CNONCE = const(6)
_BODY = const(7)
_KEYS = (_NUMBER, _AUD, _ID, _SEQUENCE, _EXP, _CNONCE, _BODY)

_MAX_AUDIENCES = const(8)
_MAX_AUDIENCE = const(32)
_U32 = const(0xFFFFFFFF)
_U64 = const(0xFFFFFFFFFFFFFFFF)


class CommandError(ValueError):
    """Not a command of SPEC.md section 11."""


class Command:
    """One command as sent: well-formed, but not verified, and its body not looked at.

    kid, id, signature: bytes. number: int, known or not. audiences: list of str. sequence: int or None. exp: Unix
    seconds or None. cnonce: bytes or None; one of the two is there. body: any CBOR value.
    """

    def __init__(self, data: bytes) -> None:
        """Take apart `data`; raise CommandError for any other bytes."""
        try:
            self._sign1 = cose.parse_sign1(data, MAX_SIZE)
            header = self._sign1.header
            if len(header) != 3 or header.get(_CONTENT_TYPE) != _COMMAND_TYPE:  # the third is alg
                raise CommandError("header")
            self.kid = _bytes(header.get(cose.KID), _KID_SIZE, _KID_SIZE)
            self._read(cbor.decode(self._sign1.payload or b"", MAX_SIZE))
        except ValueError:
            # CborError, CoseError; none says more than the peer may know
            raise CommandError("not a command")
        self.signature = self._sign1.signature

    def message(self) -> bytes:
        """Return what the issuer signed."""
        return cose.sig_structure(self._sign1.protected, self._sign1.payload or b"")

    def _read(self, payload: "Any") -> None:
        if not cbor.is_map(payload):
            raise CommandError("payload")
        for key in payload:
            # an unknown one may be a restriction that this firmware cannot keep
            if key not in _KEYS:
                raise CommandError("key")
        if _BODY not in payload:
            raise CommandError("body")
        self.number = _whole(payload.get(_NUMBER), 0, _U32)
        self.audiences = _audiences(payload.get(_AUD))
        self.id = _bytes(payload.get(_ID), 8, 16)
        self.sequence = _whole(payload[_SEQUENCE], 1, _U32) if _SEQUENCE in payload else None
        self.exp = _whole(payload[_EXP], 0, _U64) if _EXP in payload else None
        self.cnonce = _bytes(payload[_CNONCE], _CNONCE_SIZE, _CNONCE_SIZE) if _CNONCE in payload else None
        self.body = payload[_BODY]
        is_time = self.number == TIME
        # a statement of the time is worth something over a nonce only, and has its place in no sequence
        if (self.sequence is None) is not is_time or (self.cnonce is None and (is_time or self.exp is None)):
            raise CommandError("neither fresh nor in a sequence")


def _bytes(value: object, low: int, high: int) -> bytes:
    if not isinstance(value, bytes) or not low <= len(value) <= high:
        raise CommandError("bytes")
    return value


def _whole(value: object, low: int, high: int) -> int:
    # `type`, because True is an int in CPython
    if type(value) is not int or not low <= value <= high:
        raise CommandError("number")
    return value


def _audiences(value: object) -> "list[Any]":
    audiences = value if cbor.is_array(value) else [value]
    if not 0 < len(audiences) <= _MAX_AUDIENCES:
        raise CommandError("aud")
    for audience in audiences:
        if not isinstance(audience, str) or len(audience.encode()) > _MAX_AUDIENCE:
            raise CommandError("aud")
    return audiences
