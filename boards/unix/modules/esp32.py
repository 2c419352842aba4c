"""Stand-in for the ESP32's `esp32`: Partition, NVS and RMT, with the chip's limits and errors."""

import struct

import _board_link
import _bootloader
from _clock import clock
from _errors import esp_error
from _nvs_store import BLOB, I32, NAME_MAX, NvsStore
from _pin import _INPUT_ONLY_FROM, gpio

link = _board_link.link
flash = _board_link.flash

_SECTOR = 4096
_NVS_SUBTYPE = 2
_EINVAL = 22
_ENOENT = 2


def _error(name):
    return OSError(*esp_error(name))


class Partition:
    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    _rows = _board_link.partitions

    def __init__(self, id, block_size=_SECTOR):
        if isinstance(id, tuple):
            row = id  # from find()
        elif isinstance(id, int):
            if id not in (self.BOOT, self.RUNNING):
                raise ValueError
            row = _board_link.running if id == self.RUNNING else self._boot()
        else:
            row = self._first(lambda row: row[4] == id)
        self._row = row
        self._address = row[2]
        self._size = row[3]
        self._block_size = block_size

    @classmethod
    def _first(cls, is_wanted):
        for row in cls._rows:
            if is_wanted(row):
                return row
        raise OSError(_ENOENT)

    @staticmethod
    def find(type=TYPE_APP, subtype=0xFF, label=None, block_size=_SECTOR):
        found = []
        for row in Partition._rows:
            if row[0] == type and subtype in (0xFF, row[1]) and label in (None, row[4]):
                found.append(Partition(row, block_size))
        return found

    @classmethod
    def _boot(cls):
        """What is to start next, as far as otadata says."""
        slots = _bootloader.ota_slots(cls._rows)
        if not slots:
            return _board_link.running
        ota = _bootloader.OtaData(flash, cls._rows)
        active = ota.active()
        if active >= 0:
            return slots[(ota.entries[active][0] - 1) % len(slots)]
        return cls._first(lambda row: row[0] == cls.TYPE_APP)

    def get_next_update(self):
        """The slot after the one that runs; the argument's own place plays no role, as on the chip."""
        slots = _bootloader.ota_slots(self._rows)
        if not slots:
            raise OSError(_ENOENT)
        running = slots.index(_board_link.running) if _board_link.running in slots else -1
        return Partition(slots[(running + 1) % len(slots)])

    def set_boot(self):
        """Have this slot start next, on trial. Its image is checked whole, as the chip does."""
        try:
            _bootloader.verify(flash, self._row)
        except (_bootloader.ImageError, ValueError):
            raise _error("ESP_ERR_OTA_VALIDATE_FAILED")
        slots = _bootloader.ota_slots(self._rows)
        if self._row not in slots:
            raise _error("ESP_ERR_INVALID_ARG")
        try:
            ota = _bootloader.OtaData(flash, self._rows)
        except OSError:
            raise _error("ESP_ERR_NOT_FOUND")
        ota.boot_next(slots.index(self._row), len(slots))

    @classmethod
    def mark_app_valid_cancel_rollback(cls):
        try:
            is_marked = _bootloader.OtaData(flash, cls._rows).mark_valid()
        except OSError:
            raise _error("ESP_ERR_NOT_FOUND")
        if not is_marked:
            raise _error("ESP_FAIL")

    def info(self):
        return self._row

    def readblocks(self, block_num, buf, offset=0):
        flash.read_into(self._place(block_num, offset, len(buf)), buf)

    def writeblocks(self, block_num, buf, offset=None):
        address = self._place(block_num, offset or 0, len(buf))
        self._check_not_running()
        self._note_write()
        if offset is None:
            if self._block_size < _SECTOR:
                self._erase_around(address, len(buf))
            elif len(buf) % _SECTOR:
                raise _error("ESP_ERR_INVALID_SIZE")
            else:
                for start in range(0, len(buf), _SECTOR):
                    flash.erase(address + start)
        flash.program(address, buf)

    def ioctl(self, cmd, arg):
        if cmd in (1, 2, 3):
            return 0
        if cmd == 4:
            return self._size // self._block_size
        if cmd == 5:
            return self._block_size
        if cmd == 6:
            if self._block_size != _SECTOR:
                return -_EINVAL
            self._note_write()
            self._check_not_running()
            flash.erase(self._place(arg, 0, _SECTOR))
            return 0
        return None

    def _check_not_running(self):
        if self._row == _board_link.running:
            raise RuntimeError("abort(): the flash of the application that runs")  # the chip would panic

    def _note_write(self):
        if self._row[0] == self.TYPE_DATA and self._row[1] == _NVS_SUBTYPE:  # no slice: the collector may be at work
            NVS._is_stale = True

    def _place(self, block, offset, count):
        start = block * self._block_size + offset
        if not isinstance(start, int):
            raise TypeError("can't convert to int")
        if start < 0 or start > self._size:
            raise _error("ESP_ERR_INVALID_ARG")
        if start + count > self._size:
            raise _error("ESP_ERR_INVALID_SIZE")
        return self._address + start

    def _erase_around(self, address, count):
        kept = bytearray(_SECTOR)
        for sector in range(address // _SECTOR * _SECTOR, address + count, _SECTOR):
            flash.read_into(sector, kept)
            flash.erase(sector)
            before = max(0, address - sector)
            after = max(0, sector + _SECTOR - (address + count))
            if before:
                flash.program(sector, memoryview(kept)[:before])
            if after:
                flash.program(sector + _SECTOR - after, memoryview(kept)[_SECTOR - after :])

    def __repr__(self):
        return "<Partition type=%d, subtype=%d, address=%d, size=%d, label=%s, encrypted=%d>" % self._row


def _open_store():
    try:
        address, size = Partition._first(lambda row: row[:2] == (1, _NVS_SUBTYPE))[2:4]
    except OSError:
        return None

    def read(offset, count):
        buffer = bytearray(count)
        flash.read_into(address + offset, buffer)
        return bytes(buffer)

    def program(offset, data):
        flash.program(address + offset, data)

    def erase(offset):
        flash.erase(address + offset)

    return NvsStore(read, program, erase, size)


class NVS:
    """A namespace of the key-value store. Changes are visible at once and durable only after commit().

    Whoever writes to its partition directly leaves the chip's driver with what it remembers of pages that are gone:
    what it reads is not there, what it writes is lost. Here it refuses everything, until the next start.
    """

    _store = None
    _is_stale = False
    _pending = {}  # namespace -> {key: entry or None}, shared by all its handles

    def __init__(self, namespace):
        self._namespace = _name(namespace, "ESP_ERR_NVS_INVALID_NAME")
        if NVS._store is None:
            NVS._store = _open_store()
        if NVS._store is None:
            raise _error("ESP_ERR_NOT_FOUND")
        self._changes = self._pending.setdefault(namespace, {})

    def set_i32(self, key, value):
        if not isinstance(value, int):
            raise TypeError("can't convert to int")
        if not -(1 << 31) <= value < 1 << 31:
            raise OverflowError("overflow converting long int to machine word")
        self._changes[_key(key)] = (I32, struct.pack("<i", value))

    def get_i32(self, key):
        return struct.unpack("<i", self._get(key, I32))[0]

    def set_blob(self, key, value):
        data = bytes(memoryview(value))
        if len(data) > NVS._store._bank_size - 64:
            raise _error("ESP_ERR_NVS_VALUE_TOO_LONG")
        self._changes[_key(key)] = (BLOB, data)

    def get_blob(self, key, buffer):
        value = self._get(key, BLOB)
        if len(buffer) < len(value):
            raise _error("ESP_ERR_NVS_INVALID_LENGTH")
        buffer[: len(value)] = value
        return len(value)

    def erase_key(self, key):
        key = _key(key)
        if self._find(key) is None:
            raise _error("ESP_ERR_NVS_NOT_FOUND")
        self._changes[key] = None

    def commit(self):
        self._check_fresh()
        for key, entry in list(self._changes.items()):
            if entry is None:
                NVS._store.remove(self._namespace, key)
            else:
                NVS._store.put(self._namespace, key, entry[0], entry[1])
            del self._changes[key]

    def _check_fresh(self):
        if NVS._is_stale:
            raise _error("ESP_ERR_NVS_INVALID_STATE")

    def _find(self, key):
        self._check_fresh()
        if key in self._changes:
            return self._changes[key]
        return NVS._store.get(self._namespace, key)

    def _get(self, key, type_):
        entry = self._find(_key(key))
        if entry is None or entry[0] != type_:
            raise _error("ESP_ERR_NVS_NOT_FOUND")
        return entry[1]


def _key(key):
    return _name(key, "ESP_ERR_NVS_KEY_TOO_LONG")


def _name(name, too_long):
    if not isinstance(name, str):
        raise TypeError("can't convert '%s' object to str implicitly" % type(name).__name__)
    if not name:
        raise _error("ESP_ERR_NVS_INVALID_NAME")
    if len(name.encode()) > NAME_MAX:
        raise _error(too_long)
    return name


class RMT:
    """One transmit channel: a train of pulses timed by hardware, to its end, whatever the firmware does."""

    PULSE_MAX = 32767

    _SOURCE_HZ = 80_000_000
    _WORDS = 64  # symbols per memory block; the chip has 8 blocks
    _used_words = 0
    _last = 0

    def __init__(
        self, id=-1, *, pin, resolution_hz=None, clock_div=None, idle_level=False, tx_carrier=None, num_symbols=_WORDS
    ):
        number = gpio(pin)
        if resolution_hz is not None and clock_div is not None:
            raise ValueError("resolution_hz and clock_div are mutually exclusive")
        if clock_div is not None:
            if not 1 <= clock_div <= 255:
                raise ValueError("clock_div must be between 1 and 255")
            resolution_hz = self._SOURCE_HZ // clock_div
        elif resolution_hz is None:
            resolution_hz = 10_000_000
        if not isinstance(resolution_hz, int):
            raise TypeError("can't convert to int")
        if resolution_hz <= 0:
            raise ValueError("resolution_hz must be positive")
        if num_symbols < self._WORDS or num_symbols % 2:
            raise ValueError("num_symbols must be even and at least %d" % self._WORDS)
        divider = (self._SOURCE_HZ + resolution_hz // 2) // resolution_hz
        if not 1 <= divider <= 256 or number >= _INPUT_ONLY_FROM:
            raise _error("ESP_ERR_INVALID_ARG")
        words = (num_symbols + self._WORDS - 1) // self._WORDS * self._WORDS
        if RMT._used_words + words > 8 * self._WORDS:
            raise _error("ESP_ERR_NOT_FOUND")
        self._carrier = self._check_carrier(tx_carrier)
        RMT._used_words += words
        RMT._last += 1
        self._channel = RMT._last
        self._words = words
        self._pin = number
        self._divider = divider
        self._idle_level = 1 if idle_level else 0
        self._loop_count = 0
        self._busy_until_us = 0
        link.send("rmt", {"c": self._channel, "n": number, "idle": self._idle_level, "carrier": self._carrier})

    def _check_carrier(self, carrier):
        if carrier is None:
            return None
        if len(carrier) != 3:
            raise ValueError("requested length 3 but object has length %d" % len(carrier))
        hz, duty, level = carrier
        if hz == 0:
            raise ValueError("tx_carrier frequency must be >0")
        if not 0 <= duty <= 100:
            raise ValueError("tx_carrier duty must be 0..100")
        high = self._SOURCE_HZ * duty // (hz * 100)
        low = self._SOURCE_HZ // hz - high
        if not (0 < high <= 65536 and 0 < low <= 65536):
            raise _error("ESP_ERR_INVALID_ARG")  # the two counters have 16 bits each
        return [hz, duty, 1 if level else 0]

    @staticmethod
    def source_freq():
        return RMT._SOURCE_HZ

    @staticmethod
    def bitstream_rmt(*value):
        return True

    def clock_div(self):
        self._check_open()
        return self._divider

    def write_pulses(self, duration, data=True):
        self._check_open()
        clock.sleep_until(self._busy_until_us)  # the chip waits for the train before
        if not isinstance(data, (tuple, list)):
            durations = list(duration)
            levels = [(i + (1 if data else 0)) & 1 for i in range(len(durations))]
        elif isinstance(duration, int):
            durations = [duration] * len(data)
            levels = [1 if level else 0 for level in data]
        else:
            durations = list(duration)
            levels = [1 if level else 0 for level in data]
            if len(durations) != len(levels):
                raise ValueError("duration and data must have same length")
        if not durations:
            raise ValueError("No pulses")
        for ticks in durations:
            if not isinstance(ticks, int):
                raise TypeError("can't convert to int")
            # the chip would cut a longer one to 15 bits, and take 0 for the end of the train
            if not 0 < ticks <= self.PULSE_MAX:
                raise ValueError("pulse duration must be 1 to 32767 ticks")
        tick_ps = self._divider * 12_500  # the source runs at 80 MHz
        if self._loop_count < 0:
            self._busy_until_us = 1 << 60
        else:
            train_us = sum(durations) * max(1, self._loop_count) * tick_ps // 1_000_000
            self._busy_until_us = clock.now_us() + train_us
        link.send(
            "pulses",
            {"c": self._channel, "ps": tick_ps, "ticks": durations, "levels": levels, "loops": self._loop_count},
        )

    def active(self, *value):
        if not value:
            if self._pin < 0 or not self._busy_until_us:
                return False
            # a train that should be over: in real time the hardware may be behind, and the pin with it
            if clock.now_us() < self._busy_until_us or link.request("rmt_active", {"c": self._channel})["v"]:
                return True
            self._busy_until_us = 0
            return False
        if value[0]:
            raise ValueError("activate by calling write_pulses()")
        self._busy_until_us = 0
        link.send("rmt_stop", {"c": self._channel})
        return False

    def wait_done(self, *, timeout=0):
        self._check_open()
        if timeout:
            clock.sleep_until(min(self._busy_until_us, clock.now_us() + timeout * 1000))
        return not self.active()

    def loop(self, enable_loop):
        self.loop_count(-1 if enable_loop else 0)

    def loop_count(self, count):
        self._check_open()
        if count < -1:
            raise ValueError("arg must be -1, 0 or positive")
        if count == 0 and self._loop_count != 0:
            self.active(False)
        self._loop_count = count

    def deinit(self):
        if self._pin >= 0:
            link.send("rmt_free", {"c": self._channel})
            RMT._used_words -= self._words
            self._pin = -1

    def _check_open(self):
        if self._pin < 0:
            raise OSError("already deinitialized")
