"""One request path for all links: bytes in, bytes out.

Owns the requests and answers of SPEC.md section 3 and the mapping of decisions to wire status; nothing else in the
firmware does. Knows no radio: a link opens a `Channel` for each connection and hands it whole messages.
"""

from hashlib import sha256

from micropython import const

from vitrine.access import reasons
from vitrine.access.decision import denied, is_accepted, is_grant
from vitrine.access.policy import COURIER as COURIER_ACTION
from vitrine.access.policy import LOCK, TEST
from vitrine.access.policy import SERVICE as SERVICE_ACTION
from vitrine.access.session import Session, VerifiedTokens
from vitrine.audit import record
from vitrine.audit.outbox import AHEAD, FORGED, SET_BACK, UNKEPT
from vitrine.codec import cbor
from vitrine.crypto.ed25519 import GRANT

from .attempts import SOURCE_REMOTE, Attempts

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

    from .service import Service

_PROTOCOL_VERSION = const(1)
REQUEST_BOUND = 768  # a 512-byte token or a proof with room to spare
_DECODE_BOUND = const(1152)  # over HTTP a piece of an update has 1024
_ANSWER_BOUND = const(512)

_OK = const(0)
_REFUSED = const(1)
_BUSY = const(2)
_MALFORMED = const(3)
_HELLO = const(0)
_PRESENT = const(1)
_ACT = const(2)
_STATUS = const(3)
_IDENTIFY = const(4)
_COURIER = const(5)
_COMMAND = const(6)
_FRESH = const(7)
_DOCTOR = const(8)
_UPDATE = const(9)

# Each further guess must cost the attacker a new connection.
_MALFORMED_LIMIT = const(3)
_REFUSED_LIMIT = const(4)
_IDENTIFY_PAUSE_MS = const(5000)

_COURIER_BATCH_MAX = const(448)  # with the acknowledgement beside it an answer is full
_PIECE_MAX = const(400)  # of a report
_CHALLENGE_SIZE = const(16)
_CONSOLE = const(4)  # SPEC.md section 7, field 18
_SERVICE_RECORD = const(136)
_LOCKED = const(1)  # Matter DlLockState
_CLOSED = const(1)  # Matter DoorStateEnum

# Whose act came to this keeps its connection from others. To be a holder is not enough: any token of old makes one.
_WELCOME = (reasons.GRANTED, reasons.USER_VERIFICATION_REQUIRED, reasons.PERSONS_REQUIRED)


class Malformed(Exception):
    """The request is not one of SPEC.md section 3; the channel answers MALFORMED."""


class Dispatch:
    """What all channels of a lock share.

    `judgement` is an app.judgement.Judgement (policy and commands None while the lock is unprovisioned); `keys` an
    app.key_tables.KeyTables; `lock` the app.controller.Controller; `evidence` an app.evidence.Evidence; `clock` a
    drivers.clock.Clock; `identify()` shows where the lock is.

    updates: an app.updates.Updates, put in by whoever builds the lock.
    service: the app.service.Service of the console, once it was begun; None before. parts: by name, what app.doctor
    looks at; whoever builds the lock puts it in.
    """

    def __init__(self, judgement, keys, random_bytes, lock, evidence, clock, identify):
        self.policy = judgement.policy
        self.commands = judgement.commands
        self.freshness = judgement.freshness
        self.attempts = Attempts(evidence, judgement.lockouts, clock)
        self.verified = VerifiedTokens()
        self.keys = keys
        self.random_bytes = random_bytes
        self.lock = lock
        self.evidence = evidence
        self.clock = clock
        self.identify = identify
        self.identified_ms = None
        self.sessions = 0  # channels that are open
        self.service: "Service | None" = None
        self.updates: "Any" = None
        self.parts: "dict[str, Any]" = {}

    def is_busy(self) -> bool:
        """Whether somebody is in session: what can wait should."""
        return self.sessions > 0

    def is_quiet(self) -> bool:
        """Whether nobody is there who would notice a restart."""
        return not self.sessions and self.lock.lock_state == _LOCKED and self.lock.door_state == _CLOSED

    def is_in_service(self) -> bool:
        """Whether the console runs the programs of somebody who has shown that he may."""
        return self.service is not None and self.service.is_open()

    def channel(self, link: int, peer: bytes = b"") -> "Channel":
        """Open the request path of one new connection over `link` (SPEC.md section 7, field 18).

        `peer` is the address that the link knows it by, or empty.
        """
        session = None
        if self.policy is not None:
            session = Session(self.policy, self.keys.verify_holder, self.random_bytes, self.verified)
        channel = Channel(self, session, link, peer)
        self.sessions += 1
        return channel


class Channel:
    """One connection: its session, and what it has cost so far."""

    def __init__(self, dispatch: Dispatch, session, link: int, peer: bytes) -> None:
        self._dispatch = dispatch
        self._session = session
        self._link = link
        self._peer = peer
        self._was_turned_away = False
        self._malformed = 0
        self._refused = 0
        self._accepted = False
        self._is_courier = False
        self._is_served = False
        self._report = b""
        self._unrecorded = None  # a refused present: its act may still show who it was
        self.has_proved = False
        self._is_welcome = False  # granted at the last act, or asked for more
        self._is_closed = False

    @property
    def standing(self) -> int:
        """What this peer has shown: 0 nothing that opens, 1 an accepted token, 2 the key of one that opens."""
        if self.has_proved:
            return 2 if self._is_welcome else 0
        return 1 if self._accepted else 0

    @property
    def is_exhausted(self) -> bool:
        """True when the link must end this connection."""
        if self._malformed >= _MALFORMED_LIMIT or self._was_turned_away:
            return True
        return self._refused >= _REFUSED_LIMIT and not self.has_proved

    def handle(self, request: bytes) -> bytes:
        """Answer one whole request of any bytes; never raises for what the peer sent."""
        request_id = 0
        try:
            op, request_id, body = _parse(request)
            if self._is_turned_away(op, body):
                self._was_turned_away = True
                return cbor.encode([request_id, _BUSY, None])
            status, answer = self._perform(op, body)
        except Malformed:
            return self.malformed(request_id)
        return cbor.encode([request_id, status, answer])

    def _is_turned_away(self, op: int, body) -> bool:
        """Whether nothing of this request of a locked-out peer is looked at.

        An address can be copied, and locked out by who copied it. So its phone is heard with a token that this lock
        has verified before: a stranger has none, and its copy proves nothing.
        """
        shared = self._dispatch
        if self.has_proved or not shared.attempts.is_locked_out(self._peer):
            return False
        if op == _PRESENT and type(body) is bytes:
            return shared.verified.verdict(sha256(body).digest()) != GRANT
        return op != _HELLO and not (op == _ACT and self._accepted)

    def malformed(self, request_id: int = 0) -> bytes:
        """Count and answer a message that is no request; links call it for broken framing too."""
        self._malformed += 1
        return cbor.encode([request_id, _MALFORMED, None])

    def close(self) -> None:
        """The connection has ended: record what is not on record yet. Once only."""
        if self._is_closed:
            return
        self._is_closed = True
        self._dispatch.sessions -= 1
        self._record_present()
        attempts = self._dispatch.attempts
        if self._malformed:
            more = {record.COUNT: self._malformed, record.DETAIL: "malformed requests"}
            attempts.refused(self._peer, self._link, reasons.TOKEN_MALFORMED, more=more)
        if self._was_turned_away:
            fields = {record.REASON: reasons.LOCKED_OUT, record.SOURCE: SOURCE_REMOTE, record.LINK: self._link}
            fields[record.ERROR] = reasons.error_code(reasons.LOCKED_OUT)
            self._dispatch.evidence.record(record.LOCK_OPERATION_ERROR, fields)
        attempts.tend(self._link)
        self._session = None

    def _perform(self, op, body) -> "tuple[int, Any]":
        session = self._session
        if session is None:
            # Not a secret (the advertisement says so), and the technician must be able to tell.
            self._refused += 1
            return _REFUSED, {1: reasons.NOT_PROVISIONED}
        if op == _PRESENT:
            return self._present(session, body)
        if op == _ACT:
            return self._act(session, body)
        if op == _COURIER:
            return self._courier(body)
        if op == _COMMAND:
            return self._command(body)
        if op == _DOCTOR:
            return self._doctor(body)
        if op == _UPDATE:
            return self._update(body)
        if body is not None:
            raise Malformed
        if op == _HELLO:
            return self._hello(session)
        if op == _STATUS:
            return self._status()
        if op == _IDENTIFY:
            return self._identify()
        if op == _FRESH:
            return self._fresh()
        raise Malformed

    def _hello(self, session: Session) -> "tuple[int, Any]":
        shared = self._dispatch
        nonce = session.hello(shared.clock.ticks_ms())
        _, time_state = shared.clock.reading()
        audit = [shared.evidence.count, shared.evidence.head]
        return _OK, {1: shared.policy.lock_id, 2: _PROTOCOL_VERSION, 3: nonce, 4: time_state, 5: audit}

    def _present(self, session: Session, body) -> "tuple[int, Any]":
        if type(body) is not bytes:
            raise Malformed
        self._record_present()
        clock = self._dispatch.clock
        decision = session.present(body, clock.instant(), clock.ticks_ms())
        self._record_applied(session, decision)
        if is_accepted(decision) and decision.token is not None:
            self._accepted = True
            self._dispatch.keys.expect(decision.token.holder_key)
            return _OK, {1: decision.token.hash}
        self._refused += 1
        self._unrecorded = decision
        return _REFUSED, None

    def _act(self, session: Session, body) -> "tuple[int, Any]":
        action, uv, proof = _act_body(body)
        shared = self._dispatch
        if action == TEST and not self._may_test():
            session.hello(shared.clock.ticks_ms())
            decision = denied(reasons.ACTION_UNKNOWN)
        else:
            decision = session.act(action, uv, proof, shared.clock.ticks_ms(), shared.clock.instant())
            self._record_applied(session, decision)
        if decision.is_authentic:
            self.has_proved = True
            self._is_welcome = decision.reason in _WELCOME
        nonce = session.nonce
        self._unrecorded = None  # one attempt, one record: the act's says more
        if is_grant(decision):
            if self._carry_out(action, decision):
                return _OK, {2: nonce, 3: shared.lock.lock_state, 4: shared.lock.door_state}
            shared.attempts.refused(self._peer, self._link, reasons.FAULT, action, decision)
            return _REFUSED, {1: reasons.FAULT, 2: nonce}
        self._refused += 1
        shared.attempts.refused(self._peer, self._link, decision.reason, action, decision)
        if not decision.is_authentic:
            return _REFUSED, {2: nonce}
        answer = {1: decision.reason, 2: nonce}
        if decision.reason == reasons.PERSONS_REQUIRED:
            answer[3] = [decision.persons, decision.wanted]
        elif decision.reason == reasons.LOCKED_OUT:
            answer[4] = decision.wait_s
        return _REFUSED, answer

    def _carry_out(self, action: int, decision) -> bool:
        """Do what was granted; return whether it was done."""
        shared = self._dispatch
        if action == COURIER_ACTION:
            self._is_courier = True
            shared.attempts.record(record.LOCK_OPERATION, self._link, decision.reason, action, decision)
            shared.attempts.granted(decision, self._peer)
            return True
        if action == SERVICE_ACTION:
            return self._serve(decision)
        if action == TEST and not self._may_test():  # asked again: it moves the strike
            return False
        # what could not be proved afterwards is not done; what turns out so is taken back
        missed = shared.evidence.missed
        is_done = shared.evidence.is_sound and shared.lock.operate(action, decision, self._link)
        if is_done and shared.evidence.missed != missed:
            shared.lock.withdraw()
            is_done = False
        # after the strike has moved: nobody waits for what this computes
        shared.keys.holder(decision.token.holder_key)
        if is_done:
            shared.attempts.granted(decision, self._peer)
            if self._link == _CONSOLE and action == LOCK and shared.service is not None:
                shared.service.end("closed")
        return is_done

    def _may_test(self) -> bool:
        return self._link == _CONSOLE and self._dispatch.is_in_service()

    def _is_serving(self) -> bool:
        """Whether the peer may see what only a technician sees; whoever has the open console's wire may."""
        return self._is_served or self._may_test()

    def _serve(self, decision) -> bool:
        """Let the holder ask how the lock is, and over the console run programs; return whether that is on record."""
        shared = self._dispatch
        is_console = self._link == _CONSOLE
        service = shared.service
        if is_console and service is not None:
            service.end("replaced")
        missed = shared.evidence.missed
        detail = {record.DETAIL: "begin" if is_console else "doctor"}
        shared.attempts.record(_SERVICE_RECORD, self._link, decision.reason, None, decision, detail)
        if not shared.evidence.is_sound or shared.evidence.missed != missed:
            return False
        if is_console:
            if service is None:
                from .service import Service

                shared.service = service = Service(shared.evidence, shared.clock)
            service.begin(decision)
        self._is_served = True
        shared.attempts.granted(decision, self._peer)
        return True

    def _doctor(self, body) -> "tuple[int, Any]":
        """Tell how the lock is, piece by piece (SPEC.md section 19)."""
        if type(body) is not dict or len(body) != 2:
            raise Malformed
        challenge, start = body.get(1), body.get(2)
        if type(challenge) is not bytes or len(challenge) != _CHALLENGE_SIZE or type(start) is not int or start < 0:
            raise Malformed
        if not self._is_serving():
            self._refused += 1
            return _REFUSED, None
        if start == 0:
            from .doctor import report

            self._report = report(self._dispatch, challenge)
        return _OK, {1: self._report[start : start + _PIECE_MAX], 2: len(self._report)}

    def _update(self, body) -> "tuple[int, Any]":
        """Hand over what may be a piece of an update, whoever brings it (SPEC.md section 20)."""
        updates = self._dispatch.updates
        if updates is None:
            raise Malformed
        status, answer = updates.answer(body, self._link, 1)
        if status == _REFUSED:
            self._refused += 1
            if not answer:
                self._dispatch.attempts.count_peer(self._peer, self._link)
        return status, answer

    def _command(self, body) -> "tuple[int, Any]":
        """Carry out what an issuer has signed, whoever brings it (SPEC.md section 11)."""
        if type(body) is not bytes:
            raise Malformed
        result = self._dispatch.commands.execute(body, self._link)
        if result.is_done:
            return _OK, result.body()
        self._refused += 1
        if not result.is_authentic:
            self._dispatch.attempts.count_peer(self._peer, self._link)
        return _REFUSED, result.body()

    def _fresh(self) -> "tuple[int, Any]":
        clock = self._dispatch.clock
        return _OK, {1: self._dispatch.freshness.issue(clock.ticks_ms()), 2: clock.reading()[1]}

    def _status(self) -> "tuple[int, Any]":
        if not self.has_proved:
            self._refused += 1
            return _REFUSED, None
        shared = self._dispatch
        _, time_state = shared.clock.reading()
        return _OK, {1: shared.policy.lock_id, 3: shared.lock.lock_state, 4: shared.lock.door_state, 5: time_state}

    def _identify(self) -> "tuple[int, Any]":
        if not self._accepted:
            self._refused += 1
            return _REFUSED, None
        shared = self._dispatch
        now_ms = shared.clock.ticks_ms()
        if shared.identified_ms is not None:
            # a negative age is one of over six days (ticks wrap), not a recent one
            if 0 <= shared.clock.ticks_diff(now_ms, shared.identified_ms) < _IDENTIFY_PAUSE_MS:
                return _BUSY, None
        shared.identified_ms = now_ms
        shared.identify()
        shared.evidence.record(record.IDENTIFY, {record.SOURCE: SOURCE_REMOTE, record.LINK: self._link})
        return _OK, None

    def _courier(self, body) -> "tuple[int, Any]":
        """Hand over sealed records, or take the collector's acknowledgement from whoever brings it (SPEC.md 3.2)."""
        if type(body) is not dict or len(body) != 1:
            raise Malformed
        outbox = self._dispatch.evidence.outbox
        if 2 in body:
            if type(body[2]) is not bytes:
                raise Malformed
            outcome = FORGED if outbox is None else outbox.acknowledge(body[2])
            if outcome == AHEAD:
                self._dispatch.evidence.record(record.FAULT, {record.DETAIL: SET_BACK, record.LINK: self._link})
            if outcome not in (FORGED, UNKEPT):
                return _OK, None
            self._refused += 1
            return _REFUSED, None
        is_pull = 3 in body
        start = body.get(3 if is_pull else 1, False)
        if (start is not None or is_pull) and type(start) is not int:
            raise Malformed
        may = self._is_serving() or (self._is_courier and not is_pull)
        if outbox is None or not may:
            self._refused += 1
            return _REFUSED, None
        answer = {1: outbox.batch(start, _COURIER_BATCH_MAX, is_pull)[0]}
        kept = outbox.acknowledgement() if start is None else None
        if kept is not None:
            answer[2] = kept
        return _OK, answer

    def _record_applied(self, session: Session, decision) -> None:
        """Put on record what a token has revoked."""
        if session.applied is not None:
            fields = {record.SEQUENCE: session.applied, record.LINK: self._link, record.DETAIL: "revoke"}
            fields[record.KID] = decision.token.kid
            fields[record.CTI] = decision.token.cti
            self._dispatch.evidence.record(record.CONFIGURATION_CHANGE, fields)

    def _record_present(self) -> None:
        """Put a refused present on record that no act has followed."""
        decision, self._unrecorded = self._unrecorded, None
        if decision is not None:
            self._dispatch.attempts.refused(self._peer, self._link, decision.reason, None, decision)


def _parse(request: bytes) -> "tuple[int, int, Any]":
    """Return (op, id, body) of a request, or raise Malformed."""
    try:
        message = cbor.decode(request, _DECODE_BOUND)
    except cbor.CborError:
        raise Malformed
    if type(message) is not list or len(message) != 3:
        raise Malformed
    op, request_id, body = message
    if type(op) is not int or type(request_id) is not int or not 0 <= request_id <= 65535:
        raise Malformed
    return op, request_id, body


def _act_body(body) -> "tuple[int, bool, bytes]":
    """Return (action, uv, proof) of an act request's body, or raise Malformed."""
    if type(body) is not dict or len(body) != 3:
        raise Malformed
    action, uv, proof = body.get(1), body.get(2), body.get(3)
    if type(action) is not int or type(uv) is not bool or type(proof) is not bytes:
        raise Malformed
    return action, uv, proof
