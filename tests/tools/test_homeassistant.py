"""Discovery messages against Home Assistant's fields, templates against every state, and new records as events."""

import json
import time

import pytest

from support.homeassistant import UNKNOWN, render
from support.homeassistant_cases import CASES, ENTITIES
from support.paths import ROOT
from vitrine_tools import cbor, protocol
from vitrine_tools.audit import records
from vitrine_tools.audit.sealed import Keys, Record, Seal, make_batch, read
from vitrine_tools.collector.store import Store, StoreTrouble, Verified
from vitrine_tools.errors import ToolError
from vitrine_tools.homeassistant import discovery, events

FIELDS = json.loads((ROOT / "tests" / "data" / "homeassistant_fields.json").read_text())
LOCK = "case-12"


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path / "records.db"))
    yield store
    store.close()


def test_every_field_is_one_that_home_assistant_knows():
    message = discovery.message(LOCK)
    assert message.keys() <= set(FIELDS["top"])
    assert message["device"].keys() <= set(FIELDS["device"]) and message["device"]["identifiers"]
    assert message["origin"].keys() <= set(FIELDS["origin"]) and message["origin"]["name"]
    for component in message["components"].values():
        known = FIELDS["platforms"][component["platform"]]
        assert component.keys() <= set(known["all"]) | set(FIELDS["common"])
        assert component.keys() >= set(known["required"])
        if "device_class" in component:
            assert component["device_class"] in FIELDS["device_classes"][component["platform"]]


def test_every_entity_is_there_once_and_none_is_optimistic():
    components = discovery.message(LOCK)["components"]
    assert set(components) == {*ENTITIES, "connectivity", "event", "update"}
    assert len({component["unique_id"] for component in components.values()}) == len(components)
    assert components["lock"]["optimistic"] is False and "payload_open" not in components["lock"]
    # no lock hears what Home Assistant publishes, and only connectivity outlives a lock that is gone
    assert [name for name in components if "command_topic" in components[name]] == ["lock"]
    assert not components["lock"]["command_topic"].startswith("vitrine/")
    for name in ENTITIES:
        assert components[name]["availability_topic"] == f"vitrine/{LOCK}/availability"
    assert "availability_topic" not in components["connectivity"]


def test_what_a_lock_lacks_is_left_out():
    components = discovery.message(LOCK, without=("battery", "motion"))["components"]
    assert {"battery", "motion"}.isdisjoint(components) and "tamper" in components


def test_every_entity_shows_what_the_state_says_and_nothing_else():
    components = discovery.message(LOCK)["components"]
    for payload, wanted in CASES:
        shown = {name: render(components[name]["value_template"], payload) for name in wanted}
        assert shown == wanted, payload


def test_an_update_goes_away_with_its_version():
    """Home Assistant keeps the version before when it is told none."""
    component = discovery.message(LOCK)["components"]["update"]
    gone, broken = component["availability"]
    assert component["availability_mode"] == "all" and gone == {"topic": f"vitrine/{LOCK}/availability"}
    assert broken["topic"] == component["state_topic"] == f"vitrine/{LOCK}/state"
    for payload, wanted in CASES:
        assert render(broken["value_template"], payload) == ("online" if wanted["update"] else "offline"), payload


def test_details_are_an_object_whatever_comes():
    template = discovery.message(LOCK)["components"]["problem"]["json_attributes_template"]
    for payload, wanted in CASES:
        details = json.loads(render(template, payload))
        assert isinstance(details, dict) and (details or wanted.get("problem") == UNKNOWN), payload
    whole = json.loads(render(template, CASES[8][0]))
    assert whole["alarms"] == ["FrontEsceutcheonRemoved", "BatteryLow"] and whole["lock_state"] == "Locked"


def test_the_names_of_alarms_are_the_firmwares():
    from vitrine.app import sync

    codes, names = list(sync._ALARMS), sync._ALARM_NAMES.split(" ")
    assert dict(zip(codes, names, strict=True)) == protocol.ALARMS


def test_topics_and_origins_are_read_back():
    assert discovery.lock_of_topic(discovery.device_topic(LOCK)) == LOCK
    for topic in ("homeassistant/device/other/config", "homeassistant/device/vitrine_Case/config", "x", ""):
        assert discovery.lock_of_topic(topic) is None
    assert discovery.is_ours(json.dumps(discovery.message(LOCK)).encode())
    for payload in (b"", b"[]", b"{}", b'{"origin": "vitrine"}', b'{"origin": {"name": "other"}}', b"\xff"):
        assert not discovery.is_ours(payload)
    for prefix in ("", "a/", "/a", "a b", "#", "home+", "a//b"):
        with pytest.raises(ToolError, match="not a discovery prefix"):
            discovery.check_prefix(prefix)
    assert discovery.check_prefix("site/homeassistant") == "site/homeassistant"


# new records


KEYS = Keys(b"r" * 32, LOCK, 1_800_000_000)


def record(kind=2, **change):
    now_s = int(time.time())
    return {1: kind, 2: now_s, 3: 1, 5: 1, 7: b"anna", 8: b"identity", 9: b"sale-4711", 13: b"issuer-7"} | {
        int(key[1:]): value for key, value in change.items()
    }


def keep(store, first, bodies, seal=Seal.RIGHT):
    rows = [(first + n, cbor.encode(body)) for n, body in enumerate(bodies)]
    to = first + len(rows)
    batch = read(make_batch(KEYS, first=first, to=to, count=to, head=bytes(32), records=rows))
    kept = tuple(Record(number, body, b"t" * 16, seal) for number, body in rows)
    store.add([Verified(batch, kept)])


def test_new_records_are_told_once_and_old_ones_never(store):
    keep(store, 0, [record() for _ in range(40)])
    new = events.NewRecords(store)
    assert new.take() == []
    keep(store, 43, [record(0, _11=6, _14=1)])  # overtook the one before
    keep(store, 40, [record(3, _4=5), record(1, _10=0, _17=2), record()])
    told = new.take()
    assert [(lock, event["number"], event["event_type"]) for lock, event in told] == [
        (LOCK, 40, "LockOperationError"),
        (LOCK, 41, "DoorStateChange"),
        (LOCK, 42, "LockOperation"),
        (LOCK, 43, "DoorLockAlarm"),
    ]
    assert new.take() == []
    keep(store, 44, [record()])
    assert [event["number"] for _, event in new.take()] == [44]


def test_an_event_names_no_person_and_no_sale(store):
    new = events.NewRecords(store)
    keep(store, 0, [record(_30=[b"bert"], _15="detail", _4=0)])
    ((_, event),) = new.take()
    text = json.dumps(event)
    for secret in (b"anna", b"bert", b"identity", b"sale-4711", b"issuer-7"):
        assert secret.decode() not in text and secret.hex() not in text
    assert event["operation"] == "Unlock" and event["reason"] == "Granted" and event["detail"] == "detail"
    assert event["event_type"] in discovery.message(LOCK)["components"]["event"]["event_types"]


def test_an_alarm_is_told_by_its_name(store):
    new = events.NewRecords(store)
    keep(store, 0, [record(0, _11=code, _14=1) for code in protocol.ALARMS])
    assert [event["alarm"] for _, event in new.take()] == list(protocol.ALARMS.values())


def test_what_is_altered_unknown_or_late_is_no_event(store):
    new = events.NewRecords(store)
    keep(store, 0, [record()], Seal.ALTERED)
    keep(store, 1, [record(77), record(_2=int(time.time()) - 400)])
    assert new.take() == []
    keep(store, 3, [record(_2=1000, _3=0)])  # it does not know the time: it may be now
    assert len(new.take()) == 1


def test_a_database_that_is_gone_is_told_as_trouble(store):
    new = events.NewRecords(store)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE early")
        connection.exec_driver_sql("ALTER TABLE journals RENAME TO gone")
    with pytest.raises(StoreTrouble):
        new.take()


def test_every_kind_of_record_is_an_event_type():
    assert discovery.message(LOCK)["components"]["event"]["event_types"] == list(records.KINDS.values())
