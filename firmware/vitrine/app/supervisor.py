"""Keeps the firmware's named tasks running, and the watchdog fed only while those that matter are alive.

A task that ends or raises is a fault: it is recorded, then the task is restarted after a pause that doubles (RESTART),
or the chip is reset (PANIC). A task with vote_ms must call its vote within that time, again and again. If one does not,
the watchdog goes unfed and resets the chip: the second line behind the strike's own hardware limit.
"""

import asyncio
import gc

from micropython import const

from vitrine.audit.record import DETAIL, DETAIL_MAX, FAULT
from vitrine.door.ticks import ticks_add, ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Protocol

    from .event_log import EventLog

    class WatchdogDriver(Protocol):
        def feed(self) -> None: ...

    TaskFunction = Callable[["Vote"], Awaitable[None]]

RESTART = const(0)
PANIC = const(1)

_FEED_MS = const(500)
_LOOK_S = const(10)
_PAUSE_MIN_MS = const(100)
_PAUSE_MAX_MS = const(30_000)
_STEADY_MS = const(60_000)  # a task that ran this long starts over with the shortest pause


class TaskEnded(Exception):
    """A task returned, which no task of ours does."""


class Vote:
    """One task's sign of life: call it within every `vote_ms`. restarts: how often the task was started again."""

    def __init__(self, name: str, vote_ms: "int | None", ticks_ms: "Callable[[], int]") -> None:
        self.name = name
        self.restarts = 0
        self._vote_ms = vote_ms
        self._ticks_ms = ticks_ms
        self._voted_ms = ticks_ms()
        self.is_missed = False

    def __call__(self) -> None:
        self._voted_ms = self._ticks_ms()
        self.is_missed = False

    @property
    def is_vital(self) -> bool:
        """Whether the watchdog asks for it."""
        return self._vote_ms is not None

    def is_due(self) -> bool:
        """Whether the last vote is too old. Once missed it stays so until the next vote (ticks wrap)."""
        if self._vote_ms is not None and ticks_diff(self._ticks_ms(), self._voted_ms) > self._vote_ms:
            self.is_missed = True
        return self.is_missed


class Supervisor:
    """Runs what was added. `reset` resets the chip; on the chip it does not return.

    uptime_s: since it was made. least_free: bytes of the heap, the least that was seen at a look every 10 s.
    """

    def __init__(
        self, watchdog: "WatchdogDriver", events: "EventLog", reset: "Callable[[], None]", ticks_ms: "Callable[[], int]"
    ) -> None:
        self._watchdog = watchdog
        self._events = events
        self._reset = reset
        self._ticks_ms = ticks_ms
        self._since_ms = ticks_ms()
        self.uptime_s = 0
        self.least_free = 0
        self._tasks: "list[tuple[TaskFunction, int]]" = []
        self.votes: "list[Vote]" = []

    def add(self, name: str, task_function: "TaskFunction", policy: int, vote_ms: "int | None" = None) -> None:
        """Have `task_function(vote)` run. `policy`: RESTART or PANIC. `vote_ms`: None if the lock can do without it."""
        if policy not in (RESTART, PANIC):
            raise ValueError("no such policy")
        self.votes.append(Vote(name, vote_ms, self._ticks_ms))
        self._tasks.append((task_function, policy))

    def excuse(self) -> None:
        """Forgive every task that it has not voted: all of them were held up, by what is on record."""
        for vote in self.votes:
            vote()

    async def run(self) -> None:
        """Start the tasks and feed the watchdog while they live. Ends only when cancelled, and they end with it."""
        # by itself it prints, into whatever goes over the wire
        asyncio.get_event_loop().set_exception_handler(
            lambda _loop, context: self._events.fault("task", context["exception"])
        )
        running = []
        for i in range(len(self._tasks)):
            task_function, policy = self._tasks[i]
            vote = self.votes[i]
            vote()
            running.append(asyncio.create_task(self._keep(task_function, policy, vote)))
        try:
            while True:
                self._feed()
                self._look()
                await asyncio.sleep_ms(_FEED_MS)
        finally:
            for task in running:
                task.cancel()

    def _feed(self) -> None:
        is_alive = True
        for vote in self.votes:
            was_missed = vote.is_missed
            if vote.is_due():
                is_alive = False
                if not was_missed:
                    self._events.record(FAULT, {DETAIL: ("vote:" + vote.name)[:DETAIL_MAX]})
        if is_alive:
            self._watchdog.feed()

    def _look(self) -> None:
        """Count the time, and look at the heap now and then: that takes as long as a small collection."""
        passed_s = max(0, ticks_diff(self._ticks_ms(), self._since_ms)) // 1000
        if passed_s:
            self._since_ms = ticks_add(self._since_ms, passed_s * 1000)
            before_s = self.uptime_s
            self.uptime_s += passed_s
            if before_s // _LOOK_S != self.uptime_s // _LOOK_S:
                free = gc.mem_free()
                self.least_free = min(free, self.least_free or free)

    async def _keep(self, task_function: "TaskFunction", policy: int, vote: Vote) -> None:
        pause_ms = _PAUSE_MIN_MS
        while True:
            started_ms = self._ticks_ms()
            try:
                await task_function(vote)
                raise TaskEnded
            except Exception as error:  # noqa: BLE001
                # whatever it is, it goes on record and the policy decides
                self._events.fault(vote.name, error)
            if policy == PANIC:
                self._reset()
                return
            if ticks_diff(self._ticks_ms(), started_ms) >= _STEADY_MS:
                pause_ms = _PAUSE_MIN_MS
            await asyncio.sleep_ms(pause_ms)
            pause_ms = min(2 * pause_ms, _PAUSE_MAX_MS)
            vote.restarts += 1
