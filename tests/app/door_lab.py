"""A controller with a strike and inputs that tests can see into and break."""

import asyncio

from support import door_states as states
from support import raises
from support.virtual_time import VirtualTime
from vitrine.access import decision, reasons
from vitrine.app.controller import Controller
from vitrine.app.event_log import EventLog
from vitrine.app.starts import Starts
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
        self.is_astray = False  # somebody else drives it
        self.fails_at = None

    @property
    def is_on(self):
        return self.until_ms is not None and self._time.now_ms < self.until_ms

    def configure(self, pull_ms, hold_duty_pct):
        self.configured = (pull_ms, hold_duty_pct)

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
        self.is_astray = False
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
        self.is_door_moving = False
        self.fails = False
        self.cut = None  # what the line is besides open or closed
        self._flag = asyncio.ThreadSafeFlag()

    @property
    def switch(self):
        if self.cut is not None:
            return self.cut
        return states.SWITCH_CLOSED if self.door_closed else states.SWITCH_OPEN

    def configure(self, settings):
        self.settings = settings

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


class FakeSensors:
    def __init__(self):
        self.bolt = self.motion = self.tamper = self.battery_mv = None

    def configure(self, settings):
        self.settings = settings

    def poll(self):
        pass


class FakeStore:
    """An NVS integer."""

    def __init__(self, value=None):
        self.value = value

    def load(self):
        return self.value

    def save(self, value):
        self.value = value


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
    def __init__(self, settings=None, door_closed=True, rex_pressed=False, short_starts=None):
        self.time = VirtualTime()
        self.strike = FakeStrike(self.time)
        self.inputs = FakeInputs(self.time)
        self.inputs.door_closed = door_closed
        self.inputs.rex_pressed = rex_pressed
        self.events = EventLog(FakeClock())
        self.records = []
        self.events.add_sink(self.records.append)
        self.sensors = FakeSensors()
        self.is_shadow = False
        self.starts_store = FakeStore(short_starts)
        ticks_ms = lambda: self.time.now_ms & (2**30 - 1)  # noqa: E731
        self.lock = Controller(
            self.strike,
            self.inputs,
            Settings(settings),
            self.events,
            ticks_ms,
            self.sensors,
            lambda: self.is_shadow,
            Starts(self.starts_store, self.events, ticks_ms()),
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

    def alarms(self):
        """(code, step) of every alarm on record."""
        return [(record[11], record[14]) for record in self.records if record[1] == 0]

    def operations(self):
        """(operation, source, whether only in shadow) of every one on record."""
        return [(record[5], record[6], record.get(23, False)) for record in self.records if record[1] == 2]


def grant(is_duress=False):
    made = decision.Decision(decision.GRANT, reasons.GRANTED, Token(), True)
    made.is_duress = is_duress
    return made
