"""Schemas of requests and answers, the same over each link (SPEC.md section 3)."""

from typing import Final

from .. import commanding, protocol
from ..audit import sealed
from ..protocol import Op, Reason, Status
from .forms import NULL, U16, U64, Schema, array, blob, content, either, many, numbered, record, text, whole

_NONCE: Final = blob(16, title="nonce")
_LOCK_ID: Final = text(1, 32, r"^[a-z0-9-]+$", "lock id")
_REASONS: Final = {reason.value: reason.name for reason in Reason if reason != Reason.Granted}
_REASON: Final = numbered(_REASONS, "reason")
_TIME: Final = numbered(dict(enumerate(protocol.TIME_STATES)), "time state")
_LOCK: Final = numbered(dict(enumerate(protocol.LOCK_STATES)), "lock state: DlLockState")
_DOOR: Final = numbered(dict(enumerate(protocol.DOOR_STATES)), "door state: DoorStateEnum")
_SEQUENCE: Final = whole(title="the lock's sequence now")
_UNPROVISIONED: Final = record({1: {"title": "reason: NotProvisioned", "const": int(Reason.NotProvisioned)}})


def request() -> Schema:
    """Return the schema of a request: one form for each op."""
    return either(*(request_of(op) for op in Op), title="Request")


def request_of(op: Op) -> Schema:
    """Return the schema of a request for `op`."""
    name = op.name.lower()
    number: Schema = {"title": "op", "const": op.value, "description": name}
    return array(number, _id(), _REQUESTS.get(op, NULL), title=f"Request: {name}")


def answer(op: Op) -> Schema:
    """Return the schema of an answer to `op`."""
    granted, refused = _BODIES[op]
    return _answer(granted, {"anyOf": [*refused, _UNPROVISIONED]}, f"Answer to {op.name.lower()}")


def _answer(granted: Schema, refused: Schema, title: str) -> Schema:
    def status(value: Status) -> Schema:
        return {"title": "status", "const": value.value, "description": value.name.lower()}

    return either(
        array(_id(), status(Status.OK), granted),
        array(_id(), status(Status.REFUSED), refused),
        array(_id(), status(Status.BUSY), NULL),
        array(_id(), status(Status.MALFORMED), NULL),
        title=title,
    )


def _id() -> Schema:
    return whole(0, U16, "id, of the request")


_INTEGER: Final[Schema] = {"type": "integer", "minimum": -(2**64), "maximum": U64}
_UPDATE: Final = either(
    record({}, title="where is it?"),
    record({1: blob(0, protocol.MAX_REQUEST, "manifest"), 4: {"title": "shadow", "const": True}}, (1,), "begin"),
    record({2: whole(0, U64, "offset in the stream"), 3: blob(1, 1024, "piece")}, title="go on"),
    title="Update, or a piece of one",
)
_UPDATE_ANSWER: Final = record(
    {
        1: numbered(dict(enumerate(("idle", "receiving", "staged", "trial", "returned"))), "state"),
        2: whole(title="offset wanted"),
        3: whole(title="sequence that runs"),
        4: whole(title="sequence of what is on its way"),
        5: _REASON,
    },
    (1, 3),
)
_UPDATE_REFUSAL: Final = record({5: _REASON}, (), "refused; why, if the manifest's signature is good")
# by op: the body of a request, where it is not null
_REQUESTS: Final[dict[Op, Schema]] = {
    Op.PRESENT: content(0, protocol.MAX_REQUEST, "token", "token"),
    Op.ACT: record(
        {
            # any number is a request; one that is no action is refused with a reason
            1: {"title": "action", **_INTEGER},
            2: {"title": "user verified", "type": "boolean"},
            3: content(0, protocol.MAX_REQUEST, "proof", "proof"),
        }
    ),
    Op.COURIER: either(
        record({1: either(NULL, _INTEGER, title="from: sequence number")}),
        record({2: content(0, protocol.MAX_REQUEST, "acknowledgement", "acknowledgement")}),
        record({3: {"title": "pull from: sequence number", **_INTEGER}}),
    ),
    Op.COMMAND: content(0, protocol.MAX_REQUEST, "command", "command"),
    Op.DOCTOR: record({1: blob(16, title="challenge"), 2: whole(0, U64, "from: offset")}),
    Op.UPDATE: _UPDATE,
}
_WAIT_S: Final = whole(title="seconds left")
_WANTED: Final = array(whole(0, 255), whole(0, 255), title="how many have asked, how many must")
_BATCH: Final = record(
    {1: content(1, protocol.MAX_ANSWER, "batch"), 2: content(1, sealed.MAX_ACKNOWLEDGEMENT, "acknowledgement")}, (1,)
)
_SEQUENCED: Final = record({3: _SEQUENCE}, ())

# by op: the body when ok, and those of refusals beside NotProvisioned
_BODIES: Final[dict[Op, tuple[Schema, tuple[Schema, ...]]]] = {
    Op.HELLO: (
        record(
            {
                1: _LOCK_ID,
                2: {"title": "protocol version", "const": protocol.VERSION},
                3: _NONCE,
                4: _TIME,
                5: array(whole(title="audit count"), blob(sealed.HEAD_SIZE, title="audit head")),
            }
        ),
        (),
    ),
    Op.PRESENT: (record({1: blob(32, title="token hash")}), (NULL,)),
    Op.ACT: (
        record({2: _NONCE, 3: _LOCK, 4: _DOOR}),
        (
            record({2: _NONCE}, title="nothing was proved"),
            record({1: _REASON, 2: _NONCE, 3: _WANTED, 4: _WAIT_S}, (1, 2), "the holder has proved the key"),
        ),
    ),
    Op.STATUS: (record({1: _LOCK_ID, 3: _LOCK, 4: _DOOR, 5: _TIME}), (NULL,)),
    Op.IDENTIFY: (NULL, (NULL,)),
    Op.COURIER: (either(NULL, _BATCH), (NULL,)),
    Op.COMMAND: (
        _SEQUENCED,
        (NULL, record({1: _REASON, 3: _SEQUENCE}, (1,), "an issuer has signed it")),
    ),
    Op.FRESH: (record({1: blob(commanding.CNONCE_SIZE, title="cnonce"), 2: _TIME}), ()),
    Op.DOCTOR: (
        record({1: blob(0, 400, "piece of the report"), 2: whole(1, 4096, "length of the whole")}),
        (NULL,),
    ),
    Op.UPDATE: (_UPDATE_ANSWER, (_UPDATE_REFUSAL,)),
}


def any_answer() -> Schema:
    """Return the schema of an answer to whatever request."""
    return {"title": "Answer", "anyOf": [answer(op) for op in Op]}


def update() -> Schema:
    """Return the schema of an update's pieces at a broker: the body of op 9 (SPEC.md 20.2)."""
    return _UPDATE


def update_answer() -> Schema:
    """Return the schema of what a lock answers there; null: it is busy."""
    return either(NULL, _UPDATE_ANSWER, _UPDATE_REFUSAL, title="Answer to a piece of an update")


def chunks() -> Schema:
    """Return the schema of the chunks of one message over BLE: each as its bytes (SPEC.md section 4)."""
    return many(blob(2, 517), 1, 128, "Chunks of a message: header byte, then a part of it")
