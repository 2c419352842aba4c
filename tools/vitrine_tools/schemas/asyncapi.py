"""The AsyncAPI 3.0 document: MQTT topics (SPEC.md section 10) and the frames over BLE (sections 3 and 4).

`send` and `receive` are the lock's own, as AsyncAPI wants them from the application that is described.
"""

from typing import Any, Final

from .. import __version__, protocol
from ..protocol import Op
from . import payloads
from .payloads import DIALECT

_CBOR: Final = "application/cbor"
_JSON: Final = "application/json"
_FORMAT: Final = "application/schema+json;version=2020-12"

# (channel, topic, message, content type, what the lock does, retained, what it is for)
_TOPICS: Final = (
    ("availability", "vitrine/{lock}/availability", "text/plain", "send", True, "whether the lock is connected"),
    ("state", "vitrine/{lock}/state", _JSON, "send", True, "state of lock, door, clock and alarms; not sealed"),
    ("journal", "vitrine/{lock}/journal", _CBOR, "send", False, "sealed records, for a collector"),
    ("fresh", "vitrine/{lock}/fresh", _JSON, "send", False, "a nonce, for a time server"),
    ("result", "vitrine/{lock}/result", _JSON, "send", False, "what came of a command"),
    ("acknowledgement", "vitrine/{lock}/acknowledgement", _CBOR, "receive", True, "what a collector has stored"),
    ("command", "vitrine/{lock}/command", _CBOR, "receive", False, "what an issuer has signed"),
    ("command", "vitrine/group/{group}/command", _CBOR, "receive", False, "the same, for all locks of a group"),
    ("update", "vitrine/{lock}/update", _CBOR, "receive", False, "an update, piece by piece"),
    ("updateAnswer", "vitrine/{lock}/update/answer", _CBOR, "send", False, "where the update is"),
)
_PARAMETERS: Final = {
    "lock": {"description": "lock id: 1 to 32 of a-z, 0-9 and '-'"},
    "group": {"description": "group without its prefix: 1 to 26 of a-z, 0-9 and '-'"},
}


def document() -> dict[str, Any]:
    """Return the whole document; messages refer to its own components."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for message, topic, _, action, is_retained, summary in _TOPICS:
        name = "groupCommand" if "{group}" in topic else message
        channels[name] = _topic(topic, message, summary)
        operations[f"{action}{name[0].upper()}{name[1:]}"] = {
            "action": action,
            "channel": _ref("channels", name),
            "summary": summary,
            "messages": [{"$ref": f"#/channels/{name}/messages/{message}"}],
            # a command that the broker kept is not carried out
            "bindings": {"mqtt": {"qos": 1, "retain": is_retained}},
        }
    channels["request"], channels["answer"] = _characteristic("request"), _characteristic("answer")
    operations["answerRequest"] = {
        "action": "receive",
        "channel": _ref("channels", "request"),
        "summary": "take one request, and answer it before the next",
        "messages": [{"$ref": f"#/channels/request/messages/{op.name.lower()}"} for op in Op],
        "reply": {
            "channel": _ref("channels", "answer"),
            "messages": [{"$ref": f"#/channels/answer/messages/{op.name.lower()}"} for op in Op],
        },
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Vitrine lock",
            "version": __version__,
            "description": "firmware/SPEC.md has the meaning. CBOR is described in a JSON form: map keys as texts, "
            "byte strings as h'0a1b'. The broker is transport: what counts is sealed or signed.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": _CBOR,
        "servers": {
            "broker": {
                "host": "broker.example:8883",
                "protocol": "secure-mqtt",
                "protocolVersion": "3.1.1",
                "description": "the store's broker: TLS, a client certificate for each lock",
                "bindings": {"mqtt": {"clientId": "vitrine-LOCK", "cleanSession": True, "keepAlive": 60}},
            },
            "air": {
                "host": protocol.SERVICE_UUID,
                "protocol": "gatt",
                "description": "BLE: the GATT service of a lock",
            },
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _topic(topic: str, message: str, summary: str) -> dict[str, Any]:
    return {
        "address": topic,
        "summary": summary,
        "servers": [_ref("servers", "broker")],
        "messages": {message: _ref("components/messages", message)},
        "parameters": {name: value for name, value in _PARAMETERS.items() if f"{{{name}}}" in topic},
    }


def _characteristic(name: str) -> dict[str, Any]:
    uuid = {"request": protocol.REQUEST_UUID, "answer": protocol.ANSWER_UUID}[name]
    own = {op.name.lower(): f"{name}-{op.name.lower()}" for op in Op}
    return {
        "address": uuid,
        "summary": {"request": "written, with response", "answer": "notified"}[name]
        + ", in chunks (SPEC.md section 4)",
        "servers": [_ref("servers", "air")],
        "messages": {op: _ref("components/messages", message) for op, message in own.items()},
    }


def _messages() -> dict[str, Any]:
    messages = {}
    for message, _, content_type, *_, summary in _TOPICS:
        messages.setdefault(message, _message(message, content_type, summary, message))
    for op in Op:
        name = op.name.lower()
        messages[f"request-{name}"] = _message(f"request-{name}", _CBOR, f"ask for {name}", f"request-{name}")
        messages[f"answer-{name}"] = _message(f"answer-{name}", _CBOR, f"answer to {name}", f"answer-{name}")
    return messages


def _message(name: str, content_type: str, summary: str, schema: str) -> dict[str, Any]:
    return {
        "name": name,
        "contentType": content_type,
        "summary": summary,
        "payload": {"schemaFormat": _FORMAT, "schema": {"$ref": f"#/components/schemas/{schema}/schema"}},
    }


def _schemas() -> dict[str, Any]:
    """Return every schema; `$id` and `$schema` are the document's business here."""
    # of requests and answers those of each op; what goes to Home Assistant is not the lock's
    own = [name for name in payloads.NAMES if name not in ("request", "answer") and "homeassistant" not in name]
    return {name: _wrapped(payloads.schema(name)) for name in own}


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    inner = {key: value for key, value in schema.items() if key != "$id"}
    return {"schemaFormat": _FORMAT, "schema": {"$schema": DIALECT, **inner}}


def _ref(place: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/{place}/{name}"}
