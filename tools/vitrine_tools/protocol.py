"""Requests, answers, proofs and chunks as a phone sees them (SPEC.md sections 3 and 4).

What a lock answers is input from a stranger: the readers here are bounded and raise ProtocolError.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from . import cbor, cose, names
from .keys import PrivateKey

VERSION: Final = 1
MAX_REQUEST: Final = 768
MAX_ANSWER: Final = 512
MIN_ATT_MTU: Final = 23
NONCE_LIFE_S: Final = 10

SERVICE_UUID: Final = "b5a30001-7b1f-4e5d-9c41-76697472696e"
REQUEST_UUID: Final = "b5a30002-7b1f-4e5d-9c41-76697472696e"
ANSWER_UUID: Final = "b5a30003-7b1f-4e5d-9c41-76697472696e"

_LAST_CHUNK = 0x80
_MAX_CHUNKS = 128
_HEADER_SIZE = 4  # 3 bytes of ATT and 1 of ours


class ProtocolError(Exception):
    """The other side did not keep to SPEC.md sections 3 and 4."""


class Op(IntEnum):
    """What a request asks for."""

    HELLO = 0
    PRESENT = 1
    ACT = 2
    STATUS = 3
    IDENTIFY = 4
    COURIER = 5
    COMMAND = 6
    FRESH = 7
    DOCTOR = 8
    UPDATE = 9


class Status(IntEnum):
    """How a request came out."""

    OK = 0
    REFUSED = 1
    BUSY = 2
    MALFORMED = 3


class Action(IntEnum):
    """What a holder can ask the lock to do."""

    LOCK = 0
    UNLOCK = 1
    HOLD = 128
    COURIER = 129
    SERVICE = 130
    TEST = 131


class Reason(IntEnum):
    """Why the lock decided as it did, under SPEC.md's names."""

    Granted = 0
    TokenMalformed = 1
    IssuerUnknown = 2
    AudienceMismatch = 3
    NotYetValid = 4
    Expired = 5
    LifetimeExceeded = 6
    ScopeMissing = 7
    ScopeNotAllowed = 8
    TokenForged = 9
    TimeUntrusted = 10
    OutsideWindow = 11
    UserVerificationRequired = 12
    PersonsRequired = 13
    UsesExhausted = 14
    NoToken = 15
    NonceMissing = 16
    ProofMalformed = 17
    ProofForged = 18
    ActionUnknown = 19
    NotProvisioned = 20
    Fault = 21
    LifetimeInverted = 22
    Revoked = 23
    LockedOut = 24
    LockedDown = 25
    AlarmActive = 26
    FreshnessMissing = 27
    SequenceStale = 28
    SequenceGap = 29
    CommandMalformed = 30
    CommandForged = 31
    CommandUnknown = 32
    StoreFull = 33
    NotForThisBoard = 34
    PreconditionFailed = 35
    DigestMismatch = 36


TIME_STATES: Final = ("untrusted", "trusted", "coasting")
LOCK_STATES: Final = ("NotFullyLocked", "Locked", "Unlocked", "Unlatched")
DOOR_STATES: Final = ("DoorOpen", "DoorClosed", "DoorJammed", "DoorForcedOpen", "DoorUnspecifiedError", "DoorAjar")
SCENARIOS: Final = ("normal", "passage", "lockdown", "shadow")
# SPEC.md section 7.2: those that `state` names
ALARMS: Final = {
    0: "LockJammed",
    5: "FrontEsceutcheonRemoved",
    6: "DoorForcedOpen",
    7: "DoorAjar",
    128: "DoorUnattended",
    129: "SwitchCut",
    130: "SwitchShorted",
    131: "StrikeStuck",
    132: "ExitHeld",
    133: "BatteryLow",
    134: "BrownoutLoop",
}


def reason_name(number: int) -> str:
    """Return the reason's name, or a text with its number if this version does not know it."""
    return Reason(number).name if number in Reason.__members__.values() else f"reason {number}"


def state_name(names_of_states: tuple[str, ...], number: int | None) -> str:
    """Return the name of a state number, also of one that this version does not know."""
    if number is None:
        return "unknown"
    return names_of_states[number] if number < len(names_of_states) else f"state {number}"


def token_hash(token: bytes) -> bytes:
    """Return the hash by which proofs and the lock's cache name a token."""
    return hashlib.sha256(token).digest()


@dataclass(frozen=True, slots=True)
class Hello:
    """What a lock says of itself before anything is proved; the audit head makes the phone a witness."""

    lock_id: str
    version: int
    nonce: bytes
    time_state: int
    audit_count: int
    audit_head: bytes


@dataclass(frozen=True, slots=True)
class LockStatus:
    """The answer to `status`."""

    lock_id: str
    lock_state: int
    door_state: int
    time_state: int


@dataclass(frozen=True, slots=True)
class Acted:
    """The answer to `act`: granted if `status` is OK; a reason only if the holder has proved the key.

    persons: with PersonsRequired (how many have asked, how many must). wait_s: with LockedOut.
    """

    status: Status
    reason: int | None
    nonce: bytes | None
    lock_state: int | None
    door_state: int | None
    persons: tuple[int, int] | None = None
    wait_s: int | None = None


def request(op: int, request_id: int, body: Any = None) -> bytes:
    """Return a request's bytes; ValueError if it is over the lock's bound."""
    data = cbor.encode([int(op), request_id, body])
    if len(data) > MAX_REQUEST:
        raise ValueError(f"a request of {len(data)} bytes; at most {MAX_REQUEST}")
    return data


def act_body(action: int, is_user_verified: bool, proof: bytes) -> dict[int, Any]:
    """Return the body of an `act` request."""
    return {1: int(action), 2: is_user_verified, 3: proof}


def proof_payload(lock_id: str, nonce: bytes, action: int, is_user_verified: bool, hash_of_token: bytes) -> bytes:
    """Return the bytes that a holder signs: to this lock, for this once, for this action, with this token."""
    return cbor.encode(["vitrine/1", lock_id, nonce, int(action), is_user_verified, hash_of_token])


def make_proof(
    holder: PrivateKey, lock_id: str, nonce: bytes, action: int, is_user_verified: bool, hash_of_token: bytes
) -> bytes:
    """Return the holder's proof: a COSE_Sign1 with a detached payload."""
    payload = proof_payload(lock_id, nonce, action, is_user_verified, hash_of_token)
    return cose.sign1({cose.HEADER_ALG: cose.ALG_ED25519}, payload, holder, is_detached=True)


def read_answer(data: bytes) -> tuple[int, Status, Any]:
    """Return (request id, status, body) of an answer."""
    try:
        answer = cbor.decode(data, MAX_ANSWER)
    except cbor.CborError as error:
        raise ProtocolError(f"an answer that is not CBOR as it must be: {error}") from None
    if not (isinstance(answer, list) and len(answer) == 3):
        raise ProtocolError("an answer that is not [id, status, body]")
    request_id, status, body = answer
    _number(request_id, 0xFFFF)
    return request_id, Status(_number(status, max(Status))), body


def read_hello(body: Any) -> Hello:
    """Return the body of a hello's answer."""
    lock_id, version, nonce, time_state, audit = _fields(body, (1, 2, 3, 4, 5))
    if not (isinstance(audit, list) and len(audit) == 2):
        raise ProtocolError("an audit head that is not [count, hash]")
    count, head = audit
    return Hello(
        _lock_id(lock_id), _number(version), _blob(nonce, 16), _number(time_state, 255), _number(count), _blob(head, 32)
    )


def read_status(body: Any) -> LockStatus:
    """Return the body of a status's answer."""
    lock_id, lock_state, door_state, time_state = _fields(body, (1, 3, 4, 5))
    return LockStatus(_lock_id(lock_id), _number(lock_state, 255), _number(door_state, 255), _number(time_state, 255))


def read_acted(status: Status, body: Any) -> Acted:
    """Return the outcome of an act from its answer's status and body."""
    if status == Status.OK:
        nonce, lock_state, door_state = _fields(body, (2, 3, 4))
        return Acted(status, int(Reason.Granted), _blob(nonce, 16), _number(lock_state, 255), _number(door_state, 255))
    if body is None:
        return Acted(status, None, None, None, None)
    if not (isinstance(body, dict) and body.keys() <= {1, 2, 3, 4}):
        raise ProtocolError("a refusal that is neither null nor a map of what SPEC.md section 3 has for one")
    reason = _number(body[1], 255) if 1 in body else None
    if reason == Reason.Granted:
        raise ProtocolError("a refusal with the reason Granted")
    persons = None
    if 3 in body:
        if not (isinstance(body[3], list) and len(body[3]) == 2):
            raise ProtocolError("a refusal with something else where two numbers of persons belong")
        persons = (_number(body[3][0], 255), _number(body[3][1], 255))
    wait_s = _number(body[4], 0xFFFF) if 4 in body else None
    nonce = _blob(body[2], 16) if 2 in body else None
    return Acted(status, reason, nonce, None, None, persons, wait_s)


def split(message: bytes, att_mtu: int) -> list[bytes]:
    """Cut a message into chunks of at most att_mtu - 3 bytes, each with its header byte."""
    if att_mtu < MIN_ATT_MTU:
        raise ValueError(f"an ATT_MTU of {att_mtu} is below the least that Bluetooth allows")
    size = att_mtu - _HEADER_SIZE
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    if not 1 <= len(parts) <= _MAX_CHUNKS:
        raise ValueError(f"a message of {len(message)} bytes makes {len(parts)} chunks; 1 to {_MAX_CHUNKS} are allowed")
    last = len(parts) - 1
    return [bytes([number | (_LAST_CHUNK if number == last else 0)]) + part for number, part in enumerate(parts)]


class Assembler:
    """Puts one peer's chunks together to messages of at most `bound` bytes."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._message = bytearray()
        self._next: int | None = 0  # None after a fault: until a counter 0

    def feed(self, chunk: bytes) -> bytes | None:
        """Take one chunk; return the message if it was the last one.

        ProtocolError once for a broken message; what remains of it, up to the next counter 0, is ignored.
        """
        counter = chunk[0] & ~_LAST_CHUNK if chunk else None
        if counter == 0:
            self._message.clear()
            self._next = 0
        if self._next is None:
            return None
        if len(chunk) < 2 or counter != self._next or len(self._message) + len(chunk) - 1 > self._bound:
            self._next = None
            raise ProtocolError("a chunk that is empty, out of turn or over the bound")
        self._message += chunk[1:]
        if not chunk[0] & _LAST_CHUNK:
            self._next += 1
            return None
        message = bytes(self._message)
        self._message.clear()
        self._next = 0
        return message


def _fields(body: Any, numbers: tuple[int, ...]) -> list[Any]:
    if not isinstance(body, dict) or not body.keys() >= set(numbers):
        raise ProtocolError("an answer whose body lacks a field")
    return [body[number] for number in numbers]


def _number(value: Any, most: int = 2**64 - 1) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ProtocolError("an answer with something else where a number belongs")
    return value


def _blob(value: Any, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise ProtocolError(f"an answer with something else where {size} bytes belong")
    return value


def _lock_id(value: Any) -> str:
    if value == "":  # a lock that has no identity yet
        return ""
    try:
        return names.check_lock_id(value if isinstance(value, str) else "")
    except names.NameRuleError as error:
        raise ProtocolError("an answer without a lock id") from error
