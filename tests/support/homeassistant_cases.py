"""What Home Assistant must show for what comes on `vitrine/LOCK/state`: for our own test, and for its own templates."""

import json

UNKNOWN = "None"
ENTITIES = ("lock", "door", "tamper", "battery", "motion", "problem")


def state(lock="Locked", door="DoorClosed", alarms=(), **more):
    said = {"version": "0.7.0", "lock": lock, "door": door, "time": "trusted", "scenario": "normal"}
    return json.dumps(said | {"alarms": list(alarms)} | more)


_GOOD = [
    (state(), ("LOCKED", "OFF", "OFF", "OFF", UNKNOWN, "OFF")),
    (state("Unlocked"), ("UNLOCKED", "OFF", "OFF", "OFF", UNKNOWN, "OFF")),
    (state("Unlocked", "DoorOpen"), ("UNLOCKED", "ON", "OFF", "OFF", UNKNOWN, "OFF")),
    (state("NotFullyLocked"), ("LOCKING", "OFF", "OFF", "OFF", UNKNOWN, "OFF")),
    (
        state("NotFullyLocked", "DoorForcedOpen", ["DoorForcedOpen"]),
        ("UNLOCKED", "ON", "OFF", "OFF", UNKNOWN, "ON"),
    ),
    (state("Unlocked", "DoorAjar", ["DoorAjar"]), ("UNLOCKED", "ON", "OFF", "OFF", UNKNOWN, "ON")),
    (state("Unlatched"), ("OPEN", "OFF", "OFF", "OFF", UNKNOWN, "OFF")),
    (state("Locked", alarms=["LockJammed"]), ("JAMMED", "OFF", "OFF", "OFF", UNKNOWN, "ON")),
    (
        state(alarms=["FrontEsceutcheonRemoved", "BatteryLow"]),
        ("LOCKED", "OFF", "ON", "ON", UNKNOWN, "ON"),
    ),
    (
        state("NotFullyLocked", "DoorForcedOpen", ["SwitchCut", "DoorForcedOpen"]),
        ("UNLOCKED", UNKNOWN, "ON", "OFF", UNKNOWN, "ON"),
    ),
    (state("Unlocked", "DoorOpen", ["SwitchShorted"]), ("UNLOCKED", UNKNOWN, "ON", "OFF", UNKNOWN, "ON")),
    (state("Unlocked", "DoorOpen", ["DoorUnattended"]), ("UNLOCKED", "ON", "OFF", "OFF", "OFF", "ON")),
    # a later lock may have states and alarms that are not known here
    (state("Ajar", "DoorSideways", ["Smoke"], battery=3), (UNKNOWN, UNKNOWN, "OFF", "OFF", UNKNOWN, "ON")),
    (state("Locked", "DoorJammed"), ("LOCKED", UNKNOWN, "OFF", "OFF", UNKNOWN, "OFF")),
    (state("Locked", "DoorUnspecifiedError"), ("LOCKED", UNKNOWN, "OFF", "OFF", UNKNOWN, "OFF")),
    (state(["Locked"], {"a": 1}), (UNKNOWN, UNKNOWN, "OFF", "OFF", UNKNOWN, "OFF")),
]
_MALFORMED = [
    "",
    "Locked",
    "null",
    "7",
    "true",
    '"Locked"',
    "[]",
    "{}",
    '{"lock": "Locked"}',
    '{"lock": "Locked", "door": "DoorClosed"}',
    '{"lock": "Locked", "door": "DoorClosed", "alarms": null}',
    '{"lock": "Locked", "door": "DoorClosed", "alarms": "BatteryLow"}',
    '{"lock": "Locked", "door": "DoorClosed", "alarms": {"BatteryLow": 1}}',
    '{"lock": "Locked", "door": "DoorClosed", "alarms": 3}',
    '{"lock": "Locked", "door": "DoorClosed", "alarms": [',
    "{% raw %}LOCKED",
    "{{ 7 * 7 }}",
    "LOCKED",
    "ON",
]
_VERSION = {"update": '{"installed_version": "0.7.0"}'}
_NO_VERSION = {"update": ""}
CASES = [(payload, dict(zip(ENTITIES, wanted, strict=True)) | _VERSION) for payload, wanted in _GOOD]
CASES += [(payload, dict.fromkeys(ENTITIES, UNKNOWN) | _NO_VERSION) for payload in _MALFORMED]
CASES += [(state(version=version), _NO_VERSION) for version in (7, None, ["0.7.0"], {"a": 1}, True)]
