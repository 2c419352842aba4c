"""HMAC-SHA256 against RFC 4231, HKDF-SHA256 against RFC 5869 appendix A."""

from support import blobs, given, raises
from vitrine.crypto.hmac256 import constant_time_equal, hkdf_expand, hkdf_extract, hmac_sha256

# RFC 4231 sections 4.2 to 4.8 without 4.6 (truncated output): key, data, HMAC-SHA-256
HMAC_VECTORS = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (
        bytes(range(1, 26)),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. "
        b"The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
]

# RFC 5869 A.1 to A.3: key material, salt, info, pseudorandom key, output
HKDF_VECTORS = [
    (
        b"\x0b" * 22,
        bytes(range(13)),
        bytes(range(0xF0, 0xFA)),
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        b"\x0b" * 22,
        b"",
        b"",
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


def test_hmac_rfc4231():
    for key, data, expected in HMAC_VECTORS:
        assert hmac_sha256(key, data).hex() == expected
        assert hmac_sha256(key, data[:3], b"", data[3:]).hex() == expected


def test_hkdf_rfc5869():
    for material, salt, info, expected_key, expected in HKDF_VECTORS:
        key = hkdf_extract(salt, material)
        assert key.hex() == expected_key
        assert hkdf_expand(key, info, len(expected) // 2).hex() == expected


def test_hkdf_refuses_a_length_it_cannot_give():
    for length in (-1, 0, 8161):
        with raises(ValueError):
            hkdf_expand(bytes(32), b"", length)
    assert len(hkdf_expand(bytes(32), b"", 8160)) == 8160


@given(blobs(0, 40), blobs(0, 40))
def test_constant_time_equal_is_equality(a, b):
    assert constant_time_equal(a, b) == (a == b)
    assert constant_time_equal(a, bytearray(a)) is True


def test_constant_time_equal_sees_every_bit():
    value = bytes(range(32))
    for bit in range(256):
        other = bytearray(value)
        other[bit >> 3] ^= 1 << (bit & 7)
        assert constant_time_equal(value, other) is False
