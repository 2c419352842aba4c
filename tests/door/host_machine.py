"""Door machine and monitor together, in whatever order hypothesis finds for door, people, timers, power and clock."""

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support import door_states as states
from support.door_walk import ShorteningWalk
from vitrine.door.monitor import Monitor, Seen
from vitrine.door.settings import Settings
from vitrine.door.ticks import ticks_diff

CHOICES = (Settings({4: 5000, 9: 7000, 12: 2000}), Settings({1: 500, 3: 5000}), Settings({10: 3000, 17: 10000}))
LASTS_MS = {0: 1500, 5: 0, 128: 3000, 129: 0, 130: 0, 131: 1500, 132: 2000, 133: 10000}


class Door(RuleBasedStateMachine):
    """The caller's part: steps both at each deadline, at most 900 ms late, as app.controller does."""

    def __init__(self):
        super().__init__()
        self.walk = ShorteningWalk(CHOICES[0], True, 2**30 - 20_000)
        self.monitor = Monitor(CHOICES[0])
        self.seen = Seen()
        self.raised = {}

    @rule(event=strategies.sampled_from((states.DOOR_OPENED, states.DOOR_FOUND_OPEN, states.DOOR_SHUT)))
    def door_moves(self, event):
        self.walk.step(event)
        self.look()

    @rule(
        event=strategies.sampled_from(
            (
                states.REX_PRESSED,
                states.UNLOCK_GRANTED,
                states.HOLD_GRANTED,
                states.TEST_GRANTED,
                states.LOCK_GRANTED,
                states.STRIKE_FAILED,
            )
        )
    )
    def somebody_asks(self, event):
        self.walk.step(event)
        self.look()

    @rule(event=strategies.sampled_from((states.PASSAGE_BEGUN, states.PASSAGE_ENDED, states.LOCKED_DOWN)))
    def the_scenario_changes(self, event):
        """By a command, or by a clock that went on, jumped or was lost."""
        self.walk.step(event)
        self.look()

    @rule(name=strategies.sampled_from(("bolt", "motion", "tamper", "rex")), value=strategies.booleans())
    def a_sensor_changes(self, name, value):
        setattr(self.seen, name, value)
        self.look()

    @rule(switch=strategies.sampled_from((states.SWITCH_CLOSED, states.SWITCH_CUT, states.SWITCH_SHORTED)))
    def the_line_is_touched(self, switch):
        self.seen.switch = switch
        self.look()

    @rule(mv=strategies.sampled_from((None, 9_000, 10_000, 10_499, 10_500)))
    def the_supply_changes(self, mv):
        self.seen.battery_mv = mv
        self.look()

    @rule(ms=strategies.sampled_from((1, 399, 401, 1_500, 5_000, 10_001, 40_000)), late_ms=strategies.integers(0, 900))
    def time_passes(self, ms, late_ms):
        left_ms = ms
        while left_ms > 0:
            step_ms = left_ms
            deadline_ms = self.monitor.deadline_ms
            if deadline_ms is not None:
                step_ms = min(left_ms, max(1, ticks_diff(deadline_ms, self.walk.now)))
            self.walk.wait(step_ms, late_ms)
            left_ms -= step_ms
            self.look()

    @rule(index=strategies.integers(0, 2))
    def settings_change(self, index):
        self.walk.configure(CHOICES[index])
        self.monitor.settings = CHOICES[index]
        self.look()

    @rule()
    def the_power_fails(self):
        self.walk.power_up()
        self.monitor = Monitor(self.walk.settings)
        self.raised = {}
        self.look()

    @precondition(lambda self: self.raised)
    @rule()
    def all_is_well(self):
        """Whatever was raised is over once its cause is gone, the slowest after 10 s."""
        self.walk.step(states.LOCKED_DOWN)
        self.walk.step(states.DOOR_SHUT)
        self.seen.bolt = self.seen.motion = self.seen.tamper = self.seen.rex = False
        self.seen.battery_mv, self.seen.switch = 12_000, states.SWITCH_CLOSED
        self.look()
        self.time_passes(20_000, 0)
        assert not self.raised and not self.walk.alarms

    def look(self):
        before = dict(self.raised)
        self.seen.door(self.walk.state)
        for code, step in self.monitor.step(self.seen, self.walk.now):
            assert step in (0, 1) and self.raised.get(code, 0) != step, "begun twice, or over twice"
            self.raised[code] = step
            if not step:
                del self.raised[code]
        assert set(self.monitor.active) == set(self.raised)
        if 129 in self.raised.keys() - before.keys():
            assert self.seen.switch == states.SWITCH_CUT
        if 131 in self.raised:
            assert self.seen.bolt is not False and not (self.seen.bolt and self.walk.state.is_energised)

    @invariant()
    def no_deadline_stays_in_the_past(self):
        deadline_ms = self.monitor.deadline_ms
        assert deadline_ms is None or ticks_diff(deadline_ms, self.walk.now) > 0
        assert set(self.raised) <= set(LASTS_MS)


TestDoor = Door.TestCase
TestDoor.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
