"""Schemas of evidence: records, batches, acknowledgements (SPEC.md sections 7 and 9)."""

from typing import Final

from .. import protocol
from ..audit import sealed
from ..audit.records import CLASSES, FIELDS, KINDS
from .forms import U32, Schema, array, blob, content, either, many, numbered, record, text, whole

_LOCK_ID: Final = text(1, 32, r"^[a-z0-9-]+$", "lock id")
_SEQUENCE: Final = whole(0, U32, "sequence number")
_BOOL: Final[Schema] = {"type": "boolean"}

# by key of SPEC.md section 7, as the lock bounds what it writes
_VALUES: Final[dict[int, Schema]] = {
    1: numbered(KINDS),
    2: whole(),
    3: numbered(dict(enumerate(protocol.TIME_STATES))),
    4: whole(0, 255),
    5: whole(0, 255),
    6: whole(0, 255),
    7: blob(1, 16),
    8: blob(1, 16),
    9: blob(1, 32),
    10: whole(0, 255),
    11: whole(0, 255),
    12: whole(0, 255),
    13: blob(8),
    14: whole(),
    15: text(0, 32),
    16: _BOOL,
    17: whole(0, 255),
    18: whole(0, 255),
    19: whole(),
    20: array(whole(), whole()),
    21: numbered(CLASSES),
    22: blob(sealed.HEAD_SIZE),
    23: _BOOL,
    24: whole(0, 100),
    25: text(1, 16),
    26: blob(8, 16),
    27: whole(),
    28: whole(2, 3),
    29: whole(),
    30: many(blob(1, 16), 1, 2),
    31: blob(32),
}


def audit_record() -> Schema:
    """Return the schema of one record's body."""
    values = {key: {"title": FIELDS[key], **value} for key, value in _VALUES.items()}
    return record(values, (1, 2, 3), "Audit record")


def batch() -> Schema:
    """Return the schema of a sealed batch."""
    return array(
        content(1, sealed.MAX_BATCH, "batch-content", "content"),
        blob(sealed.TAG_SIZE, title="tag over the content"),
        title="Sealed batch of records",
    )


def batch_content() -> Schema:
    """Return the schema of what a batch's tag is over."""
    row = array(
        _SEQUENCE,
        content(1, sealed.MAX_BODY, "record", "body"),
        blob(sealed.TAG_SIZE, title="tag over number and body"),
    )
    return array(
        {"title": "version", "const": sealed.VERSION},
        _LOCK_ID,
        whole(title="epoch"),
        whole(title="from"),
        whole(title="to, excluded"),
        whole(title="count of the journal"),
        blob(sealed.HEAD_SIZE, title="head at that count"),
        many(row, 0, sealed.MAX_RECORDS, "records"),
        title="Content of a sealed batch",
    )


def acknowledgement() -> Schema:
    """Return the schema of a collector's acknowledgement."""
    return array(
        {"title": "version", "const": sealed.VERSION},
        whole(title="epoch"),
        whole(title="count below which all is stored"),
        blob(sealed.TAG_SIZE, title="tag"),
        title="Acknowledgement of a collector",
    )


def journal() -> Schema:
    """Return the schema of what a lock sends to its collector."""
    return either(batch(), acknowledgement(), title="What a lock tells its collector")
