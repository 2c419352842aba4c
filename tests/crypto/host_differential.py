"""Every way to verify gives libsodium's answer, on thousands of valid, corrupted and adversarial signatures."""

import hashlib
import importlib.util
import json
import os
import random
import subprocess
from pathlib import Path

import cryptography_vectors
import pytest

from vitrine.crypto import comb, sha512_int
from vitrine.crypto.ed25519 import PublicKey, verify

ROOT = Path(__file__).resolve().parents[2]


def sibling(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cases_ = sibling("signature_cases")
SEED = random.SystemRandom().randrange(2**32)


def on_micropython(script, lines):
    """Run a script of this folder on the unix port with `lines` as its input; return its output lines."""
    python = os.environ.get("MICROPYTHON") or str(Path(os.sys.executable).parent / "micropython")
    run = subprocess.run(
        [python, "-X", "heapsize=2M", str(Path(__file__).parent / script)],
        input="\n".join(lines) + "\n",
        env={**os.environ, "MICROPYPATH": f"{ROOT / 'firmware'}:.frozen"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout[-500:] + run.stderr[-2000:]
    return run.stdout.splitlines()


def batches(cases):
    lines = [json.dumps([part.hex() for part in case]) for case in cases]
    return on_micropython("verify_batch.py", lines)


def test_micropython_gives_libsodiums_answers():
    print("seed", SEED)
    cases = cases_.all_cases(SEED, 3000)
    answers = batches(cases)
    assert len(answers) == len(cases)
    expected = ["01"[cases_.libsodium(case)] for case in cases]
    wrong = [
        (case, answer, right)
        for case, answer, right in zip(cases, answers, expected, strict=True)
        if set(answer) - {right, "-"}
    ]
    assert not wrong, [[part.hex() for part in case] + [answer, right] for case, answer, right in wrong[:3]]
    # the generators do make both answers, and each way to verify was asked for both
    for way in range(3):
        assert {"0", "1"} <= {answer[way] for answer in answers}
    assert expected.count("1") > 1000 and expected.count("0") > 1000


def test_cpython_gives_libsodiums_answers():
    for case in cases_.all_cases(SEED + 1, 600):
        assert verify(*case) == cases_.libsodium(case), [part.hex() for part in case]


def test_mixed_order_signatures_are_judged_without_the_cofactor():
    """Both answers occur among them: reducing modulo L instead of 8 L, or an even factor, would show here."""
    random_ = random.Random(7)
    answers = set()
    for _ in range(60):
        case = cases_.mixed_order(random_)
        right = cases_.libsodium(case)
        answers.add(right)
        assert verify(*case) == right
    assert answers == {True, False}


def sign_input():
    """The 1,024 signatures of the reference implementation (cryptography-vectors): key, message, signature."""
    with cryptography_vectors.open_vector_file("asymmetric/Ed25519/sign.input", "r") as file:
        for line in file:
            secret, key, message, signed = line.split(":")[:4]
            assert secret.endswith(key)
            yield bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signed)[:64]


def test_the_reference_signatures():
    cases = list(sign_input())
    assert len(cases) == 1024
    answers = batches(cases)
    assert all(set(answer) <= {"1", "-"} for answer in answers) and len(answers) == 1024
    for case in cases[::16]:
        assert verify(*case)


def nist_sha512():
    for name in ("SHA512ShortMsg.rsp", "SHA512LongMsg.rsp"):
        with cryptography_vectors.open_vector_file(f"hashes/SHA2/{name}", "r") as file:
            fields = dict(length=0, message="")
            for line in file:
                key, _, value = line.strip().partition(" = ")
                if key == "MD":
                    yield bytes.fromhex(fields["Msg"])[: int(fields["Len"]) // 8], value
                fields[key] = value


def test_nist_sha512():
    vectors = list(nist_sha512())
    assert len(vectors) > 100
    digests = on_micropython("hash_batch.py", [data.hex() or "-" for data, _ in vectors])
    assert digests == [digest for _, digest in vectors]
    for data, digest in vectors[::10]:
        assert sha512_int.sha512(data).hex() == digest == hashlib.sha512(data).hexdigest()


@pytest.mark.parametrize("teeth", [2, 3, 6])
def test_a_comb_on_cpython_gives_libsodiums_answers(teeth):
    random_ = random.Random(SEED + teeth)
    case = cases_.valid(random_)
    key = PublicKey(case[0])
    key.use_table(list(comb.build(key, teeth))[-1])
    for _ in range(60):
        other = cases_.corrupted(case, random_)
        if other[0] == case[0]:
            assert key.verify(*other[1:]) == cases_.libsodium(other)
    assert key.verify(*case[1:])
