"""What an issuer orders without a phone: open, show where the lock is, send the records. Source: SPEC.md 11.3.

Owns the sequence of each issuer's operations, and the way from a verified command to the door. A sequence is durable
before anything moves, and spent whatever comes of it: what was refused in a lockdown opens nothing after it.
"""

from micropython import const

from vitrine.access import reasons
from vitrine.access.command import OPERATE
from vitrine.access.policy import HOLD, LOCK, UNLOCK
from vitrine.access.scopes import ADMIN
from vitrine.audit import record as r
from vitrine.codec import cbor
from vitrine.crypto.ed25519 import GRANT as SIGNED

from .sequenced_blob import whole

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

    from vitrine.access.command import Command
    from vitrine.access.policy import Policy
    from vitrine.access.provision import Issuer

    from .controller import Controller
    from .evidence import Evidence
    from .sequenced_blob import Store

_MAX_BLOB = const(256)
_U32 = const(0xFFFFFFFF)
_ACTION = const(1)
_REF = const(2)
_REF_MAX = const(32)
_SOURCE = const(2)  # OperationSourceEnum ProprietaryRemote


class Order:
    """A command in the place of a token: of one person, whose phone verified nobody, and never of an administrator.

    Whether it is too old was judged before; to the policy it is one that has just been received.
    """

    sub = issuer_name = exp = not_before = cnonce = uses = None
    cti = b""
    windows = ()
    needs_uv = is_duress = False
    persons = exi = 1


class Operations:
    """The blob `operations` in `store`, and who carries out what comes in its order. clock: instant(), ticks_ms()."""

    def __init__(
        self, store: "Store", issuers: "list[Issuer]", policy: "Policy", door: "Controller", evidence: "Evidence", clock
    ) -> None:
        self._store = store
        self._policy = policy
        self._door = door
        self._evidence = evidence
        self._clock = clock
        self._sequences: "dict[bytes, int]" = {}
        try:
            sequences = {}
            for kid, sequence in cbor.decode(store.load() or b"", _MAX_BLOB):
                sequences[kid] = whole(sequence, 0, _U32)
            self._sequences = sequences
        except (OSError, ValueError, TypeError):
            pass  # CborError; no part of a damaged record is believed
        self.is_sound = all([issuer.kid in self._sequences for issuer in issuers])

    def sequence(self, kid: bytes) -> "int | None":
        """Return the sequence of the last operation of an issuer; None if that is not known: then none is done."""
        return self._sequences.get(kid)

    def execute(self, command: "Command", scopes: int, verdict: int, fields: "dict[int, Any]") -> int:
        """Do what a command says, judged but for its body; return GRANTED when it is done, and an opening on record.

        scopes: of its issuer. verdict: of crypto.ed25519, on its signature. fields: of its record. Raises OSError if
        its sequence is not kept: then nothing was done.
        """
        body = command.body
        fields[r.SOURCE] = _SOURCE
        ref = action = None
        if command.number == OPERATE:
            if not cbor.is_map(body):
                return reasons.COMMAND_MALFORMED
            action, ref = body.get(_ACTION), body.get(_REF, b"-")
            if type(action) is not int or action not in (LOCK, UNLOCK, HOLD) or len(body) != 1 + (_REF in body):
                return reasons.COMMAND_MALFORMED
            if not isinstance(ref, bytes) or not 1 <= len(ref) <= _REF_MAX:
                return reasons.COMMAND_MALFORMED
            fields[r.OPERATION] = action
            ref = body.get(_REF)
            if ref:
                fields[r.REF] = ref
        elif body is not None:
            return reasons.COMMAND_MALFORMED
        self._spend(command.kid, command.sequence)
        if action is None:
            return reasons.GRANTED
        instant = self._clock.instant()
        order: "Any" = Order()
        order.kid = order.holder_key = command.kid  # no key is so short
        order.audiences = command.audiences
        order.hash = command.signature
        order.ref = ref
        order.scopes = scopes & ~ADMIN
        # as revocations ask for it; over a nonce it was made just now, whenever that is
        order.issued = command.exp or (instant[0] if instant[1] else None)
        decision = self._policy.decide(order, action, False, instant, self._clock.ticks_ms())
        # to what nobody has signed this adds what makes no verdict a grant, whatever else was skipped
        decision.verdict += verdict ^ SIGNED
        decision.command = command.id
        decision.sequence = command.sequence
        # what could not be proved afterwards is not done; what turns out so is taken back
        evidence = self._evidence
        missed = evidence.missed
        if not evidence.is_sound or not self._door.operate(action, decision, fields[r.LINK]):
            return decision.reason or reasons.FAULT
        if evidence.missed != missed:
            self._door.withdraw()
            return reasons.FAULT
        return reasons.GRANTED

    def _spend(self, kid: bytes, sequence: "int | None") -> None:
        """Make `sequence` the last one of issuer `kid`, durably. Raises OSError, ValueError."""
        sequences = dict(self._sequences)
        # asked again: a fault that skips one check must not have anything done twice
        sequences[kid] = whole(sequence, sequences[kid] + 1, _U32)
        self._store.save(cbor.encode([[each, sequences[each]] for each in sequences]))
        self._sequences = sequences
