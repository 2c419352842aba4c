"""The blob `mqtt`: taken whole or refused, and its refusal never shows what was in it."""

import pytest

from vitrine.codec import cbor
from vitrine.links import mqtt_settings
from vitrine.links.mqtt_settings import MqttSettingsError, parse

GOOD = {1: 1, 2: "broker.example", 3: 8883, 4: b"ca", 5: b"certificate", 6: b"key", 7: 60}


def test_a_good_blob_is_read_whole():
    settings = parse(cbor.encode(GOOD))
    assert (settings.host, settings.port, settings.ca) == ("broker.example", 8883, b"ca")
    assert (settings.certificate, settings.key, settings.heartbeat_s) == (b"certificate", b"key", 60)
    settings = parse(cbor.encode({key: GOOD[key] for key in (1, 2, 3, 4)}))
    assert (settings.certificate, settings.key, settings.heartbeat_s) == (None, None, 300)


@pytest.mark.parametrize(
    "change",
    [
        {1: 2},
        {1: True},
        {2: ""},
        {2: "x" * 65},
        {2: b"bytes"},
        {3: 0},
        {3: 65536},
        {3: True},
        {4: b""},
        {4: bytes(1025)},
        {5: None},
        {6: None},
        {6: bytes(257)},
        {7: 9},
        {7: 86401},
        {8: 1},
        {"x": 1},
        {2: None},
        {4: None},
    ],
)
def test_anything_else_is_refused(change):
    fields = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(MqttSettingsError):
        parse(cbor.encode(fields))


@pytest.mark.parametrize("blob", [b"", b"\x80", b"\xff", cbor.encode(5), cbor.encode(GOOD) + b"\0", bytes(2000)])
def test_other_bytes_are_refused(blob):
    with pytest.raises(MqttSettingsError):
        parse(blob)


def test_without_good_settings_there_is_no_link_and_one_fault():
    faults = []

    class Events:
        def fault(self, name, error):
            faults.append((name, type(error).__name__, str(error)))

    assert mqtt_settings.open_link(cbor.encode(GOOD | {6: bytes(300)}), "case-12", Events()) is None
    assert faults == [("mqtt", "SettingsBlobError", "field 6")]
