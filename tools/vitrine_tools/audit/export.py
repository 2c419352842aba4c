"""Records for other programs: CloudEvents 1.0 (structured JSON, one a line) and CSV."""

import csv
import datetime
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from .query import Entry
from .sealed import Seal

COLUMNS = (
    "time",
    "lock",
    "sequence",
    "type",
    "seal",
    "person",
    "reason",
    "operation",
    "source",
    "link",
    "door_state",
    "lock_state",
    "alarm",
    "detail",
    "count",
    "token",
    "reference",
    "epoch",
)
_ENUMERATIONS = {"reason": 4, "operation": 5, "source": 6, "link": 18, "door_state": 10, "lock_state": 17, "alarm": 11}


def cloud_event(entry: Entry) -> dict[str, Any]:
    """Return one record as a CloudEvent. source and id together name it for ever: lock; epoch and sequence number."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{entry.epoch}-{entry.sequence}",
        "source": f"/vitrine/locks/{entry.lock_id}",
        "type": f"vitrine.audit.{entry.kind_name.replace(' ', '')}",
        "datacontenttype": "application/json",
        "sequence": f"{entry.sequence:010d}",  # the CloudEvents extension `sequence`: compared as text
        "seal": _seal(entry),
        "data": entry.named(),
    }
    if entry.person is not None:
        event["subject"] = entry.person
    if entry.time_s is not None:
        event["time"] = time_text(entry.time_s)
    return event


def json_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield one line for each record."""
    for entry in entries:
        yield json.dumps(cloud_event(entry), ensure_ascii=False, separators=(",", ":"))


def csv_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the header, then one line for each record (RFC 4180)."""
    yield _csv(COLUMNS)
    for entry in entries:
        row = {
            "time": time_text(entry.time_s) if entry.time_s is not None else "",
            "lock": entry.lock_id,
            "sequence": entry.sequence,
            "type": entry.kind_name,
            "seal": _seal(entry),
            "person": entry.person,
            "detail": entry.fields.get(15),
            "count": entry.fields.get(14),
            "token": _hex(entry.fields.get(8)),
            "reference": _hex(entry.fields.get(9)),
            "epoch": entry.epoch,
        } | {name: entry.word(key) for name, key in _ENUMERATIONS.items()}
        yield _csv([_harmless(row[name]) for name in COLUMNS])


def time_text(unix_s: int) -> str:
    """Return a time as RFC 3339 in UTC."""
    return datetime.datetime.fromtimestamp(unix_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seal(entry: Entry) -> str:
    return "right" if entry.seal == Seal.RIGHT else "altered"


def _hex(value: Any) -> str | None:
    return value.hex() if isinstance(value, bytes) else None


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets a quote in front: names of persons come from outside."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def _csv(row: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()
