"""Which record makes the camera film, and which alarm the relay switch: each bit of the masks, and nothing besides."""

import asyncio

from support import raises
from vitrine.app.local_rules import LocalRules
from vitrine.door.monitor import blocking_mask

UNLOCKED = {1: 2, 5: 1, 6: 7}
ALARM = {1: 0, 11: 6, 14: 1}

# record: the one bit of camera_events that films it, or None
RECORDS = (
    (UNLOCKED, 0),
    ({1: 2, 5: 128, 6: 7}, 0),
    ({1: 2, 5: 1, 6: 2}, 0),
    ({1: 2, 5: 1, 6: 5}, 0),
    ({1: 2, 5: 1, 6: 6}, None),  # passage
    ({1: 2, 5: 1, 6: 4}, None),
    ({1: 2, 5: 0, 6: 7}, None),
    ({1: 2, 5: 129, 6: 7}, None),
    ({1: 2, 5: 1, 6: 7, 23: True}, None),
    ({1: 2}, None),
    ({1: 3, 5: 1, 16: True}, 1),
    ({1: 3, 5: 1}, None),
    (ALARM, 2),
    ({1: 0, 11: 7, 14: 3}, 2),
    ({1: 0, 11: 4, 14: 1}, 2),
    ({1: 0, 11: 6, 14: 0}, None),
    ({1: 2, 5: 1, 6: 7, 11: 8}, 0),  # duress shows nowhere: like any opening
    ({1: 1, 10: 0}, None),
    ({1: 128, 14: 1}, None),
    ({1: 129, 15: "fault"}, None),
    ({1: 135, 6: 1}, None),  # its pulse came from whoever recorded it
)


class Lab:
    """Room, configuration, events, door and clock in one."""

    camera_ms = 700

    def __init__(self, camera_events=0, relay_alarms=0, alarms=(), lock_state=1):
        self.camera_events, self.relay_alarms = camera_events, relay_alarms
        self.alarms, self.lock_state = alarms, lock_state
        self.now_ms = 0
        self.log = []  # in order: ms of a pulse, or the fields of a record
        self.relay = 0
        self.happens = []
        self.rules = LocalRules(self, self, self, self, self)

    @property
    def settings(self):
        return self

    def alarm_mask(self):
        return blocking_mask(self.alarms)

    def film(self, pulse_ms):
        self.log.append(pulse_ms)

    def alarm(self, is_on):
        self.relay = is_on

    def record(self, kind, fields):
        assert kind == 135
        self.log.append(fields)

    def reading(self):
        return 1_000 + self.now_ms // 1000, 1

    def ticks_ms(self):
        return self.now_ms

    async def changed(self):
        if not self.happens:
            raise OSError  # the test is over
        self.now_ms, triggered, moved = self.happens.pop(0)
        return triggered, moved

    def live(self, *happens):
        """Let this happen: (ms, trigger, motion)."""
        self.happens = list(happens)
        with raises(OSError):
            asyncio.run(self.rules.run(None))
        return self.log


def test_each_bit_films_its_own():
    for record, wanted in RECORDS:
        for bit in range(5):
            lab = Lab(1 << bit)
            lab.rules.note(record)
            assert lab.log == ([700] if bit == wanted else []), (record, bit)


def test_the_relay_follows_each_alarm_by_its_bit():
    codes = (5, 0, 6, 129, 130, 131, 133, 134, 7, 132)
    for bit in range(10):
        for code in codes + (128, 8):
            lab = Lab(0, 1 << bit, (code,))
            lab.rules.note(ALARM)
            assert bool(lab.relay) == (code == codes[bit]), (bit, code)
            lab.alarms = ()
            lab.rules.note({1: 0, 11: code, 14: 0})
            assert not lab.relay


def test_the_relay_follows_other_settings_without_a_record():
    lab = Lab(0, 0, (6,))
    lab.live((1_000, False, False))
    assert not lab.relay
    lab.relay_alarms = 1 << 2
    lab.live((2_000, False, False))
    assert lab.relay


def test_the_record_comes_before_the_pulse():
    record, pulse = Lab(8).live((5_000, True, False))
    assert record[6] == 1 and record[2] == 1_005 and pulse == 700
    record, pulse = Lab(16).live((5_000, False, True))
    assert record[6] == 4 and pulse == 700


def test_a_trigger_is_on_record_even_if_it_is_not_filmed_but_motion_is_not():
    (record,) = Lab(0).live((0, True, True))
    assert record[6] == 1


def test_motion_counts_only_while_the_door_is_locked():
    for lock_state in (0, 2):
        assert Lab(16, lock_state=lock_state).live((0, False, True)) == []


def test_a_flood_is_counted_and_filmed():
    lab = Lab(8 | 16)
    lab.live(*[(100 * i, True, False) for i in range(500)], *[(60_000 * i, False, False) for i in range(1, 30)])
    records = [each for each in lab.log if each != 700]
    assert len(lab.log) - len(records) == 500, "each one is filmed"
    assert sum([record.get(14, 1) for record in records]) == 500
    assert len(records) < 20
    counts = [record for record in records if 14 in record]
    assert counts and all([record[6] == 1 and 19 in record for record in counts])
