"""What Home Assistant does with MQTT discovery, as far as it matters here: reads topics through templates."""

import asyncio
import contextlib
import functools
import json

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vitrine_tools.commanding_broker import connected

UNKNOWN = "None"
LIMIT_S = 30
_PLATFORMS = ("lock", "binary_sensor", "update")


def render(template, payload):
    """The text of a value template: `value` always, `value_json` where the payload is JSON."""
    variables = {"value": payload}
    with contextlib.suppress(ValueError):
        variables["value_json"] = json.loads(payload)
    return _compiled(template).render(variables).strip()


@functools.cache
def _compiled(template):
    return ImmutableSandboxedEnvironment(undefined=jinja2.Undefined).from_string(template)


class HomeAssistant:
    """One that has just started: `async with HomeAssistant(broker)`. `states`: of each entity, by its unique id."""

    def __init__(self, broker):
        self._broker = broker
        self.messages = {}  # last payload of each topic
        self.configs = {}  # discovery message by topic
        self.configured = 0
        self.events = []
        self.notices = []
        self._changed = asyncio.Condition()

    async def __aenter__(self):
        self._stack = contextlib.AsyncExitStack()
        self.client = await self._stack.enter_async_context(connected(self._broker))
        await self.client.subscribe("homeassistant/device/+/config", qos=1)
        await self.client.publish("homeassistant/status", b"online", qos=1)
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._stack.aclose()

    async def press(self, lock_id, payload):
        """What a person does who presses "unlock"."""
        component = self.configs[f"homeassistant/device/vitrine_{lock_id}/config"]["components"]["lock"]
        await self.client.publish(component["command_topic"], payload, qos=1)

    def states(self, lock_id):
        """{component: "unavailable", "None" or its state}."""
        config = self.configs.get(f"homeassistant/device/vitrine_{lock_id}/config")
        if config is None:
            return {}
        return {
            name: self._state(component)
            for name, component in config["components"].items()
            if component["platform"] in _PLATFORMS
        }

    async def until(self, is_it, limit_s=LIMIT_S):
        """Wait until `is_it()`."""
        async with asyncio.timeout(limit_s), self._changed:
            await self._changed.wait_for(is_it)

    async def shows(self, lock_id, limit_s=LIMIT_S, **wanted):
        """Wait until the lock's entities are as wanted."""
        try:
            await self.until(lambda: wanted.items() <= self.states(lock_id).items(), limit_s)
        except TimeoutError:
            raise AssertionError(f"wanted {wanted}, shown {self.states(lock_id)}") from None

    def _state(self, component):
        if not all(self._is_available(each) for each in component.get("availability", ())):
            return "unavailable"
        if "availability_topic" in component and self.messages.get(component["availability_topic"]) != "online":
            return "unavailable"
        payload = self.messages.get(component["state_topic"])
        if payload is None:
            return UNKNOWN
        if component["platform"] == "update":
            # a value that is an object sets what it names; whether it is newer is not compared here
            installed = json.loads(render(component["value_template"], payload))["installed_version"]
            latest = self.messages.get(component["latest_version_topic"])
            return UNKNOWN if not installed or not latest else "OFF" if installed == latest else "ON"
        if "value_template" in component:
            return render(component["value_template"], payload)
        return {component["payload_on"]: "ON", component["payload_off"]: "OFF"}.get(payload, UNKNOWN)

    def _is_available(self, availability):
        payload = self.messages.get(availability["topic"])
        if payload is not None and "value_template" in availability:
            payload = render(availability["value_template"], payload)
        return payload == "online"

    async def _read(self):
        async for message in self.client.messages:
            topic, payload = str(message.topic), message.payload.decode()
            if topic.endswith("/config"):
                await self._configure(topic, payload)
            elif topic.endswith("/event"):
                if not message.retain:
                    self.events.append(json.loads(payload))
            elif topic.endswith("/notice"):
                self.notices.append(json.loads(payload))
            else:
                self.messages[topic] = payload
            async with self._changed:
                self._changed.notify_all()

    async def _configure(self, topic, payload):
        self.configured += 1
        if not payload:
            self.configs.pop(topic, None)
            return
        is_new = topic not in self.configs
        self.configs[topic] = json.loads(payload)
        if not is_new:
            return
        topics = set()
        for component in self.configs[topic].get("components", {}).values():
            topics |= {value for key, value in component.items() if key.endswith("_topic") and key != "command_topic"}
            topics |= {availability["topic"] for availability in component.get("availability", ())}
        for each in sorted(topics):
            await self.client.subscribe(each, qos=1)
