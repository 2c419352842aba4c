"""A phone on the virtual radio: finds locks, connects, carries chunks; and gives raw access for attacks."""

import asyncio
from dataclasses import dataclass

from bumble import att
from bumble.core import UUID, AdvertisingData
from bumble.core import TimeoutError as BumbleTimeoutError
from bumble.device import Connection, Device, Peer
from bumble.gatt_client import CharacteristicProxy
from bumble.hci import Address

from vitrine_tools.emulator.radio import RadioController, VirtualRadio, make_device

SERVICE_UUID = "b5a30001-7b1f-4e5d-9c41-76697472696e"
REQUEST_UUID = "b5a30002-7b1f-4e5d-9c41-76697472696e"
ANSWER_UUID = "b5a30003-7b1f-4e5d-9c41-76697472696e"
_SERVICE_DATA_128 = 0x21
SERVICE_DATA_VERSION = 1


class PhoneError(Exception):
    """The phone could not do it; the text says what and why."""


@dataclass(frozen=True)
class LockAdvertisement:
    """What a lock says of itself on the air (firmware/SPEC.md section 4)."""

    address: str
    state: int
    hint: bytes
    name: str

    @property
    def is_provisioned(self) -> bool:
        return bool(self.state & 1)

    @property
    def is_time_known(self) -> bool:
        return bool(self.state & 2)


def parse_advertisement(address: str, data: AdvertisingData) -> LockAdvertisement | None:
    """Read a lock's advertisement; None if it is not one."""
    name = b""
    found = None
    for kind, value in data.ad_structures:
        if kind == _SERVICE_DATA_128 and value[:16] == UUID(SERVICE_UUID).to_bytes() and len(value) == 24:
            if value[16] == SERVICE_DATA_VERSION:
                found = value
        elif kind == AdvertisingData.COMPLETE_LOCAL_NAME:
            name = value
    if found is None:
        return None
    return LockAdvertisement(address, found[17], found[18:], name.decode("utf-8", "replace"))


class BumblePhone:
    """One phone. `async with BumblePhone(radio) as phone:` or power_on() and close()."""

    def __init__(self, radio: VirtualRadio, name: str = "phone") -> None:
        self.name = name
        self._radio = radio
        self._controller: RadioController | None = None
        self._device: Device | None = None
        self._connection: Connection | None = None
        self._peer: Peer | None = None
        self._request: CharacteristicProxy | None = None
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self.disconnected = asyncio.Event()
        self.disconnect_reason: int | None = None

    async def __aenter__(self) -> "BumblePhone":
        await self.power_on()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def power_on(self) -> None:
        self._controller = RadioController(self.name, self._radio)
        self._device = await make_device(self.name, self._controller, self._radio.next_address())

    async def close(self) -> None:
        """Leave the air; a connection is lost, not ended."""
        if self._controller is not None:
            self._controller.vanish()
            self._controller = self._device = self._connection = None

    @property
    def device(self) -> Device:
        """Bumble's own view of this phone."""
        if self._device is None:
            raise PhoneError("the phone is off")
        return self._device

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            raise PhoneError("not connected")
        return self._connection

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    @property
    def att_mtu(self) -> int:
        return self.connection.att_mtu

    async def scan(self, hint: bytes, timeout_s: float = 5.0) -> str:
        """The address of the lock with this hint, from its advertisement alone. PhoneError if it is not in reach."""
        async for advertisement in self.advertisements(timeout_s):
            if advertisement.hint == hint:
                return advertisement.address
        raise PhoneError("no lock with this hint in reach")

    async def advertisements(self, timeout_s: float = 5.0):
        """Every lock's advertisement as it comes in, for so long."""
        device = self.device
        seen: asyncio.Queue[LockAdvertisement] = asyncio.Queue()

        def on_advertisement(advertisement) -> None:
            found = parse_advertisement(str(advertisement.address), advertisement.data)
            if found is not None:
                seen.put_nowait(found)

        device.on("advertisement", on_advertisement)
        await device.start_scanning(active=True)
        try:
            deadline = asyncio.get_running_loop().time() + timeout_s
            while True:
                left_s = deadline - asyncio.get_running_loop().time()
                try:
                    yield await asyncio.wait_for(seen.get(), left_s)
                except TimeoutError:
                    return
        finally:
            device.remove_listener("advertisement", on_advertisement)
            if self._device is not None:
                await device.stop_scanning()

    async def connect(self, address: str, mtu: int = 247, timeout_s: float = 5.0) -> None:
        """Connect, agree on the MTU (23: none is asked for), find the lock's service, subscribe to its answers."""
        await self.connect_raw(address, timeout_s)
        if mtu > att.ATT_DEFAULT_MTU:
            await self.exchange_mtu(mtu)
        peer = self._peer
        assert peer is not None
        try:
            await peer.discover_service(UUID(SERVICE_UUID))
            services = peer.get_services_by_uuid(UUID(SERVICE_UUID))
            if not services:
                raise PhoneError("this is not a lock: the service is missing")
            await peer.discover_characteristics(service=services[0])
            requests = peer.get_characteristics_by_uuid(UUID(REQUEST_UUID))
            answers = peer.get_characteristics_by_uuid(UUID(ANSWER_UUID))
            if not requests or not answers:
                raise PhoneError("this is not a lock: a characteristic is missing")
            self._request = requests[0]
            await peer.discover_descriptors(characteristic=answers[0])
            await answers[0].subscribe(self.chunks.put_nowait)
        except (att.ATT_Error, TimeoutError, asyncio.CancelledError) as error:
            if not self.is_connected:
                raise PhoneError("the lock ended the connection") from error
            raise

    async def connect_raw(self, address: str, timeout_s: float = 5.0) -> None:
        """Connect and do nothing else: no MTU exchange, no discovery."""
        self.chunks = asyncio.Queue()
        self.disconnected.clear()
        self.disconnect_reason = None
        target = Address(address.removesuffix("/P"), Address.PUBLIC_DEVICE_ADDRESS)
        try:
            connection = await self.device.connect(target, timeout=timeout_s)
        except (BumbleTimeoutError, TimeoutError) as error:
            raise PhoneError(f"no answer from {address}") from error
        self._connection = connection
        self._peer = Peer(connection)
        connection.on("disconnection", self._on_disconnection)

    async def exchange_mtu(self, mtu: int) -> int:
        assert self._peer is not None
        return await self._peer.request_mtu(mtu)

    def _on_disconnection(self, reason: int) -> None:
        self.disconnect_reason = reason
        self._connection = self._peer = self._request = None
        self.disconnected.set()

    async def disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.disconnect()

    async def write_chunk(self, chunk: bytes) -> None:
        """Write one chunk to the lock and wait for its response. PhoneError if the lock is gone or refuses."""
        if self._request is None or self._connection is None:
            raise PhoneError("not connected")
        if len(chunk) > self._connection.att_mtu - 3:
            raise PhoneError(f"a chunk of {len(chunk)} bytes does not fit ATT_MTU {self._connection.att_mtu}")
        await self.write(self._request.handle, chunk)

    async def read_chunk(self, timeout_s: float = 5.0) -> bytes:
        """The next notification. PhoneError if the lock ends the connection or stays silent."""
        if not self.chunks.empty():
            return self.chunks.get_nowait()
        get = asyncio.ensure_future(self.chunks.get())
        gone = asyncio.ensure_future(self.disconnected.wait())
        try:
            await asyncio.wait([get, gone], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if get.done():
                return get.result()
            raise PhoneError("the lock ended the connection" if gone.done() else "no answer from the lock")
        finally:
            get.cancel()
            gone.cancel()

    # raw access, for attacks

    async def write(self, handle: int, value: bytes) -> None:
        """Write Request; a value that does not fit is written by the Write Long procedure."""
        assert self._peer is not None
        try:
            await self._peer.gatt_client.write_value(handle, value, with_response=True)
        except att.ATT_Error as error:
            raise PhoneError(f"refused: {error.error_name or error.error_code}") from error
        except (BumbleTimeoutError, asyncio.CancelledError) as error:
            if self.disconnected.is_set():
                raise PhoneError("the lock ended the connection") from error
            if isinstance(error, asyncio.CancelledError):
                raise
            raise PhoneError("no response from the lock") from error

    async def write_command(self, handle: int, value: bytes) -> None:
        """Write Command: no response, no flow control."""
        assert self._peer is not None
        await self._peer.gatt_client.write_value(handle, value, with_response=False)

    async def read(self, handle: int) -> bytes:
        assert self._peer is not None
        try:
            return await self._peer.gatt_client.read_value(handle)
        except att.ATT_Error as error:
            raise PhoneError(f"refused: {error.error_name or error.error_code}") from error

    def send_pdu(self, pdu: bytes) -> None:
        """Any bytes at all on the ATT channel."""
        self.device.send_l2cap_pdu(self.connection.handle, att.ATT_CID, pdu)

    async def handles(self) -> dict[str, int]:
        """The value handle of every characteristic, by UUID."""
        assert self._peer is not None
        await self._peer.discover_services()
        await self._peer.discover_characteristics()
        return {_text(item.uuid): item.handle for service in self._peer.services for item in service.characteristics}


def _text(uuid: UUID) -> str:
    """`2a19` or `b5a30001-7b1f-...`, as GATT tables write them."""
    digits = uuid.to_bytes()[::-1].hex()
    return (
        digits if len(digits) < 32 else "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    )
