"""Runs inside Home Assistant's own Python environment: its schemas and its template engine judge our discovery message.

Standard input: JSON {"messages": [discovery message], "cases": [[payload, {component: wanted}]]}. Status 1 and a line
for each thing that is wrong. Started by homeassistant_env.py.
"""

import asyncio
import importlib
import json
import sys
import tempfile

import voluptuous as vol
from homeassistant.components.mqtt.models import MqttValueTemplate
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA, MQTT_ENTITY_COMMON_SCHEMA
from homeassistant.core import HomeAssistant
from homeassistant.helpers.template import Template

_SHARED = ("platform",)


async def main() -> int:
    given = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        HomeAssistant(folder)  # its templates ask for one that is running; nothing of it is started
        return judge(given)


def judge(given: dict) -> int:
    """Print what is wrong; return the exit status."""
    wrong = []
    for message in given["messages"]:
        try:
            DEVICE_DISCOVERY_SCHEMA(message)
        except vol.Invalid as error:
            wrong.append(f"the message: {error}")
        for name, component in message["components"].items():
            platform = importlib.import_module(f"homeassistant.components.mqtt.{component['platform']}")
            fields = {key: value for key, value in component.items() if key not in _SHARED}
            try:
                # the strict one: what discovery would leave out in silence is a mistake of ours
                checked = platform.PLATFORM_SCHEMA_MODERN(fields)
                platform.DISCOVERY_SCHEMA(fields)
            except vol.Invalid as error:
                wrong.append(f"{name}: {error}")
                continue
            wrong += _templates(name, checked, given["cases"])
    for line in wrong:
        print(line)
    counts = f"{len(given['messages'])} messages, {len(given['cases'])} states"
    print(f"{counts}: {len(wrong)} wrong" if wrong else f"{counts}: all as Home Assistant wants them")
    return 1 if wrong else 0


def _templates(name: str, config: dict, cases: list) -> list[str]:
    wrong = []
    for payload, wanted in cases:
        if name in wanted:
            shown = MqttValueTemplate(config["value_template"]).async_render_with_possible_json_value(payload)
            if shown != wanted[name]:
                wrong.append(f"{name}: {payload!r} is shown as {shown!r}, not as {wanted[name]!r}")
        details = config.get("json_attributes_template")
        if isinstance(details, Template):
            shown = MqttValueTemplate(details).async_render_with_possible_json_value(payload)
            if not isinstance(json.loads(shown), dict):
                wrong.append(f"{name}: {payload!r} has the attributes {shown!r}")
    return wrong


if __name__ == "__main__":
    # a check of the check: the schema must be one that refuses
    try:
        MQTT_ENTITY_COMMON_SCHEMA({"no_such_field": 1})
        sys.exit("this Home Assistant lets everything pass")
    except vol.Invalid:
        sys.exit(asyncio.run(main()))
