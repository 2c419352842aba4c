"""What only who sees several locks can see: one person at two of them faster than one can walk (SPEC.md section 12).

And the scores that the locks gave themselves. Reads records whose seal is right, and nothing else.
"""

import tomllib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .. import names, when
from ..errors import ToolError
from .figures import LOCK_OPERATION, LOCK_OPERATION_ERROR
from .query import Entry

_TIME_STATE, _REASON, _SUB, _KID, _AUTHENTIC, _SCORE, _RULE = 3, 4, 7, 13, 16, 24, 25
DEFAULT_CLOCK_ERROR_S: Final = 10
_DEFAULT_SPEED_M_S: Final = 2.0  # a brisk walk
_MAX_LOCKS: Final = 500

Pair = frozenset[str]


@dataclass(frozen=True, slots=True)
class Site:
    """How long one walks between two locks at least, in seconds, and how wrong a lock's clock may be."""

    walk_s: dict[Pair, float]
    clock_error_s: float = DEFAULT_CLOCK_ERROR_S

    def walk(self, one: str, other: str) -> float | None:
        """Return the seconds between two locks, None if the site does not say."""
        return self.walk_s.get(frozenset((one, other)))


@dataclass(frozen=True, slots=True)
class Travel:
    """The holder of one pseudonym proved a key at two locks, `gap_s` apart, which are `walk_s` from each other."""

    person: str
    first: Entry
    then: Entry
    gap_s: int
    walk_s: float

    @property
    def text(self) -> str:
        """The finding in one line."""
        first, then = self.first, self.then
        return (
            f"{_when(then)} {self.person}: {_what(first)} {first.lock_id} #{first.sequence}, then {_what(then)} "
            f"{then.lock_id} #{then.sequence} {self.gap_s} s later: {self.walk_s:g} s to walk"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the finding for scripts."""
        return {
            "person": self.person,
            "first": _to_json(self.first),
            "then": _to_json(self.then),
            "gap_s": self.gap_s,
            "walk_s": self.walk_s,
        }


@dataclass(frozen=True, slots=True)
class Score:
    """A record to which its lock gave a score."""

    entry: Entry
    score: int
    rule: str

    @property
    def text(self) -> str:
        """The record in one line."""
        entry = self.entry
        return (
            f"{_when(entry)} {_who(entry)}: {_what(entry)} {entry.lock_id} #{entry.sequence}: {self.score} {self.rule}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record for scripts."""
        return {"person": _who(self.entry), **_to_json(self.entry), "score": self.score, "rule": self.rule}


@dataclass(slots=True)
class Risks:
    """What was found. `unjudged`: proofs at an unknown time; `unnamed`: pairs of locks that the site does not name."""

    travels: list[Travel] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    unjudged: int = 0
    unnamed: set[tuple[str, str]] = field(default_factory=set)


def load_site(path: Path) -> Site:
    """Read a site file; ToolError tells what is wrong with it.

    clock_error_s = 10            how wrong a lock's clock may be (10 if absent)
    speed_m_s = 2.0               how fast one walks (2.0 if absent)
    [[walk]]
    locks = ["case-12", "case-13"]
    seconds = 45                  or metres = 90. As fast as it can be done, from where a phone reaches the lock
    """
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ToolError(f"{path} is no site file: {error}") from None
    _only(path, "the file", table, {"clock_error_s", "speed_m_s", "walk"})
    walks = table.get("walk")
    if not isinstance(walks, list) or not walks:
        raise ToolError(f"{path}: there is no [[walk]] in it")
    clock_error_s = _number(path, table, "clock_error_s", DEFAULT_CLOCK_ERROR_S, 0)
    speed = _number(path, table, "speed_m_s", _DEFAULT_SPEED_M_S, 0.1)
    walk_s: dict[Pair, float] = {}
    for walk in walks:
        if not isinstance(walk, dict):
            raise ToolError(f"{path}: each [[walk]] is a table")
        _only(path, "a [[walk]]", walk, {"locks", "seconds", "metres"})
        locks = walk.get("locks")
        if not isinstance(locks, list) or len(locks) != 2 or not all(isinstance(lock, str) for lock in locks):
            raise ToolError(f"{path}: a [[walk]] has locks = [one, another]")
        pair = frozenset(names.check_lock_id(lock) for lock in locks)
        if len(pair) != 2 or pair in walk_s or ("seconds" in walk) == ("metres" in walk):
            raise ToolError(f"{path}: {' and '.join(locks)}: two locks, named once, with seconds or metres")
        seconds = _number(path, walk, "seconds", 0, 0) if "seconds" in walk else 0.0
        walk_s[pair] = seconds or _number(path, walk, "metres", 0, 0) / speed
    return Site(_shortest(path, walk_s), clock_error_s)


def find(entries: Iterable[Entry], site: Site | None, least_score: int) -> Risks:
    """Judge `entries`, which come in order of time. A proof of a key counts wherever it was, granted or refused."""
    risks = Risks()
    # person: lock: the latest proof there
    latest: dict[tuple[bytes, bytes], dict[str, Entry]] = defaultdict(dict)
    told: set[tuple[Entry, str]] = set()
    for entry in entries:
        if not entry.is_right:
            continue
        fields = entry.fields
        score, rule = fields.get(_SCORE), fields.get(_RULE)
        if type(score) is int and score >= least_score:
            risks.scores.append(Score(entry, score, rule if isinstance(rule, str) else ""))
        if site is None or not _is_proof(fields):
            continue
        if entry.time_s is None or not fields.get(_TIME_STATE):
            risks.unjudged += 1
            continue
        been = latest[fields[_KID], fields[_SUB]]
        for first in been.values():
            if first.lock_id == entry.lock_id:
                continue
            walk_s = site.walk(first.lock_id, entry.lock_id)
            if walk_s is None:
                one, other = sorted((first.lock_id, entry.lock_id))
                risks.unnamed.add((one, other))
                continue
            gap_s = entry.time_s - (first.time_s or 0)
            # times are whole seconds, and each of the two clocks may be wrong in its own direction
            if gap_s + 1 + 2 * site.clock_error_s < walk_s and (first, entry.lock_id) not in told:
                told.add((first, entry.lock_id))
                risks.travels.append(Travel(_who(entry), first, entry, gap_s, walk_s))
        been[entry.lock_id] = entry
    return risks


def _is_proof(fields: dict[Any, Any]) -> bool:
    """Whether the record says that the holder of a pseudonym was there, with the key."""
    if not isinstance(fields.get(_SUB), bytes) or not isinstance(fields.get(_KID), bytes):
        return False
    kind = fields.get(1)
    return kind == LOCK_OPERATION or (kind == LOCK_OPERATION_ERROR and fields.get(_AUTHENTIC) is True)


def _shortest(path: Path, walk_s: dict[Pair, float]) -> dict[Pair, float]:
    """Return the pairs that are named, each by its shortest way: over a third lock it may be shorter than was said."""
    locks = sorted({lock for pair in walk_s for lock in pair})
    if len(locks) > _MAX_LOCKS:
        raise ToolError(f"{path}: at most {_MAX_LOCKS} locks")
    near: dict[str, dict[str, float]] = {lock: {} for lock in locks}
    for pair, seconds in walk_s.items():
        one, other = pair
        near[one][other] = near[other][one] = seconds
    for middle in locks:
        for one in locks:
            to_middle = near[one].get(middle)
            if to_middle is None or one == middle:
                continue
            for other, seconds in near[middle].items():
                if other != one and to_middle + seconds < near[one].get(other, float("inf")):
                    near[one][other] = to_middle + seconds
    return {pair: near[min(pair)][max(pair)] for pair in walk_s}


def _only(path: Path, where: str, table: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise ToolError(f"{path}: {where} has {', '.join(unknown)}; it may have {', '.join(sorted(known))}")


def _number(path: Path, table: dict[str, Any], key: str, default: float, least: float) -> float:
    value = table.get(key, default)
    # `not >=`: a NaN is none
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 1e6:
        raise ToolError(f"{path}: {key} = {value!r} is not a number from {least:g} to 1000000")
    return float(value)


def _who(entry: Entry) -> str:
    return entry.person or "(no pseudonym)"


def _when(entry: Entry) -> str:
    return when.time_text(entry.time_s) if entry.time_s is not None else "time unknown"


def _what(entry: Entry) -> str:
    if entry.fields.get(1) == LOCK_OPERATION:
        return "granted at"
    return f"refused ({entry.word(_REASON) or 'unknown'}) at"


def _to_json(entry: Entry) -> dict[str, Any]:
    return {
        "lock": entry.lock_id,
        "epoch": entry.epoch,
        "sequence": entry.sequence,
        "time": entry.time_s,
        "kind": entry.kind_name,
        "reason": entry.word(_REASON),
    }
