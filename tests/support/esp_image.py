"""Small images that a chip would take for real, built by the classes of Espressif's own esptool."""

import hashlib
import struct
import zlib

from esptool import bin_image

CLASSES = {
    "esp32": (bin_image.ESP32FirmwareImage, 0x3F40_0020, 0x4008_0000, 0x3FFB_0000),
    "esp32s3": (bin_image.ESP32S3FirmwareImage, 0x3C00_0020, 0x4037_8000, 0x3FC9_0000),
    "esp32c3": (bin_image.ESP32C3FirmwareImage, 0x3C00_0020, 0x4038_0000, 0x3FC9_0000),
}
FLASH_SIZES = {1: 0x00, 2: 0x10, 4: 0x20, 8: 0x30, 16: 0x40}
SECTOR = 4096


def build(chip, segments, mib=4, with_digest=True):
    kind = CLASSES[chip][0]
    image = kind()
    image.entrypoint = CLASSES[chip][2]
    image.flash_mode, image.flash_size_freq = 2, FLASH_SIZES[mib]
    image.append_digest = with_digest
    sections = ((b".flash.appdesc", *segments[0]), *((b".text", *segment) for segment in segments[1:]))
    image.segments = [bin_image.ELFSection(name, address, data, 0) for name, address, data in sections]
    return bytes(image.save(None))


def bootloader(chip="esp32", mib=4, size=3000, **options):
    """A bootloader: one segment in RAM, for a flash of `mib` MiB."""
    code = hashlib.shake_128(b"bootloader").digest(size // 4 * 4)
    return build(chip, [(CLASSES[chip][2], code)], mib, **options)


def application(chip="esp32", size=20_000, version="v1.29.0", secure_version=0, **options):
    """An application: its description in front, as ESP-IDF puts it, and code."""
    description = struct.pack(
        "<II8x32s32s16s16s32s32s80x",
        0xABCD_5432,
        secure_version,
        version.encode(),
        b"micropython",
        b"12:00:00",
        b"Nov 22 2026",
        b"v5.5.1",
        bytes(range(32)),
    )
    code = hashlib.shake_128(version.encode()).digest(size // 4 * 4)
    return build(chip, [(CLASSES[chip][1], description), (CLASSES[chip][2], code)], **options)


def stock_table(app_size=0x1F0000):
    """The partition table of MicroPython's own downloads for 4 MiB, by hand."""
    rows = b""
    for kind, subtype, offset, size, label in (
        (1, 2, 0x9000, 0x6000, b"nvs"),
        (1, 1, 0xF000, 0x1000, b"phy_init"),
        (0, 0, 0x10000, app_size, b"factory"),
    ):
        rows += struct.pack("<2sBBII16sI", b"\xaa\x50", kind, subtype, offset, size, label, 0)
    rows += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(rows).digest()
    return rows.ljust(0xC00, b"\xff")


def merged(chip="esp32", boot=None, app=None, table=None, table_offset=0x8000):
    """As MicroPython publishes it: from the bootloader's offset on, gaps filled with ones."""
    offset = 0x1000 if chip == "esp32" else 0
    flash = bytearray(b"\xff" * 0x10000)
    boot, table = boot or bootloader(chip), stock_table() if table is None else table
    flash[offset : offset + len(boot)] = boot
    flash[table_offset : table_offset + len(table)] = table
    return bytes(flash[offset:]) + (app or application(chip))


def signed(image):
    """With a block of secure boot version 2 behind it, as far as a reader without the key can tell."""
    image += b"\xff" * (-len(image) % SECTOR)
    block = (b"\xe7\x02\0\0" + hashlib.sha256(image).digest()).ljust(1196, b"\0")
    block += zlib.crc32(block).to_bytes(4, "little") + bytes(16)
    return image + block.ljust(SECTOR, b"\xff")
