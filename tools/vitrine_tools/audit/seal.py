"""Judges an audit trail with the escrowed root key: what was altered, removed, put in, put elsewhere or cut off.

Works on records from any source (a collector's store, courier files, a flash image): number, body, tag. It believes
nothing but the tags (SPEC.md sections 7.1, 8.5 and 8.6), and shares no code with the firmware.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from . import records
from .sealed import HEAD_SIZE, NO_TAG, Keys, Record, next_head

_UNKNOWN: Final = -1  # the class of records that went missing in the lock


class Kind(Enum):
    """What a finding is about. Only `LOST` and `REPEATED` leave a trail whole."""

    ALTERED = "altered"
    INSERTED = "inserted"
    REORDERED = "reordered"
    REPEATED = "repeated"
    FORKED = "forked"
    MISSING = "missing"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    LOST = "lost"
    UNSEALED = "unsealed"
    HEAD = "head"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: `first` to `last` are the record numbers it is about, `text` is for people."""

    kind: Kind
    first: int
    last: int
    text: str

    @property
    def is_harmless(self) -> bool:
        return self.kind in (Kind.LOST, Kind.REPEATED)


@dataclass(frozen=True, slots=True)
class Witness:
    """Somebody saw the lock say: this many records, this head. A hello, a heartbeat, a batch."""

    count: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """`records` are those that are proved, by number; `findings` what is to be said, in order of numbers."""

    records: dict[int, Record]
    findings: list[Finding]

    @property
    def is_whole(self) -> bool:
        return all(finding.is_harmless for finding in self.findings)


def verify(
    keys: Keys,
    trail: Iterable[Record],
    *,
    count: int | None = None,
    start: int = 0,
    witnesses: Sequence[Witness] = (),
) -> Verdict:
    """Judge `trail`, in the order it is given in.

    `count`: what the lock proved its count to be (a batch, its key cell); without it a cut end cannot be seen.
    `start`: nothing below it is expected (a flash image: what the collector has acknowledged).
    """
    findings: list[Finding] = []
    proved = _prove(keys, list(trail), count, findings)
    if count is None:
        count = max(proved, default=start - 1) + 1
    _account(proved, start, count, findings)
    _check_heads(proved, count, witnesses, findings)
    findings.sort(key=lambda finding: finding.first)
    return Verdict(proved, findings)


def is_sealed(keys: Keys, record: Record) -> bool:
    """Tell whether the lock made this record."""
    return hmac.compare_digest(record.tag, keys.record_tag(record.sequence, record.body))


def _prove(keys: Keys, trail: list[Record], count: int | None, findings: list[Finding]) -> dict[int, Record]:
    """Return the records whose tag is right; note those that are not, and those that stand where they do not belong."""
    proved: dict[int, Record] = {}
    doubtful: list[Record] = []
    highest = -1
    for record in trail:
        if not is_sealed(keys, record):
            doubtful.append(record)
            continue
        number = record.sequence
        what = records.describe(number, record.body)
        known = proved.get(number)
        if known is not None and known.body == record.body:
            findings.append(Finding(Kind.REPEATED, number, number, f"{what} comes again"))
        elif known is not None:
            text = f"{what}: there are two, both sealed: the lock was set back to an old image and went on from there"
            findings.append(Finding(Kind.FORKED, number, number, text))
        elif number < highest:
            findings.append(Finding(Kind.REORDERED, number, number, f"{what} stands behind record {highest}"))
        if count is not None and number >= count:
            findings.append(Finding(Kind.INSERTED, number, number, f"{what}: the lock had only {count} records"))
        highest = max(highest, number)
        proved.setdefault(number, record)
    named: set[int] = set()
    for record in doubtful:
        number = record.sequence
        what = records.describe(number, record.body)
        if number in proved or number in named or (count is not None and number >= count):
            kind, text = Kind.INSERTED, f"{what} was put in: the lock did not seal it"
        elif record.tag == NO_TAG:
            kind, text = Kind.UNSEALED, f"{what} bears no seal: the lock had lost its key, or it is false"
        else:
            kind, text = Kind.ALTERED, f"{what} was altered"
        named.add(number)
        findings.append(Finding(kind, number, number, text))
    return proved


@dataclass(frozen=True, slots=True)
class _Loss:
    """A RecordsLost: `number` records of `of_class` between `first` and `last`."""

    of_class: int
    first: int
    last: int
    number: int


def _account(proved: dict[int, Record], start: int, count: int, findings: list[Finding]) -> None:
    """Look for each number below `count`: it is there, or the lock said that it gave it up, or it is missing."""
    named = {finding.first for finding in findings if finding.kind in (Kind.ALTERED, Kind.UNSEALED)}
    gone = [number for number in range(start, count) if number not in proved and number not in named]
    explained: set[int] = set()
    for cluster in _clusters(_standing_losses(proved)):
        there = [n for n in gone if any(loss.first <= n <= loss.last for loss in cluster)]
        explained.update(there)
        if not there:
            continue  # the collector has them: its acknowledgement did not come through in time
        findings.extend(_finding_of(loss) for loss in cluster)
        given_up = sum(loss.number for loss in cluster)
        if len(there) > given_up:
            first, last = cluster[0].first, max(loss.last for loss in cluster)
            text = (
                f"{len(there)} of the records {first} to {last} are not there, of which the lock gave up {given_up}: "
                f"{len(there) - given_up} were removed or damaged"
            )
            findings.append(Finding(Kind.MISSING, first, last, text))
    for first, last in _runs([n for n in gone if n not in explained]):
        if last == count - 1:
            text = f"cut off: the lock had {count} records, and {_numbers(first, last)} not there"
            findings.append(Finding(Kind.TRUNCATED, first, last, text))
        else:
            findings.append(Finding(Kind.MISSING, first, last, f"{_numbers(first, last)} missing"))


def _standing_losses(proved: dict[int, Record]) -> list[_Loss]:
    """Return the losses that the lock recorded; of two of a class that overlap, the wider one (SPEC.md 7.1)."""
    standing: list[_Loss] = []
    for record in proved.values():
        loss = _loss(record)
        if loss is None or not loss.number:
            continue
        over = [other for other in standing if other.of_class == loss.of_class and _overlap(other, loss)]
        if any(other.last - other.first >= loss.last - loss.first for other in over):
            continue
        standing = [other for other in standing if other not in over]
        standing.append(loss)
    return standing


def _loss(record: Record) -> _Loss | None:
    fields = _fields(record)
    if fields.get("kind") != records.RECORDS_LOST:
        return None
    limits, number, of_class = fields.get("range"), fields.get("count"), fields.get("class", _UNKNOWN)
    numbers: list[Any] = [*limits, number, of_class] if isinstance(limits, list) else []
    if len(numbers) != 4 or not all(type(value) is int for value in numbers):
        return None
    return _Loss(of_class, numbers[0], numbers[1], numbers[2])


def _finding_of(loss: _Loss) -> Finding:
    if loss.of_class == _UNKNOWN:
        text = f"{_numbers(loss.first, loss.last)} gone from the lock's flash when it started: damaged or removed"
        return Finding(Kind.DAMAGED, loss.first, loss.last, text)
    name = records.CLASSES.get(loss.of_class, str(loss.of_class))
    text = f"the lock gave up {loss.number} records of class {name} between {loss.first} and {loss.last}: it was full"
    return Finding(Kind.LOST, loss.first, loss.last, text)


def _check_heads(proved: dict[int, Record], count: int, witnesses: Sequence[Witness], findings: list[Finding]) -> None:
    """Go along the chain of tags as far as it is unbroken, and compare it with what was seen of it."""
    seen: dict[int, set[bytes]] = {}
    for witness in witnesses:
        if witness.count > count:
            text = f"a witness saw {witness.count} records, the lock speaks of {count}: it was wiped or set back"
            findings.append(Finding(Kind.HEAD, witness.count, witness.count, text))
        seen.setdefault(witness.count, set()).add(witness.head)
    head: bytes | None = bytes(HEAD_SIZE)
    for number in range(count + 1):
        record = proved.get(number)
        if head is None and record:
            anchor = _fields(record).get("head")  # of a RecordsLost: the chain goes on from it
            head = anchor if isinstance(anchor, bytes) and len(anchor) == HEAD_SIZE else None
        if head is not None and any(other != head for other in seen.get(number, ())):
            text = f"what a witness saw of the first {number} records is not what is here: the lock was set back"
            findings.append(Finding(Kind.HEAD, number, number, text))
        head = next_head(head, number, record.tag) if head is not None and record else None


def _fields(record: Record) -> dict[str, Any]:
    try:
        return records.decode(record.body)
    except records.RecordError:
        return {}


def _overlap(one: _Loss, other: _Loss) -> bool:
    return one.first <= other.last and other.first <= one.last


def _clusters(losses: list[_Loss]) -> list[list[_Loss]]:
    """Return the losses in groups whose ranges overlap: only together do their numbers say how many are gone there."""
    clusters: list[list[_Loss]] = []
    reach = -1
    for loss in sorted(losses, key=lambda loss: loss.first):
        if clusters and loss.first <= reach:
            clusters[-1].append(loss)
        else:
            clusters.append([loss])
        reach = max(reach, loss.last)
    return clusters


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _numbers(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"
