"""The supervisor: restarts, resets, and feeds the watchdog only while all that matters is alive."""

import asyncio
import gc

from support import raises
from support.virtual_time import VirtualTime
from vitrine.app import supervisor
from vitrine.app.event_log import EventLog
from vitrine.app.supervisor import PANIC, RESTART, Supervisor

WATCHDOG_MS = 8000


class Reset(BaseException):
    pass


class FakeClock:
    def reading(self):
        return 0, 0


class Lab:
    """A supervisor in virtual time; `fed` holds when the watchdog was fed, in milliseconds from the start."""

    def __init__(self):
        self.time = VirtualTime()
        self.events = EventLog(FakeClock())
        self.records = []
        self.events.add_sink(self.records.append)
        self.fed = []
        self.resets = 0
        self.supervisor = Supervisor(self, self.events, self.reset, lambda: self.time.now_ms & (2**30 - 1))

    def feed(self):
        self.fed.append(self.now())

    def reset(self):
        self.resets += 1

    def now(self):
        return self.time.now_ms - self.start_ms

    def run(self, ms):
        async def main():
            self.start_ms = self.time.now_ms
            task = asyncio.create_task(self.supervisor.run())
            await asyncio.sleep_ms(ms)
            task.cancel()
            with raises(asyncio.CancelledError):
                await task
            await asyncio.sleep_ms(10)

        self.time.run(main())

    def faults(self):
        return [record[15] for record in self.records if record[1] == 129]


class Heap:
    """Stands for gc: each look sees the next of these."""

    def __init__(self, *free):
        self.free = list(free)

    def mem_free(self):
        return self.free.pop(0)


def test_it_knows_how_long_it_runs_and_how_little_was_free():
    lab = Lab()
    lab.supervisor.add("steady", steady, RESTART, 1000)
    supervisor.gc = Heap(7000, 5000, 9000)
    try:
        for ms, least in ((9_000, 0), (3_000, 7000), (10_000, 5000), (10_000, 5000)):
            lab.run(ms)
            assert lab.supervisor.least_free == least
        assert lab.supervisor.uptime_s in (31, 32) and supervisor.gc.free == []
    finally:
        supervisor.gc = gc


def test_its_time_goes_on_over_the_wrap_of_the_ticks():
    lab = Lab()
    lab.time.now_ms = 2**30 - 5_500
    lab.supervisor = Supervisor(lab, lab.events, lab.reset, lambda: lab.time.now_ms & (2**30 - 1))
    lab.supervisor.add("steady", steady, RESTART, 1000)
    lab.run(12_000)
    assert lab.supervisor.uptime_s in (11, 12)


async def steady(vote):
    while True:
        vote()
        await asyncio.sleep_ms(300)


async def hung(vote):
    vote()
    await asyncio.Event().wait()


def test_feeds_while_all_vote():
    lab = Lab()
    lab.supervisor.add("door", steady, RESTART, 1000)
    lab.supervisor.add("light", hung, RESTART)  # has no vote to miss
    lab.run(20000)
    assert lab.fed[0] <= 10 and len(lab.fed) >= 20
    assert max(lab.fed[i + 1] - lab.fed[i] for i in range(len(lab.fed) - 1)) <= 1000
    assert lab.faults() == []


def test_one_task_that_hangs_starves_the_watchdog():
    lab = Lab()
    lab.supervisor.add("door", steady, RESTART, 1000)
    lab.supervisor.add("ble", hung, RESTART, 3000)
    lab.run(60000)
    assert 2500 <= lab.fed[-1] <= 3500
    assert lab.faults() == ["vote:ble"], "said once"


def test_a_task_that_never_votes_starves_it_too():
    async def mute(vote):
        await asyncio.Event().wait()

    lab = Lab()
    lab.supervisor.add("door", mute, RESTART, 1000)
    lab.run(10000)
    assert lab.fed[-1] <= 1500


def test_a_vote_that_comes_late_counts_again():
    async def slow(vote):
        while True:
            vote()
            await asyncio.sleep_ms(4000)

    lab = Lab()
    lab.supervisor.add("door", slow, RESTART, 2000)
    lab.run(21000)
    assert lab.fed[-1] > 20000 and lab.faults() == ["vote:door"] * 5
    assert max(lab.fed[i + 1] - lab.fed[i] for i in range(len(lab.fed) - 1)) >= 2000


def test_restarts_with_a_pause_that_doubles():
    starts = []

    async def failing(vote):
        starts.append(lab.now())
        await asyncio.sleep_ms(1)
        raise OSError(5)

    lab = Lab()
    lab.supervisor.add("mqtt", failing, RESTART)
    lab.supervisor.add("door", steady, RESTART, 1000)
    lab.run(200000)
    pauses = [starts[i + 1] - starts[i] - 1 for i in range(len(starts) - 1)]
    assert pauses[:9] == [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600]
    assert set(pauses[9:]) == {30000}
    assert set(lab.faults()) == {"mqtt:OSError"}
    assert lab.supervisor.votes[0].restarts == len(starts) - 1
    assert lab.fed[-1] > 199000, "a task without a vote costs the others nothing"


def test_a_long_life_earns_a_short_pause():
    starts = []

    async def seldom(vote):
        starts.append(lab.now())
        await asyncio.sleep_ms(60000)
        raise ValueError

    lab = Lab()
    lab.supervisor.add("mqtt", seldom, RESTART)
    lab.run(600000)
    assert {starts[i + 1] - starts[i] for i in range(len(starts) - 1)} == {60100}


def test_a_task_with_a_vote_that_cannot_come_up_ends_in_a_reset():
    async def broken(vote):
        raise OSError(5)

    lab = Lab()
    lab.supervisor.add("door", broken, RESTART, 3000)
    lab.run(60000)
    assert lab.fed[-1] <= 3500, "so the hardware watchdog bites"


def test_a_task_that_returns_is_a_fault():
    async def over(vote):
        vote()

    lab = Lab()
    lab.supervisor.add("door", over, RESTART)
    lab.run(150)
    assert lab.faults() == ["door:TaskEnded"] * 2


def test_panic_resets():
    async def failing(vote):
        await asyncio.sleep_ms(500)
        raise ValueError

    lab = Lab()
    lab.supervisor.add("door", failing, PANIC, 1000)
    lab.run(1000)
    assert lab.resets == 1 and lab.faults() == ["door:ValueError"]


def test_no_such_policy():
    with raises(ValueError):
        Lab().supervisor.add("door", steady, 7)


def test_cancelling_ends_every_task():
    ended = []

    async def careful(vote):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    lab = Lab()
    lab.supervisor.add("a", careful, RESTART)
    lab.supervisor.add("b", careful, PANIC)
    lab.run(100)
    assert ended == [1, 1] and lab.faults() == [] and lab.resets == 0


def test_a_task_that_nobody_waits_for_fails_on_record():
    """asyncio by itself prints, and the firmware's output is the technician's wire."""

    async def careless(vote):
        asyncio.create_task(broken())  # noqa: RUF006  (that is what it is about)
        await steady(vote)

    async def broken():
        raise OSError(5)

    lab = Lab()
    lab.supervisor.add("careless", careless, RESTART, 1000)
    lab.run(3000)
    assert lab.faults() == ["task:OSError"]


def test_tasks_that_were_all_held_up_are_excused():
    async def hold(vote):
        await asyncio.sleep_ms(450)
        lab.time.now_ms += 60_000
        lab.supervisor.excuse()
        await asyncio.Event().wait()

    lab = Lab()
    lab.supervisor.add("door", steady, RESTART, 1000)
    lab.supervisor.add("console", hold, RESTART)
    lab.run(62_000)
    assert lab.faults() == [] and lab.fed[-1] > 61_000
