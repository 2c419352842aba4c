"""The image's own _boot.py: strike low first, no Ctrl-C, and a lock that starts whatever its file system is like."""

import asyncio
import contextlib
import os
import random
from pathlib import Path

import pytest

from support.board import board
from vitrine_tools.emulator.flash import FlashImage

BOOT = (Path(__file__).parents[2] / "firmware" / "_boot.py").read_text()

# a boot.py never ends
USE = """
import board, os, sys, time
try:
    with open("/new.txt", "w") as file:
        file.write("it works")
    text = open("/new.txt").read()
except OSError as error:
    text = repr(error)
board.trace({"text": text, "files": sorted(os.listdir("/")), "path": sys.path})
time.sleep(100_000)
"""


def image(tmp_path, *, before: str = "", boot: str = USE, **options):
    """A board with _boot.py, `before` ahead of it, and this boot.py; its flash is erased unless it is there already."""
    lock = board(tmp_path, "import board\nboard.trace({'main': 'must not run'})", boot=boot, **options)
    (tmp_path / "code" / "_boot.py").write_text(before + BOOT)
    return lock


async def test_a_good_file_system_is_mounted_as_it_is(tmp_path):
    async with image(tmp_path) as lock:
        (seen,) = lock.events
        assert (seen["text"], seen["files"]) == ("it works", ["new.txt", "rom"])
        await lock.reset()
    async with image(tmp_path, boot=USE.replace("new.txt", "other.txt")) as lock:
        assert lock.events[0]["files"] == ["new.txt", "other.txt", "rom"]
        assert not lock.output


@pytest.mark.parametrize("fill", [0x00, 0x5A])
async def test_a_damaged_one_is_formatted(tmp_path, fill):
    async with image(tmp_path, boot=USE.replace("new.txt", "old.txt")) as lock:
        assert lock.events[0]["files"] == ["old.txt", "rom"]
    damage(tmp_path, [(number, bytes([fill]) * 4096) for number in range(8)])
    async with image(tmp_path) as lock:
        assert (lock.events[0]["text"], lock.events[0]["files"]) == ("it works", ["new.txt", "rom"])


async def test_one_that_was_misread_is_not_formatted(tmp_path):
    async with image(tmp_path) as lock:
        assert lock.events[0]["text"] == "it works"
    before = "import sys\nimport vfs as real\nclass vfs:\n    VfsLfs2, trouble = real.VfsLfs2, [1, 1]\n"
    before += "    @staticmethod\n    def mount(*args):\n        if vfs.trouble:\n            vfs.trouble.pop()\n"
    before += "            raise OSError(5)\n        real.mount(*args)\nsys.modules['vfs'] = vfs\n"
    async with image(tmp_path, before=before, boot=USE.replace("new.txt", "other.txt")) as lock:
        assert lock.events[0]["files"] == ["new.txt", "other.txt", "rom"]


def damage(tmp_path, sectors):
    flash = FlashImage(tmp_path / "flash.bin")
    data = bytearray(flash.read("vfs"))
    for number, content in sectors:
        data[4096 * number : 4096 * number + 4096] = content
    flash._write("vfs", bytes(data))


@pytest.mark.parametrize("seed", range(6))
async def test_no_damage_stops_a_lock(tmp_path, seed):
    """Anything at all in the superblocks and behind them."""
    rng = random.Random(seed)
    async with image(tmp_path) as lock:
        assert lock.events[0]["text"] == "it works"
    damage(tmp_path, [(number, rng.randbytes(4096)) for number in rng.sample(range(12), 4)])
    async with image(tmp_path) as lock:
        assert len(lock.events) == 1


@pytest.mark.parametrize("units", [0, 1, 100, 300, 5_000])
async def test_the_supply_may_fail_while_it_is_formatted(tmp_path, units):
    async with image(tmp_path) as lock:
        pass
    damage(tmp_path, [(number, bytes(4096)) for number in range(2)])
    lock = image(tmp_path)
    lock.flash_cut(units)
    async with lock:
        await lock.power_cut()
        await lock.start()
        assert lock.events[-1]["text"] == "it works"


@pytest.mark.parametrize(
    "before",
    [
        "import esp32\nesp32.Partition.find = staticmethod(lambda *a, **k: [])\n",
        "import vfs\ndef fail(*_):\n    raise OSError(5)\nvfs.mount = fail\nvfs.VfsLfs2.mkfs = fail\n",
    ],
    ids=["no partition", "no mount"],
)
async def test_a_lock_without_a_file_system_starts(tmp_path, before):
    before = before.replace("import vfs\n", "import sys\nclass vfs:\n    class VfsLfs2:\n        pass\n").replace(
        "vfs.VfsLfs2.mkfs = fail\n", "vfs.VfsLfs2.mkfs = fail\nsys.modules['vfs'] = vfs\n"
    )
    async with image(tmp_path, before=before) as lock:
        assert len(lock.events) == 1 and "OSError" in lock.events[0]["text"]
        assert any("IndexError" in line or "OSError" in line for line in lock.output)


async def test_the_strike_is_low_before_anything_can_fail(tmp_path):
    """It is the first thing done: here the drivers of all the rest are broken, and something had driven it."""
    broken = "import sys\nfrom machine import Pin\nPin(26, Pin.OUT, value=1)\n"
    broken += "for name in ('esp32', 'vfs', 'micropython', 'gc'):\n    sys.modules[name] = None\n"
    async with image(tmp_path, before=broken) as lock:
        assert [level for _, name, level in lock.pin_trace if name == "STRIKE"] == [1, 0]


async def test_boot_py_is_the_images_own_and_what_ends_it_is_a_reset(tmp_path):
    """Never MicroPython's prompt, nor main.py: not even by an exception at its first line."""
    plant = "for name in ('boot', 'main', '_boot'):\n    with open('/' + name + '.py', 'w') as file:\n"
    plant += "        file.write('import board; board.trace({})')\n"
    async with image(tmp_path, boot=plant + USE) as lock:
        assert "text" in lock.events[0]
    ends = "import board, time\nboard.trace({'text': 'own'})\ntime.sleep(1)\nraise KeyboardInterrupt\n"
    async with image(tmp_path, boot=ends) as lock:
        await lock.advance(5_500)
        assert {event.get("text") for event in lock.events} == {"own"}
        assert len(lock.events) >= 4
        assert lock.resets


@pytest.mark.parametrize("is_stock", [False, True], ids=["our image", "stock image"])
async def test_a_flood_of_ctrl_c_while_it_starts(tmp_path, is_stock):
    """MicroPython lets Ctrl-C interrupt boot.py, and goes to its prompt then: of a stock image, not of ours."""
    boot = "for _ in range(10_000_000):\n    pass\nimport board, micropython, time\nmicropython.kbd_intr(-1)\n"
    boot += "board.trace({'text': 'own'})\ntime.sleep(100_000)\n"
    lock = image(tmp_path, boot=boot, console=tmp_path / "wire")
    if is_stock:
        (tmp_path / "code" / "_boot.py").unlink()
    async with lock:  # starts undisturbed; then somebody holds the key down
        assert [event["text"] for event in lock.events] == ["own"]
        wire = os.open(tmp_path / "wire", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        flood = asyncio.create_task(hold(wire))
        try:
            await lock.reset()
        finally:
            flood.cancel()
            os.close(wire)
        if is_stock:
            assert "KeyboardInterrupt" in lock.ended and len(lock.events) == 1
        else:
            assert lock.ended is None and len(lock.events) == 2


async def hold(wire: int) -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            os.write(wire, b"\x03" * 8)
        await asyncio.sleep(0.001)
