"""Stand-in for MicroPython's `bluetooth` on ESP32 (NimBLE): peripheral and GATT server, over the harness's radio.

What the chip refuses is refused: 4 connections, 31 bytes of advertising data, a closed connection (ENOTCONN, 128 in
the chip's C library), registration while advertising or connected. A notification longer than ATT_MTU - 3 is cut, as
NimBLE does; the harness reports it. Events come with a view of a buffer that is reused, as on the chip.
"""

import _board_link

link = _board_link.link

FLAG_READ = 0x0002
FLAG_WRITE_NO_RESPONSE = 0x0004
FLAG_WRITE = 0x0008
FLAG_NOTIFY = 0x0010
FLAG_INDICATE = 0x0020

_IRQ_CENTRAL_CONNECT = 1
_IRQ_CENTRAL_DISCONNECT = 2
_IRQ_GATTS_WRITE = 3
_IRQ_GATTS_READ_REQUEST = 4
_IRQ_GATTS_INDICATE_DONE = 20
_IRQ_MTU_EXCHANGED = 21

_ENODEV = 19
_EINVAL = 22
_EIO = 5
_ENOMEM = 12
_EBUSY = 16
_ENOTCONN = 128
_EALREADY = 120

_ADV_MAX = 31
_CONNECTIONS_MAX = 4
_DEFAULT_ATTR_LEN = 20
_ADV_UNIT_US = 625


class UUID:
    """16, 32 or 128 bits; bytes(uuid) is little-endian."""

    def __init__(self, value):
        if isinstance(value, int):
            if not 0 <= value <= 0xFFFF:
                raise ValueError("invalid UUID")
            self._data = bytes((value & 0xFF, value >> 8))
        elif isinstance(value, str):
            digits = value.replace("-", "")
            if len(digits) != 32:
                raise ValueError("invalid UUID")
            self._data = bytes(reversed(bytes.fromhex(digits)))
        else:
            self._data = bytes(value)
            if len(self._data) not in (2, 4, 16):
                raise ValueError("invalid UUID")

    def __eq__(self, other):
        return isinstance(other, UUID) and self._data == other._data

    def __lt__(self, other):
        return self._data < other._data

    def __hash__(self):
        return hash(self._data)

    def __len__(self):
        return len(self._data)

    def __iter__(self):
        return iter(self._data)  # makes bytes(uuid) work

    def hex(self):
        return bytes(reversed(self._data)).hex()

    def __repr__(self):
        return "UUID(0x%s)" % self.hex() if len(self._data) < 16 else "UUID('%s')" % self.hex()


class _Entry:
    """One attribute's value: bytes, room, and whether writes append."""

    def __init__(self):
        self.data = b""
        self.room = _DEFAULT_ATTR_LEN
        self.append = False


class BLE:
    _instance = None

    def __new__(cls):
        if BLE._instance is None:
            ble = super().__new__(cls)
            ble._active = False
            ble._is_dead = False
            ble._handler = None
            ble._name = b"MPY ESP32"
            ble._reset()
            link.on("ble", ble._event)
            link.on("early:ble_dead", ble._die)
            BLE._instance = ble
        return BLE._instance

    def _reset(self):
        self._mtu = 256
        self._entries = {}
        self._connections = {}  # handle -> [ATT_MTU, whether we asked for an exchange]
        self._advertising = False
        self._adv_data = b""
        self._resp_data = b""
        self._mac = None

    def active(self, *value):
        if value:
            if value[0] and not self._active:
                self._reset()
                self._mac = bytes.fromhex(link.request("ble_on", {"mtu": self._mtu, "name": self._name.hex()})["mac"])
                self._active = True
            elif not value[0] and self._active:
                self._active = False
                link.request("ble_off")
                self._reset()
        return self._active

    def config(self, *args, **kwargs):
        if not kwargs:
            if len(args) != 1:
                raise TypeError("must query one param")
            return self._get_config(args[0])
        if args:
            raise TypeError("can't specify pos and kw args")
        for name, value in kwargs.items():
            self._set_config(name, value)
        return None

    def _get_config(self, name):
        if name == "gap_name":
            return self._name
        if name == "mac":
            self._check_active()
            return (0, self._mac)
        if name == "mtu":
            self._check_active()
            return self._mtu
        raise ValueError("unknown config param")

    def _set_config(self, name, value):
        if name == "gap_name":
            if len(value) > 31:
                raise OSError(_EINVAL)
            self._name = _bytes(value)
            if self._active:
                link.send("ble_name", {"v": self._name.hex()})
        elif name == "mtu":
            self._check_active()
            if not 23 <= value <= 527:
                raise OSError(_EINVAL)
            self._mtu = value
            link.send("ble_mtu", {"mtu": value})
        elif name == "addr_mode":
            self._check_active()
            if value != 0:
                raise OSError(_EINVAL)  # the emulated radio has its public address only
        elif name in ("bond", "mitm", "le_secure"):
            if value:
                raise OSError(_EINVAL)  # pairing is not emulated; the lock's security lies above the link
        elif name != "io":
            raise ValueError("unknown config param")

    def irq(self, handler):
        if handler is not None and not callable(handler):
            raise ValueError("invalid handler")
        self._handler = handler

    def gap_advertise(self, interval_us=500_000, adv_data=None, *, resp_data=None, connectable=True):
        if interval_us is None:
            if self._active and self._advertising:
                self._advertising = False
                link.send("adv", {"us": 0})
            return
        if not isinstance(interval_us, int):
            raise TypeError("can't convert to int")
        self._check_active()
        self._advertising = False
        for data in (adv_data, resp_data):
            if data is not None and len(data) > _ADV_MAX:
                link.send("adv", {"us": 0})
                raise OSError(_EINVAL)
        if adv_data is not None:
            self._adv_data = bytes(adv_data)
        if resp_data is not None:
            self._resp_data = bytes(resp_data)
        if connectable and len(self._connections) >= _CONNECTIONS_MAX:
            link.send("adv", {"us": 0})
            raise OSError(_ENOMEM)
        if not 0x20 <= interval_us // _ADV_UNIT_US <= 0x4000:
            link.send("adv", {"us": 0})
            raise OSError(_EINVAL)
        self._advertising = True
        link.send(
            "adv",
            {
                "us": interval_us // _ADV_UNIT_US * _ADV_UNIT_US,
                "data": self._adv_data.hex(),
                "resp": self._resp_data.hex(),
                "connectable": bool(connectable),
            },
        )

    def gap_disconnect(self, conn_handle):
        self._check_active()
        if not isinstance(conn_handle, int):
            raise TypeError("can't convert %s to int" % type(conn_handle).__name__)
        if conn_handle not in self._connections:
            return False
        link.send("drop", {"c": conn_handle})
        return True

    def gap_scan(self, *args):
        raise OSError(_EINVAL)  # the lock never listens for others

    def gatts_register_services(self, services):
        self._check_active()
        if self._advertising or self._connections:
            raise OSError(_EBUSY)
        wire = []
        for service in services:
            uuid, characteristics = service
            if not isinstance(uuid, UUID):
                raise ValueError("invalid service UUID")
            wire.append([uuid.hex(), [_characteristic(item) for item in characteristics]])
        handles = link.request("services", {"v": wire})["v"]
        self._entries = {}
        for group in handles:
            for handle in group:
                self._entries[handle] = _Entry()
        return tuple([tuple(group) for group in handles])

    def gatts_set_buffer(self, value_handle, length, append=False):
        self._check_active()
        entry = self._entry(value_handle)
        entry.room = length
        entry.append = bool(append)
        entry.data = b""

    def gatts_read(self, value_handle):
        entry = self._entries.get(value_handle)
        return entry.data if entry else b""

    def gatts_write(self, value_handle, data, send_update=False):
        self._check_active()
        entry = self._entry(value_handle)
        entry.data = _bytes(data)
        entry.room = max(entry.room, len(entry.data))
        if send_update:
            link.send("update", {"h": value_handle, "v": entry.data.hex()})
        return len(entry.data)

    def gatts_notify(self, conn_handle, value_handle, data=None):
        self._transmit("notify", conn_handle, value_handle, data)

    def gatts_indicate(self, conn_handle, value_handle, data=None):
        self._transmit("indicate", conn_handle, value_handle, data)

    def gattc_exchange_mtu(self, conn_handle):
        self._check_active()
        connection = self._connection(conn_handle)
        if connection[1]:
            raise OSError(_EALREADY)
        connection[1] = True
        link.send("exchange", {"c": conn_handle})

    def _transmit(self, op, conn_handle, value_handle, data):
        self._check_active()
        connection = self._connection(conn_handle)
        entry = self._entry(value_handle)
        value = entry.data if data is None else _bytes(data)
        most = connection[0] - 3
        if len(value) > most:
            link.send("cut", {"h": value_handle, "size": len(value), "most": most})
            value = value[:most]
        link.send(op, {"c": conn_handle, "h": value_handle, "v": value.hex()})

    def _die(self, message):
        """A fault: whatever is asked of the radio fails."""
        self._is_dead = message["v"]

    def _check_active(self):
        if not self._active:
            raise OSError(_ENODEV)
        if self._is_dead:
            raise OSError(_EIO)

    def _connection(self, handle):
        if not isinstance(handle, int):
            raise TypeError("can't convert %s to int" % type(handle).__name__)
        if handle not in self._connections:
            raise OSError(_ENOTCONN)
        return self._connections[handle]

    def _entry(self, handle):
        if handle not in self._entries:
            raise OSError(_EINVAL)
        return self._entries[handle]

    def _event(self, message):
        kind, fields = message["k"], message["d"]
        result = None
        if not self._active:
            return
        if kind == _IRQ_CENTRAL_CONNECT:
            self._connections[fields[0]] = [23, False]
            self._advertising = False
            self._irq(kind, fields[0], fields[1], fields[2])
        elif kind == _IRQ_CENTRAL_DISCONNECT:
            if self._connections.pop(fields[0], None) is not None:
                self._irq(kind, fields[0], fields[1], fields[2])
        elif kind == _IRQ_MTU_EXCHANGED:
            if fields[0] in self._connections:
                self._connections[fields[0]][0] = fields[1]
                self._call(kind, (fields[0], fields[1]))
        elif kind == _IRQ_GATTS_WRITE:
            entry = self._entries.get(fields[1])
            if entry is not None:
                value = bytes.fromhex(fields[2])
                entry.data = ((entry.data if entry.append else b"") + value)[: entry.room]
                self._call(kind, (fields[0], fields[1]))
            link.send("ack", {"i": message["i"]})
        elif kind == _IRQ_GATTS_READ_REQUEST:
            result = self._call(kind, (fields[0], fields[1]))
            link.send("ack", {"i": message["i"], "error": result or 0, "v": self.gatts_read(fields[1]).hex()})
        else:
            self._call(kind, tuple(fields))

    def _irq(self, kind, handle, address_type, address):
        buffer = bytearray(bytes.fromhex(address))
        self._call(kind, (handle, address_type, memoryview(buffer)))
        for i in range(len(buffer)):
            buffer[i] = 0  # the chip reuses the buffer: a handler must copy

    def _call(self, kind, data):
        if self._handler is not None:
            return self._handler(kind, data)
        return None


def _bytes(data):
    return data.encode() if isinstance(data, str) else bytes(data)


def _characteristic(item):
    if not 2 <= len(item) <= 3:
        raise ValueError("invalid characteristic tuple")
    if not isinstance(item[0], UUID):
        raise ValueError("invalid characteristic UUID")
    descriptors = []
    for descriptor in item[2] if len(item) == 3 else ():
        if len(descriptor) != 2 or not isinstance(descriptor[0], UUID):
            raise ValueError("invalid descriptor UUID")
        descriptors.append([descriptor[0].hex(), descriptor[1]])
    return [item[0].hex(), item[1], descriptors]
