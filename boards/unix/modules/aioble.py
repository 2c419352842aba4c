"""Stand-in for the `aioble` library where the real one cannot be had: its peripheral and server API over `bluetooth`.

Written from the library's documentation and its behaviour as seen from outside: the capture queue holds 10 writes and
drops the oldest; advertise() returns None when it is cancelled; a value longer than a characteristic's buffer is cut.
What the lock does not use (central, client, l2cap, security) is absent. The real library, put into build/deps or
VITRINE_DEPS, takes the place of this file.
"""

import asyncio
import struct
from collections import deque

import bluetooth

ADDR_PUBLIC = 0
ADDR_RANDOM = 1

_IRQ_CENTRAL_CONNECT = 1
_IRQ_CENTRAL_DISCONNECT = 2
_IRQ_GATTS_WRITE = 3
_IRQ_GATTS_READ_REQUEST = 4
_IRQ_GATTS_INDICATE_DONE = 20
_IRQ_MTU_EXCHANGED = 21

_CAPTURE_MAX = 10
_ADV_MAX = 31

_ble = bluetooth.BLE()
_connections = {}  # handle -> DeviceConnection
_characteristics = {}  # value handle -> characteristic
_arrivals = []  # connections that advertise() has not returned yet
_arrived = asyncio.Event()
_captured = deque((), _CAPTURE_MAX)  # noqa: RUF037  (characteristic, connection, value), shared by all as in the library


class DeviceDisconnectedError(Exception):
    """The peer went away while something waited for it."""


class GattError(Exception):
    """The peer answered with an error; args[0] is the status."""


class Device:
    def __init__(self, addr_type, addr):
        self.addr_type = addr_type
        self.addr = bytes(addr) if len(addr) == 6 else bytes.fromhex(addr.replace(":", ""))

    def __eq__(self, other):
        return self.addr_type == other.addr_type and self.addr == other.addr

    def __hash__(self):
        return hash((self.addr_type, self.addr))

    def __str__(self):
        return "Device(%s, %s)" % ("ADDR_RANDOM" if self.addr_type else "ADDR_PUBLIC", self.addr_hex())

    def addr_hex(self):
        return ":".join(["%02x" % byte for byte in self.addr])


class _Guard:
    """`with`: cancel the task inside when time is up or the peer is gone, and say which it was."""

    def __init__(self, connection, timeout_ms):
        self._connection = connection
        self._timeout_ms = timeout_ms
        self._reason = None
        self._timer = None

    def __enter__(self):
        self._task = asyncio.current_task()
        if self._connection:
            self._connection._guards.append(self)
        if self._timeout_ms:
            self._timer = asyncio.create_task(self._expire())

    def __exit__(self, kind, value, trace):
        if self._timer:
            self._timer.cancel()
        if self._connection:
            self._connection._guards.remove(self)
        if kind is asyncio.CancelledError and self._reason:
            raise self._reason

    async def _expire(self):
        await asyncio.sleep_ms(self._timeout_ms)
        self._timer = None
        self._stop(asyncio.TimeoutError)

    def _stop(self, reason):
        if not self._reason:
            self._reason = reason
            self._task.cancel()


class DeviceConnection:
    """One connected central."""

    def __init__(self, device, handle):
        self.device = device
        self.mtu = None
        self.encrypted = self.authenticated = self.bonded = False
        self.key_size = 0
        self._conn_handle = handle
        self._guards = []
        self._gone = asyncio.Event()
        self._mtu_known = asyncio.Event()

    def is_connected(self):
        return self._conn_handle is not None

    def timeout(self, timeout_ms):
        """Context manager: TimeoutError or DeviceDisconnectedError end what runs inside."""
        return _Guard(self, timeout_ms)

    async def disconnected(self, timeout_ms=None):
        with _Guard(None, timeout_ms):
            await self._gone.wait()

    async def disconnect(self, timeout_ms=2000):
        if self.is_connected():
            _ble.gap_disconnect(self._conn_handle)
            await self.disconnected(timeout_ms)

    async def exchange_mtu(self, mtu=None, timeout_ms=1000):
        if not self.is_connected():
            raise ValueError("Not connected")
        if mtu:
            _ble.config(mtu=mtu)
        self._mtu_known.clear()
        _ble.gattc_exchange_mtu(self._conn_handle)
        with self.timeout(timeout_ms):
            await self._mtu_known.wait()
        return self.mtu

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, value, trace):
        await self.disconnect()

    def _end(self):
        self._conn_handle = None
        self._gone.set()
        # not from here: this is an interrupt, which may have come upon the very task that is to be cancelled
        asyncio.create_task(self._stop_guards())

    async def _stop_guards(self):
        for guard in list(self._guards):
            guard._stop(DeviceDisconnectedError)


class Service:
    def __init__(self, uuid):
        self.uuid = uuid
        self.characteristics = []


class _Attribute:
    """What characteristics and descriptors share: a value, reads and writes."""

    def __init__(self, uuid, flags, initial):
        self.uuid = uuid
        self.flags = flags
        self._initial = initial
        self._value_handle = None
        self._capture = False
        self._written = asyncio.Event()
        self._writer = None

    def read(self):
        if self._value_handle is None:
            return self._initial or b""
        return _ble.gatts_read(self._value_handle)

    def write(self, data, send_update=False):
        if self._value_handle is None:
            self._initial = data
        else:
            _ble.gatts_write(self._value_handle, data, send_update)

    def on_read(self, connection):
        """Override: 0 allows the read, an ATT error refuses it."""
        return 0

    async def written(self, timeout_ms=None):
        """Wait for a write; return its connection, or (connection, value) if captured."""
        if not self.flags & (bluetooth.FLAG_WRITE | bluetooth.FLAG_WRITE_NO_RESPONSE):
            return None
        with _Guard(None, timeout_ms):
            while True:
                if not self._capture:
                    await self._written.wait()
                    self._written.clear()
                    return self._writer
                if _captured and _captured[0][0] is self:
                    _, connection, value = _captured.popleft()
                    if _captured:
                        _captured[0][0]._written.set()
                    return connection, value
                self._written.clear()
                await self._written.wait()

    def _register(self, value_handle):
        self._value_handle = value_handle
        _characteristics[value_handle] = self
        if self._initial is not None:
            self.write(self._initial)

    def _on_write(self, connection):
        if self._capture:
            _captured.append((self, connection, self.read()))
            _captured[0][0]._written.set()
        else:
            self._writer = connection
            self._written.set()


class Characteristic(_Attribute):
    def __init__(
        self,
        service,
        uuid,
        read=False,
        write=False,
        write_no_response=False,
        notify=False,
        indicate=False,
        initial=None,
        capture=False,
    ):
        flags = (
            (bluetooth.FLAG_READ if read else 0)
            | (bluetooth.FLAG_WRITE if write else 0)
            | (bluetooth.FLAG_WRITE_NO_RESPONSE if write_no_response else 0)
            | (bluetooth.FLAG_NOTIFY if notify else 0)
            | (bluetooth.FLAG_INDICATE if indicate else 0)
        )
        super().__init__(uuid, flags, initial)
        self._capture = capture and (write or write_no_response)
        self._indicating = None
        self._indicated = asyncio.Event()
        self._status = 0
        self.descriptors = []
        service.characteristics.append(self)

    def notify(self, connection, data=None):
        if not self.flags & bluetooth.FLAG_NOTIFY:
            raise ValueError("Not supported")
        _ble.gatts_notify(connection._conn_handle, self._value_handle, data)

    async def indicate(self, connection, data=None, timeout_ms=1000):
        if not self.flags & bluetooth.FLAG_INDICATE:
            raise ValueError("Not supported")
        if self._indicating is not None:
            raise ValueError("In progress")
        if not connection.is_connected():
            raise ValueError("Not connected")
        self._indicating = connection
        self._indicated.clear()
        try:
            with connection.timeout(timeout_ms):
                _ble.gatts_indicate(connection._conn_handle, self._value_handle, data)
                await self._indicated.wait()
        finally:
            self._indicating = None
        if self._status != 0:
            raise GattError(self._status)

    def _on_indicated(self, connection, status):
        if connection is self._indicating:
            self._status = status
            self._indicated.set()


class BufferedCharacteristic(Characteristic):
    def __init__(self, *args, max_len=20, append=False, **kwargs):
        super().__init__(*args, **kwargs)
        self._max_len = max_len
        self._append = append

    def _register(self, value_handle):
        super()._register(value_handle)
        _ble.gatts_set_buffer(value_handle, self._max_len, self._append)


class Descriptor(_Attribute):
    def __init__(self, characteristic, uuid, read=False, write=False, initial=None):
        flags = (bluetooth.FLAG_READ if read else 0) | (bluetooth.FLAG_WRITE if write else 0)
        super().__init__(uuid, flags, initial)
        characteristic.descriptors.append(self)


def config(*args, **kwargs):
    """Switch the radio on if it is off, then bluetooth.BLE.config."""
    _ensure_active()
    return _ble.config(*args, **kwargs)


def stop():
    """Switch the radio off; services must be registered again after it."""
    _ble.active(False)
    for connection in list(_connections.values()):
        connection._end()
    _connections.clear()
    _characteristics.clear()
    _arrivals.clear()
    _arrived.clear()
    while _captured:
        _captured.popleft()


def register_services(*services):
    _ensure_active()
    _characteristics.clear()
    table = []
    for service in services:
        rows = []
        for item in service.characteristics:
            row = (item.uuid, item.flags)
            if item.descriptors:
                row += (tuple([(d.uuid, d.flags) for d in item.descriptors]),)
            rows.append(row)
        table.append((service.uuid, tuple(rows)))
    groups = _ble.gatts_register_services(tuple(table))
    for service, handles in zip(services, groups):  # noqa: B905
        index = 0
        for item in service.characteristics:
            for attribute in [item] + item.descriptors:
                attribute._register(handles[index])
                index += 1


async def advertise(
    interval_us,
    adv_data=None,
    resp_data=None,
    connectable=True,
    limited_disc=False,
    br_edr=False,
    name=None,
    services=None,
    appearance=0,
    manufacturer=None,
    timeout_ms=None,
):
    """Advertise until a central connects; return its DeviceConnection. TimeoutError after timeout_ms."""
    _ensure_active()
    if not adv_data and not resp_data:
        adv_data, resp_data = _payloads(limited_disc, br_edr, name, services, appearance, manufacturer)
    _ble.gap_advertise(interval_us, adv_data, resp_data=resp_data, connectable=connectable)
    try:
        with _Guard(None, timeout_ms):
            while not _arrivals:
                _arrived.clear()
                await _arrived.wait()
        return _arrivals.pop(0)
    except asyncio.CancelledError:
        _ble.gap_advertise(None)
        return None
    except asyncio.TimeoutError:
        _ble.gap_advertise(None)
        raise


def _payloads(limited_disc, br_edr, name, services, appearance, manufacturer):
    fields = [(0x01, bytes(((0x01 if limited_disc else 0x02) + (0x18 if br_edr else 0x04),)))]
    for size, kind in ((2, 0x03), (4, 0x05), (16, 0x07)):
        uuids = b"".join([bytes(uuid) for uuid in services or () if len(bytes(uuid)) == size])
        if uuids:
            fields.append((kind, uuids))
    if name:
        fields.append((0x09, name.encode() if isinstance(name, str) else bytes(name)))
    if appearance:
        fields.append((0x19, struct.pack("<H", appearance)))
    if manufacturer:
        fields.append((0xFF, struct.pack("<H", manufacturer[0]) + manufacturer[1]))
    payloads = [b"", b""]
    for kind, value in fields:
        structure = bytes((len(value) + 1, kind)) + value
        for i in range(2):
            if len(payloads[i]) + len(structure) <= _ADV_MAX:
                payloads[i] += structure
                break
        else:
            raise ValueError("Advertising payload too long")
    return payloads[0], payloads[1] or None


def _ensure_active():
    if not _ble.active():
        _ble.active(True)


def _irq(event, data):
    if event == _IRQ_CENTRAL_CONNECT:
        handle, address_type, address = data
        connection = DeviceConnection(Device(address_type, bytes(address)), handle)
        _connections[handle] = connection
        _arrivals.append(connection)
        _arrived.set()
    elif event == _IRQ_CENTRAL_DISCONNECT:
        connection = _connections.pop(data[0], None)
        if connection:
            connection._end()
    elif event == _IRQ_GATTS_WRITE:
        attribute = _characteristics.get(data[1])
        if attribute:
            attribute._on_write(_connections.get(data[0]))
    elif event == _IRQ_GATTS_READ_REQUEST:
        attribute = _characteristics.get(data[1])
        if attribute:
            return attribute.on_read(_connections.get(data[0]))
    elif event == _IRQ_GATTS_INDICATE_DONE:
        attribute = _characteristics.get(data[1])
        if attribute:
            attribute._on_indicated(_connections.get(data[0]), data[2])
    elif event == _IRQ_MTU_EXCHANGED:
        connection = _connections.get(data[0])
        if connection:
            connection.mtu = data[1]
            connection._mtu_known.set()
    return None


_ble.irq(_irq)
