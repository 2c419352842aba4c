"""The trial of an update: begun by a restart, and ended by the lock itself, one way or the other. Source: SPEC.md 20.3.

Each step is one write, durable before the next. Where the power fails between two, the next start finds out here, or in
boot.py, what was done; it never runs what is not whole, nor leaves what was confirmed.
"""

import asyncio

from micropython import const

from vitrine.access import reasons
from vitrine.audit.record import DETAIL, DETAIL_MAX, FAULT, REASON, SEQUENCE

_IMAGE = const(3)  # drivers.slots.IMAGE
_STARTS = const(3)
_LOOK_MS = const(500)
_LOCKED = const(1)  # Matter DlLockState
_CLOSED = const(1)  # Matter DoorStateEnum
_RECORD = const(137)  # SPEC.md section 7: the kind, and the key of the digest
_DIGEST = const(31)


class Trial:
    """parts: as of app.update.Update."""

    def __init__(self, parts) -> None:
        self._parts = parts
        self._slots = parts.slots
        self._dispatch = parts.dispatch
        self._is_first = False  # this start is the first of an image on trial, whatever has ended its task since

    def begin(self, place: int, first: int, sequence: int, digest: bytes) -> None:
        """Have what is staged run from the next start on, which is now. Does not return if all goes well.

        place: A, B or IMAGE; first: the bundle's size, or the image's address.
        """
        slots = self._slots
        slots.rows[place - 1] = first, sequence, digest
        slots.trial = place
        slots.starts = _STARTS + (place == _IMAGE)  # 0 means of an image that its trial has begun
        slots.tried = sequence
        slots.save()
        self._parts.stage.end()
        if place == _IMAGE:
            self._start_image()
        else:
            self._parts.reset()

    async def go_on(self, vote) -> None:
        """There is a trial: pass it, end it, or begin it where the power failed before."""
        slots = self._slots
        place = slots.trial
        row = slots.rows[place - 1]
        is_running = self._parts.number == place
        if place == _IMAGE:
            is_running = self._parts.image().is_running(row[0])
            if not is_running and slots.starts > 1:
                # it never ran, or never came so far
                while not self.is_quiet():
                    vote()
                    await asyncio.sleep_ms(_LOOK_MS)
                self._start_image()
                return
            if is_running and not slots.starts and not self._is_first:
                # its second start: the chip would not have made it had it not passed
                self._confirm(place, row)
                return
            if is_running:
                self._is_first = True
                slots.starts = 0
                slots.save()
        if not is_running:
            self.record("returned", row[1], row[2])
            slots.trial = 0
            slots.save()
            return
        evidence = self._dispatch.evidence
        count = evidence.count
        self.record("installed", row[1], row[2])
        if self._parts.sequence != row[1]:
            failure = "sequence"
        elif evidence.count == count:
            failure = "journal"  # it has not come in
        else:
            try:
                failure = await self._parts.gate(vote)
            except Exception as error:  # noqa: BLE001
                failure = type(error).__name__  # what it looks at is broken, or it is
        if failure:
            evidence.record(FAULT, {DETAIL: ("update:" + failure)[:DETAIL_MAX]})
            slots.starts = 0
            slots.save()
            self._parts.reset()
        else:
            self._confirm(place, row)

    def is_quiet(self) -> bool:
        """Whether nobody is there who would notice a restart."""
        dispatch = self._dispatch
        door = dispatch.lock
        if dispatch.is_busy() or dispatch.is_in_service():
            return False
        return door.lock_state == _LOCKED and door.door_state == _CLOSED

    def record(self, what: str, sequence: int, digest: bytes) -> None:
        """Put a step on record."""
        self._dispatch.evidence.record(_RECORD, {DETAIL: what, SEQUENCE: sequence, _DIGEST: digest})

    def refuse(self, reason: int, fields) -> None:
        """Put a refusal on record: a flood of them is folded."""
        fields[REASON] = reason
        fields[DETAIL] = "refused"
        self._dispatch.evidence.record(_RECORD, fields)

    def _confirm(self, place: int, row) -> None:
        """It stays. What makes it stay is durable first; the rest follows from it at the next start."""
        slots, floor = self._slots, self._parts.floor
        if place == _IMAGE:
            self._parts.image().keep()
        floor.save(max(row[1], floor.load() or 0))
        slots.active = 0 if place == _IMAGE else place
        slots.trial = 0
        slots.save()
        self._parts.end_trial()
        self.record("confirmed", row[1], row[2])

    def _start_image(self) -> None:
        """Have the chip start the image, which costs one of its starts."""
        slots = self._slots
        slots.starts -= 1
        slots.save()
        try:
            self._parts.image().start()
        except OSError:
            slots.trial = 0  # the chip says that it is none
            slots.save()
            self.refuse(reasons.DIGEST_MISMATCH, {SEQUENCE: slots.tried})
            return
        self._parts.reset()
