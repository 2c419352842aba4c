"""The OpenAPI 3.1 document of the lock's HTTP (SPEC.md section 15), from the tables that the lock itself uses.

What the paths are called, which fields a body has and how large it may be is read from the link's source, so that a
document cannot promise what the lock does not do; what a field means is said here.
"""

import ast
from pathlib import Path
from typing import Any, Final

from .. import __version__, protocol
from ..http_phone import CBOR, GETS
from ..protocol import Op, Reason
from .forms import Schema

SOURCE: Final = Path(__file__).resolve().parents[3] / "firmware" / "vitrine" / "links" / "http.py"
JSON: Final = "application/json"
SESSIONLESS: Final = frozenset({Op.HELLO, Op.COURIER, Op.COMMAND, Op.FRESH, Op.DOCTOR, Op.UPDATE})

_SUMMARIES: Final = {
    Op.HELLO: "Begin a session, or go on with one: who the lock is, and a nonce to prove a key with",
    Op.PRESENT: "Present a token",
    Op.ACT: "Ask for an action, with the proof of the holder's key",
    Op.STATUS: "The state of lock and door; only for who has proved a key",
    Op.IDENTIFY: "Have the lock show where it is; only for who has presented a token that it accepted",
    Op.COURIER: "Fetch sealed records, or bring the collector's acknowledgement",
    Op.COMMAND: "Bring a command that an issuer has signed",
    Op.FRESH: "A nonce for a statement that is made elsewhere",
    Op.DOCTOR: "How the lock is, piece by piece; only for who was granted service in this session",
    Op.UPDATE: "Bring an update: its manifest, then piece after piece from the offset that is wanted; or ask for that",
}
_ERRORS: Final = {
    400: "Malformed: not a request of this protocol",
    408: "The request took too long",
    411: "A body without Content-Length",
    413: "The body is too large",
    415: "Neither CBOR nor JSON",
    431: "The header is too large",
    440: "No such session: it has ended, or belongs to another address",
    500: "The lock failed; it has recorded that",
    503: "Busy: try again later",
}


class TableError(Exception):
    """The link's source does not have the tables that are read here."""


def tables(source: Path = SOURCE) -> dict[str, Any]:
    """Return the constants of the link's source by name, without running it."""
    found: dict[str, Any] = {}
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.Call) and value.args:
                value = value.args[0]  # const(...)
            try:
                found[node.targets[0].id] = ast.literal_eval(value)
            except ValueError:
                continue
    missing = {"_PATHS", "_FIELDS", "_ANSWERS", "_REFUSED", "_BODY_MAX"} - found.keys()
    if missing:
        raise TableError(f"{source.name} lacks {', '.join(sorted(missing))}")
    return found


def document() -> dict[str, Any]:
    """Return the document; TableError if the lock has a path or a field that is not described here."""
    link = tables()
    if [op.name.lower() for op in Op] != list(link["_PATHS"]):
        raise TableError("the lock's paths are not those of the protocol")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Vitrine lock",
            "version": __version__,
            "description": "A lock on the local network. Tokens and proofs are what counts; whoever only speaks HTTP"
            " opens nothing. One request for each connection. Bodies are JSON, with bytes in base64url without"
            " padding, or CBOR, with numbers in place of names (firmware/SPEC.md sections 3 and 15).",
        },
        "servers": [
            {"url": "http://{lock}:{port}", "variables": {"lock": {"default": "lock.local"}, "port": {"default": "80"}}}
        ],
        "paths": {f"/v1/{name}": _path(Op(number), link) for number, name in enumerate(link["_PATHS"])},
        "components": {
            "schemas": {
                "Refusal": _body(link["_REFUSED"], required=False),
                "CommandRefusal": _body(link["_ANSWERS"][Op.COMMAND], required=False),
                "UpdateRefusal": _body("reason", required=False),
                "Nothing": {"type": "object", "additionalProperties": False},
            }
        },
    }


def _path(op: Op, link: dict[str, Any]) -> dict[str, Any]:
    codes = set(_ERRORS)
    if op in GETS:
        codes -= {411, 415}
    refusal = {Op.COMMAND: "CommandRefusal", Op.UPDATE: "UpdateRefusal"}.get(op, "Refusal")
    ok = link["_ANSWERS"][op].replace("reason", "-") if op is Op.COMMAND else link["_ANSWERS"][op]
    required = op not in (Op.COMMAND, Op.COURIER, Op.UPDATE)
    answers: dict[str, Any] = {
        "200": {"description": "Done", "content": _content(_body(ok, required=required))},
        "403": {"description": "Refused", "content": _content({"$ref": f"#/components/schemas/{refusal}"})},
    }
    for code in sorted(codes):
        answers[str(code)] = {"description": _ERRORS[code]}
    if op is Op.HELLO:
        answers["200"]["headers"] = {
            "Vitrine-Session": {
                "description": "Names the session in each further request: 5 s between two, 15 s in all",
                "schema": _SESSION,
            }
        }
    operation: dict[str, Any] = {
        "operationId": op.name.lower(),
        "summary": _SUMMARIES[op],
        "parameters": [
            {"name": "Vitrine-Session", "in": "header", "required": op not in SESSIONLESS, "schema": _SESSION}
        ],
        "responses": answers,
    }
    if op in GETS:
        return {"get": operation}
    fields = link["_FIELDS"][op]
    schema = _body(fields, required=True)
    if op is Op.COURIER:  # one of the two
        schema = {"oneOf": [_body(name, required=True) for name in fields.split()]}
    elif op is Op.UPDATE:
        begin = _body("manifest shadow", required=False) | {"required": ["manifest"]}
        schema = {"oneOf": [_body("", required=False), begin, _body("offset bytes", required=True)]}
    elif op is Op.IDENTIFY:
        schema = {"type": "null"}
    operation["requestBody"] = {
        "required": op is not Op.IDENTIFY,
        "description": f"At most {link['_BODY_MAX']} bytes",
        "content": {JSON: {"schema": schema}, CBOR: {"schema": {"type": "string", "format": "binary"}}},
    }
    return {"post": operation}


def _content(schema: Schema) -> dict[str, Any]:
    return {JSON: {"schema": schema}, CBOR: {}}


def _body(fields: str, *, required: bool) -> Schema:
    """The schema of an object with these fields."""
    wanted = [name for name in fields.split() if name != "-"]
    unknown = set(wanted) - _FIELD_SCHEMAS.keys()
    if unknown:
        raise TableError(f"fields that are not described: {', '.join(sorted(unknown))}")
    schema: Schema = {
        "type": "object",
        "properties": {name: _FIELD_SCHEMAS[name] for name in wanted},
        "additionalProperties": False,
    }
    return schema | {"required": wanted} if required and wanted else schema


def _bytes(size: int | None, title: str, most: int | None = None) -> Schema:
    """Base64url without padding."""
    schema: Schema = {"type": "string", "contentEncoding": "base64url", "pattern": "^[A-Za-z0-9_-]*$", "title": title}
    if size is not None:
        schema["minLength"] = schema["maxLength"] = (size * 4 + 2) // 3
    elif most is not None:
        schema["maxLength"] = (most * 4 + 2) // 3
    return schema


def _states(titles: tuple[str, ...], title: str) -> Schema:
    return {"type": "integer", "minimum": 0, "maximum": 255, "title": title, "description": _list(enumerate(titles))}


def _list(pairs: Any) -> str:
    return ", ".join(f"{number} {name}" for number, name in pairs)


_SESSION: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_FIELD_SCHEMAS: Final[dict[str, Schema]] = {
    "lock": {"type": "string", "title": "lock id", "maxLength": 32},
    "version": {"const": protocol.VERSION, "title": "protocol version"},
    "nonce": _bytes(16, "to be signed by the next proof, within 10 s"),
    "time": _states(protocol.TIME_STATES, "whether the lock knows the time"),
    "audit": {
        "type": "array",
        "title": "records so far, and the hash over them",
        "items": {"anyOf": [_COUNT, _bytes(32, "hash")]},  # in this order; not every tool knows prefixItems
        "minItems": 2,
        "maxItems": 2,
    },
    "hash": _bytes(32, "SHA-256 of the token"),
    "lock_state": _states(protocol.LOCK_STATES, "Matter DlLockState"),
    "door_state": _states(protocol.DOOR_STATES, "Matter DoorStateEnum"),
    "batch": _bytes(None, "sealed records"),
    "acknowledgement": _bytes(None, "an acknowledgement of the collector", 512),
    "sequence": _COUNT | {"title": "the lock's sequence now"},
    "cnonce": _bytes(16, "good for 300 s"),
    "reason": {
        "enum": [int(reason) for reason in Reason if reason is not Reason.Granted],
        "title": "why not",
        "description": _list((int(reason), reason.name) for reason in Reason),
    },
    "persons": {"type": "array", "items": _COUNT, "minItems": 2, "maxItems": 2, "title": "who asked, who must"},
    "wait_s": _COUNT | {"title": "seconds until the next try"},
    "token": _bytes(None, "a token", 512),
    "command": _bytes(None, "an envelope", 760),
    "action": {
        "enum": [int(action) for action in protocol.Action],
        "title": "what to do",
        "description": _list((int(action), action.name.lower()) for action in protocol.Action),
    },
    "uv": {"type": "boolean", "title": "whether the phone has verified its user"},
    "proof": _bytes(None, "a COSE_Sign1 of the holder with a detached payload", 96),
    "from": {"type": ["integer", "null"], "minimum": 0, "title": "first record wanted; null: where the lock stands"},
    "pull": _COUNT | {"title": "first record wanted of all that the lock still has; in service"},
    "challenge": _bytes(16, "comes back in the report"),
    "offset": _COUNT | {"title": "where the piece begins; 0 makes a new report"},
    "manifest": _bytes(None, "of an update, as an issuer has signed it", 512),
    "bytes": _bytes(None, "of the stream: the table of blocks, then the component", 768),
    "shadow": {"const": True, "title": "fetch and verify it, and never switch to it"},
    "state": _states(("idle", "receiving", "staged", "trial", "returned"), "where the update is"),
    "running": _COUNT | {"title": "sequence of what runs"},
    "piece": _bytes(None, "of the report", 400),
    "total": _COUNT | {"title": "length of the whole report"},
}
