"""Updates: taken, staged, switched to when nobody is there. Source: SPEC.md section 20.

Answers op 9 and is a task. No flash and no chip: `parts` has them (vitrine/update_parts.py). Loaded when an update
begins, or when the power failed in one. Who may send one is update_judge's, what comes in update_intake's, what becomes
of it update_trial's.
"""

import asyncio

from micropython import const

from vitrine.access import reasons
from vitrine.access.manifest import IMAGE, Manifest, ManifestError
from vitrine.audit.record import AUTHENTIC, KID, LINK, SEQUENCE
from vitrine.door.ticks import ticks_diff

from .update_intake import Intake
from .update_judge import Judge
from .update_trial import Trial

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

_OK = const(0)  # SPEC.md section 3
_REFUSED = const(1)
_BUSY = const(2)

_IDLE = const(0)  # states, SPEC.md 20.2
_RECEIVING = const(1)
_STAGED = const(2)
_TRIAL = const(3)
_RETURNED = const(4)

_PLACE_IMAGE = const(3)  # drivers.slots.IMAGE
_ENOSPC = const(28)
_LOOK_MS = const(500)
_HOLD_MAX_MS = const(30_000)  # whoever stays in session for ever does not hold up what is written; of each
_HOLD_PERIOD_MS = const(120_000)
_BUFFER_MS = const(60_000)  # a sender that is gone does not hold 4 KB


class Update:
    """parts: slots, stage, floor; application(), image() make targets (drivers.components).

    number, image_sequence and sequence: of what runs. vendor, of_class, provision, verify_issuer; dispatch;
    battery_mv(). gate(vote) says what is wrong with a start on trial, or "". end_trial(), reset().
    """

    def __init__(self, parts) -> None:
        self._slots = parts.slots
        self._stage = parts.stage
        self._sequence = parts.sequence
        self._dispatch = parts.dispatch
        self._ticks_ms = parts.dispatch.clock.ticks_ms
        self._judge = Judge(parts)
        self._intake = Intake(parts)
        self._trial = Trial(parts)
        self._wake = asyncio.Event()
        self._reason = 0  # why the last one was let go
        self._touched_ms = self._ticks_ms()
        self._held_ms: "int | None" = None
        self._is_ready = not self._slots.trial and self._stage.manifest is None

    def answer(self, body: "Any", link: int, own: int) -> "tuple[int, Any]":
        """Return (status, body) of the answer to op 9, whose form app.updates has checked.

        own: how many of the open sessions are the asker's.
        """
        if not body or self._slots.trial:
            return _OK, self._report()
        if not self._is_ready or self._is_held(own):
            return _BUSY, None
        try:
            if 1 in body:
                return self._begin(body[1], 4 in body, link)
            return _OK, self._take(body[2], body[3])
        except MemoryError:
            self._intake.let_go()
            return _BUSY, None
        except OSError as error:
            self._drop(reasons.STORE_FULL if error.errno == _ENOSPC else reasons.FAULT)
        except ValueError:
            self._drop(reasons.NOT_FOR_THIS_BOARD)  # an image for another chip
        return _OK, self._report()

    async def run(self, vote) -> None:
        """Go on with what the power or a sender left; then finish, and switch when the moment has come. For ever."""
        if self._slots.trial:
            await self._trial.go_on(vote)
        if not self._is_ready:
            await self._take_up()
            self._is_ready = True
        intake = self._intake
        while True:
            vote()
            manifest = intake.manifest
            if manifest is not None:
                if intake.is_staged:
                    if not self._stage.is_shadow and self._trial.is_quiet():
                        self._switch(manifest)
                elif intake.is_whole:
                    await self._finish(manifest)
                elif ticks_diff(self._ticks_ms(), self._touched_ms) >= _BUFFER_MS:
                    intake.let_go()
            self._wake.clear()
            try:
                await asyncio.wait_for_ms(self._wake.wait(), _LOOK_MS)
            except asyncio.TimeoutError:
                pass

    def _begin(self, data: bytes, is_shadow: bool, link: int) -> "tuple[int, Any]":
        """Take a manifest of any bytes, or refuse it."""
        now = self._intake.manifest
        if now is not None and now.data == data:
            # verified when it came; to bring it again without that flag is to mean it, with it is not to take it back
            if self._stage.is_shadow and not is_shadow:
                self._stage.unshadow()
            return _OK, self._report()
        fields: "dict[int, Any]" = {LINK: link}
        is_authentic = False
        try:
            manifest = Manifest(data)
        except ManifestError:
            reason = reasons.COMMAND_MALFORMED
        else:
            fields[KID] = manifest.kid
            fields[SEQUENCE] = manifest.sequence
            reason, is_authentic = self._judge.decide(manifest, now.sequence if now else 0)
            if reason == reasons.GRANTED and not self._judge.has_space(manifest):
                reason = reasons.STORE_FULL
            if reason == reasons.GRANTED:
                self._intake.begin(manifest, is_shadow)
                self._touched_ms = self._ticks_ms()
                self._reason = 0
                return _OK, self._report()
        if is_authentic:
            fields[AUTHENTIC] = True
        self._trial.refuse(reason, fields)
        return _REFUSED, {5: reason} if is_authentic else {}

    def _take(self, offset: int, piece: bytes) -> "dict[int, Any]":
        """Take a piece of the stream; return the answer."""
        self._touched_ms = self._ticks_ms()
        is_good = self._intake.take(offset, piece)
        report = self._report()
        if not is_good:
            self._trial.refuse(reasons.DIGEST_MISMATCH, self._about())
            report[5] = reasons.DIGEST_MISMATCH
        if self._intake.is_whole:
            self._wake.set()
        return report

    async def _take_up(self) -> None:
        """Go on with what was under way when the power failed, if it is still wanted."""
        try:
            manifest = Manifest(self._stage.manifest or b"")
        except ManifestError:
            self._stage.end()
            return
        reason, is_authentic = self._judge.decide(manifest)
        if is_authentic and reason != reasons.SEQUENCE_STALE:
            try:
                await self._intake.take_up(manifest)
            except OSError:
                self._intake.manifest = manifest
                self._drop(reasons.FAULT)  # what is there cannot be read: it comes again
        else:
            # it was good once: it is what runs now, or what came back, or something higher was confirmed
            self._stage.end()

    async def _finish(self, manifest: Manifest) -> None:
        """All of it is there: see to it that it is what it should be, and say so."""
        try:
            reason = await self._intake.finish(manifest)
        except OSError:
            reason = reasons.FAULT
        if manifest is not self._intake.manifest:
            return
        if reason != reasons.GRANTED:
            self._drop(reason)
        elif not self._stage.is_staged:
            self._trial.record("staged", manifest.sequence, manifest.digest)
            self._stage.note()

    def _switch(self, manifest: Manifest) -> None:
        """Have it run; it may have waited for long, so it is judged once more."""
        reason, is_authentic = self._judge.decide(manifest)
        if reason == reasons.PRECONDITION_FAILED:
            return  # a battery is charged some day
        if not is_authentic or reason != reasons.GRANTED:
            self._drop(reason)
            return
        number = self._intake.target.number
        place, first = (_PLACE_IMAGE, number) if manifest.component == IMAGE else (number, manifest.size)
        self._trial.begin(place, first, manifest.sequence, manifest.digest)
        # only if the chip did not want to start it
        self._intake.clear()
        self._reason = reasons.DIGEST_MISMATCH

    def _is_held(self, own: int) -> bool:
        """Whether a person at the door comes first."""
        if self._dispatch.sessions <= own:
            return False
        now_ms = self._ticks_ms()
        since_ms = 0 if self._held_ms is None else ticks_diff(now_ms, self._held_ms)
        # not anew with each who comes: a stranger who comes again and again would have all the time there is
        if self._held_ms is None or not 0 <= since_ms < _HOLD_PERIOD_MS:
            self._held_ms = now_ms
            since_ms = 0
        return since_ms < _HOLD_MAX_MS

    def _report(self) -> "dict[int, Any]":
        intake = self._intake
        body: "dict[int, Any]" = {1: _IDLE, 3: self._sequence}
        if self._slots.trial:
            body[1] = _TRIAL
        elif intake.manifest is not None:
            body[4] = intake.manifest.sequence
            body[1] = _STAGED if intake.is_staged else _RECEIVING
            if not intake.is_staged:
                body[2] = intake.wanted
        elif not self._is_ready:
            body[1] = _RECEIVING
        elif self._slots.tried > self._sequence:
            body[1] = _RETURNED
            body[4] = self._slots.tried
        if self._reason:
            body[5] = self._reason
        return body

    def _drop(self, reason: int) -> None:
        """What is under way ends."""
        fields = self._about()
        self._reason = reason
        try:
            self._intake.end()
        except OSError:
            self._reason = reasons.FAULT  # what is left of it is looked at by the next start
        self._trial.refuse(reason, fields)

    def _about(self) -> "dict[int, Any]":
        manifest = self._intake.manifest
        return {} if manifest is None else {SEQUENCE: manifest.sequence, KID: manifest.kid}
