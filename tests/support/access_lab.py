"""A lock's policy and session for portable tests, with a stand-in for the signature scheme.

The device cannot sign, so here a signature is two hashes over the public key and the message: whoever knows the public
key can make one, and any changed bit of key, message or signature is seen. What uses the real Ed25519 is in host_*.py
and in the vectors. Verifications are counted. What a policy asks is fake too, and does as a test says: it opens unless
told otherwise.
"""

from hashlib import sha256

from vitrine.access import reasons, receipts
from vitrine.access.persons import Persons
from vitrine.access.policy import Policy
from vitrine.access.provision import Issuer, Provision
from vitrine.access.revocation import StoreError
from vitrine.access.rules import Rules
from vitrine.access.schedule import Calendar, Zone
from vitrine.access.scopes import parse_scopes
from vitrine.access.session import Session, VerifiedTokens
from vitrine.access.uses import UsesError
from vitrine.codec import cbor
from vitrine.crypto.ed25519 import DENY, GRANT

NOW_S = 1_800_000_000  # Friday 2027-01-15 08:00 UTC
LOCK = "case-12"
GROUP = "group:jewellery"
HOLDER = sha256(b"holder").digest()
THIEF = sha256(b"thief").digest()
ISSUER = sha256(b"issuer").digest()
OTHER_ISSUER = sha256(b"other issuer").digest()
TRUSTED = (NOW_S, 1, 0)
UNTRUSTED = (NOW_S, 0, 0)
NONCE = b"a nonce of 16 by"  # fresh until a test says otherwise

MISSING = object()
ISS, SUB, AUD, EXP, NBF, IAT, CTI, CNF, SCOPE = range(1, 10)
CNONCE, EXI = 39, 40
WINDOWS, UV, USES, PERSONS, REF, REVOKE, DURESS = range(-70001, -70008, -1)


def sign(key, message):
    return sha256(b"1" + key + message).digest() + sha256(b"2" + key + message).digest()


def kid_of(key):
    return sha256(key).digest()[:8]


def cose_key(key):
    return {1: {1: 1, -1: 6, -2: key}}


def claims_map(changes=None):
    """Return the claims of a good token, with `changes`; the value MISSING leaves a claim out."""
    claims = {AUD: LOCK, EXP: NOW_S + 3600, NBF: NOW_S - 60, CTI: b"identity", CNF: cose_key(HOLDER), SCOPE: "unlock"}
    claims.update(changes or {})
    return {key: value for key, value in claims.items() if value is not MISSING}


def seal(payload, signer=ISSUER, header=None, tag=b""):
    """Return a COSE_Sign1 of any payload bytes; the header names `ISSUER` unless told otherwise."""
    protected = cbor.encode({1: -19, 4: kid_of(ISSUER)} if header is None else header)
    signed = cbor.encode(["Signature1", protected, b"", payload])
    return tag + cbor.encode([protected, {}, payload, sign(signer, signed)])


def make_token(changes=None, signer=ISSUER, header=None, tag=b""):
    return seal(cbor.encode(claims_map(changes)), signer, header, tag)


def make_proof(token, nonce, action=1, uv=False, signer=HOLDER, lock=LOCK, context="vitrine/1", header=None):
    protected = cbor.encode({1: -19} if header is None else header)
    signed = cbor.encode([context, lock, nonce, action, uv, sha256(token).digest()])
    structure = cbor.encode(["Signature1", protected, b"", signed])
    return cbor.encode([protected, {}, None, sign(signer, structure)])


def make_provision(max_lifetime_s=86_400, scopes="unlock hold", audiences=(LOCK, GROUP), zone="UTC0"):
    issuers = [
        Issuer(ISSUER, "hq", parse_scopes(scopes), list(audiences), max_lifetime_s),
        Issuer(OTHER_ISSUER, "other", parse_scopes("courier"), [GROUP], 60),
    ]
    return Provision(LOCK, [GROUP], issuers, Zone(zone), {}, NOW_S - 1000)


class Memory:
    """A store of one blob that can fail."""

    def __init__(self, blob=None):
        self.blob = blob
        self.saves = 0
        self.is_broken = False

    def load(self):
        if self.is_broken:
            raise OSError(5)
        return self.blob

    def save(self, data):
        if self.is_broken:
            raise OSError(5)
        self.saves += 1
        self.blob = data


class FakeUses:
    """How often a token was used; `spent` and `saves` are what is durable. `is_broken`: nothing can be known."""

    def __init__(self):
        self.spent = {}
        self.saves = 0
        self.is_broken = False

    def left(self, kid, cti, allowed):
        if self.is_broken:
            raise UsesError("broken")
        return max(0, allowed - self.spent.get((kid, cti), 0))

    def spend(self, kid, cti, exp, allowed, now_s):
        if self.left(kid, cti, allowed) < 1 or now_s >= exp:
            return False
        self.spent[kid, cti] = self.spent.get((kid, cti), 0) + 1
        self.saves += 1
        return True


class FakeRevocations:
    """Who is in `revoked`, by cti, is; `outcome` is what becomes of the lists that tokens bring, noted in `lists`."""

    def __init__(self):
        self.revoked = set()
        self.lists = []
        self.outcome = reasons.GRANTED
        self.is_broken = False

    def is_revoked(self, token):
        if self.is_broken:
            raise StoreError("broken")
        return token.cti in self.revoked

    def apply(self, kid, previous, sequence, entries):
        if self.is_broken:
            raise StoreError("broken")
        self.lists.append((kid, previous, sequence, entries))
        if self.outcome == reasons.GRANTED:
            self.revoked.update(value for kind, value, _ in entries if kind == 1)
        return self.outcome


class FakeFreshness:
    """Nonces that are fresh; there is one to begin with."""

    def __init__(self):
        self.fresh = {NONCE}

    def age_ms(self, cnonce, now_ms):
        return 1000 if cnonce in self.fresh else None


class FakeLockouts:
    """Seconds that a key must wait."""

    def __init__(self):
        self.waits = {}

    def key_wait_s(self, public_key, now_ms):
        return self.waits.get(public_key, 0)


class FakeSettings:
    """The settings that a policy reads, at their defaults."""

    alarm_blocks = 0
    uv_required = 0
    persons_required = 1
    persons_window_ms = 30_000
    risk_uv = 0
    risk_persons = 0
    lockout_tries = 4
    lockout_s = 300
    lockout_max_s = 3600


class FakeConfiguration:
    is_sound = True

    def __init__(self, zone="UTC0", holidays=()):
        self.settings = FakeSettings()
        self.calendar = Calendar(Zone(zone), holidays)


class FakeScenario:
    is_sound = True
    is_lockdown = False
    is_shadow = False


class FakeRisk:
    """A score for every act."""

    def __init__(self):
        self.score = 0
        self.rule = ""

    def assess(self, token, action, instant, now_ms):
        return self.score, self.rule


class Lab:
    """One lock with one session; `issuer_checks` and `holder_checks` count the verifications it made.

    What the policy asks is in `rules` and, to be set by name, in `uses`, `revocations`, `freshness`, `lockouts`,
    `configuration`, `settings`, `scenario`, `risk`, `active_alarms`; the receipts are real, with their blob in `store`.
    """

    def __init__(self, provision=None, store=None, zone="UTC0", holidays=()):
        self.issuer_checks = 0
        self.holder_checks = 0
        self.uses = FakeUses()
        self.revocations = FakeRevocations()
        self.freshness = FakeFreshness()
        self.lockouts = FakeLockouts()
        self.configuration = FakeConfiguration(zone, holidays)
        self.settings = self.configuration.settings
        self.scenario = FakeScenario()
        self.risk = FakeRisk()
        self.active_alarms = 0
        self.store = store or Memory(receipts.empty())
        self.rules = Rules(
            self.uses,
            self.revocations,
            receipts.Receipts(self.store, self.freshness),
            self.lockouts,
            Persons(),
            self.configuration,
            self.scenario,
            self.risk,
            lambda: self.active_alarms,
        )
        self.policy = Policy(provision or make_provision(), self._verify_issuer, self.rules)
        self.cache = VerifiedTokens()
        self.session = self.new_session()
        self.now_ms = 1000

    def new_session(self):
        return Session(self.policy, self._verify_holder, self._random_bytes, self.cache)

    def run(self, token, action=1, uv=False, instant=TRUSTED, act_instant=None, **forged):
        """Say hello, present `token`, act with a proof for it; return (decision of present, decision of act)."""
        nonce = self.session.hello(self.now_ms)
        presented = self.session.present(token, instant, self.now_ms)
        proof = make_proof(token, nonce, action, uv, **forged)
        return presented, self.session.act(action, uv, proof, self.now_ms, act_instant or instant)

    def _verify_issuer(self, issuer, message, signature):
        self.issuer_checks += 1
        return GRANT if signature == sign(issuer.public_key, message) else DENY

    def _verify_holder(self, public_key, message, signature):
        self.holder_checks += 1
        return GRANT if signature == sign(public_key, message) else DENY

    def _random_bytes(self, size):
        self._drawn = sha256(getattr(self, "_drawn", b"seed")).digest()
        return self._drawn[:size]
