"""NVS blobs and whole-file replacement, over power cuts."""

import os

import fake_chip

fake_chip.install()

import vfs  # noqa: E402
from fake_chip import NVS  # noqa: E402

from support import blobs, given, ints, raises  # noqa: E402
from vitrine.drivers.files import Files  # noqa: E402
from vitrine.drivers.nvs import BLOB_MAX, Blob, Integer  # noqa: E402


def test_a_blob_is_durable_when_save_returns():
    blob = Blob("vitrine", "uses")
    blob.remove()
    assert blob.load() is None
    for data in (b"", b"\x00", b"abc", bytes(BLOB_MAX)):
        blob.save(data)
        NVS.cut()
        assert Blob("vitrine", "uses").load() == data
    assert Blob("vitrine", "other").load() is None
    assert Blob("else", "uses").load() is None
    blob.remove()
    NVS.cut()
    assert blob.load() is None
    blob.remove()


def test_a_blob_too_long():
    blob = Blob("vitrine", "uses")
    blob.save(b"before")
    with raises(ValueError):
        blob.save(bytes(BLOB_MAX + 1))
    assert blob.load() == b"before"


def test_other_errors_go_on():
    blob = Blob("vitrine", "uses")
    kept = NVS.get_blob, NVS.erase_key

    def broken(self, *_):
        raise OSError(-0x1101)

    NVS.get_blob = NVS.erase_key = broken
    try:
        with raises(OSError):
            blob.load()
        with raises(OSError):
            blob.remove()
    finally:
        NVS.get_blob, NVS.erase_key = kept


@given(blobs(0, 300))
def test_any_bytes(data):
    blob = Blob("vitrine", "any")
    blob.save(data)
    assert blob.load() == data


@given(ints(0, 2**32 - 1))
def test_a_number_is_durable_when_save_returns(value):
    integer = Integer("vitrine", "number")
    integer.save(value)
    NVS.cut()
    assert Integer("vitrine", "number").load() == value
    integer.save(value + 2**32)
    assert integer.load() == value


def test_a_number_that_is_not_there():
    assert Integer("vitrine", "none").load() is None
    kept = NVS.get_i32

    def broken(self, *_):
        raise OSError(-0x1101)

    NVS.get_i32 = broken
    try:
        with raises(OSError):
            Integer("vitrine", "none").load()
    finally:
        NVS.get_i32 = kept


class Flash:
    """A littlefs volume in RAM that stops taking writes after `left` of them."""

    def __init__(self):
        self.data = bytearray(b"\xff" * 4096 * 32)
        self.left = None

    def _spend(self):
        if self.left is not None:
            if self.left == 0:
                raise OSError(5)
            self.left -= 1

    def readblocks(self, block, buffer, offset=0):
        start = block * 4096 + offset
        buffer[:] = self.data[start : start + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        self._spend()
        start = block * 4096 + offset
        self.data[start : start + len(buffer)] = buffer

    def ioctl(self, op, arg):
        if op == 4:
            return 32
        if op == 5:
            return 4096
        if op == 6:
            self._spend()
            self.data[arg * 4096 : arg * 4096 + 4096] = b"\xff" * 4096
        return 0


def mounted(flash):
    vfs.mount(vfs.VfsLfs2(flash), "/flash")
    return Files("/flash/")


def test_files():
    flash = Flash()
    vfs.VfsLfs2.mkfs(flash)
    files = mounted(flash)
    try:
        assert files.load("a") is None
        files.save("a", b"1")
        files.save("a", b"22")
        assert Files("/flash/").load("a") == b"22"
        assert os.listdir("/flash") == ["a"]
        files.remove("a")
        files.remove("a")
        assert files.load("a") is None
        with raises(OSError):
            files.save("no/such/folder", b"")
    finally:
        vfs.umount("/flash")


def test_a_cut_at_any_write_leaves_the_old_or_the_new_file():
    old, new = b"o" * 700, b"n" * 900
    flash = Flash()
    vfs.VfsLfs2.mkfs(flash)
    mounted(flash).save("a", old)
    vfs.umount("/flash")
    image = bytes(flash.data)
    seen = set()
    for left in range(100):
        flash = Flash()
        flash.data[:] = image
        files = mounted(flash)
        flash.left = left
        is_whole = True
        try:
            files.save("a", new)
        except OSError:
            is_whole = False
        # the image goes to another object: what the dying one still closes must not count
        after = Flash()
        after.data[:] = flash.data
        vfs.umount("/flash")
        found = mounted(after).load("a")
        vfs.umount("/flash")
        assert found == new if is_whole else found in (old, new), (left, found)
        seen.add(found)
        if is_whole:
            break
    assert is_whole and seen == {old, new} and left > 3
