"""The door machine against its own table, and against the promises that hold for any order of events."""

from support import bools, choices, given, ints, lists, raises, tuples
from support import door_states as states
from support.door_walk import ShorteningWalk, Walk
from vitrine.door import fsm
from vitrine.door.settings import Settings
from vitrine.door.ticks import ticks_add, ticks_diff

SETTINGS = Settings()
NOW = 2**30 - 3000  # every case runs over the wrap of the ticks

ACTION_LETTERS = {
    states.ENERGISE_STRIKE: "E",
    states.RELEASE_STRIKE: "R",
    states.REPORT_OPERATION: "O",
    states.REPORT_DOOR: "D",
}
COLUMNS = {
    "opened": states.DOOR_OPENED,
    "found open": states.DOOR_FOUND_OPEN,
    "shut": states.DOOR_SHUT,
    "REX": states.REX_PRESSED,
    "unlock": states.UNLOCK_GRANTED,
    "hold": states.HOLD_GRANTED,
    "test": states.TEST_GRANTED,
    "lock": states.LOCK_GRANTED,
    "begun": states.PASSAGE_BEGUN,
    "ended": states.PASSAGE_ENDED,
    "locked down": states.LOCKED_DOWN,
    "failed": states.STRIKE_FAILED,
    "coil due": states.TIME_PASSED,
    "renewal due": states.TIME_PASSED,
    "next due": states.TIME_PASSED,
}
MODES = ("LOCKED", "UNLOCKED", "OPEN", "AJAR", "FORCED", "RELOCKING")
EVENTS = (
    states.DOOR_OPENED,
    states.DOOR_FOUND_OPEN,
    states.DOOR_SHUT,
    states.REX_PRESSED,
    states.UNLOCK_GRANTED,
    states.HOLD_GRANTED,
    states.TEST_GRANTED,
    states.LOCK_GRANTED,
    states.TIME_PASSED,
    states.STRIKE_FAILED,
    states.PASSAGE_BEGUN,
    states.PASSAGE_ENDED,
    states.LOCKED_DOWN,
)
OPEN_MODES = (states.OPEN, states.AJAR, states.FORCED)
PASSAGE_ON_MS, RENEW_MS = 10000, 5000


def run(state, *events):
    """Step through `events`, each (event, ms later) or an event 1 ms later; return (state, last actions, now)."""
    now, actions = NOW, ()
    for event in events:
        event, later_ms = event if isinstance(event, tuple) else (event, 1)
        now = ticks_add(now, later_ms)
        state, actions = fsm.step(state, event, now)
    return state, actions, now


def locked(settings=SETTINGS):
    return fsm.initial(settings, True, NOW)


# How each row of the table comes about. ajar_ms is at its least here, so that a hold outlasts it.
AJAR_SOON = Settings({4: 5000, 9: 6000})
AJAR = [states.UNLOCK_GRANTED, states.DOOR_OPENED, (states.TIME_PASSED, 5000)]
ROWS = {
    "LOCKED": [],
    "UNLOCKED": [states.UNLOCK_GRANTED],
    "UNLOCKED hold": [states.HOLD_GRANTED],
    "UNLOCKED pass": [states.PASSAGE_BEGUN],
    "UNLOCKED both": [states.PASSAGE_BEGUN, states.UNLOCK_GRANTED],
    "RELOCKING": [states.UNLOCK_GRANTED, states.LOCK_GRANTED],
    "RELOCKING bad": [states.DOOR_OPENED, states.DOOR_SHUT],
    "OPEN": [states.UNLOCK_GRANTED, states.DOOR_OPENED],
    "OPEN coil": [states.UNLOCK_GRANTED, states.DOOR_OPENED, states.REX_PRESSED],
    "OPEN pass": [states.PASSAGE_BEGUN, states.DOOR_OPENED],
    "OPEN both": [states.PASSAGE_BEGUN, states.DOOR_OPENED, states.UNLOCK_GRANTED],
    "AJAR": AJAR,
    "AJAR last": AJAR + [(states.TIME_PASSED, 6000), (states.TIME_PASSED, 6000)],
    "AJAR coil": AJAR + [states.REX_PRESSED],
    "FORCED": [states.DOOR_OPENED],
    "FORCED coil": [states.DOOR_OPENED, states.REX_PRESSED],
}


def table():
    """Return {row: {column: cell}} from the machine's docstring (MicroPython drops docstrings: read the source)."""
    with open(fsm.__file__) as source:
        lines = [line for line in source.read().split('"""')[1].split("\n") if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head = cells[0]
    assert head[0] == "state" and set(head[1:]) == set(COLUMNS), head
    return {row[0]: {head[i]: row[i] for i in range(1, len(head))} for row in cells[2:]}


def letter(action):
    if action[0] == states.RAISE_ALARM:
        return "A" if action[2] else "C"
    return ACTION_LETTERS[action[0]]


def test_every_cell_of_the_table():
    cells = table()
    assert set(cells) == set(ROWS)
    for row, columns in cells.items():
        for column, cell in columns.items():
            state, _, now = run(locked(AJAR_SOON), *ROWS[row])
            assert MODES[state.mode] == row.split()[0], row
            deadlines = {"coil due": state.strike_until_ms, "next due": state.next_ms}
            deadlines["renewal due"] = state.passage_until_ms and ticks_add(state.passage_until_ms, -RENEW_MS)
            deadline = deadlines.get(column, ticks_add(now, 1))
            after, actions = state, ()
            if deadline is not None:
                # without the other timers, which may be due earlier
                if column == "coil due":
                    state.next_ms = None
                    if state.passage_until_ms:
                        state.passage_until_ms = ticks_add(deadline, PASSAGE_ON_MS)
                elif column == "renewal due" or column == "next due":
                    state.strike_until_ms = None
                after, actions = fsm.step(state, COLUMNS[column], deadline)
            found = MODES[after.mode]
            for action in actions:
                found += " " + letter(action)
            if after is state and not actions:
                found = "-"
            assert found == cell, (row, column, found, cell)


def test_a_test_of_the_strike_lasts_half_a_second_and_shortens_nothing():
    state, actions, now = run(locked(), states.TEST_GRANTED)
    assert actions == ((states.ENERGISE_STRIKE, 500), (states.REPORT_OPERATION, states.TEST, states.SOURCE_REMOTE))
    assert state.deadline_ms == ticks_add(now, 500)
    state, actions, _ = run(locked(), states.TEST_GRANTED, (states.TIME_PASSED, 500))
    assert state.mode == states.RELOCKING and actions == ((states.RELEASE_STRIKE,),)
    state, actions, now = run(locked(), states.UNLOCK_GRANTED, states.TEST_GRANTED)
    assert state.strike_until_ms == ticks_add(now, 4999) and actions[0][0] == states.REPORT_OPERATION


def test_a_plain_unlock_from_grant_to_relock():
    state, actions, now = run(locked(), states.UNLOCK_GRANTED)
    assert actions == (
        (states.ENERGISE_STRIKE, 5000),
        (states.REPORT_OPERATION, states.UNLOCK, states.SOURCE_REMOTE),
    )
    assert (state.lock_state, state.door_state) == (states.LOCK_UNLOCKED, states.DOOR_CLOSED)
    assert (state.cause, state.source) == (states.UNLOCK_GRANTED, states.SOURCE_REMOTE)
    assert ticks_diff(state.deadline_ms, now) == 5000
    state, actions = fsm.step(state, states.DOOR_OPENED, ticks_add(now, 900))
    assert actions == ((states.RELEASE_STRIKE,), (states.REPORT_DOOR, states.DOOR_OPEN, states.SOURCE_MANUAL))
    assert (state.lock_state, state.door_state) == (states.LOCK_UNLOCKED, states.DOOR_OPEN)
    now = ticks_add(now, 4000)
    state, actions = fsm.step(state, states.DOOR_SHUT, now)
    assert actions == ((states.REPORT_DOOR, states.DOOR_CLOSED, states.SOURCE_MANUAL),)
    assert state.lock_state == states.NOT_FULLY_LOCKED
    early, actions = fsm.step(state, states.TIME_PASSED, ticks_add(now, 399))
    assert early is state and actions == ()
    state, actions = fsm.step(state, states.TIME_PASSED, ticks_add(now, 400))
    assert actions == ((states.REPORT_OPERATION, states.LOCK, states.SOURCE_AUTO),)
    assert state.lock_state == states.LOCK_LOCKED and state.deadline_ms is None


def test_a_hold_outlasts_the_door():
    state, actions, _ = run(locked(), states.HOLD_GRANTED, (states.DOOR_OPENED, 1000))
    assert actions == ((states.REPORT_DOOR, states.DOOR_OPEN, states.SOURCE_MANUAL),)
    state, actions, _ = run(locked(), states.HOLD_GRANTED, states.DOOR_OPENED, (states.DOOR_SHUT, 3000))
    assert state.mode == states.UNLOCKED and state.strike_until_ms is not None
    # an unlock of less time takes nothing away from it
    state, actions = fsm.step(state, states.UNLOCK_GRANTED, ticks_add(NOW, 4000))
    assert actions == ((states.REPORT_OPERATION, states.UNLOCK, states.SOURCE_REMOTE),)
    assert ticks_diff(state.strike_until_ms, NOW) == 10001 and state.is_hold


def test_a_hold_granted_while_a_longer_unlock_runs_is_a_hold():
    settings = Settings({1: 10000, 2: 500})
    state, actions, _ = run(locked(settings), states.UNLOCK_GRANTED, states.HOLD_GRANTED)
    assert actions == ((states.REPORT_OPERATION, states.HOLD, states.SOURCE_REMOTE),)
    assert state.is_hold and ticks_diff(state.strike_until_ms, NOW) == 10001


def test_power_up():
    state = fsm.initial(SETTINGS, True, NOW)
    assert (state.lock_state, state.door_state) == (states.LOCK_LOCKED, states.DOOR_CLOSED)
    assert state.deadline_ms is None and state.strike_until_ms is None
    state = fsm.initial(SETTINGS, False, NOW)
    assert (state.lock_state, state.door_state) == (states.LOCK_UNLOCKED, states.DOOR_OPEN)
    assert ticks_diff(state.deadline_ms, NOW) == SETTINGS.ajar_ms
    assert state.cause == states.POWERED_UP


def test_ajar_is_said_once_and_again_only_after_a_grant_or_a_close():
    state, actions, now = run(locked(), states.UNLOCK_GRANTED, states.DOOR_OPENED, (states.TIME_PASSED, 30000))
    assert actions == (
        (states.REPORT_DOOR, states.DOOR_AJAR, states.SOURCE_AUTO),
        (states.RAISE_ALARM, states.ALARM_AJAR, 1),
    )
    for alarm_step in (2, 3):
        early, actions = fsm.step(state, states.TIME_PASSED, ticks_add(now, 59999))
        assert early is state and actions == ()
        now = ticks_add(now, 60000)
        state, actions = fsm.step(state, states.TIME_PASSED, now)
        assert actions == ((states.RAISE_ALARM, states.ALARM_AJAR, alarm_step),) and state.mode == states.AJAR
    assert state.deadline_ms is None
    state, actions = fsm.step(state, states.TIME_PASSED, ticks_add(now, 3600000))
    assert actions == ()
    state, actions = fsm.step(state, states.UNLOCK_GRANTED, ticks_add(now, 3600000))
    assert state.mode == states.OPEN and ticks_diff(state.next_ms, now) == 3600000 + 30000
    assert (states.RAISE_ALARM, states.ALARM_AJAR, 0) in actions


def test_forced_again_before_it_is_locked_again_is_forced():
    forced = (states.RAISE_ALARM, states.ALARM_FORCED_OPEN, 1)
    again = (states.DOOR_OPENED, states.DOOR_SHUT) * 3
    assert forced in run(locked(), *again, states.DOOR_OPENED)[1]
    assert forced in run(locked(), *again, states.LOCK_GRANTED, states.LOCKED_DOWN, states.DOOR_OPENED)[1]
    # whoever had the right meanwhile may be late
    for right in (states.REX_PRESSED, states.UNLOCK_GRANTED):
        state, actions, _ = run(locked(), *again, right, (states.TIME_PASSED, 5000), states.DOOR_OPENED)
        assert forced not in actions and state.mode == states.OPEN


def test_passage_from_its_beginning_to_its_end():
    state, actions, now = run(locked(), states.PASSAGE_BEGUN)
    assert actions == (
        (states.ENERGISE_STRIKE, PASSAGE_ON_MS),
        (states.REPORT_OPERATION, states.UNLOCK, states.SOURCE_SCHEDULE),
    )
    for _ in range(20):
        assert state.lock_state == states.LOCK_UNLOCKED and ticks_diff(state.deadline_ms, now) == RENEW_MS
        now = state.deadline_ms
        state, actions = fsm.step(state, states.TIME_PASSED, now)
        assert actions == ((states.ENERGISE_STRIKE, PASSAGE_ON_MS),)
    # a door that stands open for hours is nobody's alarm
    state, actions = fsm.step(state, states.DOOR_OPENED, now)
    assert actions == ((states.REPORT_DOOR, states.DOOR_OPEN, states.SOURCE_MANUAL),)
    for _ in range(20):
        now = state.deadline_ms
        state, actions = fsm.step(state, states.TIME_PASSED, now)
        assert actions == ((states.ENERGISE_STRIKE, PASSAGE_ON_MS),) and state.mode == states.OPEN
    # until passage ends
    state, actions = fsm.step(state, states.PASSAGE_ENDED, now)
    assert actions == ((states.RELEASE_STRIKE,), (states.REPORT_OPERATION, states.LOCK, states.SOURCE_SCHEDULE))
    assert ticks_diff(state.deadline_ms, now) == SETTINGS.ajar_ms


def test_a_grant_in_passage_outlasts_its_end():
    state, actions, now = run(locked(), states.PASSAGE_BEGUN, (states.UNLOCK_GRANTED, 3000), states.PASSAGE_ENDED)
    # and no longer than it was granted, should nobody step any more
    assert actions == ((states.ENERGISE_STRIKE, 4999), (states.REPORT_OPERATION, states.LOCK, states.SOURCE_SCHEDULE))
    assert state.mode == states.UNLOCKED and ticks_diff(state.deadline_ms, now) == 4999
    state, actions = fsm.step(state, states.TIME_PASSED, state.deadline_ms)
    assert actions == ((states.RELEASE_STRIKE,),) and state.mode == states.RELOCKING


def test_a_grant_whose_time_is_over_does_not_outlast_passage():
    for events in ((), (states.DOOR_OPENED,)):
        events = (states.PASSAGE_BEGUN,) + events + (states.HOLD_GRANTED, (states.PASSAGE_ENDED, 10000))
        state, actions, _ = run(locked(), *events)
        assert actions == ((states.RELEASE_STRIKE,), (states.REPORT_OPERATION, states.LOCK, states.SOURCE_SCHEDULE))
        assert not state.is_energised


def test_a_failed_strike_ends_passage():
    for event in (states.STRIKE_FAILED, states.LOCKED_DOWN):
        for events in ((states.PASSAGE_BEGUN,), (states.PASSAGE_BEGUN, states.DOOR_OPENED, states.HOLD_GRANTED)):
            state, actions, now = run(locked(), *events + (event,))
            wanted = ((states.RELEASE_STRIKE,),)
            if event == states.LOCKED_DOWN:
                wanted += ((states.REPORT_OPERATION, states.LOCK, states.SOURCE_SCHEDULE),)
            assert actions == wanted and not state.is_energised
            assert state.lock_state != states.LOCK_UNLOCKED or not state.is_closed
            wanted = SETTINGS.settle_ms if state.is_closed else SETTINGS.ajar_ms
            assert ticks_diff(state.deadline_ms, now) == wanted


def test_new_settings_hold_at_once():
    for old, new in ((30000, 5000), (5000, 60000)):
        state, _, now = run(locked(Settings({4: old})), states.UNLOCK_GRANTED, states.DOOR_OPENED)
        changed = fsm.configured(state, Settings({4: new}))
        assert ticks_diff(changed.next_ms, now) == new and ticks_diff(state.next_ms, now) == old
    state, _, now = run(locked(AJAR_SOON), *AJAR)
    assert ticks_diff(fsm.configured(state, Settings({9: 1000})).next_ms, now) == 1000
    state, _, now = run(locked(), states.HOLD_GRANTED)
    assert ticks_diff(fsm.configured(state, Settings({2: 500})).strike_until_ms, now) == 10000


def test_both_timers_due_at_once():
    state, _, _ = run(locked(AJAR_SOON), states.HOLD_GRANTED, states.DOOR_OPENED)
    state, actions = fsm.step(state, states.TIME_PASSED, ticks_add(NOW, 60000))
    assert [action[0] for action in actions] == [states.RELEASE_STRIKE, states.REPORT_DOOR, states.RAISE_ALARM]
    assert state.mode == states.AJAR and ticks_diff(state.deadline_ms, NOW) == 66000


def test_the_nearest_deadline_comes_first():
    state, _, _ = run(locked(AJAR_SOON), states.HOLD_GRANTED, states.DOOR_OPENED)
    assert state.deadline_ms == state.next_ms  # ajar after 5 s, the hold ends after 10 s
    state, _, _ = run(locked(), states.HOLD_GRANTED, states.DOOR_OPENED)
    assert state.deadline_ms == state.strike_until_ms


def test_every_mode_has_its_number():
    for number, name in enumerate(MODES):
        assert getattr(states, name) == number


def test_no_such_event():
    for event in (-1, states.POWERED_UP, 99):
        with raises(ValueError):
            fsm.step(locked(), event, NOW)


# (event, milliseconds later); TIME_PASSED is given at any moment, not only when something is due
STEPS = lists(
    tuples(choices(EVENTS), choices((0, 1, 7, 399, 400, 500, 4999, 5000, 9999, 10000, 40000))),
    0,
    25,
)


@given(bools(), ints(0, 2**30 - 1), STEPS, ints(500, 10000), ints(500, 10000), ints(0, 900), examples=400)
def test_promises_in_any_order_of_events(closed, now, steps, unlock_ms, hold_ms, late_ms):
    walk = Walk(Settings({1: unlock_ms, 2: hold_ms, 4: 5000, 9: 7000}), closed, now)
    for event, later_ms in steps:
        walk.wait(later_ms, late_ms)
        walk.step(event)


POWER_UP, OTHER_SETTINGS = 98, 99


@given(bools(), lists(tuples(choices(EVENTS + (POWER_UP, OTHER_SETTINGS)), ints(0, 12000)), 0, 30), examples=400)
def test_promises_over_power_cuts_and_new_settings(closed, steps):
    choice = (Settings({4: 5000, 9: 7000}), Settings({1: 500, 3: 5000, 4: 60000}), Settings({2: 500, 9: 1000}))
    walk = ShorteningWalk(choice[0], closed, NOW)
    for event, later_ms in steps:
        walk.wait(later_ms, later_ms % 400)
        if event == POWER_UP:
            walk.power_up()
        elif event == OTHER_SETTINGS:
            walk.configure(choice[later_ms % 3])
        else:
            walk.step(event)
