"""vitrine.access.session: nonces, proofs, what is verified when, and who is told."""

import gc
import json
from hashlib import sha256

from support import ON_MICROPYTHON, blobs, given, ints, raises
from support.access_lab import (
    CTI,
    EXP,
    HOLDER,
    ISSUER,
    NOW_S,
    OTHER_ISSUER,
    REVOKE,
    THIEF,
    TRUSTED,
    UNTRUSTED,
    USES,
    Lab,
    claims_map,
    kid_of,
    make_proof,
    make_token,
    seal,
)
from vitrine.access import decision as decisions
from vitrine.access import reasons
from vitrine.access.decision import is_accepted, is_grant
from vitrine.access.policy import Policy
from vitrine.access.provision import parse_provision
from vitrine.access.session import NONCE_LIFETIME_MS, Session, VerifiedTokens
from vitrine.codec import cbor
from vitrine.crypto import ed25519
from vitrine.crypto.ed25519 import DENY, GRANT

TOKEN = make_token()


def act(lab, nonce, token=TOKEN, action=1, uv=False, instant=TRUSTED, **forged):
    proof = make_proof(token, nonce, action, uv, **forged)
    return lab.session.act(action, uv, proof, lab.now_ms, instant)


def presented():
    """Return a lab with the token accepted, and its nonce."""
    lab = Lab()
    nonce = lab.session.hello(lab.now_ms)
    assert is_accepted(lab.session.present(TOKEN, TRUSTED, 0))
    return lab, nonce


def test_unlock_and_again_with_the_new_nonce():
    lab, nonce = presented()
    for _ in range(3):
        assert len(nonce) == 16
        assert is_grant(act(lab, nonce))
        assert lab.session.nonce != nonce
        nonce = lab.session.nonce
    assert (lab.issuer_checks, lab.holder_checks) == (1, 3)


def test_a_replayed_proof_is_refused():
    lab, nonce = presented()
    proof = make_proof(TOKEN, nonce)
    assert is_grant(lab.session.act(1, False, proof, lab.now_ms, TRUSTED))
    decision = lab.session.act(1, False, proof, lab.now_ms, TRUSTED)
    assert decision.reason == reasons.PROOF_FORGED and not decision.is_authentic


def test_any_act_uses_up_the_nonce():
    for spoil in (
        lambda lab, nonce: lab.session.act(1, False, b"junk", lab.now_ms, TRUSTED),
        lambda lab, nonce: act(lab, nonce, signer=THIEF),
        lambda lab, nonce: act(lab, nonce, action=2),
        lambda lab, nonce: act(lab, nonce, instant=UNTRUSTED),
    ):
        lab, nonce = presented()
        assert not is_grant(spoil(lab, nonce))
        assert act(lab, nonce).reason == reasons.PROOF_FORGED
    lab = Lab()
    nonce = lab.session.hello(lab.now_ms)
    assert act(lab, nonce).reason == reasons.NO_TOKEN
    lab.session.present(TOKEN, TRUSTED, 0)
    assert act(lab, nonce).reason == reasons.PROOF_FORGED


def test_a_new_hello_ends_the_nonce_before():
    lab, nonce = presented()
    assert lab.session.hello(lab.now_ms) != nonce
    assert act(lab, nonce).reason == reasons.PROOF_FORGED


def test_nonce_lives_10_s():
    assert NONCE_LIFETIME_MS == 10_000
    for start_ms in (0, 5, 0x3FFFFFFF - 5000, 0x3FFFFFFF):
        for age_ms, reason in (
            (0, reasons.GRANTED),
            (10_000, reasons.GRANTED),
            (10_001, reasons.NONCE_MISSING),
            (1 << 20, reasons.NONCE_MISSING),
            (0x1FFFFFFF, reasons.NONCE_MISSING),
            (0x20000000, reasons.NONCE_MISSING),
            (-1, reasons.NONCE_MISSING),
        ):
            lab = Lab()
            lab.now_ms = start_ms
            nonce = lab.session.hello(start_ms)
            lab.session.present(TOKEN, TRUSTED, 0)
            # ticks wrap at 2**30 on 32-bit boards, at 2**62 on the 64-bit unix port
            for period in (1 << 30, 1 << 62):
                lab.now_ms = (start_ms + age_ms) % period
                lab.session.nonce = nonce
                lab.session._nonce_ms = start_ms
                decision = act(lab, nonce)
                assert decision.reason == reason, (start_ms, age_ms)


def test_the_nonce_after_an_act_lives_10_s_from_the_act():
    lab, nonce = presented()
    lab.now_ms += 9_000
    assert is_grant(act(lab, nonce))
    lab.now_ms += 9_000
    assert is_grant(act(lab, lab.session.nonce))
    lab.now_ms += 10_001
    assert act(lab, lab.session.nonce).reason == reasons.NONCE_MISSING


def test_a_broken_random_source_leaves_no_nonce():
    lab = Lab()
    for bad in (b"", b"short", bytes(17)):
        session = Session(lab.policy, lab._verify_holder, lambda size, bad=bad: bad, lab.cache)
        with raises(ValueError):
            session.hello(0)
        assert session.nonce is None


def test_proof_is_bound_to_everything():
    for forged in (
        {"signer": THIEF},
        {"lock": "case-13"},
        {"context": "vitrine/2"},
    ):
        lab, nonce = presented()
        assert act(lab, nonce, **forged).reason == reasons.PROOF_FORGED
    lab, nonce = presented()
    # signed for one thing, asked for another
    for action, uv in ((128, False), (0, False), (1, True), (True, False)):
        assert not is_grant(lab.session.act(action, uv, make_proof(TOKEN, nonce, 1, False), lab.now_ms, TRUSTED))
        nonce = lab.session.nonce
    other = make_token({EXP: NOW_S + 3601})
    assert act(lab, lab.session.nonce, token=other).reason == reasons.PROOF_FORGED


def test_the_token_hash_is_of_the_bytes_as_presented():
    lab = Lab()
    tagged = make_token(tag=b"\xd2")
    nonce = lab.session.hello(0)
    assert is_accepted(lab.session.present(tagged, TRUSTED, 0))
    lab.now_ms = 0
    assert act(lab, nonce, token=TOKEN).reason == reasons.PROOF_FORGED
    assert is_grant(act(lab, lab.session.nonce, token=tagged))


def test_proof_form():
    good = cbor.decode(make_proof(TOKEN, bytes(16)), 96)
    header = cbor.encode({1: -19})
    for proof in (
        b"",
        b"\x00" * 96,
        cbor.encode([good[0], {}, b"", good[3]]),
        cbor.encode([good[0], {}, cbor.encode(["vitrine/1"]), good[3]]),
        cbor.encode([cbor.encode({1: -19, 4: b"12345678"}), {}, None, good[3]]),
        cbor.encode([cbor.encode({}), {}, None, good[3]]),
        cbor.encode([header, {4: b"x"}, None, good[3]]),
        cbor.encode([header, {}, None, good[3][:63]]),
        make_proof(TOKEN, bytes(16)) + b"\x00",
        TOKEN,
    ):
        lab, _ = presented()
        decision = lab.session.act(1, False, proof, lab.now_ms, TRUSTED)
        assert decision.reason == reasons.PROOF_MALFORMED and lab.holder_checks == 0
    for alg in (-19, -8):
        lab, nonce = presented()
        assert is_grant(act(lab, nonce, header={1: alg}))
    lab, nonce = presented()
    assert is_grant(lab.session.act(1, False, b"\xd2" + make_proof(TOKEN, nonce), lab.now_ms, TRUSTED))


def test_a_present_that_fails_cheaply_verifies_nothing():
    for token in (
        b"",
        bytes(513),
        make_token(signer=THIEF, header={1: -19, 4: kid_of(THIEF)}),
        make_token({1: "nobody"}, signer=THIEF),
        make_token({3: "case-13"}, signer=THIEF),
        make_token({9: "admin"}, signer=THIEF),
        make_token({EXP: NOW_S - 100}, signer=THIEF),
        make_token({EXP: NOW_S + 100_000}, signer=THIEF),
        make_token({EXP: NOW_S}, signer=THIEF),
        make_token({5: NOW_S + 1}, signer=THIEF),
    ):
        lab = Lab()
        assert not is_accepted(lab.session.present(token, TRUSTED, 0))
        assert lab.issuer_checks == 0 and lab.holder_checks == 0
    lab = Lab()
    lab.session.present(TOKEN, UNTRUSTED, 0)
    assert lab.issuer_checks == 0


def test_without_a_token_of_a_known_issuer_an_act_verifies_nothing():
    unknown = make_token(signer=THIEF, header={1: -19, 4: kid_of(THIEF)})
    for token, reason in (
        (None, reasons.NO_TOKEN),
        (b"junk", reasons.TOKEN_MALFORMED),
        (unknown, reasons.ISSUER_UNKNOWN),
    ):
        lab = Lab()
        nonce = lab.session.hello(lab.now_ms)
        if token is not None:
            lab.session.present(token, TRUSTED, 0)
        for _ in range(3):
            decision = act(lab, nonce, token=token or TOKEN)
            assert decision.reason == reason and not decision.is_authentic
            nonce = lab.session.nonce
        assert lab.issuer_checks == 0 and lab.holder_checks == 0


def test_a_stale_nonce_verifies_nothing():
    lab, nonce = presented()
    lab.now_ms += 20_000
    checks = lab.issuer_checks
    act(lab, nonce)
    assert (lab.issuer_checks, lab.holder_checks) == (checks, 0)


def test_a_forged_token_costs_one_verification_and_then_none():
    lab = Lab()
    forged = make_token(signer=THIEF)
    nonce = lab.session.hello(lab.now_ms)
    assert lab.session.present(forged, TRUSTED, 0).reason == reasons.TOKEN_FORGED
    for _ in range(3):
        decision = act(lab, nonce, token=forged)
        assert decision.reason == reasons.TOKEN_FORGED and not decision.is_authentic
        nonce = lab.session.nonce
    assert (lab.issuer_checks, lab.holder_checks) == (1, 0)


def test_a_forged_proof_costs_one_holder_verification():
    lab, nonce = presented()
    for count in range(1, 4):
        assert act(lab, nonce, signer=THIEF).reason == reasons.PROOF_FORGED
        assert (lab.issuer_checks, lab.holder_checks) == (1, count)
        nonce = lab.session.nonce


def test_the_authentic_holder_of_a_refused_token_is_told():
    expired = make_token({EXP: NOW_S})
    lab = Lab()
    before, decision = lab.run(expired)
    assert before.reason == decision.reason == reasons.EXPIRED
    assert decision.is_authentic and not before.is_authentic
    # the proof first, then the issuer's signature, once
    assert (lab.issuer_checks, lab.holder_checks) == (1, 1)
    act(lab, lab.session.nonce, token=expired)
    assert (lab.issuer_checks, lab.holder_checks) == (1, 2)


def test_a_self_made_token_learns_nothing():
    # the thief names the pinned issuer and puts its own key into cnf: its proof verifies, the token does not
    for changes in ({}, {EXP: NOW_S}, {3: "case-13"}, {9: "admin"}, {1: "nobody"}):
        changes = dict(changes)
        changes[8] = {1: {1: 1, -1: 6, -2: THIEF}}
        token = make_token(changes, signer=THIEF)
        lab = Lab()
        _, decision = lab.run(token, signer=THIEF)
        assert decision.reason == reasons.TOKEN_FORGED and not decision.is_authentic
        assert lab.issuer_checks == 1 and lab.holder_checks <= 1


def test_only_grant_counts_as_verified():
    wrongs = [True, 1, 0, -1, 0x3FFFFFFF, DENY, decisions.GRANT, "yes", None, NotImplemented, object(), [GRANT]]
    wrongs += [verdict ^ 1 << bit for verdict in (GRANT, DENY) for bit in range(30)]
    for wrong in wrongs:
        lab = Lab()
        lab.policy._verify_issuer = lambda *_, wrong=wrong: wrong
        assert lab.session.present(TOKEN, TRUSTED, 0).reason == reasons.TOKEN_FORGED
        lab, nonce = presented()
        lab.session._verify_holder = lambda *_, wrong=wrong: wrong
        assert act(lab, nonce).reason == reasons.PROOF_FORGED


def test_a_verification_that_raises_leaves_nothing_usable():
    class Boom(Exception):
        pass

    def boom(*_):
        raise Boom

    lab, nonce = presented()
    lab.session._verify_holder = boom
    with raises(Boom):
        act(lab, nonce)
    assert lab.session.nonce is None
    lab = Lab()
    lab.policy._verify_issuer = boom
    with raises(Boom):
        lab.session.present(TOKEN, TRUSTED, 0)
    assert lab.cache.verdict(sha256(TOKEN).digest()) == DENY


def test_time_passes_between_present_and_act():
    for instant, reason in (
        ((NOW_S + 3599, 1, 0), reasons.GRANTED),
        ((NOW_S + 3599, 2, 0), reasons.GRANTED),
        ((NOW_S + 3600, 1, 0), reasons.EXPIRED),
        ((NOW_S - 61, 1, 0), reasons.NOT_YET_VALID),
        ((NOW_S, 0, 0), reasons.TIME_UNTRUSTED),
        ((NOW_S, 3, 0), reasons.TIME_UNTRUSTED),
        ((NOW_S, None, 0), reasons.TIME_UNTRUSTED),
    ):
        lab, nonce = presented()
        assert act(lab, nonce, instant=instant).reason == reason


def test_a_new_present_replaces_the_token_before():
    lab, _ = presented()
    for token, reason in ((b"junk", reasons.TOKEN_MALFORMED), (make_token(signer=THIEF), reasons.TOKEN_FORGED)):
        assert lab.session.present(token, TRUSTED, 0).reason == reason
        assert act(lab, lab.session.hello(lab.now_ms)).reason == reason
    assert is_accepted(lab.session.present(TOKEN, TRUSTED, 0))
    assert is_grant(act(lab, lab.session.nonce))


def test_sessions_share_the_cache_but_nothing_else():
    lab, nonce = presented()
    lab.session = lab.new_session()
    assert act(lab, nonce).reason == reasons.NO_TOKEN
    assert is_accepted(lab.session.present(TOKEN, TRUSTED, 0))
    assert lab.issuer_checks == 1
    # the nonce of the other session is none of this one
    assert act(lab, nonce).reason == reasons.PROOF_FORGED
    assert is_grant(act(lab, lab.session.nonce))


def test_the_cache_holds_eight_and_only_verified_ones():
    lab = Lab()
    tokens = [make_token({EXP: NOW_S + 100 + n}) for n in range(9)]
    for token in tokens[:8]:
        lab.session.present(token, TRUSTED, 0)
    lab.session.present(tokens[0], TRUSTED, 0)
    assert lab.issuer_checks == 8
    lab.session.present(tokens[8], TRUSTED, 0)
    # the first was used since, so the second gave way
    lab.session.present(tokens[0], TRUSTED, 0)
    assert lab.issuer_checks == 9
    lab.session.present(tokens[1], TRUSTED, 0)
    assert lab.issuer_checks == 10
    forged = make_token(signer=THIEF)
    lab.session.present(forged, TRUSTED, 0)
    lab.session.present(forged, TRUSTED, 0)
    assert lab.issuer_checks == 12
    lab.cache.clear()
    lab.session.present(tokens[0], TRUSTED, 0)
    assert lab.issuer_checks == 13


def test_cache_capacity():
    cache = VerifiedTokens(2)
    cache.add(b"a", GRANT)
    cache.add(b"b", GRANT)
    assert cache.verdict(b"a") == GRANT
    cache.add(b"c", GRANT)
    assert [cache.verdict(name) for name in (b"a", b"b", b"c", b"d")] == [GRANT, DENY, GRANT, DENY]
    cache.clear()
    assert cache.verdict(b"a") == DENY


def test_another_issuers_bounds():
    header = {1: -19, 4: kid_of(OTHER_ISSUER)}
    changes = {3: "group:jewellery", 9: "courier", 5: NOW_S, EXP: NOW_S + 60}
    lab = Lab()
    before, decision = lab.run(make_token(changes, signer=OTHER_ISSUER, header=header))
    assert is_accepted(before) and decision.reason == reasons.SCOPE_MISSING
    # signed by one pinned issuer in the name of the other
    _, decision = lab.run(make_token(changes, signer=OTHER_ISSUER))
    assert decision.reason == reasons.TOKEN_FORGED and not decision.is_authentic


def test_uses_are_spent_by_grants_only():
    lab = Lab()
    token = make_token({USES: 2})
    for how in ({"signer": THIEF}, {"action": 128}, {"action": 7}, {"instant": UNTRUSTED}):
        assert not is_grant(lab.run(token, **how)[1])
    assert lab.uses.saves == 0
    results = [is_grant(lab.run(token)[1]) for _ in range(4)]
    assert results == [True, True, False, False] and lab.uses.saves == 2


REVOKING = {REVOKE: [4, 5, [[1, b"victim 1", 0]]]}


def test_a_verified_token_brings_its_revocations():
    lab = Lab()
    token = make_token(REVOKING)
    nonce = lab.session.hello(0)
    assert is_accepted(lab.session.present(token, TRUSTED, 0))
    assert lab.session.applied == 5
    assert lab.revocations.lists == [(kid_of(ISSUER), 4, 5, [[1, b"victim 1", 0]])]
    assert lab.run(make_token({CTI: b"victim 1"}))[1].reason == reasons.REVOKED
    assert lab.session.applied is None
    # at an act it is known already
    lab.revocations.outcome = reasons.SEQUENCE_STALE
    lab.session.present(token, TRUSTED, 0)
    assert is_grant(act(lab, lab.session.nonce, token=token)) and lab.session.applied is None
    assert nonce != lab.session.nonce


def test_revocations_that_cannot_be_taken():
    for outcome, is_refused in (
        (reasons.SEQUENCE_STALE, False),
        (reasons.SEQUENCE_GAP, False),
        (reasons.FAULT, True),
        (reasons.STORE_FULL, True),
    ):
        lab = Lab()
        lab.revocations.outcome = outcome
        before, decision = lab.run(make_token(REVOKING))
        assert is_accepted(before) is not is_refused and is_grant(decision) is not is_refused
        assert decision.reason == (outcome if is_refused else reasons.GRANTED) and decision.is_authentic
        assert lab.session.applied is None
    lab = Lab()
    lab.revocations.is_broken = True
    for token in (make_token(REVOKING), TOKEN):
        before, decision = lab.run(token)
        assert before.reason == decision.reason == reasons.FAULT


def test_nothing_forged_revokes():
    for changes in ({}, {EXP: NOW_S}, {3: "case-13"}):
        changes = dict(changes)
        changes.update(REVOKING)
        changes[8] = {1: {1: 1, -1: 6, -2: THIEF}}
        lab = Lab()
        lab.run(make_token(changes, signer=THIEF), signer=THIEF)
        assert lab.revocations.lists == [] and lab.session.applied is None
        # genuine, but refused before its signature was looked at, and no proof
        lab.session.present(make_token(REVOKING), UNTRUSTED, 0)
        act(lab, lab.session.nonce, signer=THIEF)
        assert lab.revocations.lists == []


def test_what_an_expired_token_revokes_is_revoked():
    lab = Lab()
    changes = dict(REVOKING)
    changes[EXP] = NOW_S
    before, decision = lab.run(make_token(changes))
    assert before.reason == decision.reason == reasons.EXPIRED
    assert lab.session.applied == 5 and len(lab.revocations.lists) == 1


def test_a_token_can_revoke_itself():
    lab = Lab()
    before, decision = lab.run(make_token({REVOKE: [0, 1, [[1, b"identity", 0]]]}))
    assert before.reason == decision.reason == reasons.REVOKED and lab.session.applied is not None


def test_revoked_between_present_and_act():
    lab, nonce = presented()
    lab.revocations.revoked.add(b"identity")
    assert act(lab, nonce).reason == reasons.REVOKED
    assert lab.session.present(TOKEN, TRUSTED, 0).reason == reasons.REVOKED


def test_only_who_has_proved_the_key_learns_of_a_lock_out():
    lab, nonce = presented()
    lab.lockouts.waits[HOLDER] = 299
    decision = act(lab, nonce)
    assert decision.reason == reasons.LOCKED_OUT and decision.wait_s == 299 and decision.is_authentic
    assert act(lab, lab.session.nonce, signer=THIEF).wait_s == 0
    # somebody else's lock-out is nobody's business
    lab.lockouts.waits = {THIEF: 299}
    assert is_grant(act(lab, lab.session.nonce))


@given(blobs(0, 120), examples=300)
def test_any_proof_bytes(proof):
    lab, _ = presented()
    assert not is_grant(lab.session.act(1, False, proof, lab.now_ms, TRUSTED))


@given(blobs(0, 200), examples=300)
def test_any_token_bytes(token):
    lab = Lab()
    assert not is_accepted(lab.session.present(token, TRUSTED, 0))
    assert lab.issuer_checks == 0


@given(blobs(0, 120), examples=300)
def test_any_signed_payload(payload):
    # even an issuer that signs nonsense does not confuse the lock
    lab = Lab()
    assert lab.session.present(seal(payload), TRUSTED, 0).reason == reasons.TOKEN_MALFORMED


@given(ints(0, 511), ints(1, 255), examples=500)
def test_a_mutated_token_never_grants(index, change):
    token = bytearray(TOKEN)
    token[index % len(token)] ^= change
    lab = Lab()
    before, decision = lab.run(bytes(token))
    assert not is_accepted(before) and not is_grant(decision) and not decision.is_authentic


@given(ints(0, 95), ints(1, 255), examples=500)
def test_a_mutated_proof_never_grants(index, change):
    lab, nonce = presented()
    proof = bytearray(make_proof(TOKEN, nonce))
    proof[index % len(proof)] ^= change
    decision = lab.session.act(1, False, bytes(proof), lab.now_ms, TRUSTED)
    assert not is_grant(decision) and not decision.is_authentic


@given(ints(0, 99), ints(0, 255), ints(0, 3), examples=500)
def test_a_mutated_claim_set_signed_again_grants_only_if_nothing_changed(index, byte, how):
    payload = bytearray(cbor.encode(claims_map()))
    index %= len(payload)
    if how == 0:
        payload = payload[:index] + payload[index + 1 :]
    elif how == 1:
        payload = payload[:index] + bytes((byte,)) + payload[index:]
    else:
        payload[index] = byte
    lab = Lab()
    _, decision = lab.run(seal(bytes(payload)))
    if is_grant(decision):
        # then it is another good token for this lock and this holder
        claims = cbor.decode(bytes(payload), 512)
        assert claims[3] == "case-12" and claims[8] == {1: {1: 1, -1: 6, -2: HOLDER}} and "unlock" in claims[9]
        assert claims[4] > NOW_S >= claims[5] and len(claims) == 6


def _real():
    """Return (vectors, session) with the real Ed25519 and tokens made by the host tools."""
    with open(__file__.rpartition("/")[0] + "/../vectors/session.json") as file:
        vectors = json.load(file)
    provision = parse_provision(bytes.fromhex(vectors["provision"]))

    def verify_issuer(issuer, message, signature):
        return ed25519.verdict(issuer.public_key, message, signature)

    policy = Policy(provision, verify_issuer, Lab().rules)
    nonce = bytes.fromhex(vectors["nonce"])
    return vectors, lambda: Session(policy, ed25519.verdict, lambda size: nonce, VerifiedTokens())


def test_real_signatures():
    vectors, new_session = _real()
    outcomes = {
        "valid": (reasons.GRANTED, 1, True),
        "hold": (reasons.GRANTED, 128, True),
        "expired": (reasons.EXPIRED, 1, True),
        "forged": (reasons.TOKEN_FORGED, 1, False),
        "stolen": (reasons.PROOF_FORGED, 1, False),
        "other_nonce": (reasons.PROOF_FORGED, 1, False),
        "other_lock": (reasons.PROOF_FORGED, 1, False),
    }
    for name, (reason, action, is_authentic) in outcomes.items():
        case = vectors["cases"][name]
        session = new_session()
        session.hello(0)
        instant = (vectors["now_s"], 1, 0)
        session.present(bytes.fromhex(case["token"]), instant, 0)
        decision = session.act(action, False, bytes.fromhex(case["proof"]), 5, instant)
        assert (decision.reason, decision.is_authentic) == (reason, is_authentic), name
        assert is_grant(decision) == (reason == reasons.GRANTED)


def test_the_heap_does_not_grow():
    if not ON_MICROPYTHON:
        return
    lab = Lab()
    token = make_token({USES: 1000})

    def unlock(times):
        for _ in range(times):
            lab.session = lab.new_session()
            lab.run(token)
            lab.run(TOKEN)
            lab.run(make_token(signer=THIEF))
            lab.run(b"junk")
        gc.collect()
        return gc.mem_alloc()

    unlock(5)
    before = unlock(5)
    after = unlock(100)
    assert after - before <= 256, (before, after)
