"""A lock's policy and session for portable tests, with a stand-in for the signature scheme.

The device cannot sign, so here a signature is two hashes over the public key and the message: whoever knows the public
key can make one, and any changed bit of key, message or signature is seen. What uses the real Ed25519 is in host_*.py
and in the vectors. Verifications are counted.
"""

from hashlib import sha256

from vitrine.access.policy import Policy
from vitrine.access.provision import Issuer, Provision
from vitrine.access.schedule import Zone
from vitrine.access.scopes import parse_scopes
from vitrine.access.session import Session, VerifiedTokens
from vitrine.access.uses import Uses, empty
from vitrine.codec import cbor
from vitrine.crypto.ed25519 import DENY, GRANT

NOW_S = 1_800_000_000  # Friday 2027-01-15 08:00 UTC
LOCK = "case-12"
GROUP = "group:jewellery"
HOLDER = sha256(b"holder").digest()
THIEF = sha256(b"thief").digest()
ISSUER = sha256(b"issuer").digest()
OTHER_ISSUER = sha256(b"other issuer").digest()
TRUSTED = (NOW_S, 1)

MISSING = object()
ISS, SUB, AUD, EXP, NBF, IAT, CTI, CNF, SCOPE = range(1, 10)
WINDOWS, UV, USES, PERSONS, REF = -70001, -70002, -70003, -70004, -70005


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

    def __init__(self):
        self.blob = empty()
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


class Lab:
    """One lock with one session; `issuer_checks` and `holder_checks` count the verifications it made."""

    def __init__(self, provision=None):
        self.issuer_checks = 0
        self.holder_checks = 0
        self.store = Memory()
        self.policy = Policy(provision or make_provision(), self._verify_issuer, Uses(self.store))
        self.cache = VerifiedTokens()
        self.session = self.new_session()
        self.now_ms = 1000

    def new_session(self):
        return Session(self.policy, self._verify_holder, self._random_bytes, self.cache)

    def run(self, token, action=1, uv=False, reading=TRUSTED, act_reading=None, **forged):
        """Say hello, present `token`, act with a proof for it; return (decision of present, decision of act)."""
        nonce = self.session.hello(self.now_ms)
        presented = self.session.present(token, reading)
        proof = make_proof(token, nonce, action, uv, **forged)
        return presented, self.session.act(action, uv, proof, self.now_ms, act_reading or reading)

    def _verify_issuer(self, issuer, message, signature):
        self.issuer_checks += 1
        return GRANT if signature == sign(issuer.public_key, message) else DENY

    def _verify_holder(self, public_key, message, signature):
        self.holder_checks += 1
        return GRANT if signature == sign(public_key, message) else DENY

    def _random_bytes(self, size):
        self._drawn = sha256(getattr(self, "_drawn", b"seed")).digest()
        return self._drawn[:size]
