"""Commands: what an issuer signs for locks to carry out, and what they answer (SPEC.md section 11)."""

import json
import re
import secrets
import time
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final, Protocol

from . import cbor, cose, keys, names, protocol
from .errors import LinkError, ToolError
from .protocol import ProtocolError, Reason, Status

MAX_COMMAND: Final = 704
MAX_RESULT: Final = 256
OPERATION_VALID_S: Final = 120
MAX_OPERATION_S: Final = 300  # from the lock's clock, which may be behind: it refuses what ends later
CONTENT_TYPE: Final = "vitrine/command"
CNONCE_SIZE: Final = 16
MAX_SEQUENCE: Final = 2**32 - 1
MAX_CHOSEN: Final = MAX_SEQUENCE - 1_000_000  # of those that a person chooses: the last one would be the last
RELEASED_S: Final = 1_767_225_600  # 2026-01-01: a clock that shows less than this is wrong
LATEST_S: Final = 3_345_148_800  # 2076-01-01: one that shows more as well, and locks never go back
_HEADER_CONTENT_TYPE = 3
_NUMBER, _AUD, _ID, _SEQUENCE, _EXP, _CNONCE, _BODY = range(1, 8)
_RAISED_S = 10  # by so much a sequence is raised on the word of a lock that nobody has proved
_HEX = re.compile(r"(?:[0-9a-f]{2}){8,16}")


class CommandError(ToolError):
    """Not a command of SPEC.md section 11, or one that no lock would carry out."""


class Number(IntEnum):
    """What a command does."""

    TIME = 1
    REVOKE = 2
    CONFIGURE = 3
    SCENARIO = 4
    OPERATE = 5
    IDENTIFY = 6
    AUDIT = 7


def _new_id() -> bytes:
    """Return 8 random bytes; written in hexadecimal they begin with a letter, so that none is taken for a number."""
    return bytes([0xC0 | secrets.randbelow(0x40)]) + secrets.token_bytes(7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command. It is fresh by `cnonce`, or until `exp_s`; at least one of them has to be there."""

    number: int
    audiences: tuple[str, ...]
    body: Any
    sequence: int | None = None
    exp_s: int | None = None
    cnonce: bytes | None = None
    id: bytes = field(default_factory=_new_id)

    @property
    def name(self) -> str:
        """The command in a word."""
        known = self.number in Number.__members__.values()
        return Number(self.number).name.lower() if known else f"command {self.number}"

    def to_map(self) -> dict[int, Any]:
        """Return the payload."""
        audience = self.audiences[0] if len(self.audiences) == 1 else list(self.audiences)
        values = {_NUMBER: self.number, _AUD: audience, _ID: self.id, _SEQUENCE: self.sequence, _EXP: self.exp_s}
        payload = {key: value for key, value in (values | {_CNONCE: self.cnonce}).items() if value is not None}
        return payload | {_BODY: self.body}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed command as read; nothing is verified by reading it."""

    data: bytes
    command: Command
    kid: bytes
    sign1: cose.Sign1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lock says of a command. `reason` is None when it says nothing: it does not know who signed."""

    reason: int | None
    sequence: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether the command was carried out."""
        return self.reason == Reason.Granted

    @property
    def reason_name(self) -> str | None:
        """The reason's name in SPEC.md section 3.1, or None."""
        return None if self.reason is None else protocol.reason_name(self.reason)


class Carrier(Protocol):
    """The way to one lock."""

    lock_id: str

    async def bound(self, command: Command) -> Command:
        """Return `command` with what makes it fresh: a nonce of the lock, or an end."""
        ...

    async def send(self, envelope: Envelope) -> Answer:
        """Send it and return the lock's answer; LinkError or ProtocolError if there is none to rely on."""
        ...


def sign(command: Command, issuer: keys.PrivateKey) -> Envelope:
    """Return the signed command; CommandError if it breaks a rule or does not fit in 704 bytes."""
    for audience in command.audiences:
        names.check_audience(audience)
    header = {
        cose.HEADER_ALG: cose.ALG_ED25519,
        _HEADER_CONTENT_TYPE: CONTENT_TYPE,
        cose.HEADER_KID: issuer.public.kid,
    }
    data = cose.sign1(header, cbor.encode(command.to_map()), issuer)
    if len(data) > MAX_COMMAND:
        raise CommandError(f"the command would have {len(data)} bytes; locks take at most {MAX_COMMAND}")
    return parse(data)


def parse(data: bytes) -> Envelope:
    """Read a command as strictly as a lock does, but for its body; CommandError names the rule that it breaks."""
    try:
        sign1 = cose.parse_sign1(data, MAX_COMMAND)
        payload = cbor.decode(sign1.payload or b"", MAX_COMMAND)
    except (cose.CoseError, cbor.CborError) as error:
        raise CommandError(f"not a command: {error}") from None
    kid = sign1.header.get(cose.HEADER_KID)
    if len(sign1.header) != 3 or sign1.header.get(_HEADER_CONTENT_TYPE) != CONTENT_TYPE:
        raise CommandError("not a command: its header is another one")
    if not isinstance(kid, bytes) or len(kid) != 8:
        raise CommandError("not a command: the issuer's kid must be 8 bytes")
    if not isinstance(payload, dict) or not {_NUMBER, _AUD, _ID, _BODY} <= payload.keys() <= set(range(1, 8)):
        raise CommandError("not a command: fields are missing, or unknown")
    audiences = payload[_AUD] if isinstance(payload[_AUD], list) else [payload[_AUD]]
    if not 1 <= len(audiences) <= 8 or not all(
        isinstance(each, str) and len(each.encode()) <= 32 for each in audiences
    ):
        raise CommandError("aud must name 1 to 8 locks or groups")
    command = Command(
        number=_whole(payload, _NUMBER, "the command", 0, MAX_SEQUENCE) or 0,
        audiences=tuple(audiences),
        body=payload[_BODY],
        sequence=_whole(payload, _SEQUENCE, "the sequence", 1, MAX_SEQUENCE),
        exp_s=_whole(payload, _EXP, "exp", 0, 2**64 - 1),
        cnonce=_blob(payload, _CNONCE, "cnonce", CNONCE_SIZE, CNONCE_SIZE),
        id=_blob(payload, _ID, "the id", 8, 16) or b"",
    )
    is_time = command.number == Number.TIME
    if (command.sequence is None) is not is_time:
        raise CommandError("every command but time has a sequence, and time has none")
    if command.cnonce is None and (is_time or command.exp_s is None):
        raise CommandError("a command needs a nonce of the lock, or (but for time) an end")
    return Envelope(data, command, kid, sign1)


def split(data: bytes) -> list[bytes]:
    """Return the envelopes in a file, where they follow each other (RFC 8742); CommandError if it is something else."""
    envelopes = []
    while data:
        # of a COSE_Sign1 the first part that is a whole one is the only one
        end = next((end for end in range(70, min(len(data), MAX_COMMAND) + 1) if _is_command(data[:end])), 0)
        if not end:
            raise CommandError("not a file of commands, or a damaged one")
        envelopes.append(data[:end])
        data = data[end:]
    return envelopes


def time_statement(lock_id: str, cnonce: bytes, now_s: float) -> Command:
    """Return the statement that it is `now_s` now; CommandError if this computer's clock cannot be right."""
    if not RELEASED_S <= now_s < LATEST_S:
        raise CommandError(f"this computer's clock is wrong: it shows {_era(now_s)}")
    return Command(number=Number.TIME, audiences=(lock_id,), body=int(now_s), cnonce=cnonce)


def operation(action: int, audiences: tuple[str, ...], sequence: int, ref: bytes | None = None) -> Command:
    """Return the command to open or lock without a phone (SPEC.md 11.3); it still needs an end, or a nonce."""
    body = {1: int(action)} | ({} if ref is None else {2: ref})
    return Command(number=Number.OPERATE, audiences=audiences, body=body, sequence=sequence)


def next_sequence(last: int = 0) -> int:
    """Return a sequence that is higher than all before it: the Unix time, or the one after `last`.

    CommandError if this computer's clock is far ahead, so that no sequence would be left after this one.
    """
    now_s = time.time()
    if now_s >= LATEST_S:
        raise CommandError(f"this computer's clock is wrong: it shows {_era(now_s)}")
    return check_sequence(max(last + 1, int(now_s)), MAX_SEQUENCE)


def check_sequence(sequence: int, most: int = MAX_CHOSEN) -> int:
    """Return `sequence`, which somebody chose; CommandError if too few would be left after it."""
    if not 1 <= sequence <= most:
        raise CommandError(f"the sequence must be a whole number from 1 to {most}, as only higher ones come after it")
    return sequence


def read_answer(status: Status, body: Any) -> Answer:
    """Return the lock's answer to op 6; ProtocolError if it is none."""
    if status == Status.BUSY:
        raise LinkError("the lock is busy, or has locked this computer out for a while")
    if body is None and status == Status.REFUSED:
        return Answer(None)
    if status not in (Status.OK, Status.REFUSED) or not isinstance(body, dict) or not body.keys() <= {1, 3}:
        raise ProtocolError("an answer to a command that is none")
    sequence = body.get(3)
    if sequence is not None and (type(sequence) is not int or not 0 <= sequence <= MAX_SEQUENCE):
        raise ProtocolError("an answer with something else where a sequence belongs")
    if status == Status.OK:
        return Answer(Reason.Granted, sequence)
    reason = body.get(1)
    if type(reason) is not int or not 0 < reason <= 255:
        raise ProtocolError("a refusal without a reason")
    return Answer(reason, sequence)


def read_result(payload: bytes) -> tuple[bytes, Answer]:
    """Return (command's id, answer) from what a broker says is a lock's result; ProtocolError if it is none.

    Nothing proves it: who runs the broker can make one up. The lock's sealed records prove what was done.
    """
    try:
        fields = json.loads(payload) if len(payload) <= MAX_RESULT else None
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or not isinstance(fields.get("id"), str) or not _HEX.fullmatch(fields["id"]):
        raise ProtocolError("a result that is none")
    reason, sequence = fields.get("reason"), fields.get("sequence")
    if not isinstance(reason, str) or (sequence is not None and type(sequence) is not int):
        raise ProtocolError("a result that is none")
    known = Reason.__members__.get(reason)
    return bytes.fromhex(fields["id"]), Answer(255 if known is None else int(known), sequence)


async def carry_out(
    carrier: Carrier, issuer: keys.PrivateKey, command: Command, *, is_sequence_free: bool = False
) -> Answer:
    """Sign `command` for the lock, send it, and return the answer.

    is_sequence_free: nobody asked for this very sequence. If the lock has it already, from the same second or a clock
    that is a little ahead, the command is sent once more with the next one. Not from one far ahead: who only says so,
    a broker or a false lock, could keep that command, and bring it after the next ones while it is good.
    """
    answer = await carrier.send(sign(await carrier.bound(command), issuer))
    if (
        is_sequence_free
        and answer.reason == Reason.SequenceStale
        and command.sequence is not None
        and answer.sequence is not None
        and command.sequence <= answer.sequence < command.sequence + _RAISED_S
    ):
        # with an id of its own: what is heard of the first one must not be taken for its answer
        again = replace(command, sequence=answer.sequence + 1, id=_new_id())
        answer = await carrier.send(sign(await carrier.bound(again), issuer))
    return answer


def _era(now_s: float) -> str:
    return "a time before this program was made" if now_s < RELEASED_S else "a time long after this program was made"


def _is_command(data: bytes) -> bool:
    try:
        parse(data)
    except CommandError:
        return False
    return True


def _whole(payload: dict[int, Any], key: int, name: str, least: int, most: int) -> int | None:
    value = payload.get(key)
    if key in payload and (type(value) is not int or not least <= value <= most):
        raise CommandError(f"{name} must be a whole number from {least} to {most}")
    return value


def _blob(payload: dict[int, Any], key: int, name: str, least: int, most: int) -> bytes | None:
    value = payload.get(key)
    if key in payload and (not isinstance(value, bytes) or not least <= len(value) <= most):
        raise CommandError(f"{name} must be {least} to {most} bytes")
    return value
