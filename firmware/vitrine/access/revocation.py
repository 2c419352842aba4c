"""What issuers have taken back: single tokens, persons, phones, or all from before a time. Source: SPEC.md 11.2.

Entries are in the ledger; here are the sequence of each issuer's lists and its "all before", in one blob. Entries are
durable before the sequence that says so: after a power cut in between the same list comes again, and is in full.
"""

from hashlib import sha256

from micropython import const

from ..codec import cbor
from . import reasons
from .ledger import REVOKED, LedgerError

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any, Protocol

    from .token import Token

    class Store(Protocol):
        """Keeps one blob; both raise OSError if they cannot."""

        def load(self) -> "bytes | None": ...

        def save(self, data: bytes) -> None: ...

    class Book(Protocol):
        """The ledger, or what stands for it; both raise LedgerError if it cannot be known."""

        def has(self, of_class: int, digest: bytes) -> bool: ...

        def add(self, of_class: int, digest: bytes, until_s: int) -> bool: ...


MAX_ENTRIES = const(32)

_CTI = const(1)
_SUB = const(2)
_KEY = const(3)
_CLEAR_MAX = const(8)
_BEFORE = const(4)
_LETTERS = b"?csk"  # by kind, in the digests of SPEC.md section 13
_LEAST = b"\x00\x08\x01\x08"  # bytes of a value, by kind
_MOST = b"\x00\x10\x10\x08"
_MAX_BLOB = const(256)
_KID_SIZE = const(8)
_U32 = const(0xFFFFFFFF)


class StoreError(Exception):
    """The blob is missing or damaged, does not know the issuer, or the ledger fails: who is revoked is not known."""


class Revocations:
    """The blob in `store`, and the entries in `ledger`.

    What the blob says is kept in memory, and replaced there when the new one is durable.
    """

    def __init__(self, store: "Store", ledger: "Book") -> None:
        self._store = store
        self._ledger = ledger
        self._issuers = _loaded(store)
        # hashes of the tokens that no list was about when they were looked up; until the next list
        self._clear: "list[bytes]" = []

    def is_sound(self, kids: "list[bytes]") -> bool:
        """Tell whether the blob knows all of these issuers."""
        known = [issuer[0] for issuer in self._issuers]
        return all([kid in known for kid in kids])

    def sequence(self, kid: bytes) -> int:
        """Return the sequence of the last list of issuer `kid`, 0 if there was none. Raises StoreError."""
        return self._issuer(kid)[1]

    def is_revoked(self, token: "Token") -> bool:
        """Tell whether `token` was taken back; its `issued` is iat, or nbf without one, or None. Raises StoreError.

        Once looked up, it is known until the next list: a person who has confirmed does not wait for the flash again.
        """
        if token.hash in self._clear:
            return False
        is_revoked = self._look_up(token)
        if is_revoked is False:
            if len(self._clear) >= _CLEAR_MAX:
                self._clear.pop(0)
            self._clear.append(token.hash)
        return is_revoked

    def _look_up(self, token: "Token") -> bool:
        kid = token.kid
        before = self._issuer(kid)[2]
        if before and (token.issued is None or token.issued < before):
            return True
        try:
            return (
                self._has(kid, _CTI, token.cti)
                or (token.sub is not None and self._has(kid, _SUB, token.sub))
                or self._has(kid, _KEY, sha256(token.holder_key).digest()[:8])
            )
        except LedgerError:
            raise StoreError("ledger")

    def apply(self, kid: bytes, previous: int, sequence: int, entries: "list[Any]") -> int:
        """Take the list `sequence` of issuer `kid`, from parse_entries; return GRANTED when all of it is durable.

        Else SEQUENCE_STALE, SEQUENCE_GAP, STORE_FULL or FAULT: then the sequence is as before, though entries of the
        list may hold already. Raises StoreError.
        """
        _, now, before = self._issuer(kid)
        if sequence <= now:
            return reasons.SEQUENCE_STALE
        if previous > now:
            return reasons.SEQUENCE_GAP
        # first: what fails in the middle may have brought entries that hold
        self._clear.clear()
        try:
            for kind, value, until in entries:
                if kind == _BEFORE:
                    before = max(before, value)
                elif self._ledger.add(REVOKED, _digest(kid, kind, value), until) is not True:
                    return reasons.STORE_FULL
            issuers = [[kid, sequence, before] if entry[0] == kid else entry for entry in self._issuers]
            self._store.save(cbor.encode(issuers))
        except (LedgerError, OSError):
            return reasons.FAULT
        self._issuers = issuers
        return reasons.GRANTED

    def _issuer(self, kid: bytes) -> "list[Any]":
        for issuer in self._issuers:
            if issuer[0] == kid:
                return issuer
        raise StoreError("unknown")

    def _has(self, kid: bytes, kind: int, value: bytes) -> bool:
        # anything but a clear no is a yes
        return self._ledger.has(REVOKED, _digest(kid, kind, value)) is not False


def parse_entries(value: object) -> "list[Any]":
    """Return the entries [kind, value, until] of a decoded list, checked; raise ValueError for any other value."""
    if not cbor.is_array(value) or len(value) > MAX_ENTRIES:
        raise ValueError("entries")
    for entry in value:
        if not cbor.is_array(entry) or len(entry) != 3:
            raise ValueError("entry")
        kind, what, until = entry
        if type(kind) is not int or not _CTI <= kind <= _BEFORE or not _is_u32(until):
            raise ValueError("entry")
        if kind == _BEFORE:
            is_good = _is_u32(what) and until == 0
        else:
            is_good = isinstance(what, bytes) and _LEAST[kind] <= len(what) <= _MOST[kind]
        if not is_good:
            raise ValueError("entry")
    return value


def empty(kids: "list[bytes]") -> bytes:
    """Return the blob that provisioning writes: of these issuers nothing is revoked yet."""
    return cbor.encode([[kid, 0, 0] for kid in kids])


def _is_u32(value: object) -> bool:
    return type(value) is int and 0 <= value <= _U32


def _digest(kid: bytes, kind: int, value: bytes) -> bytes:
    return sha256(kid + _LETTERS[kind : kind + 1] + value).digest()


def _loaded(store: "Store") -> "list[list[Any]]":
    """Return the entries [kid, sequence, all before] of the blob; none if it cannot be read, or one is wrong."""
    try:
        issuers = cbor.decode(store.load() or b"", _MAX_BLOB)
        for kid, sequence, before in issuers:
            if not isinstance(kid, bytes) or len(kid) != _KID_SIZE or not _is_u32(sequence) or not _is_u32(before):
                return []
    except (OSError, ValueError, TypeError):
        # CborError; a value that is not an array of three is no better than one that is missing
        return []
    return issuers
