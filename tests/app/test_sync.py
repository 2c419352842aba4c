"""Sync: what is sent when, in virtual time, over a link that does as it is told."""

import asyncio

from support.virtual_time import VirtualTime
from vitrine.app.sync import AHEAD_MAX, DOWN, RECEIVED, SENT, UP, Pause, Sync
from vitrine.audit.outbox import AHEAD, FORGED, RELEASED, STALE

MASK = 2**30 - 1


class Outbox:
    """An outbox: numbers without records."""

    def __init__(self):
        self.count = 0
        self.acknowledged = 0

    def batch(self, start, limit):
        to = min(self.count, start + 10)
        return b"%d-%d" % (start, to), to

    def acknowledgement(self):
        return b"kept %d" % self.acknowledged if self.acknowledged else None

    def acknowledge(self, data):
        if not data.isdigit():
            return FORGED
        if int(data) > 10_000:
            return AHEAD
        if int(data) <= self.acknowledged:
            return STALE
        self.acknowledged = int(data)
        return RELEASED


class Link:
    """Notes what is sent; the test says what happens."""

    heartbeat_s = 300
    asked = 0

    def __init__(self, lab):
        self.lab = lab
        self.events = []
        self.flag = asyncio.Event()
        self.opened = []
        self.closed = 0
        self.room = 100

    def open(self):
        self.opened.append(self.lab.now())

    def close(self):
        self.closed += 1

    def wake(self):
        self.flag.set()

    def has_room(self):
        return self.room > 0

    def send(self, suffix, payload, is_retained):
        self.lab.sent.append((self.lab.now(), suffix, payload, is_retained))
        return True

    async def next(self, timeout_ms):
        assert timeout_ms > 0
        self.asked += 1
        if not self.events:
            self.flag.clear()
            try:
                await asyncio.wait_for_ms(self.flag.wait(), timeout_ms)
            except asyncio.TimeoutError:  # noqa: UP041 - MicroPython has no other
                return None
        return self.events.pop(0) if self.events else None


class Lab:
    def __init__(self, random=0):
        self.time = VirtualTime()
        self.start_ms = self.time.now_ms
        self.sent = []
        self.faults = []
        self.lock_state = self.door_state = self.time_state = 1
        self.journal = Outbox()
        self.link = Link(self)
        self.random = random
        self.is_busy = False
        self.sync = Sync(self.journal, self.link, self, self, self, self.draw)

    # door and clock
    def ticks_ms(self):
        return self.time.now_ms & MASK

    def reading(self):
        return 0, self.time_state

    def now(self):
        return self.time.now_ms - self.start_ms

    def draw(self, size):
        return bytes([self.random] * size)

    def record(self, kind, fields):
        self.faults.append((self.now(), fields[15], fields.get(14)))

    def happen(self, kind, value=None):
        self.link.events.append((kind, value))
        self.link.flag.set()

    def live(self, records):
        self.journal.count += records
        self.sync.wake(None)

    def journal_messages(self):
        return [payload for _, suffix, payload, _ in self.sent if suffix == "journal"]

    def run(self, story):
        async def main():
            task = asyncio.create_task(self.sync.run(lambda: None, lambda: self.is_busy))
            await asyncio.sleep_ms(0)
            await story()
            task.cancel()
            await asyncio.sleep_ms(0)

        self.time.run(main())


def test_a_connection_begins_with_who_is_there_and_the_head():
    lab = Lab()

    async def story():
        assert lab.sent == []
        lab.happen(UP)
        await asyncio.sleep_ms(1)

    lab.run(story)
    assert [(suffix, payload, retained) for _, suffix, payload, retained in lab.sent] == [
        ("availability", b"online", True),
        ("state", b'{"lock": "Locked", "door": "DoorClosed", "time": "trusted"}', True),
        ("journal", b"0-0", False),
    ]
    assert lab.link.closed == 1, "ends with its task"


def test_what_another_store_has_is_told_before_the_first_batch():
    lab = Lab()
    lab.journal.count, lab.journal.acknowledged = 30, 20

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(1)

    lab.run(story)
    assert lab.journal_messages() == [b"kept 20", b"20-30"]


def test_no_more_is_sent_ahead_than_allowed_and_the_rest_follows_acknowledgements():
    lab = Lab()
    lab.journal.count = 60

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(10)
        assert lab.journal_messages() == [b"0-10", b"10-20", b"20-30"]
        assert len(lab.journal_messages()) == AHEAD_MAX
        lab.happen(SENT)
        await asyncio.sleep_ms(10)
        assert len(lab.journal_messages()) == AHEAD_MAX, "that the broker has it means nothing"
        lab.happen(RECEIVED, b"20")
        await asyncio.sleep_ms(10)

    lab.run(story)
    assert lab.journal_messages()[3:] == [b"30-40", b"40-50"]


def test_new_records_go_out_together():
    lab = Lab()

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(1000)
        for _ in range(4):
            lab.live(1)
            await asyncio.sleep_ms(50)
        await asyncio.sleep_ms(1000)

    lab.run(story)
    assert lab.journal_messages() == [b"0-0", b"0-4"]
    assert lab.sent[-1][0] == 1250


def test_without_an_acknowledgement_it_starts_again_later_and_later():
    lab = Lab()
    lab.journal.count = 5

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(1_000_000)

    lab.run(story)
    times = [at for at, suffix, _, _ in lab.sent if suffix == "journal"]
    pauses = [times[i + 1] - times[i] for i in range(len(times) - 1)]
    assert pauses == [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]
    assert set(lab.journal_messages()) == {b"0-5"}


def test_progress_makes_the_pause_short_again():
    lab = Lab()
    lab.journal.count = 5

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(70_001)  # three times in vain
        lab.happen(RECEIVED, b"5")
        await asyncio.sleep_ms(1)
        lab.live(1)
        await asyncio.sleep_ms(10_300)

    lab.run(story)
    assert [payload for at, _, payload, _ in lab.sent if at > 70_000] == [b"5-6", b"5-6"]


def test_forged_and_stale_acknowledgements_release_nothing_and_are_folded():
    lab = Lab()
    lab.journal.count = 5

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(10)
        for _ in range(40):
            lab.happen(RECEIVED, b"forged")
            lab.happen(RECEIVED, b"0")
            await asyncio.sleep_ms(100)
        await asyncio.sleep_ms(700_000)

    lab.run(story)
    assert lab.journal.acknowledged == 0
    assert [(detail, count) for _, detail, count in lab.faults] == [("ack:forged", 1), ("ack:forged", 39)]


def test_a_lock_that_was_set_back_says_so():
    lab = Lab()

    async def scenario():
        lab.happen(UP)
        await asyncio.sleep_ms(10)
        lab.happen(RECEIVED, b"99999")
        await asyncio.sleep_ms(10)

    lab.run(scenario)
    assert [fault[1] for fault in lab.faults] == ["journal set back"]


def test_reconnecting_waits_longer_each_time_and_one_record_names_the_cause():
    lab = Lab()

    async def story():
        for cause in ("refused",) * 5 + ("tls",) * 2:
            lab.happen(DOWN, cause)
            await asyncio.sleep_ms(400_000)

    lab.run(story)
    assert [detail for _, detail, _ in lab.faults] == ["mqtt:refused", "mqtt:tls"]
    assert len(lab.link.opened) == 8
    waits = [at % 400_000 for at in lab.link.opened[1:]]
    assert waits == [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000]


def test_a_broker_that_ends_every_connection_at_once_is_one_trouble_and_gets_rarer():
    lab = Lab()

    async def story():
        for _ in range(6):
            lab.happen(UP)
            await asyncio.sleep_ms(1)
            lab.happen(RECEIVED, b"0")  # with a retained acknowledgement from long ago
            lab.happen(DOWN, "closed")
            await asyncio.sleep_ms(100_000)

    lab.run(story)
    assert len(lab.faults) == 1
    opened = lab.link.opened
    gaps = [opened[i + 1] - opened[i] for i in range(len(opened) - 1)]
    assert gaps == sorted(gaps)


def test_a_connection_that_held_makes_the_next_trouble_a_new_one():
    lab = Lab()

    async def story():
        lab.happen(DOWN, "refused")
        await asyncio.sleep_ms(1001)
        lab.happen(UP)
        await asyncio.sleep_ms(61_000)
        lab.happen(DOWN, "refused")
        await asyncio.sleep_ms(1)

    lab.run(story)
    assert [detail for _, detail, _ in lab.faults] == ["mqtt:refused"] * 2


def test_a_heartbeat_when_nothing_happens():
    lab = Lab()

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(1_000_000)

    lab.run(story)
    assert [at for at, suffix, _, _ in lab.sent if suffix == "journal"] == [0, 300_000, 600_000, 900_000]


def test_a_changed_state_is_shown_at_once_and_only_then():
    lab = Lab()

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(10)
        lab.sync.wake(None)
        await asyncio.sleep_ms(10)
        lab.lock_state, lab.door_state = 2, 0
        lab.sync.wake(None)
        await asyncio.sleep_ms(10)

    lab.run(story)
    states = [payload for _, suffix, payload, _ in lab.sent if suffix == "state"]
    assert len(states) == 2 and b'"Unlocked", "door": "DoorOpen"' in states[1]


def test_a_full_link_is_not_pressed():
    lab = Lab()
    lab.journal.count = 30

    async def story():
        lab.link.room = 0
        lab.happen(UP)
        await asyncio.sleep_ms(1000)
        assert lab.journal_messages() == []
        lab.link.room = 1
        lab.happen(SENT)
        await asyncio.sleep_ms(10)

    lab.run(story)
    assert lab.journal_messages()[0] == b"0-10"


def test_the_pause_is_shortened_at_random_by_up_to_a_half():
    for drawn, first in ((0, 1000), (255, 502), (128, 750)):
        assert Pause(1000, lambda size, drawn=drawn: bytes([drawn])).next_ms() == first
    pause = Pause(1000, lambda size: b"\0")
    assert [pause.next_ms() for _ in range(11)][-2:] == [300_000, 300_000]
    pause.reset()
    assert pause.next_ms() == 1000


def test_waiting_costs_nothing_whatever_it_waits_for():
    for room, heartbeat_s in ((100, 10), (0, 10), (100, 300)):
        lab = Lab()
        lab.sync._heartbeat_ms = heartbeat_s * 1000
        lab.journal.count = 100

        async def story(lab=lab, room=room):
            lab.happen(UP)
            await asyncio.sleep_ms(1)
            lab.link.room = room
            await asyncio.sleep_ms(3_000_000)

        lab.run(story)
        assert lab.link.asked < 100, (room, heartbeat_s, lab.link.asked)


def test_a_person_at_the_door_comes_first_but_not_for_ever():
    lab = Lab()
    lab.is_busy = True

    async def story():
        await asyncio.sleep_ms(29_000)
        assert lab.link.opened == [], "no handshake while somebody is in session"
        await asyncio.sleep_ms(2_000)
        assert len(lab.link.opened) == 1
        lab.is_busy = False
        lab.happen(UP)
        await asyncio.sleep_ms(1000)
        lab.sent.clear()
        lab.is_busy = True
        lab.live(1)
        await asyncio.sleep_ms(20_000)
        assert lab.sent == []
        lab.is_busy = False
        await asyncio.sleep_ms(1000)
        assert lab.journal_messages() == [b"0-1"]

    lab.run(story)
