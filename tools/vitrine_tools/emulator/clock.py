"""Hardware time, in microseconds since the emulator was made: the host's clock, or one that a test steps."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable


class Alarm:
    """One thing that will happen; cancel() if it shall not. The firmware's side minds a `is_shared` one as well."""

    def __init__(self, due_us: int, action: Callable[[], object], is_shared: bool) -> None:
        self.due_us = due_us
        self.action: Callable[[], object] | None = action
        self.is_shared = is_shared

    def cancel(self) -> None:
        self.action = None


class HardwareClock:
    def __init__(self, is_virtual: bool) -> None:
        self.is_virtual = is_virtual
        self._now_us = 0
        self._start_ns = time.monotonic_ns()
        self._alarms: list[tuple[int, int, Alarm]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def now_us(self) -> int:
        if self.is_virtual:
            return self._now_us
        return (time.monotonic_ns() - self._start_ns) // 1000

    def after(self, delay_us: int, action: Callable[[], object]) -> Alarm:
        """Do action when delay_us have passed."""
        return self.at(self.now_us + delay_us, action)

    def at(self, due_us: int, action: Callable[[], object], is_shared: bool = False) -> Alarm:
        alarm = Alarm(due_us, action, is_shared)
        heapq.heappush(self._alarms, (due_us, next(self._order), alarm))
        self._arm()
        return alarm

    @property
    def next_us(self) -> int | None:
        """When the next alarm is due, or None."""
        while self._alarms and self._alarms[0][2].action is None:
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    @property
    def horizon_us(self) -> int | None:
        """When the next alarm is due that the firmware's side does not know of, or None."""
        return min((a.due_us for _, _, a in self._alarms if a.action is not None and not a.is_shared), default=None)

    def step_to(self, now_us: int) -> None:
        """Virtual time only: never backwards."""
        self._now_us = max(self._now_us, now_us)

    def run_due(self) -> bool:
        """Do what is due, in order of time; return whether there was anything."""
        did = False
        while (due := self.next_us) is not None and due <= self.now_us:
            alarm = heapq.heappop(self._alarms)[2]
            action, alarm.action = alarm.action, None
            if action is not None:
                action()
                did = True
        return did

    def stop(self) -> None:
        self._alarms.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self.is_virtual:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.next_us
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0, due - self.now_us) / 1e6, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.run_due()
        self._arm()
