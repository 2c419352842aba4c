"""The door machine walked through any order of events, beside a model of its own of what must hold after each.

The model knows no modes: it knows when the coil was asked for and by whom, since when the door has been shut or open,
and which alarms were raised. Each broken promise is an AssertionError with a name.
"""

from support import door_states as states
from vitrine.door import fsm
from vitrine.door.ticks import ticks_add, ticks_diff

STRIKE_MAX_MS = 10_000  # of one ENERGISE
LATE_MS = 1_000  # how far from its time an ajar step may come
GRANTS = (states.UNLOCK_GRANTED, states.HOLD_GRANTED, states.TEST_GRANTED)
ENTITLED = GRANTS + (states.PASSAGE_BEGUN,)
RIGHTS = ENTITLED + (states.REX_PRESSED,)
TEST_MS = 500


class Walk:
    """One door from power-up on. step(event) and wait(ms) go on; `actions` are those of the last step."""

    def __init__(self, settings, closed, now):
        self.settings = settings
        self.closed = closed
        self.now = now
        self.power_up()

    def power_up(self):
        """The supply was gone: nothing is remembered but where the door is."""
        self.state = fsm.initial(self.settings, self.closed, self.now)
        self.actions = ()
        self.coil_until = None  # what a strike does that follows the actions
        self.granted_until = None  # until when somebody's right lasts at most
        self.in_passage = False
        self.alarms = {}  # code: step
        self.is_settled = self.closed  # Locked has been due and said
        self.settling_since = None
        self.was_forced = False  # and nobody has had the right since
        self.counting_since = None if self.closed else self.now  # to the next step of ajar
        self.check()

    # what happens

    def step(self, event):
        if event in (states.DOOR_OPENED, states.DOOR_FOUND_OPEN):
            self.opened(event)
        elif event == states.DOOR_SHUT:
            self.shut()
        else:
            self.apply(event)

    def opened(self, event):
        was_closed, was_settled = self.closed, self.is_settled
        self.closed = False
        self.is_settled = False
        self.settling_since = None
        if was_closed:
            self.counting_since = self.now
        self.apply(event)
        forced = (states.RAISE_ALARM, states.ALARM_FORCED_OPEN, 1) in self.actions
        is_due = was_closed and (was_settled or self.was_forced) and event == states.DOOR_OPENED
        assert forced == is_due, "forced open: %s instead of %s" % (forced, is_due)
        self.was_forced = forced or (self.was_forced and not was_closed)
        if forced:
            self.counting_since = None

    def shut(self):
        was_closed = self.closed
        self.closed = True
        self.counting_since = None
        self.apply(states.DOOR_SHUT)
        assert not self.alarms, "an alarm outlasts the closing of the door"
        if not was_closed and not self.is_on:
            self.settling_since = self.now

    def configure(self, settings):
        self.settings = settings
        self.state = fsm.configured(self.state, settings)
        self.check()

    def wait(self, ms, late_ms=0):
        """Let time pass; the caller of the machine comes back `late_ms` after each deadline."""
        target = ticks_add(self.now, ms)
        while self.state.deadline_ms is not None and ticks_diff(target, self.state.deadline_ms) > 0:
            # as a caller does that was busy; never back in time
            due = ticks_add(self.state.deadline_ms, late_ms)
            self.now = due if ticks_diff(due, self.now) > 0 else self.now
            before = self.state
            self.apply(states.TIME_PASSED)
            assert self.state is not before, "a deadline leads nowhere"
        if ticks_diff(target, self.now) > 0:
            self.now = target

    # what must hold

    @property
    def is_on(self):
        return self.coil_until is not None and ticks_diff(self.coil_until, self.now) > 0

    def apply(self, event):
        before = self.state
        was_on = self.coil_until is not None
        self.state, self.actions = fsm.step(before, event, self.now)
        self.follow(event)
        if event == states.PASSAGE_BEGUN:
            self.in_passage = True
        elif event in (states.PASSAGE_ENDED, states.STRIKE_FAILED, states.LOCKED_DOWN):
            if self.in_passage and not self.closed:
                self.counting_since = self.now
            self.in_passage = False
        if event in GRANTS and not self.closed:
            self.counting_since = self.now
        if event in (states.STRIKE_FAILED, states.LOCKED_DOWN):
            self.granted_until = None
            assert not self.is_on, "on after a failure or in lockdown"
        if event in RIGHTS:
            self.is_settled = False
            self.was_forced = False
            self.settling_since = None
            assert self.is_on, "a right goes to nothing"
        if self.closed and was_on and self.coil_until is None:
            self.settling_since = self.now
        self.check_settling(event)
        self.check_ajar(event)
        if event in ENTITLED:
            assert not self.alarms, "an alarm outlasts a grant"
        if self.state.door_state != before.door_state:
            assert states.REPORT_DOOR in [action[0] for action in self.actions]
        if self.state.mode != before.mode:
            assert self.state.cause == event
        self.check()
        if event == states.TIME_PASSED and self.state.deadline_ms is not None:
            assert ticks_diff(self.state.deadline_ms, self.now) > 0, "a deadline stays in the past"

    def follow(self, event):
        for action in self.actions:
            if action[0] == states.ENERGISE_STRIKE:
                is_renewal = event == states.TIME_PASSED and self.in_passage
                if event == states.PASSAGE_ENDED:
                    assert 0 < action[1] <= ticks_diff(self.granted_until, self.now), "longer than granted"
                else:
                    assert 500 <= action[1] <= STRIKE_MAX_MS
                    assert event in RIGHTS or is_renewal, "energised for nobody"
                self.coil_until = ticks_add(self.now, action[1])
            elif action[0] == states.RELEASE_STRIKE:
                self.coil_until = None
            elif action[0] == states.RAISE_ALARM:
                self.alarm(action[1], action[2])
        if event in GRANTS or event == states.REX_PRESSED:
            most = {states.HOLD_GRANTED: self.settings.hold_ms, states.TEST_GRANTED: TEST_MS}
            most = most.get(event, self.settings.unlock_ms)
            until = ticks_add(self.now, most)
            if self.granted_until is None or ticks_diff(until, self.granted_until) > 0:
                self.granted_until = until

    def alarm(self, code, step):
        assert not self.in_passage or not step, "an alarm in passage"
        if step:
            assert self.alarms.get(code, 0) == step - 1, "steps in their order"
            assert 1 <= step <= (3 if code == states.ALARM_AJAR else 1)
            self.alarms[code] = step
        else:
            assert self.alarms.pop(code, 0), "cleared what was not raised"

    def check_settling(self, event):
        if event != states.TIME_PASSED or self.settling_since is None:
            return
        if ticks_diff(self.now, self.settling_since) >= self.settings.settle_ms:
            self.settling_since = None
            self.is_settled = True
            locked = (states.REPORT_OPERATION, states.LOCK, states.SOURCE_AUTO)
            assert locked in self.actions, "settled, and not said to be locked"

    def check_ajar(self, event):
        """Each step of ajar in its time, while nobody is entitled to have the door open."""
        raised = [action for action in self.actions if action[:2] == (states.RAISE_ALARM, states.ALARM_AJAR)]
        step = self.alarms.get(states.ALARM_AJAR, 0)
        if raised and raised[0][2]:
            assert self.counting_since is not None
            wanted = self.settings.ajar_ms if step == 1 else self.settings.ajar_step_ms
            found = ticks_diff(self.now, self.counting_since)
            assert found >= wanted, "ajar too early"
            assert found <= wanted + LATE_MS or self.was_shortened(wanted), "ajar too late"
            self.counting_since = self.now if step < 3 else None
        elif event == states.TIME_PASSED and self.counting_since is not None and not self.in_passage:
            wanted = self.settings.ajar_step_ms if step else self.settings.ajar_ms
            assert ticks_diff(self.now, self.counting_since) < wanted, "ajar, and not said"

    def was_shortened(self, wanted):
        return False

    def check(self):
        state = self.state
        assert state.is_closed == self.closed, "says the door is where it is not"
        assert state.is_energised == (self.coil_until is not None), "the state and the strike disagree"
        if state.lock_state == states.LOCK_LOCKED:
            assert self.closed and self.coil_until is None and self.is_settled
        if state.mode == states.UNLOCKED:
            assert self.coil_until is not None
        if self.is_on and not self.in_passage:
            assert self.granted_until is not None, "on for nobody"
            assert ticks_diff(self.granted_until, self.coil_until) >= 0, "on for longer than granted"
        if self.in_passage:
            assert state.lock_state == states.LOCK_UNLOCKED and not self.alarms
        active = state.alarm
        assert self.alarms == ({} if active is None else {active: state.alarm_step}), "alarms and records disagree"


class ShorteningWalk(Walk):
    """For walks in which the settings change: a deadline that has moved into the past is due at the next step."""

    def was_shortened(self, wanted):
        return True
