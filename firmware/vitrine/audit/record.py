"""One audit event as a map, and as the bytes that are sealed (SPEC.md section 7).

Owns names, numbers, bounds and classes; knows nothing of flash. Kinds 0 to 4 and their enumerations are Matter's
(DoorLock cluster, 0x0101).
"""

from micropython import const

from vitrine.codec import cbor

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

KIND = const(1)
TIME = const(2)
TIME_STATE = const(3)
REASON = const(4)
OPERATION = const(5)
SOURCE = const(6)
SUB = const(7)
CTI = const(8)
REF = const(9)
DOOR_STATE = const(10)
ALARM = const(11)
ERROR = const(12)
KID = const(13)
COUNT = const(14)
DETAIL = const(15)
AUTHENTIC = const(16)
LOCK_STATE = const(17)
LINK = const(18)
SINCE = const(19)
RANGE = const(20)
CLASS = const(21)
HEAD = const(22)
SHADOW = const(23)
SCORE = const(24)
RULE = const(25)
COMMAND = const(26)
SEQUENCE = const(27)
PERSONS = const(28)
ERROR_BOUND = const(29)
OTHERS = const(30)
_DIGEST = const(31)

DOOR_LOCK_ALARM = const(0)
DOOR_STATE_CHANGE = const(1)
LOCK_OPERATION = const(2)
LOCK_OPERATION_ERROR = const(3)
START = const(128)
FAULT = const(129)
CONFIGURATION_CHANGE = const(130)
TIME_CHANGE = const(131)
IDENTIFY = const(132)
RECORDS_LOST = const(133)
COMMAND_ERROR = const(134)
_TRIGGER = const(135)
_SERVICE = const(136)
_UPDATE = const(137)

DETAIL_MAX = const(32)
AGAIN = "again"  # detail of an alarm that was raised or over too often

KEPT = const(0)
ROUTINE = const(1)
REFUSED = const(2)
CLASSES = const(3)

# Fields that come together, at their largest, have less. With length, number, tag and CRC it fits one page of flash.
MAX_BODY = const(224)

_INT = const(0)
_BYTES = const(1)
_TEXT = const(2)
_BOOL = const(3)
_RANGE = const(4)
_SUBS = const(5)
_U32 = const(0xFFFFFFFF)
# key: (type, least, greatest): of the value, or of its length in bytes
_FIELDS = {
    KIND: (_INT, 0, 255),
    TIME: (_INT, 0, _U32),
    TIME_STATE: (_INT, 0, 2),
    REASON: (_INT, 0, 255),
    OPERATION: (_INT, 0, 255),
    SOURCE: (_INT, 0, 255),
    SUB: (_BYTES, 1, 16),
    CTI: (_BYTES, 1, 16),
    REF: (_BYTES, 1, 32),
    DOOR_STATE: (_INT, 0, 255),
    ALARM: (_INT, 0, 255),
    ERROR: (_INT, 0, 255),
    KID: (_BYTES, 8, 8),
    COUNT: (_INT, 0, _U32),
    DETAIL: (_TEXT, 0, 32),
    AUTHENTIC: (_BOOL, 0, 0),
    LOCK_STATE: (_INT, 0, 255),
    LINK: (_INT, 0, 255),
    SINCE: (_INT, 0, _U32),
    RANGE: (_RANGE, 0, _U32),
    CLASS: (_INT, 0, 2),
    HEAD: (_BYTES, 32, 32),
    SHADOW: (_BOOL, 0, 0),
    SCORE: (_INT, 0, 100),
    RULE: (_TEXT, 1, 16),
    COMMAND: (_BYTES, 8, 16),
    SEQUENCE: (_INT, 0, _U32),
    PERSONS: (_INT, 2, 3),
    ERROR_BOUND: (_INT, 0, _U32),
    OTHERS: (_SUBS, 1, 16),
    _DIGEST: (_BYTES, 32, 32),
}
_CLASS_OF_KIND = {
    DOOR_LOCK_ALARM: KEPT,
    DOOR_STATE_CHANGE: ROUTINE,
    LOCK_OPERATION: ROUTINE,
    LOCK_OPERATION_ERROR: REFUSED,
    START: ROUTINE,
    FAULT: ROUTINE,
    CONFIGURATION_CHANGE: KEPT,
    TIME_CHANGE: ROUTINE,
    IDENTIFY: REFUSED,
    RECORDS_LOST: KEPT,
    COMMAND_ERROR: REFUSED,
    _TRIGGER: ROUTINE,
    _SERVICE: KEPT,
    _UPDATE: REFUSED,
}


class RecordError(ValueError):
    """Not a record of SPEC.md section 7: a mistake of this firmware, never of a peer. The text names the key only."""


def encode(record: "dict[int, Any]") -> bytes:
    """Return the CBOR of `record`, at most MAX_BODY bytes. Raises RecordError."""
    if record.get(KIND) not in _CLASS_OF_KIND:
        raise RecordError("kind")
    for key in record:
        field = _FIELDS.get(key)
        if field is None or not _fits(record[key], field[0], field[1], field[2]):
            raise RecordError("key %r" % key)
    return cbor.encode(record)


def class_of(record: "dict[int, Any]") -> int:
    """Return the class (SPEC.md 7.1) of a record of a known kind."""
    if (record[KIND] == LOCK_OPERATION and KID in record) or (record[KIND] == _UPDATE and _DIGEST in record):
        return KEPT
    if record[KIND] == DOOR_LOCK_ALARM and record.get(DETAIL) == AGAIN:
        return ROUTINE
    return _CLASS_OF_KIND[record[KIND]]


def lost_range(body: bytes) -> "tuple[int, int, int, int] | None":
    """Return (class or -1, first, last, count) if `body` is a RecordsLost, else None. `body` comes from flash."""
    try:
        value = cbor.decode(body, MAX_BODY)
    except cbor.CborError:
        return None
    if not cbor.is_map(value) or value.get(KIND) != RECORDS_LOST:
        return None
    limits: "Any" = value.get(RANGE)
    of_class: "Any" = value.get(CLASS, -1)
    count: "Any" = value.get(COUNT)
    if not _fits(limits, _RANGE, 0, _U32) or not _fits(of_class, _INT, -1, 2) or not _fits(count, _INT, 0, _U32):
        return None
    return of_class, limits[0], limits[1], count


def _fits(value: "Any", kind: int, least: int, greatest: int) -> bool:
    if kind == _BOOL:
        return value is True or value is False
    if value is True or value is False:
        return False
    if kind == _INT:
        return isinstance(value, int) and least <= value <= greatest
    if kind == _BYTES:
        return isinstance(value, bytes) and least <= len(value) <= greatest
    if kind == _TEXT:
        return isinstance(value, str) and len(value.encode()) <= greatest
    of, few = (_BYTES, 1) if kind == _SUBS else (_INT, 2)
    return cbor.is_array(value) and few <= len(value) <= 2 and all([_fits(each, of, least, greatest) for each in value])
