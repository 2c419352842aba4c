"""The door machine against its own table, and against the promises that hold for any order of events."""

from support import bools, choices, given, ints, lists, raises, tuples
from vitrine.door import fsm, states
from vitrine.door.settings import Settings
from vitrine.door.ticks import ticks_add, ticks_diff

SETTINGS = Settings()
NOW = 2**30 - 3000  # every case runs over the wrap of the ticks

ACTION_LETTERS = {
    states.ENERGISE_STRIKE: "E",
    states.RELEASE_STRIKE: "R",
    states.REPORT_OPERATION: "O",
    states.REPORT_DOOR: "D",
    states.RAISE_ALARM: "A",
}
COLUMNS = {
    "opened": states.DOOR_OPENED,
    "shut": states.DOOR_SHUT,
    "REX": states.REX_PRESSED,
    "unlock": states.UNLOCK_GRANTED,
    "hold": states.HOLD_GRANTED,
    "lock": states.LOCK_GRANTED,
    "coil due": states.TIME_PASSED,
    "next due": states.TIME_PASSED,
    "failed": states.STRIKE_FAILED,
}
MODES = ("LOCKED", "UNLOCKED", "OPEN", "AJAR", "FORCED", "RELOCKING")
EVENTS = (
    states.DOOR_OPENED,
    states.DOOR_SHUT,
    states.REX_PRESSED,
    states.UNLOCK_GRANTED,
    states.HOLD_GRANTED,
    states.LOCK_GRANTED,
    states.TIME_PASSED,
    states.STRIKE_FAILED,
)
OPEN_MODES = (states.OPEN, states.AJAR, states.FORCED)


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
AJAR_SOON = Settings({4: 5000})
ROWS = {
    "LOCKED": [],
    "UNLOCKED": [states.UNLOCK_GRANTED],
    "UNLOCKED hold": [states.HOLD_GRANTED],
    "RELOCKING": [states.UNLOCK_GRANTED, states.LOCK_GRANTED],
    "OPEN": [states.UNLOCK_GRANTED, states.DOOR_OPENED],
    "OPEN coil": [states.UNLOCK_GRANTED, states.DOOR_OPENED, states.REX_PRESSED],
    "AJAR": [states.UNLOCK_GRANTED, states.DOOR_OPENED, (states.TIME_PASSED, 5000)],
    "AJAR coil": [states.UNLOCK_GRANTED, states.DOOR_OPENED, (states.TIME_PASSED, 5000), states.REX_PRESSED],
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


def test_every_cell_of_the_table():
    cells = table()
    assert set(cells) == set(ROWS)
    for row, columns in cells.items():
        for column, cell in columns.items():
            state, _, now = run(locked(AJAR_SOON), *ROWS[row])
            assert MODES[state.mode] == row.split()[0], row
            deadline = {"coil due": state.strike_until_ms, "next due": state.next_ms}.get(column, ticks_add(now, 1))
            after, actions = state, ()
            if deadline is not None:
                # without the other timer, which may be due earlier
                if column == "coil due":
                    state.next_ms = None
                elif column == "next due":
                    state.strike_until_ms = None
                after, actions = fsm.step(state, COLUMNS[column], deadline)
            found = MODES[after.mode]
            for action in actions:
                found += " " + ACTION_LETTERS[action[0]]
            if after is state and not actions:
                found = "-"
            assert found == cell, (row, column, found, cell)


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
        (states.RAISE_ALARM, states.ALARM_AJAR),
    )
    assert state.deadline_ms is None
    state, actions = fsm.step(state, states.TIME_PASSED, ticks_add(now, 3600000))
    assert actions == ()
    state, actions = fsm.step(state, states.UNLOCK_GRANTED, ticks_add(now, 3600000))
    assert state.mode == states.OPEN and ticks_diff(state.next_ms, now) == 3600000 + 30000


def test_both_timers_due_at_once():
    state, _, _ = run(locked(AJAR_SOON), states.HOLD_GRANTED, states.DOOR_OPENED)
    state, actions = fsm.step(state, states.TIME_PASSED, ticks_add(NOW, 60000))
    assert [action[0] for action in actions] == [states.RELEASE_STRIKE, states.REPORT_DOOR, states.RAISE_ALARM]
    assert state.mode == states.AJAR and state.deadline_ms is None


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


@given(bools(), ints(0, 2**30 - 1), STEPS, ints(500, 10000), ints(500, 10000), examples=300)
def test_promises_in_any_order_of_events(closed, now, steps, unlock_ms, hold_ms):
    state = fsm.initial(Settings({1: unlock_ms, 2: hold_ms}), closed, now)
    coil_until = None  # what a strike would do that follows the actions
    for event, later_ms in steps:
        target = ticks_add(now, later_ms)
        # a caller comes back at each deadline, as the controller does
        while state.deadline_ms is not None and ticks_diff(target, state.deadline_ms) > 0:
            before, now = state, state.deadline_ms
            state, actions = fsm.step(state, states.TIME_PASSED, now)
            assert state is not before, "a deadline leads nowhere"
            coil_until = follow(actions, coil_until, now)
            check(before, state, states.TIME_PASSED, actions, coil_until)
        before, now = state, target
        if event == states.DOOR_OPENED:
            closed = False
        elif event == states.DOOR_SHUT:
            closed = True
        state, actions = fsm.step(state, event, now)
        coil_until = follow(actions, coil_until, now)
        check(before, state, event, actions, coil_until)
        assert state.is_closed == closed
        if state.strike_until_ms is not None:
            assert ticks_diff(state.strike_until_ms, now) <= max(unlock_ms, hold_ms) <= 10000


def follow(actions, coil_until, now):
    for action in actions:
        if action[0] == states.ENERGISE_STRIKE:
            assert 500 <= action[1] <= 10000
            coil_until = ticks_add(now, action[1])
        elif action[0] == states.RELEASE_STRIKE:
            coil_until = None
    return coil_until


def check(before, state, event, actions, coil_until):
    kinds = [action[0] for action in actions]
    assert state.strike_until_ms == coil_until, "the state and the strike disagree"
    if state.lock_state == states.LOCK_LOCKED:
        assert state.is_closed and coil_until is None
    if state.mode == states.UNLOCKED:
        assert coil_until is not None
    if states.ENERGISE_STRIKE in kinds:
        assert event in (states.REX_PRESSED, states.UNLOCK_GRANTED, states.HOLD_GRANTED)
    if (states.RAISE_ALARM, states.ALARM_FORCED_OPEN) in actions:
        assert before.mode == states.LOCKED and event == states.DOOR_OPENED and state.mode == states.FORCED
    if state.mode == states.FORCED and before.mode != states.FORCED:
        assert (states.RAISE_ALARM, states.ALARM_FORCED_OPEN) in actions
    if event in (states.REX_PRESSED, states.UNLOCK_GRANTED, states.HOLD_GRANTED):
        assert coil_until is not None, "nobody is kept in, no grant goes to nothing"
    if state.mode != before.mode:
        assert state.cause == event and 0 <= state.mode < len(MODES)
    if state.door_state != before.door_state:
        assert states.REPORT_DOOR in kinds
