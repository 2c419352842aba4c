"""The provisioning record: exact bytes, read back alike here and by the firmware, wrong values named."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrine.access import lockout as device_lockout
from vitrine.access.provision import ProvisionError as DeviceProvisionError
from vitrine.access.provision import parse_provision as device_parse
from vitrine.access.receipts import Receipts
from vitrine.access.revocation import Revocations
from vitrine.access.trusted_time import decode_mark
from vitrine.app import configuration as device_configuration
from vitrine.app import scenario as device_scenario
from vitrine.door.settings import Settings
from vitrine_tools import cbor, provisioning, tokens
from vitrine_tools.configuration import SETTINGS
from vitrine_tools.errors import ProvisionError
from vitrine_tools.keys import PrivateKey, PublicKey
from vitrine_tools.provisioning import Issuer, Provision

KEYS = [PrivateKey.from_seed(bytes([n]) * 32).public for n in range(5)]
STORE = Issuer(
    public_key=KEYS[0],
    name="store",
    scopes=("unlock", "hold"),
    audiences=("case-12", "group:jewellery"),
    max_lifetime_s=86400,
)
RECORD = Provision(
    lock_id="case-12",
    groups=("group:jewellery",),
    issuers=(STORE,),
    zone="CET-1CEST,M3.5.0,M10.5.0/3",
    door={"unlock_ms": 3000},
    provisioned_at_s=1_800_000_000,
)

LOCKS = st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True)
GROUPS = st.from_regex(r"group:[a-z0-9-]{1,26}", fullmatch=True)
ISSUERS = st.lists(
    st.builds(
        Issuer,
        public_key=st.sampled_from(KEYS),
        name=st.text(min_size=1, max_size=8),
        scopes=st.lists(st.sampled_from(["unlock", "hold", "admin"]), min_size=1, unique=True).map(tuple),
        audiences=st.lists(LOCKS | GROUPS, min_size=1, max_size=4).map(tuple),
        max_lifetime_s=st.integers(1, 2**32 - 1),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda issuer: issuer.public_key.raw,
)
# what agrees with whatever is drawn beside it; the rules across fields are tests/tools/test_configuration.py's
FREE = {name: setting for name, setting in SETTINGS.items() if not name.startswith(("dps_", "lockout_"))}
DOOR = st.fixed_dictionaries(
    {}, optional={name: st.integers(setting.least, setting.most) for name, setting in FREE.items()}
)
RECORDS = st.builds(
    Provision,
    lock_id=LOCKS,
    groups=st.lists(GROUPS, max_size=8).map(tuple),
    issuers=ISSUERS.map(tuple),
    zone=st.sampled_from(["UTC0", RECORD.zone, "<+0545>-5:45"]),
    door=DOOR,
    provisioned_at_s=st.integers(0, 2**32 - 1),
)


def test_exact_bytes():
    assert RECORD.to_bytes() == (
        bytes.fromhex("a701010267")
        + b"case-12"
        + bytes.fromhex("03816f")
        + b"group:jewellery"
        + bytes.fromhex("0481a5015820")
        + KEYS[0].raw
        + bytes.fromhex("0265")
        + b"store"
        + bytes.fromhex("036b")
        + b"unlock hold"
        + bytes.fromhex("048267")
        + b"case-12"
        + b"\x6fgroup:jewellery"
        + bytes.fromhex("051a00015180")
        + bytes.fromhex("05781a")
        + b"CET-1CEST,M3.5.0,M10.5.0/3"
        + bytes.fromhex("06a101190bb8071a6b49d200")
    )


@given(RECORDS)
def test_what_is_written_is_read_here_and_by_the_lock(record):
    data = record.to_bytes()
    read = provisioning.parse(data)
    assert read.to_bytes() == data
    assert dataclasses.replace(read, door={}) == dataclasses.replace(record, door={})
    for name, setting in SETTINGS.items():
        assert read.door.get(name, setting.default) == record.door.get(name, setting.default)
    on_lock = device_parse(data)
    assert (on_lock.lock_id, on_lock.groups) == (record.lock_id, list(record.groups))
    assert [issuer.kid for issuer in on_lock.issuers] == [issuer.public_key.kid for issuer in record.issuers]


@given(RECORDS, st.data())
def test_a_damaged_record_is_read_alike(record, data):
    damaged = bytearray(record.to_bytes())
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    try:
        provisioning.parse(bytes(damaged))
    except ProvisionError as error:
        assert "\n" not in str(error)
    else:
        device_parse(bytes(damaged))  # what passes here passes there


def issuer(**change):
    return {"issuers": (dataclasses.replace(STORE, **change),)}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"lock_id": "Case 12"}, "lock id"),
        ({"lock_id": ""}, "lock id"),
        ({"lock_id": "x" * 33}, "lock id"),
        ({"groups": ("jewellery",)}, "must begin with"),
        ({"groups": ("group:J",)}, "not a group"),
        ({"groups": ("group:a",) * 9}, "at most 8 groups"),
        ({"issuers": ()}, "1 to 4 issuers"),
        ({"issuers": tuple(dataclasses.replace(STORE, public_key=key) for key in KEYS)}, "1 to 4 issuers"),
        ({"issuers": (STORE, STORE)}, "twice"),
        (issuer(public_key=PublicKey(bytes(32))), "anybody can sign"),
        (issuer(name=""), "name"),
        (issuer(name="é" * 17), "name"),
        (issuer(scopes=()), "scopes"),
        (issuer(scopes=("open",)), "scopes"),
        (issuer(scopes=("unlock", "unlock")), "scopes"),
        (issuer(audiences=()), "1 to 8"),
        (issuer(audiences=("A",)), "lock id"),
        (issuer(max_lifetime_s=0), "lifetime"),
        ({"zone": "Europe/Vienna"}, "time zone"),
        ({"zone": "ABC" * 20 + "0"}, "48 bytes"),
        ({"door": {"unlock_ms": 499}}, "unlock_ms must be .* 500 to 10000"),
        ({"door": {"unlock_ms": True}}, "unlock_ms"),
        ({"door": {"speed": 1}}, "not a setting"),
        ({"door": {"dps_short_mv": 1500}}, "must ascend"),
        ({"provisioned_at_s": -1}, "time of provisioning"),
    ],
    ids=str,
)
def test_wrong_values_are_named(change, word):
    with pytest.raises(ProvisionError, match=word) as caught:
        dataclasses.replace(RECORD, **change).to_bytes()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {1: 2},
        {1: True},
        {2: b"case-12"},
        {3: "group:a"},
        {4: [5]},
        {4: {}},
        {4: [{1: bytes(31), 2: "a", 3: "unlock", 4: ["a"], 5: 1}]},
        {5: 0},
        {6: []},
        {6: {99: 1}},
        {6: {1: 1}},
        {6: {24: 3600, 25: 3599}},
        {7: "now"},
        {8: 0},
    ],
    ids=str,
)
def test_hostile_records_are_refused(change):
    data = cbor.encode({**cbor.decode(RECORD.to_bytes(), 1900), **change})
    with pytest.raises(ProvisionError):
        provisioning.parse(data)


def test_a_record_over_the_bound_is_refused():
    audiences = tuple("a" * 31 + str(n) for n in range(8))
    large = dataclasses.replace(STORE, audiences=audiences, name="n" * 32, scopes=tokens.SCOPES)
    issuers = tuple(dataclasses.replace(large, public_key=key) for key in KEYS[:4])
    groups = tuple("group:" + "g" * 25 + str(n) for n in range(8))
    door = {name: setting.most for name, setting in FREE.items()}
    record = dataclasses.replace(RECORD, issuers=issuers[:3], groups=groups, door=door)
    assert provisioning.parse(record.to_bytes()).groups == groups
    with pytest.raises(ProvisionError, match="at most 1900: name fewer"):
        dataclasses.replace(record, issuers=issuers).to_bytes()
    with pytest.raises(ProvisionError, match="at most 1900"):
        provisioning.parse(record.to_bytes() + bytes(1900))


def test_the_hint_is_the_specs():
    import hashlib

    assert RECORD.hint == hashlib.sha256(b"vitrine/hintcase-12").digest()[:6]


def test_the_zone_of_a_lock_is_read_alike():
    with pytest.raises(DeviceProvisionError):
        device_parse(cbor.encode({**cbor.decode(RECORD.to_bytes(), 1900), 5: "Europe/Vienna"}))


def test_the_mark_of_the_clock_is_what_the_lock_reads():
    mark = decode_mark(provisioning.trusted_time_mark(1_790_000_000, 250))
    assert (mark.set_s, mark.error_ms, mark.trim_ms) == (1_790_000_000, 250, 0)


@given(RECORDS)
def test_the_first_blobs_are_what_the_lock_reads(record):
    class Store:
        def __init__(self, name):
            self.name = name

        def load(self):
            return blobs[self.name]

    blobs = provisioning.initial_blobs(record.to_bytes())
    assert set(blobs) == {"configuration", "scenario", "revocations", "receipts", "operations", "lockout"}
    assert blobs["lockout"] == device_lockout.empty()
    assert (blobs["configuration"], blobs["scenario"]) == (device_configuration.empty(), device_scenario.empty())
    pinned = device_parse(record.to_bytes())
    configuration = device_configuration.Configuration(Store("configuration"), pinned)
    scenario = device_scenario.Scenario(Store("scenario"))
    assert configuration.is_sound and configuration.sequence == 0
    assert configuration.settings.differences(Settings(pinned.door)) == []
    assert scenario.is_sound and not scenario.is_lockdown and not scenario.is_shadow
    kids = [issuer.kid for issuer in pinned.issuers]
    revocations = Revocations(Store("revocations"), None)
    assert revocations.is_sound(kids) and [revocations.sequence(kid) for kid in kids] == [0] * len(kids)
    assert Receipts(Store("receipts"), None).is_sound


def test_no_record_has_no_first_blobs():
    with pytest.raises(ProvisionError):
        provisioning.initial_blobs(b"")
