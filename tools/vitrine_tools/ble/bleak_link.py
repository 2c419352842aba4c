"""A phone's transport over bleak: finds its lock by the hint and connects to no other (SPEC.md section 4)."""

import asyncio

from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakBluetoothNotAvailableError, BleakError
from dbus_fast.errors import DBusFastError

from .. import names, protocol
from ..errors import LinkError, ToolError

_CLOSE_LIMIT_S = 3.0
_FAILURES = (BleakError, DBusFastError, OSError, EOFError)  # TimeoutError is an OSError
_MAX_WAITING_CHUNKS = 256  # more than a whole answer at the least ATT_MTU: a lock that sends more is not heard
_SERVICE_DATA_VERSION = 1
_SERVICE_DATA_SIZE = 8


class OutOfReachError(ToolError):
    """The lock was not found, or there is no Bluetooth to look for it with."""


class BleakLink:
    """One connection to one lock. `async with await BleakLink.connect(device) as link:` closes it."""

    def __init__(self, client: BleakClient, chunks: "asyncio.Queue[bytes | None]") -> None:
        self._chunks = chunks
        self._client = client
        request = client.services.get_characteristic(protocol.REQUEST_UUID)
        if request is None:
            raise LinkError("the device that was found has no Vitrine service")
        self._request: BleakGATTCharacteristic = request

    @classmethod
    async def connect(cls, device: BLEDevice, timeout_s: float) -> "BleakLink":
        """Connect and subscribe to answers; LinkError if that fails or takes longer than `timeout_s`."""
        chunks: asyncio.Queue[bytes | None] = asyncio.Queue()

        def notified(_: BleakGATTCharacteristic, value: bytearray) -> None:
            if chunks.qsize() < _MAX_WAITING_CHUNKS:
                chunks.put_nowait(bytes(value))

        client = BleakClient(device, lambda _: chunks.put_nowait(None), timeout=timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await client.connect()
                link = cls(client, chunks)
                await client.start_notify(protocol.ANSWER_UUID, notified)
        except _FAILURES as error:
            await _close(client)
            if isinstance(error, TimeoutError):
                raise LinkError(f"the lock did not let the phone connect within {timeout_s:g} s") from error
            raise LinkError(f"connecting to the lock failed: {_one_line(error)}") from error
        except BaseException:
            await _close(client)
            raise
        return link

    @property
    def att_mtu(self) -> int:
        """The connection's ATT_MTU."""
        return self._request.max_write_without_response_size + 3

    async def write_chunk(self, chunk: bytes) -> None:
        """Write one chunk with response; LinkError if it does not arrive."""
        try:
            await self._client.write_gatt_char(self._request, chunk, response=True)
        except _FAILURES as error:
            raise LinkError(f"the link to the lock broke off: {_one_line(error)}") from error

    async def read_chunk(self) -> bytes:
        """Wait for the next chunk; LinkError when the connection has ended."""
        chunk = await self._chunks.get()
        if chunk is None:
            self._chunks.put_nowait(None)
            raise LinkError("the lock ended the connection")
        return chunk

    async def close(self) -> None:
        """Disconnect; does not raise if the connection has ended."""
        await _close(self._client)

    async def __aenter__(self) -> "BleakLink":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def find_lock(lock_id: str, timeout_s: float) -> BLEDevice:
    """Return the device that advertises the hint of `lock_id`; OutOfReachError if none does within `timeout_s`."""
    wanted = names.hint(lock_id)
    found: asyncio.Future[BLEDevice] = asyncio.get_running_loop().create_future()
    others: set[str] = set()

    def heard(device: BLEDevice, advertisement: AdvertisementData) -> None:
        data = advertisement.service_data.get(protocol.SERVICE_UUID, b"")
        if len(data) != _SERVICE_DATA_SIZE or data[0] != _SERVICE_DATA_VERSION:
            return
        if data[2:] != wanted:
            others.add(device.address)
        elif not found.done():
            found.set_result(device)

    try:
        # No filter by UUID: BlueZ applies it to listed services only, and the locks carry theirs as service data.
        async with asyncio.timeout(timeout_s), BleakScanner(heard):
            return await found
    except TimeoutError:
        seen = {0: "and no other Vitrine lock", 1: "but another Vitrine lock is"}.get(
            len(others), f"but {len(others)} other Vitrine locks are"
        )
        raise OutOfReachError(
            f"lock {lock_id} is not in reach ({seen}): go nearer, check that it has power, and check its name"
        ) from None
    except BleakBluetoothNotAvailableError as error:
        raise OutOfReachError(f"Bluetooth cannot be used: {_one_line(error.args[0])}") from error
    except _FAILURES as error:
        raise OutOfReachError(
            f"Bluetooth cannot be used ({_one_line(error)}): switch it on, "
            "or start an emulated lock with `vitrine emulate`"
        ) from error


async def _close(client: BleakClient) -> None:
    try:
        async with asyncio.timeout(_CLOSE_LIMIT_S):
            await client.disconnect()
    except (*_FAILURES, AssertionError):
        return  # it has ended, or the lock ends it by its own time limit


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
