"""The verdict on a token is the firmware's: same reason, for any token and situation."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.access_lab import Lab
from vitrine.access import reasons
from vitrine.access.policy import Policy
from vitrine.access.provision import parse_provision
from vitrine.access.token import Token as DeviceToken
from vitrine.crypto import ed25519
from vitrine_tools import tokens, verify, when
from vitrine_tools.keys import PrivateKey
from vitrine_tools.protocol import Action, Reason
from vitrine_tools.provisioning import Issuer, Provision
from vitrine_tools.verify import Situation

ISSUER = PrivateKey.from_seed(b"i" * 32)
STRANGER = PrivateKey.from_seed(b"s" * 32)
HOLDER = PrivateKey.from_seed(b"h" * 32)
NOW_S = 1_800_000_000  # a Friday, 09:00 in Vienna
LOCK = Provision(
    lock_id="case-12",
    groups=("group:a", "group:b"),
    issuers=(
        Issuer(
            public_key=ISSUER.public,
            name="store",
            scopes=("unlock", "hold"),
            audiences=("case-12", "group:a"),
            max_lifetime_s=3600,
        ),
    ),
    zone="CET-1CEST,M3.5.0,M10.5.0/3",
    provisioned_at_s=0,
)
GOOD = tokens.Claims(
    audiences=("case-12",), scopes=("unlock",), holder=HOLDER.public, nbf_s=NOW_S, exp_s=NOW_S + 3600, cti=bytes(8)
)

EXI = {"exp_s": None, "nbf_s": None, "exi_s": 60, "cnonce": bytes(16)}


def reason_of(claims, *, signer=ISSUER, provision=LOCK, **situation):
    situation = {"now_s": NOW_S, "provision": provision, **situation}
    return verify.verify(tokens.sign(claims.to_map(), signer), Situation(**situation)).reason


@pytest.mark.parametrize(
    ("change", "situation", "reason"),
    [
        ({}, {}, "Granted"),
        ({"audiences": ("group:a",)}, {}, "Granted"),
        ({"issuer": "store"}, {}, "Granted"),
        ({"issuer": "other"}, {}, "IssuerUnknown"),
        ({}, {"signer": STRANGER}, "IssuerUnknown"),
        ({"audiences": ("case-13",)}, {}, "AudienceMismatch"),
        ({"audiences": ("group:b",)}, {}, "AudienceMismatch"),
        ({}, {"now_s": NOW_S - 1}, "NotYetValid"),
        ({}, {"now_s": NOW_S + 3599}, "Granted"),
        ({}, {"now_s": NOW_S + 3600}, "Expired"),
        ({"exp_s": NOW_S + 3601}, {}, "LifetimeExceeded"),
        ({"exp_s": NOW_S}, {}, "LifetimeInverted"),
        ({"scopes": ("unlock", "admin")}, {}, "ScopeNotAllowed"),
        ({"scopes": ("hold",)}, {}, "ScopeMissing"),
        ({"scopes": ("hold",)}, {"action": Action.HOLD}, "Granted"),
        ({}, {"action": Action.HOLD}, "ScopeMissing"),
        ({"windows": (when.parse_window("Fri 09:00-09:01"),)}, {}, "Granted"),
        ({"windows": (when.parse_window("Fri 08:00-09:00"),)}, {}, "OutsideWindow"),
        ({"windows": (when.parse_window("Thu 22:00-09:30"),)}, {}, "Granted"),
        ({"needs_uv": True}, {}, "UserVerificationRequired"),
        ({"needs_uv": True}, {"is_user_verified": True}, "Granted"),
        ({"persons": 2}, {}, "PersonsRequired"),
        ({"uses": 1}, {}, "Granted"),
        (EXI, {}, "Granted"),
        (EXI, {"now_s": 0}, "Granted"),
        (EXI | {"exi_s": 3601}, {}, "LifetimeExceeded"),
        (EXI | {"nbf_s": NOW_S + 1}, {}, "NotYetValid"),
        (EXI | {"iat_s": NOW_S + 1}, {}, "Granted"),
        ({"cnonce": bytes(16)}, {}, "Granted"),
        ({"is_duress": True}, {}, "Granted"),
    ],
)
def test_reasons(change, situation, reason):
    assert reason_of(dataclasses.replace(GOOD, **change), **situation).name == reason


def test_a_forged_signature():
    token = bytearray(tokens.issue(GOOD, ISSUER))
    token[-1] ^= 1
    verdict = verify.verify(bytes(token), Situation(now_s=NOW_S, provision=LOCK))
    assert verdict.reason == Reason.TokenForged
    assert [check.rule for check in verdict.checks if check.is_met is False] == ["signature"]


def test_what_is_no_token():
    verdict = verify.verify(b"junk", Situation(now_s=NOW_S, provision=LOCK))
    assert (verdict.reason, verdict.token, len(verdict.checks)) == (Reason.TokenMalformed, None, 1)


def test_with_an_issuers_key_alone_the_lock_is_left_open():
    data = tokens.issue(dataclasses.replace(GOOD, issuer="store", windows=((127, 0, 1),)), ISSUER)
    verdict = verify.verify(data, Situation(now_s=NOW_S, issuer_key=ISSUER.public))
    assert {check.rule for check in verdict.checks if check.is_met is None} == {"iss", "aud", "windows"}
    assert verdict.reason == Reason.Granted
    wrong = Situation(now_s=NOW_S, issuer_key=STRANGER.public)
    assert verify.verify(data, wrong).reason == Reason.IssuerUnknown
    elsewhere = Situation(now_s=NOW_S, issuer_key=ISSUER.public, lock_id="case-1", groups=("group:a",))
    assert verify.verify(data, elsewhere).reason == Reason.AudienceMismatch


def on_lock(data, action, uv, now_s):
    """Return the reason of the firmware's policy, with its own verification of the signature."""

    def verify_issuer(issuer, message, signature):
        return ed25519.verdict(issuer.public_key, message, signature)

    policy = Policy(parse_provision(LOCK.to_bytes()), verify_issuer, Lab(zone=LOCK.zone).rules)
    token = DeviceToken(data)
    reason = policy.check(token, (now_s, 1, 0))
    if reason != reasons.GRANTED:
        return reason
    if policy.verify(token) != ed25519.GRANT:
        return reasons.TOKEN_FORGED
    return policy.decide(token, action, uv, (now_s, 1, 0), 0).reason


MINUTES = st.integers(530, 550)
CLAIMS = st.builds(
    tokens.Claims,
    audiences=st.lists(st.sampled_from(["case-12", "other", "group:a", "group:b"]), min_size=1, max_size=3).map(tuple),
    scopes=st.lists(st.sampled_from(["unlock", "hold", "admin"]), min_size=1, max_size=2, unique=True).map(tuple),
    holder=st.just(HOLDER.public),
    nbf_s=st.none() | st.integers(NOW_S - 20, NOW_S + 5),
    iat_s=st.integers(NOW_S - 20, NOW_S + 5),
    exp_s=st.integers(NOW_S - 30, NOW_S + 3700),
    cti=st.just(bytes(8)),
    issuer=st.sampled_from([None, None, "store", "other"]),
    windows=st.lists(st.tuples(st.integers(1, 127), MINUTES, MINUTES), max_size=2).map(tuple),
    needs_uv=st.booleans(),
    uses=st.none() | st.integers(1, 2),
    persons=st.sampled_from([None, 1, 2]),
)


@given(CLAIMS, st.sampled_from([ISSUER, ISSUER, ISSUER, STRANGER]), st.sampled_from(list(Action)), st.booleans())
def test_the_reason_is_the_firmwares(claims, signer, action, uv):
    data = tokens.sign(claims.to_map(), signer)
    situation = Situation(now_s=NOW_S, provision=LOCK, action=action, is_user_verified=uv)
    assert verify.verify(data, situation).reason == on_lock(data, action, uv, NOW_S)


def test_what_only_the_lock_knows_is_left_open():
    data = tokens.issue(dataclasses.replace(GOOD, **EXI), ISSUER)
    verdict = verify.verify(data, Situation(now_s=NOW_S, provision=LOCK))
    assert [check.rule for check in verdict.checks if check.is_met is None] == ["cnonce", "sequence"]
    assert not any(check.rule in ("nbf", "exp") for check in verdict.checks)
