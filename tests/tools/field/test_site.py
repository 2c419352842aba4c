"""The site file: what it says becomes what locks take, and nothing else does."""

import datetime

import pytest

from support.field_site import LOCK_ID, TEXT, WIFI_PASSPHRASE, Store
from vitrine.links import mqtt_settings, network_settings
from vitrine_tools import cbor, provisioning
from vitrine_tools.certificates import Authority
from vitrine_tools.errors import ToolError
from vitrine_tools.field.site import Site
from vitrine_tools.keys import PrivateKey


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def refusal(store, text, lock_id=LOCK_ID):
    """The one line that a person is told."""
    store.write(text)
    with pytest.raises(ToolError) as caught:
        Site(store.path).plan(lock_id)
    told = str(caught.value)
    assert told.isprintable() and len(told) < 400 and WIFI_PASSPHRASE not in told, told
    return told


def test_a_lock_takes_what_it_says(store):
    plan = Site(store.path).plan(LOCK_ID)
    record = provisioning.parse(plan.record(1_800_000_000))
    assert (record.lock_id, record.groups, record.door) == (LOCK_ID, ("group:jewellery",), {"unlock_ms": 4000})
    assert record.zone == "CET-1CEST,M3.5.0,M10.5.0/3" and record.provisioned_at_s == 1_800_000_000
    (issuer,) = record.issuers
    assert issuer.public_key == store.issuer.public and issuer.audiences == (LOCK_ID, "group:jewellery")
    assert issuer.max_lifetime_s == 86_400
    mqtt = mqtt_settings.parse(plan.mqtt)
    assert (mqtt.host, mqtt.port) == ("127.0.0.1", 8883)
    network = network_settings.parse(plan.network)
    assert cbor.decode(plan.network, 99)[3] == WIFI_PASSPHRASE and network.http_port is None
    assert WIFI_PASSPHRASE not in repr(plan) and "bytes" not in repr(plan)


def test_a_lock_may_differ(store):
    store.write(TEXT + "\n[locks.case-12]\ngroups = []\ndoor = { relock_ms = 800 }\n[locks.case-13]\n")
    plan = Site(store.path).plan(LOCK_ID)
    assert plan.provision.groups == () and plan.provision.door == {"unlock_ms": 4000, "relock_ms": 800}
    store.write(store.path.read_text()[: TEXT.index("[broker]")] + "[locks.case-13]\n")
    plan = Site(store.path).plan("case-13")
    assert plan.provision.groups == ("group:jewellery",) and plan.mqtt is None and plan.network is None
    with pytest.raises(ToolError, match=r"has no \[locks.case-12\]"):
        Site(store.path).plan(LOCK_ID)


def test_a_passphrase_from_the_environment(store, monkeypatch):
    text = TEXT.replace('passphrase_file = "wifi.txt"', 'passphrase_env = "STORE_WIFI"')
    assert "STORE_WIFI is no Wi-Fi passphrase" in refusal(store, text)
    monkeypatch.setenv("STORE_WIFI", "from the environment")
    assert cbor.decode(Site(store.path).plan(LOCK_ID).network, 99)[3] == "from the environment"
    monkeypatch.setenv("STORE_WIFI", WIFI_PASSPHRASE * 9)
    refusal(store, text)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('zone = "Europe/Vienna"', 'zone = "Nowhere/Land"', "Nowhere/Land"),
        ('zone = "Europe/Vienna"', 'zoen = "Europe/Vienna"', "zoen is nothing that a site file has"),
        ('zone = "Europe/Vienna"', "zone = 5", "zone"),
        ("unlock_ms = 4000", "unlock_ms = 100", "unlock_ms must be a whole number from 500 to 10000"),
        ("unlock_ms = 4000", "unlok_ms = 4000", "unlok_ms is not a setting"),
        ("unlock_ms = 4000", 'unlock_ms = "4000"', "door.unlock_ms"),
        ('"unlock", "hold"', '"unlock", "everything"', "scopes"),
        ('"{lock}", "group:jewellery"]', '"Case 12"]', "Case 12"),
        ('max_lifetime = "24h"', 'max_lifetime = "for ever"', "for ever"),
        ('key = "issuer.pub.pem"', 'key = "missing.pem"', "missing.pem"),
        ('key = "issuer.pub.pem"', 'key = "ca.crt"', "not an Ed25519 public key"),
        ('key = "issuer.pub.pem"', 'key = "../../../etc/hostname"', "is not in the site file's folder"),
        ('key = "issuer.pub.pem"', 'key = "/etc/hostname"', "is not in the site file's folder"),
        ('passphrase_file = "wifi.txt"', 'passphrase_file = "/etc/passwd"', "is not in the site file's folder"),
        ('passphrase_file = "wifi.txt"', 'passphrase_file = "site.toml"', "too large|no Wi-Fi passphrase"),
        ('passphrase_file = "wifi.txt"', "", "passphrase_env or passphrase_file"),
        ('passphrase_file = "wifi.txt"', f'passphrase = "{WIFI_PASSPHRASE}"', "wifi.passphrase is nothing"),
        ('passphrase_file = "wifi.txt"', 'passphrase_file = "wifi.txt"\npassphrase_env = "X"', "not both"),
        ('ssid = "store-7"', 'ssid = ""', "1 to 32 bytes"),
        ('ca = "ca.crt"', 'ca = "issuer.pub.pem"', "no certificate"),
        ('ca = "ca.crt"', 'ca = "wifi.txt"', "no certificate"),
        ('key = "locks/{lock}.key"', 'key = "ca.key"', "is not the key of"),
        ('key = "locks/{lock}.key"', 'key = "wifi.txt"', "no private key"),
        ('key = "locks/{lock}.key"', "", "come together"),
        ('host = "127.0.0.1"', 'host = ""', "broker.host"),
        ("[broker]", "[broker]\nport = 0", "broker.port"),
        ("[broker]", "[broker]\nheartbeat_s = 5", "broker.heartbeat_s"),
        ("[[issuers]]", "[[issuer]]", "issuers"),
        ("[broker]", "[broker", "is no site file"),
    ],
)
def test_each_mistake_is_one_line(store, before, after, told):
    import re

    assert before in TEXT
    assert re.search(told, refusal(store, TEXT.replace(before, after)))


def test_hostile_files(store, tmp_path):
    assert "too large" in refusal(store, "# " + "x" * 70_000)
    assert "is no site file" in refusal(store, "x = " + "[" * 5000)
    store.path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ToolError):
        Site(store.path)
    with pytest.raises(ToolError):
        Site(tmp_path)
    (store.folder / "link.pem").symlink_to("/etc/hostname")
    assert "is not in" in refusal(store, TEXT.replace("issuer.pub.pem", "link.pem"))
    (store.folder / "loop.pem").symlink_to(store.folder / "loop.pem")
    refusal(store, TEXT.replace("issuer.pub.pem", "loop.pem"))
    refusal(store, TEXT.replace("issuer.pub.pem", "nul\\u0000.pem"))
    refusal(store, TEXT, "../case-12")


def test_a_certificate_that_no_lock_has_room_for(store):
    big = Authority.new("x" * 60)
    long = big.issue("y" * 60, hosts=tuple(f"{'h' * 50}{number}.example" for number in range(12)))
    long.save(store.folder / "locks", LOCK_ID)
    assert "a lock takes 1024" in refusal(store, TEXT)
    assert big.issue("z", end=datetime.timedelta(days=1))


def test_other_keys_than_p_256(store):
    key = store.folder / "locks" / f"{LOCK_ID}.key"
    key.unlink()
    PrivateKey.generate().save(key)
    assert "must be a key of EC P-256" in refusal(store, TEXT)
