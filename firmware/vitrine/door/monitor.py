"""What besides the door machine must be noticed: sensors held against each other and against time (SPEC.md 7.2).

Pure: `step(seen, now_ms)` compares, deadlines are data. Forced and ajar belong to fsm.py, the brown-out loop to
app.starts. Every alarm here is a condition that must hold for some time before it counts, and be gone for some time
before it is over. What a board cannot see (None) neither begins nor ends an alarm.
"""

from micropython import const

from .ticks import ticks_add, ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from .fsm import State
    from .settings import Settings

_BATTERY_MS = const(10_000)
_BATTERY_ABOVE_PCT = const(105)
# A loose wire or a drill makes one alarm, not one at each touch.
_OVER_MS = const(2_000)
# A bolt that has not followed is said before the time is over that it has, however short that is.
_JAM_BEFORE_MS = const(250)

# of drivers.contacts and fsm.py
_LINE_SHORTED = const(0)
_LINE_CLOSED = const(1)
_LINE_CUT = const(3)
_MODE_LOCKED = const(0)

_LOCK_JAMMED = const(0)
_HOUSING_OPEN = const(5)  # FrontEsceutcheonRemoved
_DOOR_UNATTENDED = const(128)
_SWITCH_CUT = const(129)
_SWITCH_SHORTED = const(130)
_STRIKE_STUCK = const(131)
_EXIT_HELD = const(132)
_BATTERY_LOW = const(133)

# all of them, BatteryLow last
_ALARMS = b"\x00\x05\x80\x81\x82\x83\x84\x85"
_COUNT = const(8)

# SPEC.md 7.2: the alarms that alarm_blocks has bits for, in the order of the bits
_BLOCKING = const(b"\x05\x00\x06\x81\x82\x83\x85\x86")

_DRAWN = const(1)
_HOME = const(0)
_ANYWHERE = const(-1)


class Seen:
    """What the sensors say now; None where the board has no such sensor, or it cannot be read.

    bolt: True drawn, False home. motion. tamper: True = the housing is open. rex: pressed. battery_mv. switch: one of
    _SWITCH_* of drivers.contacts. The rest is what the lock does: is_energised; until_ms: until when if nothing changes
    (ticks), or None; is_closed; is_settled: closed and locked.
    """

    def __init__(self) -> None:
        self.bolt: "bool | None" = None
        self.motion: "bool | None" = None
        self.tamper: "bool | None" = None
        self.rex = False
        self.battery_mv: "int | None" = None
        self.switch = _LINE_CLOSED
        self.is_energised = False
        self.until_ms: "int | None" = None
        self.is_closed = True
        self.is_settled = True

    def door(self, state: "State") -> None:
        """Take over what the door machine says."""
        self.is_energised = state.is_energised
        self.until_ms = state.strike_until_ms if state.passage_until_ms is None else None
        self.is_closed = state.is_closed
        self.is_settled = state.mode == _MODE_LOCKED


class Monitor:
    """Monitor(settings): `settings` may be replaced at any time. deadline_ms: when to step at the latest, or None."""

    def __init__(self, settings: "Settings") -> None:
        self.settings = settings
        self.deadline_ms: "int | None" = None
        self._is_active = bytearray(_COUNT)
        self._since_ms: "list[int | None]" = [None] * _COUNT  # since when it is other than said
        self._target = _ANYWHERE  # where the bolt has to go
        self._has_followed = False  # and whether it has been there since

    @property
    def active(self) -> "tuple[int, ...]":
        """The codes of the alarms that are active."""
        return tuple([_ALARMS[i] for i in range(_COUNT) if self._is_active[i]])

    def step(self, seen: Seen, now_ms: int) -> "tuple[tuple[int, int], ...]":
        """Return (alarm code, step) of each alarm that begins (1) or is over (0) at `now_ms`."""
        news: "tuple[tuple[int, int], ...]" = ()
        self.deadline_ms = None
        for i in range(_COUNT):
            was_active = self._is_active[i]
            holds = self._holds(_ALARMS[i], seen)
            if holds is None or holds == bool(was_active):
                self._since_ms[i] = None
                continue
            since_ms = self._since_ms[i]
            if since_ms is None:
                since_ms = self._since_ms[i] = now_ms
            due_ms = ticks_add(since_ms, self._patience_ms(_ALARMS[i], holds))
            if holds and _ALARMS[i] == _LOCK_JAMMED and seen.until_ms is not None:
                before_ms = ticks_add(seen.until_ms, -_JAM_BEFORE_MS)
                due_ms = before_ms if ticks_diff(due_ms, before_ms) > 0 else due_ms
            if ticks_diff(now_ms, due_ms) >= 0:
                self._since_ms[i] = None
                self._is_active[i] = 0 if was_active else 1
                news += ((_ALARMS[i], self._is_active[i]),)
            elif self.deadline_ms is None or ticks_diff(due_ms, self.deadline_ms) < 0:
                self.deadline_ms = due_ms
        return news

    def _holds(self, alarm: int, seen: Seen) -> "bool | None":
        """Return whether the alarm's condition holds now, or None if that cannot be said."""
        if alarm == _LOCK_JAMMED:
            return self._is_jammed(seen)
        if alarm == _HOUSING_OPEN:
            return seen.tamper
        if alarm == _DOOR_UNATTENDED:
            if not self.settings.unattended_ms or seen.is_closed or seen.motion:
                return False
            return None if seen.motion is None else True
        if alarm == _SWITCH_CUT:
            return seen.switch == _LINE_CUT
        if alarm == _SWITCH_SHORTED:
            return seen.switch == _LINE_SHORTED
        if alarm == _STRIKE_STUCK:
            return None if seen.bolt is None else seen.bolt and not seen.is_energised
        if alarm == _EXIT_HELD:
            return seen.rex
        return self._is_battery_low(seen)

    def _patience_ms(self, alarm: int, holds: bool) -> int:
        """Return how long the condition must hold, or not hold, until the alarm begins or is over."""
        if alarm == _BATTERY_LOW:
            return _BATTERY_MS
        if not holds:
            return _OVER_MS if alarm in (_HOUSING_OPEN, _SWITCH_CUT, _SWITCH_SHORTED) else 0
        if alarm in (_LOCK_JAMMED, _STRIKE_STUCK):
            return self.settings.jam_ms
        if alarm == _DOOR_UNATTENDED:
            return self.settings.unattended_ms
        return self.settings.rex_held_ms if alarm == _EXIT_HELD else 0

    def _is_jammed(self, seen: Seen) -> "bool | None":
        """Whether the bolt has yet to follow: to be drawn by the strike, or to come home behind a settled door.

        Once it has followed, it is not jammed: a bolt that leaves its place again is StrikeStuck.
        """
        target = _DRAWN if seen.is_energised else _HOME if seen.is_settled else _ANYWHERE
        if target != self._target:
            self._target = target
            self._has_followed = False
        if target == _ANYWHERE or seen.bolt is None:
            return None
        if seen.bolt == (target == _DRAWN):
            self._has_followed = True
        return not self._has_followed

    def _is_battery_low(self, seen: Seen) -> "bool | None":
        low_mv = self.settings.battery_low_mv
        if not low_mv:
            return False
        if seen.battery_mv is None:
            return None
        if self._is_active[_COUNT - 1]:
            return seen.battery_mv * 100 < low_mv * _BATTERY_ABOVE_PCT
        return seen.battery_mv < low_mv


def blocking_mask(alarms: "tuple[int, ...]") -> int:
    """Return the bits of alarm_blocks (SPEC.md 7.2) of these alarm codes."""
    mask = 0
    for bit in range(len(_BLOCKING)):
        if _BLOCKING[bit] in alarms:
            mask |= 1 << bit
    return mask
