"""vitrine.codec.cbor against cbor2, an independent implementation."""

import io

import cbor2
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine.codec.cbor import MAX_DEPTH, MAX_ITEMS, CborError, decode, encode

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**64), 2**64 - 1), st.binary(max_size=40), st.text(max_size=40)
)
keys = st.one_of(st.integers(-(2**64), 2**64 - 1), st.text(max_size=10))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=6), max_leaves=40
)


def measure(value, depth=0):
    """Return (depth, items) of a value."""
    if isinstance(value, list):
        inner = [measure(item, depth + 1) for item in value]
    elif isinstance(value, dict):
        inner = [measure(item, depth + 1) for pair in value.items() for item in pair]
    else:
        return depth, 1
    return max((d for d, _ in inner), default=depth + 1), 1 + sum(n for _, n in inner)


def deterministic(value):
    """Encode as RFC 8949 section 4.2.1 says. cbor2's canonical mode sorts as RFC 7049 did: by length first."""
    if isinstance(value, dict):
        pairs = sorted((cbor2.dumps(key), deterministic(item)) for key, item in value.items())
        head = bytearray(cbor2.dumps([None] * len(pairs))[: -len(pairs) or None])
        head[0] |= 0x20
        return bytes(head) + b"".join(key + item for key, item in pairs)
    if isinstance(value, list):
        head = cbor2.dumps([None] * len(value))[: -len(value) or None]
        return head + b"".join(map(deterministic, value))
    return cbor2.dumps(value, canonical=True)


def within(value):
    depth, items = measure(value)
    return depth <= MAX_DEPTH and items <= MAX_ITEMS


@settings(max_examples=1000)
@given(values)
def test_encodes_as_cbor2_does(value):
    expected = deterministic(value)
    assert cbor2.loads(expected) == value
    if within(value):
        assert encode(value) == expected
        assert decode(expected, len(expected)) == value
    else:
        for refused in (lambda: encode(value), lambda: decode(expected, len(expected))):
            try:
                refused()
            except CborError:
                continue
            raise AssertionError("over the limits, but accepted")


def reference(data):
    """Decode with cbor2 and accept only what has the deterministic form: an independent statement of the profile."""
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream).decode()
        if stream.read(1) or not within(value) or deterministic(value) != data:
            return False
    except (cbor2.CBORDecodeError, cbor2.CBOREncodeError, ValueError, TypeError, OverflowError, RecursionError):
        return False
    return only_known(value)


def only_known(value):
    if isinstance(value, list):
        return all(map(only_known, value))
    if isinstance(value, dict):
        return all(type(key) in (int, str) and only_known(item) for key, item in value.items())
    if type(value) is int:
        return -(2**64) <= value < 2**64
    return value is None or type(value) in (bool, bytes, str)


def accepts(data):
    try:
        decode(data, len(data))
    except CborError:
        return False
    return True


@settings(max_examples=3000)
@given(st.binary(max_size=40))
def test_accepts_exactly_what_the_reference_accepts(data):
    assert accepts(data) == reference(data)


@settings(max_examples=2000)
@given(values.filter(within), st.data())
def test_accepts_exactly_what_the_reference_accepts_when_mutated(value, data):
    encoded = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(encoded)))
        choice = data.draw(st.integers(0, 2))
        if choice == 0:
            encoded.insert(index, data.draw(st.integers(0, 255)))
        elif index < len(encoded) and choice == 1:
            encoded[index] = data.draw(st.integers(0, 255))
        elif index < len(encoded):
            del encoded[index]
    assert accepts(bytes(encoded)) == reference(bytes(encoded))
