"""Which locks are in which ring, and what is to be done next: pure functions of what is known.

A percentage takes the locks in the order of a hash of the release and the lock's name: the same for everybody who asks,
another one for each release, so that not the same shops are always first.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ... import when
from .plan import Plan, zone_of


class State(StrEnum):
    """Where a lock of a ring is."""

    WAITING = "waiting"
    GOING = "going"
    DONE = "done"  # confirmed; in a shadow ring: staged
    RETURNED = "returned"
    REFUSED = "refused"
    SILENT = "silent"


FAILED = frozenset({State.RETURNED, State.REFUSED, State.SILENT})


@dataclass(frozen=True, slots=True)
class Place:
    """A lock in a ring: since when it is in its state; when it was last seen to run the update, after that."""

    state: State = State.WAITING
    since_s: float = 0.0
    checked_s: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ring:
    """A ring with its locks."""

    name: str
    locks: tuple[str, ...]
    is_shadow: bool = False


Places = Mapping[tuple[int, str], Place]  # by (number of the ring, lock)


@dataclass(frozen=True, slots=True)
class Begin:
    """Have these locks of a ring begin now."""

    ring: int
    locks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """A ring's time is over: see whether these still run the update."""

    ring: int
    locks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do but to wait."""

    ring: int
    why: str


@dataclass(frozen=True, slots=True)
class Halt:
    """It does harm: no lock more."""

    why: str


@dataclass(frozen=True, slots=True)
class Finished:
    """All rings have passed."""


Step = Begin | Check | Wait | Halt | Finished


def assign(plan: Plan, release: bytes) -> tuple[Ring, ...]:
    """Return the rings with their locks. `release` names it: the digest of the signed manifest.

    A percentage is of all locks with the ring's labels, those that rings before have included; it is rounded down, but
    at least one. A shadow ring takes nothing away from those after it.
    """
    taken: set[str] = set()
    rings = []
    for number, ring in enumerate(plan.ring, 1):
        if ring.percent is None:
            locks = [lock for lock in ring.locks if lock not in taken]
        else:
            pool = [lock for lock, own in plan.fleet.items() if not ring.labels or set(ring.labels) & set(own)]
            share = max(1, int(len(pool) * ring.percent / 100))
            left = sorted((lock for lock in pool if lock not in taken), key=lambda lock: _rank(release, lock))
            locks = left[: max(0, share - sum(lock in taken for lock in pool))]
        if not ring.shadow:
            taken.update(locks)
        rings.append(Ring(ring.name or f"ring {number}", tuple(locks), ring.shadow))
    return tuple(rings)


def next_step(
    plan: Plan,
    rings: tuple[Ring, ...],
    places: Places,
    now_s: float,
    harm: Callable[[Iterable[int]], str | None] = lambda _rings: None,
) -> Step:
    """Return what to do now. harm(rings): what locks of these rings show beyond what is usual, in words, or None."""
    for number, ring in enumerate(rings):
        step = _step_of(plan, number, ring, places, now_s)
        if isinstance(step, Halt):
            return step
        if step is not None:
            why = harm(range(number + 1))
            return Halt(why) if why else step
    why = harm(range(len(rings)))
    return Halt(why) if why else Finished()


def _step_of(plan: Plan, number: int, ring: Ring, places: Places, now_s: float) -> Step | None:
    """Return what this ring wants, None if it has passed."""
    own = plan.ring[number]
    here = {lock: places.get((number, lock), Place()) for lock in ring.locks}
    failed = sorted(lock for lock, place in here.items() if place.state in FAILED)
    if (own.stop or plan.stop).is_reached(len(failed), len(ring.locks)):
        shown = ", ".join(f"{lock} {here[lock].state}" for lock in failed[:3])
        return Halt(f"{ring.name}: {len(failed)} of {len(ring.locks)} failed ({shown}{', ...' if failed[3:] else ''})")
    going = sum(place.state is State.GOING for place in here.values())
    waiting = [lock for lock in ring.locks if here[lock].state is State.WAITING]
    if waiting:
        windows = plan.windows if own.windows is None else own.windows
        if windows and not when.is_within(list(windows), int(now_s), zone_of(plan.zone)):
            return Wait(number, f"{ring.name}: outside its windows")
        free = (own.concurrency or plan.concurrency) - going
        return Begin(number, tuple(waiting[:free])) if free > 0 else Wait(number, f"{ring.name}: {going} going")
    if going:
        return Wait(number, f"{ring.name}: {going} going")
    done = [lock for lock in ring.locks if here[lock].state is State.DONE]
    if ring.locks and not done:
        return Halt(f"{ring.name}: none of its locks made it")
    if not done or not own.soak:
        return None
    end_s = max(place.since_s for place in here.values() if place.state is State.DONE) + own.soak
    if now_s < end_s:
        return Wait(number, f"{ring.name}: watched until {when.time_text(int(end_s))}")
    unseen = tuple(lock for lock in done if here[lock].checked_s < end_s)
    return Check(number, unseen) if unseen else None


def _rank(release: bytes, lock: str) -> bytes:
    return hashlib.sha256(b"vitrine/rollout" + release + lock.encode()).digest()
