"""The import check finds each kind of violation, where it is, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[2] / "tools" / "checks" / "layers.py"


def check(folder: Path):
    run = subprocess.run([sys.executable, CHECK, folder], capture_output=True, text=True)
    return run.returncode, run.stdout.splitlines()


@pytest.fixture
def firmware(tmp_path):
    """A small firmware without violations."""
    files = {
        "boot.py": "from machine import Pin\nimport board\n\nPin(board.STRIKE, Pin.OUT, value=0)\n",
        "main.py": "import asyncio\nimport machine\nfrom vitrine.app.lock import Lock\n\nasyncio.run(Lock().run())\n",
        "vitrine/__init__.py": "",
        "vitrine/crypto/hash.py": "import hashlib\nfrom micropython import const\n\nSIZE = const(32)\n",
        "vitrine/codec/cbor.py": "import vitrine.crypto.hash\nfrom ..crypto import hash\n",
        "vitrine/access/policy.py": "from vitrine.codec import cbor\nfrom .reasons import NAMES\n",
        "vitrine/door/ticks.py": "OPEN = 0\n",
        "vitrine/door/fsm.py": "from . import ticks\nfrom .ticks import OPEN\n",
        "vitrine/app/lock.py": "import asyncio\nfrom vitrine.door import fsm\nfrom vitrine.access import policy\n",
        "vitrine/drivers/strike.py": (
            "from machine import Pin\nfrom vitrine.door.ticks import OPEN\nfrom vitrine.door import ticks\n\n\n"
            "def make(number, mode=Pin.OUT):\n    return Pin(number, mode)\n"
        ),
        "vitrine/drivers/clock.py": "if _TYPE_CHECKING:\n    from machine import RTC\n",
        "vitrine/links/ble.py": "import aioble\nfrom vitrine.app import lock\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_firmware_itself():
    status, lines = check(CHECK.parents[2] / "firmware")
    assert status == 0, lines
    assert lines[0].endswith("no violation") and not lines[0].startswith("layers: 0")


def test_a_clean_firmware(firmware):
    assert check(firmware) == (0, ["layers: 12 files, no violation"])


@pytest.mark.parametrize(
    ("file", "text", "line", "what"),
    [
        ("crypto/x.py", "from vitrine.codec import cbor\n", 1, "crypto may not import vitrine.codec.cbor"),
        ("codec/x.py", "\nimport vitrine.access.token\n", 2, "codec may not import vitrine.access.token"),
        ("access/x.py", "from vitrine import door\n", 1, "access may not import vitrine.door"),
        ("access/x.py", "from ..door import fsm\n", 1, "access may not import vitrine.door.fsm"),
        ("access/deep/x.py", "from ...door import fsm\n", 1, "access may not import vitrine.door.fsm"),
        ("door/x.py", "from vitrine.access import decision\n", 1, "door may not import vitrine.access.decision"),
        ("door/x.py", "def f():\n    from vitrine.codec import cbor\n", 2, "door may not import vitrine.codec.cbor"),
        ("door/x.py", "if TYPE_CHECKING:\n    from vitrine.app import x\n", 2, "door may not import vitrine.app.x"),
        ("audit/x.py", "from vitrine.access import token\n", 1, "audit may not import vitrine.access.token"),
        (
            "app/x.py",
            "from vitrine.drivers.strike import Strike\n",
            1,
            "app may not import vitrine.drivers.strike.Strike",
        ),
        ("app/x.py", "from vitrine.links import ble\n", 1, "app may not import vitrine.links.ble"),
        ("drivers/x.py", "from vitrine.door import fsm\n", 1, "drivers may not import vitrine.door.fsm"),
        ("drivers/x.py", "import vitrine.door.ticks_of\n", 1, "drivers may not import vitrine.door.ticks_of"),
        ("drivers/x.py", "from vitrine.access import token\n", 1, "drivers may not import vitrine.access.token"),
        ("links/x.py", "from vitrine.drivers import rng\n", 1, "links may not import vitrine.drivers.rng"),
        ("app/x.py", "import machine\n", 1, "app may not import machine"),
        ("app/x.py", "from machine import Pin\n", 1, "app may not import machine"),
        ("door/x.py", "import asyncio\n", 1, "door may not import asyncio"),
        ("crypto/x.py", "import esp32\n", 1, "crypto may not import esp32"),
        ("app/x.py", "import bluetooth as b\n", 1, "app may not import bluetooth"),
        ("links/x.py", "import network, machine\n", 1, "links may not import machine"),
        ("drivers/x.py", "import umqtt.simple\n", 1, "drivers may not import umqtt"),
        ("app/x.py", "import board\n", 1, "app may not import board"),
        ("app/x.py", "m = __import__('machine')\n", 1, "an import that this check cannot read"),
        ("drivers/x.py", "import machine\n\nPIN = machine.Pin(2)\n", 3, "machine.Pin() runs at import"),
        ("drivers/x.py", "from machine import Pin as P\nPINS = [P(n) for n in (1, 2)]\n", 2, "P() runs at import"),
        ("drivers/x.py", "import machine\nclass S:\n    rtc = machine.RTC()\n", 3, "machine.RTC() runs at import"),
        ("drivers/x.py", "import machine\ndef f(r=machine.RTC()):\n    pass\n", 2, "machine.RTC() runs at import"),
        ("drivers/x.py", "import machine\nif 1:\n    machine.Pin(2).value(1)\n", 3, "machine.Pin() runs at import"),
        ("links/x.py", "import bluetooth\nBLE = bluetooth.BLE()\n", 2, "bluetooth.BLE() runs at import"),
        ("app/x.py", "import sys\nif sys.platform == 'esp32':\n    pass\n", 2, "sys.platform: the same code"),
        ("app/x.py", "from sys import platform\n", 1, "sys.platform: the same code"),
        ("drivers/x.py", "import os\ndef f():\n    return os.uname()\n", 3, "os.uname: the same code"),
        ("../main.py", "import sys\nprint(sys.platform)\n", 2, "sys.platform: the same code"),
        ("extras/x.py", "", 1, "extras is no package of firmware/README.md"),
    ],
)
def test_each_violation_is_one_line(firmware, file, text, line, what):
    path = firmware / "vitrine" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    status, lines = check(firmware)
    assert status == 1
    assert len(lines) == 1, lines
    place, _, found = lines[0].partition(": ")
    assert Path(place.rpartition(":")[0]).resolve() == path.resolve() and place.endswith(f":{line}")
    assert what in lines[0], (found, what)


def test_several_are_all_told(firmware):
    (firmware / "vitrine/door/x.py").write_text("import machine\nimport network\nfrom vitrine.audit import journal\n")
    status, lines = check(firmware)
    assert status == 1 and len(lines) == 3


def test_an_empty_folder_is_no_success(tmp_path):
    assert check(tmp_path) == (2, [])
