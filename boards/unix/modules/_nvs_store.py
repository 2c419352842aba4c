"""Key-value store in the nvs partition: what ESP-IDF's NVS is on the chip, in a format of our own.

This file is used twice: under `esp32.NVS` on the emulated board, and by the host tools that write a flash image.

Two banks, each half of the partition. A bank: 16-byte header, then records. Integers are little-endian.

| header | bytes |            | record | bytes |
|---|---|-|---|---|
| magic `VNV1` | 4 |             | value length; 0xffff end of the bank, 0xfffe the key is erased | 2 |
| number of the bank | 4 |       | type: 1 = i32, 2 = blob | 1 |
| 0 | 4 |                        | length of namespace, key | 1, 1 |
| CRC-32 of the 12 before | 4 |  | 0xff | 3 |
|                               || CRC-32 of all but this field, without padding | 4 |
|                               || namespace, key, value, padded with 0xff to 16 | |

A record is appended; the last one for a key is true. A full bank is copied, without what is dead, into the other
bank, whose header is programmed last: the bank with the higher valid number is the true one. So a power cut leaves
the state before or the state after, never one between. A torn record ends the bank: the next write copies it first.
"""

import binascii
import struct

I32 = 1
BLOB = 2
NAME_MAX = 15

_SECTOR = 4096
_HEADER = 16
_FIXED = 12
_END = 0xFFFF
_ERASED = 0xFFFE
_MAGIC = b"VNV1"


class NvsStore:
    """read(offset, count) -> bytes, program(offset, data) and erase(offset of a 4 KiB sector) act on the partition."""

    def __init__(self, read, program, erase, size):
        self._read = read
        self._program = program
        self._erase = erase
        self._bank_size = size // 2 // _SECTOR * _SECTOR
        self._values = {}  # (namespace, key) -> (type, value bytes)
        self._number = 0
        self._base = 0
        self._end = 0  # offset in the bank of the next record
        self._is_torn = False
        self._mount()

    def get(self, namespace, key):
        """(type, value) or None."""
        return self._values.get((namespace, key))

    def put(self, namespace, key, type_, value):
        """Store durably. Raises OSError with "ESP_ERR_NVS_NOT_ENOUGH_SPACE" if it cannot fit; nothing changed then."""
        if self._values.get((namespace, key)) == (type_, value):
            return
        self._append({(namespace, key): (type_, value)})

    def remove(self, namespace, key):
        """Erase durably."""
        if (namespace, key) in self._values:
            self._append({(namespace, key): None})

    def _mount(self):
        best = -1
        for base in (0, self._bank_size):
            head = self._read(base, _HEADER)
            number = struct.unpack("<I", head[4:8])[0]
            if head[:4] == _MAGIC and _crc(head[:12]) == head[12:] and number > best:
                best, self._number, self._base = number, number, base
        if best < 0:
            self._number, self._base = 0, self._bank_size
            self._compact({})
            return
        self._end = _HEADER
        while self._end + _FIXED <= self._bank_size:
            fixed = self._read(self._base + self._end, _FIXED)
            length, type_, namespace_size, key_size = struct.unpack("<HBBB", fixed[:5])
            if fixed == b"\xff" * _FIXED:
                break
            body_size = namespace_size + key_size + (0 if length == _ERASED else length)
            if length == _END or self._end + _FIXED + body_size > self._bank_size:
                self._is_torn = True
                break
            body = self._read(self._base + self._end + _FIXED, body_size)
            if _crc(fixed[:8] + body) != fixed[8:]:
                self._is_torn = True
                break
            name = (body[:namespace_size].decode(), body[namespace_size : namespace_size + key_size].decode())
            if length == _ERASED:
                self._values.pop(name, None)
            else:
                self._values[name] = (type_, body[namespace_size + key_size :])
            self._end += _padded(_FIXED + body_size)

    def _append(self, change):
        wanted = dict(self._values)
        data = b""
        for name, entry in change.items():
            data += _record(name, entry)
            if entry is None:
                del wanted[name]
            else:
                wanted[name] = entry
        if self._is_torn or self._end + len(data) > self._bank_size:
            self._compact(wanted)
        else:
            self._program(self._base + self._end, data)
            self._end += len(data)
            self._values = wanted

    def _compact(self, wanted):
        data = b"".join([_record(name, entry) for name, entry in wanted.items()])
        if _HEADER + len(data) > self._bank_size:
            raise OSError(-0x1105, "ESP_ERR_NVS_NOT_ENOUGH_SPACE")
        base = self._bank_size - self._base
        for offset in range(0, self._bank_size, _SECTOR):
            self._erase(base + offset)
        self._program(base + _HEADER, data)
        head = _MAGIC + struct.pack("<II", self._number + 1, 0)
        self._program(base, head + _crc(head))
        self._number += 1
        self._base = base
        self._end = _HEADER + len(data)
        self._is_torn = False
        self._values = wanted


def _crc(data):
    return struct.pack("<I", binascii.crc32(data) & 0xFFFFFFFF)


def _padded(size):
    return (size + 15) & ~15


def _record(name, entry):
    namespace, key = name[0].encode(), name[1].encode()
    type_, value = entry or (0, b"")
    length = _ERASED if entry is None else len(value)
    fixed = struct.pack("<HBBB", length, type_, len(namespace), len(key)) + b"\xff\xff\xff"
    body = namespace + key + value
    record = fixed + _crc(fixed + body) + body
    return record + b"\xff" * (_padded(len(record)) - len(record))
