"""Our tokens are CWTs in COSE_Sign1 for the library `cwt`, and its are tokens for us."""

import time

import cwt
import pytest
from cwt import COSE, COSEKey

from vitrine_tools import cbor, cose, protocol, tokens
from vitrine_tools.keys import PrivateKey

ISSUER = PrivateKey.from_seed(b"i" * 32)
HOLDER = PrivateKey.from_seed(b"h" * 32)
THEIR_ISSUER = COSEKey.from_pem(ISSUER.public.to_pem(), kid=ISSUER.public.kid)
ALGORITHMS = [cose.ALG_ED25519, cose.ALG_EDDSA]


def claims(**others):
    others = {"audiences": ["case-12", "group:jewellery"], "now_s": int(time.time()), "valid_s": 3600, **others}
    return tokens.Claims.for_holder(HOLDER.public, **others)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("is_tagged", [True, False])
def test_cwt_verifies_ours(algorithm, is_tagged):
    ours = claims(windows=((62, 540, 1050),), needs_uv=True, uses=3, persons=1, ref=b"sale", sub=b"pseudonym")
    data = tokens.issue(ours, ISSUER, algorithm=algorithm, is_tagged=is_tagged)
    decoded = cwt.decode(data if is_tagged else b"\xd2" + data, THEIR_ISSUER)  # cwt wants the tag
    assert decoded == ours.to_map()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_cwt_refuses_ours_when_forged_expired_or_early(algorithm):
    forger = PrivateKey.from_seed(b"f" * 32)
    header = {1: algorithm, 4: ISSUER.public.kid}
    forged = cose.sign1(header, cbor.encode(claims().to_map()), forger, is_tagged=True)
    with pytest.raises(cwt.VerifyError):
        cwt.decode(forged, THEIR_ISSUER)
    for wrong in (claims(now_s=int(time.time()) - 7200), claims(now_s=int(time.time()) + 7200)):
        with pytest.raises(cwt.VerifyError):
            cwt.decode(tokens.issue(wrong, ISSUER, algorithm=algorithm, is_tagged=True), THEIR_ISSUER)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_we_verify_theirs(algorithm, tmp_path):
    ISSUER.save(tmp_path / "k.pem")
    alg = {cose.ALG_ED25519: "Ed25519", cose.ALG_EDDSA: "EdDSA"}[algorithm]
    their_key = COSEKey.from_pem((tmp_path / "k.pem").read_bytes(), kid=ISSUER.public.kid, alg=alg)
    theirs = COSE.new().encode_and_sign(
        cbor.encode(claims().to_map()), their_key, protected={1: algorithm, 4: ISSUER.public.kid}, unprotected={}
    )
    token = tokens.parse(theirs)
    assert token.is_signed_by(ISSUER.public) and token.sign1.is_tagged
    assert token.claims.audiences == ("case-12", "group:jewellery")
    assert not tokens.parse(theirs[:-1] + bytes([theirs[-1] ^ 1])).is_signed_by(ISSUER.public)


def test_cwt_verifies_our_proof():
    proof = protocol.make_proof(HOLDER, "case-12", bytes(16), 1, False, bytes(32))
    payload = protocol.proof_payload("case-12", bytes(16), 1, False, bytes(32))
    key = COSEKey.from_pem(HOLDER.public.to_pem())
    COSE.new().decode(b"\xd2" + proof, key, detached_payload=payload)
    with pytest.raises(cwt.VerifyError):
        COSE.new().decode(b"\xd2" + proof, key, detached_payload=payload[:-1] + b"\x01")
