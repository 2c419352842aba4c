"""What is personal is found where it stands as text, and identifiers are none."""

import secrets
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.paths import ROOT
from vitrine_tools.commanding import Command
from vitrine_tools.personal_data import PersonalDataError, find, refuse_personal
from vitrine_tools.pos.sale import SaleError, read

PERSONAL = {
    "e-mail address": ["anna@shop.example", "Anna.B+7@mail.shop.co.uk", "<a_b@x-y.org>", '{"x":"q@w.de"}'],
    "telephone number": [
        "+4930123456",
        "+49 30 1234 5678",
        "+1 (212) 555-0123",
        "tel:+1-212-555-0123",
        "0049 30 123456",
        "030 1234567",
        "(030) 123 45 67",
        "0171/1234567",
        "01711234567",
        "06 12 34 56 78",
        "020 7946 0958",
        "212-555-0123",
        "(212) 555-0123",
    ],
    "payment card number": [
        "4111111111111111",
        "4111 1111 1111 1111",
        "5500-0000-0000-0004",
        "340000000000009",
        "6011000000000004",
        "sale 4222222222222 paid",
    ],
}
NONE = [
    "sale-4711",
    "case-12",
    "staff-17",
    "9f03c1d2a8b7",
    "c9" + "4111111111111111",
    "4111111111111112",
    "0000000000000000",
    "2026-11-22T10:00:00Z",
    "1800000000",
    "1795341299",
    "192.168.178.100",
    "vitrine/case-12/state",
    "a@b",
    "@example.com",
    "12:30-17:45",
    "b5a30001-7b1f-4e5d-9c41-76697472696e",
    "1.29.0-preview.12",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind in PERSONAL for text in PERSONAL[kind]])
def test_what_is_personal_is_found_in_any_bytes(kind, text):
    for around in (b"%s", b"ref=%s.", b"\x00\xff%s\xff\x00", b'{"sale": "%s"}', b"\x81\x78%s\x00"):
        data = around.replace(b"%s", text.encode())
        assert kind in {finding.kind for finding in find(data)}, data
    with pytest.raises(PersonalDataError) as refused:
        refuse_personal(text, "--ref")
    assert "--ref" in str(refused.value) and text not in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("text", NONE)
def test_what_is_not_personal_is_not_found(text):
    assert list(find(text.encode())) == []
    refuse_personal(text, "--ref")


@given(st.binary(min_size=1, max_size=40))
def test_an_identifier_with_a_letter_at_both_ends_is_never_taken_for_something_personal(data):
    assert list(find(b'"c%bd"' % data.hex().encode())) == []


def test_ids_of_commands_are_never_numbers():
    for _ in range(2000):
        made = Command(number=6, audiences=("case-12",), body=None).id.hex()
        assert made[0] in "cdef" and list(find(f'{{"id": "{made}"}}'.encode())) == []


def test_random_bytes_are_not_personal():
    assert list(find(secrets.token_bytes(1 << 20))) == []


def test_a_sale_may_not_be_a_person():
    good = b'{"sale": "%s", "fixture": "case-12", "paid": true}'
    assert read(good % b"9f03c1d2").ref == bytes.fromhex("9f03c1d2")
    assert read(good % b"nwPB0g").ref == bytes.fromhex("9f03c1d2")
    hidden = b"anna@shop.example".hex().encode()
    for personal in (b"4111111111111111", b"01711234567", hidden, b"YW5uYUBzaG9wLmV4YW1wbGU"):
        with pytest.raises(SaleError) as refused:
            read(good % personal)
        assert personal.decode() not in str(refused.value)
    with pytest.raises(SaleError):
        read(good.replace(b"case-12", b"anna@shop.example") % b"9f03c1d2")


def test_the_check_of_files(tmp_path):
    clean, dirty = tmp_path / "clean.bin", tmp_path / "dirty.bin"
    clean.write_bytes(secrets.token_bytes(10_000))
    dirty.write_bytes(bytes(100) + b"anna@shop.example" + bytes(100))
    check = [sys.executable, str(ROOT / "tools" / "checks" / "personal_data.py")]
    assert subprocess.run([*check, clean], capture_output=True).returncode == 0
    run = subprocess.run([*check, clean, dirty], capture_output=True, text=True)
    assert run.returncode == 1 and run.stderr == f"{dirty}: e-mail address at byte 100 (17 bytes)\n"
    run = subprocess.run([*check, "nowhere"], capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr == "cannot read nowhere: No such file or directory\n"
