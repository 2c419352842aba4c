"""The device discovery message of one lock: what Home Assistant shows, and from which topics it reads it.

Home Assistant reads the lock's own `state` and `availability` through templates, so nothing stands between that could
go stale or guess. Every template is total: whatever comes, a broken message too, makes the entity `unknown` and never
leaves it as it was. Field names: Home Assistant's MQTT integration, 2026.2.
"""

import json
import re
from typing import Any, Final

from .. import __version__, names
from ..audit import records
from ..errors import ToolError
from ..protocol import ALARMS

PREFIX: Final = "homeassistant"
OWN: Final = "vitrine-homeassistant"  # topics that no lock hears, and that no lock may write
ORIGIN: Final = "vitrine"
UNKNOWN: Final = "None"  # what Home Assistant's lock and binary sensor take for it
_PREFIX = re.compile(r"[a-zA-Z0-9_-]+(/[a-zA-Z0-9_-]+)*")

# Optional hardware: a lock does not say whether it has it
OPTIONAL: Final = ("battery", "motion", "tamper")

_READ = (
    "{% set s = value_json if value_json is defined and value_json is mapping else {} %}"
    "{% set a = s.alarms if s.alarms is defined and s.alarms is sequence and s.alarms is not string"
    " and s.alarms is not mapping else none %}"
)
_LOCK = _READ + (
    "{% if a is none or s.lock is not defined or s.door is not defined %}None"
    "{% elif 'LockJammed' in a %}JAMMED"
    "{% elif s.lock == 'Locked' %}LOCKED"
    "{% elif s.lock == 'Unlocked' %}UNLOCKED"
    "{% elif s.lock == 'Unlatched' %}OPEN"
    # closed, and settling in its frame before it may be called locked; every other one of this state stands open
    "{% elif s.lock == 'NotFullyLocked' and s.door == 'DoorClosed' %}LOCKING"
    "{% elif s.lock == 'NotFullyLocked' %}UNLOCKED"
    "{% else %}None{% endif %}"
)
_DOOR = _READ + (
    # a line that is cut or shorted counts as open for the lock; where the door is, nobody knows
    "{% if a is none or 'SwitchCut' in a or 'SwitchShorted' in a or s.door is not defined %}None"
    "{% elif s.door == 'DoorClosed' %}OFF"
    "{% elif s.door in ('DoorOpen', 'DoorForcedOpen', 'DoorAjar') %}ON"
    "{% else %}None{% endif %}"
)
_MOTION = _READ + "{{ 'OFF' if a is not none and 'DoorUnattended' in a else 'None' }}"
_PROBLEM = _READ + "{{ 'None' if a is none else ('ON' if a else 'OFF') }}"
_DETAILS = (
    "{% set s = value_json if value_json is defined and value_json is mapping else {} %}"
    "{{ {'alarms': s.alarms, 'scenario': s.scenario, 'time': s.time, 'lock_state': s.lock, 'door_state': s.door}"
    " | tojson if s.alarms is defined and s.scenario is defined and s.time is defined and s.lock is defined"
    " and s.door is defined else '{}' }}"
)
_SAID = "{% set s = value_json if value_json is defined and value_json is mapping else {} %}"
_VERSION = _SAID + "{{ {'installed_version': s.version} | tojson if s.version is string else '' }}"
# an update entity cannot be told that a version is unknown: it keeps the one before, so it has to go away
_HAS_VERSION = _SAID + "{{ 'online' if s.version is string else 'offline' }}"
TAMPER_ALARMS: Final = ("FrontEsceutcheonRemoved", "SwitchCut", "SwitchShorted")


def device_topic(lock_id: str, prefix: str = PREFIX) -> str:
    """Return the topic that the lock's discovery message is retained at."""
    return f"{prefix}/device/vitrine_{lock_id}/config"


def lock_of_topic(topic: str, prefix: str = PREFIX) -> str | None:
    """Return the lock whose discovery topic this is, or None."""
    start, end = f"{prefix}/device/vitrine_", "/config"
    if not (topic.startswith(start) and topic.endswith(end)):
        return None
    try:
        return names.check_lock_id(topic[len(start) : -len(end)])
    except names.NameRuleError:
        return None


def check_prefix(text: str) -> str:
    """Return `text` if it can be Home Assistant's discovery prefix; ToolError otherwise."""
    if not _PREFIX.fullmatch(text):
        raise ToolError(f"{text!r} is not a discovery prefix: write it like {PREFIX}")
    return text


def is_ours(payload: bytes) -> bool:
    """Tell whether a discovery message was made by this program, or an older one of it."""
    try:
        message = json.loads(payload)
    except ValueError:
        return False
    origin = message.get("origin") if isinstance(message, dict) else None
    return isinstance(origin, dict) and origin.get("name") == ORIGIN


def release_topic(lock_id: str) -> str:
    """Return the topic that the version is retained at which a lock could have."""
    return f"{OWN}/{lock_id}/release"


def message(lock_id: str, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the discovery message of a lock; `without` names entities of OPTIONAL that its hardware lacks."""
    lock, own = f"vitrine/{lock_id}", f"{OWN}/{lock_id}"
    state = {"state_topic": f"{lock}/state", "availability_topic": f"{lock}/availability", "qos": 1}
    components: dict[str, dict[str, Any]] = {
        "lock": state
        | {
            "platform": "lock",
            "name": None,  # the device's own
            "value_template": _LOCK,
            "command_topic": f"{own}/command",
            "optimistic": False,
            "retain": False,
            "json_attributes_topic": f"{own}/notice",
        },
        "door": state | _binary("Door", "door", _DOOR),
        "tamper": state | _binary("Tamper", "tamper", _alarmed(*TAMPER_ALARMS)),
        "battery": state | _binary("Battery", "battery", _alarmed("BatteryLow"), "diagnostic"),
        "motion": state | _binary("Motion", "motion", _MOTION),
        "problem": state
        | _binary("Problem", "problem", _PROBLEM, "diagnostic")
        | {"json_attributes_topic": f"{lock}/state", "json_attributes_template": _DETAILS},
        "connectivity": _binary("Connectivity", "connectivity", None, "diagnostic")
        | {"state_topic": f"{lock}/availability", "payload_on": "online", "payload_off": "offline", "qos": 1},
        "event": {
            "platform": "event",
            "name": "Event",
            "state_topic": f"{own}/event",
            "event_types": list(records.KINDS.values()),
            "qos": 1,
        },
        "update": {
            "platform": "update",
            "name": "Firmware",
            "device_class": "firmware",
            "entity_category": "diagnostic",
            "state_topic": f"{lock}/state",
            "qos": 1,
            "availability": [
                {"topic": f"{lock}/availability"},
                {"topic": f"{lock}/state", "value_template": _HAS_VERSION},
            ],
            "availability_mode": "all",
            "value_template": _VERSION,
            "latest_version_topic": release_topic(lock_id),  # unknown until somebody says what there is
        },
    }
    for name in without:
        del components[name]
    for name, component in components.items():
        component["unique_id"] = f"vitrine_{lock_id}_{name}"
    return {
        "device": {
            "identifiers": [f"vitrine_{lock_id}"],
            "name": lock_id,
            "manufacturer": "Vitrine",
            "model": "Vitrine lock",
            "serial_number": lock_id,
        },
        "origin": {"name": ORIGIN, "sw_version": __version__},
        "components": components,
    }


def _binary(name: str, device_class: str, template: str | None, category: str | None = None) -> dict[str, Any]:
    fields = {"platform": "binary_sensor", "name": name, "device_class": device_class}
    if template is not None:
        fields["value_template"] = template
    if category is not None:
        fields["entity_category"] = category
    return fields


def _alarmed(*alarms: str) -> str:
    """Return the template that is on while one of these alarms is active."""
    unknown = set(alarms) - set(ALARMS.values())
    if unknown:
        raise ValueError(f"no alarm of the lock is called {unknown}")
    tests = " or ".join(f"'{alarm}' in a" for alarm in alarms)
    return _READ + "{{ 'None' if a is none else ('ON' if " + tests + " else 'OFF') }}"
