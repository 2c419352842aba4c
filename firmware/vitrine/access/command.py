"""A command, taken apart and checked for form. Source: SPEC.md section 11; RFC 9052.

Whether an issuer signed it, and may, is decided in app/commands.py.
"""

from micropython import const

from ..codec import cbor, cose
from .token import KID_SIZE, read_audiences, read_bytes, read_whole

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

MAX_SIZE = const(704)

TIME = const(1)
REVOKE = const(2)
CONFIGURE = const(3)
SCENARIO = const(4)
OPERATE = const(5)
IDENTIFY = const(6)
AUDIT = const(7)

_CONTENT_TYPE = const(3)  # RFC 9052 section 3.1; what makes no token a command, and no command a token
_COMMAND_TYPE = const("vitrine/command")
_CNONCE_SIZE = const(16)

_NUMBER = const(1)
_AUD = const(2)
_ID = const(3)
_SEQUENCE = const(4)
_EXP = const(5)
_CNONCE = const(6)
_BODY = const(7)

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
            self.kid = read_bytes(header.get(cose.KID), KID_SIZE, KID_SIZE)
            self._read(cbor.decode(self._sign1.payload or b"", MAX_SIZE))
        except ValueError:
            # CborError, CoseError, TokenError; none says more than the peer may know
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
            if type(key) is not int or not _NUMBER <= key <= _BODY:
                raise CommandError("key")
        if _BODY not in payload:
            raise CommandError("body")
        self.number = read_whole(payload.get(_NUMBER), 0, _U32)
        self.audiences = read_audiences(payload.get(_AUD))
        self.id = read_bytes(payload.get(_ID), 8, 16)
        self.sequence = read_whole(payload[_SEQUENCE], 1, _U32) if _SEQUENCE in payload else None
        self.exp = read_whole(payload[_EXP], 0, _U64) if _EXP in payload else None
        self.cnonce = read_bytes(payload[_CNONCE], _CNONCE_SIZE, _CNONCE_SIZE) if _CNONCE in payload else None
        self.body = payload[_BODY]
        is_time = self.number == TIME
        # a statement of the time is worth something over a nonce only, and has its place in no sequence
        if (self.sequence is None) is not is_time or (self.cnonce is None and (is_time or self.exp is None)):
            raise CommandError("neither fresh nor in a sequence")
