"""The way without a build (boards/README.md): a stock image, and the firmware as .mpy in the file system."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from vitrine_tools.emulator import EmulatedLock, VirtualRadio, board, flash
from vitrine_tools.field import partitions

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools" / "checks"))

import frozen  # noqa: E402

# what mpremote does: the package below /lib, then boot.py
COPY = """
import os

def copy(source, target):
    for name, kind, *_ in os.ilistdir(source):
        if kind == 0x4000:
            os.mkdir(target + "/" + name)
            copy(source + "/" + name, target + "/" + name)
        else:
            with open(source + "/" + name, "rb") as old, open(target + "/" + name, "wb") as new:
                new.write(old.read())

os.mkdir("/lib")
copy("/rom/lib", "/lib")
copy("/rom/root", "")
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package, for this machine; without what the emulated board has of its own."""
    monkeypatch.setattr(frozen, "OUT", tmp_path / "mip")
    short = tmp_path / "package.json"
    rows = json.loads(frozen.PACKAGE.read_text())["urls"]
    left_out = ("board.mpy", "aioble/", "microdot/", "umqtt/")
    short.write_text(json.dumps({"urls": [row for row in rows if not row[0].startswith(left_out)]}))
    monkeypatch.setattr(frozen, "PACKAGE", short)
    return frozen.compile_package("VITRINE_ESP32", "x64").parent


@pytest.fixture
def flash_of_8_mib(monkeypatch):
    """The package does not fit into the file system of 4 MiB of flash: each of its files takes whole sectors."""
    table = partitions.load(ROOT / "boards" / "partitions-8MiB.csv")
    monkeypatch.setattr(flash, "TABLE", table)
    monkeypatch.setattr(flash, "FLASH_SIZE", table.flash_size)
    monkeypatch.setattr(board, "FLASH_SIZE", table.flash_size)


@pytest.mark.usefixtures("flash_of_8_mib")
async def test_a_stock_image_with_the_package_is_a_lock(store, tmp_path, package):
    desk, stock = tmp_path / "desk", tmp_path / "stock"
    shutil.copytree(package, desk / "lib")
    (desk / "root").mkdir()
    shutil.copy(ROOT / "firmware" / "boot.py", desk / "root")
    (desk / "main.py").write_text(COPY)
    stock.mkdir()
    lock = store.lock(firmware=stock)  # nothing of ours is in the image
    async with EmulatedLock(VirtualRadio(), flash=lock.flash.path, firmware=desk, virtual=True) as desk_run:
        assert desk_run.ended == "", desk_run.last_words()
    async with lock:
        assert not lock.strike_energised
        assert (await store.open(lock)).is_granted
        assert lock.strike_energised
        await lock.power_cut()
        await lock.start()
        assert not lock.strike_energised
        await lock.wait_advertising()
