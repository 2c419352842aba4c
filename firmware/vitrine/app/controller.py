"""The lock itself: sole owner of the door's state, and the only caller of the strike.

Grants come in through operate(), everything else through run(), which reads the inputs and sleeps until the nearest
deadline. Both step the pure machine (door.fsm) and carry its actions out. No hardware here: `strike` and `inputs` are
drivers handed in. Any fault de-energises, is recorded, and (in run) goes on to the supervisor, which restarts run().
"""

from micropython import const

from vitrine.access import reasons
from vitrine.access.decision import is_grant
from vitrine.audit import record
from vitrine.door import fsm, states
from vitrine.door.ticks import ticks_diff

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from vitrine.access.decision import Decision
    from vitrine.access.token import Token
    from vitrine.door.settings import Settings

    from .event_log import EventLog

    class StrikeDriver(Protocol):
        deadline_ms: "int | None"

        def energise(self, on_ms: int) -> None: ...
        def release(self) -> None: ...
        def service(self) -> None: ...

    class InputsDriver(Protocol):
        @property
        def door_closed(self) -> bool: ...
        @property
        def rex_pressed(self) -> bool: ...
        def poll(self) -> bool: ...
        def wake(self) -> None: ...
        async def changed(self, timeout_ms: int) -> None: ...


# run() looks at the inputs this often at least; they may ask for less
_IDLE_MS = const(1000)

_EVENT_OF = {states.LOCK: states.LOCK_GRANTED, states.UNLOCK: states.UNLOCK_GRANTED, states.HOLD: states.HOLD_GRANTED}


class Unauthorised(Exception):
    """The strike was to move for no grant, no token or no exit button: a fault, by glitch or by mistake."""


class Controller:
    """The door's one owner. `strike` and `inputs`: drivers.strike.Strike and drivers.inputs.Inputs, or their like."""

    def __init__(
        self,
        strike: "StrikeDriver",
        inputs: "InputsDriver",
        settings: "Settings",
        events: "EventLog",
        ticks_ms: "Callable[[], int]",
    ) -> None:
        self._strike = strike
        self._inputs = inputs
        self._events = events
        self._ticks_ms = ticks_ms
        self._was_pressed = inputs.rex_pressed
        strike.release()
        self._state = fsm.initial(settings, inputs.door_closed, ticks_ms())
        self._record(record.DOOR_STATE_CHANGE, {})

    @property
    def lock_state(self) -> int:
        """Matter DlLockState, now."""
        return self._state.lock_state

    @property
    def door_state(self) -> int:
        """Matter DoorStateEnum, now."""
        return self._state.door_state

    def operate(self, operation: int, decision: "Decision", link: int) -> bool:
        """Carry out LOCK, UNLOCK or HOLD on the grant `decision` that came over `link`; return whether it was done.

        Done means: after UNLOCK and HOLD the strike is energised, after LOCK it is not (an open door locks when it has
        closed). Synchronous, so that nothing comes between the decision and the strike. Never raises: a fault releases
        the strike, is recorded and returns False, as does anything that is no grant.
        """
        event = _EVENT_OF.get(operation, -1)
        if event < 0 or not is_grant(decision):
            return False
        # whatever comes of it, run() has new deadlines to sleep until
        self._inputs.wake()
        try:
            # what the door did before this counts as before it
            self._follow()
            self._step(event, decision, link)
        except Exception as error:  # noqa: BLE001
            # whatever it is, it ends with the strike off, on record, and with a no
            self._fail(error)
            return False
        return True

    def withdraw(self) -> None:
        """Take back what operate() has just done: the strike off, now. Never raises."""
        self._let_go()
        self._inputs.wake()

    async def run(self, vote: "Callable[[], None]") -> None:
        """Follow the door for ever. `vote` is called at least every second."""
        try:
            while True:
                vote()
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
        for deadline_ms in (self._state.deadline_ms, self._strike.deadline_ms):
            if deadline_ms is not None:
                rest_ms = min(rest_ms, max(0, ticks_diff(deadline_ms, now_ms)))
        return rest_ms

    def _follow(self) -> None:
        """Bring the state up to now: first what people did, then what time did to it."""
        self._inputs.poll()
        # the button before the door, and both before the deadlines: who pressed it and opened at once, or opened while
        # the loop was busy, has not forced the door
        if self._inputs.rex_pressed != self._was_pressed:
            self._was_pressed = self._inputs.rex_pressed
            if self._was_pressed:
                self._step(states.REX_PRESSED)
        # against the state, not against the last poll: whatever was lost in between, the two come to agree
        if self._inputs.door_closed != self._state.is_closed:
            self._step(states.DOOR_SHUT if self._inputs.door_closed else states.DOOR_OPENED)
        self._step(states.TIME_PASSED)
        self._strike.service()

    def _step(self, event: int, decision: "Decision | None" = None, link: int = 0) -> None:
        """Step the machine and carry its actions out. The new state holds only once the strike has followed."""
        state, actions = fsm.step(self._state, event, self._ticks_ms())
        for action in actions:
            if action[0] == states.ENERGISE_STRIKE:
                # asked a second time, right before the coil: one skipped branch must not open a door
                if event != states.REX_PRESSED and (decision is None or not is_grant(decision)):
                    raise Unauthorised
                self._strike.energise(action[1])
            elif action[0] == states.RELEASE_STRIKE:
                self._strike.release()
        self._state = state
        for action in actions:
            self._report(action, decision, link)

    def _report(self, action: "tuple[int, ...]", decision: "Decision | None", link: int) -> None:
        if action[0] == states.REPORT_OPERATION:
            fields = {record.OPERATION: action[1], record.SOURCE: action[2]}
            if decision is not None:
                fields[record.REASON] = reasons.GRANTED
                fields[record.LINK] = link
                fields[record.AUTHENTIC] = True
                _describe_token(fields, decision.token)
            self._record(record.LOCK_OPERATION, fields)
        elif action[0] == states.REPORT_DOOR:
            self._record(record.DOOR_STATE_CHANGE, {record.SOURCE: action[2]})
        elif action[0] == states.RAISE_ALARM:
            self._record(record.DOOR_LOCK_ALARM, {record.ALARM: action[1]})

    def _record(self, kind: int, fields: "dict[int, Any]") -> None:
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
        self._state, _ = fsm.step(self._state, states.STRIKE_FAILED, self._ticks_ms())

    def _fail(self, error: Exception) -> None:
        self._let_go()
        self._events.fault("controller", error)


def _describe_token(fields: "dict[int, Any]", token: "Token | None") -> None:
    if token is None:
        raise Unauthorised
    for key, value in (
        (record.SUB, token.sub),
        (record.CTI, token.cti),
        (record.REF, token.ref),
        (record.KID, token.kid),
    ):
        if value is not None:
            fields[key] = value
