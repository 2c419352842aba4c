"""ESP-IDF's second-stage bootloader, as far as it decides what runs: partition table, otadata, rollback, image check.

Built as a lock's is: CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE, no factory partition needed. An image is what the chip's is
from the outside (header, segments, checksum, SHA-256); its one segment holds an application description and a ROMFS of
the code, which is mounted where the chip has frozen code. An erased ota_0 stands for the host's folder.

otadata: two sectors, in each one entry: sequence (4), label (20), state (4), CRC-32 of the sequence (4). The entry
with the higher valid sequence is active, and the application of (sequence - 1) modulo the number of slots runs.
"""

import binascii
import hashlib
import struct

TABLE = 0x8000
SECTOR = 4096
APP = 0
DATA = 1
OTA_0 = 0x10
FACTORY = 0x00
CHIP = 0  # ESP32

NEW = 0
PENDING_VERIFY = 1
VALID = 2
INVALID = 3
ABORTED = 4
UNDEFINED = 0xFFFFFFFF

_NONE = 0xFFFFFFFF
_ENTRY = "<I20sII"
_MAGIC = 0xE9
_DESCRIPTION = 256
_DESCRIPTION_MAGIC = 0xABCD5432
_SEGMENTS_MAX = 16
_PIECE = 4096


class ImageError(Exception):
    """Not an image that the chip starts."""


def read_table(flash):
    """The partition table: rows of 32 bytes, magic 0x50aa. A row: (type, subtype, address, size, label, encrypted)."""
    rows = []
    entry = bytearray(32)
    for index in range(95):
        flash.read_into(TABLE + 32 * index, entry)
        magic, type_, subtype, address, size, label, flags = struct.unpack("<HBBII16sI", entry)
        if magic != 0x50AA:
            break
        rows.append((type_, subtype, address, size, label.rstrip(b"\0").decode(), bool(flags & 1)))
    return rows


def ota_slots(rows):
    """The application slots, ota_0 first."""
    return sorted([row for row in rows if row[0] == APP and OTA_0 <= row[1] < OTA_0 + 16], key=lambda row: row[1])


class OtaData:
    """The partition otadata. OSError(ENOENT) if the table has none."""

    def __init__(self, flash, rows):
        self._flash = flash
        for row in rows:
            if row[:2] == (DATA, 0x00):
                self._address = row[2]
                break
        else:
            raise OSError(2)
        self.entries = []
        for index in (0, 1):
            buffer = bytearray(32)
            flash.read_into(self._address + index * SECTOR, buffer)
            self.entries.append(struct.unpack(_ENTRY, buffer))

    def active(self):
        """Which entry counts: 0, 1, or -1."""
        best = -1
        for index in (0, 1):
            sequence, _, state, crc = self.entries[index]
            if sequence == _NONE or state in (INVALID, ABORTED) or crc != _crc(sequence):
                continue
            if best < 0 or sequence > self.entries[best][0]:
                best = index
        return best

    def write(self, index, sequence, state):
        self.entries[index] = (sequence, b"\xff" * 20, state, _crc(sequence))
        self._flash.erase(self._address + index * SECTOR)
        self._flash.program(self._address + index * SECTOR, struct.pack(_ENTRY, *self.entries[index]))

    def boot_next(self, slot, slots):
        """What esp_ota_set_boot_partition writes: slot of so many slots is to start next, on trial."""
        active = self.active()
        if active < 0:
            self.write(0, slot + 1, NEW)
            return
        sequence = slot + 1
        while sequence < self.entries[active][0]:
            sequence += slots
        self.write(1 - active, sequence, NEW)

    def mark_valid(self):
        """What esp_ota_mark_app_valid_cancel_rollback does; False where there is nothing to mark."""
        active = self.active()
        if active >= 0 and self.entries[active][2] != VALID:
            self.write(active, self.entries[active][0], VALID)
        return active >= 0


def boot(flash, rows):
    """Choose as the chip does; return (row, the code as a ROMFS, or None for the host's folder). ImageError: none."""
    slots = ota_slots(rows)
    factory = [row for row in rows if row[:2] == (APP, FACTORY)]
    if not slots:
        if not factory:
            raise ImageError("no application partition")
        return factory[0], _code(flash, factory[0], True)
    ota = OtaData(flash, rows)
    for index in (0, 1):
        if ota.entries[index][2] == PENDING_VERIFY:
            ota.write(index, ota.entries[index][0], ABORTED)  # it had its start, and did not say that it is well
    active = ota.active()
    if active < 0:
        first = -1 if factory else 0
    else:
        sequence, _, state, _ = ota.entries[active]
        first = (sequence - 1) % len(slots)
        if state == NEW:
            ota.write(active, sequence, PENDING_VERIFY)
    for index in [first] + list(range(first - 1, -1, -1)) + list(range(first + 1, len(slots))):
        row = slots[index] if index >= 0 else factory[0]
        try:
            return row, _code(flash, row, index <= 0)
        except ImageError:
            continue
    raise ImageError("no application partition holds an image")


def _code(flash, row, may_be_host):
    head = bytearray(32)
    flash.read_into(row[2], head)
    if may_be_host and head in (b"\xff" * 32, bytes(32)):
        return None
    return verify(flash, row)


def verify(flash, row):
    """Return the code in the image, checked as esp_image_verify does: header, chip, segments, checksum, SHA-256."""
    address, size = row[2], row[3]
    head = bytearray(24)
    flash.read_into(address, head)
    if head[0] != _MAGIC or not 1 <= head[1] <= _SEGMENTS_MAX:
        raise ImageError("header")
    if head[12] | head[13] << 8 != CHIP:
        raise ImageError("chip")
    at = 24
    checksum = 0xEF
    code = None
    for number in range(head[1]):
        segment = bytearray(8)
        flash.read_into(address + at, segment)
        length = struct.unpack("<II", segment)[1]
        at += 8
        if at + length + 48 > size:
            raise ImageError("segment")
        data = bytearray(length)
        flash.read_into(address + at, data)
        for byte in data:
            checksum ^= byte
        if number == 0:
            if length < _DESCRIPTION or struct.unpack("<I", data[:4])[0] != _DESCRIPTION_MAGIC:
                raise ImageError("description")
            code = memoryview(data)[_DESCRIPTION:]
        at += length
    at += 16 - at % 16
    last = bytearray(33)
    flash.read_into(address + at - 1, last)
    if last[0] != checksum:
        raise ImageError("checksum")
    if head[23] & 1:
        digest = hashlib.sha256()
        for start in range(0, at, _PIECE):
            piece = bytearray(min(_PIECE, at - start))
            flash.read_into(address + start, piece)
            digest.update(piece)
        if digest.digest() != last[1:]:
            raise ImageError("digest")
    return code


def _crc(sequence):
    """esp_rom_crc32_le(UINT32_MAX, ...) over the sequence: zlib's CRC-32 that begins with all ones once more."""
    return binascii.crc32(struct.pack("<I", sequence), 0xFFFFFFFF)
