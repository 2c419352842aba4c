"""All records that a lock still has, fetched by a technician: more than a collector wants, and nothing is released.

The file is a courier's (SPEC.md 3.2), so that a collector takes it as well. What was fetched before a cable was pulled
or a phone went out of reach is kept: the next try goes on behind it.
"""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .. import courier
from ..audit import seal, sealed
from ..audit.seal import Finding, Witness
from ..courier import Item
from ..errors import LinkError, ToolError
from ..phone import Phone
from ..protocol import Op, ProtocolError, Status
from .console_link import ConsolePhone

VISIT_S: Final = 12.0  # a lock ends a connection after 15 s; over the wire the next one begins by itself
_TRIES: Final = 4  # connections in a row that brought nothing

Connect = Callable[[], AbstractAsyncContextManager[Phone]]  # with service granted
Progress = Callable[[int, int], object]  # numbers so far, and in all


class PullError(ToolError):
    """What the lock hands over does not go together with what is in the file."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What is here of one journal: its batches in order, and up to which number a collector has all."""

    lock_id: str
    epoch: int
    batches: tuple[sealed.Batch, ...]
    acknowledgement: sealed.Acknowledgement | None
    is_complete: bool

    @property
    def count(self) -> int:
        """Every number below is here, or the lock has it no more."""
        return self.batches[-1].to if self.batches else 0


class Puller:
    """Puller(path).pull(...) fills the file; `progress` is told after each batch."""

    def __init__(self, path: Path, progress: Progress = lambda done, of: None) -> None:
        self._path = path
        self._bag = courier.load(path)
        self._progress = progress

    async def pull(self, connect: Connect) -> Pulled:
        """Fetch what is missing, over as many connections as that takes. LinkError if none brings anything."""
        idle = 0
        while True:
            before = len(self._bag)
            try:
                async with connect() as phone:
                    done = await self._visit(phone)
                    if done is not None:
                        return done
            except LinkError:
                if idle + 1 >= _TRIES:
                    raise
            finally:
                if len(self._bag) > before:
                    courier.save(self._path, self._bag)
            idle = 0 if len(self._bag) > before else idle + 1
            if idle >= _TRIES:
                raise LinkError("connection after connection brings no record")

    async def _visit(self, phone: Phone) -> Pulled | None:
        """Fetch during one connection; return None if there is more."""
        end_s = None if isinstance(phone, ConsolePhone) else time.monotonic() + VISIT_S
        now, _, kept = await self._ask(phone, {1: None})
        batches = self._known(phone.lock_id, now.epoch)
        if kept is not None and Item(phone.lock_id, kept) not in self._bag:
            self._bag.append(Item(phone.lock_id, kept))
        start = batches[-1].to if batches else 0
        while True:
            batch, message, _ = await self._ask(phone, {3: start})
            if batch.epoch != now.epoch or batch.first != start:
                raise PullError(
                    f"{phone.lock_id} has no record {start} and never had: it was set back, or {self._path} is not its"
                )
            if not batch.is_heartbeat:
                self._bag.append(Item(phone.lock_id, message))
            self._progress(batch.to, batch.count)
            if batch.to >= batch.count:
                return read(self._bag, phone.lock_id, batch.epoch, is_complete=True)
            if batch.to <= start:
                raise ProtocolError("the lock hands over the same records again and again")
            start = batch.to
            if end_s is not None and time.monotonic() >= end_s:
                return None

    def _known(self, lock_id: str, epoch: int) -> tuple[sealed.Batch, ...]:
        others = {each.epoch for item in self._bag if item.lock_id == lock_id and (each := _batch(item))} - {epoch}
        if others:
            raise PullError(f"{self._path} holds another journal of {lock_id}: it was provisioned anew; use a new file")
        return read(self._bag, lock_id, epoch).batches

    async def _ask(self, phone: Phone, body: dict[int, int | None]) -> tuple[sealed.Batch, bytes, bytes | None]:
        status, answer = await phone.ask(Op.COURIER, body)
        message = answer.get(1) if isinstance(answer, dict) else None
        if status != Status.OK or not isinstance(message, bytes):
            raise ToolError(f"{phone.lock_id} hands out no records: has it a journal? `vitrine doctor` tells")
        try:
            batch = sealed.read(message)
        except sealed.SealError as error:
            raise ProtocolError(f"what the lock handed over is no batch: {error}") from None
        if not isinstance(batch, sealed.Batch) or batch.lock_id != phone.lock_id:
            raise ProtocolError("the lock handed over another lock's records")
        kept = answer.get(2)
        return batch, message, kept if isinstance(kept, bytes) else None


def read(bag: list[Item], lock_id: str, epoch: int, *, is_complete: bool = False) -> Pulled:
    """Return what a bag holds of a journal from number 0 on without a gap; later batches in it are left out."""
    batches: list[sealed.Batch] = []
    acknowledgement = None
    known = [batch for item in bag if item.lock_id == lock_id and (batch := _batch(item)) and batch.epoch == epoch]
    for batch in sorted(known, key=lambda batch: (batch.first, batch.to)):
        if batch.first == (batches[-1].to if batches else 0) and not batch.is_heartbeat:
            batches.append(batch)
    for item in bag:
        each = _read(item) if item.lock_id == lock_id else None
        if isinstance(each, sealed.Acknowledgement) and each.epoch == epoch:
            acknowledgement = max(each, acknowledgement or each, key=lambda one: one.count)
    return Pulled(lock_id, epoch, tuple(batches), acknowledgement, is_complete)


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict of the root key. `collected`: below it nothing is missed; `absent`: numbers there that are gone."""

    records: tuple[sealed.Record, ...]
    proved: int
    collected: int
    absent: int
    findings: tuple[Finding, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing shows tampering or damage."""
        return all(finding.is_harmless for finding in self.findings)


def judge(pulled: Pulled, keys: sealed.Keys) -> Judged:
    """Check every seal, number and head; PullError if a batch is not from the lock at all."""
    collected = 0
    if pulled.acknowledgement is not None and sealed.is_authentic(pulled.acknowledgement, keys):
        collected = min(pulled.acknowledgement.count, pulled.count)
    trail: list[sealed.Record] = []
    try:
        for batch in pulled.batches:
            trail += sealed.open_batch(batch, keys)
    except sealed.SealError as error:
        raise PullError(f"what was fetched is not from {pulled.lock_id}, or was altered on its way: {error}") from None
    witnesses = [Witness(batch.count, batch.head) for batch in pulled.batches if batch.count <= pulled.count]
    verdict = seal.verify(keys, trail, count=pulled.count, start=collected, witnesses=witnesses)
    absent = collected - sum(record.sequence < collected for record in trail)
    return Judged(tuple(trail), len(verdict.records), collected, absent, tuple(verdict.findings))


def _read(item: Item) -> sealed.Batch | sealed.Acknowledgement | None:
    try:
        return sealed.read(item.message)
    except sealed.SealError:
        return None


def _batch(item: Item) -> sealed.Batch | None:
    read_ = _read(item)
    return read_ if isinstance(read_, sealed.Batch) else None
