"""What leaves the lock, and what may be forgotten: sealed batches and their acknowledgement (SPEC.md section 9).

The same bytes go over MQTT and by courier. Nothing is released on anybody's word but the collector's, under a key of
its own; a broker or a phone that has taken a batch has released nothing.
"""

from micropython import const

from vitrine.codec import cbor

from .faults import JournalError

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from .journal import Journal

_VERSION = const(1)
_MAX_BATCH = const(4096)
MIN_BATCH = const(416)  # the longest record, the longest lock id, and all that is around them
_MAX_RECORDS = const(48)
_MAX_ACKNOWLEDGEMENT = const(32)

RELEASED = const(0)
STALE = const(1)
FORGED = const(2)
AHEAD = const(3)
UNKEPT = const(4)
SET_BACK = "journal set back"  # the Fault that AHEAD is
_AROUND = const(160)  # bytes of a batch besides its records, at most
_PER_RECORD = const(25)  # besides the body: array, number, length, tag


class Outbox:
    """Outbox(journal, lock_id). Keeps nothing that a start would have to restore."""

    def __init__(self, journal: "Journal", lock_id: str) -> None:
        self._journal = journal
        self._lock_id = lock_id
        self._has_told = False

    def follow(self, journal: "Journal") -> None:
        """Go on with the same journal, taken up again."""
        self._journal = journal

    @property
    def count(self) -> int:
        """The number of the next record."""
        return self._journal.count

    @property
    def acknowledged(self) -> int:
        """The collector has all that there is below this number."""
        return self._journal.acknowledged

    def batch(self, start: "int | None" = None, limit: int = _MAX_BATCH, is_pull: bool = False) -> "tuple[bytes, int]":
        """Return (batch, start of the next batch): the records from `start` on that fit into `limit` bytes.

        Without `start`: from the acknowledged count; so it is below that, but for a pull, which has what is still in
        the flash. When the next start is the journal's count there is no more; a batch from there is a heartbeat.
        Raises ValueError for a limit under MIN_BATCH.
        """
        if limit < MIN_BATCH:
            raise ValueError("batch limit")
        journal = self._journal
        least = 0 if is_pull else journal.acknowledged
        if start is None or not least <= start <= journal.count:
            start = journal.acknowledged
        end = journal.count
        room = min(limit, _MAX_BATCH) - _AROUND
        records: "list[list[int | bytes]]" = []
        walk = journal.unsent(start)
        while walk.step():
            room -= len(walk.body) + _PER_RECORD
            if room < 0 or len(records) == _MAX_RECORDS:
                end = walk.sequence
                break
            records.append([walk.sequence, walk.body, walk.tag])
        content = cbor.encode(
            [_VERSION, self._lock_id, journal.epoch, start, end, journal.count, journal.head, records]
        )
        return cbor.encode([content, journal.batch_tag(content)]), end

    def acknowledgement(self) -> "bytes | None":
        """Return the acknowledgement that the lock keeps, None before the first: proof of what some collector has."""
        journal = self._journal
        if not journal.acknowledged:
            return None
        return cbor.encode([_VERSION, journal.epoch, journal.acknowledged, journal.acknowledged_tag()])

    def acknowledge(self, data: bytes) -> int:
        """Take the bytes of an acknowledgement from anybody. Return RELEASED, STALE, FORGED, AHEAD or UNKEPT.

        AHEAD: the collector has records that this lock never wrote, so the lock was set back to an old image of its
        flash; to be recorded as Fault SET_BACK. Once in each start, then it is STALE. UNKEPT: the flash takes no more.
        """
        count, tag = _parse(data, self._journal.epoch)
        if count < 0 or not self._journal.is_authentic(count, tag):
            return FORGED
        if count > self._journal.count and not self._has_told:
            self._has_told = True
            return AHEAD
        if count <= self._journal.acknowledged or count > self._journal.count:
            return STALE
        try:
            self._journal.release(count, tag)
        except JournalError:
            return UNKEPT
        return RELEASED


def _parse(data: bytes, epoch: int) -> "tuple[int, bytes]":
    try:
        value = cbor.decode(data, _MAX_ACKNOWLEDGEMENT)
    except cbor.CborError:
        return -1, b""
    if not cbor.is_array(value) or len(value) != 4 or not isinstance(value[3], bytes):
        return -1, b""
    count = value[2]
    if value[:2] != [_VERSION, epoch] or not isinstance(count, int) or count is True or count is False:
        return -1, b""
    return (count, value[3]) if 0 <= count <= 0xFFFFFFFF else (-1, b"")
