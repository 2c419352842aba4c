"""Make tests/vectors/session.json: one lock, its issuer, a holder, and what each may send, signed.

The device only verifies, so what a portable test needs signed is made here, with the host's independent code. Ed25519
is deterministic: `python tests/vectors/make_session.py` gives the same bytes each time, and a test holds it to that.
"""

import json
from pathlib import Path

from vitrine_tools import cbor, cose, protocol, tokens
from vitrine_tools.keys import PrivateKey
from vitrine_tools.protocol import Action
from vitrine_tools.provisioning import Issuer, Provision

FILE = Path(__file__).with_name("session.json")
NOW_S = 1_800_000_000
NONCE = bytes(range(0x40, 0x50))
LOCK = "case-12"


def make() -> dict:
    """Return the vectors: hex strings by name."""
    issuer, holder, thief = (PrivateKey.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
    provision = Provision(
        lock_id=LOCK,
        groups=("group:jewellery",),
        issuers=(
            Issuer(
                public_key=issuer.public,
                name="store-7",
                scopes=("unlock", "hold", "service"),
                audiences=(LOCK, "group:jewellery"),
                max_lifetime_s=86_400,
            ),
        ),
        provisioned_at_s=NOW_S - 1000,
    )

    def token(signer=issuer, audience=LOCK, now_s=NOW_S, **claims):
        claims = {"scopes": ("unlock", "hold"), "cti": b"\x11" * 8, "sub": b"\x22" * 8} | claims
        wanted = tokens.Claims.for_holder(holder.public, (audience,), now_s=now_s, valid_s=28_800, **claims)
        # the header names the pinned issuer whoever signs
        header = {cose.HEADER_ALG: cose.ALG_ED25519, cose.HEADER_KID: issuer.public.kid}
        return cose.sign1(header, cbor.encode(wanted.to_map()), signer)

    def proof(data, signer=holder, action=Action.UNLOCK, uv=False, nonce=NONCE, lock=LOCK):
        return protocol.make_proof(signer, lock, nonce, action, uv, protocol.token_hash(data))

    valid = token()
    case = {
        "valid": (valid, proof(valid)),
        "hold": (valid, proof(valid, action=Action.HOLD)),
        "expired": (data := token(now_s=NOW_S - 90_000), proof(data)),
        "early": (data := token(now_s=NOW_S + 90_000), proof(data)),
        "elsewhere": (data := token(audience="case-13"), proof(data)),
        "forged": (data := token(signer=thief), proof(data)),
        "stolen": (valid, proof(valid, signer=thief)),
        "other_nonce": (valid, proof(valid, nonce=bytes(16))),
        "other_lock": (valid, proof(valid, lock="case-13")),
        "needs_uv": (data := token(needs_uv=True), proof(data)),
        "needs_scope": (data := token(scopes=("hold",)), proof(data)),
        "service": (served := token(scopes=("service",), sub=b"engineer"), proof(served, action=Action.SERVICE)),
        "test": (served, proof(served, action=Action.TEST)),
        "lock": (valid, proof(valid, action=Action.LOCK)),
        "no_service": (valid, proof(valid, action=Action.SERVICE)),
        "no_test": (valid, proof(valid, action=Action.TEST)),
    }
    return {
        "now_s": NOW_S,
        "lock_id": LOCK,
        "nonce": NONCE.hex(),
        "provision": provision.to_bytes().hex(),
        "cases": {name: {"token": data.hex(), "proof": signed.hex()} for name, (data, signed) in case.items()},
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(make(), indent=1) + "\n")
