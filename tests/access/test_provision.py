"""vitrine.access.provision: SPEC.md section 5, and every deviation."""

from hashlib import sha256

from support import blobs, given, ints, raises
from vitrine.access import scopes
from vitrine.access.provision import MAX_SIZE, ProvisionError, is_group, is_lock_id, parse_provision
from vitrine.codec import cbor

# RFC 8032 section 7.1: public keys of tests 1 to 4 and 1024
KEYS = tuple(
    bytes.fromhex(text)
    for text in (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
    )
)
# of order 1, 2, 4 and 8, and two that are no points
NOT_KEYS = tuple(
    bytes.fromhex(text)
    for text in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "0200000000000000000000000000000000000000000000000000000000000000",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    )
)


def issuer(key=KEYS[0], **changes):
    fields = {1: key, 2: "hq", 3: "unlock hold", 4: ["case-12", "group:jewellery"], 5: 86_400}
    names = {"name": 2, "scopes": 3, "audiences": 4, "max_lifetime": 5}
    fields.update({names[name]: value for name, value in changes.items()})
    return fields


def record(changes=None):
    fields = {
        1: 1,
        2: "case-12",
        3: ["group:jewellery"],
        4: [issuer()],
        5: "CET-1CEST,M3.5.0,M10.5.0/3",
        6: {1: 3000},
        7: 1_800_000_000,
    }
    fields.update(changes or {})
    return cbor.encode(fields)


def test_a_record():
    provision = parse_provision(record())
    assert provision.lock_id == "case-12" and provision.groups == ["group:jewellery"]
    assert provision.door == {1: 3000} and provision.provisioned_at == 1_800_000_000
    assert provision.zone.local(1_800_000_000) == (32, 540)  # Friday, 09:00 in winter
    (pinned,) = provision.issuers
    assert pinned.public_key == KEYS[0] and pinned.kid == sha256(KEYS[0]).digest()[:8]
    assert pinned.name == "hq" and pinned.scopes == scopes.UNLOCK | scopes.HOLD
    assert pinned.audiences == ["case-12", "group:jewellery"] and pinned.max_lifetime_s == 86_400


GOOD = (
    {2: "a"},
    {2: "0-" * 16},
    {3: []},
    {3: ["group:" + "x" * 26] * 8},
    {4: [issuer(key) for key in KEYS[:4]]},
    {4: [issuer(name="x" * 32)]},
    {4: [issuer(name="\u00e9" * 16)]},
    {4: [issuer(scopes="admin")]},
    {4: [issuer(audiences=["a" * 32] * 8)]},
    {4: [issuer(max_lifetime=1)]},
    {4: [issuer(max_lifetime=0xFFFFFFFF)]},
    {5: "UTC0"},
    {6: {}},
    {7: 0},
    {7: 0xFFFFFFFF},
)

BAD = (
    {1: 0},
    {1: 2},
    {1: True},
    {1: None},
    {2: ""},
    {2: "a" * 33},
    {2: "Case-12"},
    {2: "case_12"},
    {2: "case 12"},
    {2: "group:x"},
    {2: "c\u00e4se"},
    {2: b"case-12"},
    {2: None},
    {3: None},
    {3: "group:x"},
    {3: ["group:x"] * 9},
    {3: ["jewellery"]},
    {3: ["group:"]},
    {3: ["group:" + "x" * 27]},
    {3: ["Group:x"]},
    {3: ["group:a:b"]},
    {3: [1]},
    {4: []},
    {4: None},
    {4: issuer()},
    {4: [issuer(key) for key in KEYS]},
    {4: [issuer(), issuer()]},
    {4: [issuer(), issuer(name="again", scopes="admin")]},
    {4: [None]},
    {4: [{}]},
    {4: [{1: KEYS[0]}]},
    {4: [issuer(KEYS[0][:31])]},
    {4: [issuer(KEYS[0] + b"x")]},
    {4: [issuer("x" * 32)]},
    {4: [issuer(None)]},
    {4: [issuer(name="")]},
    {4: [issuer(name="x" * 33)]},
    {4: [issuer(name="\u00e9" * 17)]},
    {4: [issuer(name=b"hq")]},
    {4: [issuer(scopes="")]},
    {4: [issuer(scopes="all")]},
    {4: [issuer(scopes="unlock unlock")]},
    {4: [issuer(scopes=None)]},
    {4: [issuer(audiences=[])]},
    {4: [issuer(audiences=["a"] * 9)]},
    {4: [issuer(audiences=["*"])]},
    {4: [issuer(audiences=[""])]},
    {4: [issuer(audiences=["group:"])]},
    {4: [issuer(audiences="case-12")]},
    {4: [issuer(max_lifetime=0)]},
    {4: [issuer(max_lifetime=-1)]},
    {4: [issuer(max_lifetime=1 << 32)]},
    {4: [issuer(max_lifetime=True)]},
    {4: [issuer(max_lifetime=None)]},
    {5: ""},
    {5: "CET-1CEST"},
    {5: "Europe/Berlin"},
    {5: None},
    {5: b"UTC0"},
    {6: None},
    {6: []},
    {6: {1: -1}},
    {6: {1: "3000"}},
    {6: {1: True}},
    {6: {0: 1}},
    {6: {"unlock_ms": 1}},
    {6: dict.fromkeys(range(1, 66), 1)},
    {7: -1},
    {7: 1 << 32},
    {7: None},
    {8: 1},
    {"1": 1},
)


def test_good_records():
    for changes in GOOD:
        parse_provision(record(changes))


def test_bad_records():
    for changes in BAD:
        try:
            parse_provision(record(changes))
        except ProvisionError as error:
            assert str(error).startswith("provisioning record: ")
            continue
        raise AssertionError("accepted: " + repr(changes))


def test_every_field_is_needed():
    for key in range(1, 8):
        fields = cbor.decode(record(), MAX_SIZE)
        del fields[key]
        with raises(ProvisionError):
            parse_provision(cbor.encode(fields))
        fields[8] = 1
        with raises(ProvisionError):
            parse_provision(cbor.encode(fields))
    for key in range(1, 6):
        fields = issuer()
        del fields[key]
        with raises(ProvisionError):
            parse_provision(record({4: [fields]}))
    fields = issuer()
    fields[6] = 1
    with raises(ProvisionError):
        parse_provision(record({4: [fields]}))


def test_keys_without_a_secret_are_refused():
    # anyone can sign under a key of small order
    for key in NOT_KEYS:
        with raises(ProvisionError):
            parse_provision(record({4: [issuer(key)]}))
        with raises(ProvisionError):
            parse_provision(record({4: [issuer(), issuer(key)]}))


def test_other_values():
    for blob in (b"", b"\x80", b"\xa0", b"\xf6", cbor.encode([record()]), record() + b"\x00", record()[:-1]):
        with raises(ProvisionError):
            parse_provision(blob)


def test_1900_bytes():
    assert MAX_SIZE == 1900
    largest = {
        2: "x" * 32,
        3: ["group:" + "x" * 26] * 8,
        4: [issuer(key, name="x" * 32, audiences=["x" * 32] * 8) for key in KEYS[:4]],
        5: "<+1030>-10:30<+11>-11,M10.1.0/02:00,M4.1.0/02:00",
        6: {n: 3_600_000 for n in range(1, 8)},
    }
    blob = record(largest)
    assert len(blob) <= MAX_SIZE
    parse_provision(blob)
    with raises(ProvisionError):
        parse_provision(blob + bytes(MAX_SIZE))


def test_names():
    assert is_lock_id("case-12") and not is_lock_id("") and not is_lock_id(None) and not is_lock_id("\uff11")
    assert is_group("group:x") and not is_group("x") and not is_group(7) and not is_group("group:")


@given(blobs(0, 200), examples=300)
def test_any_bytes(blob):
    with raises(ProvisionError):
        parse_provision(blob)


@given(ints(0, 10_000), ints(1, 255), examples=300)
def test_a_changed_byte_never_raises_anything_else(index, change):
    blob = bytearray(record())
    blob[index % len(blob)] ^= change
    try:
        parse_provision(bytes(blob))
    except ProvisionError:
        return
