"""Sync: what is sent when, in virtual time, over a link that does as it is told."""

import asyncio

from support.virtual_time import VirtualTime
from vitrine.app.sync import AHEAD_MAX, COMMAND, DOWN, RECEIVED, RETAINED, SENT, UP, Pause, Sync
from vitrine.audit.outbox import AHEAD, FORGED, RELEASED, STALE
from vitrine.version import VERSION

MASK = 2**30 - 1
STATE = b'{"version": "%s", "lock": "Locked", "door": "DoorClosed", "time": "trusted", ' % VERSION.encode()
STATE += b'"scenario": "normal", "alarms": []}'


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
    is_full = False

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
        if self.is_full:
            return False
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


class Result:
    """Of commands.execute: the envelope says what comes of it."""

    id = b"command1"
    number = 4

    def __init__(self, envelope):
        self.is_authentic = envelope != b"junk"
        self.reason = {b"done": 0, b"time": 0, b"gap": 29, b"odd": 77}.get(envelope, 31)
        self.is_done = self.reason == 0
        self.sequence = None if envelope == b"time" else 7


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
        self.alarms = ()
        self.name = "normal"  # the scenario's
        self.commands = []
        self.cost_ms = 0
        self.issued = 0
        self.sync = Sync(self.journal, self.link, self, self, self, self.draw, self, self, self)

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

    def execute(self, envelope, link):
        assert link == 3
        self.commands.append((self.now(), envelope))
        self.time.now_ms += self.cost_ms
        return Result(envelope)

    def issue(self, now_ms):
        assert now_ms == self.ticks_ms()
        self.issued += 1
        return bytes([self.issued] * 16)

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
        ("state", STATE, True),
        ("fresh", b'{"cnonce": "%s", "time": "trusted"}' % (b"01" * 16), False),
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


def test_a_connection_that_held_for_a_week_did_hold():
    lab = Lab()

    async def story():
        lab.happen(DOWN, "refused")
        await asyncio.sleep_ms(2000)
        lab.happen(UP)
        await asyncio.sleep_ms(7 * 86_400_000)  # more than half of what ticks can tell apart
        lab.happen(DOWN, "refused")
        await asyncio.sleep_ms(1)

    lab.run(story)
    assert [text for _, text, _ in lab.faults] == ["mqtt:refused", "mqtt:refused"]


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


def of(lab, suffix):
    return [(at, payload) for at, on, payload, _ in lab.sent if on == suffix]


def test_the_state_names_the_scenario_and_the_alarms():
    lab = Lab()

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(10)
        lab.name, lab.alarms = "lockdown", (6, 133)
        lab.sync.wake(None)
        await asyncio.sleep_ms(10)
        lab.name, lab.alarms = "passage", (0, 5, 7, 128, 129, 130, 131, 132, 134)
        lab.sync.wake(None)
        await asyncio.sleep_ms(10)
        lab.alarms = (99,)
        lab.sync.wake(None)
        await asyncio.sleep_ms(10)

    lab.run(story)
    texts = [payload.decode() for _, payload in of(lab, "state")]
    assert '"scenario": "lockdown", "alarms": ["DoorForcedOpen", "BatteryLow"]}' in texts[1]
    names = "LockJammed FrontEsceutcheonRemoved DoorAjar DoorUnattended SwitchCut SwitchShorted StrikeStuck ExitHeld"
    names = ", ".join(['"' + name + '"' for name in (names + " BrownoutLoop").split()])
    assert '"scenario": "passage", "alarms": [' + names + "]}" in texts[2]
    assert '"alarms": ["99"]}' in texts[3]


def test_commands_are_carried_out_at_once_even_while_somebody_is_in_session():
    lab = Lab()

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(10)
        lab.is_busy = True
        await asyncio.sleep_ms(1000)
        lab.happen(COMMAND, b"done")
        await asyncio.sleep_ms(10)

    lab.run(story)
    assert lab.commands == [(1010, b"done")]
    assert of(lab, "result") == [(1010, b'{"id": "636f6d6d616e6431", "reason": "Granted", "sequence": 7}')]


def test_who_signed_is_answered_and_nobody_else():
    lab = Lab()

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(10)
        for envelope in (b"junk", b"time", b"gap", b"odd", b"junk"):
            lab.happen(COMMAND, envelope)
            await asyncio.sleep_ms(100)

    lab.run(story)
    assert [payload for _, payload in of(lab, "result")] == [
        b'{"id": "636f6d6d616e6431", "reason": "Granted"}',
        b'{"id": "636f6d6d616e6431", "reason": "SequenceGap", "sequence": 7}',
        b'{"id": "636f6d6d616e6431", "reason": "77", "sequence": 7}',
    ]


def test_every_reason_that_can_be_told_has_its_name():
    from vitrine.access import reasons
    from vitrine.app.sync import _REASON_NAMES, _REASONS

    names = _REASON_NAMES.split()
    for number, name in zip(_REASONS, names):  # noqa: B905 - MicroPython has no strict
        constant = "".join(["_" + letter if letter.isupper() else letter.upper() for letter in name])[1:]
        assert getattr(reasons, constant) == number
    assert len(names) == len(_REASONS) == 18


def test_a_retained_command_is_not_looked_at_and_on_record():
    lab = Lab()

    async def story():
        lab.happen(UP)
        lab.happen(RETAINED)
        await asyncio.sleep_ms(10)

    lab.run(story)
    assert lab.commands == [] and [detail for _, detail, _ in lab.faults] == ["command:retained"]


def test_a_flood_of_junk_leaves_two_thirds_of_the_time_to_the_others_and_the_real_one_gets_through():
    lab = Lab()
    lab.cost_ms = 50

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(10)
        for _ in range(5):
            lab.happen(COMMAND, b"junk")
        lab.happen(COMMAND, b"done")
        await asyncio.sleep_ms(2000)

    lab.run(story)
    times = [at for at, _ in lab.commands]
    assert [times[i + 1] - times[i] for i in range(5)] == [150] * 5
    assert lab.commands[-1][1] == b"done" and times[-1] < 1000


def test_a_flood_that_costs_nothing_lets_the_others_run_too():
    lab = Lab()
    turns = []

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(10)
        for _ in range(100):
            lab.happen(COMMAND, b"junk")
        for _ in range(50):
            await asyncio.sleep_ms(1)
            turns.append(len(lab.commands))

    lab.run(story)
    assert turns[0] < 5 and turns[-1] >= 40


def test_results_wait_for_room_and_do_not_pile_up():
    lab = Lab()

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(10)
        lab.link.is_full = True
        for _ in range(10):
            lab.happen(COMMAND, b"done")
        await asyncio.sleep_ms(100)
        assert len(lab.commands) == 10 and of(lab, "result") == []
        lab.link.is_full = False
        lab.happen(SENT)
        await asyncio.sleep_ms(10)

    lab.run(story)
    assert len(of(lab, "result")) == 4


def test_nonces_go_out_often_while_time_is_untrusted_and_rarely_else():
    lab = Lab()
    lab.time_state = 0

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(500_000)
        lab.time_state = 1
        lab.sync.wake(None)
        await asyncio.sleep_ms(30_000_000)

    lab.run(story)
    told = of(lab, "fresh")
    assert [at for at, _ in told] == [0, 240_000, 480_000, 480_000 + 21_600_000]
    assert told[1][1] == b'{"cnonce": "%s", "time": "untrusted"}' % (b"02" * 16)
    assert lab.issued == 4, "none is made that is not sent"


def test_a_nonce_is_told_soon_after_time_was_lost():
    lab = Lab()

    async def story():
        lab.happen(UP)
        await asyncio.sleep_ms(1_000_000)
        lab.time_state = 0
        lab.sync.wake(None)
        await asyncio.sleep_ms(10)

    lab.run(story)
    assert [at for at, _ in of(lab, "fresh")] == [0, 1_000_000]


def test_a_broker_that_never_stops_talking_keeps_nobody_else_from_their_turn():
    for kind, value in ((RETAINED, None), (RECEIVED, b"forged"), (RECEIVED, b"0"), (SENT, None)):
        lab = Lab()
        left = []

        async def flood(lab=lab, left=left, kind=kind, value=value):
            lab.happen(UP)
            await asyncio.sleep_ms(10)
            for _ in range(100):
                lab.happen(kind, value)
            for _ in range(5):  # somebody at the door
                await asyncio.sleep_ms(0)
            left.append(len(lab.link.events))

        lab.run(flood)
        assert left[0] > 80, kind
