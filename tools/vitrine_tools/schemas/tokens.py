"""Schemas of tokens and proofs (SPEC.md sections 2 and 3)."""

from typing import Final

from .. import protocol, tokens
from ..protocol import Action
from .commands import AUDIENCES, SIGNATURE, revocation, window
from .forms import NULL, U32, U64, Schema, array, blob, content, many, numbered, record, text, whole

_SCOPE: Final = "|".join(tokens.SCOPES)
_TRUE: Final[Schema] = {"const": True}


def token() -> Schema:
    """Return the schema of a token, without the tag 18 that may be in front of it."""
    return array(
        content(1, 64, "token-header", "protected header"),
        record({}, title="unprotected header: empty"),
        content(1, tokens.MAX_TOKEN, "token-claims", "payload"),
        SIGNATURE,
        title="Token: COSE_Sign1 over a CWT",
    )


def claims() -> Schema:
    """Return the schema of a token's claims."""
    key = record({1: {"title": "kty: OKP", "const": 1}, -1: {"title": "crv: Ed25519", "const": 6}, -2: blob(32)})
    values: dict[int, Schema] = {
        tokens.ISS: text(0, 32, title="iss"),
        tokens.SUB: blob(1, 16, "sub: a pseudonym"),
        tokens.AUD: AUDIENCES,
        tokens.EXP: whole(0, U64, "exp: Unix seconds"),
        tokens.NBF: whole(0, U64, "nbf: Unix seconds"),
        tokens.IAT: whole(0, U64, "iat: Unix seconds"),
        tokens.CTI: blob(8, 16, "cti"),
        tokens.CNF: record({1: key}, title="cnf: the holder's key"),
        tokens.SCOPE: text(1, pattern=f"^({_SCOPE})( ({_SCOPE})){{0,{len(tokens.SCOPES) - 1}}}$", title="scope"),
        tokens.CNONCE: blob(16, title="cnonce"),
        tokens.EXI: whole(1, 86_400, "exi: seconds from when it is first presented"),
        tokens.WINDOWS: many(window(), 1, 32, "windows, local time"),
        tokens.UV: {"title": "user verification required", **_TRUE},
        tokens.USES: whole(1, 1000, "number of grants"),
        tokens.PERSONS: whole(1, 3, "so many must ask"),
        tokens.REF: blob(1, 32, "opaque reference"),
        tokens.REVOKE: array(
            whole(title="previous"), whole(1, U32, "sequence"), many(revocation(), 0, 32, "entries"), title="revoke"
        ),
        tokens.DURESS: {"title": "opens under duress", **_TRUE},
    }
    schema = record(values, (tokens.AUD, tokens.CTI, tokens.CNF, tokens.SCOPE), "Claims of a token")
    exp, nbf, iat, exi = (str(key) for key in (tokens.EXP, tokens.NBF, tokens.IAT, tokens.EXI))
    begins = {"anyOf": [{"required": [nbf]}, {"required": [iat]}]}
    without_time = {"required": [exi, str(tokens.CNONCE)], "properties": {str(tokens.CTI): blob(8)}}
    ends = [
        {"required": [exp], "not": {"required": [exi]}, **begins},
        {**without_time, "not": {"required": [exp]}},
    ]
    return schema | {"oneOf": ends}


def proof() -> Schema:
    """Return the schema of a holder's proof, whose payload is detached."""
    return array(
        blob(3, 4, "protected header: {1: -19}, or -8"),
        record({}, title="unprotected header: empty"),
        NULL,
        SIGNATURE,
        title="Proof: COSE_Sign1, detached",
    )


def proof_payload() -> Schema:
    """Return the schema of what a proof's signature is over."""
    actions = {action.value: action.name.lower() for action in Action}
    return array(
        {"title": "context", "const": "vitrine/1"},
        text(1, 32, title="lock id"),
        blob(16, title="nonce"),
        numbered(actions, "action"),
        {"title": "user verified", "type": "boolean"},
        blob(len(protocol.token_hash(b"")), title="token hash"),
        title="Payload of a proof",
    )
