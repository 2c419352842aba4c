"""Runs a rollout: has locks pushed to as `rings.next_step` says, keeps what came of it, stops when it has to.

How a lock is pushed to is the caller's: a function. What is cancelled may be asked for again: a push goes on where it
stopped. A lock that has all of an update switches by itself; no stop can take that back.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from .book import Book, BookError, Course
from .plan import Plan
from .rings import Begin, Check, Finished, Halt, Place, State, next_step

_TICK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a lock: DONE, RETURNED, REFUSED or SILENT, and why."""

    state: State
    detail: str = ""


Push = Callable[[str, bool], Awaitable[Outcome]]  # (lock, whether in shadow)
Harm = Callable[[dict[str, float]], str | None]


class Runner:
    """Runner(book, plan, push=..., check=...).

    push(lock, is_shadow) brings the update and waits for what comes of it; check(lock, is_shadow) sees whether the lock
    still runs it (in shadow: has it). Both return an Outcome, whatever happens. harm(done) looks at the locks
    that run the update and since when, and says in words what is wrong with them, or None.
    """

    def __init__(
        self,
        book: Book,
        plan: Plan,
        *,
        push: Push,
        check: Push,
        harm: Harm | None = None,
        told: Callable[[str], None] = lambda _line: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._book = book
        self._plan = plan
        self._push = push
        self._check = check
        self._harm = harm
        self._told = told
        self._clock = clock
        self._sleep = sleep
        self._tasks: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._last = ""

    async def run(self) -> Course:
        """Run until it has finished, or must stop, or somebody says so; return how it ended."""
        with self._book.running():
            # those that went on when this was killed go on where they stopped
            self._book.retry(frozenset({State.GOING}))
            try:
                return await self._run()
            finally:
                for task in self._tasks.values():
                    task.cancel()
                if self._tasks:
                    await asyncio.wait(self._tasks.values())
                self._book.retry(frozenset({State.GOING}))

    async def _run(self) -> Course:
        book = self._book
        while True:
            course, why = book.course
            if course is not Course.RUNNING:
                self._say(f"{course}{': ' if why else ''}{why}")
                return course
            places = book.places()
            harmed = functools.partial(self._harmed, places)
            step = next_step(self._plan, book.rings, places, self._clock(), harmed)
            match step:
                case Halt(why):
                    with contextlib.suppress(BookError):  # somebody has aborted it meanwhile
                        book.steer(Course.STOPPED, why)
                    continue
                case Finished():
                    with contextlib.suppress(BookError):
                        book.steer(Course.FINISHED)
                    continue
                case Begin(ring, locks):
                    if book.begin(ring, locks, self._clock()):
                        for lock in locks:
                            self._go(ring, lock, self._pushed(ring, lock))
                    continue
                case Check(ring, locks):
                    new = [lock for lock in locks if (ring, lock) not in self._tasks]
                    for lock in new[: max(0, self._plan.concurrency - len(self._tasks))]:
                        self._go(ring, lock, self._checked(ring, lock, places[ring, lock]))
                    self._say(f"{book.rings[ring].name}: looking whether its locks still run it")
                case _:
                    self._say(step.why)
            await self._tick()

    def _go(self, ring: int, lock: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks[ring, lock] = asyncio.create_task(work)

    async def _pushed(self, ring: int, lock: str) -> None:
        """Have one lock pushed to, and keep what came of it."""
        self._ended(ring, lock, await self._push(lock, self._book.rings[ring].is_shadow))

    async def _checked(self, ring: int, lock: str, place: Place) -> None:
        """See whether one lock still runs it, and keep that."""
        outcome = await self._check(lock, self._book.rings[ring].is_shadow)
        if outcome.state is State.DONE:
            self._book.put(ring, lock, replace(place, checked_s=self._clock()))
        else:
            self._ended(ring, lock, outcome)

    def _ended(self, ring: int, lock: str, outcome: Outcome) -> None:
        self._book.put(ring, lock, Place(outcome.state, self._clock(), detail=outcome.detail))
        self._told(f"{lock}: {outcome.state}{': ' if outcome.detail else ''}{outcome.detail}")

    async def _tick(self) -> None:
        """Wait a moment, or for the first lock that has come to an end."""
        tick = asyncio.ensure_future(self._sleep(_TICK_S))
        try:
            await asyncio.wait({tick, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tick.cancel()
        for key, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[key]
                task.result()  # what a function that never raises has raised is an end

    def _harmed(self, places: dict[tuple[int, str], Place], rings: Iterable[int]) -> str | None:
        if self._harm is None:
            return None
        numbers = set(rings)
        return self._harm(
            {
                lock: place.since_s
                for (number, lock), place in places.items()
                if number in numbers and place.state is State.DONE and not self._book.rings[number].is_shadow
            }
        )

    def _say(self, line: str) -> None:
        if line != self._last:
            self._last = line
            self._told(line)
