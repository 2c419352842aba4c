"""The escrowed root keys of journals: one file for each, in a folder that only the collector can read."""

import json
import re
from pathlib import Path

from .. import keys, names
from ..audit.sealed import MAX_NUMBER, Keys
from ..errors import ToolError

SUFFIX = ".journal.json"
_MAX_FILE = 1024
_ROOT = re.compile(r"[0-9a-f]{64}")


class EscrowError(ToolError):
    """The folder or one of its files cannot be used."""


def save(folder: Path, lock_id: str, epoch: int, root: bytes) -> Path:
    """Escrow the root key of the journal (lock_id, epoch); EscrowError if another one is there already."""
    names.check_lock_id(lock_id)
    path = folder / f"{lock_id}-{epoch}{SUFFIX}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = json.dumps({"lock": lock_id, "epoch": epoch, "root": root.hex()}, indent=2).encode() + b"\n"
    try:
        keys.write_new(path, data, mode=0o600)
    except keys.KeyFileError as error:
        raise EscrowError(str(error)) from None
    return path


class Escrow:
    """The keys in a folder, by (lock, epoch). Files that come later are found when they are asked for."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise EscrowError(f"{folder} is not a folder: give the one with the journals' root keys")
        self._folder = folder
        self._keys: dict[tuple[str, int], Keys] = {}

    def of(self, lock_id: str, epoch: int) -> Keys | None:
        """Return the keys of a journal, or None if they were never escrowed. Both are from a stranger."""
        found = self._keys.get((lock_id, epoch))
        if found is None:
            path = self._folder / f"{names.check_lock_id(lock_id)}-{epoch}{SUFFIX}"
            if path.exists():
                found = self._keys[lock_id, epoch] = _load(path)
        return found

    def all(self) -> list[Keys]:
        """Return the keys of every journal; EscrowError names a file that is damaged."""
        return [_load(path) for path in sorted(self._folder.glob(f"*{SUFFIX}"))]


def _load(path: Path) -> Keys:
    try:
        entry = json.loads(keys.read_file(path, "journal's root key", _MAX_FILE))
        lock_id, epoch, root = entry["lock"], entry["epoch"], entry["root"]
    except (ValueError, KeyError, TypeError):
        raise EscrowError(f"{path} is not a journal's root key") from None
    is_root = isinstance(root, str) and _ROOT.fullmatch(root)
    if not is_root or type(epoch) is not int or not 0 <= epoch <= MAX_NUMBER or not isinstance(lock_id, str):
        raise EscrowError(f"{path} is not a journal's root key")
    if path.name != f"{lock_id}-{epoch}{SUFFIX}":
        raise EscrowError(f"{path} holds the key of {lock_id}, epoch {epoch}: give it its own name back")
    return Keys(bytes.fromhex(root), lock_id, epoch)
