"""The sales of a bridge, on disk: what was signed for each, before it is sent, and what came of it. SQLite.

A sale has one row for ever, so that a message that comes twice, or after a restart, never makes a second command. The
envelope in it may be sent again: a lock takes each sequence once.
"""

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import ToolError

_A_DAY_S = 86_400
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sales (
    ref BLOB PRIMARY KEY,
    fixture TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    exp_s INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    reason TEXT
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One sale: what was signed, until when it is good, and the reason of the result; None if none came yet."""

    fixture: str
    sequence: int
    exp_s: int
    envelope: bytes
    reason: str | None


class TillBook:
    """The database at `path`; made if it is not there. ToolError if it cannot be used."""

    def __init__(self, path: Path) -> None:
        try:
            self._database = sqlite3.connect(path, timeout=10, isolation_level=None)
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_SCHEMA)
        except sqlite3.Error as error:
            raise ToolError(f"cannot use {path} as the book of sales: {error}") from None

    def find(self, ref: bytes) -> Entry | None:
        """Return the sale with this reference."""
        row = self._execute(
            "SELECT fixture, sequence, exp_s, envelope, reason FROM sales WHERE ref = ?", ref
        ).fetchone()
        return None if row is None else Entry(*row)

    def next_sequence(self, fixture: str, told: int = 0) -> int:
        """Return the Unix time, or the sequence after the last one for this fixture, of which the lock has `told`."""
        query = "SELECT coalesce(max(sequence), 0) FROM sales WHERE fixture = ?"
        (last,) = self._execute(query, fixture).fetchone()
        now_s = int(time.time())
        # no broker that makes answers up uses up the sequences
        return max(last + 1, now_s, told + 1 if told < now_s + _A_DAY_S else 0)

    def add(self, ref: bytes, entry: Entry) -> bool:
        """Keep a new sale; durable when it returns. False if another program has just done so."""
        try:
            values = (ref, entry.fixture, entry.sequence, entry.exp_s, entry.envelope, entry.reason)
            self._database.execute("INSERT INTO sales VALUES (?, ?, ?, ?, ?, ?)", values)
        except sqlite3.IntegrityError:
            return False
        except sqlite3.Error as error:
            raise ToolError(f"the book of sales: {error}") from None
        return True

    def close_sale(self, ref: bytes, reason: str) -> None:
        """Keep what came of a sale; the first result is the one."""
        self._execute("UPDATE sales SET reason = ? WHERE ref = ? AND reason IS NULL", reason, ref)

    def close(self) -> None:
        """Let the database go."""
        self._database.close()

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise ToolError(f"the book of sales: {error}") from None
