"""`vitrine flash` with the real esptool and a chip in its bootloader: what arrives, what is refused, what breaks."""

import contextlib
import hashlib
import io
import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support import esp_image
from support.esp_rom import EspRom
from vitrine_tools import cli
from vitrine_tools.field import boards

BOARDS = {"esp32": "VITRINE_ESP32", "esp32s3": "VITRINE_ESP32S3", "esp32c3": "VITRINE_ESP32C3"}
MIB = 1 << 20
OLD = 0xA5  # what the flash of the fake chip is full of


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Run `vitrine flash` in a folder of its own; return (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    # esptool's own file of settings: it need not wait for our cable to come back as long as for a person's
    (tmp_path / "esptool.cfg").write_text("[esptool]\nconnect_attempts = 2\n")

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vitrine", "flash", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def file(tmp_path):
    """Put bytes into a file, return its path."""

    def put(data: bytes, name: str = "image.bin") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return put


def table_of(chip: str, mib: int):
    return boards.load(BOARDS[chip]).tables[mib * MIB]


def expected(chip: str, mib: int, boot: bytes, app: bytes, blank: tuple[str, ...]) -> bytes:
    """The whole flash: what was there before, and what must be there now, put together without the tool's plan."""
    flash = bytearray([OLD]) * (mib * MIB)
    table = table_of(chip, mib)

    def put(offset: int, data: bytes) -> None:
        end = -(-(offset + len(data)) // 4096) * 4096
        flash[offset:end] = data.ljust(end - offset, b"\xff")

    put(0x1000 if chip == "esp32" else 0, boot)
    put(0x8000, table.to_binary())
    put(table["ota_0"].offset, app)
    put(table["ota_1"].offset, b"\xff")
    for label in blank:
        put(table[label].offset, b"\xff" * table[label].size)
    return bytes(flash)


DEFAULT = ("otadata", "journal", "access")


@pytest.mark.parametrize(("chip", "mib"), [("esp32", 4), ("esp32s3", 8), ("esp32c3", 4)])
def test_a_stock_image_arrives_byte_for_byte(run, file, chip, mib):
    """Its bootloader, told of the flash's size; our table; its application in ota_0; and nothing else is touched."""
    boot, app = esp_image.bootloader(chip, mib=mib), esp_image.application(chip)
    merged = esp_image.merged(chip, esp_image.bootloader(chip), app)
    with EspRom(chip, mib) as rom:
        status, out, err = run(
            "--board", BOARDS[chip], "--image", file(merged), "--port", rom.port, "--no-stub", "--yes"
        )
    assert (status, err) == (0, "")
    assert f"{BOARDS[chip]} on {rom.port}: written and verified" in out
    assert rom.flash == expected(chip, mib, boot, app, DEFAULT)


def test_parts_of_a_build_arrive_byte_for_byte(run, file):
    boot, app = esp_image.bootloader(mib=4), esp_image.application(version="1", secure_version=7)
    words = ["--board", "VITRINE_ESP32", "--bootloader", file(boot, "b"), "--app", file(app, "a"), "--no-stub", "--yes"]
    with EspRom() as rom:
        status, out, _ = run(*words, "--port", rom.port, "--erase-nvs", "--flash-size", 4, "--no-reset")
        assert status == 0 and "micropython 1 secure version 7" in out
        assert rom.flash == expected("esp32", 4, boot, app, (*DEFAULT, "nvs", "nvs_keys"))
    with EspRom() as rom:
        assert run(*words, "--port", rom.port, "--keep-journal", "--baud", 115_200)[0] == 0
        assert rom.flash == expected("esp32", 4, boot, app, ("otadata",))


def test_writing_again_gives_the_same(run, file):
    words = ["--board", "VITRINE_ESP32", "--image", file(esp_image.merged()), "--no-stub", "--yes"]
    with EspRom() as rom:
        assert run(*words, "--port", rom.port)[0] == 0
        before = bytes(rom.flash)
        assert run(*words, "--port", rom.port)[0] == 0
        assert rom.flash == before


def test_a_signed_build_finds_its_table_where_it_looks_for_it(run, file):
    """The secure build's bootloader is large and looks for the table behind it."""
    boot = esp_image.signed(esp_image.bootloader(size=30_000))
    app = esp_image.signed(esp_image.application())
    with EspRom(is_signing=True) as rom:
        words = ["--bootloader", file(boot, "b"), "--app", file(app, "a"), "--port", rom.port, "--no-stub", "--yes"]
        status, out, err = run("--board", "VITRINE_ESP32", *words)
        assert (status, err) == (0, "") and "signed" in out
        assert rom.flash[0x1000 : 0x1000 + len(boot)] == boot
        assert rom.flash[0xE000:0xF000] == table_of("esp32", 4).to_binary()
        assert rom.flash[0x10000 : 0x10000 + len(app)] == app


def test_a_dry_run_shows_the_very_commands(run, file, tmp_path):
    """What it prints, run by hand, writes what it would have written; esptool merges its parts to the same flash."""
    words = ["--board", "VITRINE_ESP32", "--image", file(esp_image.merged()), "--no-stub"]
    with EspRom() as rom:
        status, out, err = run(*words, "--port", rom.port, "--dry-run")
        assert (status, err, rom.begun) == (0, "", [])
        *table, command = out.splitlines()
        program = shlex.split(command)
        assert program[0] == "esptool" and rom.flash.count(OLD) == len(rom.flash)
        subprocess.run([sys.executable, "-m", *program], cwd=tmp_path, check=True, capture_output=True, timeout=60)
        by_hand = bytes(rom.flash)
    with EspRom() as rom:
        assert run(*words, "--port", rom.port, "--yes")[0] == 0
        assert rom.flash == by_hand
    for line in table[1:]:
        name, offset, size, digest = line.split()[:4]
        data = (tmp_path / "build" / "flash" / f"{name}.bin").read_bytes()
        assert by_hand[int(offset, 16) :].startswith(data) and int(size.replace(",", "")) == len(data)
        assert hashlib.sha256(data).hexdigest().startswith(digest)
    files = program[program.index("--flash-size") + 2 :]
    merge = ["-m", "esptool", "--chip", "esp32", "merge-bin", "-o", "all.bin", "--pad-to-size", "4MB", *files]
    subprocess.run([sys.executable, *merge], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    merged = (tmp_path / "all.bin").read_bytes()
    written = [
        (int(at, 16), (tmp_path / path).stat().st_size) for at, path in zip(files[::2], files[1::2], strict=True)
    ]
    assert all(merged[at : at + size] == by_hand[at : at + size] for at, size in written)


def test_a_dry_run_without_a_board_on_the_cable(run, file):
    image = file(esp_image.merged("esp32s3"))
    words = ["--board", "VITRINE_ESP32S3", "--image", image, "--dry-run"]
    status, out, err = run(*words, "--flash-size", 16, "--json")
    assert (status, err) == (0, "")
    plan = json.loads(out)
    assert [part["part"] for part in plan["parts"]][:3] == ["bootloader", "partition-table", "ota_0"]
    assert plan["command"][plan["command"].index("--port") + 1] == "PORT"
    assert all(len(part["sha256"]) == 64 for part in plan["parts"])
    assert run(*words)[::2] == (
        2,
        "vitrine: give --port, so that the size of the flash can be asked for, or --flash-size\n",
    )


def refused(result: tuple[int, str, str], *words: str) -> str:
    """One line on standard error, a user's mistake; return it."""
    status, _, err = result
    assert status == 2 and err.startswith("vitrine: ") and err.count("\n") == 1, (status, err)
    assert all(word in err for word in words), err
    return err


def test_it_asks_before_it_writes(run, file):
    with EspRom() as rom:
        words = ["--board", "VITRINE_ESP32", "--image", file(esp_image.merged()), "--port", rom.port, "--no-stub"]
        refused(run(*words), "say --yes")
        assert rom.begun == []


@pytest.mark.parametrize(("answer", "status"), [(b"n\n", 130), (b"y\n", 0)])
def test_a_person_is_asked_and_shown_how_far_it_is(file, tmp_path, answer, status):
    with EspRom() as rom:
        words = ["--board", "VITRINE_ESP32", "--image", file(esp_image.merged()), "--port", rom.port, "--no-stub"]
        command = [sys.executable, "-c", "from vitrine_tools.cli import main; main()", "flash", *map(str, words)]
        master, slave = pty.openpty()
        process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path)
        os.close(slave)
        heard = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while data := os.read(master, 4096):
                question, heard = b"erase journal, access of it?", heard + data
                if question in heard and question not in heard[: -len(data)]:
                    os.write(master, answer)
        os.close(master)
        assert process.wait(30) == status
        assert bool(rom.begun) == (status == 0) == (b"ota_0            100.0 %\r\n" in heard), heard[-500:]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--board", "VITRINE_ESP99", "--image", "whole"], "no board VITRINE_ESP99"),
        (["--board", "../unix", "--image", "whole"], "no board ../unix"),
        (["--board", "VITRINE_ESP32"], "give one merged image"),
        (["--board", "VITRINE_ESP32", "--image", "whole", "--app", "app"], "give one merged image"),
        (["--board", "VITRINE_ESP32", "--bootloader", "boot"], "give one merged image"),
        (["--board", "VITRINE_ESP32", "--image", "missing"], "cannot read the image missing"),
        (["--board", "VITRINE_ESP32", "--image", "."], "cannot read the image ."),
        (["--board", "VITRINE_ESP32", "--image", "garbage"], "garbage: not an image"),
        (["--board", "VITRINE_ESP32", "--image", "empty"], "empty: not an image"),
        (["--board", "VITRINE_ESP32", "--image", "short"], "short: the image is cut short"),
        (["--board", "VITRINE_ESP32", "--image", "app"], "app: not a merged image"),
        (["--board", "VITRINE_ESP32", "--image", "huge"], "huge is too large"),
        (["--board", "VITRINE_ESP32S3", "--image", "whole"], "for an ESP32, and the board has an ESP32-S3"),
        (["--board", "VITRINE_ESP32C3", "--bootloader", "boot", "--app", "app"], "ESP32, and VITRINE_ESP32C3 has an"),
        (["--board", "VITRINE_ESP32", "--bootloader", "app", "--app", "app"], "the bootloader is an application"),
        (["--board", "VITRINE_ESP32", "--bootloader", "boot", "--app", "boot"], "application is none, but a bootl"),
        (["--board", "VITRINE_ESP32", "--bootloader", "boot", "--app", "whole"], "whole: there is more behind"),
        (
            ["--board", "VITRINE_ESP32", "--bootloader", "boot", "--app", "large"],
            "its place in the flash 1,572,864: take",
        ),
        (["--board", "VITRINE_ESP32", "--bootloader", "wide", "--app", "app"], "its place in the flash 28,672\n"),
        (["--board", "VITRINE_ESP32", "--bootloader", "signed", "--app", "app"], "signed for 8 MiB of flash"),
        (["--board", "VITRINE_ESP32", "--image", "whole", "--flash-size", "32"], "no partition table for 32 MiB"),
        (["--board", "VITRINE_ESP32", "--image", "whole", "--erase-nvs", "--keep-journal"], "leave out"),
        (["--board", "VITRINE_ESP32", "--image", "whole", "--folder", "app/x"], "cannot write to app/x"),
        (["--image", "whole"], "Missing option '--board'"),
    ],
)
def test_what_cannot_be_written(run, file, words, problem):
    file(esp_image.merged(), "whole")
    file(esp_image.merged()[:-100], "short")
    file(bytes(range(256)) * 300, "garbage")
    file(b"", "empty")
    file(esp_image.application(), "app")
    file(esp_image.bootloader(), "boot")
    file(esp_image.bootloader(size=29_000), "wide")
    file(esp_image.signed(esp_image.bootloader(mib=8)), "signed")
    if "large" in words:
        file(esp_image.application(size=0x180000), "large")
    if "huge" in words:
        with file(b"", "huge").open("r+b") as huge:
            huge.truncate(17 * MIB)
    size = [] if "--flash-size" in words else ["--flash-size", "4"]
    refused(run(*words, *size, "--dry-run"), problem)


def on_a_chip(run, file, chip: str, board: str, *words: object, mib: int = 4, **faults) -> tuple[tuple, EspRom]:
    image = file(esp_image.merged(next(each for each, name in BOARDS.items() if name == board)))
    with EspRom(chip, mib, **faults) as rom:
        return run("--board", board, "--image", image, "--port", rom.port, "--no-stub", "--yes", *words), rom


@pytest.mark.parametrize(
    ("chip", "board", "title"),
    [
        ("esp32s3", "VITRINE_ESP32", "is an ESP32-S3"),
        ("esp32", "VITRINE_ESP32C3", "is an ESP32,"),
        ("esp32c3", "VITRINE_ESP32S3", "is an ESP32-C3"),
    ],
)
def test_another_chip_than_the_boards(run, file, chip, board, title):
    result, rom = on_a_chip(run, file, chip, board)
    refused(result, title, "choose another --board")
    assert rom.begun == []


def test_another_flash_than_said(run, file):
    result, rom = on_a_chip(run, file, "esp32", "VITRINE_ESP32", "--flash-size", 8)
    refused(result, "has 4 MiB of flash, not 8")
    assert rom.begun == []


def test_a_flash_that_no_table_is_for(run, file):
    result, rom = on_a_chip(run, file, "esp32", "VITRINE_ESP32", mib=2)
    refused(result, "no partition table for 2 MiB of flash: there are 4, 8, 16")
    assert rom.begun == []


@pytest.mark.parametrize("chip", BOARDS)
def test_a_chip_that_encrypts_its_flash_is_left_alone(run, file, chip):
    result, rom = on_a_chip(run, file, chip, BOARDS[chip], is_encrypting=True)
    refused(result, "encrypts its flash: update it over the air")
    assert rom.begun == []


@pytest.mark.parametrize("chip", BOARDS)
def test_a_chip_that_starts_signed_images_only_gets_no_other(run, file, chip):
    result, rom = on_a_chip(run, file, chip, BOARDS[chip], is_signing=True)
    refused(result, "starts signed images only")
    assert rom.begun == []


def test_a_port_that_is_none(run, file):
    image = file(esp_image.merged())
    for port in ("/dev/nosuch", "/dev/null", image):
        refused(run("--board", "VITRINE_ESP32", "--image", image, "--yes", "--port", port), str(port))
    refused(run("--board", "VITRINE_ESP32", "--image", image, "--yes"), "give --port")


def test_nobody_on_the_line(run, file):
    result, rom = on_a_chip(run, file, "esp32", "VITRINE_ESP32", is_deaf=True)
    refused(result, "no chip answers on", "hold BOOT")


def test_a_flash_that_is_worn(run, file):
    result, _ = on_a_chip(run, file, "esp32", "VITRINE_ESP32", worn=0x10010)
    refused(result, "the flash does not hold what was written", "at ota_0", "run this again")


# in the greeting; asking for the flash, and the eFuses; within the bootloader, and the image
@pytest.mark.parametrize("cut_after", [0, 30, 100, 1500, 2700, 5000, 20_000])
def test_a_cable_that_is_pulled(run, file, cut_after):
    result, rom = on_a_chip(run, file, "esp32", "VITRINE_ESP32", cut_after=cut_after)
    line = refused(result, rom.port)
    assert "Traceback" not in line and "unexpected" not in line
    assert "half written, run this again" in line or not rom.begun


def test_after_a_pulled_cable_the_same_command_makes_it_whole(run, file):
    result, rom = on_a_chip(run, file, "esp32", "VITRINE_ESP32", cut_after=60_000)
    refused(result, "half written, run this again")
    whole = expected("esp32", 4, esp_image.bootloader(), esp_image.application(), DEFAULT)
    assert rom.flash != whole
    result, rom = on_a_chip(run, file, "esp32", "VITRINE_ESP32", flash=rom.flash)
    assert result[0] == 0 and rom.flash == whole
