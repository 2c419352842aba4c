"""Deterministic CBOR: what is written is read back, and everything else is refused, as the firmware refuses it."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrine.codec import cbor as device_cbor
from vitrine_tools import cbor

SCALARS = st.one_of(
    st.integers(-(2**64), 2**64 - 1), st.binary(max_size=40), st.text(max_size=20), st.booleans(), st.none()
)
KEYS = st.one_of(st.integers(-(2**64), 2**64 - 1), st.text(max_size=8))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=12,
)


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, inner), default=0) if isinstance(value, dict | list) else 0


@given(VALUES)
def test_what_is_encoded_is_decoded(value):
    data = cbor.encode(value)
    if depth(value) <= cbor.MAX_DEPTH:
        decoded = cbor.decode(data, len(data))
        assert decoded == value and cbor.encode(decoded) == data
    assert cbor2.loads(data) == value


@given(VALUES)
def test_the_firmware_encodes_the_same_bytes(value):
    if depth(value) <= cbor.MAX_DEPTH:
        assert device_cbor.encode(value) == cbor.encode(value)


def reading(decode, error, data):
    try:
        return decode(data, 600)
    except error:
        return "refused"


def agree(data):
    """Both readers give the same for `data`, types included."""
    ours = reading(cbor.decode, cbor.CborError, data)
    theirs = reading(device_cbor.decode, device_cbor.CborError, data)
    assert repr(ours) == repr(theirs)


@given(st.binary(max_size=24))
def test_any_bytes_are_read_as_the_firmware_reads_them(data):
    agree(data)


@given(VALUES, st.data())
def test_damaged_values_are_read_as_the_firmware_reads_them(value, data):
    encoded = bytearray(cbor.encode(value))
    if encoded and depth(value) <= cbor.MAX_DEPTH:
        at = data.draw(st.integers(0, len(encoded) - 1))
        encoded[at] = data.draw(st.integers(0, 255))
        agree(bytes(encoded[:600]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0000",  # two items
        "1800",  # 0 in two bytes
        "190001",
        "5801ff",  # a length in long form
        "9fff",  # an indefinite array
        "5f4100ff",
        "bf0101ff",
        "a2020101010"[:-1],  # unsorted keys
        "a201010102",  # a repeated key
        "a1f501",  # the key true, which Python holds equal to 1
        "a1800101"[:-2],  # an array as a key
        "a14001",  # a byte string as a key
        "f90000",  # floats
        "fa00000000",
        "f7",  # undefined
        "f0",
        "f820",
        "c24105",  # tags: a bignum, a date, a rational that divides by zero
        "c100",
        "d81e820100",
        "d28443a10126a0f640",
        "61ff",  # a text that is not UTF-8
        "42ff",  # cut off
        "82",
        "9affffffff",
        "9bffffffffffffffff",
        "1c",
        "81" * 9 + "00",
        "81" * 3000,
    ],
)
def test_refuses(text):
    data = bytes.fromhex(text)
    with pytest.raises(cbor.CborError):
        cbor.decode(data, 4000)


def test_takes_eight_levels():
    data = bytes.fromhex("81" * 8 + "00")
    assert cbor.decode(data, 9) == [[[[[[[[0]]]]]]]]


def test_refuses_more_than_the_bound():
    assert cbor.decode(b"\x41\x00", 2) == b"\x00"
    with pytest.raises(cbor.CborError, match="at most 1"):
        cbor.decode(b"\x41\x00", 1)


def test_takes_256_items():
    assert cbor.decode(bytes.fromhex("98ff") + bytes(255), 300) == [0] * 255
    with pytest.raises(cbor.CborError, match="256 items"):
        cbor.decode(bytes.fromhex("990100") + bytes(256), 300)
    with pytest.raises(cbor.CborError, match="256 items"):
        cbor.decode(bytes.fromhex("9bffffffffffffffff") + bytes(600), 1000)
