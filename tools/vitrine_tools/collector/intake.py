"""From a message to evidence: what a stranger's bytes are worth, and what goes back (SPEC.md 10.2)."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from .. import names
from ..audit import sealed
from ..errors import ToolError
from .escrow import Escrow
from .store import Covered, Store, Verified

AHEAD_MAX: Final = 4_000_000  # numbers beyond the last authentic one: their keys take seconds to make, once


class Refused(Exception):
    """A message that is neither stored nor acknowledged; the text says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """What came in: from which lock the carrier says, and the bytes."""

    lock_id: str
    data: bytes


class Intake:
    """Intake(escrow, store): judges messages and stores what is authentic. For one thread."""

    def __init__(self, escrow: Escrow, store: Store) -> None:
        self._escrow = escrow
        self._store = store
        self._reached: dict[tuple[str, int], int] = {}  # the highest authentic number of each journal
        self.refused: Counter[str] = Counter()  # by what was wrong, without what a stranger wrote
        self.new = 0
        self.repeated = 0

    def judge(self, message: Message) -> Verified | Covered:
        """Return what the message proves; Refused if nothing."""
        try:
            names.check_lock_id(message.lock_id)
            read = sealed.read(message.data)
            if isinstance(read, sealed.Acknowledgement):
                return self._judge_acknowledgement(message.lock_id, read)
            return self._judge_batch(message.lock_id, read)
        except sealed.SealError as error:
            self.refused["unsealed" if isinstance(error, sealed.Unsealed) else "malformed or forged"] += 1
            raise Refused(str(error)) from None
        except ToolError as error:
            # a topic of no lock, or a key file that is damaged: no reason to stop for all the others
            self.refused["unknown"] += 1
            raise Refused(str(error)) from None

    def store(self, proven: list[Verified | Covered]) -> tuple[list[tuple[str, bytes]], list[str]]:
        """Store what was proven; return (acknowledgements by lock, findings in words). StoreTrouble if not stored."""
        outcome = self._store.add(proven)
        self.new += outcome.new
        self.repeated += outcome.repeated
        answers = []
        for (lock_id, epoch), covered in outcome.covered.items():
            keys = self._escrow.of(lock_id, epoch)
            if covered and keys is not None:
                answers.append((lock_id, sealed.acknowledge(keys, covered).to_bytes()))
        return answers, outcome.findings or []

    def _judge_batch(self, lock_id: str, batch: sealed.Batch) -> Verified:
        if batch.lock_id != lock_id:
            self.refused["foreign"] += 1
            raise Refused(f"it is from {batch.lock_id}")
        keys = self._known(lock_id, batch.epoch)
        self._check_reach(keys, batch.count)
        records = sealed.open_batch(batch, keys)
        self._reached[lock_id, batch.epoch] = max(batch.count, self._reached.get((lock_id, batch.epoch), 0))
        return Verified(batch, records)

    def _judge_acknowledgement(self, lock_id: str, acknowledgement: sealed.Acknowledgement) -> Covered:
        keys = self._known(lock_id, acknowledgement.epoch)
        if not sealed.is_authentic(acknowledgement, keys):
            raise sealed.SealError("an acknowledgement that no collector made")
        return Covered(lock_id, acknowledgement.epoch, acknowledgement.count)

    def _known(self, lock_id: str, epoch: int) -> sealed.Keys:
        keys = self._escrow.of(lock_id, epoch)
        if keys is None:
            self.refused["unknown"] += 1
            raise Refused(f"no root key is escrowed for its journal of epoch {epoch}")
        return keys

    def _check_reach(self, keys: sealed.Keys, count: int) -> None:
        if count - self._reached.get((keys.lock_id, keys.epoch), 0) > AHEAD_MAX:
            raise sealed.SealError(f"it claims {count} records, more than can be")
