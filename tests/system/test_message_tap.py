"""The tap at the broker: it hears what a lock publishes, and finds what does not fit."""

import asyncio

import pytest

from support.mosquitto import Mosquitto, needs_mosquitto
from vitrine_tools.commanding_broker import connected

pytestmark = [needs_mosquitto, pytest.mark.system]


async def test_what_does_not_fit_at_the_broker_is_found(messages_fit, tmp_path):
    mosquitto = Mosquitto(tmp_path)
    await mosquitto.start()
    try:
        async with connected(mosquitto.client("case-7")) as lock:
            await lock.publish("vitrine/case-7/state", b"what a test publishes itself may be anything", qos=1)
            for topic, payload in (
                ("vitrine/case-7/availability", b"online"),
                ("vitrine/case-7/result", b'{"id": "0a0a0a0a0a0a0a0a", "reason": "Fine"}'),
                ("vitrine/case-7/journal", b"\x80"),
            ):
                lock._client.publish(topic, payload, qos=1)  # as another process would: past the tap's notes
            async with asyncio.timeout(10):
                while len(messages_fit) < 2:
                    await asyncio.sleep(0.01)
    finally:
        await mosquitto.stop()
    assert [line.partition(":")[0] for line in messages_fit] == ["vitrine/case-7/result", "vitrine/case-7/journal"]
    messages_fit.clear()
