"""A controller with a strike and inputs that tests can see into and break."""

import asyncio

from support import raises
from support.virtual_time import VirtualTime
from vitrine.access import decision
from vitrine.app.controller import Controller
from vitrine.app.event_log import EventLog
from vitrine.door.settings import Settings


class Broken(Exception):
    pass


class FakeStrike:
    """Remembers what it was told; `fails_at` names the method that raises."""

    def __init__(self, time):
        self._time = time
        self.until_ms = None
        self.log = []
        self.deadline_ms = None
        self.fails_at = None

    @property
    def is_on(self):
        return self.until_ms is not None and self._time.now_ms < self.until_ms

    def energise(self, on_ms):
        if self.fails_at == "energise":
            raise Broken
        assert 0 < on_ms <= 10000
        self.until_ms = self._time.now_ms + on_ms
        self.log.append(on_ms)

    def release(self):
        if self.until_ms is not None:
            self.log.append("off")
        self.until_ms = None
        if self.fails_at == "release":
            raise Broken

    def service(self):
        if self.fails_at == "service":
            raise Broken


class FakeInputs:
    """Already debounced."""

    def __init__(self, time):
        self._time = time
        self.door_closed = True
        self.rex_pressed = False
        self.fails = False
        self._flag = asyncio.ThreadSafeFlag()

    def set(self, door_closed=None, rex_pressed=None):
        if door_closed is not None:
            self.door_closed = door_closed
        if rex_pressed is not None:
            self.rex_pressed = rex_pressed
        self.wake()

    def wake(self):
        self._flag.set()

    def poll(self):
        if self.fails:
            self.fails = False
            raise Broken

    async def changed(self, timeout_ms):
        try:
            await asyncio.wait_for_ms(self._flag.wait(), timeout_ms)
        except asyncio.TimeoutError:  # noqa: UP041 (MicroPython has no other)
            return


class FakeClock:
    unix_s = 1_790_000_000
    time_state = 1

    def reading(self):
        return self.unix_s, self.time_state


class Token:
    sub = b"\x01\x02"
    cti = b"12345678"
    ref = None
    kid = b"kkkkkkkk"


class Lab:
    def __init__(self, settings=None, door_closed=True, rex_pressed=False):
        self.time = VirtualTime()
        self.strike = FakeStrike(self.time)
        self.inputs = FakeInputs(self.time)
        self.inputs.door_closed = door_closed
        self.inputs.rex_pressed = rex_pressed
        self.events = EventLog(FakeClock())
        self.records = []
        self.events.add_sink(self.records.append)
        self.lock = Controller(
            self.strike, self.inputs, Settings(settings), self.events, lambda: self.time.now_ms & (2**30 - 1)
        )
        self.votes = 0

    def vote(self):
        self.votes += 1

    def run(self, scenario):
        """Run the controller's task beside `scenario`, a coroutine function, until that ends."""

        async def main():
            task = asyncio.create_task(self.lock.run(self.vote))
            try:
                await scenario()
            finally:
                task.cancel()
                with raises((asyncio.CancelledError, Broken)):
                    await task

        self.time.run(main())

    def kinds(self):
        return [record[1] for record in self.records]


def grant():
    return decision.granted(Token())
