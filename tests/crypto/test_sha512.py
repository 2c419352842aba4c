"""SHA-512 against FIPS 180-4's examples and, on CPython, hashlib."""

import hashlib

from support import blobs, given, skip
from vitrine.crypto import engine, sha512_int

EXAMPLES = [
    (
        b"abc",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
    (
        b"",
        "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
        "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
    ),
    (
        b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
        "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018"
        "501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909",
    ),
]


def implementations():
    yield engine.sha512
    yield sha512_int.sha512
    for width in (4, 8):  # both, whichever this board would choose
        yield lambda data, width=width: sha512_int.digest(bytes(data), width)


def test_fips_examples():
    for sha512 in implementations():
        for data, digest in EXAMPLES:
            assert sha512(data).hex() == digest


def test_every_length_around_the_block_boundaries_agrees():
    # All of them, so that a wrong padding at any of the boundaries 111, 112, 127, 128 shows
    data = bytes(range(256)) * 2
    for size in (0, 1, 55, 110, 111, 112, 113, 127, 128, 129, 239, 240, 255, 256, 257, 383, 400):
        digests = set(sha512(data[:size]) for sha512 in implementations())
        digests.add(sha512_int.sha512(bytearray(data[:size])))
        digests.add(sha512_int.sha512(memoryview(data)[:size]))
        assert len(digests) == 1


@given(blobs(0, 400), examples=20)
def test_like_hashlib(data):
    if not hasattr(hashlib, "sha512"):
        skip("this interpreter's hashlib has no sha512")
    for sha512 in implementations():
        assert sha512(data) == hashlib.sha512(data).digest()
