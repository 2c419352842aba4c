"""Every schema by its name: JSON Schema 2020-12, each a document of its own."""

from collections.abc import Callable
from functools import cache
from typing import Final

from ..protocol import Op
from . import commands, frames, sealed, tokens, topics
from .forms import Schema

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_MADE: Final[dict[str, Callable[[], Schema]]] = {
    "availability": topics.availability,
    "state": topics.state,
    "fresh": topics.fresh,
    "result": topics.result,
    "journal": sealed.journal,
    "batch": sealed.batch,
    "batch-content": sealed.batch_content,
    "record": sealed.audit_record,
    "acknowledgement": sealed.acknowledgement,
    "update": frames.update,
    "updateAnswer": frames.update_answer,
    "command": commands.envelope,
    "command-header": commands.header,
    "command-payload": commands.payload,
    "token": tokens.token,
    "token-header": commands.token_header,
    "token-claims": tokens.claims,
    "proof": tokens.proof,
    "proof-payload": tokens.proof_payload,
    "request": frames.request,
    **{f"request-{op.name.lower()}": lambda op=op: frames.request_of(op) for op in Op},
    "answer": frames.any_answer,
    **{f"answer-{op.name.lower()}": lambda op=op: frames.answer(op) for op in Op},
    "homeassistant-event": topics.event,
    "homeassistant-notice": topics.notice,
}
NAMES: Final = tuple(_MADE)


@cache
def schema(name: str) -> Schema:
    """Return the schema called `name`; KeyError if there is none. It is shared: do not change it."""
    return {"$schema": DIALECT, "$id": f"urn:vitrine:schema:{name}", **_MADE[name]()}
