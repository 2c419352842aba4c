"""What the chip says of its protection and of its image; nothing is made up where it says nothing."""

import fake_chip

fake_chip.install()

import esp32  # noqa: E402

from support import raises  # noqa: E402


class Partition:
    """The partition that runs; `data` is its first bytes, `error` what the flash answers instead."""

    RUNNING = 1
    data = b""
    is_encrypted = False
    error = None

    def __init__(self, which):
        assert which == self.RUNNING
        if Partition.error:
            raise Partition.error

    def info(self):
        return (0, 16, 0x10000, 0x200000, "ota_0", Partition.is_encrypted)

    def readblocks(self, block, buffer, offset):
        buffer[:] = Partition.data[block * 4096 + offset :][: len(buffer)]


esp32.Partition = Partition

from vitrine.drivers import posture  # noqa: E402

MAGIC = b"\x32\x54\xcd\xab"
DIGEST = bytes(range(32))


def running(data=b"", is_encrypted=False, error=None):
    Partition.data, Partition.is_encrypted, Partition.error = data + bytes(4096), is_encrypted, error


def image(magic=MAGIC):
    return bytes(32) + magic + bytes(140) + DIGEST


def test_secure_boot_is_what_the_fuse_says():
    assert posture.is_secure_boot(None) is None, "a board that names no fuse"
    posture.machine.mem32 = {0x60007038: 0x00100001}
    assert posture.is_secure_boot((0x60007038, 1 << 20)) is True
    assert posture.is_secure_boot((0x60007038, 1 << 5)) is False


def test_flash_encryption_is_that_of_the_image():
    for is_encrypted in (False, True):
        running(is_encrypted=is_encrypted)
        assert posture.is_flash_encrypted() is is_encrypted
    running(error=OSError(2))
    assert posture.is_flash_encrypted() is None


def test_the_image_is_named_by_its_elf_file():
    running(image())
    assert posture.image_digest() == DIGEST
    for data in (b"", b"\xff" * 4096, image(b"\x32\x54\xcd\xaa")):
        running(data)
        assert posture.image_digest() is None
    running(error=OSError(2))
    assert posture.image_digest() is None


def test_other_errors_go_on():
    running(error=ValueError())
    for ask in (posture.is_flash_encrypted, posture.image_digest):
        with raises(ValueError):
            ask()
