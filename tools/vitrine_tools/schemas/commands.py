"""Schemas of commands, and of the configuration and scenario in them (SPEC.md sections 6 and 11)."""

from typing import Any, Final

from .. import commanding, configuration, cose, when
from ..protocol import Action
from .forms import NULL, U16, U32, U64, Schema, array, blob, content, either, many, numbered, record, text, whole

_BOOL: Final[Schema] = {"type": "boolean"}
_NAMES: Final = {1: "time", 2: "revoke", 3: "configure", 4: "scenario", 5: "operate", 6: "identify", 7: "audit"}
AUDIENCE: Final = text(0, 32, title="lock id, or group:NAME")
AUDIENCES: Final = either(AUDIENCE, many(AUDIENCE, 1, 8), title="audience")
SIGNATURE: Final = blob(64, title="signature: Ed25519")
_ALG: Final = numbered({-19: "Ed25519", -8: "EdDSA"}, "alg")
_KID: Final = blob(8, title="kid: of the issuer's key")


def window() -> Schema:
    """Return the schema of a weekly window."""
    days = whole(1, when.ALL_DAYS | when.HOLIDAYS, "days: Sunday 1 to Saturday 64, holidays 128")
    return array(days, whole(0, 1440, "start minute"), whole(0, 1440, "end minute, excluded"))


def envelope() -> Schema:
    """Return the schema of a signed command, without the tag 18 that may be in front of it."""
    return array(
        content(1, 64, "command-header", "protected header"),
        record({}, title="unprotected header: empty"),
        content(1, commanding.MAX_COMMAND, "command-payload", "payload"),
        SIGNATURE,
        title="Signed command: COSE_Sign1",
    )


def header() -> Schema:
    """Return the schema of a command's protected header."""
    content_type: Schema = {"title": "content type", "const": commanding.CONTENT_TYPE}
    fields = {cose.HEADER_ALG: _ALG, 3: content_type, cose.HEADER_KID: _KID}
    return record(fields, title="Protected header of a command")


def token_header() -> Schema:
    """Return the schema of a token's protected header."""
    return record({cose.HEADER_ALG: _ALG, cose.HEADER_KID: _KID}, title="Protected header of a token")


def payload() -> Schema:
    """Return the schema of what an issuer signs: one form for each command."""
    return either(*(_payload(number, body) for number, body in _bodies().items()), title="Command")


def settings() -> Schema:
    """Return the schema of settings by their key, from the schema of the configuration."""
    rows = sorted(configuration.SETTINGS.items(), key=lambda row: row[1].key)
    fields = {row.key: {**whole(row.least, row.most, name), "default": row.default} for name, row in rows}
    return record(fields, (), "settings by key")


def _payload(number: int, body: Schema) -> Schema:
    is_time = number == commanding.Number.TIME
    fields: dict[Any, Schema] = {
        1: {"title": "command", "const": number, "description": _NAMES[number]},
        2: AUDIENCES,
        3: blob(8, 16, "id"),
        4: whole(1, U32, "sequence"),
        5: whole(0, U64, "exp: Unix seconds"),
        6: blob(commanding.CNONCE_SIZE, title="cnonce"),
        7: body,
    }
    required = [1, 2, 3, 6, 7] if is_time else [1, 2, 3, 4, 7]
    if is_time:
        del fields[4]
    schema = record(fields, required, f"Command {_NAMES[number]}")
    return schema if is_time else schema | {"anyOf": [{"required": ["5"]}, {"required": ["6"]}]}


def _bodies() -> dict[int, Schema]:
    actions = {action.value: action.name.lower() for action in (Action.LOCK, Action.UNLOCK, Action.HOLD)}
    holiday = array(whole(0, U16, "day, from 1970-01-01"), whole(1, 31, "number of days"))
    opening = array(whole(title="from, Unix seconds"), whole(title="until, Unix seconds"))
    return {
        1: whole(0, U64, "Unix seconds"),
        2: record(
            {
                1: whole(title="sequence of the list before"),
                2: many(revocation(), 0, 32, "entries"),
                3: blob(8, title="kid of another issuer"),
            },
            (1, 2),
            "list of revocations",
        ),
        3: record(
            {
                2: settings(),
                3: many(holiday, 0, 64, "holidays"),
                4: either(text(1, configuration.MAX_ZONE), NULL, title="zone: POSIX TZ"),
                5: many(window(), 0, 16, "hours"),
            },
            title="configuration",
        ),
        4: record(
            {
                2: {"title": "lockdown", **_BOOL},
                3: {"title": "shadow", **_BOOL},
                4: many(window(), 0, 16, "weekly openings"),
                5: many(opening, 0, 8, "openings"),
            },
            (),
            "scenario",
        )
        | {"minProperties": 1},
        5: record({1: numbered(actions, "action"), 2: blob(1, 32, "ref")}, (1,), "operation"),
        6: NULL,
        7: NULL,
    }


def revocation() -> Schema:
    """Return the schema of one entry of a list of revocations."""
    until = whole(0, U32, "until: Unix seconds, 0 for ever")
    return either(
        array({"title": "kind: cti", "const": 1}, blob(8, 16), until),
        array({"title": "kind: sub", "const": 2}, blob(1, 16), until),
        array({"title": "kind: holder's key", "const": 3}, blob(8), until),
        array({"title": "kind: all before", "const": 4}, whole(), {"title": "until", "const": 0}),
    )
