"""A lock that takes commands, without crypto, clock or flash, for portable tests.

The device cannot sign, so a signature here is two hashes over the public key and the message: whoever knows the public
key can make one, and any changed bit of key, message or signature is seen. Verifications are counted.
"""

from support.access_lab import MISSING, Memory, kid_of, sign
from vitrine.access.command import Command
from vitrine.access.provision import Issuer, Provision
from vitrine.access.reasons import COMMAND_MALFORMED
from vitrine.access.revocation import Revocations, empty
from vitrine.access.schedule import Zone
from vitrine.access.scopes import parse_scopes
from vitrine.app.commands import Commands
from vitrine.audit.record import TIME_CHANGE, encode
from vitrine.codec import cbor
from vitrine.crypto.ed25519 import DENY, GRANT

NOW_S = 1_800_000_000
LOCK, GROUP = "case-12", "group:jewellery"
ADMIN, STORE, STRANGER = b"admin's key", b"store's key", b"stranger's key"
CNONCE = b"cnonce of a lock"
TIME, REVOKE, CONFIGURE, SCENARIO = 1, 2, 3, 4
NUMBER, AUD, ID, SEQUENCE, EXP, FRESH, BODY = 1, 2, 3, 4, 5, 6, 7
ID_SENT = b"command1"


def envelope(payload, signer=ADMIN, header=None, tag=b""):
    """Return a COSE_Sign1 of any payload bytes."""
    protected = cbor.encode({1: -19, 3: "vitrine/command", 4: kid_of(signer)} if header is None else header)
    signed = cbor.encode(["Signature1", protected, b"", payload])
    return tag + cbor.encode([protected, {}, payload, sign(signer, signed)])


def payload_map(number, body, changes=None):
    """Return a good command's payload with `changes`; the value MISSING leaves a key out."""
    payload = {NUMBER: number, AUD: LOCK, ID: ID_SENT, SEQUENCE: 7, EXP: NOW_S + 60, BODY: body}
    if number == TIME:
        payload.update({SEQUENCE: MISSING, EXP: MISSING, FRESH: CNONCE})
    payload.update(changes or {})
    return {key: value for key, value in payload.items() if value is not MISSING}


def make(number, body, changes=None, signer=ADMIN, header=None):
    """Return the envelope of a command."""
    return envelope(cbor.encode(payload_map(number, body, changes)), signer, header)


def read(number, body, changes=None):
    return Command(make(number, body, changes))


class Ledger:
    """Entries in memory. `room`: how many more it takes; `failing` is raised instead."""

    def __init__(self):
        self.entries = {}
        self.room = 1000
        self.failing = None
        self.lookups = 0

    def has(self, of_class, digest):
        self.lookups += 1
        if self.failing:
            raise self.failing
        return (of_class, digest) in self.entries

    def add(self, of_class, digest, until_s):
        if self.failing:
            raise self.failing
        if self.room <= 0:
            return False
        self.room -= 1
        self.entries[of_class, digest] = until_s
        return True


class Setting:
    """Stands for the configuration and for the scenario."""

    def __init__(self):
        self.sequence = 5
        self.settings = "before"
        self.applied = []
        self.outcome = 0

    def apply(self, body, sequence):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome == 0:
            self.applied.append((body, sequence))
            self.sequence = sequence
            self.settings = "after"
        return self.outcome

    def changes(self, before):
        assert (before, self.settings) == ("before", "after")
        return [(4, "ajar_ms=45000")]


class Lab:
    """One lock. `now` is what its clock says: (Unix seconds, time state, error in s)."""

    def __init__(self):
        issuers = [
            Issuer(ADMIN, "admin", parse_scopes("unlock admin"), [LOCK, GROUP], 60),
            Issuer(STORE, "store", parse_scopes("unlock"), [LOCK], 60),
        ]
        self.now = (NOW_S, 1, 2)
        self.age = 4000
        self.taken = []
        self.take_reason = 0
        self.records = []
        self.is_sound = True
        self.verifications = 0
        self.blob = Memory(empty([kid_of(ADMIN), kid_of(STORE)]))
        self.ledger = Ledger()
        self.revocations = Revocations(self.blob, self.ledger)
        self.configuration = Setting()
        self.scenario = Setting()
        self.provision = Provision(LOCK, [GROUP], issuers, Zone("UTC0"), {}, NOW_S - 1000)
        self.verify = self.is_signed
        self.commands = self.new_commands()

    def new_commands(self):
        return Commands(
            self.provision,
            lambda issuer, message, signature: self.verify(issuer, message, signature),
            self,
            self,
            self,
            self.revocations,
            self.configuration,
            self.scenario,
            self,
        )

    def execute(self, *what, **how):
        """Make a command and execute it; return (reason, is_authentic)."""
        return self.send(make(*what, **how))

    def send(self, data, link=1):
        self.result = self.commands.execute(data, link)
        return self.result.reason, self.result.is_authentic

    def state(self):
        """All that a command can change."""
        settings = (self.configuration.applied, self.scenario.applied, self.taken)
        return repr((settings, self.blob.blob, sorted(self.ledger.entries)))

    def is_signed(self, issuer, message, signature):
        self.verifications += 1
        return GRANT if signature == sign(issuer.public_key, message) else DENY

    # clock, freshness, timekeeper, evidence
    def instant(self):
        return self.now

    def ticks_ms(self):
        return 99

    def age_ms(self, cnonce, now_ms):
        assert now_ms == 99
        return self.age if cnonce == CNONCE else None

    def take(self, unix_s, age_ms, fields):
        if isinstance(self.take_reason, Exception):
            raise self.take_reason
        if type(unix_s) is not int or unix_s < 0:
            return COMMAND_MALFORMED
        if self.take_reason == 0:
            self.taken.append((unix_s, age_ms))
            self.record(TIME_CHANGE, fields)
        return self.take_reason

    def record(self, kind, fields):
        # as the journal takes it, or not
        whole = {1: kind, 2: NOW_S, 3: 1}
        whole.update(fields)
        encode(whole)
        self.records.append((kind, dict(fields)))
