"""Audit records (SPEC.md section 7) in words, for timelines that a person reads."""

from dataclasses import dataclass
from typing import Any, Final

from . import protocol

DOOR_LOCK_ALARM, DOOR_STATE_CHANGE, LOCK_OPERATION, LOCK_OPERATION_ERROR = 0, 1, 2, 3
START, FAULT, CONFIGURATION_CHANGE, TIME_CHANGE, IDENTIFY, RECORDS_LOST, COMMAND_ERROR, TRIGGER = range(128, 136)
SERVICE, UPDATE = 136, 137

# Matter DoorLock (cluster 0x0101): AlarmCodeEnum, OperationSourceEnum
_ALARMS: Final = {
    0: "the bolt is jammed",
    1: "factory reset",
    3: "the radio lost its power",
    4: "too many wrong tries",
    5: "the housing was opened",
    6: "the door was forced open",
    7: "the door stands open too long",
    8: "opened under duress",
    128: "the door stands open and nobody is there",
    129: "the door switch's line is cut",
    130: "the door switch's line is shorted",
    131: "the bolt is drawn, and nothing drew it",
    132: "the exit button is held down",
    133: "the battery is low",
    134: "the lock starts again and again",
}
_FORCED_USER: Final = 8
_SOURCES: Final = {
    1: "by hand",
    2: "a signed command",
    4: "by itself",
    5: "exit button",
    6: "opening hours",
    7: "phone",
}
_OPERATIONS: Final = {
    0: "lock",
    1: "unlock",
    128: "hold open",
    129: "take records along",
    130: "service",
    131: "strike test",
}
_DOOR: Final = {
    0: "door opened",
    1: "door closed",
    2: "door jammed",
    3: "door FORCED open",
    4: "door sensor fault",
    5: "door ajar",
}
_LINKS: Final = {1: "BLE", 2: "HTTP", 3: "MQTT", 4: "console"}
_RESET_CAUSES: Final = {1: "power on", 2: "hard reset", 3: "watchdog", 4: "deep sleep", 5: "soft reset"}


@dataclass(frozen=True, slots=True)
class Line:
    """One event in words. `is_bad` marks alarms, refusals and faults."""

    who: str
    what: str
    why: str
    is_bad: bool = False


def describe(record: dict[int, Any]) -> Line:
    """Return `record` in words; any record of this or a later version gives something readable."""
    kind = record.get(1)
    if kind == DOOR_LOCK_ALARM:
        return _alarm(record)
    if kind == DOOR_STATE_CHANGE:
        return Line("door", _named(_DOOR, record.get(10)), _lock_state(record), is_bad=record.get(10) in (2, 3, 4, 5))
    if kind == LOCK_OPERATION:
        is_forced = record.get(11) == _FORCED_USER
        return Line("lock", _operation(record) + (" UNDER DURESS" if is_forced else ""), _why(record), is_bad=is_forced)
    if kind == LOCK_OPERATION_ERROR:
        reason = protocol.reason_name(record.get(4, -1))
        folded = f" ({record[14]} times)" if 14 in record else ""
        return Line("lock", f"refused{folded}: {reason}", _why(record), is_bad=True)
    if kind == START:
        return Line("lock", "started", _named(_RESET_CAUSES, record.get(14)))
    if kind == FAULT:
        return Line("lock", f"FAULT: {record.get(15, 'unknown')}", "", is_bad=True)
    if kind == IDENTIFY:
        return Line("lock", "shows where it is", _why(record))
    if kind == CONFIGURATION_CHANGE:
        return Line("lock", f"commanded: {record.get(15, '')}", _why(record))
    if kind == COMMAND_ERROR:
        folded = f" ({record[14]} times)" if 14 in record else ""
        return Line("lock", f"command refused{folded}: {protocol.reason_name(record.get(4, -1))}", _why(record), True)
    if kind == TIME_CHANGE:
        bound = f"within {record[29]} s" if record.get(3) and 29 in record else ""
        return Line("lock", f"time: {record.get(15, 'changed')}", bound, is_bad=record.get(3) == 0)
    if kind == RECORDS_LOST:
        return Line("lock", f"{record.get(14, 'some')} records were given up before a collector had them", "", True)
    if kind == TRIGGER:
        folded = f" ({record[14]} times)" if 14 in record else ""
        return Line("room", ("motion" if record.get(6) == 4 else "trigger") + folded, "")
    if kind == SERVICE:
        programs = "" if 14 not in record else f", {record[14]} program{'' if record[14] == 1 else 's'} run"
        return Line("lock", f"service: {record.get(15, '')}{programs}", _why(record))
    if kind == UPDATE:
        reason = f": {protocol.reason_name(record[4])}" if record.get(4) else ""
        what = f"update {record.get(27, '')} {record.get(15, '')}{reason}"
        return Line("lock", what, _why(record), is_bad=31 not in record or record.get(15) == "returned")
    return Line("lock", f"event {kind}", str(record.get(15, "")))


def alarm_text(code: Any) -> str:
    """Return what an alarm (SPEC.md 7.2) is about."""
    return _named(_ALARMS, code)


def _alarm(record: dict[int, Any]) -> Line:
    name, step = alarm_text(record.get(11)), record.get(14)
    if step == 0:
        return Line("lock", f"alarm over: {name}", "")
    return Line("lock", f"ALARM: {name}" + (f", step {step}" if record.get(11) == 7 and step else ""), "", is_bad=True)


def _operation(record: dict[int, Any]) -> str:
    lock_state = record.get(17)
    if record.get(23):
        return "would have done it (shadow): " + _named(_OPERATIONS, record.get(5))
    if record.get(5) == 0:
        return "locked" if lock_state in (1, None) else "lock asked for"
    if record.get(15) == "test":
        return "strike TESTED"
    return {128: "held open", 129: "records handed to a courier"}.get(record.get(5, 1), "UNLOCKED")


def _lock_state(record: dict[int, Any]) -> str:
    state = record.get(17)
    return "" if state is None else protocol.state_name(protocol.LOCK_STATES, state)


def _why(record: dict[int, Any]) -> str:
    """Who asked, over what, on what authority: as far as the record says."""
    parts = []
    if 6 in record:
        parts.append(_named(_SOURCES, record[6]))
    if record.get(18):
        parts.append("over " + _named(_LINKS, record[18]))
    if record.get(16):
        parts.append("holder proved")
    if 28 in record:
        parts.append(f"{record[28]} persons")
    parts += [f"with {_short(sub)}" for sub in record.get(30, [])]
    if 24 in record:
        parts.append(f"risk {record[24]} ({record.get(25, '')})")
    for key, name in ((7, "sub"), (8, "token"), (9, "ref"), (26, "command")):
        if key in record:
            parts.append(f"{name} {_short(record[key])}")
    if record.get(1) == LOCK_OPERATION_ERROR and 5 in record:
        parts.append("wanted: " + _named(_OPERATIONS, record[5]))
    return ", ".join(parts)


def _short(value: bytes) -> str:
    """A pseudonym that is plain text as it is; anything else in hex, shortened."""
    if all(0x20 < byte < 0x7F for byte in value):
        return value.decode()
    return value.hex()[:8]


def _named(names: dict[int, str], number: Any) -> str:
    return names.get(number, f"no. {number}")
