"""Is the evidence in a store whole? Every seal, number and head, judged again from the root keys (SPEC.md 10.2).

The judging is seal.py's; here is what a store adds to it: several journals, what other stores have, and what the
collector could see only at the moment it happened.
"""

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from .. import when
from ..collector import store as tables
from ..collector.escrow import Escrow
from ..collector.store import Store, as_bytes
from . import seal
from .seal import Finding, Kind, Witness
from .sealed import Record

_GONE: Final = (Kind.MISSING, Kind.TRUNCATED)


@dataclass(frozen=True, slots=True)
class JournalVerdict:
    """One journal. `accounted`: every number below is stored, or known to be gone; `findings` in order of numbers."""

    lock_id: str
    epoch: int
    stored: int
    proved: int
    accounted: int
    count: int
    heard_s: int
    findings: tuple[Finding, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing shows tampering or damage; a loss that the lock itself told of does not."""
        return all(finding.is_harmless for finding in self.findings)

    @property
    def summary(self) -> str:
        """The verdict in one line."""
        waiting = f", {self.count - self.accounted} still to come" if self.count > self.accounted else ""
        return (
            f"{self.lock_id} (epoch {self.epoch}): {self.proved} of {self.stored} seals right, "
            f"all {self.accounted} numbers accounted for{waiting}, last heard {when.time_text(self.heard_s)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the verdict for scripts."""
        return {
            "lock": self.lock_id,
            "epoch": self.epoch,
            "whole": self.is_whole,
            "stored": self.stored,
            "proved": self.proved,
            "accounted": self.accounted,
            "count": self.count,
            "findings": [
                {
                    "kind": finding.kind.value,
                    "first": finding.first,
                    "last": finding.last,
                    "harmless": finding.is_harmless,
                    "text": finding.text,
                }
                for finding in self.findings
            ],
        }


def judge(store: Store, escrow: Escrow, locks: tuple[str, ...] = ()) -> list[JournalVerdict]:
    """Return the verdict on every journal, or on those of `locks`."""
    query = sa.select(tables.journals).order_by(tables.journals.c.lock, tables.journals.c.epoch)
    if locks:
        query = query.where(tables.journals.c.lock.in_(locks))
    with store.engine.connect() as connection:
        return [_judge(connection, row, escrow) for row in connection.execute(query).all()]


def _judge(connection: sa.Connection, row: Any, escrow: Escrow) -> JournalVerdict:
    trail = _records(connection, row)
    keys = escrow.of(row.lock, row.epoch)
    noted, elsewhere = _noted(connection, row)
    proved = 0
    if keys is None:
        text = "its root key is not in the folder: nothing of it was checked"
        findings = [Finding(Kind.KEY, 0, max(row.covered - 1, 0), text)]
    else:
        start = next((last + 1 for first, last in elsewhere if first == 0), 0)
        verdict = seal.verify(keys, trail, count=row.covered, start=start, witnesses=_witnesses(connection, row))
        proved = len(verdict.records)
        findings = [each for each in verdict.findings if not _is_within(each, elsewhere)]
    findings = sorted([*findings, *noted], key=lambda finding: finding.first)
    return JournalVerdict(row.lock, row.epoch, len(trail), proved, row.covered, row.count, row.heard_s, tuple(findings))


def _noted(connection: sa.Connection, row: Any) -> tuple[list[Finding], list[tuple[int, int]]]:
    """Return what the collector saw when it happened, and the ranges that are in another store."""
    findings, elsewhere = [], []
    query = sa.select(tables.findings).where(tables.findings.c.journal == row.id).order_by(tables.findings.c.first)
    for note in connection.execute(query):
        if note.kind == tables.ELSEWHERE:
            elsewhere.append((note.first, note.last))
            text = f"records {note.first} to {note.last} were acknowledged by another store"
            findings.append(Finding(Kind.LOST, note.first, note.last, text))
        elif note.kind == tables.REPLACED:
            text = f"record {note.first}: the lock sealed two: it was set back to an old image and went on from there"
            findings.append(Finding(Kind.FORKED, note.first, note.last, text))
        elif note.kind == tables.SET_BACK:
            text = f"the lock told two heads for its first {note.first} records: it was set back"
            findings.append(Finding(Kind.HEAD, note.first, note.last, text))
    return findings, elsewhere


def _is_within(finding: Finding, ranges: list[tuple[int, int]]) -> bool:
    return finding.kind in _GONE and any(first <= finding.first and finding.last <= last for first, last in ranges)


def _records(connection: sa.Connection, row: Any) -> list[Record]:
    """Return what is stored below the accounted count: what came early from above it has no neighbours yet."""
    columns = tables.records.c
    query = sa.select(columns.sequence, columns.body, columns.tag).where(
        columns.journal == row.id, columns.sequence < row.covered
    )
    # SQLite keeps whatever type somebody puts into a column, and a text is no evidence
    return [
        Record(each.sequence, as_bytes(each.body), as_bytes(each.tag))
        for each in connection.execute(query.order_by(columns.sequence))
    ]


def _witnesses(connection: sa.Connection, row: Any) -> list[Witness]:
    columns = tables.heads.c
    query = sa.select(columns.count, columns.head).where(columns.journal == row.id, columns.count <= row.covered)
    return [Witness(*values) for values in connection.execute(query)]
