"""The numbers behind a report: openings, refusals, and how long doors stood open. Counts events, not records."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from .query import Entry

DOOR_STATE_CHANGE, LOCK_OPERATION, LOCK_OPERATION_ERROR = 1, 2, 3
_OPEN, _CLOSED = 0, 1
_UNLOCK, _HOLD = 1, 128
NOBODY: Final = "(no pseudonym)"
BUTTON: Final = "(exit button)"
# upper bounds in seconds; a door is held open for ever shorter or longer, so each is about three times the one before
STEPS_S: Final = (1, 3, 10, 30, 100, 300, 1000, 3600)


@dataclass(frozen=True, slots=True)
class Opening:
    """Somebody opened a lock."""

    lock_id: str
    time_s: int
    person: str
    word: str


@dataclass(frozen=True, slots=True)
class Stay:
    """A door stood open from `time_s` on, for `open_s` seconds."""

    lock_id: str
    time_s: int
    open_s: int


@dataclass(slots=True)
class Figures:
    """All figures of one report."""

    records: int = 0
    openings: list[Opening] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    alarms: list[Entry] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    locks: set[str] = field(default_factory=set)
    first_s: int | None = None
    last_s: int | None = None

    @property
    def steps(self) -> list[int]:
        """How many stays end within each of STEPS_S, and beyond the last."""
        counts = [0] * (len(STEPS_S) + 1)
        for stay in self.stays:
            counts[next((i for i, step_s in enumerate(STEPS_S) if stay.open_s <= step_s), len(STEPS_S))] += 1
        return counts

    @property
    def by_person(self) -> Counter[tuple[str, str]]:
        """How often each person opened each lock."""
        return Counter((opening.person, opening.lock_id) for opening in self.openings)


def count(entries: Iterable[Entry]) -> Figures:
    """Return the figures of `entries`, in any order. A record with a wrong seal counts for nothing but itself."""
    figures = Figures()
    for entry in sorted(entries, key=lambda entry: (entry.lock_id, entry.epoch, entry.sequence)):
        figures.records += 1
        figures.locks.add(entry.lock_id)
        if not entry.is_right:
            continue
        if entry.time_s is not None:
            figures.first_s = min(entry.time_s, figures.first_s if figures.first_s is not None else entry.time_s)
            figures.last_s = max(entry.time_s, figures.last_s or 0)
        _take(figures, entry)
    _measure(figures, entries)
    return figures


def _take(figures: Figures, entry: Entry) -> None:
    fields = entry.fields
    kind = fields.get(1)
    if fields.get(11) is not None and fields.get(14) != 0:  # 0: it is over
        figures.alarms.append(entry)  # an opening under duress is one as well
    if kind == LOCK_OPERATION and fields.get(5) in (_UNLOCK, _HOLD) and entry.time_s is not None:
        nobody = BUTTON if fields.get(6) == 5 else NOBODY
        word = "held open" if fields.get(5) == _HOLD else "opened"
        figures.openings.append(Opening(entry.lock_id, entry.time_s, entry.person or nobody, word))
    elif kind == LOCK_OPERATION_ERROR:
        times = fields.get(14) if 19 in fields else None  # a count of its own only where records were folded
        figures.refusals[entry.word(4) or "unknown"] += times if type(times) is int and times > 0 else 1


def _measure(figures: Figures, entries: Iterable[Entry]) -> None:
    """Pair each door that opened with its closing; one that is still open, or lost its closing, has no length."""
    since: dict[tuple[str, int], int] = {}
    for entry in sorted(entries, key=lambda entry: (entry.lock_id, entry.epoch, entry.sequence)):
        key = entry.lock_id, entry.epoch
        kind, state, time_s = entry.fields.get(1), entry.fields.get(10), entry.time_s
        if not entry.is_right or time_s is None:
            continue
        if kind == 128:  # a start: what happened while it was off is not known
            since.pop(key, None)
        elif kind == DOOR_STATE_CHANGE and state == _CLOSED:
            begin_s = since.pop(key, None)
            if begin_s is not None and time_s >= begin_s:
                figures.stays.append(Stay(entry.lock_id, begin_s, time_s - begin_s))
        elif kind == DOOR_STATE_CHANGE and state != _CLOSED:
            since.setdefault(key, time_s)
