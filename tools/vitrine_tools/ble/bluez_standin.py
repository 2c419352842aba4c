"""A stand-in for BlueZ: owns org.bluez on a private D-Bus and carries it over to a Bumble central on the virtual radio.

A program that speaks to BlueZ (bleak, Chromium) and is started with DBUS_SYSTEM_BUS_ADDRESS set to that bus uses its
real Linux backend against emulated locks. Covered: discovery, connecting, reading, writing, notifications; not pairing.
Source: BlueZ's D-Bus API, doc/org.bluez.Adapter, .Device and .Gatt*.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bumble.device import Advertisement, Device
from dbus_fast import Message, MessageType, NameFlag, RequestNameReply, Variant
from dbus_fast.aio.message_bus import MessageBus

from .bluez_device import RemoteDevice
from .dbus_objects import DBusFailure, ObjectTree, need_signature

ADAPTER = "org.bluez.Adapter1"
ADAPTER_PATH = "/org/bluez/hci0"
FORGET_S = 30.0  # BlueZ forgets a device that it has not heard for this long

_log = logging.getLogger(__name__)


class BluezStandIn:
    """`async with BluezStandIn(bus_address, central):` serves org.bluez; `central` is its one adapter."""

    def __init__(self, bus_address: str, central: Device) -> None:
        self._bus_address = bus_address
        self._central = central
        self._bus: MessageBus | None = None
        self._tree = ObjectTree(self._send)
        self._devices: dict[str, RemoteDevice] = {}
        self._scanners: set[str] = set()
        self._news: set[str] = set()  # devices whose next advertisement is announced though nothing changed
        self._connecting = asyncio.Lock()  # Bumble makes one connection at a time
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take the name org.bluez; OSError if the bus is not there. The central must be powered on."""
        self._central.on(Device.EVENT_ADVERTISEMENT, self._heard)
        self._tree.add("/org/bluez", {"org.bluez.AgentManager1": {}, "org.bluez.ProfileManager1": {}})
        self._tree.add(ADAPTER_PATH, _adapter_interfaces(self._central))
        self._bus = await MessageBus(bus_address=self._bus_address).connect()
        self._bus.add_message_handler(self._received)
        await self._bus.call(
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="AddMatch",
                signature="s",
                body=["type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'"],
            )
        )
        reply = await self._bus.request_name("org.bluez", NameFlag.DO_NOT_QUEUE)
        if reply != RequestNameReply.PRIMARY_OWNER:
            raise OSError("org.bluez is already there on this bus")

    async def stop(self) -> None:
        """Disconnect from every device and leave the bus."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for device in list(self._devices.values()):
            await device.disconnect()
        if self._scanners:
            self._scanners.clear()
            await self._central.stop_scanning()
        self._central.remove_listener(Device.EVENT_ADVERTISEMENT, self._heard)
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.disconnect()
            with contextlib.suppress(Exception):  # whatever ended the connection, it has ended
                await bus.wait_for_disconnect()

    async def __aenter__(self) -> "BluezStandIn":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _send(self, message: Message) -> None:
        if self._bus is not None and self._bus.connected:
            self._bus.send(message).add_done_callback(lambda sent: sent.cancelled() or sent.exception())

    def _received(self, message: Message) -> Message | bool | None:
        """Take a message from the bus; True says that it is ours and the reply comes later."""
        if message.message_type == MessageType.SIGNAL:
            if message.member == "NameOwnerChanged" and len(message.body) == 3 and not message.body[2]:
                self._run(self._client_gone(message.body[0]))
            return None
        if message.message_type != MessageType.METHOD_CALL:
            return None
        try:
            answer = self._tree.answer(message)
            if answer is not None:
                return answer
            if not (message.interface or "").startswith("org.bluez."):
                return None
            self._tree.get(message.path or "", message.interface or "")
            self._run(self._reply(message, self._method(message)))
        except DBusFailure as failure:
            return Message.new_error(message, failure.name, str(failure))
        return True

    def _method(self, call: Message) -> Callable[[], Awaitable[Message | None]]:
        """Return what the call asks for, as a function that returns its reply, or None for an empty one."""
        sender, path, body = call.sender or "", call.path or "", call.body
        device = self._device_of(path)
        match call.interface, call.member:
            case "org.bluez.Adapter1", "StartDiscovery":
                return lambda: self._start_discovery(sender)
            case "org.bluez.Adapter1", "StopDiscovery":
                return lambda: self._stop_discovery(sender)
            case ("org.bluez.Adapter1", "SetDiscoveryFilter"):
                return _nothing
            case "org.bluez.AgentManager1" | "org.bluez.ProfileManager1", _:
                return _nothing
            case "org.bluez.Device1", "Connect" if device:
                return lambda: self._connect(device)
            case "org.bluez.Device1", "Disconnect" if device:
                return device.disconnect
            case "org.bluez.GattCharacteristic1", "StartNotify" if device:
                return lambda: device.start_notify(path, sender)
            case "org.bluez.GattCharacteristic1", "StopNotify" if device:
                return lambda: device.stop_notify(path, sender)
            case (("org.bluez.GattCharacteristic1" | "org.bluez.GattDescriptor1"), "WriteValue") if device:
                need_signature(call, "aya{sv}")
                return lambda: device.write(path, bytes(body[0]), body[1])
            case (("org.bluez.GattCharacteristic1" | "org.bluez.GattDescriptor1"), "ReadValue") if device:
                return lambda: self._read(call, device)
            case _:
                raise DBusFailure(
                    "org.freedesktop.DBus.Error.UnknownMethod", f"no method {call.interface}.{call.member}"
                )

    async def _reply(self, call: Message, method: Callable[[], Awaitable[Message | None]]) -> None:
        try:
            answer = await method() or Message.new_method_return(call)
        except DBusFailure as failure:
            answer = Message.new_error(call, failure.name, str(failure))
        self._send(answer)

    async def _start_discovery(self, client: str) -> None:
        if client in self._scanners:
            raise DBusFailure("org.bluez.Error.InProgress", "Operation already in progress")
        now_s = time.monotonic()
        for path, device in list(self._devices.items()):
            if not device.is_connected and now_s - device.seen_s > FORGET_S:
                del self._devices[path]
                self._tree.remove(path)
        self._news.update(self._devices)
        self._scanners.add(client)
        if len(self._scanners) == 1:
            await self._central.start_scanning(active=True, filter_duplicates=False)
            self._tree.set(ADAPTER_PATH, ADAPTER, Discovering=Variant("b", True))

    async def _stop_discovery(self, client: str) -> None:
        if client not in self._scanners:
            raise DBusFailure("org.bluez.Error.Failed", "No discovery started")
        self._scanners.discard(client)
        if not self._scanners:
            await self._central.stop_scanning()
            for device in self._devices.values():
                device.faded()
            self._tree.set(ADAPTER_PATH, ADAPTER, Discovering=Variant("b", False))

    async def _connect(self, device: RemoteDevice) -> None:
        try:
            await device.connect(self._connecting)
        except DBusFailure:
            await device.disconnect()
            raise

    async def _read(self, call: Message, device: RemoteDevice) -> Message:
        return Message.new_method_return(call, "ay", [await device.read(call.path or "")])

    async def _client_gone(self, client: str) -> None:
        """As BlueZ does: the client's discovery and subscriptions end with it, its connections do not."""
        if client in self._scanners:
            await self._stop_discovery(client)
        for device in self._devices.values():
            for path in device.subscriptions_of(client):
                with contextlib.suppress(DBusFailure):
                    await device.stop_notify(path, client)

    def _heard(self, advertisement: Advertisement) -> None:
        if not self._scanners:
            return
        path = f"{ADAPTER_PATH}/dev_{advertisement.address.to_string(False).replace(':', '_')}"
        if path not in self._devices:
            self._devices[path] = RemoteDevice(self._tree, ADAPTER_PATH, self._central, advertisement.address)
            self._news.add(path)
        self._devices[path].heard(advertisement, time.monotonic(), is_news=path in self._news)
        self._news.discard(path)

    def _device_of(self, path: str) -> RemoteDevice | None:
        return self._devices.get("/".join(path.split("/")[:5]))

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a D-Bus call failed", exc_info=task.exception())


async def _nothing() -> None:
    """For calls that have no effect here."""


def _adapter_interfaces(central: Device) -> dict[str, dict[str, Variant]]:
    return {
        ADAPTER: {
            "Address": Variant("s", central.random_address.to_string(False)),
            "AddressType": Variant("s", "random"),
            "Name": Variant("s", "virtual radio"),
            "Alias": Variant("s", "virtual radio"),
            "Class": Variant("u", 0),
            "Powered": Variant("b", True),
            "Discoverable": Variant("b", False),
            "DiscoverableTimeout": Variant("u", 0),
            "Pairable": Variant("b", False),
            "PairableTimeout": Variant("u", 0),
            "Discovering": Variant("b", False),
            "UUIDs": Variant("as", []),
            "Roles": Variant("as", ["central"]),
        }
    }
