"""New records of a collector's database as events for Home Assistant.

Only records whose seal is right, and nobody's name: whom an event concerns stays in the database (`vitrine audit`).
"""

import time
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc

from ..audit.query import Entry
from ..audit.records import FIELDS, KINDS
from ..audit.sealed import Seal
from ..collector.store import Store, StoreTrouble, as_bytes, journals, records, text_of
from ..when import time_text

LATE_S: Final = 300  # what a lock could not tell sooner is history: it must not set off anything now
_WINDOW = 192  # batches may overtake each other: three of 48 records are under way
_SHOWN: Final = (3, 4, 5, 6, 10, 11, 12, 14, 15, 17, 18, 23)


class NewRecords:
    """NewRecords(store): `take` returns what has come since the last call; what was there before is not new."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked: dict[int, tuple[int, int]] = {}  # by journal: (heard_s, covered) at the last look
        self._told: dict[int, set[int]] = {}  # by journal: numbers near its highest that are told
        self._is_starting = True
        for _ in self._unseen():
            pass
        self._is_starting = False

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """Return (lock, payload of its event entity) of each; StoreTrouble if the database does not answer now."""
        try:
            entries = list(self._unseen())
        except exc.DBAPIError as error:
            raise StoreTrouble(text_of(error)) from error
        return [
            (entry.lock_id, payload(entry))
            for entry in entries
            if entry.is_right and entry.fields.get(1) in KINDS and not _is_late(entry)
        ]

    def _unseen(self) -> Iterator[Entry]:
        with self._store.engine.connect() as connection:
            for journal in connection.execute(sa.select(journals)).all():
                looked = journal.heard_s, journal.covered
                # the time has whole seconds: within the last one there may be more to come
                if self._looked.get(journal.id) == looked and journal.heard_s < time.time() - 2:
                    continue
                self._looked[journal.id] = looked
                yield from self._unseen_of(connection, journal)

    def _unseen_of(self, connection: sa.Connection, journal: Any) -> Iterator[Entry]:
        of_journal = records.c.journal == journal.id
        told = self._told.get(journal.id)
        if told is None:
            told, last = set(), -1
            if self._is_starting:  # all of it is history, and there may be a lot
                last = connection.scalar(sa.select(sa.func.max(records.c.sequence)).where(of_journal)) or 0
        else:
            last = max(told, default=-1)
        rows = connection.execute(
            sa.select(records).where(of_journal, records.c.sequence >= last - _WINDOW).order_by(records.c.sequence)
        ).all()
        for row in rows:
            if row.sequence not in told:
                told.add(row.sequence)
                yield Entry(
                    journal.lock, journal.epoch, row.sequence, Seal(row.seal), row.received_s, as_bytes(row.body)
                )
        floor = max(told, default=0) - _WINDOW
        self._told[journal.id] = {number for number in told if number >= floor}


def payload(entry: Entry) -> dict[str, Any]:
    """Return what an event entity takes: its type, and attributes without persons."""
    named = entry.named()
    attributes = {name: named[name] for name in (FIELDS[key] for key in _SHOWN) if name in named}
    time_s = entry.time_s
    return {
        "event_type": entry.kind_name,
        "number": entry.sequence,
        "time": None if time_s is None else time_text(time_s),
        **attributes,
    }


def _is_late(entry: Entry) -> bool:
    """Whether it happened long before it came here, as far as the lock knew the time."""
    return bool(entry.fields.get(3)) and entry.time_s is not None and entry.received_s - entry.time_s > LATE_S
