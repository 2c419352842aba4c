"""The demo's act of sync, on the whole firmware, with both brokers; and the embedded broker by itself."""

import asyncio
import ssl

import aiomqtt
import pytest

from vitrine_tools.demo import brokers, sync_act
from vitrine_tools.demo.stage import Stage

pytestmark = pytest.mark.system


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
async def test_nothing_is_lost_and_the_altered_record_is_named(monkeypatch, capsys, broker):
    if broker == "embedded":
        monkeypatch.setattr(brokers, "MOSQUITTO", None)
    elif brokers.MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    stage = Stage(is_json=True)
    async with asyncio.timeout(60):
        await sync_act.play_sync(stage)
    assert stage.failures == 0, capsys.readouterr().out
    assert stage.steps == 5


@pytest.fixture
async def broker(tmp_path):
    broker = brokers.Embedded(tmp_path)
    await broker.start()
    yield broker
    await broker.stop()


def connect(broker, name="collector", **options):
    address = broker.client(name)
    return aiomqtt.Client(address.host, address.port, tls_context=address.tls, timeout=5, **options)


async def heard(client, count):
    messages = aiter(client.messages)
    async with asyncio.timeout(5):
        found = [await anext(messages) for _ in range(count)]
    return [(str(message.topic), bytes(message.payload), message.retain) for message in found]


async def test_the_embedded_broker_retains_and_matches(broker):
    async with connect(broker, "a") as sender, connect(broker, "b") as receiver:
        await sender.publish("x/1/state", b"old", qos=1, retain=True)
        await sender.publish("x/1/state", b"new", qos=1, retain=True)
        await receiver.subscribe("x/+/state", qos=1)
        await receiver.subscribe("y/#", qos=1)
        await sender.publish("x/1/other", b"no", qos=1)
        await sender.publish("y/a/b", b"yes", qos=0)
        assert await heard(receiver, 2) == [("x/1/state", b"new", True), ("y/a/b", b"yes", False)]


async def test_the_embedded_broker_shares_and_sends_the_last_will(broker):
    will = aiomqtt.Will("gone/a", b"offline", qos=1, retain=True)
    async with connect(broker, "b") as one, connect(broker, "c") as two, connect(broker, "d") as watcher:
        for client in (one, two):
            await client.subscribe("$share/group/x/#", qos=1)
        await watcher.subscribe("gone/#", qos=1)
        async with connect(broker, "a", will=will) as sender:
            for n in range(10):
                await sender.publish(f"x/{n}", b"m", qos=1)
            sender._client.socket().shutdown(2)  # the power fails: no DISCONNECT
            assert await heard(watcher, 1) == [("gone/a", b"offline", False)]
            with pytest.raises(aiomqtt.MqttError):
                await sender.publish("x/11", b"m", qos=1)
                raise aiomqtt.MqttError("the library noticed later")
        assert len(await heard(one, 5)) == len(await heard(two, 5)) == 5


async def test_the_embedded_broker_wants_a_certificate_and_order(broker):
    context = ssl.create_default_context(cafile=broker.ca)
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        reader, writer = await asyncio.open_connection("localhost", broker.port, ssl=context)
        writer.write(b"\x10\x00")
        await reader.readexactly(1)
    known = broker.client("a").tls
    for garbage in (b"\x30\x00", b"\x10\xff\xff\xff\xff\x01", b"\x10\x03abc", b"\xc0\x00", b"\x10\x00"):
        reader, writer = await asyncio.open_connection("localhost", broker.port, ssl=known)
        writer.write(garbage)
        async with asyncio.timeout(5):
            assert await reader.read() == b"", garbage
        writer.close()
