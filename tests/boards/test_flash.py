"""The flash chip: partition table, NOR semantics, file system, and what stays over a power cut."""

import pytest

from support.board import board, run
from vitrine_tools.emulator.board import EmulatorError
from vitrine_tools.emulator.flash import TABLE, FlashImage


async def test_the_table_is_that_of_a_4_mib_board(tmp_path):
    source = """
import board, esp32
for kind in (esp32.Partition.TYPE_APP, esp32.Partition.TYPE_DATA):
    for part in esp32.Partition.find(kind):
        board.trace({"info": part.info(), "blocks": part.ioctl(4, 0), "size": part.ioctl(5, 0)})
board.trace({"running": esp32.Partition(esp32.Partition.RUNNING).info()[4]})
"""
    *rows, running = await run(tmp_path, source)
    assert running == {"running": "ota_0"}
    wanted = [(row.type, row.subtype, row.offset, row.size, row.label, bool(row.flags)) for row in TABLE]
    assert sorted(row["info"] for row in rows) == sorted(wanted)
    assert all(row["size"] == 4096 and row["blocks"] * 4096 == row["info"][3] for row in rows)


async def test_a_flash_of_another_layout_is_not_started(tmp_path):
    image = FlashImage(tmp_path / "flash.bin").create()
    with image.path.open("r+b") as file:
        file.seek(0x8000 + 4)
        file.write(b"\x00\xa0")  # another offset of the first row
    with pytest.raises(EmulatorError, match="another partition table"):
        async with board(tmp_path, ""):
            pass


async def test_programming_only_clears_bits(tmp_path):
    source = """
import board, esp32
part = esp32.Partition("journal")
buffer = bytearray(8)
def show(name):
    part.readblocks(3, buffer, 16)
    board.trace({name: bytes(buffer)})
show("erased")
part.writeblocks(3, b"\\xf0\\x0f\\xff\\x00", 16)
show("programmed")
part.writeblocks(3, b"\\xff\\xf0\\x55\\xff", 16)
show("again")
part.ioctl(6, 3)
show("erased again")
part.writeblocks(3, bytes(4096))
part.writeblocks(3, b"\\x5a" * 4096)
show("with erase")
"""
    shown = {name: value for event in await run(tmp_path, source) for name, value in event.items()}
    assert shown == {
        "erased": b"\xff" * 8,
        "programmed": b"\xf0\x0f\xff\x00" + b"\xff" * 4,
        "again": b"\xf0\x00\x55\x00" + b"\xff" * 4,
        "erased again": b"\xff" * 8,
        "with erase": b"\x5a" * 8,
    }


async def test_small_blocks_keep_their_neighbours(tmp_path):
    """A block size below the sector: a write without offset erases the sector and puts the rest back."""
    source = """
import board, esp32
part = esp32.Partition("journal", 512)
for index in range(8):
    part.writeblocks(index, bytes([index]) * 512)
part.writeblocks(3, b"\\xaa" * 512)
buffer = bytearray(4096)
part.readblocks(0, buffer)
board.trace({"firsts": [buffer[i * 512] for i in range(8)], "lasts": [buffer[i * 512 + 511] for i in range(8)]})
"""
    (event,) = await run(tmp_path, source)
    assert event["firsts"] == event["lasts"] == [0, 1, 2, 0xAA, 4, 5, 6, 7]


async def test_files_survive_a_power_cut_and_the_root_is_littlefs(tmp_path):
    source = """
import board, os
board.trace({"files": sorted(os.listdir("/")), "cwd": os.getcwd(), "blocks": os.statvfs("/")[2]})
with open("/log", "a") as file:
    file.write("x")
board.trace({"log": open("log").read()})
"""
    async with board(tmp_path, source) as lock:
        await lock.power_cut()
        await lock.start()
        first, wrote, second, again = lock.events
    assert first["files"] == ["rom"]
    assert first["cwd"] == "/"
    assert first["blocks"] == TABLE["vfs"].size // 4096
    assert "log" in second["files"]
    assert (wrote["log"], again["log"]) == ("x", "xx")


async def test_a_file_that_was_forgotten_open_is_whole_when_the_collector_has_closed_it(tmp_path):
    source = """
import board, gc, os
with open("/old", "w") as file:
    file.write("before" * 400)
def write(name, size):
    open(name, "a").write("x" * size)
for size in (1, 300, 5000):
    write("/new%d" % size, size)
write("/old", 300)
gc.collect()
gc.collect()
board.trace({"sizes": [os.stat(name)[6] for name in ("/new1", "/new300", "/new5000", "/old")]})
board.trace({"old": open("/old").read() == "before" * 400 + "x" * 300})
"""
    assert await run(tmp_path, source) == [{"sizes": [1, 300, 5000, 2400 + 300]}, {"old": True}]


async def test_start_up_files_of_the_image_come_first_but_modules_of_the_root_do_as_on_the_chip(tmp_path):
    """/main.py is not run where one is frozen (shared/runtime/pyexec.c); what it imports is looked for in / first."""
    source = """
import board
for name in ("main", "shadow"):
    with open("/" + name + ".py", "w") as file:
        file.write("import board; board.trace({'who': 'file'})")
board.trace({"who": "image"})
import shadow
"""
    lock = board(tmp_path, source)
    (tmp_path / "code" / "shadow.py").write_text("import board\nboard.trace({'who': 'image too'})\n")
    async with lock:
        await lock.reset()
        assert [event["who"] for event in lock.events] == ["image", "file"] * 2


async def test_a_start_up_file_of_the_root_is_run_where_the_image_has_none(tmp_path):
    source = "with open('/main.py', 'w') as file:\n    file.write('import board; board.trace({})')"
    async with board(tmp_path, source) as lock:
        assert lock.events == []
        (tmp_path / "code" / "main.py").unlink()
        await lock.reset()
        assert len(lock.events) == 1


async def test_a_damaged_file_system_stops_the_stock_image(tmp_path):
    """inisetup waits for ever: an image for a lock needs a _boot.py of its own."""
    image = FlashImage(tmp_path / "flash.bin").create()
    for offset in range(64):
        image.flip_bit("vfs", offset)
        image.flip_bit("vfs", 4096 + offset)
    async with board(tmp_path, "import board; board.trace({'ran': True})") as lock:
        await lock.advance(10_000)
        assert list(lock.output) == ["The filesystem appears to be corrupted."] * 4
        assert lock.events == []
    assert image.read("vfs")[:64] == b"\xfe" * 64


async def test_counts_and_cuts(tmp_path):
    """Units are bytes programmed and sectors erased; the cut falls inside the operation."""
    source = """
import asyncio, board, esp32
part = esp32.Partition("journal")
async def main():
    await asyncio.sleep(1)
    part.writeblocks(0, bytes(100), 0)
    part.ioctl(6, 1)
    part.writeblocks(1, bytes(100), 0)
    await asyncio.sleep(3600)
asyncio.run(main())
"""
    async with board(tmp_path, source) as lock:
        before = await lock.flash_counts()
        await lock.advance(1_000)
        after = await lock.flash_counts()
        assert after["programmed"] - before["programmed"] == 200
        assert after["erased"] - before["erased"] == 1
    for units, expected in {30: (30, False), 100: (100, False), 101: (100, True), 150: (100, True)}.items():
        image = FlashImage(tmp_path / "flash.bin").create()
        async with board(tmp_path, source) as lock:
            image_after_start = image.read("journal")
            assert image_after_start == b"\xff" * len(image_after_start)
            lock.flash_cut(units)
            await lock.advance(2_000)
            assert not lock.is_on
        journal = image.read("journal")
        assert journal[:200].count(0) == expected[0]
        assert journal[4096:4196].count(0) == max(0, units - 101)


@pytest.mark.parametrize("label", ["nvs", "journal", "access", "vfs"])
def test_flip_bit(tmp_path, label):
    image = FlashImage(tmp_path / "flash.bin").create()
    image.flip_bit(label, 5, bit=3)
    assert image.read(label)[4:7] == b"\xff\xf7\xff"
    with pytest.raises(ValueError):
        image.flip_bit(label, len(image.read(label)))


def test_the_file_is_sparse(tmp_path):
    image = FlashImage(tmp_path / "flash.bin").create()
    assert image.path.stat().st_size == TABLE.flash_size
    assert image.path.stat().st_blocks * 512 < TABLE.flash_size / 6
