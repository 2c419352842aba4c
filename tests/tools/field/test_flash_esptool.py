"""esptool as a process: how it is called, and that it may hang, die or lie: the user sees a line, and no more."""

import os
import signal
import subprocess
import sys
import time

import pytest

from support import esp_image
from support.esp_rom import EspRom
from vitrine_tools.field import esptool
from vitrine_tools.field.chips import CHIPS
from vitrine_tools.field.esptool import Esptool
from vitrine_tools.field.flash_plan import FlashError, Part

PARTS = [Part("a", 0, b"1", ""), Part("b", 0x1000, b"2", "")]


def test_the_stub_and_the_reset_lines_are_used_unless_told_otherwise(tmp_path):
    plain = Esptool(CHIPS["esp32s3"], "/dev/ttyACM0").write_command(PARTS, tmp_path)
    assert plain[plain.index("esptool") :] == [
        *("esptool", "--chip", "esp32s3", "--port", "/dev/ttyACM0", "--baud", "460800", "write-flash", "--compress"),
        *("--flash-mode", "keep", "--flash-freq", "keep", "--flash-size", "keep"),
        *("0x0", str(tmp_path / "a.bin"), "0x1000", str(tmp_path / "b.bin")),
    ]
    manual = Esptool(CHIPS["esp32"], "COM4", 115_200, is_stubless=True, is_manual=True).command("flash-id")
    assert manual[manual.index("--baud") :] == [
        *("--baud", "115200", "--before", "no-reset", "--after", "no-reset", "--no-stub", "flash-id"),
    ]


def test_an_esptool_in_the_current_folder_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "esptool.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    with EspRom() as rom:
        assert Esptool(CHIPS["esp32"], rom.port).fitting().flash_size == 4 << 20


@pytest.fixture
def pretend(monkeypatch):
    """Another program in esptool's place; return a function that has it write PARTS."""

    def pretend(program: str, folder):
        monkeypatch.setattr(esptool, "_PROGRAM", (sys.executable, "-c", program))
        seen = []
        tool = Esptool(CHIPS["esp32"], "/dev/ttyUSB0")
        with pytest.raises(FlashError) as caught:
            tool.write(PARTS, folder, lambda part, percent: seen.append((part.name, percent)))
        assert "\n" not in str(caught.value)
        return str(caught.value), seen

    return pretend


def test_one_that_hangs_is_ended(pretend, monkeypatch, tmp_path):
    monkeypatch.setattr(esptool, "_SILENCE_S", 0.2)
    started = time.monotonic()
    message, _ = pretend("import time; time.sleep(600)", tmp_path)
    assert message == "nothing was heard from /dev/ttyUSB0 for 0.2 s"
    assert time.monotonic() - started < 30


def test_one_that_dies_with_a_traceback(pretend, tmp_path):
    message, _ = pretend("raise ZeroDivisionError('within esptool')", tmp_path)
    assert message == "esptool failed: ZeroDivisionError: within esptool"


def test_one_that_dies_without_a_word(pretend, tmp_path):
    assert pretend("raise SystemExit(3)", tmp_path)[0] == "esptool failed: it said nothing"


def test_one_that_ends_well_without_having_verified(pretend, tmp_path):
    """Told by its own words for each part, not by its exit status."""
    said = "Flash will be erased from 0\\nWriting at 0x0 ━━ 50.0% 1B/2B\\nHash of data verified.\\n"
    message, seen = pretend(f"print('{said}')", tmp_path)
    assert message == "esptool ended well without having verified b: run this again"
    assert seen == [("a", 50.0), ("a", 100.0)]


def test_an_interrupt_ends_both(tmp_path):
    """Of the tool alone, as from a script: the writing process does not go on behind one's back."""
    image = tmp_path / "image.bin"
    image.write_bytes(esp_image.merged(app=esp_image.application(size=0x100000)))
    words = [
        "flash",
        "--board",
        "VITRINE_ESP32",
        "--image",
        image,
        "--no-stub",
        "--yes",
        "--folder",
        tmp_path / "parts",
    ]
    with EspRom() as rom:
        process = subprocess.Popen(
            [sys.executable, "-c", "from vitrine_tools.cli import main; main()", *words, "--port", rom.port],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not any(at == 0x10000 for at, _ in rom.begun) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, "")
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
