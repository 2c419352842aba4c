"""The image's own _boot.py: the strike low first, and a lock that comes up whatever its file system looks like.

It runs where the chip runs it: right after the reset, before boot.py. The emulated board has mounted its flash by then;
what the tests put before it takes that back, and damages what is to be damaged.
"""

import random
from pathlib import Path

import pytest

from support.board import board, run

BOOT = (Path(__file__).parents[2] / "firmware" / "_boot.py").read_text()

UNMOUNT = "import vfs\nvfs.umount('/')\n"
DAMAGE = (
    UNMOUNT
    + """
import esp32
part = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="vfs")[0]
for sector, data in {sectors!r}:
    part.writeblocks(sector, data)
"""
)
USE = """
import board, os, sys
with open("/new.txt", "w") as file:
    file.write("it works")
files = [name for name in sorted(os.listdir("/")) if name != "rom"]
board.trace({"files": files, "text": open("/new.txt").read(), "blocks": os.statvfs("/")[2]})
"""


async def test_a_good_file_system_is_mounted_as_it_is(tmp_path):
    (seen,) = await run(tmp_path, USE, boot="open('/old.txt', 'w').close()\n" + UNMOUNT + BOOT)
    assert seen["files"] == ["new.txt", "old.txt"]
    (again,) = await run(tmp_path, USE, boot=UNMOUNT + BOOT)
    assert again["files"] == ["new.txt", "old.txt"]


@pytest.mark.parametrize("fill", [0x00, 0xFF, 0x5A])
async def test_a_damaged_or_erased_one_is_formatted(tmp_path, fill):
    sectors = [(number, bytes([fill]) * 4096) for number in range(8)]
    boot = "open('/old.txt', 'w').close()\n" + DAMAGE.format(sectors=sectors) + BOOT
    (seen,) = await run(tmp_path, USE, boot=boot)
    assert seen["text"] == "it works"
    assert seen["files"] == ["new.txt"]


@pytest.mark.parametrize("seed", range(6))
async def test_no_damage_stops_a_lock(tmp_path, seed):
    """Anything at all in the two superblocks, and one of another size of flash."""
    rng = random.Random(seed)
    sectors = [(number, rng.randbytes(4096)) for number in rng.sample(range(12), 4)]
    source = "import board\nboard.trace({'started': True})"
    assert await run(tmp_path, source, boot=DAMAGE.format(sectors=sectors) + BOOT) == [{"started": True}]


@pytest.mark.parametrize("fault", ["no partition", "no mount", "no format"])
async def test_a_lock_without_a_file_system_starts(tmp_path, fault):
    prepare = (
        UNMOUNT
        + {
            "no partition": "import esp32\nesp32.Partition.find = staticmethod(lambda *a, **k: [])\n",
            "no mount": "import sys\n"
            "class Broken:\n"
            "    class VfsLfs2:\n"
            "        mkfs = staticmethod(lambda part: None)\n"
            "    def mount(*_):\n"
            "        raise OSError(5)\n"
            "sys.modules['vfs'] = Broken\n",
            "no format": "import sys\n"
            "class Broken:\n"
            "    class VfsLfs2:\n"
            "        def mkfs(part):\n"
            "            raise OSError(5)\n"
            "    def mount(*_):\n"
            "        raise OSError(19)\n"
            "sys.modules['vfs'] = Broken\n",
        }[fault]
    )
    async with board(tmp_path, "import board\nboard.trace({'started': True})", boot=prepare + BOOT) as lock:
        assert lock.ended == "", lock.last_words()
        assert [event["started"] for event in lock.events] == [True]
        assert any("IndexError" in line or "OSError" in line for line in lock.output)


async def test_the_strike_is_low_before_anything_can_fail(tmp_path):
    """It is the first thing done: here the drivers of all the rest are broken, and something had driven it."""
    broken = "import sys\nfrom machine import Pin\nPin(26, Pin.OUT, value=1)\n"
    broken += "for name in ('esp32', 'vfs', 'micropython', 'gc'):\n    sys.modules[name] = None\n"
    async with board(tmp_path, "", boot=broken + BOOT) as lock:
        assert "AttributeError" in lock.ended or "ImportError" in lock.ended
        assert [level for _, name, level in lock.pin_trace if name == "STRIKE"] == [1, 0]


def test_ctrl_c_is_a_byte_before_the_file_system_is_touched():
    order = [BOOT.index(text) for text in ("value=0)", "kbd_intr(-1)", "Partition.find(", "vfs.mount(")]
    assert order == sorted(order)
