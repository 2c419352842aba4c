"""The door's state machine: pure, `step(state, event, now_ms) -> (state, actions)`.

Owns when the strike is energised and what the door is said to be. Knows no pins, tokens or clock: time comes in as
ticks, timers are deadlines in the state, and the caller carries the actions out and comes back at `deadline_ms`.
The strike is fail-secure with a slam latch: energised = released, and a door that falls shut latches by itself.

| state          | opened     | found open | shut          | REX          | unlock        | hold          | test          | lock          | begun         | ended          | locked down   | failed       | coil due     | renewal due  | next due    |
|----------------|------------|------------|---------------|--------------|---------------|---------------|---------------|---------------|---------------|----------------|---------------|--------------|--------------|--------------|-------------|
| LOCKED         | FORCED D A | OPEN D     | -             | UNLOCKED E O | UNLOCKED E O  | UNLOCKED E O  | UNLOCKED E O  | LOCKED O      | UNLOCKED E O  | -              | LOCKED R      | LOCKED R     | -            | -            | -           |
| UNLOCKED       | OPEN R D   | OPEN R D   | -             | UNLOCKED E O | UNLOCKED E O  | UNLOCKED E O  | UNLOCKED O    | RELOCKING R O | UNLOCKED E O  | -              | RELOCKING R   | RELOCKING R  | RELOCKING R  | -            | -           |
| UNLOCKED hold  | OPEN D     | OPEN D     | -             | UNLOCKED O   | UNLOCKED O    | UNLOCKED E O  | UNLOCKED O    | RELOCKING R O | UNLOCKED E O  | -              | RELOCKING R   | RELOCKING R  | RELOCKING R  | -            | -           |
| UNLOCKED pass  | OPEN D     | OPEN D     | -             | UNLOCKED O   | UNLOCKED O    | UNLOCKED E O  | UNLOCKED O    | UNLOCKED O    | -             | RELOCKING R O  | RELOCKING R O | RELOCKING R  | -            | UNLOCKED E   | -           |
| UNLOCKED both  | OPEN D     | OPEN D     | -             | UNLOCKED O   | UNLOCKED O    | UNLOCKED E O  | UNLOCKED O    | UNLOCKED O    | -             | UNLOCKED E O   | RELOCKING R O | RELOCKING R  | UNLOCKED     | UNLOCKED E   | -           |
| RELOCKING      | OPEN D     | OPEN D     | -             | UNLOCKED E O | UNLOCKED E O  | UNLOCKED E O  | UNLOCKED E O  | RELOCKING O   | UNLOCKED E O  | -              | RELOCKING R   | RELOCKING R  | -            | -            | LOCKED O    |
| RELOCKING bad  | FORCED D A | OPEN D     | -             | UNLOCKED E O | UNLOCKED E O  | UNLOCKED E O  | UNLOCKED E O  | RELOCKING O   | UNLOCKED E O  | -              | RELOCKING R   | RELOCKING R  | -            | -            | LOCKED O    |
| OPEN           | -          | -          | RELOCKING D   | OPEN E O     | OPEN E O      | OPEN E O      | OPEN E O      | OPEN O        | OPEN E O      | -              | OPEN R        | OPEN R       | -            | -            | AJAR D A    |
| OPEN coil      | -          | -          | UNLOCKED D    | OPEN E O     | OPEN E O      | OPEN E O      | OPEN O        | OPEN R O      | OPEN E O      | -              | OPEN R        | OPEN R       | OPEN R       | -            | AJAR D A    |
| OPEN pass      | -          | -          | UNLOCKED D    | OPEN O       | OPEN O        | OPEN E O      | OPEN O        | OPEN O        | -             | OPEN R O       | OPEN R O      | OPEN R       | -            | OPEN E       | -           |
| OPEN both      | -          | -          | UNLOCKED D    | OPEN O       | OPEN O        | OPEN E O      | OPEN O        | OPEN O        | -             | OPEN E O       | OPEN R O      | OPEN R       | OPEN         | OPEN E       | -           |
| AJAR           | -          | -          | RELOCKING D C | AJAR E O     | OPEN E C O D  | OPEN E C O D  | OPEN E C O D  | AJAR O        | OPEN E C O D  | -              | AJAR R        | AJAR R       | -            | -            | AJAR A      |
| AJAR last      | -          | -          | RELOCKING D C | AJAR E O     | OPEN E C O D  | OPEN E C O D  | OPEN E C O D  | AJAR O        | OPEN E C O D  | -              | AJAR R        | AJAR R       | -            | -            | -           |
| AJAR coil      | -          | -          | UNLOCKED D C  | AJAR E O     | OPEN E C O D  | OPEN E C O D  | OPEN C O D    | AJAR R O      | OPEN E C O D  | -              | AJAR R        | AJAR R       | AJAR R       | -            | AJAR A      |
| FORCED         | -          | -          | RELOCKING D C | FORCED E O   | OPEN E C O D  | OPEN E C O D  | OPEN E C O D  | FORCED O      | OPEN E C O D  | -              | FORCED R      | FORCED R     | -            | -            | -           |
| FORCED coil    | -          | -          | UNLOCKED D C  | FORCED E O   | OPEN E C O D  | OPEN E C O D  | OPEN C O D    | FORCED R O    | OPEN E C O D  | -              | FORCED R      | FORCED R     | FORCED R     | -            | -           |

Rows: the mode; `hold` = unlocked for the hold time; `coil` = open with the strike energised for the unlock time; `pass` =
in passage; `both` = in passage, and a grant's time runs besides; `last` = at the third step; `bad` = it was FORCED.
Columns: DOOR_OPENED, DOOR_FOUND_OPEN, DOOR_SHUT, REX_PRESSED, UNLOCK_GRANTED, HOLD_GRANTED, TEST_GRANTED, LOCK_GRANTED,
PASSAGE_BEGUN, PASSAGE_ENDED, LOCKED_DOWN, STRIKE_FAILED, and TIME_PASSED at the end of a grant's time, when passage's strike is to be
renewed, and at the mode's own deadline (RELOCKING: settled; OPEN: ajar; AJAR: its next step).
Cells: the next mode and the actions in their order: E ENERGISE_STRIKE, R RELEASE_STRIKE, O REPORT_OPERATION,
D REPORT_DOOR, A RAISE_ALARM, C RAISE_ALARM with step 0 (over); `-` = nothing changes. tests/door/test_fsm.py runs every
cell.

Why so:
 * A grant or an exit request energises in every mode, an open door included: a cut door switch reads as open for ever,
   and must lock nobody out (or in).
 * A running time is only ever extended: E stands where the new end is later than the old one.
 * After a plain unlock the coil is released as soon as the door opens (heat; the slam latch needs no coil to close).
 * An exit request lets out, but it does not silence an alarm: only a grant takes AJAR and FORCED back to OPEN.
 * FORCED is said only when the door had been reported Locked; a door opened while settling is a late exit, unless it
   was FORCED before.
 * `lock` on an open door ends the strike's time; the door is said to be Locked when it has closed and settled.
 * Passage holds the strike by times of MAX_ON_MS, each renewed when half of it is left: who stops stepping, lets go. It
   lies over the rest: a grant's time runs as without it, and the strike gets what is left of it when passage ends.
   `lock` does not end passage.
 * In passage nothing is forced or ajar; at its end an open door gets its ajar time from then on.
 * STRIKE_FAILED and LOCKED_DOWN take the strike off whatever runs, passage too; the exit button works after both.
"""  # noqa: E501

from micropython import const

from .ticks import ticks_add, ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from .settings import Settings

    Action = tuple[int, ...]
    Step = tuple["State", tuple[Action, ...]]

# DlLockState (attribute LockState)
_NOT_FULLY_LOCKED = const(0)
_LOCK_LOCKED = const(1)
_LOCK_UNLOCKED = const(2)

# DoorStateEnum (attribute DoorState)
_DOOR_OPEN = const(0)
_DOOR_CLOSED = const(1)
_DOOR_FORCED_OPEN = const(3)
_DOOR_AJAR = const(5)

# AlarmCodeEnum (event DoorLockAlarm): those of the door machine
_ALARM_FORCED_OPEN = const(6)
_ALARM_AJAR = const(7)

# LockOperationTypeEnum (event LockOperation); HOLD is ours: unlock for the hold time (SPEC.md section 3)
_LOCK = const(0)
_UNLOCK = const(1)
_HOLD = const(128)
_TEST = const(131)  # also ours: the strike for half a second (section 18)

# OperationSourceEnum
_SOURCE_UNSPECIFIED = const(0)
_SOURCE_MANUAL = const(1)
_SOURCE_AUTO = const(4)
_SOURCE_BUTTON = const(5)
_SOURCE_SCHEDULE = const(6)
_SOURCE_REMOTE = const(7)

# Modes of the machine. Closed: LOCKED, UNLOCKED, RELOCKING. Open: OPEN, AJAR, FORCED.
_LOCKED = const(0)  # closed, strike off, bolt settled
_UNLOCKED = const(1)  # closed, strike energised, waiting for the door to open
_OPEN = const(2)  # opened after a grant, an exit request or in passage, or found open at power-up
_AJAR = const(3)  # held open beyond ajar_ms
_FORCED = const(4)  # opened while LOCKED
_RELOCKING = const(5)  # closed, strike off, settling in the frame before LOCKED may be said

# by mode
_LOCK_STATES = (_LOCK_LOCKED, _LOCK_UNLOCKED, _LOCK_UNLOCKED, _LOCK_UNLOCKED, _NOT_FULLY_LOCKED, _NOT_FULLY_LOCKED)
_DOOR_STATES = (_DOOR_CLOSED, _DOOR_CLOSED, _DOOR_OPEN, _DOOR_AJAR, _DOOR_FORCED_OPEN, _DOOR_CLOSED)

# Events the machine takes
_DOOR_OPENED = const(0)
_DOOR_SHUT = const(1)
_REX_PRESSED = const(2)
_UNLOCK_GRANTED = const(3)
_HOLD_GRANTED = const(4)
_LOCK_GRANTED = const(5)
_TIME_PASSED = const(6)
_STRIKE_FAILED = const(7)
_POWERED_UP = const(8)  # the cause of the first state; not an event of step()
_PASSAGE_BEGUN = const(9)
_PASSAGE_ENDED = const(10)
_LOCKED_DOWN = const(11)
_TEST_GRANTED = const(13)
_DOOR_FOUND_OPEN = const(12)  # opened while this lock only looks on (shadow): nobody's alarm

# Actions the machine asks for: tuples that start with one of these
_ENERGISE_STRIKE = const(0)  # (ENERGISE_STRIKE, on_ms): from now on, in place of what ran before
_RELEASE_STRIKE = const(1)  # (RELEASE_STRIKE,)
_REPORT_OPERATION = const(2)  # (REPORT_OPERATION, operation, source)
_REPORT_DOOR = const(3)  # (REPORT_DOOR, DoorStateEnum, source)
_RAISE_ALARM = const(4)  # (RAISE_ALARM, AlarmCodeEnum, step): 1 to 3 it has begun, or is worse; 0 it is over

# Passage renews the strike's time of _PASSAGE_ON_MS (the strike's hard limit) when _RENEW_MS of it are left.
_PASSAGE_ON_MS = const(10_000)
_RENEW_MS = const(5_000)

_AJAR_STEPS = const(3)
_TEST_MS = const(500)

_RELEASE = (_RELEASE_STRIKE,)
_PASSAGE_OVER = (_REPORT_OPERATION, _LOCK, _SOURCE_SCHEDULE)


class State:
    """What the door is now, why, and by when something must happen. Never changed: step() makes a new one.

    mode: one of those above. cause, source: the event and the OperationSourceEnum that led to this mode. next_ms: the
    mode's own deadline, or None. strike_until_ms: when a grant's or exit request's time ends, or None. is_hold: that
    time was granted as a hold, so it outlasts the opening of the door. passage_until_ms: when the strike's time of
    passage ends if nobody renews it, or None. alarm_step: 1 to 3 in AJAR, 1 in FORCED and in RELOCKING after
    it, else 0.
    """

    def __init__(self, mode: int, settings: "Settings") -> None:
        self.mode = mode
        self.settings = settings
        self.cause = _POWERED_UP
        self.source = _SOURCE_UNSPECIFIED
        self.next_ms: "int | None" = None
        self.strike_until_ms: "int | None" = None
        self.is_hold = False
        self.passage_until_ms: "int | None" = None
        self.alarm_step = 0

    @property
    def lock_state(self) -> int:
        """Matter DlLockState."""
        return _LOCK_STATES[self.mode]

    @property
    def door_state(self) -> int:
        """Matter DoorStateEnum."""
        return _DOOR_STATES[self.mode]

    @property
    def is_closed(self) -> bool:
        return self.door_state == _DOOR_CLOSED

    @property
    def is_energised(self) -> bool:
        """Whether the strike is to be on."""
        return self.strike_until_ms is not None or self.passage_until_ms is not None

    @property
    def alarm(self) -> "int | None":
        """The AlarmCodeEnum that is active, or None."""
        if self.mode == _FORCED:
            return _ALARM_FORCED_OPEN
        return _ALARM_AJAR if self.mode == _AJAR else None

    @property
    def deadline_ms(self) -> "int | None":
        """Ticks of the nearest deadline, when TIME_PASSED is due; None when only an event can change anything."""
        nearest_ms = _earlier(self.next_ms, self.strike_until_ms)
        if self.passage_until_ms is None:
            return nearest_ms
        return _earlier(nearest_ms, ticks_add(self.passage_until_ms, -_RENEW_MS))

    # for this module

    def copy(self) -> "State":
        state = State(self.mode, self.settings)
        state.cause = self.cause
        state.source = self.source
        state.next_ms = self.next_ms
        state.strike_until_ms = self.strike_until_ms
        state.is_hold = self.is_hold
        state.passage_until_ms = self.passage_until_ms
        state.alarm_step = self.alarm_step
        return state

    def become(self, mode: int, cause: int, source: int, now_ms: int) -> None:
        """Enter `mode`, also anew: of a copy that nobody else has yet."""
        self.mode = mode
        self.cause = cause
        self.source = source
        self.next_ms = None
        self.alarm_step = 0
        if mode == _FORCED:
            self.alarm_step = 1
        elif mode in (_RELOCKING, _OPEN) and self.passage_until_ms is None:
            self.next_ms = ticks_add(now_ms, _mode_ms(mode, self.settings))

    def drop(self, cause: int, source: int, now_ms: int) -> None:
        """Take away what is left of grant and passage: an unlocked door that was not opened goes back to be locked."""
        was_passage = self.passage_until_ms is not None
        self.strike_until_ms = self.passage_until_ms = None
        self.is_hold = False
        if self.mode == _UNLOCKED:
            self.become(_RELOCKING, cause, source, now_ms)
        elif was_passage:
            self.become(self.mode, cause, source, now_ms)


def initial(settings: "Settings", door_closed: bool, now_ms: int) -> State:
    """Return the state at power-up: the strike is off; a closed door is LOCKED, an open one OPEN and nobody's alarm."""
    state = State(_LOCKED, settings)
    if not door_closed:
        state.become(_OPEN, _POWERED_UP, _SOURCE_UNSPECIFIED, now_ms)
    return state


def configured(state: State, settings: "Settings") -> State:
    """Return `state` under other settings. The mode's deadline moves with them; the strike's times were granted."""
    new = state.copy()
    new.settings = settings
    if state.next_ms is not None:
        moved_ms = _mode_ms(state.mode, settings) - _mode_ms(state.mode, state.settings)
        new.next_ms = ticks_add(state.next_ms, moved_ms)
    return new


def step(state: State, event: int, now_ms: int) -> "Step":
    """Return the state after `event` at `now_ms`, and the actions (states.py) to carry out in their order.

    Raises ValueError for what is no event. TIME_PASSED before the deadline, or an event that is no news, changes
    nothing and returns the same state.
    """
    if event == _TIME_PASSED:
        return _time_passed(state, now_ms)
    if event in (_DOOR_OPENED, _DOOR_FOUND_OPEN):
        return _door_opened(state, event, now_ms)
    if event == _DOOR_SHUT:
        return _door_shut(state, now_ms)
    if event == _REX_PRESSED:
        return _let_through(state, event, now_ms, _UNLOCK, _SOURCE_BUTTON)
    if event == _UNLOCK_GRANTED:
        return _let_through(state, event, now_ms, _UNLOCK, _SOURCE_REMOTE)
    if event == _HOLD_GRANTED:
        return _let_through(state, event, now_ms, _HOLD, _SOURCE_REMOTE)
    if event == _TEST_GRANTED:
        return _let_through(state, event, now_ms, _TEST, _SOURCE_REMOTE)
    if event == _LOCK_GRANTED:
        return _lock(state, now_ms)
    if event == _PASSAGE_BEGUN:
        return _begin_passage(state, now_ms)
    if event == _PASSAGE_ENDED:
        return _end_passage(state, now_ms)
    if event in (_STRIKE_FAILED, _LOCKED_DOWN):
        new = state.copy()
        new.drop(event, _SOURCE_UNSPECIFIED, now_ms)
        if event == _LOCKED_DOWN and state.passage_until_ms is not None:
            return new, (_RELEASE, _PASSAGE_OVER)
        return new, (_RELEASE,)
    raise ValueError("no such door event")


def _earlier(one_ms: "int | None", other_ms: "int | None") -> "int | None":
    if one_ms is None or (other_ms is not None and ticks_diff(other_ms, one_ms) < 0):
        return other_ms
    return one_ms


def _is_due(deadline_ms: "int | None", now_ms: int) -> bool:
    return deadline_ms is not None and ticks_diff(now_ms, deadline_ms) >= 0


def _mode_ms(mode: int, settings: "Settings") -> int:
    """Return how long a mode lasts that has a deadline of its own."""
    if mode == _RELOCKING:
        return settings.settle_ms
    return settings.ajar_ms if mode == _OPEN else settings.ajar_step_ms


def _over(state: State) -> "tuple[Action, ...]":
    """Return the end of the alarm that `state` is in."""
    return () if state.alarm is None else ((_RAISE_ALARM, state.alarm, 0),)


def _time_passed(state: State, now_ms: int) -> "Step":
    if not _is_due(state.deadline_ms, now_ms):
        return state, ()
    new = state.copy()
    actions: "tuple[Action, ...]" = ()
    if state.passage_until_ms is not None:
        if _is_due(state.strike_until_ms, now_ms):
            new.strike_until_ms = None
            new.is_hold = False
        if _is_due(ticks_add(state.passage_until_ms, -_RENEW_MS), now_ms):
            new.passage_until_ms = ticks_add(now_ms, _PASSAGE_ON_MS)
            actions = ((_ENERGISE_STRIKE, _PASSAGE_ON_MS),)
    elif _is_due(state.strike_until_ms, now_ms):
        new.drop(_TIME_PASSED, _SOURCE_AUTO, now_ms)
        actions = (_RELEASE,)
    if _is_due(new.next_ms, now_ms):
        actions += _mode_due(new, now_ms)
    return new, actions


def _mode_due(new: State, now_ms: int) -> "tuple[Action, ...]":
    """Go on from RELOCKING, OPEN or AJAR."""
    if new.mode == _RELOCKING:
        new.become(_LOCKED, _TIME_PASSED, _SOURCE_AUTO, now_ms)
        return ((_REPORT_OPERATION, _LOCK, _SOURCE_AUTO),)
    alarm_step = new.alarm_step + 1
    actions: "tuple[Action, ...]" = ((_RAISE_ALARM, _ALARM_AJAR, alarm_step),)
    if new.mode == _OPEN:
        actions = ((_REPORT_DOOR, _DOOR_AJAR, _SOURCE_AUTO),) + actions
        new.become(_AJAR, _TIME_PASSED, _SOURCE_AUTO, now_ms)
    new.alarm_step = alarm_step
    new.next_ms = ticks_add(now_ms, new.settings.ajar_step_ms) if alarm_step < _AJAR_STEPS else None
    return actions


def _door_opened(state: State, event: int, now_ms: int) -> "Step":
    if not state.is_closed:
        return state, ()
    new = state.copy()
    source = _SOURCE_MANUAL
    is_right = state.mode != _LOCKED and not state.alarm_step
    if not is_right and event != _DOOR_FOUND_OPEN:
        new.become(_FORCED, event, source, now_ms)
        forced = (_REPORT_DOOR, _DOOR_FORCED_OPEN, source)
        return new, (forced, (_RAISE_ALARM, _ALARM_FORCED_OPEN, 1))
    actions: "tuple[Action, ...]" = ((_REPORT_DOOR, _DOOR_OPEN, source),)
    if state.strike_until_ms is not None and not state.is_hold:
        new.strike_until_ms = None
        if state.passage_until_ms is None:
            actions = (_RELEASE,) + actions
    new.become(_OPEN, event, source, now_ms)
    return new, actions


def _door_shut(state: State, now_ms: int) -> "Step":
    if state.is_closed:
        return state, ()
    new = state.copy()
    mode = _UNLOCKED if state.is_energised else _RELOCKING
    new.become(mode, _DOOR_SHUT, _SOURCE_MANUAL, now_ms)
    if mode == _RELOCKING and state.mode == _FORCED:
        new.alarm_step = state.alarm_step
    return new, ((_REPORT_DOOR, _DOOR_CLOSED, _SOURCE_MANUAL),) + _over(state)


def _lock(state: State, now_ms: int) -> "Step":
    """End a grant's time; passage goes on."""
    report = (_REPORT_OPERATION, _LOCK, _SOURCE_REMOTE)
    if state.strike_until_ms is None:
        return state, (report,)
    new = state.copy()
    if state.passage_until_ms is None:
        new.drop(_LOCK_GRANTED, _SOURCE_REMOTE, now_ms)
        return new, (_RELEASE, report)
    new.strike_until_ms = None
    new.is_hold = False
    return new, (report,)


def _let_through(state: State, event: int, now_ms: int, operation: int, source: int) -> "Step":
    """Energise for a grant or an exit request, or extend what runs."""
    new = state.copy()
    actions: "tuple[Action, ...]" = ()
    new.is_hold = operation == _HOLD or state.is_hold
    on_ms = _TEST_MS
    if operation != _TEST:
        on_ms = state.settings.hold_ms if operation == _HOLD else state.settings.unlock_ms
    until_ms = ticks_add(now_ms, on_ms)
    if state.strike_until_ms is None or ticks_diff(until_ms, state.strike_until_ms) > 0:
        new.strike_until_ms = until_ms
        if state.passage_until_ms is None or ticks_diff(until_ms, state.passage_until_ms) > 0:
            actions = ((_ENERGISE_STRIKE, on_ms),)
    if event != _REX_PRESSED:
        actions += _over(state)
    actions += ((_REPORT_OPERATION, operation, source),)
    return new, actions + _enter(new, state, event, source, now_ms)


def _begin_passage(state: State, now_ms: int) -> "Step":
    if state.passage_until_ms is not None:
        return state, ()
    new = state.copy()
    new.passage_until_ms = ticks_add(now_ms, _PASSAGE_ON_MS)
    source = _SOURCE_SCHEDULE
    report = (_REPORT_OPERATION, _UNLOCK, source)
    actions = ((_ENERGISE_STRIKE, _PASSAGE_ON_MS),) + _over(state) + (report,)
    return new, actions + _enter(new, state, _PASSAGE_BEGUN, source, now_ms)


def _enter(new: State, old: State, event: int, source: int, now_ms: int) -> "tuple[Action, ...]":
    """Have `new` be unlocked, or rightly open, after `event`; return what there is to report."""
    if old.is_closed:
        new.become(_UNLOCKED, event, source, now_ms)
        return ()
    if event == _REX_PRESSED:
        return ()
    # somebody entitled is at the door: the time until it counts as ajar starts again
    new.become(_OPEN, event, source, now_ms)
    if old.mode == _OPEN:
        return ()
    return ((_REPORT_DOOR, _DOOR_OPEN, source),)


def _end_passage(state: State, now_ms: int) -> "Step":
    if state.passage_until_ms is None:
        return state, ()
    new = state.copy()
    source = _SOURCE_SCHEDULE
    until_ms = state.strike_until_ms
    if until_ms is None or _is_due(until_ms, now_ms):
        new.drop(_PASSAGE_ENDED, source, now_ms)
        return new, (_RELEASE, _PASSAGE_OVER)
    new.passage_until_ms = None
    new.become(state.mode, _PASSAGE_ENDED, source, now_ms)
    # or a lock that hangs now would hold the strike for as long as passage had it
    return new, ((_ENERGISE_STRIKE, ticks_diff(until_ms, now_ms)), _PASSAGE_OVER)
