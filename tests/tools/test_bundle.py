"""The application bundle: what it holds, that it is the same each time, and that a hostile one is refused whole."""

import itertools
import json
import random
import struct
import subprocess
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.forged_bundles import ROW, closed, rows
from vitrine_tools import bundle
from vitrine_tools.bundle import BundleError
from vitrine_tools.emulator.places import interpreter

NATIVE = b"M\x06\x2b\x1f"  # xtensawin, sub-version 3
BYTECODE = b"M\x06\x00\x1f"
FILES = {
    "vitrine/door/fsm.mpy": NATIVE + b"the same words again, the same words again, the same words again",
    "main.mpy": BYTECODE + bytes(range(99)),
    "vitrine/__init__.mpy": BYTECODE,
}
PACKED = bundle.pack(FILES, 7, "0.7.0")


def changed(at: int, new: bytes, data: bytes = PACKED) -> bytes:
    return closed(data[:at] + new + data[at + len(new) :])


def test_it_comes_out_as_it_went_in():
    got = bundle.read(PACKED)
    assert dict(got.files) == FILES
    assert (got.sequence, got.version, got.architecture, got.mpy) == (7, "0.7.0", "xtensawin", 0x2B06)
    assert list(got.files) == sorted(FILES)


def test_the_bytes_are_those_of_the_table():
    """Written out by hand from SPEC.md, without the packer."""
    body = FILES["vitrine/door/fsm.mpy"]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -11, 9)
    small = deflater.compress(body) + deflater.flush()
    assert len(small) < len(body)
    main = FILES["main.mpy"]
    covered, body_of_it = b"", b""
    for name, stored, real in ((b"", main, main), (b"__init__", BYTECODE, BYTECODE), (b"door/fsm", small, body)):
        row = bytes([len(name)]) + struct.pack(">HH", len(stored), len(real)) + name
        covered += row + real
        body_of_it += row + stored
    size = 64 + len(body_of_it)
    head = b"vtb1" + struct.pack(">IIHBB", 7, size, 3, 6, 0x2B) + b"0.7.0".ljust(32, b"\0") + bytes(12)
    assert head + struct.pack(">I", zlib.crc32(head + covered)) + body_of_it == PACKED


def test_the_order_of_the_files_does_not_matter_and_each_byte_of_them_does():
    assert bundle.pack(dict(reversed(FILES.items())), 7, "0.7.0") == PACKED
    for path in FILES:
        other = {**FILES, path: FILES[path] + b"!"}
        assert bundle.pack(other, 7, "0.7.0") != PACKED
    assert bundle.pack(FILES, 8, "0.7.0") != PACKED
    assert bundle.pack(FILES, 7, "0.7.1") != PACKED


def test_the_lock_can_unpack_it(tmp_path):
    """MicroPython's own deflate, with the window that SPEC.md names, row after row."""
    noise = random.Random(1)
    words = [noise.randbytes(noise.randrange(2, 9)) for _ in range(60)]
    files = {f"vitrine/m{n}.mpy": NATIVE + b"".join(noise.choices(words, k=3000)) for n in range(8)}
    files["main.mpy"] = BYTECODE
    path = tmp_path / "a"
    path.write_bytes(bundle.pack(files, 1, "1"))
    program = (
        "import deflate, io, json, struct, binascii\n"
        f"f = open({str(path)!r}, 'rb')\n"
        "head = f.read(64)\n"
        "good = []\n"
        "for _ in range(struct.unpack_from('>H', head, 12)[0]):\n"
        "    length, stored, size = struct.unpack('>BHH', f.read(5))\n"
        "    name = f.read(length).decode()\n"
        "    data = f.read(stored)\n"
        "    if stored < size:\n"
        "        data = deflate.DeflateIO(io.BytesIO(data), deflate.RAW, 11).read()\n"
        "    if len(data) == size:\n"
        "        good.append(['vitrine/' + name + '.mpy' if name else 'main.mpy', binascii.crc32(data)])\n"
        "print(json.dumps(good))\n"
    )
    done = subprocess.run([interpreter(), "-c", program], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == [[path, zlib.crc32(files[path])] for path in sorted(files)], done.stderr
    assert path.stat().st_size < sum(map(len, files.values()))


def test_every_flipped_bit_is_found():
    """But for those behind the last code of a deflated file, which mean nothing (a manifest's digest sees them)."""
    unseen = 0
    for at in range(len(PACKED)):
        for bit in range(8):
            data = bytearray(PACKED)
            data[at] ^= 1 << bit
            try:
                got = bundle.read(bytes(data))
            except BundleError:
                continue
            assert dict(got.files) == FILES
            unseen += 1
    assert unseen < 8


def test_every_length_but_its_own_is_refused():
    for length in range(len(PACKED)):
        with pytest.raises(BundleError):
            bundle.read(PACKED[:length])
    for more in (b"\0", bytes(4), bytes(64)):
        with pytest.raises(BundleError):
            bundle.read(PACKED + more)


@given(st.binary(max_size=300))
def test_garbage_behind_the_magic(tail):
    with pytest.raises(BundleError):
        bundle.read(closed(b"vtb1" + tail.ljust(60, b"\0")))


@given(st.data())
def test_a_forger_with_a_right_crc(data):
    """Any bytes in header and rows, with the CRC made right: refused, or the same content under another head."""
    at = data.draw(st.one_of(st.integers(4, 63), *(st.integers(at, at + ROW + 8) for at in rows(PACKED))))
    try:
        got = bundle.read(changed(at, data.draw(st.binary(min_size=1, max_size=4))))
    except BundleError:
        return
    assert dict(got.files) == FILES or at >= 64


def test_two_rows_of_one_name_or_out_of_order():
    begins = [*rows(PACKED), len(PACKED)]
    pieces = [PACKED[begin:end] for begin, end in itertools.pairwise(begins)]
    for order in ((1, 0, 2), (0, 0, 2), (0, 2, 1), (0, 1, 1)):
        body = b"".join(pieces[n] for n in order)
        with pytest.raises(BundleError, match="out of order"):
            bundle.read(closed(PACKED[:8] + struct.pack(">I", 64 + len(body)) + PACKED[12:64] + body))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "boot.mpy",
        "_boot.mpy",
        "/main.mpy",
        "../main.mpy",
        "vitrine/../../boot.mpy",
        "vitrine//x.mpy",
        "vitrine/x.py",
        "vitrine/X.mpy",
        "vitrine/x.mpy\n",
        "vitrine/x\0.mpy",
        "vitrine/é.mpy",
        "aioble/core.mpy",
        "vitrine.mpy",
        "vitrine/" + "x" * 36 + ".mpy",
    ],
)
def test_a_path_that_is_not_ours(path):
    with pytest.raises(BundleError):
        bundle.pack({**FILES, path: BYTECODE}, 7, "0.7.0")


@pytest.mark.parametrize(
    "name", ["../../fsm", "door//fs", "/doorfsm", "doorfsm/", "door.fsm", "Door/fsm", "doorfs\xe9", "\0oorfsm1"]
)
def test_a_name_that_is_not_ours(name):
    new = name.encode("latin-1")
    begins = rows(PACKED)
    row = bytes([len(new)]) + PACKED[begins[2] + 1 : begins[2] + ROW] + new
    data = PACKED[: begins[2]] + row + PACKED[begins[2] + ROW + len("door/fsm") :]
    data = data[:8] + struct.pack(">I", len(data)) + data[12:]
    with pytest.raises(BundleError, match=r"no place|out of order"):
        bundle.read(closed(data))


def test_the_longest_path_that_fits():
    path = "vitrine/" + "x" * 35 + ".mpy"
    assert path in bundle.read(bundle.pack({**FILES, path: BYTECODE}, 7, "0.7.0")).files


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (0, b"vtb2"),
        (4, bytes(4)),  # sequence 0
        (8, struct.pack(">I", len(PACKED) + 4)),
        (12, struct.pack(">H", 0)),
        (12, struct.pack(">H", 65_535)),
        (14, b"\x05"),
        (15, b"\x2f"),  # another processor
        (16, bytes(32)),  # no version
        (16, b"0.7.0\0x"),  # something behind the version
        (16, b"\x1b[2J"),
        (48, b"\1"),
        (64, b"\1"),  # the first one has no name
        (64 + 1, struct.pack(">H", 0)),  # stored
        (64 + 1, struct.pack(">H", 2**16 - 1)),
        (64 + 3, struct.pack(">H", 1)),  # size
        (64 + 3, struct.pack(">H", 2**16 - 1)),
    ],
)
def test_a_field_out_of_bounds(at, new):
    with pytest.raises(BundleError):
        bundle.read(changed(at, new))


def stored_as(stored: bytes, real: bytes) -> bytes:
    """A bundle of one file, stored as given."""
    row = struct.pack(">BHH", 0, len(stored), len(real) & 0xFFFF)
    head = b"vtb1" + struct.pack(">IIHBB", 7, 64 + ROW + len(stored), 1, 6, 0) + b"1".ljust(32, b"\0") + bytes(16)
    return closed(head + row + stored)


def deflated(data: bytes, window_bits: int = -11) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, window_bits, 9)
    return deflater.compress(data) + deflater.flush()


def test_a_window_that_the_lock_does_not_have():
    """zlib itself would inflate it, even when asked for a window of 2 KiB."""
    real = BYTECODE + random.Random(1).randbytes(2200) * 2
    far, near = deflated(real, -13), BYTECODE + random.Random(1).randbytes(2000) * 2
    assert zlib.decompressobj(-11).decompress(far) == real
    with pytest.raises(BundleError, match="damaged"):
        bundle.read(stored_as(far, real))
    assert bundle.read(stored_as(deflated(near, -13), near)).files["main.mpy"] == near


def test_a_stream_that_is_more_or_less_than_it_says():
    real = BYTECODE + b"la" * 500
    good = deflated(real)
    assert bundle.read(stored_as(good, real)).files["main.mpy"] == real
    for stored in (good[:-1], good + b"\0", good + good, zlib.compress(real), b"\xff" + good[1:]):
        with pytest.raises(BundleError):
            bundle.read(stored_as(stored, real))
    bomb = deflated(BYTECODE + bytes(10_000_000))
    for size in (1000, bundle.FILE_MAX):
        with pytest.raises(BundleError):
            bundle.read(stored_as(bomb, BYTECODE + bytes(size - 4)))
    with pytest.raises(BundleError):
        bundle.read(stored_as(deflated(bytes(bundle.FILE_MAX + 1)), bytes(bundle.FILE_MAX + 1)))


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "holds main.mpy"),
        ({"vitrine/__init__.mpy": BYTECODE}, "holds main.mpy"),
        ({"main.mpy": b"M\x06"}, "has 2 bytes"),
        ({"main.mpy": BYTECODE + bytes(65_532)}, "has 65,536 bytes"),
        ({"main.mpy": b"import os\n"}, "not a .mpy file"),
        ({"main.mpy": b"M\x06\x6f\x1f"}, "not a .mpy file"),  # needs instructions that not every chip has
        ({"main.mpy": BYTECODE, "vitrine/x.mpy": b"M\x05\x00\x1f"}, "different versions"),
        ({"main.mpy": NATIVE, "vitrine/x.mpy": b"M\x06\x2f\x1f"}, "different processors"),
        ({"main.mpy": BYTECODE} | {f"vitrine/x{n}.mpy": BYTECODE for n in range(256)}, "at most 256 files"),
    ],
)
def test_files_that_cannot_be_in_one(files, problem):
    with pytest.raises(BundleError, match=problem):
        bundle.pack(files, 7, "0.7.0")


def test_more_than_a_slot_takes():
    files = {f"vitrine/x{n}.mpy": BYTECODE + random.Random(n).randbytes(65_500) for n in range(4)}
    with pytest.raises(BundleError, match="196,608 fit"):
        bundle.pack({**files, "main.mpy": BYTECODE}, 7, "0.7.0")


@pytest.mark.parametrize(
    ("sequence", "version"),
    [(0, "1"), (-1, "1"), (2**32, "1"), (1, ""), (1, "x" * 33), (1, "1\n"), (1, "0.7.0-β"), (1, "\ud800")],
)
def test_a_sequence_or_version_that_no_lock_takes(sequence, version):
    with pytest.raises(BundleError):
        bundle.pack(FILES, sequence, version)
