"""The monitor: each alarm of SPEC.md 7.2 that it owns begins and is over exactly when it should."""

from support import bools, choices, given, ints, lists, tuples
from support import door_states as states
from vitrine.door import fsm, monitor
from vitrine.door.monitor import Monitor, Seen, blocking_mask
from vitrine.door.settings import Settings
from vitrine.door.ticks import ticks_add, ticks_diff

NOW = 2**30 - 3000  # every case runs over the wrap of the ticks

JAMMED, HOUSING_OPEN, UNATTENDED, CUT, SHORTED, STUCK, EXIT_HELD, BATTERY_LOW = 0, 5, 128, 129, 130, 131, 132, 133
CODES = (JAMMED, HOUSING_OPEN, UNATTENDED, CUT, SHORTED, STUCK, EXIT_HELD, BATTERY_LOW)


class Bench:
    """A monitor that is stepped at its deadlines, and what it said: (ms since the start, alarm, step)."""

    def __init__(self, settings=None):
        self.monitor = Monitor(Settings(settings or {}))
        self.seen = Seen()
        self.ms = 0
        self.said = []
        self.wait(0)

    def wait(self, ms):
        end = self.ms + ms
        while True:
            now = ticks_add(NOW, self.ms)
            for code, step in self.monitor.step(self.seen, now):
                self.said.append((self.ms, code, step))
            deadline = self.monitor.deadline_ms
            assert deadline is None or ticks_diff(deadline, now) > 0, "a deadline stays in the past"
            if self.ms >= end:
                return
            self.ms = end if deadline is None else min(end, self.ms + ticks_diff(deadline, now))


def all_well(bench):
    """A board with every sensor, nothing wrong."""
    seen = bench.seen
    seen.bolt, seen.motion, seen.tamper, seen.battery_mv = False, False, False, 12000


def test_nothing_wrong_says_nothing():
    bench = Bench({10: 5000, 17: 11000})
    bench.wait(100000)
    all_well(bench)
    bench.wait(100000)
    assert bench.said == [] and bench.monitor.active == () and bench.monitor.deadline_ms is None


def test_what_a_board_does_not_have_it_does_not_report():
    bench = Bench({10: 5000, 17: 11000})
    bench.seen.is_energised, bench.seen.is_closed, bench.seen.is_settled = True, False, False
    bench.wait(100000)
    assert bench.said == []


def test_a_bolt_that_does_not_draw_is_jammed():
    bench = Bench()
    all_well(bench)
    bench.seen.is_energised, bench.seen.is_settled = True, False
    bench.wait(1490)
    assert bench.said == []
    bench.wait(3000)
    assert bench.said == [(1500, JAMMED, 1)] and bench.monitor.active == (JAMMED,)
    bench.seen.bolt = True
    bench.wait(10)
    assert bench.said[1:] == [(4490, JAMMED, 0)] and bench.monitor.active == ()


def test_a_bolt_that_does_not_draw_is_jammed_however_short_its_time_is():
    for unlock_ms, jam_ms, wanted_ms in ((500, 200, 200), (500, 1500, 250), (1500, 1500, 1250), (10000, 10000, 9750)):
        settings = Settings({1: unlock_ms, 11: jam_ms})
        bench = Bench({11: jam_ms})
        all_well(bench)
        bench.seen.door(fsm.step(fsm.initial(settings, True, NOW), states.UNLOCK_GRANTED, NOW)[0])
        bench.wait(unlock_ms)
        assert bench.said == [(wanted_ms, JAMMED, 1)]
    # passage goes on: a bolt has all its time
    bench = Bench({11: 10000})
    all_well(bench)
    state = fsm.initial(Settings(), True, NOW)
    for event in (states.UNLOCK_GRANTED, states.PASSAGE_BEGUN):
        state = fsm.step(state, event, NOW)[0]
    bench.seen.door(state)
    bench.wait(10000)
    assert bench.said == [(10000, JAMMED, 1)]


def test_a_bolt_that_draws_late_but_in_time_is_not():
    bench = Bench()
    all_well(bench)
    bench.seen.is_energised, bench.seen.is_settled = True, False
    bench.wait(1400)
    bench.seen.bolt = True
    bench.wait(10000)
    assert bench.said == []


def test_a_bolt_that_does_not_come_home_is_jammed_and_stuck():
    bench = Bench()
    all_well(bench)
    bench.seen.is_energised, bench.seen.is_settled, bench.seen.bolt = True, False, True
    bench.wait(1000)
    bench.seen.is_energised = False
    bench.wait(400)
    bench.seen.is_settled = True
    bench.wait(5000)
    assert bench.said == [(1000 + 1500, STUCK, 1), (1400 + 1500, JAMMED, 1)]
    bench.seen.bolt = False
    bench.wait(10)
    assert [said[1:] for said in bench.said[2:]] == [(JAMMED, 0), (STUCK, 0)]


def test_a_bolt_drawn_by_nobody_is_stuck_and_not_jammed():
    """It had followed: whoever draws it now is not the strike."""
    bench = Bench()
    all_well(bench)
    bench.wait(5000)
    bench.seen.bolt = True
    bench.wait(10000)
    assert bench.said == [(5000 + 1500, STUCK, 1)]
    bench.seen.is_energised, bench.seen.is_settled = True, False  # now something commands it
    bench.wait(10)
    assert [said[1:] for said in bench.said[1:]] == [(STUCK, 0)]


def test_a_jam_is_not_over_because_the_strike_gave_up():
    bench = Bench()
    all_well(bench)
    bench.seen.is_energised, bench.seen.is_settled = True, False
    bench.wait(5000)
    bench.seen.is_energised = False
    bench.wait(400)
    assert bench.monitor.active == (JAMMED,)
    bench.seen.is_settled = True  # and the bolt is home
    bench.wait(10)
    assert bench.monitor.active == ()


def test_no_jam_counts_while_the_bolt_may_be_anywhere():
    bench = Bench()
    all_well(bench)
    bench.seen.is_closed = bench.seen.is_settled = False
    bench.wait(100000)
    assert bench.said == []


def test_the_housing():
    bench = Bench()
    all_well(bench)
    bench.wait(1000)
    bench.seen.tamper = True
    bench.wait(100)
    bench.seen.tamper = False
    bench.wait(3000)
    assert bench.said == [(1000, HOUSING_OPEN, 1), (3100, HOUSING_OPEN, 0)]


def test_unattended():
    bench = Bench({10: 20000})
    all_well(bench)
    bench.seen.is_closed = bench.seen.is_settled = False
    bench.wait(15000)
    bench.seen.motion = True
    bench.wait(1000)
    bench.seen.motion = False
    bench.wait(19000)
    assert bench.said == [], "motion starts the time again"
    bench.wait(2000)
    assert bench.said == [(16000 + 20000, UNATTENDED, 1)]
    bench.seen.motion = True
    bench.wait(10)
    assert bench.said[1][1:] == (UNATTENDED, 0)
    bench.seen.motion = False
    bench.wait(30000)
    bench.seen.is_closed = True
    bench.wait(10)
    assert [said[1:] for said in bench.said] == [(UNATTENDED, 1), (UNATTENDED, 0)] * 2


def test_a_cut_and_a_shorted_line():
    bench = Bench()
    for switch, code in ((states.SWITCH_CUT, CUT), (states.SWITCH_SHORTED, SHORTED)):
        bench.said = []
        bench.seen.switch = switch
        bench.wait(10)
        assert bench.monitor.active == (code,)
        bench.seen.switch = states.SWITCH_OPEN
        bench.wait(2010)
        assert [said[1:] for said in bench.said] == [(code, 1), (code, 0)]
    bench.seen.switch = states.SWITCH_CUT
    bench.wait(10)
    bench.seen.switch = states.SWITCH_SHORTED
    bench.wait(2010)
    assert [said[1:] for said in bench.said[2:]] == [(CUT, 1), (SHORTED, 1), (CUT, 0)]


def test_the_exit_button_held():
    bench = Bench({12: 2000})
    bench.seen.rex = True
    bench.wait(1900)
    bench.seen.rex = False
    bench.wait(10)
    bench.seen.rex = True
    bench.wait(5000)
    assert bench.said == [(1910 + 2000, EXIT_HELD, 1)]
    bench.seen.rex = False
    bench.wait(10)
    assert bench.monitor.active == ()


def test_the_battery():
    bench = Bench({17: 10000})
    bench.seen.battery_mv = 9999
    bench.wait(9000)
    bench.seen.battery_mv = 10000
    bench.wait(10)
    bench.seen.battery_mv = 9999
    bench.wait(12000)
    assert bench.said == [(9010 + 10000, BATTERY_LOW, 1)]
    bench.seen.battery_mv = 10499  # not yet 5 % above
    bench.wait(60000)
    assert bench.monitor.active == (BATTERY_LOW,)
    bench.seen.battery_mv = None  # not to be read: nothing is known, nothing changes
    bench.wait(60000)
    assert bench.monitor.active == (BATTERY_LOW,)
    bench.seen.battery_mv = 10500
    start = bench.ms
    bench.wait(12000)
    assert bench.said[1:] == [(start + 10000, BATTERY_LOW, 0)]


def test_settings_that_change_hold_at_once():
    bench = Bench({12: 30000, 17: 10000})
    bench.seen.rex, bench.seen.battery_mv = True, 1000
    bench.wait(15000)
    assert bench.monitor.active == (BATTERY_LOW,)
    bench.monitor.settings = Settings({12: 2000})
    bench.wait(10000)
    assert bench.monitor.active == (EXIT_HELD,)


def test_the_deadline_is_exact():
    bench = Bench({12: 2000})
    bench.seen.rex = True
    bench.wait(10)
    assert ticks_diff(bench.monitor.deadline_ms, NOW) == 2000
    bench.wait(5000)
    assert bench.monitor.deadline_ms is None


def test_bits_of_alarm_blocks():
    assert blocking_mask(()) == 0
    wanted = {5: 0, 0: 1, 6: 2, 129: 3, 130: 4, 131: 5, 133: 6, 134: 7}
    for code, bit in wanted.items():
        assert blocking_mask((code,)) == 1 << bit
    for code in (4, 7, 8, 128, 132):
        assert blocking_mask((code,)) == 0
    assert blocking_mask(tuple(wanted)) == 255


def test_what_the_door_machine_says():
    settings = Settings()
    seen = Seen()
    state = fsm.initial(settings, True, NOW)
    seen.door(state)
    assert (seen.is_energised, seen.is_closed, seen.is_settled) == (False, True, True)
    state, _ = fsm.step(state, states.PASSAGE_BEGUN, NOW)
    seen.door(state)
    assert (seen.is_energised, seen.is_closed, seen.is_settled) == (True, True, False)
    state, _ = fsm.step(state, states.DOOR_OPENED, NOW)
    state, _ = fsm.step(state, states.PASSAGE_ENDED, NOW)
    seen.door(state)
    assert (seen.is_energised, seen.is_closed, seen.is_settled) == (False, False, False)


THREE = (None, False, True)
CHANGES = lists(
    tuples(
        choices(("bolt", "motion", "tamper", "rex", "battery_mv", "switch", "is_energised", "is_closed", "is_settled")),
        ints(0, 5),
        choices((0, 10, 200, 1500, 2000, 9990, 10000, 30000)),
    ),
    0,
    40,
)


@given(CHANGES, bools(), examples=200)
def test_begun_once_over_once_in_any_order(changes, has_settings):
    bench = Bench({10: 2000, 12: 2000, 17: 10000} if has_settings else {})
    for name, value, ms in changes:
        if name == "battery_mv":
            value = (None, 0, 9999, 10000, 10499, 10500)[value]
        elif name == "switch":
            value %= 4
        elif name in ("bolt", "motion", "tamper"):
            value = THREE[value % 3]
        else:
            value = value % 2 == 1
        setattr(bench.seen, name, value)
        bench.wait(ms)
    active = {}
    for _, code, step in bench.said:
        assert code in CODES and active.get(code, 0) != step and step in (0, 1)
        active[code] = step
    assert sorted(bench.monitor.active) == sorted(code for code in active if active[code])
    # all well again: each is over, the slowest after 10 s
    all_well(bench)
    bench.seen.rex, bench.seen.switch = False, states.SWITCH_CLOSED
    bench.seen.is_energised, bench.seen.is_closed, bench.seen.is_settled = False, True, True
    bench.wait(10010)
    assert bench.monitor.active == ()


def test_every_alarm_is_known():
    assert tuple(monitor._ALARMS) == CODES


def test_a_flapping_wire_is_one_alarm():
    """What a loose wire or a drill at the housing does is bounded by time, not by them."""
    for code, name, values in (
        (CUT, "switch", (states.SWITCH_CUT, states.SWITCH_CLOSED)),
        (SHORTED, "switch", (states.SWITCH_SHORTED, states.SWITCH_CLOSED)),
        (HOUSING_OPEN, "tamper", (True, False)),
    ):
        for period in (30, 100, 1000, 1990):
            bench = Bench()
            all_well(bench)
            while bench.ms < 60000:
                for value in values:
                    setattr(bench.seen, name, value)
                    bench.wait(period)
            bench.wait(3000)
            assert [said[1:] for said in bench.said] == [(code, 1), (code, 0)], (code, period)
