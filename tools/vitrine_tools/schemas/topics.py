"""Schemas of what MQTT carries as JSON or text (SPEC.md sections 10 and 17)."""

from typing import Any, Final

from .. import protocol
from ..audit.records import KINDS
from ..protocol import Reason
from .forms import U32, Schema, one_of, record, text, whole

_HEX_ID: Final = text(16, 32, r"^([0-9a-f]{2})+$", "id of the command")
_TIME: Final = one_of(protocol.TIME_STATES, "what the lock's clock is worth")


def availability() -> Schema:
    """Return the schema of `availability`, as a text."""
    return one_of(("online", "offline"), "Whether the lock is connected")


def state() -> Schema:
    """Return the schema of `state`."""
    alarms = {"type": "array", "items": one_of(protocol.ALARMS.values()), "uniqueItems": True}
    fields: dict[Any, Schema] = {
        "version": text(1, 32, title="version of the application"),
        "lock": one_of(protocol.LOCK_STATES, "DlLockState"),
        "door": one_of(protocol.DOOR_STATES, "DoorStateEnum"),
        "time": _TIME,
        "scenario": one_of(protocol.SCENARIOS, "scenario"),
        "alarms": {"title": "alarms that are active", **alarms},
    }
    return record(fields, title="State of a lock. It is not sealed: nothing may be decided on it")


def fresh() -> Schema:
    """Return the schema of `fresh`."""
    return record({"cnonce": text(32, 32, r"^[0-9a-f]+$"), "time": _TIME}, title="Nonce for a statement of the time")


def result() -> Schema:
    """Return the schema of `result`."""
    reasons = one_of([reason.name for reason in Reason], "reason")
    fields = {"id": _HEX_ID, "reason": reasons, "sequence": whole(0, U32, "the lock's now")}
    return record(fields, ("id", "reason"), "Result of a command. Nothing proves it: the sealed record does")


def event() -> Schema:
    """Return the schema of an event for Home Assistant."""
    known = {"event_type": one_of(KINDS.values()), "number": whole(), "time": {"type": ["string", "null"]}}
    return record(known, title="Event of a lock in Home Assistant") | {"additionalProperties": True}


def notice() -> Schema:
    """Return the schema of the answer to a request out of Home Assistant."""
    fields = {"last_request": text(), "last_answer": text(), "last_request_at": whole(title="Unix seconds")}
    return record(fields, title="What came of a request from Home Assistant")
