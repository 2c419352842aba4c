"""Comb tables for the keys that a lock meets again: its pinned issuers, and the holders who were here lately.

With its table a key is verified two to three times as fast (crypto/comb.py). A pinned key's table is kept in the store,
bound to the key by an authentication code; it is computed here, on the lock, and never taken from a peer. A holder's
table lives in memory, in a bounded cache. Until its table is there, a key works without.

A table is as good as the key: one of another key has that one's signatures pass. Tables are files, and whoever is
at an open console may write those; the secret of their codes is none. A table that does not match, damaged as flash
ages, cut off or made elsewhere, is reported, removed, and computed again: never used.
"""

import asyncio
import hashlib

from micropython import const

from vitrine.crypto import comb
from vitrine.crypto.ed25519 import PublicKey, verdict
from vitrine.crypto.hmac256 import constant_time_equal, hmac_sha256
from vitrine.crypto.scalar import comb_size

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class TableStore(Protocol):
        """Where tables survive a restart; a name is at most 21 ASCII characters. Any method may raise OSError."""

        def load(self, name: str) -> bytes | None: ...
        def save(self, name: str, data: bytes) -> None: ...
        def remove(self, name: str) -> None: ...


_DIGEST = const(32)
_EXPECTED_MAX = const(3)  # one for each connection
_DOMAIN = const(b"vitrine comb table 2")
_SECRET = const(16)


class KeyTables:
    """Hands out public keys and computes their tables in idle time.

    `record(event, detail)` is told of "key_table_damaged" (the table's name), "key_table_store" (an OSError) and
    "key_table_failed" (the exception that ended a computation).
    """

    def __init__(
        self,
        store: "TableStore",
        record: "Callable[[str, object], None]",
        secrets,
        random_bytes: "Callable[[int], bytes]",
        teeth: int = 6,
        holders: int = 4,
    ) -> None:
        """Keep tables of `teeth` teeth (6: 6 KB a key) and at most `holders` holder keys.

        secrets: the store of one blob that no file can replace, with the secret of the codes; made at first need.
        """
        self._store = store
        self._secrets = secrets
        self._random_bytes = random_bytes
        self._record = record
        self._teeth = teeth
        self._limit = holders
        self._holders = []  # the most recently used last
        self._expected = []  # decoded, without tables
        self._pending = []  # (key, name to save its table under or None)
        self._steps = None
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many tables are yet to be made."""
        return len(self._pending)

    def pin(self, raw: bytes) -> PublicKey:
        """Return the public key `raw`, with its table if the store has it. Raises ValueError for a bad key."""
        key = PublicKey(raw)
        name = _name(key.raw)
        try:
            table = self._loaded(key, name)
        except OSError as error:
            self._record("key_table_store", error)
            table = None
        if table is None:
            self._queue(key, name)
        else:
            key.use_table(table)
        return key

    def unpin(self, raw: bytes) -> None:
        """Remove the stored table of the key `raw`: it is no longer trusted."""
        name = _name(bytes(raw))
        if self._steps is not None and self._pending[0][1] == name:
            self._steps = None
        self._pending = [entry for entry in self._pending if entry[1] != name]
        try:
            self._store.remove(name)
        except OSError as error:
            self._record("key_table_store", error)

    def holder(self, raw: bytes) -> PublicKey:
        """Return the holder key `raw`, with its table if it was used lately. Raises ValueError for a bad key.

        Only for a key out of a token whose signature has been verified: others would push the regulars out.
        """
        for i, key in enumerate(self._holders):
            if key.raw == raw:
                self._holders.append(self._holders.pop(i))
                return key
        key = PublicKey(raw)
        self._holders.append(key)
        if len(self._holders) > self._limit:
            gone = self._holders.pop(0)
            if self._steps is not None and self._pending[0][0] is gone:
                self._steps = None
            self._pending = [entry for entry in self._pending if entry[0] is not gone]
        self._queue(key, None)
        return key

    def expect(self, raw: bytes) -> None:
        """A verified token names the holder key `raw`: get it ready while its holder is still confirming."""
        if any(key.raw == raw for key in self._holders) or any(key.raw == raw for key in self._expected):
            return
        try:
            key = PublicKey(raw)
        except ValueError:
            return  # verify_holder will say no
        if len(self._expected) >= _EXPECTED_MAX:
            self._expected.pop(0)
        self._expected.append(key)

    def verify_holder(self, raw: bytes, message: bytes, signature: bytes) -> int:
        """Return the verdict under the holder key `raw`, with what is ready for it; the lock learns nothing by this."""
        for keys in (self._holders, self._expected):
            for key in keys:
                if key.raw == raw:
                    return key.verdict(message, signature)
        return verdict(raw, message, signature)

    def step(self) -> bool:
        """Do one slice of the work, a few milliseconds; return whether there is more."""
        if not self._pending:
            return False
        key, name = self._pending[0]
        try:
            if self._steps is None:
                self._steps = comb.build(key, self._teeth)
            table = next(self._steps)
        except (MemoryError, RuntimeError) as error:
            self._record("key_table_failed", error)
            table = b""
        if table is not None:
            self._steps = None
            self._pending.pop(0)
            if table:
                key.use_table(table)
                if name:
                    self._save(key, name, table)
        return bool(self._pending)

    async def run(self) -> None:
        """Work whenever there is something to do, giving way to every other task between two slices."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.step():
                await asyncio.sleep(0)

    def _queue(self, key: PublicKey, name: "str | None") -> None:
        self._pending.append((key, name))
        self._wake.set()

    def _loaded(self, key: PublicKey, name: str) -> "bytes | None":
        data = self._store.load(name)
        if data is None:
            return None
        table = data[_DIGEST:]
        if len(table) == comb_size(self._teeth) and constant_time_equal(data[:_DIGEST], self._code(key, table)):
            return table
        self._record("key_table_damaged", name)
        self._store.remove(name)
        return None

    def _save(self, key: PublicKey, name: str, table: bytes) -> None:
        try:
            self._store.save(name, self._code(key, table) + table)
        except OSError as error:
            self._record("key_table_store", error)

    def _code(self, key: PublicKey, table: bytes) -> bytes:
        """Bind the table to its key, and to this lock; the length tells the teeth. Raises OSError."""
        secret = self._secrets.load() or b""
        if len(secret) != _SECRET:
            secret = self._random_bytes(_SECRET)
            self._secrets.save(secret)
        return hmac_sha256(secret, _DOMAIN, key.raw, table)


def _name(raw: bytes) -> str:
    return "comb-" + hashlib.sha256(raw).digest()[:8].hex()
