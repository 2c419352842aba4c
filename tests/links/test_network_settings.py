"""The blob `network`: taken whole or refused, and its refusal never shows what was in it."""

import pytest

from vitrine.codec import cbor
from vitrine.links.network_settings import NetworkSettingsError, parse, take

PASSPHRASE = "correct horse battery"
GOOD = {1: 1, 2: b"Store \xff", 3: PASSPHRASE, 4: 8080, 5: b"certificate", 6: b"private key"}


def test_a_good_blob_is_read_whole():
    settings = parse(cbor.encode(GOOD))
    assert (settings.ssid, settings.passphrase, settings.http_port) == (b"Store \xff", PASSPHRASE, 8080)
    assert (settings.certificate, settings.key) == (b"certificate", b"private key")
    settings = parse(cbor.encode({key: GOOD[key] for key in (1, 2, 3)}))
    assert (settings.http_port, settings.certificate, settings.key) == (None, None, None)


@pytest.mark.parametrize("passphrase", ["12345678", "x" * 63, " ~" * 4])
def test_passphrases_as_wpa_has_them(passphrase):
    assert parse(cbor.encode(GOOD | {3: passphrase})).passphrase == passphrase


@pytest.mark.parametrize(
    "change",
    [
        {1: 2},
        {1: True},
        {1: None},
        {2: None},
        {2: b""},
        {2: bytes(33)},
        {2: "text"},
        {3: None},
        {3: ""},
        {3: "1234567"},
        {3: "x" * 64},
        {3: b"12345678"},
        {3: "pass\0word"},
        {3: "pässword1"},
        {4: 0},
        {4: 65536},
        {4: True},
        {4: "80"},
        {5: None},
        {6: None},
        {5: b""},
        {5: bytes(1025)},
        {6: bytes(257)},
        {7: 1},
        {0: 1},
        {"x": 1},
    ],
)
def test_anything_else_is_refused_and_shows_nothing(change):
    fields = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(NetworkSettingsError) as refused:
        parse(cbor.encode(fields))
    assert str(refused.value) == "map" or str(refused.value) == f"field {next(iter(change))}"


@pytest.mark.parametrize("blob", [b"", b"\x80", b"\xff", cbor.encode(5), cbor.encode(GOOD) + b"\0", bytes(2000)])
def test_other_bytes_are_refused(blob):
    with pytest.raises(NetworkSettingsError):
        parse(blob)


def test_without_good_settings_there_is_no_wifi_and_one_fault():
    faults = []

    class Events:
        def fault(self, name, error):
            faults.append((name, str(error)))

    assert take(cbor.encode(GOOD | {3: "short"}), Events()) is None
    assert faults == [("network", "field 3")]
    assert take(cbor.encode(GOOD), Events()).http_port == 8080 and len(faults) == 1
