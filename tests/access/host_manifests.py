"""Manifests as the tools sign them and as the lock reads them: both take and refuse the same."""

from hypothesis import given
from hypothesis import strategies as st

from vitrine.access.manifest import Manifest, ManifestError
from vitrine_tools import cbor, cose
from vitrine_tools.keys import PrivateKey
from vitrine_tools.updates import manifest as tools
from vitrine_tools.updates.component import Component, Kind

ISSUER = PrivateKey.from_seed(b"u" * 32)
sequences = st.integers(1, 2**32 - 1)
versions = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=32)
audiences = st.lists(st.sampled_from(["case-1", "group:shop", "case-2"]), max_size=3, unique=True)


def payload(sequence=7, version="0.7.0", data=b"x" * 9000, **fields):
    component = Component(Kind.APPLICATION, data, sequence, version)
    return tools.of_component(component, "unix", **fields).to_map()


def signed(fields, header=None):
    header = header or {1: -19, 3: "vitrine/manifest", 4: ISSUER.public.kid}
    return cose.sign1(header, cbor.encode(fields), ISSUER)


def read(data):
    """Return what the lock makes of it, or None."""
    try:
        return Manifest(data)
    except ManifestError:
        return None


@given(sequences, versions, st.binary(min_size=1, max_size=20_000), audiences)
def test_what_the_tools_sign_the_lock_reads(sequence, version, data, names):
    said = tools.sign(tools.Manifest(**_fields(payload(sequence, version, data, audiences=tuple(names)))), ISSUER)
    found = read(said.data)
    assert (found.sequence, found.component, found.size) == (sequence, 0, len(data))
    assert (found.digest, found.table, found.audiences) == (said.manifest.digest, said.manifest.table, names)
    assert found.kid == ISSUER.public.kid and found.data == said.data
    assert found.table_size + found.size == said.manifest.stream_size
    assert sum(found.block_size(number) for number in range(found.blocks)) == len(data)
    assert ISSUER.public.verify(found.message(), found.signature)


def _fields(said):
    return {
        "sequence": said[2],
        "vendor": said[3],
        "class_id": said[4],
        "kind": Kind(said[5]),
        "size": said[6],
        "digest": said[7],
        "table": said[8],
        "version": said[9],
        "audiences": tuple([said[11]] if isinstance(said.get(11), str) else said.get(11, ())),
    }


junk = st.none() | st.booleans() | st.integers(-3, 2**33) | st.binary(max_size=33) | st.text(max_size=33)


@given(st.integers(0, 12), junk, st.booleans())
def test_both_refuse_the_same_fields(key, value, is_gone):
    fields = payload()
    if is_gone:
        fields.pop(key, None)
    else:
        fields[key] = value
    data = signed(fields)
    try:
        tools.parse(data)
        is_good = True
    except (tools.ManifestError, ValueError):
        is_good = False
    assert (read(data) is not None) is is_good, fields


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_byte_changed_is_another_manifest_or_none(place, mask):
    data = bytearray(signed(payload()))
    place %= len(data)
    data[place] ^= mask
    found = read(bytes(data))
    original = read(signed(payload()))
    assert found is None or (found.message(), found.signature) != (original.message(), original.signature)


def test_what_is_for_something_else_is_none():
    good = payload()
    assert read(signed(good)) is not None
    for header in (
        {1: -19, 4: ISSUER.public.kid},
        {1: -19, 3: "vitrine/command", 4: ISSUER.public.kid},
        {1: -19, 3: "vitrine/manifest", 4: ISSUER.public.kid[:7]},
        {1: -19, 3: "vitrine/manifest", 4: ISSUER.public.kid, 5: 0},
        {1: -7, 3: "vitrine/manifest", 4: ISSUER.public.kid},
    ):
        assert read(signed(good, header)) is None, header
    assert read(b"") is None and read(signed(good) + b"\0") is None
