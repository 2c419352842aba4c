"""Audit records by name: what a body says, in the words of SPEC.md section 7 and Matter's DoorLock cluster."""

from typing import Any, Final

from .. import cbor

MAX_BODY: Final = 224
KINDS: Final = {
    0: "DoorLockAlarm",
    1: "DoorStateChange",
    2: "LockOperation",
    3: "LockOperationError",
    128: "Start",
    129: "Fault",
    130: "ConfigurationChange",
    131: "TimeChange",
    132: "Identify",
    133: "RecordsLost",
    134: "CommandError",
    135: "Trigger",
    136: "Service",
    137: "Update",
}
FIELDS: Final = {
    1: "kind",
    2: "time",
    3: "time_state",
    4: "reason",
    5: "operation",
    6: "source",
    7: "sub",
    8: "cti",
    9: "ref",
    10: "door_state",
    11: "alarm",
    12: "error",
    13: "kid",
    14: "count",
    15: "detail",
    16: "authentic",
    17: "lock_state",
    18: "link",
    19: "since",
    20: "range",
    21: "class",
    22: "head",
    23: "shadow",
    24: "score",
    25: "rule",
    26: "command",
    27: "sequence",
    28: "persons",
    29: "error_bound",
    30: "others",
    31: "digest",
}
CLASSES: Final = {0: "kept", 1: "routine", 2: "refused"}
RECORDS_LOST: Final = "RecordsLost"


class RecordError(ValueError):
    """The body is no record: whoever sealed it was not a lock's firmware, or a newer one."""


def decode(body: bytes) -> dict[str, Any]:
    """Return the record by field names, its kind by name where there is one. Raises RecordError."""
    try:
        record = cbor.decode(body, MAX_BODY)
    except cbor.CborError as error:
        raise RecordError(f"not CBOR: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get(1), int):
        raise RecordError("not a map with a kind")
    named = {FIELDS.get(key, str(key)): value for key, value in record.items()}
    named["kind"] = KINDS.get(record[1], str(record[1]))
    return named


def describe(sequence: int, body: bytes) -> str:
    """Return a record in a few words, for a finding about it."""
    try:
        record = decode(body)
    except RecordError:
        return f"record {sequence}"
    return f"record {sequence} ({record['kind']})"
