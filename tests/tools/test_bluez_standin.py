"""The BlueZ stand-in, as a D-Bus client sees it: objects, properties, errors, and what ends with whom."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from bumble.core import AdvertisingData
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio.message_bus import MessageBus
from hypothesis import given
from hypothesis import strategies as st

from support.fake_lock import SERVICE_LE, BumbleLock, Peripheral, structure
from vitrine_tools import protocol
from vitrine_tools.ble.bluez_device import advertised_properties
from vitrine_tools.ble.bluez_standin import ADAPTER, ADAPTER_PATH, BluezStandIn
from vitrine_tools.ble.private_bus import PrivateBus
from vitrine_tools.emulator import VirtualRadio
from vitrine_tools.emulator.radio import RadioController, make_device
from vitrine_tools.keys import PrivateKey
from vitrine_tools.provisioning import Issuer, Provision

needs_dbus = pytest.mark.skipif(not PrivateBus.is_available(), reason="dbus-daemon is not installed (Debian: dbus)")

LIMIT_S = 10.0
DEVICE = "org.bluez.Device1"
CHARACTERISTIC = "org.bluez.GattCharacteristic1"
ISSUER = Issuer(
    public_key=PrivateKey.from_seed(b"i" * 32).public, name="s", scopes=("unlock",), audiences=("a",), max_lifetime_s=9
)
LOCK = Provision(lock_id="case-12", issuers=(ISSUER,), provisioned_at_s=0)


class Client:
    """A D-Bus client that keeps the signals it gets."""

    def __init__(self, bus):
        self.bus = bus
        self.signals = []
        self._arrived = asyncio.Event()

    @classmethod
    async def connect(cls, address):
        self = cls(await MessageBus(bus_address=address).connect())
        self.bus.add_message_handler(self._received)
        await self.call(
            "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s", ["type='signal'"], "org.freedesktop.DBus"
        )
        return self

    def _received(self, message):
        if message.message_type == MessageType.SIGNAL and message.interface.startswith("org.freedesktop.DBus."):
            self.signals.append((message.path, message.member, message.body))
            self._arrived.set()

    async def call(self, path, interface, member, signature="", body=(), destination="org.bluez"):
        message = Message(
            destination=destination, path=path, interface=interface, member=member, signature=signature, body=list(body)
        )
        return await asyncio.wait_for(self.bus.call(message), LIMIT_S)

    async def objects(self):
        reply = await self.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        return reply.body[0]

    async def signal(self, matches):
        """Wait for a signal (path, member, body) that matches, from the beginning on."""
        async with asyncio.timeout(LIMIT_S):
            seen = 0
            while True:
                for found in self.signals[seen:]:
                    seen += 1
                    if matches(*found):
                        return found
                self._arrived.clear()
                await self._arrived.wait()

    async def find(self):
        """Discover until the lock's device appears; return its path."""
        await self.call(ADAPTER_PATH, ADAPTER, "StartDiscovery")
        _, _, body = await self.signal(lambda path, member, body: member == "InterfacesAdded" and DEVICE in body[1])
        return body[0]


@pytest.fixture
async def world():
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(PrivateBus())
        radio = VirtualRadio()
        adapter = await make_device("adapter", RadioController("adapter", radio), radio.next_address())
        await stack.enter_async_context(BluezStandIn(bus.address, adapter))
        lock = BumbleLock(radio, LOCK, 0)
        await lock.start()
        stack.push_async_callback(lock.stop)

        async def client():
            client = await Client.connect(bus.address)
            stack.callback(client.bus.disconnect)
            return client

        yield lock, client, radio, bus


@needs_dbus
async def test_a_device_says_what_it_advertises(world):
    lock, new_client, *_ = world
    client = await new_client()
    path = await client.find()
    assert path == f"{ADAPTER_PATH}/dev_{lock.address.replace(':', '_')}"
    await client.signal(lambda p, member, body: member == "PropertiesChanged" and "Name" in body[1])
    properties = {name: value.value for name, value in (await client.objects())[path][DEVICE].items()}
    assert (properties["Address"], properties["AddressType"]) == (lock.address, "public")
    assert (properties["Name"], properties["Alias"]) == ("case-12", "case-12")
    assert properties["ServiceData"][protocol.SERVICE_UUID].value == bytes([1, 3]) + LOCK.hint
    assert (properties["RSSI"], properties["Connected"], properties["UUIDs"]) == (-50, False, [])
    await client.call(ADAPTER_PATH, ADAPTER, "StopDiscovery")
    assert "RSSI" not in (await client.objects())[path][DEVICE]
    reply = await client.call(path, "org.freedesktop.DBus.Properties", "Get", "ss", [DEVICE, "Name"])
    assert reply.body[0].value == "case-12"
    reply = await client.call(path, "org.freedesktop.DBus.Properties", "GetAll", "s", [DEVICE])
    assert reply.body[0]["Address"].value == lock.address


@needs_dbus
async def test_a_second_client_hears_of_devices_that_are_known(world):
    _, new_client, *_ = world
    one, other = await new_client(), await new_client()
    path = await one.find()
    await other.call(ADAPTER_PATH, ADAPTER, "StartDiscovery")
    before = len(other.signals)
    await other.signal(lambda p, member, body: p == path and "RSSI" in body[1] and len(other.signals) > before - 1)


@needs_dbus
async def test_the_gatt_server_appears_with_the_connection_and_goes_with_it(world):
    lock, new_client, *_ = world
    client = await new_client()
    path = await client.find()
    assert (await client.call(path, DEVICE, "Connect")).message_type == MessageType.METHOD_RETURN
    objects = await client.objects()
    assert objects[path][DEVICE]["ServicesResolved"].value is True
    characteristics = {
        interfaces[CHARACTERISTIC]["UUID"].value: (below, interfaces[CHARACTERISTIC])
        for below, interfaces in objects.items()
        if CHARACTERISTIC in interfaces
    }
    request_path, request = characteristics[protocol.REQUEST_UUID]
    assert (request["Flags"].value, request["MTU"].value) == (["write"], 247)
    assert characteristics[protocol.ANSWER_UUID][1]["Flags"].value == ["notify"]
    await lock.connections[0].disconnect()
    await client.signal(lambda p, member, body: member == "InterfacesRemoved" and body[0] == request_path)
    objects = await client.objects()
    assert not any(CHARACTERISTIC in interfaces for interfaces in objects.values())
    assert objects[path][DEVICE]["Connected"].value is False
    reply = await client.call(request_path, CHARACTERISTIC, "WriteValue", "aya{sv}", [b"x", {}])
    assert reply.error_name == "org.freedesktop.DBus.Error.UnknownObject"


@needs_dbus
async def test_a_notification_is_a_change_of_the_value_for_subscribers_only(world):
    _, new_client, *_ = world
    client, other = await new_client(), await new_client()
    path = await client.find()
    await client.call(path, DEVICE, "Connect")
    paths = {
        interfaces[CHARACTERISTIC]["UUID"].value: below
        for below, interfaces in (await client.objects()).items()
        if CHARACTERISTIC in interfaces
    }
    request, answer = paths[protocol.REQUEST_UUID], paths[protocol.ANSWER_UUID]
    hello = protocol.split(protocol.request(protocol.Op.HELLO, 1), 247)[0]

    async def write():
        return await client.call(
            request, CHARACTERISTIC, "WriteValue", "aya{sv}", [hello, {"type": Variant("s", "request")}]
        )

    def values():
        return [body for p, _, body in client.signals if p == answer and "Value" in body[1]]

    await write()
    assert values() == []
    for subscriber in (client, other):
        reply = await subscriber.call(answer, CHARACTERISTIC, "StartNotify")
        assert reply.message_type == MessageType.METHOD_RETURN
    await client.call(answer, CHARACTERISTIC, "StopNotify")  # the other is still subscribed
    await write()
    await client.signal(lambda p, member, body: p == answer and "Value" in body[1])
    other.bus.disconnect()  # and with its last client a subscription ends
    await client.signal(
        lambda p, member, body: p == answer and body[1].get("Notifying") == Variant("b", False) and len(values()) == 1
    )
    await write()
    await write()
    assert len(values()) == 1
    reply = await client.call(request, CHARACTERISTIC, "StartNotify")
    assert reply.error_name == "org.bluez.Error.NotSupported"


@needs_dbus
async def test_discovery_ends_with_the_client_that_wanted_it(world):
    _, new_client, *_ = world
    one, other = await new_client(), await new_client()
    await one.find()
    assert (await one.call(ADAPTER_PATH, ADAPTER, "StartDiscovery")).error_name == "org.bluez.Error.InProgress"
    assert (await other.call(ADAPTER_PATH, ADAPTER, "StopDiscovery")).error_name == "org.bluez.Error.Failed"
    one.bus.disconnect()
    await other.signal(lambda p, member, body: p == ADAPTER_PATH and body[1].get("Discovering") == Variant("b", False))


@needs_dbus
async def test_devices_not_heard_for_long_are_forgotten(world, monkeypatch):
    lock, new_client, *_ = world
    client = await new_client()
    path = await client.find()
    await client.call(ADAPTER_PATH, ADAPTER, "StopDiscovery")
    lock.stop_advertising()
    monkeypatch.setattr("vitrine_tools.ble.bluez_standin.FORGET_S", 0.0)
    await client.call(ADAPTER_PATH, ADAPTER, "StartDiscovery")
    assert path not in await client.objects()


@needs_dbus
@pytest.mark.parametrize(
    ("path", "interface", "member", "error"),
    [
        ("/org/bluez/hci9", ADAPTER, "StartDiscovery", "UnknownObject"),
        (ADAPTER_PATH, ADAPTER, "Explode", "UnknownMethod"),
        (ADAPTER_PATH, DEVICE, "Connect", "UnknownInterface"),
        (f"{ADAPTER_PATH}/dev_00_00_00_00_00_00", DEVICE, "Connect", "UnknownObject"),
    ],
)
async def test_wrong_calls_get_the_errors_of_dbus(world, path, interface, member, error):
    _, new_client, *_ = world
    reply = await (await new_client()).call(path, interface, member)
    assert reply.error_name == f"org.freedesktop.DBus.Error.{error}"


@needs_dbus
@pytest.mark.parametrize("signature_and_body", [("s", ["x"]), ("ay", [b"x"]), ("", [])])
async def test_calls_with_wrong_arguments_are_answered(world, signature_and_body):
    _, new_client, *_ = world
    client = await new_client()
    path = await client.find()
    await client.call(path, DEVICE, "Connect")
    target = next(below for below, interfaces in (await client.objects()).items() if CHARACTERISTIC in interfaces)
    reply = await client.call(target, CHARACTERISTIC, "WriteValue", *signature_and_body)
    assert reply.error_name == "org.freedesktop.DBus.Error.InvalidArgs"
    reply = await client.call(path, "org.freedesktop.DBus.Properties", "Get")
    assert reply.error_name == "org.freedesktop.DBus.Error.InvalidArgs"


@needs_dbus
async def test_properties_cannot_be_set(world):
    _, new_client, *_ = world
    body = [ADAPTER, "Powered", Variant("b", False)]
    reply = await (await new_client()).call(ADAPTER_PATH, "org.freedesktop.DBus.Properties", "Set", "ssv", body)
    assert reply.error_name == "org.freedesktop.DBus.Error.PropertyReadOnly"


@needs_dbus
async def test_there_is_one_bluez_on_a_bus(world):
    *_, radio, bus = world
    adapter = await make_device("second", RadioController("second", radio), radio.next_address())
    second = BluezStandIn(bus.address, adapter)
    with pytest.raises(OSError, match="already there"):
        await second.start()
    await second.stop()


@needs_dbus
async def test_any_advertisement_becomes_properties_that_dbus_takes(world):
    _, new_client, radio, _ = world
    client = await new_client()
    await client.find()
    odd = Peripheral(radio, "odd")
    await odd.start()
    odd.advertise(structure(0x09, b"\xff\x00\xfe") + structure(0x21, SERVICE_LE) + b"\x1f\x09cut off")
    await client.signal(lambda p, member, body: odd.address.replace(":", "_") in str(body) or odd.address in str(body))
    assert any(path.endswith(odd.address.replace(":", "_")) for path in await client.objects())
    odd.vanish()


@given(st.binary(max_size=62))
def test_any_bytes_of_an_advertisement_do_no_harm(data):
    for name, value in advertised_properties(AdvertisingData.from_bytes(data)).items():
        assert name and isinstance(value, Variant)


def test_advertised_properties():
    data = (
        b"\x02\x01\x06"
        + structure(0x03, b"\x0f\x18\x0a\x18\x00")
        + structure(0x07, SERVICE_LE)
        + structure(0x16, b"\x0f\x18\x64")
        + structure(0xFF, b"\x4c\x00\x01\x02")
    )
    properties = {name: value.value for name, value in advertised_properties(AdvertisingData.from_bytes(data)).items()}
    battery = "0000180f-0000-1000-8000-00805f9b34fb"
    assert properties["UUIDs"] == [battery, "0000180a-0000-1000-8000-00805f9b34fb", protocol.SERVICE_UUID]
    assert properties["ServiceData"][battery].value == b"\x64"
    assert properties["ManufacturerData"][0x004C].value == b"\x01\x02"
    assert properties["AdvertisingFlags"] == b"\x06"
