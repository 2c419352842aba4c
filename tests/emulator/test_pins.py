"""The GPIO matrix: who drives a pin, and what the world outside sees of it."""

import pytest

from vitrine_tools.emulator.clock import HardwareClock
from vitrine_tools.emulator.pins import IN, OPEN_DRAIN, OUT, PULL_DOWN, PULL_UP, Pins


class Bench:
    def __init__(self):
        self.clock = HardwareClock(is_virtual=True)
        self.inputs = []
        self.changes = []
        self.pins = Pins(
            self.clock,
            lambda number, level: self.inputs.append((number, level)),
            lambda name, level, power: self.changes.append((self.clock.now_us, name, level, power)),
        )

    def advance(self, us):
        end_us = self.clock.now_us + us
        while (due_us := self.clock.next_us) is not None and due_us <= end_us:
            self.clock.step_to(due_us)
            self.clock.run_due()
        self.clock.step_to(end_us)


@pytest.fixture
def bench():
    return Bench()


def test_the_boards_resistors_hold_what_nobody_drives(bench):
    assert {name: bench.pins.level(name) for name in bench.pins.numbers} == {
        "STRIKE": 0,
        "DPS": 1,
        "REX": 1,
        "LED": 0,
        "BUZZER": 0,
        "BOLT": 1,
        "MOTION": 0,
        "TAMPER": 1,
        "BATTERY": 0,
        "CAMERA": 0,
        "RELAY": 0,
        "TRIGGER": 1,
    }


@pytest.mark.parametrize(
    ("mode", "latch", "pull", "outside", "level"),
    [
        (OUT, 1, 0, 0, 1),
        (OUT, 0, PULL_UP, 1, 0),
        (OPEN_DRAIN, 0, 0, 1, 0),
        (OPEN_DRAIN, 1, 0, 1, 1),
        (OPEN_DRAIN, 1, PULL_UP, None, 1),
        (IN, 1, 0, None, 0),
        (IN, 0, PULL_UP, None, 1),
        (IN, 0, PULL_DOWN, None, 0),
        (IN, 0, PULL_UP, 0, 0),
    ],
)
def test_who_wins(bench, mode, latch, pull, outside, level):
    bench.pins.drive("LED", outside)
    number = bench.pins.numbers["LED"]
    assert bench.pins.configure({"n": number, "mode": mode, "v": latch, "pull": pull}) == level
    assert bench.pins.level("LED") == level


def test_a_latch_set_before_the_mode_makes_no_pulse(bench):
    number = bench.pins.numbers["STRIKE"]
    bench.pins.write(number, 1)
    bench.pins.write(number, 0)
    bench.pins.configure({"n": number, "mode": OUT, "v": 0})
    assert bench.changes == []


def test_only_a_configured_pin_reports_its_edges(bench):
    number = bench.pins.numbers["DPS"]
    bench.pins.drive("DPS", 0)
    bench.pins.configure({"n": number, "mode": IN, "pull": PULL_UP})
    bench.pins.drive("DPS", 0)
    bench.pins.drive("DPS", 1)
    assert bench.inputs == [(number, 1)]


def test_a_train_of_pulses(bench):
    number = bench.pins.numbers["STRIKE"]
    bench.pins.open_rmt(1, number, 0, None)
    bench.pins.rmt(1).write(3_200_000, [100, 50, 25], [1, 0, 1], 0)
    bench.advance(10_000)
    assert [(us, level) for us, _, level, _ in bench.changes] == [(0, 1), (320, 0), (480, 1), (560, 0)]
    assert not bench.pins.rmt(1).is_sending


def test_trains_queue_up_without_a_gap_and_do_not_drift(bench):
    number = bench.pins.numbers["STRIKE"]
    bench.pins.open_rmt(1, number, 0, None)
    channel = bench.pins.rmt(1)
    channel.write(12_500, [3], [1], 0)  # 37.5 ns: less than a microsecond
    for _ in range(1000):
        channel.write(12_500, [32767], [1], 0)
    bench.advance(10_000_000)
    assert [(us, level) for us, _, level, _ in bench.changes] == [(0, 1), (409_587, 0)]


def test_loops_and_stops(bench):
    number = bench.pins.numbers["LED"]
    bench.pins.open_rmt(1, number, 0, None)
    channel = bench.pins.rmt(1)
    channel.write(1_000_000, [10, 10], [1, 0], 3)
    bench.advance(1_000)
    assert [us for us, _, level, _ in bench.changes if level] == [0, 20, 40]
    bench.changes.clear()
    channel.write(1_000_000, [10, 10], [1, 0], -1)
    bench.advance(995)
    assert len([1 for _, _, level, _ in bench.changes if level]) == 50
    channel.stop()
    bench.advance(100)
    assert bench.changes[-1][2] == 0
    assert bench.clock.next_us is None


def test_a_carrier_lowers_the_power_not_the_level(bench):
    number = bench.pins.numbers["STRIKE"]
    bench.pins.open_rmt(1, number, 0, [20_000, 40, 1])
    bench.pins.rmt(1).write(1_000_000, [10], [1], 0)
    assert (bench.pins.level("STRIKE"), bench.pins.power("STRIKE")) == (1, 0.4)


def test_a_reset_ends_everything(bench):
    number = bench.pins.numbers["STRIKE"]
    bench.pins.open_rmt(1, number, 0, None)
    bench.pins.rmt(1).write(1_000_000, [10_000], [1], 0)
    bench.pins.set_pwm(bench.pins.numbers["BUZZER"], 2700, 32768)
    bench.pins.configure({"n": bench.pins.numbers["LED"], "mode": OUT, "v": 1})
    bench.pins.reset()
    assert all(bench.pins.level(name) == 0 for name in ("STRIKE", "BUZZER", "LED"))
    bench.advance(100_000)
    assert all(bench.pins.level(name) == 0 for name in ("STRIKE", "BUZZER", "LED"))
