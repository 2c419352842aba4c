"""What the emulated bootloader starts, and what of it the firmware can say: as ESP-IDF's, with rollback."""

import struct
import zlib

import pytest

from support.board import board, run
from vitrine_tools.emulator import image as images
from vitrine_tools.emulator.flash import TABLE, FlashImage

OTADATA = TABLE["otadata"]
SLOTS = (TABLE["ota_0"], TABLE["ota_1"])
NEW, PENDING_VERIFY, VALID, INVALID, ABORTED = range(5)
ERASED = 0xFFFFFFFF
WHO = """
import board
from esp32 import Partition
def say(**what):
    board.trace(what)
say(who="%s", running=Partition(Partition.RUNNING).info()[4], boot=Partition(Partition.BOOT).info()[4])
"""


def romfs(main: str) -> bytes:
    """A read-only file system with this main.py."""
    from mpremote.romfs import VfsRomWriter

    writer = VfsRomWriter()
    writer.mkfile("boot.py", b"")
    writer.mkfile("main.py", main.encode())
    return writer.finalise()


def entry(sequence: int, state: int = VALID) -> bytes:
    """An entry of otadata; its CRC is zlib's over the sequence, begun with all ones once more."""
    crc = zlib.crc32(struct.pack("<I", sequence), 0xFFFFFFFF)
    return struct.pack("<I20sII", sequence, b"\xff" * 20, state, crc)


def write(path, address: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(address)
        file.write(data)


def entries(path) -> list[tuple[int, int]]:
    """(sequence, state) of both entries."""
    data = path.read_bytes()[OTADATA.offset :]
    found = [struct.unpack_from("<I20sII", data, at) for at in (0, 4096)]
    return [(each[0], each[2]) for each in found]


@pytest.fixture
def flash(tmp_path):
    """A flash with an image in each slot, neither of them chosen."""
    path = tmp_path / "flash.bin"
    FlashImage(path).create()
    for number, slot in enumerate(SLOTS):
        write(path, slot.offset, images.build(romfs(WHO % f"image {number}"), "1.0"))
    return path


async def started(tmp_path, **options):
    """What the code says that the bootloader starts."""
    return await run(tmp_path, WHO % "host", **options)


def test_the_crc_is_the_known_one_of_sequence_1():
    assert entry(1)[28:] == bytes.fromhex("9a984347")


async def test_an_erased_slot_is_the_hosts_folder(tmp_path):
    assert await started(tmp_path) == [{"who": "host", "running": "ota_0", "boot": "ota_0"}]


async def test_the_valid_entry_with_the_higher_sequence_decides(tmp_path, flash):
    for first, second, wanted in (
        (entry(1), b"", 0),
        (entry(2), b"", 1),
        (entry(1), entry(2), 1),
        (entry(3), entry(2), 0),
        (entry(3, INVALID), entry(2), 1),
        (entry(3, ABORTED), entry(2), 1),
        (entry(3)[:-1] + b"\0", entry(2), 1),
        (entry(ERASED), entry(ERASED), 0),
        (b"", b"", 0),
    ):
        for at, data in ((0, first), (4096, second)):
            write(flash, OTADATA.offset + at, data.ljust(32, b"\xff"))
        name = f"ota_{wanted}"
        assert await started(tmp_path) == [{"who": f"image {wanted}", "running": name, "boot": name}], (first, second)


async def test_a_damaged_image_is_not_started(tmp_path, flash):
    write(flash, OTADATA.offset, entry(2))
    for place in (0, 1, 12, 24, 32, 24 + 8 + 256 + 100):
        whole = flash.read_bytes()
        address = SLOTS[1].offset + place
        write(flash, address, bytes([whole[address] ^ 1]))
        said = await started(tmp_path)
        assert said[0]["who"] == "image 0" and said[0]["boot"] == "ota_1", place
        write(flash, address, whole[address : address + 1])
    write(flash, SLOTS[0].offset, b"\0")
    write(flash, SLOTS[1].offset, b"\0")
    async with board(tmp_path, "") as lock:
        assert "holds an image" in (lock.ended or "")


SWITCH = (
    WHO % "image 0"
    + """
other = Partition(Partition.RUNNING).get_next_update()
other.set_boot()
say(boot=Partition(Partition.BOOT).info()[4])
"""
)


async def test_what_is_set_to_start_is_on_trial_and_comes_back(tmp_path, flash):
    write(flash, SLOTS[0].offset, images.build(romfs(SWITCH), "1.0"))
    write(flash, OTADATA.offset, entry(1))
    said = await started(tmp_path)
    assert said == [{"who": "image 0", "running": "ota_0", "boot": "ota_0"}, {"boot": "ota_1"}]
    assert entries(flash) == [(1, VALID), (2, NEW)]
    write(flash, SLOTS[0].offset, images.build(romfs(WHO % "image 0"), "1.0"))
    assert (await started(tmp_path))[0]["who"] == "image 1"
    assert entries(flash) == [(1, VALID), (2, PENDING_VERIFY)]
    assert (await started(tmp_path))[0]["who"] == "image 0"
    assert entries(flash) == [(1, VALID), (2, ABORTED)]


async def test_what_says_that_it_is_well_stays(tmp_path, flash):
    keep = WHO % "image 1" + "Partition.mark_app_valid_cancel_rollback()\n"
    write(flash, SLOTS[1].offset, images.build(romfs(keep), "1.0"))
    write(flash, OTADATA.offset, entry(1))
    write(flash, OTADATA.offset + 4096, entry(2, NEW))
    for _ in range(2):
        assert (await started(tmp_path))[0]["who"] == "image 1"
        assert entries(flash) == [(1, VALID), (2, VALID)]


REFUSALS = """
from esp32 import Partition
import board
def tried(what, call):
    try:
        call()
        board.trace({what: 0})
    except (OSError, RuntimeError) as error:
        board.trace({what: error.errno if isinstance(error, OSError) else "panic"})
running = Partition(Partition.RUNNING)
other = running.get_next_update()
tried("erased", other.set_boot)
tried("data", Partition("journal").set_boot)
tried("own flash", lambda: running.writeblocks(0, bytes(4096)))
tried("own sector", lambda: running.ioctl(6, 0))
tried("other flash", lambda: other.writeblocks(0, bytes(4096)))
tried("nothing to mark", Partition.mark_app_valid_cancel_rollback)
"""


async def test_it_refuses_what_the_chip_refuses(tmp_path):
    assert await run(tmp_path, REFUSALS) == [
        {"erased": -0x1503},
        {"data": -0x1503},
        {"own flash": "panic"},
        {"own sector": "panic"},
        {"other flash": 0},
        {"nothing to mark": -1},
    ]
