"""The lock's side of the virtual radio: what NimBLE does below boards/unix/modules/bluetooth.py.

Holds the attribute table, ATT_MTU and permissions; every access to a value is the firmware's (a write is answered
after the firmware's handler has run, as on the chip). Connection handles count from 0, as NimBLE's.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable

from bumble import att, gatt_server, hci
from bumble.core import UUID, InvalidPacketError
from bumble.device import AdvertisingType, Connection, Device, LegacyAdvertiser, Peer
from bumble.gatt import (
    GATT_DEVICE_NAME_CHARACTERISTIC,
    Characteristic,
    CharacteristicValue,
    Descriptor,
    Service,
)
from bumble.hci import Address

from vitrine_tools.emulator.radio import RadioController, VirtualRadio, make_device

_FLAG_READ, _FLAG_WRITE_NO_RESPONSE, _FLAG_WRITE = 0x02, 0x04, 0x08
_PROPERTY_MASK = 0x3E

_CENTRAL_CONNECT, _CENTRAL_DISCONNECT, _GATTS_WRITE, _GATTS_READ_REQUEST = 1, 2, 3, 4
_INDICATE_DONE, _MTU_EXCHANGED = 20, 21

_INDICATE_TIMEOUT_STATUS = 13  # BLE_HS_ETIMEOUT
_EIO = 5

logger = logging.getLogger(__name__)


class LockServer(gatt_server.Server):
    """Bumble's attribute server with the checks that NimBLE makes and Bumble leaves out."""

    def on_gatt_pdu(self, bearer: att.Bearer, att_pdu: att.ATT_PDU) -> None:
        error = self._refusal(bearer, att_pdu)
        if error is None:
            super().on_gatt_pdu(bearer, att_pdu)
        elif att_pdu.op_code in att.ATT_REQUESTS:
            self.refuse(bearer, att_pdu.op_code, getattr(att_pdu, "attribute_handle", 0), error)

    def refuse(self, bearer: att.Bearer, op_code: int, handle: int, error: int) -> None:
        self.send_response(
            bearer,
            att.ATT_Error_Response(
                request_opcode_in_error=op_code,
                attribute_handle_in_error=handle,
                error_code=att.ErrorCode(error),
            ),
        )

    def _refusal(self, bearer: att.Bearer, pdu: att.ATT_PDU) -> int | None:
        if len(bytes(pdu)) > bearer.att_mtu:
            return att.ATT_INVALID_PDU_ERROR
        handle = getattr(pdu, "attribute_handle", None)
        attribute = self.get_attribute(handle) if handle else None
        if attribute is None:
            return None
        writes = (att.ATT_Write_Request, att.ATT_Write_Command, att.ATT_Prepare_Write_Request)
        if isinstance(pdu, writes) and not attribute.permissions & att.Attribute.WRITEABLE:
            return att.ATT_WRITE_NOT_PERMITTED_ERROR
        reads = (att.ATT_Read_Request, att.ATT_Read_Blob_Request)
        if isinstance(pdu, reads) and not attribute.permissions & att.Attribute.READABLE:
            return att.ATT_READ_NOT_PERMITTED_ERROR
        return None


class LockDevice(Device):
    """Survives any bytes on the ATT channel."""

    def on_gatt_pdu(self, connection: int, pdu: bytes) -> None:  # type: ignore[override]
        try:
            super().on_gatt_pdu(connection, pdu)  # type: ignore[arg-type]
        except (InvalidPacketError, ValueError, IndexError, KeyError) as error:
            logger.debug("malformed ATT packet: %s", error)
            peer = self.connections.get(connection)
            if peer is not None and pdu and pdu[0] in att.ATT_REQUESTS:
                server = self.gatt_server
                if isinstance(server, LockServer):
                    server.refuse(peer, pdu[0], 0, att.ATT_INVALID_PDU_ERROR)


class LockRadio:
    """One lock's radio, from ble.active(True) to ble.active(False), a reset or a power cut."""

    def __init__(
        self,
        radio: VirtualRadio,
        name: str,
        address: Address,
        send: Callable[[dict], None],
        is_virtual: bool,
    ) -> None:
        self._radio = radio
        self._is_virtual = is_virtual
        self._name = name
        self.address = address
        self._send = send
        self._controller: RadioController | None = None
        self._device: LockDevice | None = None
        self._handles: dict[int, Connection] = {}
        self._attributes: dict[int, Characteristic | Descriptor] = {}
        self._own_attributes = 0
        self._acks: dict[int, asyncio.Future[dict]] = {}
        self._ack_numbers = itertools.count(1)
        self._tasks: set[asyncio.Task] = set()
        self._mtu = 256
        self._is_dead = False
        self.cut: list[tuple[int, int]] = []  # notifications that did not fit: (bytes, room)
        self._handlers: dict[str, Callable[[dict], None]] = {
            "ble_on": lambda m: self._spawn(self._on(m)),
            "ble_off": self._on_off,
            "ble_name": lambda m: self._set_name(bytes.fromhex(m["v"])),
            "ble_mtu": self._on_mtu,
            "services": self._on_services,
            "adv": self._on_adv,
            "drop": self._on_drop,
            "update": self._on_update,
            "notify": self._on_notify,
            "indicate": lambda m: self._spawn(self._indicate(m)),
            "exchange": lambda m: self._spawn(self._exchange(m)),
            "cut": lambda m: self.cut.append((m["size"], m["most"])),
            "ack": self._on_ack,
        }

    @property
    def connections(self) -> int:
        return len(self._handles)

    @property
    def is_advertising(self) -> bool:
        return self._controller is not None and self._controller.advertiser.enabled

    @property
    def is_dead(self) -> bool:
        """A fault: off the air, and whatever is asked of it fails; also after a reset."""
        return self._is_dead

    @is_dead.setter
    def is_dead(self, is_dead: bool) -> None:
        self._is_dead = is_dead
        self._send({"e": "ble_dead", "v": is_dead})
        if is_dead and self._controller is not None:
            self._controller.advertiser.stop()
            self.drop_all()

    def handle(self, message: dict) -> bool:
        """Do what the firmware asks of the radio; False if it is not the radio's business."""
        handler = self._handlers.get(message["op"])
        if handler is None:
            return False
        handler(message)
        return True

    def power_off(self) -> None:
        """No more packets from this lock; the phones see a supervision time-out."""
        for task in self._tasks:
            task.cancel()
        for future in self._acks.values():
            future.cancel()
        self._acks.clear()
        self._handles.clear()
        self._attributes.clear()
        if self._controller is not None:
            self._controller.vanish()
        self._controller = self._device = None

    def drop_all(self) -> None:
        """A fault: every connection is lost; both ends see the supervision time-out."""
        if self._controller is not None:
            for address in list(self._controller.le_connections):
                self._controller.lose(address)

    def _spawn(self, coroutine) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_done)

    def _spawned_done(self, task: asyncio.Task) -> None:
        """What went wrong on the air (the peer has gone meanwhile) is no fault of the emulator."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.debug("radio operation failed: %s", task.exception())

    async def _on(self, message: dict) -> None:
        if self._is_dead:
            self._send({"a": message["q"], "errno": [_EIO]})
            return
        controller = RadioController(self._name, self._radio, self.address)
        controller.advertiser.is_virtual = self._is_virtual
        self._controller = controller
        self._mtu = message["mtu"]

        def make(**kwargs) -> LockDevice:
            device = LockDevice(**kwargs)
            own = device.gatt_server
            device.gatt_server = LockServer(device)
            device.gatt_server.add_services(own.services)
            return device

        device = await make_device(self._name, controller, Address("C0:00:00:00:00:01"), make)
        assert isinstance(device, LockDevice)
        device.gatt_server.max_mtu = self._mtu
        device.on("connection", self._on_connection)
        self._own_attributes = len(device.gatt_server.attributes)
        self._device = device
        self._set_name(bytes.fromhex(message["name"]))
        self._send({"a": message["q"], "mac": bytes(reversed(bytes(self.address))).hex()})

    def _set_name(self, name: bytes) -> None:
        """The Device Name of the GAP service."""
        for attribute in self._device.gatt_server.attributes if self._device else ():
            if isinstance(attribute, Characteristic) and attribute.uuid == GATT_DEVICE_NAME_CHARACTERISTIC:
                attribute.value = name

    def _on_off(self, message: dict) -> None:
        self.power_off()
        self._send({"a": message["q"]})

    def _on_mtu(self, message: dict) -> None:
        self._mtu = message["mtu"]
        if self._device is not None:
            self._device.gatt_server.max_mtu = self._mtu

    def _on_services(self, message: dict) -> None:
        device = self._device
        if device is None:
            return
        server = device.gatt_server
        del server.attributes[self._own_attributes :]
        server.attributes_by_handle.clear()
        server.services = [s for s in server.services if s in server.attributes]
        self._attributes.clear()
        groups = []
        for uuid, rows in message["v"]:
            characteristics = [self._characteristic(*row) for row in rows]
            server.add_service(Service(_uuid(uuid), characteristics))
            group = []
            for characteristic in characteristics:
                for attribute in [characteristic, *self._own_descriptors(characteristic)]:
                    self._attributes[attribute.handle] = attribute
                    group.append(attribute.handle)
            groups.append(group)
        self._send({"a": message["q"], "v": groups})

    @staticmethod
    def _own_descriptors(characteristic: Characteristic) -> list[Descriptor]:
        return [item for item in characteristic.descriptors if isinstance(item.value, CharacteristicValue)]

    def _characteristic(self, uuid: str, flags: int, descriptors: list) -> Characteristic:
        characteristic = Characteristic(
            _uuid(uuid),
            Characteristic.Properties(flags & _PROPERTY_MASK),
            _permissions(flags),
            b"",
            [Descriptor(_uuid(u), _permissions(f), b"") for u, f in descriptors],
        )
        for attribute in [characteristic, *characteristic.descriptors]:
            attribute.value = self._value(attribute)
        return characteristic

    def _value(self, attribute: Characteristic | Descriptor) -> CharacteristicValue:
        async def read(connection) -> bytes:
            answer = await self._ask(_GATTS_READ_REQUEST, connection, [attribute.handle])
            if answer["error"]:
                raise att.ATT_Error(att.ErrorCode(answer["error"]))
            return bytes.fromhex(answer["v"])

        async def write(connection, value: bytes) -> None:
            await self._ask(_GATTS_WRITE, connection, [attribute.handle, bytes(value).hex()])

        return CharacteristicValue(read=read, write=write)

    async def _ask(self, kind: int, connection: Connection, fields: list) -> dict:
        """Have the firmware's handler run; return its answer."""
        handle = self._handle_of(connection)
        if handle is None:
            raise att.ATT_Error(att.ErrorCode.UNLIKELY_ERROR)
        number = next(self._ack_numbers)
        future = self._acks[number] = asyncio.get_running_loop().create_future()
        self._send({"e": "ble", "k": kind, "d": [handle, *fields], "i": number})
        try:
            return await future
        finally:
            self._acks.pop(number, None)

    def _on_ack(self, message: dict) -> None:
        future = self._acks.get(message["i"])
        if future is not None and not future.done():
            future.set_result(message)

    def _on_adv(self, message: dict) -> None:
        controller, device = self._controller, self._device
        if controller is None or device is None:
            return
        advertiser = controller.advertiser
        if not message["us"]:
            advertiser.stop()
            return
        # Bumble's host wants to know who advertised when a connection comes in.
        device.legacy_advertiser = LegacyAdvertiser(
            device,
            AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE,
            hci.OwnAddressType.PUBLIC,
            Address.ANY,
            False,
        )
        advertiser.begin(
            message["us"],
            bytes.fromhex(message["data"]),
            bytes.fromhex(message["resp"]),
            message["connectable"],
        )

    def _on_connection(self, connection: Connection) -> None:
        handle = next(number for number in itertools.count() if number not in self._handles)
        self._handles[handle] = connection
        address = connection.peer_address
        fields = [handle, 0 if address.is_public else 1, bytes(reversed(bytes(address))).hex()]

        def on_disconnection(reason: int) -> None:
            if self._handles.pop(handle, None) is not None:
                self._send({"e": "ble", "k": _CENTRAL_DISCONNECT, "d": fields})

        def on_mtu() -> None:
            self._send({"e": "ble", "k": _MTU_EXCHANGED, "d": [handle, connection.att_mtu]})

        connection.on("disconnection", on_disconnection)
        connection.on("connection_att_mtu_update", on_mtu)
        self._send({"e": "ble", "k": _CENTRAL_CONNECT, "d": fields})

    def _handle_of(self, connection: Connection) -> int | None:
        for handle, known in self._handles.items():
            if known is connection:
                return handle
        return None

    def _on_drop(self, message: dict) -> None:
        connection = self._handles.get(message["c"])
        if connection is not None:
            self._spawn(connection.disconnect())

    def _on_notify(self, message: dict) -> None:
        connection = self._handles.get(message["c"])
        if connection is not None and self._device is not None:
            pdu = att.ATT_Handle_Value_Notification(
                attribute_handle=message["h"], attribute_value=bytes.fromhex(message["v"])
            )
            self._device.send_l2cap_pdu(connection.handle, att.ATT_CID, bytes(pdu))

    def _on_update(self, message: dict) -> None:
        """Tell the subscribers of a value that was written with send_update."""
        device = self._device
        attribute = self._attributes.get(message["h"])
        if device is not None and attribute is not None:
            value = bytes.fromhex(message["v"])
            self._spawn(device.gatt_server.notify_subscribers(attribute, value))
            self._spawn(device.gatt_server.indicate_subscribers(attribute, value))

    async def _indicate(self, message: dict) -> None:
        connection = self._handles.get(message["c"])
        attribute = self._attributes.get(message["h"])
        device = self._device
        if connection is None or attribute is None or device is None:
            return
        status = 0
        try:
            await device.gatt_server.indicate_subscriber(connection, attribute, bytes.fromhex(message["v"]), force=True)
        except TimeoutError:
            status = _INDICATE_TIMEOUT_STATUS
        self._send({"e": "ble", "k": _INDICATE_DONE, "d": [message["c"], message["h"], status]})

    async def _exchange(self, message: dict) -> None:
        connection = self._handles.get(message["c"])
        if connection is not None:
            await Peer(connection).request_mtu(self._mtu)


def _uuid(text: str) -> UUID:
    return UUID(text)


def _permissions(flags: int) -> Characteristic.Permissions:
    permissions = Characteristic.Permissions(0)
    if flags & _FLAG_READ:
        permissions |= Characteristic.READABLE
    if flags & (_FLAG_WRITE | _FLAG_WRITE_NO_RESPONSE):
        permissions |= Characteristic.WRITEABLE
    return permissions
