"""The store of evidence: journals, records and findings in a database (SPEC.md 10.2). SQLite or PostgreSQL.

Each group of batches is one transaction: when `add` returns it is durable, and what it returns may be acknowledged.
Several collectors may share one database; a journal's row is their lock.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event, exc

from .. import cbor
from ..audit.sealed import MAX_BODY, Batch, Record, Seal
from ..errors import ToolError

BUSY_S: Final = 5.0

_schema = sa.MetaData()
_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows by itself only in an INTEGER

journals = sa.Table(
    "journals",
    _schema,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("lock", sa.String(32), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("covered", sa.BigInteger, nullable=False),  # every number below is accounted for
    sa.Column("count", sa.BigInteger, nullable=False),  # the highest that the lock named
    sa.Column("heard_s", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("lock", "epoch"),
)
early = sa.Table(  # ranges above covered that are accounted for
    "early",
    _schema,
    sa.Column("journal", sa.ForeignKey("journals.id"), primary_key=True),
    sa.Column("first", sa.BigInteger, primary_key=True),
    sa.Column("to", sa.BigInteger, nullable=False),
)
heads = sa.Table(  # what locks said: (count, head)
    "heads",
    _schema,
    sa.Column("journal", sa.ForeignKey("journals.id"), primary_key=True),
    sa.Column("count", sa.BigInteger, primary_key=True),
    sa.Column("head", sa.LargeBinary, nullable=False),
)
records = sa.Table(
    "records",
    _schema,
    sa.Column("journal", sa.ForeignKey("journals.id"), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("tag", sa.LargeBinary, nullable=False),
    sa.Column("seal", sa.SmallInteger, nullable=False),
    sa.Column("received_s", sa.BigInteger, nullable=False),
    # out of the body, to be asked for
    sa.Column("time_s", sa.BigInteger),
    sa.Column("kind", sa.Integer),
    sa.Column("person", sa.String(32)),
    sa.Index("records_time", "time_s"),
    sa.Index("records_person", "person"),
)
findings = sa.Table(
    "findings",
    _schema,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("journal", sa.ForeignKey("journals.id"), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Column("detail", sa.LargeBinary, nullable=False),  # what contradicts: a body, a head
    sa.Column("found_s", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("journal", "kind", "first", "last", "detail"),
)

ALTERED, REPLACED, SET_BACK, ELSEWHERE = "altered", "replaced", "set back", "elsewhere"


class StoreError(ToolError):
    """The database cannot be opened, or is not one of ours."""


class StoreTrouble(Exception):
    """The database did not take it now (locked, full, gone); nothing was stored. Worth another try."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A batch whose tag is right, with its records checked."""

    batch: Batch
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Covered:
    """An authentic acknowledgement that came from a lock: some store has all below `count`."""

    lock_id: str
    epoch: int
    count: int


@dataclass(slots=True)
class Outcome:
    """What came of adding: the counts to acknowledge by journal, new records, and findings in words."""

    covered: dict[tuple[str, int], int]
    new: int = 0
    repeated: int = 0
    findings: list[str] | None = None


def url_of(text: str) -> str:
    """Return a database URL; a plain path means an SQLite file."""
    return text if "://" in text else f"sqlite:///{text}"


class Store:
    """Store(url): opens the database, and makes its tables if they are missing. StoreError says what is wrong."""

    def __init__(self, url: str, *, is_new_allowed: bool = True) -> None:
        try:
            parsed = sa.make_url(url_of(url))
            self.is_sqlite = parsed.get_backend_name() == "sqlite"
            options: dict[str, Any] = {"connect_args": {"timeout": BUSY_S}} if self.is_sqlite else {}
            self.engine = sa.create_engine(parsed, pool_pre_ping=not self.is_sqlite, **options)
        except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
            raise StoreError(
                f"{text_of(error)}: give a file, or an URL like postgresql+psycopg://user@host/name"
            ) from None
        if self.is_sqlite:
            if not is_new_allowed and parsed.database and not Path(parsed.database).exists():
                raise StoreError(f"there is no database {parsed.database}: `vitrine collect` makes one")
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        self.name = parsed.render_as_string(hide_password=True)
        try:
            self._make_tables()
        except exc.DBAPIError as error:
            raise StoreError(f"cannot use the database {self.name}: {text_of(error)}") from None

    def _make_tables(self) -> None:
        try:
            _schema.create_all(self.engine)
        except (exc.ProgrammingError, exc.IntegrityError):
            # PostgreSQL, and another collector made them at the same moment
            _schema.create_all(self.engine)

    def close(self) -> None:
        """Let the connections go."""
        self.engine.dispose()

    def add(self, items: Iterable[Verified | Covered]) -> Outcome:
        """Store it all, durably, or nothing (StoreTrouble); tell what may be acknowledged."""
        now_s = int(time.time())
        by_journal: dict[tuple[str, int], list[Verified | Covered]] = {}
        for item in items:
            key = (item.batch.lock_id, item.batch.epoch) if isinstance(item, Verified) else (item.lock_id, item.epoch)
            by_journal.setdefault(key, []).append(item)
        outcome = Outcome({}, findings=[])
        try:
            with self.engine.begin() as connection:
                # always in the same order: two collectors must not wait for each other
                for key in sorted(by_journal):
                    _JournalUpdate(connection, key, now_s, outcome).add(by_journal[key])
        except exc.DBAPIError as error:
            raise StoreTrouble(text_of(error)) from error
        return outcome


class _JournalUpdate:
    """The part of a transaction that is about one journal."""

    def __init__(self, connection: sa.Connection, key: tuple[str, int], now_s: int, outcome: Outcome) -> None:
        self._connection = connection
        self._key = key
        self._now_s = now_s
        self._outcome = outcome
        row = self._locked_row()
        self._id, self._covered, self._count = row.id, row.covered, row.count

    def add(self, items: list[Verified | Covered]) -> None:
        ranges = []
        for item in items:
            if isinstance(item, Covered):
                ranges.append((0, item.count))
                if item.count > self._covered:
                    self._find(ELSEWHERE, self._covered, item.count - 1)
            else:
                self._add_records(item.records)
                self._witness(item.batch)
                ranges.append((item.batch.first, item.batch.to))
        self._cover(ranges)
        self._connection.execute(
            journals.update()
            .where(journals.c.id == self._id)
            .values(covered=self._covered, count=self._count, heard_s=self._now_s)
        )
        self._outcome.covered[self._key] = self._covered

    def _locked_row(self) -> Any:
        lock_id, epoch = self._key
        wanted = sa.select(journals).where(journals.c.lock == lock_id, journals.c.epoch == epoch).with_for_update()
        row = self._connection.execute(wanted).one_or_none()
        if row is None:
            values = {"lock": lock_id, "epoch": epoch, "covered": 0, "count": 0, "heard_s": self._now_s}
            self._insert_if_new(journals, [values])
            row = self._connection.execute(wanted).one()
        return row

    def _add_records(self, new: tuple[Record, ...]) -> None:
        if not new:
            return
        known = dict(
            self._connection.execute(
                sa.select(records.c.sequence, records.c.tag).where(
                    records.c.journal == self._id,
                    records.c.sequence.between(new[0].sequence, new[-1].sequence),
                )
            ).all()
        )
        rows = []
        for record in new:
            tag = known.get(record.sequence)
            if tag is not None:
                self._outcome.repeated += 1
                # a wrong tag proves nothing against what is here; a right one does
                if tag != record.tag and record.seal == Seal.RIGHT:
                    self._find(REPLACED, record.sequence, record.sequence, record.body)
                continue
            if record.seal == Seal.ALTERED:
                self._find(ALTERED, record.sequence, record.sequence)
            rows.append(self._row(record))
        if rows:
            self._connection.execute(records.insert(), rows)
        self._outcome.new += len(rows)

    def _row(self, record: Record) -> dict[str, Any]:
        fields = fields_of(record.body)
        time_s, kind, person = fields.get(2), fields.get(1), fields.get(7)
        return {
            "journal": self._id,
            "sequence": record.sequence,
            "body": record.body,
            "tag": record.tag,
            "seal": record.seal.value if record.seal else None,
            "received_s": self._now_s,
            "time_s": time_s if type(time_s) is int and time_s <= 0xFFFFFFFF else None,
            "kind": kind if type(kind) is int and 0 <= kind <= 255 else None,
            "person": person.hex() if isinstance(person, bytes) and len(person) <= 16 else None,
        }

    def _witness(self, batch: Batch) -> None:
        """Keep what the lock says of itself, and see whether it contradicts what it said before."""
        said = self._connection.scalar(
            sa.select(heads.c.head).where(heads.c.journal == self._id, heads.c.count == batch.count)
        )
        if said is None:
            self._connection.execute(heads.insert().values(journal=self._id, count=batch.count, head=batch.head))
        elif said != batch.head:
            self._find(SET_BACK, batch.count, batch.count, batch.head)
        self._count = max(self._count, batch.count)

    def _cover(self, ranges: list[tuple[int, int]]) -> None:
        """Raise `covered` by ranges [first, to) that are accounted for, and by those that came early."""
        kept = list(self._connection.execute(sa.select(early.c.first, early.c.to).where(early.c.journal == self._id)))
        left = []
        for first, to in sorted(kept + ranges):
            if first <= self._covered:
                self._covered = max(self._covered, to)
            elif left and first <= left[-1][1]:
                left[-1] = (left[-1][0], max(left[-1][1], to))
            elif to > first:
                left.append((first, to))
        if left != sorted(kept):
            self._connection.execute(early.delete().where(early.c.journal == self._id))
            if left:
                rows = [{"journal": self._id, "first": first, "to": to} for first, to in left]
                self._connection.execute(early.insert(), rows)

    def _find(self, kind: str, first: int, last: int, detail: bytes = b"") -> None:
        values = {"journal": self._id, "kind": kind, "first": first, "last": last, "detail": detail}
        self._insert_if_new(findings, [{**values, "found_s": self._now_s}])
        numbers = f"record {first}" if first == last else f"records {first} to {last}"
        if self._outcome.findings is not None:
            self._outcome.findings.append(f"{self._key[0]}: {numbers} {kind}")

    def _insert_if_new(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        if self._connection.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert
        else:
            from sqlalchemy.dialects.sqlite import insert
        self._connection.execute(insert(table).on_conflict_do_nothing(), rows)


def fields_of(body: bytes) -> dict[Any, Any]:
    """Return the fields of a record's body, none if it is not readable (an altered one may hold anything)."""
    try:
        value = cbor.decode(body, MAX_BODY)
    except cbor.CborError:
        return {}
    return value if isinstance(value, dict) else {}


def as_bytes(value: Any) -> bytes:
    """Return a column's bytes, also where somebody has put a text in their place: it is judged then, not a crash."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogateescape")


def text_of(error: BaseException) -> str:
    """Return a database's complaint in one line."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split()) or type(cause).__name__


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.text_factory = lambda data: data.decode(errors="surrogateescape")  # see as_bytes
    connection.isolation_level = None  # SQLAlchemy's BEGIN IMMEDIATE is the only one
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # in WAL mode NORMAL would lose the last commits with the power
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
