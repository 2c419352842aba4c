"""Whether locks that run an update raise more alarms, or refuse more, than before: from a collector's database.

Usual is what the same locks had on average in the time before the rollout. Only records with a right seal count.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final

from ...audit import query
from ...collector.store import Store
from .plan import Stop

_KINDS: Final = {"alarms": 0, "refusals": 3}  # DoorLockAlarm, LockOperationError
_COUNT: Final = 14  # how many a folded record stands for
_FRESH_S: Final = 30.0


class Figures:
    """Figures(store, begun_s, baseline_s, stop): callable as the runner's `harm`."""

    def __init__(
        self, store: Store, begun_s: float, baseline_s: int, stop: Stop, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._begun_s = begun_s
        self._baseline_s = baseline_s
        self._most = {name: most for name, most in (("alarms", stop.alarms), ("refusals", stop.refusals)) if most}
        self._clock = clock
        self._usual: dict[tuple[str, str], float] = {}  # by kind and lock: how many in a second
        self._looked_s = float("-inf")
        self._said: str | None = None

    def __call__(self, done: dict[str, float]) -> str | None:
        """Return what is wrong in words, or None. done: since when each lock has run the update."""
        now_s = self._clock()
        if self._most and done and not 0 <= now_s - self._looked_s < _FRESH_S:
            self._looked_s = now_s
            self._said = self._look(done, now_s)
        return self._said

    def _look(self, done: dict[str, float], now_s: float) -> str | None:
        for name, most in self._most.items():
            kind = _KINDS[name]
            new = sorted(lock for lock in done if (name, lock) not in self._usual)
            before = self._counts(new, kind, self._begun_s - self._baseline_s, dict.fromkeys(new, 0.0), self._begun_s)
            self._usual |= {(name, lock): before[lock] / self._baseline_s for lock in new}
            now = self._counts(list(done), kind, min(done.values()), done, now_s + 1)
            usual = sum(self._usual[name, lock] * max(0.0, now_s - since_s) for lock, since_s in done.items())
            if sum(now.values()) - usual >= most:
                worst = max(now, key=lambda lock: now[lock])
                return f"{sum(now.values())} {name} where {usual:.1f} are usual, most of them at {worst}"
        return None

    def _counts(
        self, locks: list[str], kind: int, since_s: float, from_s: dict[str, float], until_s: float
    ) -> dict[str, int]:
        """Return how many records of `kind` each lock has from its own time on."""
        counts = dict.fromkeys(locks, 0)
        for some in _some(locks):
            wanted = query.Filter(locks=some, since_s=int(since_s), until_s=int(until_s), kinds=(kind,))
            for entry in query.select(self._store, wanted):
                if entry.is_right and (entry.time_s or 0) >= from_s[entry.lock_id]:
                    count = entry.fields.get(_COUNT, 1)
                    counts[entry.lock_id] += count if type(count) is int and 0 < count <= 0xFFFFFFFF else 1
        return counts


def _some(locks: list[str], size: int = 500) -> Iterable[tuple[str, ...]]:
    """Cut the list as a database takes it."""
    return (tuple(locks[at : at + size]) for at in range(0, len(locks), size))
