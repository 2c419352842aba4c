"""The lists of revocations that an issuer has made, in a file beside its key (SPEC.md 11.2).

A lock takes them in order, and one that was away for long, or is new, gets all that it has missed. The file holds no
secret: it is signed anew for each lock. It must not get lost: what is only in there is revoked only where it was sent.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from . import cbor, keys, when
from .commanding import MAX_SEQUENCE, check_sequence, next_sequence
from .errors import ToolError

LIST_MAX: Final = 16  # entries in one list, so that each fits in one command
_MERGED_MAX: Final = 460  # bytes of entries in one command: what 704 leave beside the longest of all other fields
_ENTRIES_MAX: Final = 32
_MAX_FILE: Final = 16 * 1024 * 1024
_KINDS: Final = {"cti": 1, "sub": 2, "key": 3, "before": 4}
_SIZES: Final = {"cti": (8, 16), "sub": (1, 16), "key": (8, 8)}
_U32: Final = 2**32 - 1


class RevocationError(ToolError):
    """The file cannot be used, or an entry is none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is revoked: `value` in hexadecimal, or Unix seconds of `before`. until_s: 0 is for ever."""

    kind: str
    value: str | int
    until_s: int = 0

    def __post_init__(self) -> None:
        if self.kind == "before":
            is_good = type(self.value) is int and 0 < self.value <= _U32 and self.until_s == 0
        else:
            least, most = _SIZES.get(self.kind, (1, 0))
            is_good = isinstance(self.value, str) and least <= len(_unhex(self.value)) <= most
        if not is_good or type(self.until_s) is not int or not 0 <= self.until_s <= _U32:
            raise RevocationError(f"{self.kind} {self.value} is nothing that can be revoked")

    @classmethod
    def of_key(cls, public_key: bytes, until_s: int = 0) -> Self:
        """Return what revokes all tokens for a holder's key."""
        return cls("key", hashlib.sha256(public_key).digest()[:8].hex(), until_s)

    def to_list(self) -> list[Any]:
        """Return the entry as a command has it."""
        value = self.value if isinstance(self.value, int) else bytes.fromhex(self.value)
        return [_KINDS[self.kind], value, self.until_s]

    def __str__(self) -> str:
        if isinstance(self.value, int):
            return f"all from before {when.time_text(self.value)}"
        return f"{self.kind} {self.value}" + (f" until {when.time_text(self.until_s)}" if self.until_s else "")


@dataclass(frozen=True, slots=True)
class Part:
    """What one command carries: from a lock at `previous` or later to `sequence`."""

    previous: int
    sequence: int
    entries: tuple[Entry, ...]

    def to_body(self) -> dict[int, Any]:
        """Return the body of the command."""
        return {1: self.previous, 2: [entry.to_list() for entry in self.entries]}


class Book:
    """The lists of the issuer with `kid`, in `path`; no file yet is an empty one."""

    def __init__(self, path: Path, kid: bytes) -> None:
        self._path = path
        self._kid = kid.hex()
        self.lists: list[tuple[int, tuple[Entry, ...]]] = []
        if path.exists():
            self._load()

    @property
    def sequence(self) -> int:
        """Of the latest list; 0 if there is none."""
        return self.lists[-1][0] if self.lists else 0

    def add(self, entries: list[Entry], sequence: int | None = None) -> None:
        """Append entries as one list or more, durably. The first has `sequence`, or one by the clock.

        One program at a time, and to what is in the file by then: no list may get lost to another one.
        """
        with self._alone():
            if self._path.exists():
                self._load()
            if sequence is not None and self.sequence >= check_sequence(sequence):
                raise RevocationError(f"the sequence has to be higher than {self.sequence}, that of the list before")
            lists = list(self.lists)
            for at in range(0, len(entries), LIST_MAX):
                number = sequence if sequence is not None and at == 0 else next_sequence(lists[-1][0] if lists else 0)
                lists.append((number, tuple(entries[at : at + LIST_MAX])))
            self._save(lists)
            self.lists = lists

    def after(self, sequence: int, now_s: int) -> Iterator[Part]:
        """Yield what a lock at `sequence` has missed, in as few commands as can be; what has expired is left out."""
        previous = last = max([0] + [number for number, _ in self.lists if number <= sequence])
        merged: list[Entry] = []
        for number, entries in self.lists:
            if number <= sequence:
                continue
            live = [entry for entry in entries if not 0 < entry.until_s <= now_s]
            if merged and not _fits(merged + live):
                yield Part(previous, last, tuple(merged))
                previous, merged = last, []
            merged += live
            last = number
        if last > previous:
            yield Part(previous, last, tuple(merged))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other programs from adding: by a lock on the folder, as the file itself is replaced."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY)
        except OSError as error:
            raise RevocationError(f"cannot write {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _load(self) -> None:
        data = keys.read_file(self._path, "file of revocations", _MAX_FILE)
        try:
            fields = json.loads(data)
            kid, lists = fields["kid"], fields["lists"]
            self.lists = [(item["sequence"], tuple(Entry(*entry) for entry in item["entries"])) for item in lists]
            numbers = [0] + [number for number, _ in self.lists]
            is_good = all(type(number) is int for number in numbers) and numbers == sorted(set(numbers))
        except (ValueError, KeyError, TypeError, AttributeError, RevocationError):
            raise RevocationError(f"{self._path} is not a file of revocations, or damaged") from None
        if not is_good or numbers[-1] > MAX_SEQUENCE or any(len(entries) > LIST_MAX for _, entries in self.lists):
            raise RevocationError(f"{self._path} is not a file of revocations, or damaged")
        if kid != self._kid:
            raise RevocationError(f"{self._path} holds the revocations of another issuer")

    def _save(self, lists: list[tuple[int, tuple[Entry, ...]]]) -> None:
        fields = {
            "kid": self._kid,
            "lists": [
                {"sequence": number, "entries": [[each.kind, each.value, each.until_s] for each in entries]}
                for number, entries in lists
            ],
        }
        keys.write_new(self._path, json.dumps(fields, indent=1).encode() + b"\n", mode=0o644, is_forced=True)


def _fits(entries: list[Entry]) -> bool:
    return len(entries) <= _ENTRIES_MAX and len(cbor.encode([entry.to_list() for entry in entries])) <= _MERGED_MAX


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
