"""A lock for tests of what brings updates: SPEC.md section 20 on CPython, under real signatures, with nothing to run.

It proves that the tools keep to the protocol, not that the firmware does.
"""

import hashlib

from vitrine_tools import cbor, protocol
from vitrine_tools.keys import PrivateKey
from vitrine_tools.protocol import Op, Reason, Status
from vitrine_tools.updates import manifest as manifests
from vitrine_tools.updates.component import BLOCK, DIGEST
from vitrine_tools.updates.links import OP
from vitrine_tools.updates.push import State

ISSUER = PrivateKey.from_seed(b"u" * 32)
BOARD = "VITRINE_ESP32"


class UpdateLock:
    """`handle` takes requests as over BLE, `ask` bodies of op 9. is_good: what comes passes its trial.

    busy: so many requests are answered busy first. spoil: offsets at which one byte arrives wrong, once.
    """

    def __init__(self, lock_id="case-12", running=1, *, is_good=True, piece=512, groups=()):
        self.lock_id = lock_id
        self.names = {lock_id, *groups}
        self.running = self.floor = self.tried = running
        self.is_good = is_good
        self.is_free = True  # nobody in session, closed and locked: it may switch
        self.busy = 0
        self.spoil = set()
        self.piece = piece
        self.state = State.IDLE
        self.signed = None
        self.is_shadow = False
        self.stream = bytearray()
        self.reason = None
        self.asked = []
        self.installed = []

    def handle(self, request):
        """Answer a whole request of SPEC.md section 3."""
        op, request_id, body = cbor.decode(request, protocol.MAX_REQUEST)
        if op == Op.HELLO:
            status, answer = Status.OK, {1: self.lock_id, 2: 1, 3: bytes(16), 4: 1, 5: [0, bytes(32)]}
        elif op == OP:
            status, answer = self.ask(body)
        else:
            status, answer = Status.MALFORMED, None
        return cbor.encode([request_id, int(status), answer])

    def ask(self, body):
        """Answer the body of op 9."""
        self.asked.append(body)
        if self.busy:
            self.busy -= 1
            return Status.BUSY, None
        if not isinstance(body, dict):
            return Status.MALFORMED, None
        if 1 in body and body.keys() <= {1, 4}:
            refusal = self._begin(body[1], body.get(4, False))
            if refusal is not None:
                return refusal
        elif body.keys() == {2, 3}:
            if len(body[3]) > self.piece:
                return Status.MALFORMED, None
            self._take(body[2], body[3])
        elif body:
            return Status.MALFORMED, None
        return Status.OK, self.report()

    def report(self):
        """The body of an answer."""
        self._settle()
        coming = None if self.signed is None or self.state is State.TRIAL else self.signed.manifest.sequence
        coming = self.tried if self.state is State.RETURNED else coming
        wanted = len(self.stream) if self.state is State.RECEIVING else None
        body = {1: int(self.state), 2: wanted, 3: self.running, 4: coming, 5: self.reason}
        self.reason = None
        return {key: value for key, value in body.items() if value is not None}

    def _begin(self, data, is_shadow):
        try:
            signed = manifests.parse(data)
        except manifests.ManifestError:
            return Status.REFUSED, None
        manifest = signed.manifest
        if not signed.is_signed_by(ISSUER.public):
            return Status.REFUSED, None
        if self.signed is not None and self.signed.data == data:
            self.is_shadow = self.is_shadow and is_shadow
            return None
        for is_wrong, reason in (
            (manifest.audiences and not self.names & set(manifest.audiences), Reason.AudienceMismatch),
            (manifest.class_id != manifests.class_id(BOARD), Reason.NotForThisBoard),
            (manifest.sequence <= max(self.running, self.floor, self.tried), Reason.SequenceStale),
            ((manifest.preconditions.sequence or 0) > self.running, Reason.PreconditionFailed),
            (self.signed and manifest.sequence <= self.signed.manifest.sequence, Reason.SequenceStale),
        ):
            if is_wrong:
                return Status.REFUSED, {5: int(reason)}
        self.signed, self.stream, self.state = signed, bytearray(), State.RECEIVING
        self.is_shadow = is_shadow
        return None

    def _take(self, at, data):
        if self.state is not State.RECEIVING or at != len(self.stream):
            return
        data = bytearray(data)
        for wrong in [each for each in self.spoil if at <= each < at + len(data)]:
            self.spoil.discard(wrong)
            data[wrong - at] ^= 1
        manifest = self.signed.manifest
        table_size = manifest.stream_size - manifest.size
        self.stream += data[: manifest.stream_size - at]
        has_table = at < table_size <= len(self.stream)
        if has_table and hashlib.sha256(self.stream[:table_size]).digest() != manifest.table:
            del self.stream[:]
            self.reason = int(Reason.DigestMismatch)
            return
        for number in range(table_size // DIGEST):
            begin = table_size + number * BLOCK
            end = min(begin + BLOCK, manifest.stream_size)
            if at < end <= len(self.stream):
                digest = hashlib.sha256(self.stream[begin:end]).digest()[:DIGEST]
                if digest != self.stream[number * DIGEST : (number + 1) * DIGEST]:
                    del self.stream[begin:]
                    self.reason = int(Reason.DigestMismatch)
                    return
        if len(self.stream) == manifest.stream_size:
            assert hashlib.sha256(self.stream[table_size:]).digest() == manifest.digest
            self.state = State.STAGED
            self.installed.append(bytes(self.stream[table_size:]))

    def _settle(self):
        """Between one answer and the next: it switches when it may, and a trial ends."""
        if self.state is State.TRIAL:
            if self.is_good:
                self.state, self.floor, self.signed = State.IDLE, self.running, None
            else:
                self.state, self.running, self.signed = State.RETURNED, self.floor, None
        elif self.state is State.STAGED and not self.is_shadow and self.is_free and self.asked[-1] == {}:
            self.state, self.running = State.TRIAL, self.signed.manifest.sequence
            self.tried = self.running
