"""Partition tables: what is read strictly, what is refused, and the bytes that the chip reads."""

import hashlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrine_tools.field import partitions
from vitrine_tools.field.partitions import Partition, PartitionError, Table

BOARDS = Path(__file__).parents[3] / "boards"
FILES = sorted(BOARDS.glob("partitions-*.csv"))
MIB = 1024 * 1024
GOOD = (BOARDS / "partitions-4MiB.csv").read_text()


def independent_rows(data: bytes) -> list[tuple]:
    """The table as ESP-IDF's documentation describes it, read without our code."""
    rows = []
    for start in range(0, 0xC00, 32):
        row = data[start : start + 32]
        if row[:2] == b"\xeb\xeb":
            assert row[2:16] == b"\xff" * 14
            assert row[16:] == hashlib.md5(data[:start]).digest()
            assert data[start + 32 :] == b"\xff" * (0x1000 - start - 32)
            return rows
        magic, type_, subtype, offset, size = struct.unpack("<HBBII", row[:12])
        assert magic == 0x50AA
        (flags,) = struct.unpack("<I", row[28:])
        rows.append((row[12:28].rstrip(b"\0").decode(), type_, subtype, offset, size, flags))
    raise AssertionError("no end")


def csv_rows(text: str) -> list[tuple]:
    """The rows of a CSV of ours, read without our code."""
    types = {"app": 0, "data": 1}
    subtypes = {"ota": 0, "phy": 1, "nvs": 2, "nvs_keys": 4, "littlefs": 0x83, "ota_0": 0x10, "ota_1": 0x11}
    rows = []
    for line in text.splitlines():
        if not line.startswith("#"):
            label, type_, subtype, offset, size, flags = (field.strip() for field in line.split(","))
            number = subtypes[subtype] if subtype in subtypes else int(subtype, 16)
            rows.append((label, types[type_], number, int(offset, 16), int(size, 16), 1 if flags == "encrypted" else 0))
    return rows


def load(folder: Path, text: str, mib: int = 4) -> Table:
    path = folder / f"partitions-{mib}MiB.csv"
    path.write_text(text)
    return partitions.load(path)


def test_there_is_a_table_for_each_size():
    assert [path.name for path in FILES] == [f"partitions-{size}MiB.csv" for size in (16, 4, 8)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_table_is_to_the_chip_what_its_csv_says(path):
    table = partitions.load(path)
    data = table.to_binary()
    assert len(data) == 0x1000
    assert independent_rows(data) == csv_rows(path.read_text())
    assert Table.from_binary(data, table.flash_size) == table


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_espressifs_rules_hold(path):
    """Counted here anew: every byte behind the table has one owner, and slots lie where the MMU can map them."""
    table = partitions.load(path)
    owners = sorted((row.offset, row.end) for row in table)
    assert owners[0][0] == partitions.SECURE_TABLE_OFFSET + 0x1000 == 0xF000
    assert [end for _, end in owners[:-1]] == [start for start, _ in owners[1:]]
    assert owners[-1][1] == table.flash_size == int(path.stem.partition("-")[2].removesuffix("MiB")) * MIB
    assert all(row.offset % (65536 if row.type == 0 else 4096) == 0 and row.size % 4096 == 0 for row in table)
    assert table["ota_0"].size == table["ota_1"].size >= 0x180000
    assert table["journal"].size >= 512 * 1024
    assert (table["access"].size, table["access"].subtype) == (16 * 4096, 0x41)
    assert not table["journal"].flags and not table["access"].flags  # wiped in place, which encryption forbids
    assert table["nvs_keys"].flags == partitions.ENCRYPTED


def changed(label: str, column: int, value: str) -> str:
    """The 4 MiB table with one field of one row replaced."""
    lines = []
    for line in GOOD.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if fields[0] == label:
            fields[column] = value
        lines.append(",".join(fields))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("label", "column", "value", "message"),
    [
        ("vfs", 3, "", "offset must be written out"),
        ("vfs", 4, "", "size must be written out"),
        ("vfs", 4, "-0x1000", "not a number"),
        ("vfs", 4, "348K", None),
        ("vfs", 4, "0x57000", None),
        ("vfs", 4, "0348K", "begins with 0"),
        ("vfs", 4, "348k", "not a number"),
        ("vfs", 4, "0x5_7000", "not a number"),
        ("vfs", 4, "0x58000", "behind a flash"),
        ("vfs", 4, "0x56000", "0x1000 bytes at the end"),
        ("vfs", 4, "0x56800", "no multiple of 4 KiB"),
        ("vfs", 4, "0", "no multiple of 4 KiB"),
        ("vfs", 0, "journal", "two partitions are called journal"),
        ("vfs", 0, "", "a label has"),
        ("vfs", 0, "sixteen_letters_", "a label has"),
        ("vfs", 0, '"vfs"', "a label has"),  # ESP-IDF's generator knows no quotes
        ("vfs", 0, "$HOME", "a label has"),  # and puts variables in
        ("vfs", 0, "vf\u0455", "a label has"),
        ("vfs", 0, "data", "no partition vfs"),
        ("vfs", 1, "Data", "neither app nor data"),
        ("vfs", 1, "0x40", "neither app nor data"),
        ("vfs", 2, "fat", "vfs is type 1, subtype 0x81"),
        ("vfs", 2, "0x83", "for data of our own"),
        ("vfs", 5, "encrypted", "vfs has flags 1"),
        ("vfs", 5, "encrypted:readonly", "vfs has flags 3"),
        ("vfs", 5, "crypted", "no such flag"),
        ("ota_0", 3, "0x18000", "no multiple of 64 KiB"),
        ("ota_0", 3, "0x9000", "ota_0 overlaps phy_init"),
        ("ota_0", 4, "0x170000", "at least 0x180000"),
        ("ota_1", 4, "0x181000", "nvs overlaps ota_1"),
        ("ota_1", 2, "ota_2", "ota_1 is type 0, subtype 0x12"),
        ("ota_1", 2, "ota_16", "not a number"),
        ("phy_init", 3, "0xe000", "overlaps the partition table"),
        ("nvs", 4, "0x4000", "at least 0x5000"),
        ("journal", 4, "0x7f000", "at least 0x80000"),
        ("access", 4, "0xf000", "at least 0x10000"),
        ("access", 2, "0x42", "access is type 1, subtype 0x42"),
        ("otadata", 4, "0x1000", "at least 0x2000"),
        ("nvs_keys", 5, "", "nvs_keys has flags 0"),
        ("nvs_keys", 2, "coredump", "nvs_keys is type 1, subtype 0x3"),
    ],
)
def test_a_field_is_taken_as_it_is_or_refused(tmp_path, label, column, value, message):
    if message is None:
        assert load(tmp_path, changed(label, column, value)) == partitions.load(BOARDS / "partitions-4MiB.csv")
    else:
        with pytest.raises(PartitionError, match=message) as caught:
            load(tmp_path, changed(label, column, value))
        assert str(caught.value).startswith("partitions-4MiB.csv: ")


def test_a_table_names_all_that_is_wrong_with_it(tmp_path):
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(("otadata", "access")))
    with pytest.raises(PartitionError, match=r"no partition otadata; no partition access"):
        load(tmp_path, text)


def test_a_row_that_no_lock_has_is_refused(tmp_path):
    for row in ("core, data, coredump, 0x3f0000, 0x10000,", "old, app, factory, 0x3f0000, 0x10000,"):
        with pytest.raises(PartitionError, match=r"csv: \w+ is nothing that a lock has$"):
            load(tmp_path, GOOD.replace("0x57000", "0x47000") + row)


def test_slots_of_different_size_are_refused(tmp_path):
    lines = [[field.strip() for field in line.split(",")] for line in GOOD.splitlines() if not line.startswith("#")]
    for fields in lines[2:]:  # ota_1 and what is behind it
        fields[3] = hex(int(fields[3], 16) + 0x10000)
    lines[1][4], lines[-1][4] = "0x190000", "0x47000"
    with pytest.raises(PartitionError, match=r"csv: ota_0 and ota_1 differ in size$"):
        load(tmp_path, "\n".join(",".join(fields) for fields in lines))


def test_rows_out_of_order_are_refused(tmp_path):
    """ESP-IDF's generator refuses them too; sorted they would be other bytes than its own."""
    lines = GOOD.splitlines()
    with pytest.raises(PartitionError, match="or lies before it"):
        load(tmp_path, "\n".join([*lines[:-2], lines[-1], lines[-2]]))


@pytest.mark.parametrize("line", ["nvs", "nvs, data, nvs, 0x9000", "nvs, data, nvs, 0x9000, 0x7000, , more"])
def test_a_line_of_other_columns_is_refused_by_its_number(tmp_path, line):
    with pytest.raises(PartitionError, match=r"line 2: \d columns, not 6"):
        load(tmp_path, f"# comment\n{line}\n")


def test_the_file_name_says_the_size(tmp_path):
    for name in ("partitions.csv", "partitions-04MiB.csv", "partitions-4MB.csv", "partitions-4MiB.csv.orig"):
        (tmp_path / name).write_text(GOOD)
        with pytest.raises(PartitionError, match="after the size of its flash"):
            partitions.load(tmp_path / name)
    with pytest.raises(PartitionError, match="behind a flash of 0x200000"):
        load(tmp_path, GOOD, mib=2)
    with pytest.raises(PartitionError, match="no partitions"):
        load(tmp_path, "")
    (tmp_path / "partitions-4MiB.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(PartitionError, match=r"partitions-4MiB\.csv: "):
        partitions.load(tmp_path / "partitions-4MiB.csv")


def test_every_flipped_bit_of_a_table_is_noticed():
    table = partitions.load(BOARDS / "partitions-4MiB.csv")
    data = table.to_binary()
    used = 32 * (len(table) + 1)
    for bit in range(8 * used):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PartitionError):
            Table.from_binary(bytes(damaged), table.flash_size)


def test_a_label_of_a_chip_is_not_let_onto_a_terminal():
    row = Partition("\x1b[2J", partitions.DATA, 0x40, 0xF000, 0x1000)
    data = Table((row,), 4 * MIB).to_binary()
    with pytest.raises(PartitionError, match="row 1 has a damaged label"):
        Table.from_binary(data, 4 * MIB)


def test_a_chip_without_a_table_has_none():
    for data in (b"", b"\xff" * 0x1000, bytes(0x1000)):
        with pytest.raises(PartitionError):
            Table.from_binary(data, 4 * MIB)
    data = partitions.load(BOARDS / "partitions-4MiB.csv").to_binary()
    with pytest.raises(PartitionError, match="no end"):
        Table.from_binary(data[: 32 * 9], 4 * MIB)
    with pytest.raises(PartitionError, match="row 10 is no partition"):
        Table.from_binary(data[: 32 * 9] + b"\xff" * 0x1000, 4 * MIB)  # older ones end so: their rows are not proved
    with pytest.raises(PartitionError, match="behind a flash of 0x200000"):
        Table.from_binary(data, 2 * MIB)


@given(st.binary(max_size=0x1000))
def test_any_bytes_are_a_table_or_refused(data):
    with pytest.raises(PartitionError):
        Table.from_binary(data, 4 * MIB)


LABELS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=15)


@given(st.lists(st.tuples(LABELS, st.integers(0x40, 0x7F), st.integers(1, 20), st.integers(0, 3)), max_size=40))
def test_what_was_encoded_is_decoded(rows):
    offset, made = 0xF000, {}
    for label, subtype, sectors, flags in rows:
        if label not in made:
            made[label] = Partition(label, partitions.DATA, subtype, offset, 4096 * sectors, flags)
            offset += 4096 * sectors
    if made:
        table = Table.of(made.values(), 4 * MIB)
        assert Table.from_binary(table.to_binary(), 4 * MIB) == table
        assert len(independent_rows(table.to_binary())) == len(made)
