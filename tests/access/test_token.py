"""vitrine.access.token: each rule of SPEC.md section 2, at its border."""

from hashlib import sha256

from support import given, ints, raises
from support.access_lab import (
    AUD,
    CNF,
    CNONCE,
    CTI,
    DURESS,
    EXI,
    EXP,
    HOLDER,
    IAT,
    ISS,
    ISSUER,
    MISSING,
    NBF,
    NONCE,
    NOW_S,
    PERSONS,
    REF,
    REVOKE,
    SCOPE,
    SUB,
    USES,
    UV,
    WINDOWS,
    claims_map,
    kid_of,
    make_token,
    seal,
    sign,
)
from vitrine.access import scopes
from vitrine.access.token import MAX_SIZE, Token, TokenError
from vitrine.codec import cbor

# RFC 8747 section 3: well-known cnf members, none of which is an Ed25519 COSE_Key
RFC8747 = (
    {1: {1: 2, -1: 1, -2: b"x" * 32, -3: b"y" * 32}},
    {3: b"\xdf\xd1\xaa\x97\x6d\x8d\x45\x75\xa0\xfe\x34\xb9\x6d\xe2\xbf\xad"},
    {2: [b"\xa1\x01\x0a", {5: b"nonce"}, b"ciphertext"]},
)


def key(**changes):
    members = {1: 1, -1: 6, -2: HOLDER}
    members.update({{"kty": 1, "crv": -1, "x": -2}[name]: value for name, value in changes.items()})
    return {1: members}


def test_a_plain_token():
    data = make_token()
    token = Token(data)
    assert token.kid == kid_of(ISSUER) and token.hash == sha256(data).digest()
    assert token.audiences == ["case-12"] and token.exp == NOW_S + 3600 and token.not_before == NOW_S - 60
    assert token.cti == b"identity" and token.holder_key == HOLDER and token.scopes == scopes.UNLOCK
    assert token.issuer_name is None and token.sub is None and token.ref is None and token.uses is None
    assert token.windows == [] and token.needs_uv is False and token.persons == 1
    assert token.exi is None and token.cnonce is None and token.revokes is None and token.is_duress is False
    assert token.issued == NOW_S - 60
    assert token.signature == sign(ISSUER, token.message())


def test_a_full_token():
    windows = [[62, 540, 1050], [65, 1320, 120]]
    token = Token(
        make_token(
            {
                ISS: "hq",
                SUB: b"pseudonym",
                AUD: ["case-12", "group:jewellery"],
                IAT: NOW_S,
                SCOPE: "admin service courier hold unlock",
                WINDOWS: windows,
                UV: True,
                USES: 3,
                PERSONS: 3,
                REF: b"sale 1",
                CNONCE: NONCE,
                REVOKE: [3, 5, [[1, b"identity", 0]]],
                DURESS: True,
            }
        )
    )
    assert token.issuer_name == "hq" and token.sub == b"pseudonym" and token.ref == b"sale 1"
    assert token.audiences == ["case-12", "group:jewellery"] and token.scopes == 31
    assert token.windows == windows and token.needs_uv is True and token.uses == 3 and token.persons == 3
    assert token.cnonce == NONCE and token.revokes == (3, 5, [[1, b"identity", 0]]) and token.is_duress is True
    assert token.issued == NOW_S and token.not_before == NOW_S - 60


def with_exi(**more):
    changes = {EXP: MISSING, NBF: MISSING, EXI: 60, CTI: bytes(8), CNONCE: NONCE}
    changes.update({{"nbf": NBF, "iat": IAT}[name]: value for name, value in more.items()})
    return changes


def test_a_token_with_exi():
    token = Token(make_token(with_exi()))
    assert token.exi == 60 and token.exp is None and token.cnonce == NONCE
    assert token.not_before is None and token.issued is None
    # iat says when, and binds nothing: the lock may not know the time
    token = Token(make_token(with_exi(iat=9)))
    assert token.not_before is None and token.issued == 9
    token = Token(make_token(with_exi(nbf=8)))
    assert token.not_before == 8 and token.issued == 8
    token = Token(make_token(with_exi(nbf=8, iat=9)))
    assert token.not_before == 8 and token.issued == 9


def changed(claims, **more):
    names = {"exi": EXI, "exp": EXP, "cti": CTI, "cnonce": CNONCE}
    claims = dict(claims)
    claims.update({names[name]: value for name, value in more.items()})
    return claims


def test_tag_and_algorithms():
    tagged = Token(make_token(tag=b"\xd2"))
    assert tagged.hash != Token(make_token()).hash and tagged.message() == Token(make_token()).message()
    assert Token(make_token(header={1: -8, 4: kid_of(ISSUER)})).kid == kid_of(ISSUER)


GOOD = (
    {ISS: ""},
    {ISS: "x" * 32},
    {ISS: "\u00e9" * 16},
    {SUB: b"s"},
    {SUB: b"s" * 16},
    {AUD: ["a"]},
    {AUD: ["a" * 32] * 8},
    {EXP: 0},
    {EXP: (1 << 64) - 1},
    {NBF: 0},
    {NBF: MISSING, IAT: 0},
    {NBF: 5, IAT: 9},
    {CTI: b"c" * 8},
    {CTI: b"c" * 16},
    {SCOPE: "unlock"},
    {SCOPE: "hold unlock"},
    {WINDOWS: [[1, 0, 0]]},
    {WINDOWS: [[127, 1440, 1440]]},
    {WINDOWS: [[127, 0, 1]] * 32},
    {USES: 1},
    {USES: 1000},
    {PERSONS: 1},
    {PERSONS: 3},
    {REF: b"r"},
    {REF: b"r" * 32},
    {CNONCE: NONCE},
    {WINDOWS: [[128, 0, 1]]},
    {WINDOWS: [[255, 0, 1]]},
    {DURESS: True},
    {REVOKE: [0, 1, []]},
    {REVOKE: [9, 1, []]},  # nonsense, but what to do with it is for revocation.py to say
    {REVOKE: [0xFFFFFFFF, 0xFFFFFFFF, [[4, NOW_S, 0]]]},
    with_exi(),
    changed(with_exi(), exi=1),
    changed(with_exi(), exi=86_400),
    changed(with_exi(), cti=b"\xff" * 8),
)

BAD = (
    {ISS: "x" * 33},
    {ISS: "\u00e9" * 17},  # 34 bytes, although 17 characters
    {ISS: b"hq"},
    {ISS: None},
    {SUB: b""},
    {SUB: b"s" * 17},
    {SUB: "s"},
    {SUB: None},
    {AUD: MISSING},
    {AUD: []},
    {AUD: ["a"] * 9},
    {AUD: "a" * 33},
    {AUD: [b"a"]},
    {AUD: [["a"]]},
    {AUD: ["a", None]},
    {AUD: None},
    {AUD: b"case-12"},
    {AUD: {"case-12": 1}},
    {EXP: MISSING},
    {EXP: -1},
    {EXP: True},
    {EXP: "1800003600"},
    {EXP: None},
    {NBF: MISSING},
    {NBF: -1},
    {NBF: None},
    {NBF: False},
    {IAT: -1},
    {IAT: None},
    {NBF: MISSING, IAT: "0"},
    {CTI: MISSING},
    {CTI: b"c" * 7},
    {CTI: b"c" * 17},
    {CTI: "identity"},
    {CNF: MISSING},
    {CNF: None},
    {CNF: HOLDER},
    {CNF: {}},
    {CNF: {1: HOLDER}},
    {CNF: {1: {}}},
    {CNF: {2: key()[1]}},
    {CNF: {1: key()[1], 3: b"kid"}},
    {CNF: key(kty=2)},
    {CNF: key(kty=True)},
    {CNF: key(kty="OKP")},
    {CNF: key(crv=7)},
    {CNF: key(crv=4)},
    {CNF: key(crv=-6)},
    {CNF: key(x=HOLDER[:31])},
    {CNF: key(x=HOLDER + b"x")},
    {CNF: key(x="x" * 32)},
    {CNF: {1: {1: 1, -1: 6}}},
    {CNF: {1: {1: 1, -1: 6, -2: HOLDER, -4: b"d" * 32}}},  # with its secret
    {CNF: {1: {1: 1, -1: 6, -3: HOLDER}}},
    {SCOPE: MISSING},
    {SCOPE: ""},
    {SCOPE: " unlock"},
    {SCOPE: "unlock "},
    {SCOPE: "unlock  hold"},
    {SCOPE: "unlock unlock"},
    {SCOPE: "unlock\thold"},
    {SCOPE: "Unlock"},
    {SCOPE: "open"},
    {SCOPE: "unlock hold courier service admin unlock"},
    {SCOPE: b"unlock"},
    {SCOPE: ["unlock"]},
    {SCOPE: None},
    {WINDOWS: []},
    {WINDOWS: None},
    {WINDOWS: {}},
    {WINDOWS: [[127, 0, 1]] * 33},
    {WINDOWS: [127, 0, 1]},
    {WINDOWS: [[127, 0]]},
    {WINDOWS: [[127, 0, 1, 2]]},
    {WINDOWS: [[0, 0, 1]]},
    {WINDOWS: [[256, 0, 1]]},
    {WINDOWS: [[-1, 0, 1]]},
    {WINDOWS: [[127, -1, 1]]},
    {WINDOWS: [[127, 1441, 1]]},
    {WINDOWS: [[127, 0, 1441]]},
    {WINDOWS: [[127, 0, -1]]},
    {WINDOWS: [[True, 0, 1]]},
    {WINDOWS: [[127, None, 1]]},
    {WINDOWS: [[127, 0, "1"]]},
    {UV: False},
    {UV: 1},
    {UV: None},
    {USES: 0},
    {USES: 1001},
    {USES: -1},
    {USES: True},
    {USES: None},
    {PERSONS: 0},
    {PERSONS: 4},
    {PERSONS: True},
    {PERSONS: None},
    {REF: b""},
    {REF: b"r" * 33},
    {REF: "r"},
    {EXP: MISSING, NBF: MISSING},
    {EXI: 60},  # and exp
    changed(with_exi(), exp=NOW_S),
    changed(with_exi(), exi=0),
    changed(with_exi(), exi=86_401),
    changed(with_exi(), exi=-1),
    changed(with_exi(), exi=True),
    changed(with_exi(), exi=None),
    changed(with_exi(), exi="60"),
    changed(with_exi(), cti=bytes(7)),
    changed(with_exi(), cti=bytes(9)),
    changed(with_exi(), cti=bytes(16)),
    changed(with_exi(), cnonce=MISSING),
    changed(with_exi(), cnonce=NONCE[:15]),
    {CNONCE: NONCE[:15]},
    {CNONCE: NONCE + b"x"},
    {CNONCE: "nonce of 16 text"},
    {CNONCE: None},
    {DURESS: False},
    {DURESS: 1},
    {DURESS: None},
    {REVOKE: None},
    {REVOKE: []},
    {REVOKE: [0, 1]},
    {REVOKE: [0, 1, [], 0]},
    {REVOKE: {0: 0, 1: 1, 2: []}},
    {REVOKE: [0, 0, []]},
    {REVOKE: [-1, 1, []]},
    {REVOKE: [0, 1 << 32, []]},
    {REVOKE: [1 << 32, 1, []]},
    {REVOKE: [False, 1, []]},
    {REVOKE: [0, True, []]},
    {REVOKE: [0, 1, None]},
    {REVOKE: [0, 1, [[5, b"identity", 0]]]},
    {REVOKE: [0, 1, [[1, b"short", 0]]]},
    # claims that this firmware does not know
    {38: bytes(16)},
    {41: 60},
    {0: 1},
    {10: 1},
    {-1: 1},
    {-70000: 1},
    {-70008: 1},
    {-259: b"eat"},
    {"scope": "unlock"},
    {"1": "hq"},
)


def test_good_claims():
    for changes in GOOD:
        Token(make_token(changes))


def test_bad_claims():
    for changes in BAD:
        try:
            Token(make_token(changes))
        except TokenError:
            continue
        raise AssertionError("accepted: " + repr(changes))


def test_rfc_8747_examples_are_not_ed25519_holders():
    for cnf in RFC8747:
        with raises(TokenError):
            Token(make_token({CNF: cnf}))


def test_headers():
    kid = kid_of(ISSUER)
    for header in (
        {1: -19},
        {4: kid},
        {1: -19, 4: kid[:7]},
        {1: -19, 4: kid + b"x"},
        {1: -19, 4: "12345678"},
        {1: -19, 4: None},
        {1: -19, 4: kid, 3: 0},
        {1: -19, 4: kid, 2: [99], 99: 1},
        {1: -7, 4: kid},
        {1: -19, 5: kid},
    ):
        with raises(TokenError):
            Token(make_token(header=header))


def test_payload_forms():
    protected = cbor.encode({1: -19, 4: kid_of(ISSUER)})
    for payload in (b"", b"\x80", b"\xa0", b"\xf6", b"\x01", cbor.encode([1, 2]), cbor.encode(claims_map()) + b"\x00"):
        with raises(TokenError):
            Token(seal(payload))
    with raises(TokenError):
        Token(cbor.encode([protected, {}, None, bytes(64)]))


def test_512_bytes():
    def sized(windows, ref):
        # the time limit of each window takes the same room
        changes = {AUD: ["a" * 32] * 8, WINDOWS: [[64, 1000, 1001]] * windows}
        if ref:
            changes[REF] = b"r" * ref
        return make_token(changes)

    size, windows, ref = max(
        (len(sized(windows, ref)), windows, ref)
        for windows in range(1, 9)
        for ref in range(33)
        if len(sized(windows, ref)) <= MAX_SIZE
    )
    assert size == MAX_SIZE == 512
    Token(sized(windows, ref))
    with raises(TokenError):
        Token(sized(windows, ref + 1))
    # the tag counts
    with raises(TokenError):
        Token(b"\xd2" + sized(windows, ref))


def test_errors_say_nothing_of_the_token():
    for changes in BAD:
        try:
            Token(make_token(changes))
        except TokenError as error:
            assert str(error) == "not a token"


@given(ints(1, 5), examples=20)
def test_a_token_cut_short_is_malformed(step):
    data = make_token()
    for end in range(0, len(data), step):
        with raises(TokenError):
            Token(data[:end])
