"""The collector without a broker: a courier's bag in, its acknowledgements out (SPEC.md 3.2)."""

from dataclasses import dataclass
from pathlib import Path

from .. import courier
from ..errors import ToolError
from .intake import Intake, Message, Refused
from .store import StoreTrouble


@dataclass(frozen=True, slots=True)
class Emptied:
    """What came of a bag."""

    stored: int
    repeated: int
    refused: tuple[str, ...]
    findings: tuple[str, ...]
    acknowledged: tuple[str, ...]


def empty(path: Path, intake: Intake) -> Emptied:
    """Store what a bag holds, then replace it by the acknowledgements; ToolError if it could not be stored.

    What was refused stays in the bag: its key may only be in another escrow.
    """
    items = courier.load(path)
    if not items:
        raise ToolError(f"there is nothing in {path}: fill it with `vitrine unlock --courier {path}`")
    proven, left, refused = [], [], []
    for item in items:
        try:
            proven.append(intake.judge(Message(item.lock_id, item.message)))
        except Refused as refusal:
            left.append(item)
            refused.append(f"{item.lock_id}: {refusal}")
    try:
        answers, findings = intake.store(proven) if proven else ([], [])
    except StoreTrouble as trouble:
        raise ToolError(f"the database does not take it: {trouble}; {path} is as it was") from None
    courier.save(path, left + [courier.Item(lock_id, message) for lock_id, message in answers])
    return Emptied(intake.new, intake.repeated, tuple(refused), tuple(findings), tuple(lock for lock, _ in answers))
