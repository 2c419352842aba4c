"""vitrine.codec.cbor: RFC 8949 Appendix A's examples, SPEC.md's profile, and any bytes."""

from support import ON_MICROPYTHON, blobs, given, ints, raises, skip, texts
from vitrine.codec import cbor
from vitrine.codec.cbor import CborError, decode, encode

VECTORS = "../shared/vectors/cbor/cbor_wg_rfc8949_"

# RFC 8949 Appendix A, those within the profile
EXAMPLES = (
    (0, "00"),
    (1, "01"),
    (10, "0a"),
    (23, "17"),
    (24, "1818"),
    (25, "1819"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-18446744073709551616, "3bffffffffffffffff"),
    (-1, "20"),
    (-10, "29"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("", "60"),
    ("a", "6161"),
    ("IETF", "6449455446"),
    ('"\\', "62225c"),
    ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"),
    ("\U00010151", "64f0908591"),
    ([], "80"),
    ([1, 2, 3], "83010203"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    (list(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
    ({}, "a0"),
    ({1: 2, 3: 4}, "a201020304"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
    (["a", {"b": "c"}], "826161a161626163"),
    # SPEC.md section 2: the keys of a token sort by their encoding
    ({-70001: 0, -1: 1, 10: 2, 100: 3, "z": 4}, "a50a0218640320013a0001117000617a04"),
    ({23: 0, 24: 0, 255: 0, 256: 0, 65535: 0, 65536: 0}, "a61700181800" + "18ff0019010000" + "19ffff001a0001000000"),
)

# each is refused for a reason of its own
REFUSED = (
    ("", "nothing"),
    ("0000", "trailing bytes"),
    ("1800", "one-byte argument under 24"),
    ("1817", "one-byte argument under 24"),
    ("190000", "two-byte argument under 256"),
    ("1900ff", "two-byte argument under 256"),
    ("1a0000ffff", "four-byte argument under 2**16"),
    ("1b00000000ffffffff", "eight-byte argument under 2**32"),
    ("3817", "negative, not shortest"),
    ("5800", "length, not shortest"),
    ("7801" + "61", "length, not shortest"),
    ("980100", "count, not shortest"),
    ("b8010000", "count, not shortest"),
    ("18", "argument missing"),
    ("19ff", "argument cut"),
    ("1affffff", "argument cut"),
    ("1bffffffffffffff", "argument cut"),
    ("41", "bytes cut"),
    ("61", "text cut"),
    ("81", "array cut"),
    ("8201", "array cut"),
    ("a1", "map cut"),
    ("a101", "map cut"),
    ("5bffffffffffffffff", "length of 2**64 - 1"),
    ("7bffffffffffffffff", "length of 2**64 - 1"),
    ("9bffffffffffffffff", "count of 2**64 - 1"),
    ("bbffffffffffffffff", "count of 2**64 - 1"),
    ("9a0fffffff", "count over the input"),
    ("1c", "reserved"),
    ("1d", "reserved"),
    ("1e", "reserved"),
    ("1f", "indefinite integer"),
    ("5f4100ff", "indefinite bytes"),
    ("7f6161ff", "indefinite text"),
    ("9f01ff", "indefinite array"),
    ("bf0101ff", "indefinite map"),
    ("ff", "break"),
    ("f7", "undefined"),
    ("e0", "simple 0"),
    ("f0", "simple 16"),
    ("f814", "false in two bytes"),
    ("f8ff", "simple 255"),
    ("f93c00", "half float"),
    ("fa47c35000", "single float"),
    ("fb3ff199999999999a", "double float"),
    ("c11a514b67b0", "tag 1"),
    ("d284" + "40a04040", "tag 18"),
    ("c249010000000000000000", "bignum"),
    ("a2" + "0100" + "0100", "key twice"),
    ("a2" + "0200" + "0100", "keys out of order"),
    ("a2" + "2000" + "0100", "negative key first"),
    ("a2" + "6161" + "00" + "0100", "text key first"),
    ("a2" + "626161" + "00" + "6162" + "00", "longer key first"),
    ("a1" + "f500", "key true: Python's 1"),
    ("a1" + "f600", "key null"),
    ("a1" + "416100", "key bytes"),
    ("a1" + "8000", "key array"),
    ("a1" + "a000", "key map"),
    ("6180", "lone continuation byte"),
    ("61ff", "no UTF-8 byte"),
    ("62c080", "overlong NUL"),
    ("62c1bf", "overlong"),
    ("63e08080", "overlong"),
    ("63e09fbf", "overlong"),
    ("64f0808080", "overlong"),
    ("64f08fbfbf", "overlong"),
    ("63eda080", "surrogate D800"),
    ("63edbfbf", "surrogate DFFF"),
    ("64f4908080", "over U+10FFFF"),
    ("64f5808080", "over U+10FFFF"),
    ("62c3" + "28", "continuation byte missing"),
    ("61c3", "text ends in a character"),
    ("62e282", "text ends in a character"),
    ("63f09f98", "text ends in a character"),
    ("63e228a1", "second byte wrong"),
    ("63e28228", "third byte wrong"),
    ("64f09f9828", "fourth byte wrong"),
)


def nested(depth):
    return b"\x81" * (depth - 1) + b"\x80"


def test_examples_both_ways():
    for value, text in EXAMPLES:
        data = bytes.fromhex(text)
        assert encode(value) == data, text
        decoded = decode(data, len(data))
        assert decoded == value and type(decoded) is type(value), text


def test_every_other_form_is_refused():
    for text, why in REFUSED:
        try:
            value = decode(bytes.fromhex(text), 100)
        except CborError:
            continue
        raise AssertionError(text + " (" + why + ") came out as " + repr(value))


def test_every_single_byte():
    accepted = [n for n in range(256) if _accepts(bytes((n,)))]
    expected = list(range(24)) + list(range(0x20, 0x38)) + [0x40, 0x60, 0x80, 0xA0, 0xF4, 0xF5, 0xF6]
    assert accepted == expected


def _accepts(data):
    try:
        decode(data, len(data))
    except CborError:
        return False
    return True


def test_text_borders_of_utf8():
    for point in (0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x3FFFF, 0x10FFFF):
        text = chr(point)
        assert decode(encode(text), 10) == text


def test_input_types():
    assert decode(bytearray(b"\x43abc"), 4) == b"abc"
    assert decode(memoryview(b"\x43abc"), 4) == b"abc"
    assert type(decode(bytearray(b"\x43abc"), 4)) is bytes


def test_bound():
    data = encode(b"x" * 22)
    assert decode(data, 23) == b"x" * 22
    with raises(CborError):
        decode(data, 22)


def test_depth():
    assert encode(decode(nested(8), 100)) == nested(8)
    for data in (nested(9), b"\x81" * 99 + b"\x80", b"\xa1\x00" * 8 + b"\xa0"):
        with raises(CborError):
            decode(data, 200)
    value = []
    for _ in range(8):
        value = [value]
    with raises(CborError):
        encode(value)


def test_items_bound_the_heap():
    most = cbor.MAX_ITEMS - 1
    assert len(decode(b"\x98\xff" + b"\x80" * most, 1000)) == most
    assert encode([[]] * most) == b"\x98\xff" + b"\x80" * most
    with raises(CborError):
        decode(b"\x99\x01\x00" + b"\x80" * (most + 1), 1000)
    with raises(CborError):
        encode([0] * (most + 1))
    pairs = {n: 0 for n in range(128)}
    with raises(CborError):
        encode(pairs)
    del pairs[0]
    assert decode(encode(pairs), 1000) == pairs
    with raises(CborError):
        decode(b"\xb8\x80" + b"".join(encode(n) + b"\x00" for n in range(128)), 1000)


def test_hostile_input_takes_little_heap():
    if not ON_MICROPYTHON:
        return
    import gc

    def nest(data, times):
        for _ in range(times):
            data = data + data
        return data

    for data in (
        b"\x99\x02\xfd" + b"\x80" * 765,
        b"\x98\xff" + b"\x80" * 255,
        b"\x98\x7f" + b"\x81\x00" * 127,
        b"\x98\x7f" + b"\xa1\x00\x00" * 127,
        b"\x98\xff" + b"\x60" * 255,
        b"\x98\xff" + b"\x40" * 255,
        b"\x98\xf0" + b"\x1b\xff" * 380,
        b"\x81" * 768,
        nest(b"\xa1\x00", 8),
        b"\x5a\x3f\xff\xff\xff" + b"x" * 763,
        b"\x9a\x3f\xff\xff\xff" + b"\x00" * 763,
        b"\xba\x3f\xff\xff\xff" + b"\x00" * 763,
        b"\x59\x02\xfd" + b"x" * 765,
    ):
        assert len(data) <= 768
        gc.collect()
        gc.disable()
        try:
            before = gc.mem_alloc()
            _accepts(data)
            taken = gc.mem_alloc() - before
        finally:
            gc.enable()
        # garbage counted in; objects here are twice the size of those on a 32-bit board
        assert taken < 32_768, (data[:8], taken)


def test_encode_refuses_what_decode_would():
    for value in (
        1.0,
        object(),
        (1, 2),
        1 << 64,
        -(1 << 64) - 1,
        {True: 1},
        {None: 1},
        {1.5: 1},
        {b"": 1},
        {(1,): 1},
        [1.0],
    ):
        with raises(CborError):
            encode(value)
    for value in ((1 << 64) - 1, -(1 << 64)):
        assert decode(encode(value), 9) == value


def test_encode_refuses_text_that_is_not_utf8():
    # on MicroPython a str can hold what its UTF-8 check lets through
    surrogate = str(b"\xed\xa0\x80", "utf-8") if ON_MICROPYTHON else "\ud800"
    for value in (surrogate, [surrogate], {surrogate: 1}):
        with raises(CborError):
            encode(value)


def test_errors_do_not_quote_input():
    for text, _ in REFUSED:
        try:
            decode(bytes.fromhex(text), 100)
        except CborError as error:
            assert "\\x" not in repr(error) and len(str(error)) < 40


@given(blobs(0, 64), examples=2000)
def test_any_bytes_decode_or_are_refused(data):
    try:
        value = decode(data, 64)
    except CborError:
        return
    # deterministic: what is accepted has no other encoding
    assert encode(value) == data


@given(ints(-(1 << 64), (1 << 64) - 1), examples=300)
def test_integers(value):
    assert decode(encode(value), 9) == value


@given(texts(0, 40), blobs(0, 40), ints(0, 1 << 32), examples=200)
def test_round_trip(text, data, number):
    value = {number: [text, data], -1 - number: {text: None, "y" + text: True}, "x" + text: -number}
    assert decode(encode(value), 400) == value


@given(blobs(1, 12), ints(0, 11), ints(0, 255), examples=300)
def test_changing_a_byte_never_makes_a_second_form(data, index, byte):
    value = {1: data, 2: [len(data), "text"]}
    encoded = bytearray(encode(value))
    encoded[index % len(encoded)] = byte
    try:
        decoded = decode(encoded, 100)
    except CborError:
        return
    assert encode(decoded) == encoded


def _vectors(name):
    """Yield (description, encoded) from the CBOR working group's test vectors, read with a few lines of their EDN."""
    try:
        with open(VECTORS + name + ".edn") as file:
            text = file.read()
    except OSError:
        skip("no shared CBOR vectors here")
    for part in text.split('"description":')[1:]:
        description = part.split('"')[1]
        for piece in part.split('"encoded": h\'')[1:]:
            yield description, bytes.fromhex(piece.split("'")[0].replace(" ", "").replace("\n", ""))


def test_working_group_vectors_bad():
    count = 0
    for description, data in _vectors("bad"):
        count += 1
        assert not _accepts(data), description
    assert count > 40


# the well-formed vectors that are deterministic and within the profile; the others are long forms, floats, tags,
# simple values, maps with other keys, and nesting of hundreds of levels
GOOD = (
    "u8: max",
    "s8: min",
    "u16: max",
    "s16: min",
    "u32: max",
    "s32: -65537",
    "s32: min",
    "u64: MAX_SAFE_INTEGER",
    "u64: MIN_SAFE_INTEGER",
    "string: BOM",
    "string: combining",
    "string: zalgo, length 1384",
    "JS: __proto__ should be escaped (security)",
)


def test_working_group_vectors_good():
    seen = []
    for description, data in _vectors("good"):
        if _accepts(data):
            assert encode(decode(data, 2000)) == data, description
            seen.append(description)
    assert tuple(seen) == GOOD
