"""What a collector's store holds, as a person asks for it: by lock, time, person and type."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from .. import protocol
from ..collector.store import Store, as_bytes, fields_of, journals, records
from ..errors import ToolError
from . import records as records_
from .sealed import Seal

_PERSON = 7
_OTHERS = 30
# Matter DoorLock (cluster 0x0101), and ours (SPEC.md section 7)
_WORDS = {
    3: dict(enumerate(protocol.TIME_STATES)),
    4: {reason.value: reason.name for reason in protocol.Reason},
    5: {0: "Lock", 1: "Unlock", 128: "Hold", 129: "Courier", 130: "Service", 131: "Test"},
    6: {1: "Manual", 4: "Auto", 5: "Button", 7: "Remote"},
    10: dict(enumerate(protocol.DOOR_STATES)),
    11: {
        **protocol.ALARMS,
        1: "LockFactoryReset",
        3: "LockRadioPowerCycled",
        4: "WrongCodeEntryLimit",
        8: "ForcedUser",
    },
    12: {0: "Unspecified", 1: "InvalidCredential", 2: "DisabledUserDenied", 3: "Restricted", 4: "InsufficientBattery"},
    17: dict(enumerate(protocol.LOCK_STATES)),
    18: {0: "none", 1: "BLE", 2: "HTTP", 3: "MQTT", 4: "console"},
    21: records_.CLASSES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which records: all that is None or empty does not matter. Times in Unix seconds, `until_s` excluded."""

    locks: tuple[str, ...] = ()
    since_s: int | None = None
    until_s: int | None = None
    person: bytes | None = None
    kinds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One stored record."""

    lock_id: str
    epoch: int
    sequence: int
    seal: Seal
    received_s: int
    body: bytes

    @cached_property
    def fields(self) -> dict[Any, Any]:
        """What the body says, by the keys of SPEC.md section 7; empty if it cannot be read."""
        return fields_of(self.body)

    @property
    def is_right(self) -> bool:
        """Whether its seal fits its content."""
        return self.seal == Seal.RIGHT

    @property
    def time_s(self) -> int | None:
        """When it happened, as the lock believed."""
        value = self.fields.get(2)
        return value if type(value) is int and 0 <= value <= 0xFFFFFFFF else None

    @property
    def kind_name(self) -> str:
        kind = self.fields.get(1)
        return records_.KINDS.get(kind, f"kind {kind}") if type(kind) is int else "unreadable"

    @property
    def person(self) -> str | None:
        value = self.fields.get(_PERSON)
        return person_text(value) if isinstance(value, bytes) else None

    def word(self, key: int) -> str | None:
        """Return the value of an enumeration by its standard name, or its number if this version does not know it."""
        value = self.fields.get(key)
        return None if value is None else _WORDS.get(key, {}).get(value, str(value))

    def named(self) -> dict[str, Any]:
        """Return the record with names for keys and enumerations, bytes in hexadecimal."""
        return {records_.FIELDS.get(key, str(key)): self._plain(key) for key in self.fields if key not in (1, 2)}

    def _plain(self, key: Any) -> Any:
        value = self.fields[key]
        if key == _PERSON and isinstance(value, bytes):
            return person_text(value)
        if key == _OTHERS:
            return [person_text(sub) if isinstance(sub, bytes) else sub for sub in value]
        if isinstance(value, bytes):
            return value.hex()
        return self.word(key) if key in _WORDS and type(value) is int else value


def person_text(pseudonym: bytes) -> str:
    """Return a pseudonym as text if it is printable ASCII, else as hex:..; `output.parse_opaque` reads both."""
    text = pseudonym.decode("ascii", "replace")
    return text if text.isascii() and text.isprintable() and not text.startswith("hex:") else f"hex:{pseudonym.hex()}"


def parse_kind(text: str) -> int:
    """Return the number of a kind of record by its name, in any case; ToolError lists them."""
    for number, name in records_.KINDS.items():
        if name.lower() == text.lower():
            return number
    raise ToolError(f"{text!r} is no type of record: use one of {', '.join(records_.KINDS.values())}")


def select(store: Store, wanted: Filter, *, last: int | None = None) -> Iterator[Entry]:
    """Yield the records that `wanted` asks for, in order of time; the `last` ones if there are more."""
    order = (records.c.time_s, journals.c.lock, records.c.journal, records.c.sequence)
    query = _all(*_conditions(wanted))
    with store.engine.connect() as connection:
        if last is not None:
            rows = list(connection.execute(query.order_by(*(column.desc() for column in order)).limit(last)))[::-1]
        else:
            rows = connection.execution_options(yield_per=1000).execute(query.order_by(*order))
        for row in rows:
            yield _entry(row)


def one(store: Store, lock_id: str, sequence: int, epoch: int | None = None) -> Entry | None:
    """Return one record, of the lock's latest journal if no epoch is named; None if it is not there."""
    conditions = [journals.c.lock == lock_id, records.c.sequence == sequence]
    if epoch is not None:
        conditions.append(journals.c.epoch == epoch)
    with store.engine.connect() as connection:
        row = connection.execute(_all(*conditions).order_by(journals.c.epoch.desc()).limit(1)).one_or_none()
    return None if row is None else _entry(row)


def _all(*conditions: Any) -> sa.Select[Any]:
    return (
        sa.select(journals.c.lock, journals.c.epoch, records)
        .join_from(records, journals, records.c.journal == journals.c.id)
        .where(*conditions)
    )


def _entry(row: Any) -> Entry:
    return Entry(row.lock, row.epoch, row.sequence, Seal(row.seal), row.received_s, as_bytes(row.body))


def _conditions(wanted: Filter) -> list[Any]:
    conditions = []
    if wanted.locks:
        conditions.append(journals.c.lock.in_(wanted.locks))
    if wanted.since_s is not None:
        conditions.append(records.c.time_s >= wanted.since_s)
    if wanted.until_s is not None:
        conditions.append(records.c.time_s < wanted.until_s)
    if wanted.person is not None:
        conditions.append(records.c.person == wanted.person.hex())
    if wanted.kinds:
        conditions.append(records.c.kind.in_(wanted.kinds))
    return conditions
