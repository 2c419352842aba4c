"""The escrowed root keys of journals: one file for each, in a folder that only the collector can read.

What `vitrine provision` escrows is encrypted under a passphrase: scrypt (RFC 7914), then ChaCha20-Poly1305 (RFC 8439)
over the root key, with lock and epoch as associated data.
"""

import getpass
import json
import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from .. import keys, names
from ..audit.sealed import MAX_NUMBER, Keys
from ..errors import ToolError

SUFFIX = ".journal.json"
_MAX_FILE = 1024
_ROOT = re.compile(r"[0-9a-f]{64}")
_SEALED = re.compile(r"[0-9a-f]{152}")  # salt (16), nonce (12), root key (32), tag (16)
PASSPHRASE_ENV = "VITRINE_ESCROW_PASSPHRASE"
_SCRYPT = "scrypt-32768-8-1"  # 32 MiB and a tenth of a second for each guess
_N, _R, _P = 1 << 15, 8, 1
_SALT, _NONCE = 16, 12
MIN_PASSPHRASE = 12


class EscrowError(ToolError):
    """The folder or one of its files cannot be used."""


def ask_passphrase(file: Path | None = None, *, is_new: bool = False) -> bytes:
    """Return the passphrase from `file` (its first line), the environment, or the terminal; EscrowError without."""
    if file is not None:
        passphrase = keys.read_file(file, "passphrase", _MAX_FILE).partition(b"\n")[0].rstrip(b"\r")
    elif PASSPHRASE_ENV in os.environ:
        passphrase = os.environ[PASSPHRASE_ENV].encode()
    elif sys.stdin.isatty():
        passphrase = getpass.getpass("Passphrase of the escrow: ").encode()
        if is_new and getpass.getpass("The same again: ").encode() != passphrase:
            raise EscrowError("those are two different passphrases")
    else:
        raise EscrowError(f"the escrow needs a passphrase: --passphrase-file FILE, or {PASSPHRASE_ENV}")
    if is_new and len(passphrase) < MIN_PASSPHRASE:
        raise EscrowError(f"the passphrase of an escrow has at least {MIN_PASSPHRASE} characters")
    return passphrase


def save(folder: Path, lock_id: str, epoch: int, root: bytes, passphrase: bytes | None = None) -> Path:
    """Escrow the root key of the journal (lock_id, epoch); EscrowError if another one is there already.

    passphrase: None for emulated locks, whose keys protect nothing.
    """
    names.check_lock_id(lock_id)
    path = folder / f"{lock_id}-{epoch}{SUFFIX}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    entry: dict[str, object] = {"lock": lock_id, "epoch": epoch}
    if passphrase is None:
        entry["root"] = root.hex()
    else:
        salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
        cipher = ChaCha20Poly1305(_derive(passphrase, salt)).encrypt(nonce, root, _bound_to(lock_id, epoch))
        entry |= {"kdf": _SCRYPT, "sealed": (salt + nonce + cipher).hex()}
    data = json.dumps(entry, indent=2).encode() + b"\n"
    try:
        keys.write_new(path, data, mode=0o600)
    except keys.KeyFileError as error:
        raise EscrowError(str(error)) from None
    return path


class Escrow:
    """The keys in a folder, by (lock, epoch). Files that come later are found when they are asked for.

    passphrase() is called once, when the first encrypted file is met.
    """

    def __init__(self, folder: Path, passphrase: Callable[[], bytes] = ask_passphrase) -> None:
        if not folder.is_dir():
            raise EscrowError(f"{folder} is not a folder: give the one with the journals' root keys")
        self._folder = folder
        self._ask = passphrase
        self._passphrase: bytes | None = None
        self._keys: dict[tuple[str, int], Keys] = {}

    def of(self, lock_id: str, epoch: int) -> Keys | None:
        """Return the keys of a journal, or None if they were never escrowed. Both are from a stranger."""
        found = self._keys.get((lock_id, epoch))
        if found is None:
            path = self._folder / f"{names.check_lock_id(lock_id)}-{epoch}{SUFFIX}"
            if path.exists():
                found = self._keys[lock_id, epoch] = self._load(path)
        return found

    def all(self) -> list[Keys]:
        """Return the keys of every journal; EscrowError names a file that is damaged."""
        return [self._load(path) for path in sorted(self._folder.glob(f"*{SUFFIX}"))]

    def check_passphrase(self) -> bytes:
        """Ask for the passphrase, and return it; EscrowError if it does not open what is here already."""
        if self._passphrase is None:
            self._passphrase = self._ask()
        self.unlock()
        return self._passphrase

    def unlock(self) -> None:
        """Ask for the passphrase now, if there is something that needs it; EscrowError if it is a wrong one."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}"))[-1:]:
            self._load(path)

    def last_epoch(self, lock_id: str) -> int:
        """Return the highest epoch that a key of this lock is here for; -1 if there is none."""
        found = (path.name[len(lock_id) + 1 : -len(SUFFIX)] for path in self._folder.glob(f"{lock_id}-*{SUFFIX}"))
        return max((int(epoch) for epoch in found if epoch.isascii() and epoch.isdecimal()), default=-1)

    def _load(self, path: Path) -> Keys:
        try:
            entry = json.loads(keys.read_file(path, "journal's root key", _MAX_FILE))
            lock_id, epoch = entry["lock"], entry["epoch"]
            if type(epoch) is not int or not 0 <= epoch <= MAX_NUMBER or not isinstance(lock_id, str):
                raise ValueError
            if path.name != f"{lock_id}-{epoch}{SUFFIX}":
                raise EscrowError(f"{path} holds the key of {lock_id}, epoch {epoch}: give it its own name back")
            root = self._unseal(path, entry) if "sealed" in entry else entry["root"]
            if not isinstance(root, str) or not _ROOT.fullmatch(root):
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise EscrowError(f"{path} is not a journal's root key") from None
        return Keys(bytes.fromhex(root), lock_id, epoch)

    def _unseal(self, path: Path, entry: dict[str, object]) -> str:
        sealed = entry["sealed"]
        if entry["kdf"] != _SCRYPT or not isinstance(sealed, str) or not _SEALED.fullmatch(sealed):
            raise ValueError
        if self._passphrase is None:
            self._passphrase = self._ask()
        data = bytes.fromhex(sealed)
        nonce, cipher = data[_SALT : _SALT + _NONCE], data[_SALT + _NONCE :]
        bound = _bound_to(str(entry["lock"]), entry["epoch"])
        try:
            return ChaCha20Poly1305(_derive(self._passphrase, data[:_SALT])).decrypt(nonce, cipher, bound).hex()
        except InvalidTag:
            raise EscrowError(f"{path} does not open with this passphrase") from None


def _derive(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_N, r=_R, p=_P).derive(passphrase)


def _bound_to(lock_id: str, epoch: object) -> bytes:
    return f"vitrine/escrow {lock_id} {epoch}".encode()
