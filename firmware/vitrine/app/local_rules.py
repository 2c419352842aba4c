"""What the lock does for other things in the room, without anybody else: camera and alarm relay (SPEC.md section 16).

An event sink that decides by the record, so that every pulse is for one; and a task that makes the records of trigger
and motion. Who flaps a contact gets the camera's pulse each time, and counts in the journal.
"""

from micropython import const

from vitrine.audit.folding import Folding

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from .configuration import Configuration
    from .event_log import EventLog, Record

# of SPEC.md section 7: keys, and kinds
_KIND = const(1)
_TIME = const(2)
_OPERATION = const(5)
_SOURCE = const(6)
_COUNT = const(14)
_AUTHENTIC = const(16)
_SHADOW = const(23)
_DOOR_LOCK_ALARM = const(0)
_LOCK_OPERATION = const(2)
_LOCK_OPERATION_ERROR = const(3)
_TRIGGER = const(135)

# bits of camera_events
_OPENED = const(0)
_REFUSED = const(1)
_ALARMED = const(2)
_TRIGGERED = const(3)
_MOVED = const(4)

_OPENING = const(b"\x01\x80")  # unlock, hold
_BY_SOMEBODY = const(b"\x02\x05\x07")  # OperationSourceEnum: command, exit button, token
_MANUAL = const(1)
_AUTO = const(4)
_LOCKED = const(1)
_AJAR = const(7)
_EXIT_HELD = const(132)


class LocalRules:
    """LocalRules(room, configuration, events, door, clock): `note` is an event sink, `run` its task.

    room: drivers.room.Room. door: lock_state, alarms, alarm_mask(). clock: reading(), ticks_ms().
    """

    def __init__(self, room, configuration: "Configuration", events: "EventLog", door, clock) -> None:
        self._room = room
        self._configuration = configuration
        self._events = events
        self._door = door
        self._clock = clock
        self._folding = Folding(clock.ticks_ms())

    def note(self, record: "Record") -> None:
        """Film what is to be filmed, and let the relay follow the alarms. An event sink."""
        kind = record[_KIND]
        if kind == _LOCK_OPERATION:
            if (
                record.get(_OPERATION, 0) in _OPENING
                and record.get(_SOURCE, 0) in _BY_SOMEBODY
                and _SHADOW not in record
            ):
                self._film(_OPENED)
        elif kind == _LOCK_OPERATION_ERROR:
            if _AUTHENTIC in record:
                self._film(_REFUSED)
        elif kind == _DOOR_LOCK_ALARM:
            self._follow_alarms()
            if record.get(_COUNT):
                self._film(_ALARMED)

    async def run(self, vote) -> None:
        """Look at trigger and motion sensor, and follow the alarms, for ever."""
        while True:
            has_triggered, has_moved = await self._room.changed()
            if has_triggered:
                self._happened(_MANUAL, _TRIGGERED)
            if (
                has_moved
                and self._door.lock_state == _LOCKED
                and self._configuration.settings.camera_events >> _MOVED & 1
            ):
                self._happened(_AUTO, _MOVED)
            self._write(self._folding.due(self._clock.ticks_ms()))
            self._follow_alarms()  # also of other settings

    def _happened(self, source: int, bit: int) -> None:
        record = {_KIND: _TRIGGER, _SOURCE: source, _TIME: self._clock.reading()[0]}
        self._write(self._folding.take(record, self._clock.ticks_ms()))
        self._film(bit)

    def _write(self, record: "Record | None") -> None:
        if record:
            self._events.record(_TRIGGER, record)

    def _film(self, bit: int) -> None:
        settings = self._configuration.settings
        if settings.camera_events >> bit & 1:
            self._room.film(settings.camera_ms)

    def _follow_alarms(self) -> None:
        alarms = self._door.alarms
        mask = self._door.alarm_mask() | (_AJAR in alarms) << 8 | (_EXIT_HELD in alarms) << 9
        self._room.alarm(mask & self._configuration.settings.relay_alarms)
