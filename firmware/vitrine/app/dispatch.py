"""One request path for all links: bytes in, bytes out.

Owns the requests and answers of SPEC.md section 3 and the mapping of decisions to wire status; nothing else in the
firmware does. Knows no radio: a link opens a `Channel` for each connection and hands it whole messages.
"""

from micropython import const

from vitrine.access import reasons
from vitrine.access.decision import is_accepted, is_grant
from vitrine.access.policy import COURIER as COURIER_ACTION
from vitrine.access.session import Session
from vitrine.audit.outbox import AHEAD, FORGED, SET_BACK, UNKEPT
from vitrine.codec import cbor

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

PROTOCOL_VERSION = 1
REQUEST_BOUND = 768  # a 512-byte token or a proof with room to spare
ANSWER_BOUND = 512

OK, REFUSED, BUSY, MALFORMED = 0, 1, 2, 3
HELLO, PRESENT, ACT, STATUS, IDENTIFY, COURIER = 0, 1, 2, 3, 4, 5

# Each further guess must cost the attacker a new connection.
MALFORMED_LIMIT = 3
REFUSED_LIMIT = 4
IDENTIFY_PAUSE_MS = 5000

COURIER_BATCH_MAX = 448  # with the acknowledgement beside it an answer is full

# SPEC.md section 7
_LOCK_OPERATION = 2
_LOCK_OPERATION_ERROR = 3
_FAULT = 129
_IDENTIFIED = 132
_SOURCE_REMOTE = 7
_OPERATION_MAX = 255


class Malformed(Exception):
    """The request is not one of SPEC.md section 3; the channel answers MALFORMED."""


class Dispatch:
    """What all channels of a lock share.

    `policy` is an access.policy.Policy, or None while the lock is unprovisioned; `verified` the lock's cache of
    verified tokens; `keys` an app.key_tables.KeyTables; `lock` the app.controller.Controller; `evidence` an
    app.evidence.Evidence; `clock` gives ticks_ms() and reading(); `identify()` shows where the lock is.
    """

    def __init__(self, policy, verified, keys, random_bytes, lock, evidence, clock, identify):
        self.policy = policy
        self.verified = verified
        self.keys = keys
        self.random_bytes = random_bytes
        self.lock = lock
        self.evidence = evidence
        self.clock = clock
        self.identify = identify
        self.identified_ms = None
        self.sessions = 0  # channels that are open

    def is_busy(self) -> bool:
        """Whether somebody is in session: what can wait should."""
        return self.sessions > 0

    def channel(self, link: int) -> "Channel":
        """Open the request path of one new connection over `link` (SPEC.md section 7, field 18)."""
        session = None
        if self.policy is not None:
            session = Session(self.policy, self.keys.verify_holder, self.random_bytes, self.verified)
        self.sessions += 1
        return Channel(self, session, link)


class Channel:
    """One connection: its session, and what it has cost so far."""

    def __init__(self, dispatch: Dispatch, session, link: int) -> None:
        self._dispatch = dispatch
        self._session = session
        self._link = link
        self._malformed = 0
        self._refused = 0
        self._accepted = False
        self._is_courier = False
        self._unrecorded = None  # a refused present: its act may still show who it was
        self.has_proved = False
        self._is_closed = False

    @property
    def is_exhausted(self) -> bool:
        """True when the link must end this connection."""
        if self._malformed >= MALFORMED_LIMIT:
            return True
        return self._refused >= REFUSED_LIMIT and not self.has_proved

    def handle(self, request: bytes) -> bytes:
        """Answer one whole request of any bytes; never raises for what the peer sent."""
        request_id = 0
        try:
            op, request_id, body = _parse(request)
            status, answer = self._perform(op, body)
        except Malformed:
            return self.malformed(request_id)
        return cbor.encode([request_id, status, answer])

    def malformed(self, request_id: int = 0) -> bytes:
        """Count and answer a message that is no request; links call it for broken framing too."""
        self._malformed += 1
        return cbor.encode([request_id, MALFORMED, None])

    def close(self) -> None:
        """The connection has ended: record what is not on record yet. Once only."""
        if self._is_closed:
            return
        self._is_closed = True
        self._dispatch.sessions -= 1
        self._record_present()
        if self._malformed:
            self._record_refusal(reasons.TOKEN_MALFORMED, None, None, {14: self._malformed, 15: "malformed requests"})
        self._session = None

    def _perform(self, op, body) -> "tuple[int, Any]":
        session = self._session
        if session is None:
            # Not a secret (the advertisement says so), and the technician must be able to tell.
            self._refused += 1
            return REFUSED, {1: reasons.NOT_PROVISIONED}
        if op == PRESENT:
            return self._present(session, body)
        if op == ACT:
            return self._act(session, body)
        if op == COURIER:
            return self._courier(body)
        if body is not None:
            raise Malformed
        if op == HELLO:
            return self._hello(session)
        if op == STATUS:
            return self._status()
        if op == IDENTIFY:
            return self._identify()
        raise Malformed

    def _hello(self, session: Session) -> "tuple[int, Any]":
        shared = self._dispatch
        nonce = session.hello(shared.clock.ticks_ms())
        _, time_state = shared.clock.reading()
        audit = [shared.evidence.count, shared.evidence.head]
        return OK, {1: shared.policy.lock_id, 2: PROTOCOL_VERSION, 3: nonce, 4: time_state, 5: audit}

    def _present(self, session: Session, body) -> "tuple[int, Any]":
        if type(body) is not bytes:
            raise Malformed
        self._record_present()
        decision = session.present(body, self._dispatch.clock.reading())
        if is_accepted(decision) and decision.token is not None:
            self._accepted = True
            self._dispatch.keys.expect(decision.token.holder_key)
            return OK, {1: decision.token.hash}
        self._refused += 1
        self._unrecorded = decision
        return REFUSED, None

    def _act(self, session: Session, body) -> "tuple[int, Any]":
        action, uv, proof = _act_body(body)
        shared = self._dispatch
        decision = session.act(action, uv, proof, shared.clock.ticks_ms(), shared.clock.reading())
        if decision.is_authentic:
            self.has_proved = True
        nonce = session.nonce
        if is_grant(decision) and action == COURIER_ACTION:
            self._is_courier = True
            self._record(_LOCK_OPERATION, decision.reason, action, decision)
            return OK, {2: nonce, 3: shared.lock.lock_state, 4: shared.lock.door_state}
        if is_grant(decision) and decision.token is not None:
            # what could not be proved afterwards is not done; what turns out so is taken back
            missed = shared.evidence.missed
            is_done = shared.evidence.is_sound and shared.lock.operate(action, decision, self._link)
            if is_done and shared.evidence.missed != missed:
                shared.lock.withdraw()
                is_done = False
            # after the strike has moved: nobody waits for what this computes
            shared.keys.holder(decision.token.holder_key)
            if is_done:
                return OK, {2: nonce, 3: shared.lock.lock_state, 4: shared.lock.door_state}
            return REFUSED, {1: reasons.FAULT, 2: nonce}
        self._refused += 1
        self._unrecorded = None  # one attempt, one record: the act's says more
        self._record_refusal(decision.reason, action, decision)
        if decision.is_authentic:
            return REFUSED, {1: decision.reason, 2: nonce}
        return REFUSED, {2: nonce}

    def _status(self) -> "tuple[int, Any]":
        if not self.has_proved:
            self._refused += 1
            return REFUSED, None
        shared = self._dispatch
        _, time_state = shared.clock.reading()
        return OK, {1: shared.policy.lock_id, 3: shared.lock.lock_state, 4: shared.lock.door_state, 5: time_state}

    def _identify(self) -> "tuple[int, Any]":
        if not self._accepted:
            self._refused += 1
            return REFUSED, None
        shared = self._dispatch
        now_ms = shared.clock.ticks_ms()
        if shared.identified_ms is not None:
            # a negative age is one of over six days (ticks wrap), not a recent one
            if 0 <= shared.clock.ticks_diff(now_ms, shared.identified_ms) < IDENTIFY_PAUSE_MS:
                return BUSY, None
        shared.identified_ms = now_ms
        shared.identify()
        shared.evidence.record(_IDENTIFIED, {6: _SOURCE_REMOTE, 18: self._link})
        return OK, None

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
                self._dispatch.evidence.record(_FAULT, {15: SET_BACK, 18: self._link})
            if outcome not in (FORGED, UNKEPT):
                return OK, None
            self._refused += 1
            return REFUSED, None
        start = body.get(1, False)
        if start is not None and type(start) is not int:
            raise Malformed
        if outbox is None or not self._is_courier:
            self._refused += 1
            return REFUSED, None
        answer = {1: outbox.batch(start, COURIER_BATCH_MAX)[0]}
        kept = outbox.acknowledgement() if start is None else None
        if kept is not None:
            answer[2] = kept
        return OK, answer

    def _record_present(self) -> None:
        """Put a refused present on record that no act has followed."""
        decision, self._unrecorded = self._unrecorded, None
        if decision is not None:
            self._record_refusal(decision.reason, None, decision)

    def _record_refusal(self, reason, operation, decision, more=None) -> None:
        fields = {12: reasons.error_code(reason)}
        if more:
            fields.update(more)
        self._record(_LOCK_OPERATION_ERROR, reason, operation, decision, fields)

    def _record(self, kind, reason, operation, decision, more=None) -> None:
        fields = {4: reason, 6: _SOURCE_REMOTE, 18: self._link}
        # any peer can name an action that no record holds (SPEC.md section 7): the reason says it all
        if operation is not None and 0 <= operation <= _OPERATION_MAX:
            fields[5] = operation
        if decision is not None and decision.token is not None:
            token = decision.token
            for key, value in ((7, token.sub), (8, token.cti), (9, token.ref), (13, token.kid)):
                if value is not None:
                    fields[key] = value
            if decision.is_authentic:
                fields[16] = True
        if more:
            fields.update(more)
        self._dispatch.evidence.record(kind, fields)


def _parse(request: bytes) -> "tuple[int, int, Any]":
    """Return (op, id, body) of a request, or raise Malformed."""
    try:
        message = cbor.decode(request, REQUEST_BOUND)
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
