"""The door's state machine: pure, `step(state, event, now_ms) -> (state, actions)`.

Owns when the strike is energised and what the door is said to be. Knows no pins, tokens or clock: time comes in as
ticks, timers are deadlines in the state, and the caller carries the actions out and comes back at `deadline_ms`.
The strike is fail-secure with a slam latch: energised = released, and a door that falls shut latches by itself.

| state         | opened      | shut         | REX         | unlock      | hold        | lock         | coil due     | next due    | failed       |
|---------------|-------------|--------------|-------------|-------------|-------------|--------------|--------------|-------------|--------------|
| LOCKED        | FORCED D A  | -            | UNLOCKED E O| UNLOCKED E O| UNLOCKED E O| LOCKED O     | -            | -           | LOCKED R     |
| UNLOCKED      | OPEN R D    | -            | UNLOCKED E O| UNLOCKED E O| UNLOCKED E O| RELOCKING R O| RELOCKING R  | -           | RELOCKING R  |
| UNLOCKED hold | OPEN D      | -            | UNLOCKED O  | UNLOCKED O  | UNLOCKED E O| RELOCKING R O| RELOCKING R  | -           | RELOCKING R  |
| RELOCKING     | OPEN D      | -            | UNLOCKED E O| UNLOCKED E O| UNLOCKED E O| RELOCKING O  | -            | LOCKED O    | RELOCKING R  |
| OPEN          | -           | RELOCKING D  | OPEN E O    | OPEN E O    | OPEN E O    | OPEN O       | -            | AJAR D A    | OPEN R       |
| OPEN coil     | -           | UNLOCKED D   | OPEN E O    | OPEN E O    | OPEN E O    | OPEN R O     | OPEN R       | AJAR D A    | OPEN R       |
| AJAR          | -           | RELOCKING D  | AJAR E O    | OPEN E O D  | OPEN E O D  | AJAR O       | -            | -           | AJAR R       |
| AJAR coil     | -           | UNLOCKED D   | AJAR E O    | OPEN E O D  | OPEN E O D  | AJAR R O     | AJAR R       | -           | AJAR R       |
| FORCED        | -           | RELOCKING D  | FORCED E O  | OPEN E O D  | OPEN E O D  | FORCED O     | -            | -           | FORCED R     |
| FORCED coil   | -           | UNLOCKED D   | FORCED E O  | OPEN E O D  | OPEN E O D  | FORCED R O   | FORCED R     | -           | FORCED R     |

Rows: the mode; `hold` = unlocked for the hold time; `coil` = open with the strike energised for the unlock time.
Columns: DOOR_OPENED, DOOR_SHUT, REX_PRESSED, UNLOCK_GRANTED, HOLD_GRANTED, LOCK_GRANTED, TIME_PASSED at the end of the
strike's time, TIME_PASSED at the mode's own deadline (RELOCKING: settled; OPEN: ajar), STRIKE_FAILED.
Cells: the next mode and the actions in their order: E ENERGISE_STRIKE, R RELEASE_STRIKE, O REPORT_OPERATION,
D REPORT_DOOR, A RAISE_ALARM; `-` = nothing changes. tests/door/test_fsm.py runs every cell.

Why so:
 * A grant or an exit request energises in every mode, an open door included: a cut door switch reads as open for ever,
   and must lock nobody out (or in).
 * A running time is only ever extended: E stands where the new end is later than the old one.
 * After a plain unlock the coil is released as soon as the door opens (heat; the slam latch needs no coil to close).
 * An exit request lets out, but it does not silence an alarm: only a grant takes AJAR and FORCED back to OPEN.
 * FORCED is said only when the door had been reported Locked; a door opened while settling is a late exit.
 * `lock` on an open door ends the strike's time; the door is said to be Locked when it has closed and settled.
"""  # noqa: E501

from micropython import const

from . import states
from .ticks import ticks_add, ticks_diff

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from .settings import Settings

    Action = tuple[int, ...]
    Step = tuple["State", tuple[Action, ...]]

_RELEASE = (states.RELEASE_STRIKE,)


class State:
    """What the door is now, why, and by when something must happen. Never changed: step() makes a new one.

    mode: one of states.py. cause, source: the event and the OperationSourceEnum that led to this mode. next_ms: the
    mode's own deadline, or None. strike_until_ms: when the strike's time ends, or None while it is off. is_hold: that
    time was granted as a hold, so it outlasts the opening of the door.
    """

    def __init__(
        self,
        mode: int,
        settings: "Settings",
        cause: int,
        source: int,
        next_ms: "int | None" = None,
        strike_until_ms: "int | None" = None,
        is_hold: bool = False,
    ) -> None:
        self.mode = mode
        self.settings = settings
        self.cause = cause
        self.source = source
        self.next_ms = next_ms
        self.strike_until_ms = strike_until_ms
        self.is_hold = is_hold

    @property
    def lock_state(self) -> int:
        """Matter DlLockState."""
        return states.LOCK_STATES[self.mode]

    @property
    def door_state(self) -> int:
        """Matter DoorStateEnum."""
        return states.DOOR_STATES[self.mode]

    @property
    def is_closed(self) -> bool:
        return self.door_state == states.DOOR_CLOSED

    @property
    def deadline_ms(self) -> "int | None":
        """Ticks of the nearest deadline, when TIME_PASSED is due; None when only an event can change anything."""
        if self.next_ms is None:
            return self.strike_until_ms
        if self.strike_until_ms is None or ticks_diff(self.strike_until_ms, self.next_ms) > 0:
            return self.next_ms
        return self.strike_until_ms

    # for step() and its helpers

    def with_strike(self, until_ms: "int | None", is_hold: bool = False) -> "State":
        return State(self.mode, self.settings, self.cause, self.source, self.next_ms, until_ms, is_hold)

    def become(self, mode: int, cause: int, source: int, now_ms: int) -> "State":
        next_ms = None
        if mode == states.RELOCKING:
            next_ms = ticks_add(now_ms, self.settings.settle_ms)
        elif mode == states.OPEN:
            next_ms = ticks_add(now_ms, self.settings.ajar_ms)
        return State(mode, self.settings, cause, source, next_ms, self.strike_until_ms, self.is_hold)


def initial(settings: "Settings", door_closed: bool, now_ms: int) -> State:
    """Return the state at power-up: the strike is off; a closed door is LOCKED, an open one OPEN and nobody's alarm."""
    state = State(states.LOCKED, settings, states.POWERED_UP, states.SOURCE_UNSPECIFIED)
    if door_closed:
        return state
    return state.become(states.OPEN, states.POWERED_UP, states.SOURCE_UNSPECIFIED, now_ms)


def step(state: State, event: int, now_ms: int) -> "Step":
    """Return the state after `event` at `now_ms`, and the actions (states.py) to carry out in their order.

    Raises ValueError for what is no event. TIME_PASSED before the deadline, or a door event that is no news, changes
    nothing and returns the same state.
    """
    if event == states.TIME_PASSED:
        return _time_passed(state, now_ms)
    if event == states.DOOR_OPENED:
        return _door_opened(state, now_ms)
    if event == states.DOOR_SHUT:
        return _door_shut(state, now_ms)
    if event == states.REX_PRESSED:
        return _let_through(state, event, now_ms, states.UNLOCK, states.SOURCE_BUTTON)
    if event == states.UNLOCK_GRANTED:
        return _let_through(state, event, now_ms, states.UNLOCK, states.SOURCE_REMOTE)
    if event == states.HOLD_GRANTED:
        return _let_through(state, event, now_ms, states.HOLD, states.SOURCE_REMOTE)
    if event == states.LOCK_GRANTED:
        report = (states.REPORT_OPERATION, states.LOCK, states.SOURCE_REMOTE)
        if state.strike_until_ms is None:
            return state, (report,)
        return _release(state, event, states.SOURCE_REMOTE, now_ms), (_RELEASE, report)
    if event == states.STRIKE_FAILED:
        return _release(state, event, states.SOURCE_UNSPECIFIED, now_ms), (_RELEASE,)
    raise ValueError("no such door event")


def _is_due(deadline_ms: "int | None", now_ms: int) -> bool:
    return deadline_ms is not None and ticks_diff(now_ms, deadline_ms) >= 0


def _release(state: State, cause: int, source: int, now_ms: int) -> State:
    """Return `state` without the strike: an unlocked door that was not opened goes back to be locked."""
    state = state.with_strike(None)
    if state.mode == states.UNLOCKED:
        return state.become(states.RELOCKING, cause, source, now_ms)
    return state


def _time_passed(state: State, now_ms: int) -> "Step":
    actions = ()
    if _is_due(state.strike_until_ms, now_ms):
        state = _release(state, states.TIME_PASSED, states.SOURCE_AUTO, now_ms)
        actions = (_RELEASE,)
    if not _is_due(state.next_ms, now_ms):
        return state, actions
    if state.mode == states.RELOCKING:
        state = state.become(states.LOCKED, states.TIME_PASSED, states.SOURCE_AUTO, now_ms)
        return state, actions + ((states.REPORT_OPERATION, states.LOCK, states.SOURCE_AUTO),)
    # OPEN is the only other mode with a deadline of its own
    state = state.become(states.AJAR, states.TIME_PASSED, states.SOURCE_AUTO, now_ms)
    ajar = (states.REPORT_DOOR, states.DOOR_AJAR, states.SOURCE_AUTO)
    return state, actions + (ajar, (states.RAISE_ALARM, states.ALARM_AJAR))


def _door_opened(state: State, now_ms: int) -> "Step":
    if not state.is_closed:
        return state, ()
    cause, source = states.DOOR_OPENED, states.SOURCE_MANUAL
    if state.mode == states.LOCKED:
        forced = (states.REPORT_DOOR, states.DOOR_FORCED_OPEN, source)
        alarm = (states.RAISE_ALARM, states.ALARM_FORCED_OPEN)
        return state.become(states.FORCED, cause, source, now_ms), (forced, alarm)
    actions = ((states.REPORT_DOOR, states.DOOR_OPEN, source),)
    if state.strike_until_ms is not None and not state.is_hold:
        state = state.with_strike(None)
        actions = (_RELEASE,) + actions
    return state.become(states.OPEN, cause, source, now_ms), actions


def _door_shut(state: State, now_ms: int) -> "Step":
    if state.is_closed:
        return state, ()
    mode = states.RELOCKING if state.strike_until_ms is None else states.UNLOCKED
    state = state.become(mode, states.DOOR_SHUT, states.SOURCE_MANUAL, now_ms)
    return state, ((states.REPORT_DOOR, states.DOOR_CLOSED, states.SOURCE_MANUAL),)


def _let_through(state: State, event: int, now_ms: int, operation: int, source: int) -> "Step":
    """Energise for a grant or an exit request, or extend what runs."""
    actions = ()
    is_hold = operation == states.HOLD or state.is_hold
    on_ms = state.settings.hold_ms if operation == states.HOLD else state.settings.unlock_ms
    until_ms = ticks_add(now_ms, on_ms)
    if state.strike_until_ms is None or ticks_diff(until_ms, state.strike_until_ms) > 0:
        actions = ((states.ENERGISE_STRIKE, on_ms),)
    else:
        until_ms = state.strike_until_ms
    state = state.with_strike(until_ms, is_hold)
    actions += ((states.REPORT_OPERATION, operation, source),)
    if state.is_closed:
        return state.become(states.UNLOCKED, event, source, now_ms), actions
    if event == states.REX_PRESSED:
        return state, actions
    if state.mode != states.OPEN:
        actions += ((states.REPORT_DOOR, states.DOOR_OPEN, source),)
    # somebody entitled is at the door: the time until it counts as ajar starts again
    return state.become(states.OPEN, event, source, now_ms), actions
