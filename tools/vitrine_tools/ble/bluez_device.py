"""One remote device of the BlueZ stand-in: what its advertisements say, and its GATT server while connected.

Maps Bumble's central to BlueZ's Device1, GattService1, GattCharacteristic1 and GattDescriptor1 properties and back.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar
from uuid import UUID

from bumble import att, core, hci
from bumble.core import AdvertisingData
from bumble.device import Advertisement, Connection, Device, Peer
from bumble.gatt import Characteristic
from bumble.gatt_client import CharacteristicProxy
from dbus_fast import Variant

from .dbus_objects import DBusFailure, ObjectTree

DEVICE = "org.bluez.Device1"
SERVICE = "org.bluez.GattService1"
CHARACTERISTIC = "org.bluez.GattCharacteristic1"
DESCRIPTOR = "org.bluez.GattDescriptor1"
FAILED = "org.bluez.Error.Failed"

_ATT_MTU_WANTED = 517  # what BlueZ asks for
_CONNECT_LIMIT_S = 10.0
_GATT_LIMIT_S = 10.0
_CCCD = core.UUID.from_16_bits(0x2902)
_FLAGS = {
    Characteristic.Properties.BROADCAST: "broadcast",
    Characteristic.Properties.READ: "read",
    Characteristic.Properties.WRITE_WITHOUT_RESPONSE: "write-without-response",
    Characteristic.Properties.WRITE: "write",
    Characteristic.Properties.NOTIFY: "notify",
    Characteristic.Properties.INDICATE: "indicate",
}

_NOTIFYING = Characteristic.Properties.NOTIFY | Characteristic.Properties.INDICATE

_T = TypeVar("_T")


class RemoteDevice:
    """A device in reach. Its object in `tree` is kept up to date."""

    def __init__(self, tree: ObjectTree, adapter_path: str, central: Device, address: hci.Address) -> None:
        self.path = f"{adapter_path}/dev_{address.to_string(False).replace(':', '_')}"
        self.seen_s = 0.0
        self._tree = tree
        self._central = central
        self._address = address
        self._connection: Connection | None = None
        self._is_wanted = False  # somebody waits for the connection
        self._is_initiating = False
        self._characteristics: dict[str, CharacteristicProxy[bytes]] = {}
        self._subscribers: dict[str, set[str]] = {}
        self._handles: dict[str, int] = {}
        tree.add(self.path, {DEVICE: self._new_properties(adapter_path)})

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to the device."""
        return self._connection is not None

    def heard(self, advertisement: Advertisement, now_s: float, *, is_news: bool) -> None:
        """Take an advertisement's content over; announces what changed, or the signal strength if it `is_news`."""
        self.seen_s = now_s
        known = self._tree.get(self.path, DEVICE)
        said = advertised_properties(advertisement.data)
        changed = {name: value for name, value in said.items() if known.get(name) != value}
        rssi = Variant("n", max(-127, min(20, advertisement.rssi)))
        if is_news or known.get("RSSI") != rssi:
            changed["RSSI"] = rssi
        if "Name" in changed:
            changed["Alias"] = changed["Name"]
        if changed:
            self._tree.set(self.path, DEVICE, **changed)

    def faded(self) -> None:
        """Scanning has stopped: the signal strength is no longer known."""
        self._tree.unset(self.path, DEVICE, "RSSI")

    async def connect(self, one_at_a_time: asyncio.Lock) -> None:
        """Connect, agree on an ATT_MTU and discover the services; DBusFailure if that cannot be done in time.

        The central makes one connection at a time; `disconnect` ends the wait for it.
        """
        if self._connection is not None:
            return
        self._is_wanted = True
        async with one_at_a_time:
            if self._connection is not None:
                return  # another client was faster
            self._connection = connection = await self._initiate()
        connection.on(connection.EVENT_DISCONNECTION, self._disconnected)
        self._tree.set(self.path, DEVICE, Connected=Variant("b", True))
        peer = Peer(connection)
        await self._gatt(peer.request_mtu(_ATT_MTU_WANTED))
        await self._gatt(peer.discover_services())
        await self._gatt(peer.discover_characteristics())
        for service in peer.services:
            for characteristic in service.characteristics:
                await self._gatt(characteristic.discover_descriptors())
        self._publish(peer, connection)
        self._tree.set(self.path, DEVICE, ServicesResolved=Variant("b", True))

    async def disconnect(self) -> None:
        """End the connection, or the attempt to make one; returns when it has ended."""
        self._is_wanted = False
        if self._is_initiating:
            await self._central.cancel_connection()
        connection = self._connection
        if connection is not None:
            try:
                async with asyncio.timeout(_GATT_LIMIT_S):
                    await connection.disconnect()
            except (core.BaseBumbleError, TimeoutError):
                self._disconnected()  # it has ended meanwhile, or nobody is there to end it with

    async def write(self, path: str, value: bytes, options: dict[str, Variant]) -> None:
        """Write a characteristic or descriptor, with response unless the caller asks for a command."""
        is_command = "type" in options and options["type"].value == "command"
        connection = self._connection
        if connection is None:
            raise DBusFailure("org.bluez.Error.NotConnected", "Not Connected")
        if len(value) > connection.att_mtu - 3:
            # BlueZ would try a long write; MicroPython's GATT server knows none and answers with this error
            raise DBusFailure(FAILED, f"Operation failed with ATT error: {att.ATT_INVALID_ATTRIBUTE_LENGTH_ERROR:#04x}")
        client = connection.gatt_client
        await self._gatt(client.write_value(self._handle(path), value, with_response=not is_command))

    async def read(self, path: str) -> bytes:
        """Read a characteristic or descriptor."""
        if self._connection is None:
            raise DBusFailure("org.bluez.Error.NotConnected", "Not Connected")
        return await self._gatt(self._connection.gatt_client.read_value(self._handle(path)))

    async def start_notify(self, path: str, client: str) -> None:
        """Subscribe for the D-Bus client `client`; values become changes of the property Value."""
        characteristic = self._characteristics.get(path)
        if characteristic is None or not characteristic.properties & _NOTIFYING:
            raise DBusFailure("org.bluez.Error.NotSupported", "Operation is not supported")
        subscribers = self._subscribers.setdefault(path, set())
        is_first = not subscribers
        subscribers.add(client)
        if is_first:
            await self._gatt(characteristic.subscribe(lambda value: self._notified(path, value)))
            self._tree.set(path, CHARACTERISTIC, Notifying=Variant("b", True))

    async def stop_notify(self, path: str, client: str) -> None:
        """End the client's subscription; the last one ends the device's."""
        subscribers = self._subscribers.get(path, set())
        subscribers.discard(client)
        characteristic = self._characteristics.get(path)
        if not subscribers and characteristic is not None and self._subscribers.pop(path, None) is not None:
            await self._gatt(characteristic.unsubscribe(force=True))
            self._tree.set(path, CHARACTERISTIC, Notifying=Variant("b", False))

    def subscriptions_of(self, client: str) -> list[str]:
        """Return the paths of the characteristics that `client` is subscribed to."""
        return [path for path, subscribers in self._subscribers.items() if client in subscribers]

    async def _initiate(self) -> Connection:
        if not self._is_wanted:
            raise DBusFailure(FAILED, "le-connection-canceled")
        self._is_initiating = True
        try:
            return await self._central.connect(self._address, timeout=_CONNECT_LIMIT_S)
        except (core.BaseBumbleError, TimeoutError) as error:
            raise DBusFailure(FAILED, "le-connection-canceled") from error
        finally:
            self._is_initiating = False

    def _handle(self, path: str) -> int:
        if path not in self._handles:
            raise DBusFailure("org.freedesktop.DBus.Error.UnknownObject", f"no object {path}")
        return self._handles[path]

    async def _gatt(self, work: Awaitable[_T]) -> _T:
        """Run a GATT procedure; errors and a lost connection become the replies that BlueZ gives."""
        try:
            async with asyncio.timeout(_GATT_LIMIT_S):
                return await work
        except att.ATT_Error as error:
            raise DBusFailure(FAILED, f"Operation failed with ATT error: {error.error_code:#04x}") from error
        except (core.BaseBumbleError, TimeoutError) as error:
            raise DBusFailure(FAILED, str(error) or type(error).__name__) from error
        except asyncio.CancelledError:
            # Bumble cancels what is pending when the connection is lost; this task itself goes on
            if self._connection is None:
                raise DBusFailure(FAILED, "Not connected") from None
            raise

    def _notified(self, path: str, value: bytes) -> None:
        if path in self._tree:
            self._tree.set(path, CHARACTERISTIC, Value=Variant("ay", bytes(value)))

    def _disconnected(self, *_: Any) -> None:
        if self._connection is None:
            return
        self._connection = None
        self._characteristics.clear()
        self._subscribers.clear()
        self._handles.clear()
        for service in [path for path in self._tree.below(self.path) if path.count("/") == self.path.count("/") + 1]:
            self._tree.remove(service)
        self._tree.set(self.path, DEVICE, ServicesResolved=Variant("b", False))
        self._tree.set(self.path, DEVICE, Connected=Variant("b", False))

    def _publish(self, peer: Peer, connection: Connection) -> None:
        """Put the discovered attributes into the tree; their handles are part of the paths, as in BlueZ."""
        for service in peer.services:
            service_path = f"{self.path}/service{service.handle:04x}"
            self._tree.add(
                service_path,
                {
                    SERVICE: {
                        "UUID": Variant("s", _uuid_text(service.uuid)),
                        "Device": Variant("o", self.path),
                        "Primary": Variant("b", True),
                        "Includes": Variant("ao", []),
                    }
                },
            )
            for characteristic in service.characteristics:
                path = f"{service_path}/char{characteristic.handle:04x}"
                self._characteristics[path] = characteristic
                self._handles[path] = characteristic.handle
                flags = [name for bit, name in _FLAGS.items() if characteristic.properties & bit]
                self._tree.add(
                    path,
                    {
                        CHARACTERISTIC: {
                            "UUID": Variant("s", _uuid_text(characteristic.uuid)),
                            "Service": Variant("o", service_path),
                            "Value": Variant("ay", b""),
                            "Notifying": Variant("b", False),
                            "Flags": Variant("as", flags),
                            "MTU": Variant("q", connection.att_mtu),
                        }
                    },
                )
                for descriptor in characteristic.descriptors:
                    if descriptor.type == _CCCD:
                        continue  # BlueZ keeps it to itself: StartNotify writes it
                    descriptor_path = f"{path}/desc{descriptor.handle:04x}"
                    self._handles[descriptor_path] = descriptor.handle
                    self._tree.add(
                        descriptor_path,
                        {
                            DESCRIPTOR: {
                                "UUID": Variant("s", _uuid_text(descriptor.type)),
                                "Characteristic": Variant("o", path),
                                "Value": Variant("ay", b""),
                                "Flags": Variant("as", ["read", "write"]),
                            }
                        },
                    )

    def _new_properties(self, adapter_path: str) -> dict[str, Variant]:
        address = self._address.to_string(False)
        return {
            "Address": Variant("s", address),
            "AddressType": Variant("s", "public" if self._address.is_public else "random"),
            "Alias": Variant("s", address.replace(":", "-")),
            "Adapter": Variant("o", adapter_path),
            "UUIDs": Variant("as", []),
            "Paired": Variant("b", False),
            "Bonded": Variant("b", False),
            "Trusted": Variant("b", False),
            "Blocked": Variant("b", False),
            "LegacyPairing": Variant("b", False),
            "Connected": Variant("b", False),
            "ServicesResolved": Variant("b", False),
        }


def advertised_properties(data: AdvertisingData) -> dict[str, Variant]:
    """Return the Device1 properties that an advertisement (with its scan response) carries."""
    uuids: list[str] = []
    service_data: dict[str, Variant] = {}
    properties: dict[str, Variant] = {}
    for kind, content in _structures(data):
        match kind:
            case AdvertisingData.SHORTENED_LOCAL_NAME | AdvertisingData.COMPLETE_LOCAL_NAME:
                properties["Name"] = Variant("s", content.decode("utf-8", "replace").replace("\0", ""))
            case AdvertisingData.SERVICE_DATA_16_BIT_UUID if len(content) >= 2:
                service_data[_uuid_text(core.UUID.from_bytes(content[:2]))] = Variant("ay", content[2:])
            case AdvertisingData.SERVICE_DATA_128_BIT_UUID if len(content) >= 16:
                service_data[_uuid_text(core.UUID.from_bytes(content[:16]))] = Variant("ay", content[16:])
            case (
                AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS
                | AdvertisingData.INCOMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS
            ):
                uuids += _uuids(content, 2)
            case (
                AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS
                | AdvertisingData.INCOMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS
            ):
                uuids += _uuids(content, 16)
            case AdvertisingData.MANUFACTURER_SPECIFIC_DATA if len(content) >= 2:
                company = int.from_bytes(content[:2], "little")
                properties["ManufacturerData"] = Variant("a{qv}", {company: Variant("ay", content[2:])})
            case AdvertisingData.FLAGS:
                properties["AdvertisingFlags"] = Variant("ay", content)
            case _:
                pass
    if uuids:
        properties["UUIDs"] = Variant("as", list(dict.fromkeys(uuids)))
    if service_data:
        properties["ServiceData"] = Variant("a{sv}", service_data)
    return properties


def _structures(data: AdvertisingData) -> Iterator[tuple[int, bytes]]:
    for kind, content in data.ad_structures:
        yield int(kind), bytes(content)


def _uuids(content: bytes, size: int) -> list[str]:
    whole = len(content) - len(content) % size
    return [_uuid_text(core.UUID.from_bytes(content[at : at + size])) for at in range(0, whole, size)]


def _uuid_text(uuid: core.UUID) -> str:
    """Return a UUID in the long lower-case form that BlueZ uses."""
    return str(UUID(bytes=bytes(reversed(uuid.to_bytes(force_128=True)))))
