"""The lock itself: sole owner of the door's state, and the only caller of the strike.

Grants come in through operate(), opening times and lockdown through begin_passage(), end_passage() and lock_down(),
everything else through run(), which reads inputs and sensors and sleeps until the nearest deadline. All step the pure
machine (door.fsm), carry its actions out, and have the monitor (door.monitor) look. No hardware here: `strike`,
`inputs` and `sensors` are drivers handed in. Any fault de-energises and is recorded. One of the strike ends
there, and the door is followed on; any other in run() goes on to the supervisor, which restarts it.

In shadow (SPEC.md 6.2) the strike never moves, for nobody: what would have moved it is an operation on record.
"""

from micropython import const

from vitrine.access import reasons
from vitrine.access.decision import is_grant
from vitrine.audit import record
from vitrine.door import fsm
from vitrine.door.monitor import Monitor, Seen, blocking_mask
from vitrine.door.ticks import ticks_add, ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from vitrine.access.decision import Decision
    from vitrine.access.token import Token
    from vitrine.door.settings import Settings

    from .event_log import EventLog
    from .starts import Starts

    class StrikeDriver(Protocol):
        deadline_ms: "int | None"

        @property
        def is_astray(self) -> bool: ...
        def configure(self, pull_ms: int, hold_duty_pct: int) -> None: ...
        def energise(self, on_ms: int) -> None: ...
        def release(self) -> None: ...
        def service(self) -> None: ...

    class InputsDriver(Protocol):
        @property
        def door_closed(self) -> bool: ...
        @property
        def rex_pressed(self) -> bool: ...
        @property
        def is_door_moving(self) -> bool: ...
        @property
        def switch(self) -> int: ...
        def configure(self, settings: "Settings") -> None: ...
        def poll(self) -> bool: ...
        def wake(self) -> None: ...
        async def changed(self, timeout_ms: int) -> None: ...

    class SensorsDriver(Protocol):
        battery_mv: "int | None"

        @property
        def bolt(self) -> "bool | None": ...
        @property
        def motion(self) -> "bool | None": ...
        @property
        def tamper(self) -> "bool | None": ...
        def configure(self, settings: "Settings") -> None: ...
        def poll(self) -> None: ...


# The numbers of door.fsm: operations and sources, modes, events, actions
_LOCK = const(0)
_UNLOCK = const(1)
_HOLD = const(128)
_TEST = const(131)
_SOURCE_BUTTON = const(5)
_SOURCE_SCHEDULE = const(6)
_SOURCE_REMOTE = const(7)
_LOCKED = const(0)
_RELOCKING = const(5)
_DOOR_OPENED = const(0)
_DOOR_SHUT = const(1)
_REX_PRESSED = const(2)
_UNLOCK_GRANTED = const(3)
_HOLD_GRANTED = const(4)
_LOCK_GRANTED = const(5)
_TIME_PASSED = const(6)
_STRIKE_FAILED = const(7)
_PASSAGE_BEGUN = const(9)
_PASSAGE_ENDED = const(10)
_LOCKED_DOWN = const(11)
_TEST_GRANTED = const(13)
_DOOR_FOUND_OPEN = const(12)
_ENERGISE_STRIKE = const(0)
_RELEASE_STRIKE = const(1)
_REPORT_OPERATION = const(2)
_REPORT_DOOR = const(3)
_RAISE_ALARM = const(4)

# run() looks at the inputs this often at least; they may ask for less
_IDLE_MS = const(1000)

# alarms (SPEC.md 7.2) that neither door machine nor monitor knows
_FORCED_USER = const(8)
_BROWNOUT_LOOP = const(134)
_STRIKE_STUCK = const(131)  # the monitor knows it of the bolt; of the strike itself nobody else does

# Of one alarm so many records are kept, and one more after each such time; the others are routine (SPEC.md 7.1). A
# magnet at the door switch must not push out who opened the door.
_KEPT_MAX = const(16)
_KEPT_EVERY_MS = const(600_000)
# A strike that fails at passage, button or time: how soon it is tried again for passage, how often that is on record.
_RETRY_MS = const(1000)
_FAULT_EVERY_MS = const(60_000)
_PROPRIETARY_REMOTE = const(2)  # OperationSourceEnum: a command

_EVENT_OF = {
    _LOCK: _LOCK_GRANTED,
    _UNLOCK: _UNLOCK_GRANTED,
    _HOLD: _HOLD_GRANTED,
    _TEST: _TEST_GRANTED,
}


class Unauthorised(Exception):
    """The strike was to move for no grant, no token or no exit button: a fault, by glitch or by mistake."""


def _never() -> bool:
    return False


class Controller:
    """The door's one owner. `strike`, `inputs`, `sensors`: the drivers of these names, or their like.

    sensors: None on a board without any. is_shadow: asked before every actuation. starts: app.starts.Starts, or None.
    """

    def __init__(
        self,
        strike: "StrikeDriver",
        inputs: "InputsDriver",
        settings: "Settings",
        events: "EventLog",
        ticks_ms: "Callable[[], int]",
        sensors: "SensorsDriver | None" = None,
        is_shadow: "Callable[[], bool]" = _never,
        starts: "Starts | None" = None,
    ) -> None:
        self._strike = strike
        self._inputs = inputs
        self._sensors = sensors
        self._events = events
        self._ticks_ms = ticks_ms
        self._is_shadow = is_shadow
        self._starts = starts
        self._is_passage = False  # whether it is to be, not whether the strike has followed yet
        self._was_passage = False
        # when the strike may be tried for passage again, and its next failure recorded
        self._retry_ms = self._fault_ms = ticks_ms()
        self._is_brownout = self._was_astray = False
        self._kept: "dict[int, tuple[int, int]]" = {}  # alarm: how many of its records were kept, since when
        self._was_pressed = inputs.rex_pressed
        self._opener: "Decision | None" = None  # the grant by which the door opened, or may: until it is locked again
        self._seen = Seen()
        self._monitor = Monitor(settings)
        strike.release()
        self._state = fsm.initial(settings, inputs.door_closed, ticks_ms())
        self._before = self._state, self._opener  # what withdraw() takes back to
        self._record(record.DOOR_STATE_CHANGE, {})

    @property
    def lock_state(self) -> int:
        """Matter DlLockState, now."""
        return self._state.lock_state

    @property
    def door_state(self) -> int:
        """Matter DoorStateEnum, now."""
        return self._state.door_state

    @property
    def alarms(self) -> "tuple[int, ...]":
        """The codes (SPEC.md 7.2) of all alarms that are active."""
        active = self._monitor.active
        if self._state.alarm is not None:
            active = (self._state.alarm,) + active
        return active + (_BROWNOUT_LOOP,) if self._is_brownout else active

    def alarm_mask(self) -> int:
        """Return the bits of alarm_blocks (SPEC.md 7.2) of the alarms that are active."""
        return blocking_mask(self.alarms)

    def configure(self, settings: "Settings") -> None:
        """Take other settings, at once, but for dps_mode. A time of the strike that runs was granted, and stays."""
        self._state = fsm.configured(self._state, settings)
        self._monitor.settings = settings
        self._strike.configure(settings.pull_ms, settings.hold_duty_pct)
        self._inputs.configure(settings)
        if self._sensors is not None:
            self._sensors.configure(settings)
        self._inputs.wake()

    def begin_passage(self) -> None:
        """Have run() hold the strike until end_passage() or lock_down(). Never raises."""
        self._is_passage = True
        self._inputs.wake()

    def end_passage(self) -> None:
        """Let the strike go, unless somebody's time runs. Never raises."""
        self._is_passage = False
        self._interrupt(_PASSAGE_ENDED)

    def lock_down(self) -> None:
        """Take the strike off, at once, and end passage. The exit button goes on working. Never raises."""
        self._is_passage = False
        self._interrupt(_LOCKED_DOWN)

    def operate(self, operation: int, decision: "Decision", link: int) -> bool:
        """Carry out LOCK, UNLOCK, HOLD or TEST on the grant `decision` that came over `link`; tell whether it was done.

        Done means: after all but LOCK the strike is energised, after LOCK it is not (an open door locks when it has
        closed); in passage it stays on, in shadow off, and all are done. Synchronous, so that nothing comes between
        the decision and the strike. Never raises: a fault releases the strike, is recorded and returns False, as does
        anything that is no grant.
        """
        event = _EVENT_OF.get(operation, -1)
        if event < 0 or not is_grant(decision):
            return False
        # whatever comes of it, run() has new deadlines to sleep until
        self._inputs.wake()
        try:
            # what the door did before this counts as before it; the sensors can wait until the strike has moved
            self._follow(False)
            self._before = self._state, self._opener
            if self._is_shadow():
                self._report_operation(operation, _SOURCE_REMOTE, decision, link, True)
            else:
                self._step(event, decision, link)
            if event == _LOCK_GRANTED:
                self._before = self._state, self._opener  # who takes it back opens nothing
        except Exception as error:  # noqa: BLE001
            # whatever it is, it ends with the strike off, on record, and with a no
            self._fail(error)
            return False
        return True

    def withdraw(self) -> None:
        """Take back what operate() has just done, now, and nothing from before it. Never raises."""
        before, self._opener = self._before
        self._let_go()
        was_alarm = self._state.alarm
        # a closed door that had no time of its own settles first: somebody may just have pulled
        if before.is_energised or not before.is_closed:
            self._state = before
        try:
            until_ms = before.strike_until_ms if before.passage_until_ms is None else before.passage_until_ms
            if until_ms is not None:
                self._strike.energise(max(1, ticks_diff(until_ms, self._ticks_ms())))
            if before.alarm is not None and before.alarm != was_alarm:
                self._record(record.DOOR_STATE_CHANGE, {record.SOURCE: before.source})
                self._report_alarm(before.alarm, before.alarm_step)
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        self._inputs.wake()

    def check_strike(self) -> None:
        """Switch off, and report, a strike that is on past this firmware's driver. Never raises.

        run() does so at least every 200 ms, and the console while a program runs.
        """
        try:
            is_astray = self._strike.is_astray
            if is_astray:
                self._strike.release()
            if is_astray != self._was_astray:
                self._was_astray = is_astray
                self._report_alarm(_STRIKE_STUCK, 1 if is_astray else 0, "driven")
        except Exception as error:  # noqa: BLE001
            self._strike_failed(error)

    async def run(self, vote: "Callable[[], None]") -> None:
        """Follow the door for ever. `vote` is called at least every second."""
        try:
            while True:
                vote()
                self.check_strike()
                self._follow()
                await self._inputs.changed(self._rest_ms())
        except Exception as error:
            self._fail(error)
            raise
        finally:
            self._let_go()

    def _rest_ms(self) -> int:
        rest_ms = _IDLE_MS
        now_ms = self._ticks_ms()
        door_ms = None if self._is_late_exit() else self._state.deadline_ms
        for deadline_ms in (door_ms, self._strike.deadline_ms, self._monitor.deadline_ms):
            if deadline_ms is not None:
                rest_ms = min(rest_ms, max(0, ticks_diff(deadline_ms, now_ms)))
        return rest_ms

    def _is_late_exit(self) -> bool:
        """Whether a door about to be said Locked may just be opening: after a busy time its switch is debounced late.

        In RELOCKING the strike is off: nothing else waits for its deadline.
        """
        return self._state.mode == _RELOCKING and self._inputs.is_door_moving

    def _follow(self, with_sensors: bool = True) -> None:
        """Bring the state up to now: first what people did, then what time did to it."""
        self._inputs.poll()
        is_shadow = self._is_shadow()
        if is_shadow and self._state.is_energised:
            self._try(_LOCKED_DOWN)
        # the button before the door, and both before the deadlines: who pressed it and opened at once, or opened while
        # the loop was busy, has not forced the door
        if self._inputs.rex_pressed != self._was_pressed:
            self._was_pressed = self._inputs.rex_pressed
            if self._was_pressed and not self._look_on(_UNLOCK, _SOURCE_BUTTON):
                # again and again while it is pressed, if the strike fails
                self._was_pressed = self._try(_REX_PRESSED)
        # against the state, not against the last poll: whatever was lost in between, the two come to agree
        if self._inputs.door_closed != self._state.is_closed:
            if self._inputs.door_closed:
                self._try(_DOOR_SHUT)
            else:
                # another lock may have let them in
                self._try(_DOOR_FOUND_OPEN if is_shadow else _DOOR_OPENED)
        if self._is_passage != self._was_passage:
            self._was_passage = self._is_passage
            self._look_on(_UNLOCK if self._is_passage else _LOCK, _SOURCE_SCHEDULE)
        if self._is_passage and self._state.passage_until_ms is None and not is_shadow:
            if not 0 < ticks_diff(self._retry_ms, self._ticks_ms()) <= _RETRY_MS:  # beyond it: days ago
                self._try(_PASSAGE_BEGUN)
        if not self._is_late_exit():
            self._try(_TIME_PASSED)
        if with_sensors:
            self._watch()

    def _watch(self) -> None:
        """Have the monitor look, and record what it finds."""
        now_ms = self._ticks_ms()
        seen = self._seen
        seen.door(self._state)
        seen.switch = self._inputs.switch
        seen.rex = self._inputs.rex_pressed
        sensors = self._sensors
        if sensors is not None:
            sensors.poll()
            seen.bolt, seen.motion, seen.tamper = sensors.bolt, sensors.motion, sensors.tamper
            seen.battery_mv = sensors.battery_mv
        for alarm, step in self._monitor.step(seen, now_ms):
            self._report_alarm(alarm, step)
        if self._starts is not None:
            is_brownout = self._starts.is_loop(self._state.settings.brownout_starts, now_ms)
            if is_brownout != self._is_brownout:
                self._is_brownout = is_brownout
                self._report_alarm(_BROWNOUT_LOOP, 1 if is_brownout else 0)

    def _look_on(self, operation: int, source: int) -> bool:
        """In shadow, record what would be done now; return whether it is shadow."""
        is_shadow = self._is_shadow()
        if is_shadow:
            self._report_operation(operation, source, None, 0, True)
        return is_shadow

    def _step(self, event: int, decision: "Decision | None" = None, link: int = 0) -> None:
        """Step the machine and carry its actions out. The new state holds only once the strike has followed."""
        now_ms = self._ticks_ms()
        state, actions = fsm.step(self._state, event, now_ms)
        for action in actions:
            if action[0] == _ENERGISE_STRIKE:
                # asked a second time, right before the coil: one skipped branch must not open a door
                if self._is_shadow() or not self._may_energise(event, decision, ticks_add(now_ms, action[1])):
                    raise Unauthorised
                self._strike.energise(action[1])
            elif action[0] == _RELEASE_STRIKE:
                self._strike.release()
        self._state = state
        if decision is not None and event != _LOCK_GRANTED:
            self._opener = decision
        for action in actions:
            if action[0] == _REPORT_OPERATION:
                self._report_operation(action[1], action[2], decision, link, False)
            elif action[0] == _REPORT_DOOR:
                self._record(record.DOOR_STATE_CHANGE, {record.SOURCE: action[2]})
            elif action[0] == _RAISE_ALARM:
                self._report_alarm(action[1], action[2])
        if self._state.mode == _LOCKED:
            self._opener = None

    def _may_energise(self, event: int, decision: "Decision | None", until_ms: int) -> bool:
        if decision is not None:
            return is_grant(decision)
        if event in (_PASSAGE_BEGUN, _TIME_PASSED):
            return self._is_passage
        if event == _PASSAGE_ENDED:
            # for what is left of the time that somebody has
            return until_ms == self._state.strike_until_ms
        return event == _REX_PRESSED

    def _interrupt(self, event: int) -> None:
        self._try(event)
        self._inputs.wake()

    def _try(self, event: int) -> bool:
        """Step an event, and serve the strike; return whether that went well. Never raises.

        A strike that fails again and again must not keep the door from being followed.
        """
        try:
            self._step(event)
            self._strike.service()
            return True
        except Exception as error:  # noqa: BLE001
            self._strike_failed(error)
            return False

    def _strike_failed(self, error: Exception) -> None:
        now_ms = self._ticks_ms()
        self._retry_ms = ticks_add(now_ms, _RETRY_MS)
        self._let_go()
        if not 0 < ticks_diff(self._fault_ms, now_ms) <= _FAULT_EVERY_MS:
            self._fault_ms = ticks_add(now_ms, _FAULT_EVERY_MS)
            self._events.fault("controller", error)

    def _report_operation(
        self, operation: int, source: int, decision: "Decision | None", link: int, is_shadow: bool
    ) -> None:
        fields: "dict[int, Any]" = {record.OPERATION: operation, record.SOURCE: source}
        if operation == _TEST:
            # whoever counts or films openings takes it for one: it is
            fields[record.OPERATION] = _UNLOCK
            fields[record.DETAIL] = "test"
        if decision is not None:
            fields[record.REASON] = reasons.GRANTED
            _describe(fields, decision, link)
            # in the same record: another would show in the number of events that every hello tells, and in the time
            if decision.is_duress and operation != _LOCK:
                fields[record.ALARM] = _FORCED_USER
            if decision.score:
                fields[record.SCORE] = decision.score
                fields[record.RULE] = decision.rule
            if decision.persons > 1:
                fields[record.PERSONS] = decision.persons
                fields[record.OTHERS] = decision.others
        if is_shadow:
            fields[record.SHADOW] = True
        self._record(record.LOCK_OPERATION, fields)

    def _report_alarm(self, alarm: int, step: int, detail: str = "") -> None:
        fields: "dict[int, Any]" = {record.ALARM: alarm, record.COUNT: step}
        if detail:
            fields[record.DETAIL] = detail
        if self._is_flood(alarm):
            fields[record.DETAIL] = record.AGAIN
        self._record(record.DOOR_LOCK_ALARM, fields)

    def _is_flood(self, alarm: int) -> bool:
        """Count one more record of `alarm`; return whether there are more than are kept."""
        now_ms = self._ticks_ms()
        count, since_ms = self._kept.get(alarm, (0, now_ms))
        regained = ticks_diff(now_ms, since_ms) // _KEPT_EVERY_MS
        if not 0 <= regained < count:  # below 0: days ago
            count, since_ms, regained = 0, now_ms, 0
        count -= regained
        is_flood = count >= _KEPT_MAX
        if not is_flood:
            count += 1
        self._kept[alarm] = count, ticks_add(since_ms, regained * _KEPT_EVERY_MS)
        return is_flood

    def _record(self, kind: int, fields: "dict[int, Any]") -> None:
        opener = self._opener
        if kind == record.DOOR_STATE_CHANGE and opener is not None and opener.token is not None:
            # which camera's clip, sale or person the door's movements belong to
            fields[record.COMMAND if opener.command else record.CTI] = opener.command or opener.token.cti
        fields[record.LOCK_STATE] = self._state.lock_state
        fields[record.DOOR_STATE] = self._state.door_state
        self._events.record(kind, fields)

    def _let_go(self) -> None:
        """Switch the strike off, whatever the state says, and have the state say so."""
        try:
            self._strike.release()
        except Exception as error:  # noqa: BLE001
            # its output is low before anything in it can fail; the rest must not keep a fault from the record
            self._events.fault("strike", error)
        self._state, _ = fsm.step(self._state, _STRIKE_FAILED, self._ticks_ms())

    def _fail(self, error: Exception) -> None:
        self._let_go()
        self._events.fault("controller", error)


def _describe(fields: "dict[int, Any]", decision: "Decision", link: int) -> None:
    """Add whose grant it was, and over which link."""
    token: "Token | None" = decision.token
    if token is None:
        raise Unauthorised
    fields[record.LINK] = link
    fields[record.AUTHENTIC] = True
    for key, value in (
        (record.SUB, token.sub),
        (record.CTI, token.cti),
        (record.REF, token.ref),
        (record.KID, token.kid),
        (record.COMMAND, decision.command),
        (record.SEQUENCE, decision.sequence),
    ):
        if value:
            fields[key] = value
    if decision.command:
        fields[record.SOURCE] = _PROPRIETARY_REMOTE
