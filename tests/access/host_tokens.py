"""Tokens and proofs made by independent implementations, against the real Ed25519 of the firmware.

cryptography signs, cbor2 encodes, and PyPI's cwt makes whole CWTs; nothing here uses the firmware's own encoder.
"""

import hashlib
import os

import cbor2
import cwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from support.access_lab import Lab
from vitrine.access import reasons
from vitrine.access.decision import is_accepted, is_grant
from vitrine.access.policy import Policy
from vitrine.access.provision import parse_provision
from vitrine.access.session import Session, VerifiedTokens
from vitrine.crypto import ed25519

NOW_S = 1_800_000_000
NONCE = bytes(range(16))
INSTANT = (NOW_S, 1, 0)
ISSUER, HOLDER, THIEF = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))


def public(key):
    return key.public_key().public_bytes_raw()


KID = hashlib.sha256(public(ISSUER)).digest()[:8]


def encode(value):
    """Deterministic CBOR for maps whose keys are integers: by encoded key, where cbor2 sorts by length first."""
    if isinstance(value, dict):
        return cbor2.dumps({key: value[key] for key in sorted(value, key=cbor2.dumps)})
    return cbor2.dumps(value)


def sign1(key, header, payload, is_detached=False, is_tagged=False):
    protected = encode(header)
    signature = key.sign(cbor2.dumps(["Signature1", protected, b"", payload]))
    message = [protected, {}, None if is_detached else payload, signature]
    return cbor2.dumps(cbor2.CBORTag(18, message) if is_tagged else message)


def claims(**changes):
    """Return a claims set; `c_m70001=` changes claim -70001, and None leaves a claim out."""
    values = {
        3: "case-12",
        4: NOW_S + 3600,
        5: NOW_S - 60,
        7: b"identity",
        8: {1: {1: 1, -2: public(HOLDER), -1: 6}},
        9: "unlock",
    }
    values.update({int(key.strip("c_").replace("m", "-")): value for key, value in changes.items()})
    values = {key: value for key, value in values.items() if value is not None}
    # the inner COSE_Key too must be in order
    values[8] = {1: {key: values[8][1][key] for key in sorted(values[8][1], key=cbor2.dumps)}}
    return values


def token(alg=-19, signer=ISSUER, is_tagged=False, **changes):
    return sign1(signer, {1: alg, 4: KID}, encode(claims(**changes)), is_tagged=is_tagged)


def proof(data, nonce, action=1, uv=False, signer=HOLDER, lock="case-12", alg=-19):
    signed = cbor2.dumps(["vitrine/1", lock, nonce, action, uv, hashlib.sha256(data).digest()])
    return sign1(signer, {1: alg}, signed, is_detached=True)


@pytest.fixture(scope="module")
def provision():
    return parse_provision(
        encode(
            {
                1: 1,
                2: "case-12",
                3: ["group:jewellery"],
                4: [{1: public(ISSUER), 2: "hq", 3: "unlock hold", 4: ["case-12", "group:jewellery"], 5: 86_400}],
                5: "CET-1CEST,M3.5.0,M10.5.0/3",
                6: {},
                7: NOW_S - 1000,
            }
        )
    )


def new_session(provision):
    keys = {issuer.kid: ed25519.PublicKey(issuer.public_key) for issuer in provision.issuers}
    lab = Lab(zone="CET-1CEST,M3.5.0,M10.5.0/3")
    lab.freshness.fresh = {NONCE}
    policy = Policy(
        provision, lambda issuer, message, signature: keys[issuer.kid].verdict(message, signature), lab.rules
    )
    return Session(policy, ed25519.verdict, os.urandom, VerifiedTokens())


def run(provision, data, action=1, uv=False, **how):
    """Return (decision of present, decision of act)."""
    session = new_session(provision)
    nonce = session.hello(0)
    presented = session.present(data, INSTANT, 0)
    return presented, session.act(action, uv, proof(data, nonce, action, uv, **how), 20, INSTANT)


@pytest.mark.parametrize("alg", [-19, -8])
@pytest.mark.parametrize("is_tagged", [False, True])
def test_tokens_of_cryptography_and_cbor2(provision, alg, is_tagged):
    presented, act = run(provision, token(alg=alg, is_tagged=is_tagged), alg=alg)
    assert is_accepted(presented) and is_grant(act)


def test_all_claims(provision):
    data = token(
        c_1="hq",
        c_2=b"p" * 16,
        c_3=["case-99", "group:jewellery"],
        c_6=NOW_S,
        c_9="hold unlock",
        c_m70001=[[127, 0, 1440]] * 3,
        c_m70002=True,
        c_m70003=2,
        c_m70004=1,
        c_m70005=b"sale",
        c_m70006=[0, 1, [[1, b"identity", 0]]],
        c_m70007=True,
    )
    assert run(provision, data)[1].reason == reasons.REVOKED  # it revokes itself
    data = token(
        c_1="hq",
        c_2=b"p" * 16,
        c_3=["case-99", "group:jewellery"],
        c_6=NOW_S,
        c_9="hold unlock",
        c_39=NONCE,
        c_m70001=[[255, 0, 1440]] * 3,
        c_m70002=True,
        c_m70003=2,
        c_m70004=1,
        c_m70005=b"sale",
        c_m70006=[0, 1, [[1, b"another identity", 0], [4, 1, 0]]],
        c_m70007=True,
    )
    for action in (0, 1, 128):
        presented, act = run(provision, data, action=action, uv=True)
        assert is_accepted(presented) and is_grant(act)
        assert act.token.sub == b"p" * 16 and act.token.ref == b"sale" and act.is_duress
    assert run(provision, data)[1].reason == reasons.USER_VERIFICATION_REQUIRED


def by_cwt(values, signer=ISSUER, is_tagged=False):
    """Return a CWT made by PyPI's cwt, its unprotected header emptied (it is not signed)."""
    key = cwt.COSEKey.new({1: 1, 2: KID, 3: -8, -1: 6, -2: public(signer), -4: signer.private_bytes_raw()})
    made = cwt.COSE.new(alg_auto_inclusion=False, kid_auto_inclusion=False).encode_and_sign(
        encode(values), key, protected={1: -8, 4: KID}
    )
    tag = cbor2.loads(made)
    assert tag.tag == 18 and tag.value[1] == {}
    return made if is_tagged else cbor2.dumps(tag.value)


@pytest.mark.parametrize("is_tagged", [False, True])
def test_tokens_of_the_cwt_package(provision, is_tagged):
    presented, act = run(provision, by_cwt(claims(c_1="hq"), is_tagged=is_tagged))
    assert is_accepted(presented) and is_grant(act)
    assert run(provision, by_cwt(claims(), signer=THIEF))[1].reason == reasons.TOKEN_FORGED


EXI = {"c_4": None, "c_5": None, "c_7": bytes(8), "c_39": NONCE, "c_40": 60}


@pytest.mark.parametrize("is_tagged", [False, True])
def test_rfc_9200_tokens_of_the_cwt_package(provision, is_tagged):
    presented, act = run(provision, by_cwt(claims(**EXI), is_tagged=is_tagged))
    assert is_accepted(presented) and is_grant(act) and act.token.exi == 60
    assert run(provision, by_cwt(claims(**EXI, c_6=1)))[1].reason == reasons.GRANTED
    assert run(provision, by_cwt(claims(**(EXI | {"c_39": bytes(16)}))))[1].reason == reasons.FRESHNESS_MISSING
    assert run(provision, by_cwt(claims(**EXI), signer=THIEF))[1].reason == reasons.TOKEN_FORGED
    # the sequence number is one of 64 bits, however large
    assert is_grant(run(provision, token(**(EXI | {"c_7": b"\xff" * 8})))[1])


def test_our_form_is_a_cwt_to_the_cwt_package(provision):
    data = token(alg=-8, is_tagged=True, c_1="hq")
    assert is_grant(run(provision, data)[1])
    key = cwt.COSEKey.new({1: 1, 2: KID, 3: -8, -1: 6, -2: public(ISSUER)})
    read = cwt.COSE.new().decode(data, key)
    assert cbor2.loads(read)[7] == b"identity"
    # and with its claims object, where the holder's key is looked up
    assert cwt.Claims.new(cbor2.loads(read)).cnf == {1: 1, -1: 6, -2: public(HOLDER)}


def test_real_attacks(provision):
    good = token()
    other_lock = token(c_3="case-13")
    for presented, act, reason in (
        (*run(provision, good, signer=THIEF), reasons.PROOF_FORGED),
        (*run(provision, good, lock="case-13"), reasons.PROOF_FORGED),
        (*run(provision, token(signer=THIEF)), reasons.TOKEN_FORGED),
        (*run(provision, token(c_4=NOW_S)), reasons.EXPIRED),
        (*run(provision, other_lock), reasons.AUDIENCE_MISMATCH),
    ):
        assert not is_grant(presented) and not is_grant(act) and act.reason == reason
    small_order = bytes(31) + b"\x80"
    for weak in (b"\x01" + bytes(31), bytes(32), small_order):
        data = token(c_8={1: {1: 1, -1: 6, -2: weak}})
        session = new_session(provision)
        session.hello(0)
        assert is_accepted(session.present(data, INSTANT, 0))
        # R = the identity, S = 0 verifies under a key of small order with a textbook verifier
        forged = cbor2.dumps([encode({1: -19}), {}, None, b"\x01" + bytes(63)])
        assert session.act(1, False, forged, 20, INSTANT).reason == reasons.PROOF_FORGED


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_real_tokens_never_grant(provision, data):
    original = token(c_m70001=[[127, 0, 1440]], c_2=b"someone")
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(mutated) - 1))
        choice = data.draw(st.integers(0, 3))
        if choice == 0:
            mutated[index] ^= 1 << data.draw(st.integers(0, 7))
        elif choice == 1:
            mutated.insert(index, data.draw(st.integers(0, 255)))
        elif choice == 2 and len(mutated) > 1:
            del mutated[index]
        else:
            mutated[index] = data.draw(st.integers(0, 255))
    if bytes(mutated) == original:
        return
    presented, act = run(provision, bytes(mutated))
    assert not is_accepted(presented) and not is_grant(act) and not act.is_authentic


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 95), st.integers(1, 255))
def test_mutated_real_proofs_never_grant(provision, index, change):
    data = token()
    session = new_session(provision)
    nonce = session.hello(0)
    assert is_accepted(session.present(data, INSTANT, 0))
    mutated = bytearray(proof(data, nonce))
    mutated[index % len(mutated)] ^= change
    decision = session.act(1, False, bytes(mutated), 20, INSTANT)
    assert not is_grant(decision) and not decision.is_authentic
