"""The lock's flash chip as a file: partition table, provisioning, a look inside. 8 MiB, sparse, 0xff where erased.

The layout is the board's own: boards/unix/partitions-8MiB.csv.
"""

import importlib.util
import json
import os
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from vitrine_tools import ledger
from vitrine_tools.audit.sealed import Keys
from vitrine_tools.emulator.places import BOARD, interpreter
from vitrine_tools.errors import ProvisionError
from vitrine_tools.field import partitions
from vitrine_tools.provisioning import PER_ISSUER, initial_blobs, renewed

SECTOR = partitions.SECTOR
TABLE = partitions.load(BOARD / "partitions-8MiB.csv")
FLASH_SIZE = TABLE.flash_size
# label, type, subtype, address, size
PARTITIONS = tuple((row.label, row.type, row.subtype, row.offset, row.size) for row in TABLE)
_NAMESPACE = "vitrine"
_PROVISION_KEY = "provision"
_LEDGER = "access"
_JOURNAL = "journal"  # the partition's label and the key of its key store


def _load_nvs_store() -> ModuleType:
    """The key-value store is one file for the emulated board and for the host."""
    spec = importlib.util.spec_from_file_location("vitrine_nvs_store", BOARD / "modules" / "_nvs_store.py")
    if spec is None or spec.loader is None:
        raise ImportError("boards/unix/modules/_nvs_store.py is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_nvs_store = _load_nvs_store()


def nvs_blobs(partition: bytes, keys: Iterable[str]) -> dict[str, bytes]:
    """Return those of a lock's blobs that are in an image of its nvs partition, which is left as it is."""
    copy = bytearray(partition)

    def program(offset: int, data: bytes) -> None:
        copy[offset : offset + len(data)] = data

    store = _nvs_store.NvsStore(
        lambda offset, count: bytes(copy[offset : offset + count]),
        program,
        lambda offset: program(offset, b"\xff" * SECTOR),
        len(copy),
    )
    return {key: entry[1] for key in keys if (entry := store.get(_NAMESPACE, key)) is not None}


class FlashImage:
    """A flash file, not in use by a running board."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> "FlashImage":
        """Make an erased chip with a partition table; an existing file is replaced."""
        with self.path.open("wb") as file:
            file.truncate(FLASH_SIZE)
            self._fill(file, partitions.TABLE_OFFSET, partitions.TABLE_OFFSET + SECTOR, TABLE.to_binary())
            for row in TABLE:
                if row.type != partitions.APP:  # nothing reads an application slot: let it stay a hole
                    self._fill(file, row.offset, row.end)
        return self

    @staticmethod
    def _fill(file, start: int, end: int, data: bytes = b"") -> None:
        file.seek(start)
        file.write(data + b"\xff" * (end - start - len(data)))

    def exists(self) -> bool:
        return self.path.exists()

    def is_laid_out(self) -> bool:
        """Whether its table is the one that this class reads and writes by."""
        with self.path.open("rb") as file:
            file.seek(partitions.TABLE_OFFSET)
            return file.read(SECTOR) == TABLE.to_binary()

    def provision(self, blob: bytes) -> None:
        """Store the provisioning record (firmware/SPEC.md section 5), as `vitrine provision` does on a real lock.

        First what a lock has beside it, as far as it is not there: a new record hands no uses back, lifts no
        lockdown and forgets no revocation. Bytes that are no record come without: no lock works by them.
        """
        if not self.read(_LEDGER).strip(b"\xff"):
            self._write(_LEDGER, ledger.EMPTY)
        try:
            blobs = initial_blobs(blob)
        except ProvisionError:
            blobs = {}
        for key, first in blobs.items():
            present = self.nvs_get(_NAMESPACE, key)
            if present is None:
                self.nvs_put(_NAMESPACE, key, first)
            elif key in PER_ISSUER:
                # an issuer that it does not know would leave a lock that refuses everything
                self.nvs_put(_NAMESPACE, key, renewed(key, present, blob))
        self.nvs_put(_NAMESPACE, _PROVISION_KEY, blob)

    def provision_journal(self, lock_id: str, root: bytes, epoch: int) -> None:
        """Make an empty sealed journal (firmware/SPEC.md 8.5) with the firmware's code. `root` is to be escrowed."""
        first_key, acknowledge_key = Keys(root, lock_id, epoch).secrets
        secrets = {"epoch": epoch, "first_key": first_key.hex(), "acknowledge_key": acknowledge_key.hex()}
        address, size = self._place(_JOURNAL)
        run = subprocess.run(
            [interpreter(), str(BOARD / "provision_journal.py"), str(self.path), str(address), str(size)],
            input=json.dumps(secrets),
            env={**os.environ, "MICROPYPATH": f"{BOARD.parents[1] / 'firmware'}:.frozen"},
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise OSError(f"no journal could be made: {run.stderr.strip() or run.stdout.strip()}")
        self.nvs_put(_NAMESPACE, _JOURNAL, bytes.fromhex(run.stdout))

    def nvs_put(self, namespace: str, key: str, value: bytes | int) -> None:
        with self.path.open("r+b") as file:
            store = self._store(file)
            if isinstance(value, int):
                store.put(namespace, key, _nvs_store.I32, struct.pack("<i", value))
            else:
                store.put(namespace, key, _nvs_store.BLOB, value)

    def nvs_get(self, namespace: str, key: str) -> bytes | None:
        """The raw bytes of a value, or None."""
        with self.path.open("r+b") as file:
            entry = self._store(file).get(namespace, key)
        return None if entry is None else entry[1]

    def read(self, label: str) -> bytes:
        """The whole content of a partition."""
        address, size = self._place(label)
        with self.path.open("rb") as file:
            file.seek(address)
            return file.read(size)

    def erase(self, label: str) -> None:
        """A fault: the whole partition is erased."""
        self._write(label, b"")

    def _write(self, label: str, data: bytes) -> None:
        address, size = self._place(label)
        with self.path.open("r+b") as file:
            self._fill(file, address, address + size, data)

    def flip_bit(self, label: str, offset: int, bit: int = 0) -> None:
        """A fault: one bit of a partition is not what was written."""
        address, size = self._place(label)
        if not 0 <= offset < size:
            raise ValueError(f"{label} has {size} bytes")
        with self.path.open("r+b") as file:
            file.seek(address + offset)
            byte = file.read(1)[0]
            file.seek(address + offset)
            file.write(bytes([byte ^ 1 << bit]))

    @staticmethod
    def _place(label: str) -> tuple[int, int]:
        return TABLE[label].offset, TABLE[label].size

    def _store(self, file):
        address, size = self._place("nvs")

        def read(offset: int, count: int) -> bytes:
            file.seek(address + offset)
            return file.read(count)

        def program(offset: int, data: bytes) -> None:
            old = read(offset, len(data))
            file.seek(address + offset)
            file.write(bytes(a & b for a, b in zip(old, data, strict=True)))

        def erase(offset: int) -> None:
            file.seek(address + offset)
            file.write(b"\xff" * SECTOR)

        return _nvs_store.NvsStore(read, program, erase, size)
