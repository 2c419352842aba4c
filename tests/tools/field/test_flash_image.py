"""Images of bootloaders and applications: read as esptool reads them, and refused where a chip would not start them."""

import contextlib
import io
import struct
import subprocess
import sys

import pytest
from esptool.bin_image import LoadFirmwareImage
from hypothesis import given, settings
from hypothesis import strategies as st

from support import esp_image
from vitrine_tools.field import flash_image
from vitrine_tools.field.chips import CHIPS
from vitrine_tools.field.flash_image import ImageError

BOOTLOADER, APPLICATION = esp_image.bootloader(), esp_image.application(size=1000)


def esptool(*words: object) -> str:
    command = [sys.executable, "-m", "esptool", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("chip", CHIPS)
def test_it_reads_what_esptool_reads(tmp_path, chip):
    data = esp_image.application(chip, version="v1.29.0-7", secure_version=5, mib=8)
    image = flash_image.parse(data)
    path = tmp_path / "app.bin"
    path.write_bytes(data)
    said = esptool("--chip", chip, "image-info", path)
    assert f"Image size: {len(image.data)} bytes" in said and "(invalid)" not in said
    assert "Flash size: 8MB" in said and image.flash_size == 8 << 20
    assert f"App version: {image.version}\n" in said and f"Project name: {image.project}\n" in said
    assert f"Secure version: {image.secure_version}\n" in said
    assert (image.chip.name, image.version, image.secure_version) == (chip, "v1.29.0-7", 5)
    assert image.is_application and not image.is_signed
    boot = flash_image.parse(esp_image.bootloader(chip))
    assert not boot.is_application and boot.chip.name == chip and boot.secure_version == 0


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("mib", [4, 8, 16])
def test_another_flash_size_is_written_as_esptool_writes_it(tmp_path, chip, mib):
    data = esp_image.bootloader(chip, mib=2)
    path, out = tmp_path / "boot.bin", tmp_path / "out.bin"
    path.write_bytes(data)
    offset = CHIPS[chip].bootloader_offset
    esptool("--chip", chip, "merge-bin", "--output", out, "--flash-size", f"{mib}MB", hex(offset), path)
    ours = flash_image.parse(data).for_flash(mib << 20)
    assert ours.data == out.read_bytes()[offset:]
    assert flash_image.parse(ours.data) == ours
    assert flash_image.parse(data).for_flash(2 << 20).data == data


@pytest.mark.parametrize("chip", CHIPS)
def test_what_esptool_merges_comes_apart_again(tmp_path, chip):
    """From the start of the flash, as merge-bin does, and from the bootloader on, as MicroPython's downloads."""
    boot, app = esp_image.bootloader(chip), esp_image.application(chip, size=70_000)
    offset = CHIPS[chip].bootloader_offset
    words = []
    for at, name, data in ((offset, "boot", boot), (0x8000, "table", esp_image.stock_table()), (0x10000, "app", app)):
        (tmp_path / name).write_bytes(data)
        words += [hex(at), tmp_path / name]
    esptool("--chip", chip, "merge-bin", "--output", tmp_path / "all", *words)
    whole = (tmp_path / "all").read_bytes()
    for data in (whole, whole[offset:]):
        first, second = flash_image.split(data, CHIPS[chip])
        assert (first.data, second.data) == (boot, app)
    assert whole[offset:] == esp_image.merged(chip, boot, app)


def esptool_takes(data: bytes) -> bool:
    """Whether esptool's own reader finds image, checksum and digest right."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            image = LoadFirmwareImage("esp32", data)
        except Exception:
            return False
    return image.checksum == image.calculate_checksum() and image.stored_digest == image.calc_digest


@pytest.mark.parametrize("data", [BOOTLOADER, APPLICATION], ids=["bootloader", "application"])
def test_every_flipped_bit_and_every_cut_is_found(data):
    flash_image.parse(data)
    assert esptool_takes(data)
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 1 << at % 8
        with pytest.raises(ImageError):
            flash_image.parse(bytes(broken))
        assert not esptool_takes(bytes(broken))
    for length in range(0, len(data), 3):
        with pytest.raises(ImageError):
            flash_image.parse(data[:length])
        with pytest.raises(ImageError):
            flash_image.split(data[:length], CHIPS["esp32"])


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_garbage_is_no_image(data):
    for candidate in (data, b"\xe9" + data, b"\xe9\x01" + data[:22] + data):
        with pytest.raises(ImageError):
            flash_image.parse(candidate)
    with pytest.raises(ImageError):
        flash_image.split(b"\xe9\x01" + data, CHIPS["esp32c3"])


def test_a_length_that_points_past_all_ends():
    for length in (0x7FFF_FFFF, 0xFFFF_FFFF):
        with pytest.raises(ImageError, match="cut short"):
            flash_image.parse(BOOTLOADER[:28] + struct.pack("<I", length) + BOOTLOADER[32:])


def test_what_lies_behind_an_image():
    assert flash_image.parse(APPLICATION + b"\xff" * 500).data == APPLICATION
    for more in (b"\0", b"\xff" * 10_000 + b"x", APPLICATION):
        with pytest.raises(ImageError, match="more behind the image"):
            flash_image.parse(APPLICATION + more)
    assert flash_image.parse_first(APPLICATION + b"x").data == APPLICATION


def test_a_signed_image_keeps_its_signature():
    data = esp_image.signed(BOOTLOADER)
    image = flash_image.parse(data)
    assert image.is_signed and image.data == data and len(data) % 4096 == 0
    assert image.for_flash(4 << 20) is image
    with pytest.raises(ImageError, match="signed for 4 MiB of flash: build it for 8 MiB"):
        image.for_flash(8 << 20)
    for broken in (data[:-1], data[:-3000], data[:4200] + b"!" + data[4201:]):
        with pytest.raises(ImageError, match="signature is not whole"):
            flash_image.parse(broken)
    other = esp_image.signed(esp_image.bootloader(mib=8))
    with pytest.raises(ImageError, match="signature of another"):
        flash_image.parse(data[:-4096] + other[-4096:])


def test_the_table_of_a_merged_image_is_where_its_bootloader_looks():
    """A build for secure boot that is not signed yet has it farther back; whether one is signed tells it otherwise."""
    boot = esp_image.bootloader(size=40_000)
    data = esp_image.merged(boot=boot, table_offset=0xE000)
    first, second = flash_image.split(data, CHIPS["esp32"])
    assert (first.data, first.table_offset, second.data) == (boot, 0xE000, esp_image.application())
    assert flash_image.split(esp_image.merged(), CHIPS["esp32"])[0].table_offset == 0x8000
    assert flash_image.parse(esp_image.signed(boot)).table_offset == 0xE000


def test_an_image_without_a_digest():
    with pytest.raises(ImageError, match="no SHA-256"):
        flash_image.parse(esp_image.application(with_digest=False))


def test_an_image_for_another_family():
    with pytest.raises(ImageError, match=r"no lock board has .number 13"):
        flash_image.parse(APPLICATION[:12] + b"\x0d" + APPLICATION[13:])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: esp_image.application(), "there is no partition table in it"),
        (lambda data: data[:0x7000], "there is no partition table in it"),
        (lambda data: data[:0xF000], "its application is not in it"),
        (lambda data: data[:-1], "cut short or damaged"),
        (lambda data: data[:0x7004] + b"\1" + data[0x7005:], "MD5 is wrong"),
        (lambda data: esp_image.merged(table=b""), "there is no partition table in it"),
        (lambda data: esp_image.merged(table=esp_image.stock_table()[:96]), "partition table has no end"),
        (lambda data: esp_image.merged(table=esp_image.stock_table()[:64]), "partition table has no end"),
        (lambda data: esp_image.merged(table=esp_image.stock_table(app_size=4096)), "cut short"),
        (lambda data: b"\xff" * 0x1000 + b"\xff" + data[1:], "does not begin with 0xe9"),
        (lambda data: b"", "does not begin with 0xe9"),
    ],
)
def test_a_merged_image_that_is_none(change, problem):
    with pytest.raises(ImageError, match=problem):
        flash_image.split(change(esp_image.merged()), CHIPS["esp32"])


@pytest.mark.parametrize("scheme", ["ecdsa256", "rsa3072"])
def test_what_espressifs_own_tool_signed(tmp_path, scheme):
    (tmp_path / "app").write_bytes(APPLICATION)
    espsecure = [sys.executable, "-m", "espsecure"]
    make = ["generate-signing-key", "--version", "2", "--scheme", scheme, "key"]
    sign = ["sign-data", "--version", "2", "--keyfile", "key", "--output", "signed", "app"]
    for words in (make, sign):
        subprocess.run([*espsecure, *words], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    data = (tmp_path / "signed").read_bytes()
    image = flash_image.parse(data)
    assert image.is_signed and image.data == data and image.is_application
    assert len(data) == len(esp_image.signed(APPLICATION))
