"""Manifests: what is built is read again and signed; every other byte is refused."""

import contextlib
import hashlib
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine_tools import bundle, cbor, cose, keys, tokens
from vitrine_tools.errors import ToolError
from vitrine_tools.field import boards
from vitrine_tools.updates import component as components
from vitrine_tools.updates import manifest as manifests
from vitrine_tools.updates.component import Component, ComponentError, Kind
from vitrine_tools.updates.manifest import ManifestError, Preconditions, of_component, parse, sign

ISSUER = keys.PrivateKey.from_seed(b"u" * 32)
OTHER = keys.PrivateKey.from_seed(b"o" * 32)
BOARD = "VITRINE_ESP32"
MPY = b"M\x06\x00\x1f" + bytes(6000)


def application(sequence=7, version="1.2.3"):
    return components.application(bundle.pack({"main.mpy": MPY, "vitrine/door.mpy": MPY[:50]}, sequence, version))


def esp_image(segments=(256 + 16, 40), chip=0, has_digest=True, app=True):
    """An image as ESP-IDF's elf2image lays it out."""
    body = struct.pack("<BBBBI", 0xE9, len(segments), 2, 0x20, 0x40080000) + b"\xee\0\0\0"
    body += struct.pack("<H", chip) + bytes(9) + bytes([has_digest])
    checksum = 0xEF
    for number, size in enumerate(segments):
        content = bytearray((number + at) & 0xFF for at in range(size))
        if app and number == 0:
            content[:4] = struct.pack("<I", 0xABCD5432)
        for byte in content:
            checksum ^= byte
        body += struct.pack("<II", 0x3F400020, size) + content
    body += bytes(15 - len(body) % 16) + bytes([checksum])
    return body + hashlib.sha256(body).digest() if has_digest else body


versions = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=32)
sequences = st.integers(1, 2**32 - 1)
audiences = st.lists(st.from_regex(r"(group:)?[a-z0-9-]{1,26}", fullmatch=True), max_size=3, unique=True).map(tuple)
preconditions = st.builds(
    Preconditions,
    sequence=st.none() | st.integers(0, 2**32 - 1),
    battery_mv=st.none() | st.integers(0, 30_000),
    image_sequence=st.none() | st.integers(0, 2**32 - 1),
)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=3 * 4096), sequences, versions, preconditions, audiences)
def test_what_is_signed_is_read_again(data, sequence, version, asked, named):
    component = Component(Kind.IMAGE, data)
    manifest = of_component(component, BOARD, sequence=sequence, version=version, preconditions=asked, audiences=named)
    signed = sign(manifest, ISSUER)
    assert signed.manifest == manifest and len(signed.data) <= manifests.MAX_MANIFEST
    assert signed.is_signed_by(ISSUER.public) and not signed.is_signed_by(OTHER.public)
    assert manifest.stream_size == len(component.stream)
    signed.check(component)
    with pytest.raises(ManifestError, match="another file"):
        signed.check(Component(Kind.IMAGE, data + b"\0"))


@settings(deadline=None)
@given(st.data())
def test_one_bit_more_or_less_is_no_manifest_of_this_issuer(data):
    good = sign(of_component(application(), BOARD), ISSUER).data
    at = data.draw(st.integers(0, 8 * len(good) - 1))
    bad = bytearray(good)
    bad[at // 8] ^= 1 << at % 8
    with contextlib.suppress(ManifestError):
        assert not parse(bytes(bad)).is_signed_by(ISSUER.public)


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_rubbish_is_refused_in_words(data):
    with pytest.raises(ManifestError):
        parse(data)


def signed_map(payload, header=None, **how):
    header = header or {1: -19, 3: "vitrine/manifest", 4: ISSUER.public.kid}
    return cose.sign1(header, cbor.encode(payload), ISSUER, **how)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({1: 2}, "a format that is not known"),
        ({1: True}, "a format that is not known"),
        ({2: 0}, "the sequence"),
        ({2: 2**32}, "the sequence"),
        ({2: "7"}, "the sequence"),
        ({3: bytes(15)}, "the vendor"),
        ({4: "class"}, "the class"),
        ({5: 2}, "the component"),
        ({5: True}, "the component"),
        ({6: 0}, "the size"),
        ({6: 192 * 1024 + 1}, "the size"),
        ({7: bytes(31)}, "the digest"),
        ({8: None}, "the table"),
        ({9: ""}, "the version"),
        ({9: "x" * 33}, "the version"),
        ({9: "1.0\n"}, "the version"),
        ({9: "1.0\x7f"}, "the version"),
        ({9: b"1.0"}, "the version"),
        ({10: {4: 1}}, "no lock knows"),
        ({10: {True: 1}}, "not a manifest"),
        ({10: {1: -1}}, "a precondition"),
        ({10: {2: 30_001}}, "a precondition"),
        ({10: []}, "no lock knows"),
        ({11: []}, "1 to 8"),
        ({11: ["x"] * 9}, "1 to 8"),
        ({11: "x" * 33}, "1 to 8"),
        ({11: [""]}, "1 to 8"),
        ({12: 0}, "unknown"),
    ],
)
def test_each_rule(change, what):
    payload = of_component(application(), BOARD).to_map()
    parse(signed_map(payload))
    with pytest.raises(ManifestError, match=what):
        parse(signed_map(payload | change))


def test_every_field_is_needed():
    payload = of_component(application(), BOARD).to_map()
    for key in range(1, 10):
        with pytest.raises(ManifestError, match="missing"):
            parse(signed_map({other: value for other, value in payload.items() if other != key}))


def test_no_token_and_no_command_is_a_manifest():
    payload = of_component(application(), BOARD).to_map()
    for header in (
        {1: -19, 4: ISSUER.public.kid},
        {1: -19, 3: "vitrine/command", 4: ISSUER.public.kid},
        {1: -19, 3: "vitrine/manifest", 4: ISSUER.public.kid, 5: 0},
        {1: -19, 3: "vitrine/manifest", 4: ISSUER.public.kid[:7]},
        {1: -7, 3: "vitrine/manifest", 4: ISSUER.public.kid},
    ):
        with pytest.raises(ManifestError):
            parse(signed_map(payload, header))
    with pytest.raises(ManifestError):
        parse(signed_map(payload, is_detached=True))
    claims = tokens.Claims.for_holder(OTHER.public, ("case-12",), now_s=1_800_000_000, valid_s=60, scopes=("unlock",))
    with pytest.raises(ManifestError):
        parse(tokens.issue(claims, ISSUER))
    assert parse(signed_map(payload, is_tagged=True)).is_signed_by(ISSUER.public)


def test_a_bundle_says_its_own_sequence_and_version():
    component = application(9, "2.0")
    manifest = of_component(component, BOARD)
    assert (manifest.kind, manifest.sequence, manifest.version) == (Kind.APPLICATION, 9, "2.0")
    assert of_component(component, BOARD, sequence=9, version="2.0") == manifest
    with pytest.raises(ManifestError, match="sequence is 9"):
        of_component(component, BOARD, sequence=10)
    with pytest.raises(ManifestError, match=r"version is 2\.0"):
        of_component(component, BOARD, version="2.1")
    image = components.image(esp_image())
    with pytest.raises(ManifestError, match="give --sequence"):
        of_component(image, BOARD, version="1")
    with pytest.raises(ManifestError, match="give --version"):
        of_component(image, BOARD, sequence=1)
    signed = sign(manifest, ISSUER)
    with pytest.raises(ManifestError, match="for an application"):
        signed.check(image)


def test_boards_have_classes_of_their_own():
    ids = {manifests.class_id(board) for board in ("VITRINE_ESP32", "VITRINE_ESP32S3", "VITRINE_ESP32C3")}
    assert len(ids) == 3 and manifests.class_id(BOARD) == boards.load(BOARD).class_id
    assert manifests.class_id(BOARD, manifests.vendor_id("other.example")) not in ids


def test_table_is_the_digest_of_each_block():
    data = bytes(range(256)) * 40  # 10,240 bytes: two blocks and a half
    component = Component(Kind.IMAGE, data)
    blocks = [data[:4096], data[4096:8192], data[8192:]]
    assert component.table == b"".join(hashlib.sha256(block).digest()[:16] for block in blocks)
    assert component.stream == component.table + data


def test_what_does_not_fit_is_refused():
    most = Preconditions(sequence=2**32 - 1, battery_mv=30_000, image_sequence=2**32 - 1)
    manifest = of_component(application(2**32 - 1, "x" * 32), BOARD, preconditions=most)
    long = replace(manifest, audiences=tuple(f"group:{'x' * 25}{number}" for number in range(8)))
    with pytest.raises(ManifestError, match="at most 512"):
        sign(long, ISSUER)


def test_images_are_checked():
    for good in (esp_image(), esp_image(chip=9), esp_image((256 + 16 + 7, 1, 0))):
        component = components.image(good)
        assert component.kind is Kind.IMAGE and component.data == components.image(good + b"\xff" * 100).data == good
    assert components.image(esp_image(chip=5)).processor == "ESP32-C3"
    good = esp_image()
    for at in range(24, len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x10
        with pytest.raises(ToolError):
            components.image(bytes(bad))
    for bad, what in (
        (b"", "0xe9"),
        (esp_image(app=False), "not an application image"),
        (esp_image(chip=77), "no lock board has"),
        (good[:100], "cut short"),
        (good + b"more", "more behind the image"),
    ):
        with pytest.raises(ToolError, match=what):
            components.image(bad)


def test_a_component_is_for_a_processor():
    for board, component in (
        ("VITRINE_ESP32", application()),
        ("VITRINE_ESP32", components.image(esp_image())),
        ("VITRINE_ESP32C3", components.image(esp_image(chip=5))),
        ("unix", application()),
        ("unix", components.image(esp_image())),
    ):
        components.check_board(component, board)
    native = Component(Kind.APPLICATION, b"", processor="xtensawin")
    components.check_board(native, "VITRINE_ESP32S3")
    for board, component, what in (
        ("VITRINE_ESP32C3", native, "it is for xtensawin"),
        ("unix", native, "another processor"),
        ("VITRINE_ESP32", components.image(esp_image(chip=9)), "it is for ESP32-S3"),
        ("VITRINE_ESP99", native, "no board VITRINE_ESP99"),
    ):
        with pytest.raises(ToolError, match=what):
            components.check_board(component, board)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_rubbish_is_no_image(data):
    with pytest.raises(ToolError):
        components.image(b"\xe9" + data)


def test_files(tmp_path):
    file = tmp_path / "component"
    file.write_bytes(application().data)
    assert components.read(file).kind is Kind.APPLICATION
    file.write_bytes(esp_image())
    assert components.read(file).kind is Kind.IMAGE
    file.write_bytes(b"something else")
    with pytest.raises(ComponentError, match="component: not an image"):
        components.read(file)
    file.write_bytes(application().data[:-1])
    with pytest.raises(ComponentError, match="component: the bundle"):
        components.read(file)
