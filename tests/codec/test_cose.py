"""vitrine.codec.cose: the COSE working group's EdDSA examples, and every deviation from the profile."""

import json

from support import blobs, given, ints, raises, skip
from vitrine.codec import cbor
from vitrine.codec.cose import CoseError, parse_sign1, sig_structure
from vitrine.crypto.ed25519 import verify

VECTORS = "../shared/vectors/cose/"
SIGNATURE = bytes(range(64))
HEADER = {1: -19, 4: b"12345678"}


def message(protected=None, unprotected=None, payload=b"payload", signature=SIGNATURE):
    protected = cbor.encode(HEADER) if protected is None else protected
    return cbor.encode([protected, {} if unprotected is None else unprotected, payload, signature])


def test_parts_come_out():
    for prefix in (b"", b"\xd2"):
        sign1 = parse_sign1(prefix + message(), 200)
        assert sign1.protected == cbor.encode(HEADER)
        assert sign1.header == HEADER
        assert sign1.payload == b"payload"
        assert sign1.signature == SIGNATURE


def test_detached():
    assert parse_sign1(message(payload=None), 200).payload is None


def test_both_algorithm_numbers():
    for alg in (-19, -8):
        assert parse_sign1(message(cbor.encode({1: alg})), 200).header == {1: alg}


def test_bound_counts_the_tag():
    data = message()
    assert parse_sign1(data, len(data)).payload == b"payload"
    with raises(CoseError):
        parse_sign1(b"\xd2" + data, len(data))
    with raises(CoseError):
        parse_sign1(data, len(data) - 1)


def test_deviations_are_refused():
    header = cbor.encode(HEADER)
    for data in (
        b"",
        b"\xd2",
        b"\xd2\xd2" + message(),
        b"\xd8\x12" + message(),  # tag 18 in two bytes
        b"\xd8\x3d\xd2" + message(),  # CWT tag 61
        b"\xd1" + message(),  # COSE_Mac0
        message() + b"\x00",
        cbor.encode({}),
        cbor.encode(message()),
        cbor.encode([header, {}, b"payload"]),
        cbor.encode([header, {}, b"payload", SIGNATURE, 0]),
        message(unprotected={4: b"12345678"}),
        message(unprotected=[]),
        message(unprotected=0),
        message(protected=HEADER),
        message(protected=b""),
        message(protected=b"\xa0"),
        message(protected=cbor.encode([1, -19])),
        message(protected=cbor.encode(-19)),
        message(protected=header + b"\x00"),
        message(protected=b"\xa2\x04\x40\x01\x32"),  # keys out of order
        message(protected=b"\xa1\x01\x38\x07"),  # -8 in two bytes
        message(protected=cbor.encode({4: b"12345678"})),
        message(protected=cbor.encode({1: None})),
        message(protected=cbor.encode({1: []})),
        message(protected=cbor.encode({1: "Ed25519"})),
        message(protected=cbor.encode({"1": -19})),
        message(payload="payload"),
        message(payload=[]),
        message(payload=False),
        message(signature=SIGNATURE[:63]),
        message(signature=SIGNATURE + b"\x00"),
        message(signature=b""),
        message(signature=None),
        message(signature=[0] * 64),
        message(signature="x" * 64),
    ):
        with raises(CoseError):
            parse_sign1(data, 300)


def test_every_other_algorithm_is_refused():
    for alg in range(-300, 12):
        if alg not in (-19, -8):
            with raises(CoseError):
                parse_sign1(message(protected=cbor.encode({1: alg})), 200)


@given(blobs(0, 120), examples=1000)
def test_any_bytes(data):
    try:
        parse_sign1(data, 100)
    except CoseError:
        return
    raise AssertionError("random bytes came through")


@given(ints(0, 200), ints(1, 255), examples=500)
def test_a_changed_byte_is_seen(index, change):
    data = bytearray(b"\xd2" + message())
    data[index % len(data)] ^= change
    try:
        sign1 = parse_sign1(bytes(data), 200)
    except CoseError:
        return
    again = cbor.encode([sign1.protected, {}, sign1.payload, sign1.signature])
    assert data[0] != 0xD2 or again == bytes(data[1:])


def _example(name):
    try:
        with open(VECTORS + name) as file:
            return json.load(file)
    except OSError:
        skip("no shared COSE vectors here")


def test_working_group_sign1_examples():
    for name in ("eddsa-examples/eddsa-sig-01.json", "countersign/signed1-01.json"):
        example = _example(name)
        data = bytes.fromhex(example["output"]["cbor"])
        # as published it has an unprotected header, which this profile refuses
        with raises(CoseError):
            parse_sign1(data, 500)
        # nothing in the unprotected header is signed: without it the message verifies as before
        protected = bytes.fromhex("a201270300")
        payload = b"This is the content."
        signature = data[-64:]
        sign1 = parse_sign1(cbor.encode([protected, {}, payload, signature]), 500)
        signed = sig_structure(sign1.protected, sign1.payload)
        assert signed == bytes.fromhex(example["intermediates"]["ToBeSign_hex"])
        key = bytes.fromhex(example["input"]["sign0"]["key"]["x_hex"])
        assert verify(key, signed, sign1.signature)
        assert not verify(key, signed + b"\x00", sign1.signature)


def test_working_group_others_are_refused():
    # a COSE_Sign with one signer, and Ed448's longer signature under the same alg
    for name in ("eddsa-examples/eddsa-01.json", "eddsa-examples/eddsa-sig-02.json"):
        with raises(CoseError):
            parse_sign1(bytes.fromhex(_example(name)["output"]["cbor"]), 500)
