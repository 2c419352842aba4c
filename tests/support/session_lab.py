"""A lock's request path without radio or hardware, for portable tests: real dispatch, session, policy, crypto."""

import json

from support.access_lab import FakeConfiguration, FakeRevocations, FakeRisk, FakeScenario, FakeUses, Memory
from vitrine.access import lockout, receipts
from vitrine.access.freshness import Freshness
from vitrine.access.lockout import Lockouts
from vitrine.access.persons import Persons
from vitrine.access.policy import Policy
from vitrine.access.provision import parse_provision
from vitrine.access.rules import Rules
from vitrine.app.dispatch import Dispatch
from vitrine.app.updates import Updates
from vitrine.audit.record import KIND, TIME, TIME_STATE, encode
from vitrine.codec import cbor
from vitrine.crypto import ed25519

_FOLDER = __file__.rpartition("/")[0]
with open(_FOLDER + "/../vectors/session.json") as _file:
    VECTORS = json.load(_file)
NOW_S = VECTORS["now_s"]
NONCE = bytes.fromhex(VECTORS["nonce"])


def case(name):
    """Return (token, proof) of a case of tests/vectors/session.json."""
    entry = VECTORS["cases"][name]
    return bytes.fromhex(entry["token"]), bytes.fromhex(entry["proof"])


class Clock:
    """Time as the tests say."""

    def __init__(self):
        self.unix_s = NOW_S
        self.state = 1
        self.now_ms = 1000

    def reading(self):
        return (self.unix_s, self.state)

    def instant(self):
        return (self.unix_s, self.state, 0)

    def ticks_ms(self):
        return self.now_ms & 0x3FFFFFFF

    def ticks_diff(self, end, start):
        return ((end - start + 0x20000000) & 0x3FFFFFFF) - 0x20000000


class Door:
    """Stands for the controller: notes what it is asked to do."""

    def __init__(self):
        self.lock_state = 1
        self.door_state = 1
        self.moves = []
        self.works = True

    def operate(self, action, decision, link):
        if self.works:
            self.moves.append(action)
            self.lock_state = 2
        return self.works

    def withdraw(self):
        self.moves.append("withdrawn")
        self.lock_state = 1


class Events:
    """Stands for the event log."""

    head = bytes(32)
    outbox = None
    is_sound = True
    missed = 0

    def __init__(self):
        self.records = []

    @property
    def count(self):
        return len(self.records)

    def record(self, kind, fields):
        # as the journal takes it, or not: a record that it refuses would count as a fault of the journal
        whole = {KIND: kind, TIME: NOW_S, TIME_STATE: 1}
        whole.update(fields)
        encode(whole)
        self.records.append((kind, fields))

    def reasons(self):
        return [fields.get(4) for _, fields in self.records]


class Result:
    """What a fake command comes to."""

    def __init__(self, is_done, is_authentic, body):
        self.is_done = is_done
        self.is_authentic = is_authentic
        self._body = body

    def body(self):
        return self._body


class Commands:
    """Stands for app.commands: notes envelopes; `result` is what comes of each."""

    def __init__(self):
        self.envelopes = []
        self.result = Result(False, False, None)

    def execute(self, envelope, link):
        self.envelopes.append((envelope, link))
        return self.result


class FakeUpdate:
    """Stands for app.update: notes bodies; `outcome` is what comes of each."""

    def __init__(self):
        self.bodies = []
        self.outcome = (0, {1: 0, 3: 7})

    def answer(self, body, link, own):
        self.bodies.append((body, link, own))
        return self.outcome


class Lab:
    """One lock. Its first nonce is the one of the vectors; with `is_same_nonce` all are, for mutation tests."""

    def __init__(self, is_provisioned=True, is_same_nonce=False):
        self.clock = Clock()
        self.door = Door()
        self.events = Events()
        self.identified = 0
        self.remembered = []
        self.expected = []
        self._is_same_nonce = is_same_nonce
        self._drawn = 0
        self.provision = provision = parse_provision(bytes.fromhex(VECTORS["provision"]))
        self.configuration = FakeConfiguration()
        self.revocations = FakeRevocations()
        self.freshness = Freshness(self._random)
        self.lockouts = Lockouts(Memory(lockout.empty()), lambda: self.configuration.settings, self._fault)
        self.commands = Commands()
        self.rules = Rules(
            FakeUses(),
            self.revocations,
            receipts.Receipts(Memory(receipts.empty()), self.freshness),
            self.lockouts,
            Persons(),
            self.configuration,
            FakeScenario(),
            FakeRisk(),
            lambda: 0,
            lambda: self.events.is_sound,
        )
        self.policy = Policy(provision, self._verify_issuer, self.rules) if is_provisioned else None
        self.verifications = 0
        self.dispatch = Dispatch(
            self,
            self,
            self._random,
            self.door,
            self.events,
            self.clock,
            self._identify,
        )
        self.updates = FakeUpdate()
        self.dispatch.updates = Updates(Memory(b""), lambda: self.updates, self.events.record)

    def channel(self, peer=b"", link=1):
        return self.dispatch.channel(link, peer)

    def ask(self, channel, op, body=None, request_id=7):
        """Send one well-formed request; return (status, body), having checked the id."""
        answer = cbor.decode(channel.handle(cbor.encode([op, request_id, body])), 512)
        assert answer[0] == request_id
        return answer[1], answer[2]

    def _verify_issuer(self, issuer, message, signature):
        return self.verify_holder(issuer.public_key, message, signature)

    def expect(self, public_key):
        self.expected.append(public_key)

    def holder(self, public_key):
        self.remembered.append(public_key)

    def verify_holder(self, public_key, message, signature):
        self.verifications += 1
        return ed25519.verdict(public_key, message, signature)

    def _random(self, size):
        self._drawn += 1
        return NONCE if self._drawn == 1 or self._is_same_nonce else self._drawn.to_bytes(size, "big")

    def _fault(self, detail):
        raise AssertionError(detail)

    def _identify(self):
        self.identified += 1
