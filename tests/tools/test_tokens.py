"""Tokens: exact bytes, nothing lost on the way, refused for the right reason, and read alike by the firmware."""

import dataclasses
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrine.access.token import Token as DeviceToken
from vitrine.access.token import TokenError as DeviceTokenError
from vitrine.crypto import ed25519
from vitrine_tools import cbor, cose, tokens
from vitrine_tools.errors import TokenError
from vitrine_tools.keys import PrivateKey
from vitrine_tools.tokens import Claims

ISSUER = PrivateKey.from_seed(b"i" * 32)
HOLDER = PrivateKey.from_seed(b"h" * 32)
NOW_S = 1_800_000_000
PLAIN = Claims(
    audiences=("case-12",), scopes=("unlock",), holder=HOLDER.public, nbf_s=NOW_S, exp_s=NOW_S + 3600, cti=bytes(8)
)
EXI = {"exp_s": None, "nbf_s": None, "exi_s": 60, "cnonce": bytes(16)}

LOCKS = st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True)
GROUPS = st.from_regex(r"group:[a-z0-9-]{1,26}", fullmatch=True)
OPTIONAL = st.none()
U32 = st.integers(0, 2**32 - 1)
ENTRIES = st.one_of(
    st.tuples(st.just(1), st.binary(min_size=8, max_size=16), U32),
    st.tuples(st.just(2), st.binary(min_size=1, max_size=16), U32),
    st.tuples(st.just(3), st.binary(min_size=8, max_size=8), U32),
    st.tuples(st.just(4), U32, st.just(0)),
)
ALL_CLAIMS = dict(
    audiences=st.lists(LOCKS | GROUPS, min_size=1, max_size=4).map(tuple),
    scopes=st.lists(st.sampled_from(tokens.SCOPES), min_size=1, max_size=5, unique=True).map(tuple),
    holder=st.sampled_from([HOLDER.public, ISSUER.public]),
    iat_s=OPTIONAL | st.integers(0, 2**33),
    issuer=OPTIONAL | st.text(min_size=0, max_size=8),
    sub=OPTIONAL | st.binary(min_size=1, max_size=16),
    windows=st.lists(st.tuples(st.integers(1, 255), st.integers(0, 1440), st.integers(0, 1440)), max_size=6).map(tuple),
    needs_uv=st.booleans(),
    uses=OPTIONAL | st.integers(1, 1000),
    persons=OPTIONAL | st.integers(1, 3),
    ref=OPTIONAL | st.binary(min_size=1, max_size=32),
    revoke=OPTIONAL | st.tuples(U32, st.integers(1, 2**32 - 1), st.lists(ENTRIES, max_size=3).map(tuple)),
    is_duress=st.booleans(),
)
CNONCES = st.binary(min_size=16, max_size=16)
CLAIMS = st.builds(
    Claims,
    nbf_s=st.integers(0, NOW_S),
    exp_s=st.integers(NOW_S + 1, 2**33),
    cti=st.binary(min_size=8, max_size=16),
    cnonce=OPTIONAL | CNONCES,
    **ALL_CLAIMS,
) | st.builds(
    Claims,
    nbf_s=OPTIONAL | st.integers(0, 2**33),
    exi_s=st.integers(1, 86_400),
    cti=st.binary(min_size=8, max_size=8),
    cnonce=CNONCES,
    **ALL_CLAIMS,
)


def test_exact_bytes():
    """Ed25519 is deterministic, so a token is; this one was checked by hand against SPEC.md section 2."""
    token = tokens.issue(PLAIN, ISSUER)
    kid = hashlib.sha256(ISSUER.public.raw).digest()[:8]
    protected = bytes.fromhex("a201320448") + kid
    payload = (
        bytes.fromhex("a60367")
        + b"case-12"
        + bytes.fromhex("041a6b49e010051a6b49d2000748" + "00" * 8)
        + bytes.fromhex("08a101a301012006215820")
        + HOLDER.public.raw
        + bytes.fromhex("0966")
        + b"unlock"
    )
    assert token[:1] == b"\x84"
    assert token[1:-66] == b"\x4d" + protected + b"\xa0" + b"\x58" + bytes([len(payload)]) + payload
    signed = b"\x84\x6aSignature1\x4d" + protected + b"\x40\x58" + bytes([len(payload)]) + payload
    assert token[-66:-64] == b"\x58\x40" and ISSUER.public.verify(signed, token[-64:])


@given(CLAIMS, st.booleans(), st.sampled_from([cose.ALG_ED25519, cose.ALG_EDDSA]))
def test_what_is_issued_is_read(claims, is_tagged, algorithm):
    try:
        data = tokens.issue(claims, ISSUER, is_tagged=is_tagged, algorithm=algorithm)
    except TokenError as error:
        assert "at most 512" in str(error)
        return
    token = tokens.parse(data)
    assert token.claims == claims
    assert token.is_signed_by(ISSUER.public) and not token.is_signed_by(HOLDER.public)
    assert (token.sign1.is_tagged, token.kid) == (is_tagged, ISSUER.public.kid)
    on_lock = DeviceToken(data)
    assert ed25519.verify(ISSUER.public.raw, on_lock.message(), on_lock.signature)
    assert (on_lock.audiences, on_lock.exp, on_lock.cti) == (list(claims.audiences), claims.exp_s, claims.cti)
    assert on_lock.not_before == (claims.start_s if claims.has_start else None)
    assert on_lock.issued == (claims.nbf_s if claims.iat_s is None else claims.iat_s)
    assert (on_lock.needs_uv, on_lock.uses) == (claims.needs_uv, claims.uses)
    assert (on_lock.exi, on_lock.cnonce, on_lock.is_duress) == (claims.exi_s, claims.cnonce, claims.is_duress)
    revokes = claims.revoke and (*claims.revoke[:2], [list(entry) for entry in claims.revoke[2]])
    assert on_lock.revokes == revokes
    assert [tuple(window) for window in on_lock.windows] == list(claims.windows)
    assert on_lock.holder_key == claims.holder.raw and on_lock.hash == hashlib.sha256(data).digest()


def read_here(data):
    try:
        claims = tokens.parse(data).claims
        return claims.exp_s, claims.exi_s
    except TokenError:
        return None


def read_on_lock(data):
    try:
        token = DeviceToken(data)
        return token.exp, token.exi
    except DeviceTokenError:
        return None


def test_nbf_is_a_minute_ago_and_the_time_counts_from_it():
    claims = Claims.for_holder(HOLDER.public, ["case-12"], now_s=NOW_S, valid_s=8 * 3600)
    assert (claims.nbf_s, claims.exp_s) == (NOW_S - 60, NOW_S - 60 + 8 * 3600)
    assert len(claims.cti) == 16 and claims.cti != Claims.for_holder(HOLDER.public, ["a"], now_s=0, valid_s=1).cti
    claims = Claims.for_holder(HOLDER.public, ["case-12"], now_s=NOW_S, valid_s=60, nbf_s=NOW_S + 5)
    assert (claims.nbf_s, claims.exp_s) == (NOW_S + 5, NOW_S + 65)


def test_sequence_numbers_rise_by_themselves():
    made = [
        Claims.for_seconds(HOLDER.public, ["case-12"], exi_s=60, cnonce=bytes(16), now_s=NOW_S).cti for _ in range(3)
    ]
    assert all(len(cti) == 8 for cti in made) and made == sorted(made)
    claims = Claims.for_seconds(HOLDER.public, ["a"], exi_s=60, cnonce=bytes(16), now_s=NOW_S, cti=bytes(8))
    assert claims.cti == bytes(8) and claims.iat_s == NOW_S and not claims.has_start and claims.lifetime_s == 60


def test_too_large_a_token_is_not_issued():
    windows = tuple((127, minute, minute + 300) for minute in range(300, 332))
    with pytest.raises(TokenError, match=r"at most 512.*name fewer"):
        tokens.issue(dataclasses.replace(PLAIN, windows=windows, audiences=("a" * 32,) * 8), ISSUER)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"audiences": ()}, "aud"),
        ({"audiences": ("Case 12",)}, "not a lock id"),
        ({"audiences": ("group:",)}, "not a group"),
        ({"audiences": tuple(f"case-{n}" for n in range(9))}, "1 to 8"),
        ({"scopes": ()}, "scope"),
        ({"scopes": ("unlock", "unlock")}, "scope"),
        ({"scopes": ("open",)}, "scope"),
        ({"exp_s": NOW_S}, "end before it begins"),
        ({"nbf_s": None}, "neither nbf nor iat"),
        ({"nbf_s": -1}, "nbf"),
        ({"cti": bytes(7)}, "cti"),
        ({"cti": bytes(17)}, "cti"),
        ({"sub": b""}, "sub"),
        ({"sub": bytes(17)}, "sub"),
        ({"uses": 0}, "uses"),
        ({"uses": 1001}, "uses"),
        ({"persons": 4}, "persons"),
        ({"ref": bytes(33)}, "ref"),
        ({"issuer": "x" * 33}, "iss"),
        ({"windows": ((0, 1, 2),)}, "days"),
        ({"windows": ((256, 1, 2),)}, "days"),
        ({"exp_s": None}, "end before it begins"),
        ({"exi_s": 60, "cnonce": bytes(16)}, "one of exp and exi"),
        (EXI | {"cnonce": None}, "cnonce"),
        (EXI | {"cnonce": bytes(15)}, "cnonce"),
        (EXI | {"exi_s": 0}, "before it begins"),
        (EXI | {"exi_s": 86_401}, "exi"),
        (EXI | {"cti": bytes(9)}, "cti"),
        ({"revoke": (0, 0, ())}, "sequence of revocations"),
        ({"revoke": (-1, 1, ())}, "sequence before"),
        ({"revoke": (0, 1, ((5, b"", 0),))}, "kind"),
        ({"revoke": (0, 1, ((1, b"short", 0),))}, "value of a revocation"),
        ({"revoke": (0, 1, ((4, NOW_S, 1),))}, "until"),
        ({"windows": ((1, 1, 1441),)}, "minute"),
        ({"windows": ((1, 1, 2),) * 33}, "windows"),
    ],
)
def test_claims_that_break_a_rule_are_not_issued(change, word):
    with pytest.raises(TokenError, match=word) as caught:
        tokens.issue(dataclasses.replace(PLAIN, **change), ISSUER)
    assert "\n" not in str(caught.value)


WRONG = [
    {tokens.ISS: 5},
    {tokens.ISS: "é" * 17},
    {tokens.SUB: "text"},
    {tokens.AUD: []},
    {tokens.AUD: [1]},
    {tokens.AUD: b"case-12"},
    {tokens.AUD: ["a"] * 9},
    {tokens.EXP: -1},
    {tokens.EXP: True},
    {tokens.EXP: "tomorrow"},
    {tokens.NBF: None},
    {tokens.IAT: False},
    {tokens.CTI: "12345678"},
    {tokens.CNF: {1: {1: 1, -1: 6, -2: bytes(31)}}},
    {tokens.CNF: {1: {1: True, -1: 6, -2: bytes(32)}}},
    {tokens.CNF: {1: {1: 1, -1: 6, -2: bytes(32), 3: -8}}},
    {tokens.CNF: {1: {1: 1, -1: 6, -2: bytes(32)}, 3: b"kid"}},
    {tokens.CNF: {3: b"kid"}},
    {tokens.CNF: []},
    {tokens.SCOPE: "unlock  hold"},
    {tokens.SCOPE: " unlock"},
    {tokens.SCOPE: ""},
    {tokens.SCOPE: ["unlock"]},
    {tokens.SCOPE: "Unlock"},
    {tokens.WINDOWS: []},
    {tokens.WINDOWS: [[1, 2]]},
    {tokens.WINDOWS: [[1, 2, True]]},
    {tokens.WINDOWS: {}},
    {tokens.UV: False},
    {tokens.UV: 1},
    {tokens.USES: True},
    {tokens.USES: 1001},
    {tokens.PERSONS: 0},
    {tokens.REF: b""},
    {10: 1},
    {0: 1},
    {"x": 1},
    {-70006: True},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_hostile_claims_are_refused_here_and_by_the_lock(change):
    data = tokens.sign({**PLAIN.to_map(), **change}, ISSUER)
    assert read_on_lock(data) is None
    with pytest.raises(TokenError):
        tokens.parse(data)


@pytest.mark.parametrize("missing", [tokens.AUD, tokens.EXP, tokens.NBF, tokens.CTI, tokens.CNF, tokens.SCOPE])
def test_missing_claims_are_refused_here_and_by_the_lock(missing):
    claims = PLAIN.to_map()
    del claims[missing]
    data = tokens.sign(claims, ISSUER)
    assert read_on_lock(data) is None
    with pytest.raises(TokenError, match=r"missing|neither|one of"):
        tokens.parse(data)


def test_iat_stands_in_for_nbf():
    claims = dataclasses.replace(PLAIN, nbf_s=None, iat_s=NOW_S + 5)
    assert tokens.parse(tokens.issue(claims, ISSUER)).claims.start_s == NOW_S + 5


def sign1(header, unprotected=None, payload=None, signature=None):
    protected = cbor.encode(header)
    body = cbor.encode(PLAIN.to_map()) if payload is None else payload
    signature = signature or ISSUER.sign(cose.signature_input(protected, body))
    return cbor.encode([protected, unprotected or {}, body, signature])


KID = ISSUER.public.kid


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\xd2",
        b"\xd2\xd2" + sign1({1: -19, 4: KID}),
        b"\xd3" + sign1({1: -19, 4: KID}),
        sign1({1: -19, 4: KID}) + b"\x00",
        sign1({1: -7, 4: KID}),
        sign1({1: -19}),
        sign1({1: -19, 4: KID[:7]}),
        sign1({1: -19, 4: "12345678"}),
        sign1({1: -19, 4: KID, 2: [1]}),
        sign1({1: -19, 4: KID}, {4: KID}),
        sign1({1: -19, 4: KID}, signature=bytes(63)),
        sign1({1: -19, 4: KID}, payload=b"\xa0\x00"),
        sign1({1: -19, 4: KID}, payload=b"\x80"),
        sign1({}),
        cbor.encode([cbor.encode({1: -19, 4: KID}), {}, None, bytes(64)]),
        cbor.encode([cbor.encode({1: -19, 4: KID}), {}, bytes(8)]),
        bytes(513),
    ],
)
def test_wrong_messages_are_refused_here_and_by_the_lock(data):
    assert read_on_lock(data) is None
    with pytest.raises(TokenError, match="not a token"):
        tokens.parse(data)


@given(CLAIMS, st.data())
def test_a_damaged_token_is_read_alike_and_never_believed(claims, data):
    damaged = bytearray(tokens.sign(claims.to_map(), ISSUER))
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    assert read_here(bytes(damaged)) == read_on_lock(bytes(damaged))
    if read_here(bytes(damaged)) is not None:
        assert not tokens.parse(bytes(damaged)).is_signed_by(ISSUER.public)


@given(st.binary(max_size=600))
def test_any_bytes_are_a_token_or_an_error_in_one_line(data):
    try:
        tokens.parse(data)
    except TokenError as error:
        assert "\n" not in str(error)
