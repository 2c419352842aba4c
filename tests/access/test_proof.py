"""The proof, as bytes, against the codec that takes apart and puts together any COSE_Sign1."""

from support import blobs, given, ints, raises
from vitrine.access import proof
from vitrine.codec import cbor, cose

SIGNATURE = bytes(range(64))
NONCE, HASH = bytes(range(16)), bytes(range(100, 132))


def good(alg=-19):
    return cbor.encode([cbor.encode({1: alg}), {}, None, SIGNATURE])


def by_codec(data):
    """Return (protected, signature) as the codec reads a detached proof with alg alone, or None."""
    try:
        sign1 = cose.parse_sign1(data, 96)
    except cose.CoseError:
        return None
    if sign1.payload is not None or len(sign1.header) != 1:
        return None
    return sign1.protected, sign1.signature


def by_bytes(data):
    try:
        alg, signature = proof.split(data)
    except proof.ProofError:
        return None
    return b"\xa1\x01" + alg, signature


def test_both_algs_with_and_without_the_tag():
    for alg in (-19, -8):
        for tag in (b"", b"\xd2"):
            assert by_bytes(tag + good(alg)) == by_codec(tag + good(alg)) == (cbor.encode({1: alg}), SIGNATURE)


def test_one_changed_byte_is_read_as_the_codec_reads_it():
    for tag in (b"", b"\xd2"):
        data = tag + good()
        for i in range(len(data)):
            for value in range(256):
                changed = data[:i] + bytes((value,)) + data[i + 1 :]
                assert by_bytes(changed) == by_codec(changed), (i, value)


def test_any_other_length_is_no_proof():
    for data in (b"", b"\xd2", b"\xd2\xd2" + good(), good()[:-1], good() + b"\0", b"\xd2" + good() + b"\0"):
        assert by_codec(data) is None
        with raises(proof.ProofError):
            proof.split(data)


@given(blobs(0, 100))
def test_random_bytes_are_read_alike(data):
    assert by_bytes(data) == by_codec(data)


@given(ints(0, 2**32), ints(0, 32), ints(0, 3))
def test_the_message_is_the_sig_structure(action, length, uv_and_alg):
    lock_id, uv, alg = "x" * length, bool(uv_and_alg & 1), (-19, -8)[uv_and_alg >> 1]
    protected = cbor.encode({1: alg})
    for number in (action, action % 256, -action):
        payload = cbor.encode(["vitrine/1", lock_id, NONCE, number, uv, HASH])
        made = proof.message(protected[2:], proof.place(lock_id), NONCE, number, uv, HASH)
        assert made == cose.sig_structure(protected, payload)
