"""Updates: judged, received block by block, staged, switched to, confirmed or returned from. Source: SPEC.md 20.

Owns the order of all that. No flash and no chip: `parts` has them (vitrine/update_parts.py). Loaded when an update
begins, or when the power failed in one. What is said here of the power holds at every operation on the flash: what runs
is whole and was confirmed, or is on trial; what was written stays, and is looked at again.
"""

import asyncio
from hashlib import sha256

from micropython import const

from vitrine.access import reasons
from vitrine.access.manifest import BATTERY, IMAGE, IMAGE_SEQUENCE, RUNNING, Manifest, ManifestError
from vitrine.access.scopes import UPDATE
from vitrine.audit.record import AUTHENTIC, DETAIL, DETAIL_MAX, FAULT, KID, LINK, REASON, SEQUENCE
from vitrine.crypto.ed25519 import DENY, GRANT
from vitrine.door.ticks import ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

_OK = const(0)  # SPEC.md section 3
_REFUSED = const(1)
_BUSY = const(2)
_RECORD = const(137)  # SPEC.md section 7: the kind, and the key of the digest
_DIGEST = const(31)

_IDLE = const(0)
_RECEIVING = const(1)
_STAGED = const(2)
_TRIAL = const(3)
_RETURNED = const(4)

_SLOT_IMAGE = const(3)  # drivers.slots.IMAGE
_STARTS = const(3)
_BLOCK = const(4096)
_CHECK = const(16)  # bytes of a block's digest
_ALL_BITS = const(0x3FFFFFFF)
_ENOSPC = const(28)
_LOCKED = const(1)  # Matter DlLockState
_CLOSED = const(1)  # Matter DoorStateEnum

_LOOK_MS = const(500)
_HOLD_MAX_MS = const(30_000)  # whoever stays in session for ever does not hold up what is written
_BUFFER_MS = const(60_000)  # a sender that is gone does not hold 4 KB
_JUNK_MS = const(2_000)  # of manifests that are refused, one in this time is verified, so that its signer is told why


class Update:
    """Answers op 9 and is a task. parts: as vitrine/update_parts.py makes it.

    Of parts: slots, stage, floor; application(), image() make targets (drivers.components); number, image_sequence and
    sequence of what runs; vendor, of_class; provision, verify_issuer; dispatch; battery_mv(); gate(vote) says what is
    wrong with a start on trial, or ""; end_trial(), reset().
    """

    def __init__(self, parts) -> None:
        self._parts = parts
        self._slots = parts.slots
        self._stage = parts.stage
        self._dispatch = parts.dispatch
        self._ticks_ms = parts.dispatch.clock.ticks_ms
        self._wake = asyncio.Event()
        self._manifest: "Manifest | None" = None
        self._target: "Any" = None
        self._wanted = 0
        self._is_staged = False
        self._reason = 0  # why the last one was let go
        self._buffer: "Any" = None
        self._filled = 0
        self._touched_ms = self._ticks_ms()
        self._held_ms: "int | None" = None
        self._junk_ms: "int | None" = None
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
            self._let_go_buffer()
            return _BUSY, None
        except OSError as error:
            self._drop(reasons.STORE_FULL if error.errno == _ENOSPC else reasons.FAULT)
        except ValueError:
            self._drop(reasons.NOT_FOR_THIS_BOARD)  # an image for another chip
        return _OK, self._report()

    async def run(self, vote) -> None:
        """Go on with what the power or a sender left; then finish, and switch when the moment has come. For ever."""
        if self._slots.trial:
            await self._go_on_trial(vote)
        if not self._is_ready:
            await self._take_up()
            self._is_ready = True
        while True:
            vote()
            manifest = self._manifest
            if manifest is not None:
                if not self._is_staged and self._wanted == manifest.table_size + manifest.size:
                    await self._finish(manifest)
                elif self._is_staged and not self._stage.is_shadow and self._is_quiet():
                    self._switch(manifest)
                elif self._buffer and ticks_diff(self._ticks_ms(), self._touched_ms) >= _BUFFER_MS:
                    self._let_go_buffer()
            self._wake.clear()
            try:
                await asyncio.wait_for_ms(self._wake.wait(), _LOOK_MS)
            except asyncio.TimeoutError:
                pass

    # --- manifests ---

    def _begin(self, data: bytes, is_shadow: bool, link: int) -> "tuple[int, Any]":
        """Take a manifest of any bytes, or refuse it."""
        now = self._manifest
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
            reason, is_authentic = self._decide(manifest)
            if reason == reasons.GRANTED:
                self._clear()
                self._target = self._new_target(manifest)
                self._target.clear()
                self._stage.begin(data, is_shadow)
                self._manifest = manifest
                self._reason = 0
                return _OK, self._report()
        if is_authentic:
            fields[AUTHENTIC] = True
        self._refuse(reason, fields)
        return _REFUSED, {5: reason} if is_authentic else {}

    def _decide(self, manifest: Manifest) -> "tuple[int, bool]":
        """Return (GRANTED or why not, whether its signature is good)."""
        issuer = self._issuer(manifest.kid)
        if issuer is None:
            return reasons.ISSUER_UNKNOWN, False
        reason = self._judge(manifest, issuer)
        if reason == reasons.GRANTED and self._manifest and manifest.sequence <= self._manifest.sequence:
            reason = reasons.SEQUENCE_STALE
        if reason not in (reasons.GRANTED, reasons.SEQUENCE_STALE, reasons.PRECONDITION_FAILED):
            return reason, False
        if reason != reasons.GRANTED:
            now_ms = self._ticks_ms()
            if self._junk_ms is not None and 0 <= ticks_diff(now_ms, self._junk_ms) < _JUNK_MS:
                return reason, False
            self._junk_ms = now_ms
        verdict = self._parts.verify_issuer(issuer, manifest.message(), manifest.signature)
        if verdict != GRANT or (verdict ^ DENY) != _ALL_BITS:
            return reason or reasons.COMMAND_FORGED, False
        return reason, True

    def _judge(self, manifest: Manifest, issuer) -> int:
        """Return GRANTED or why this lock does not take it now; its signature is not looked at."""
        parts = self._parts
        if not issuer.scopes & UPDATE:
            return reasons.SCOPE_NOT_ALLOWED
        provision = parts.provision
        ours = [each for each in [provision.lock_id] + provision.groups if each in issuer.audiences]
        if not ours or (manifest.audiences and not any([each in ours for each in manifest.audiences])):
            return reasons.AUDIENCE_MISMATCH
        if manifest.vendor != parts.vendor or manifest.of_class != parts.of_class:
            return reasons.NOT_FOR_THIS_BOARD
        if manifest.component == IMAGE:
            try:
                if manifest.size > parts.image().size:
                    return reasons.NOT_FOR_THIS_BOARD
            except OSError:
                return reasons.NOT_FOR_THIS_BOARD
        if manifest.sequence <= self._lowest():
            return reasons.SEQUENCE_STALE
        battery_mv = parts.battery_mv()
        for key, least in manifest.preconditions.items():
            # a lock that measures no battery has none that could run down
            if key == BATTERY and (battery_mv is None or battery_mv >= least):
                continue
            if key == RUNNING and parts.sequence >= least:
                continue
            if key != IMAGE_SEQUENCE or parts.image_sequence < least:
                return reasons.PRECONDITION_FAILED
        return reasons.GRANTED

    def _lowest(self) -> int:
        """Return the sequence at and below which nothing is taken: confirmed, running, or tried before."""
        slots = self._slots
        floor = self._parts.floor.load() or 0
        return max(floor, self._parts.sequence, slots.tried, slots.sequence(slots.active))

    def _issuer(self, kid: bytes) -> "Any":
        provision = self._parts.provision
        for issuer in provision.issuers if provision else ():
            if issuer.kid == kid:
                return issuer
        return None

    # --- the stream ---

    def _take(self, offset: int, piece: bytes) -> "dict[int, Any]":
        """Take a piece of the stream; return the answer."""
        manifest = self._manifest
        if manifest is None or self._is_staged or offset != self._wanted:
            return self._report()
        self._touched_ms = self._ticks_ms()
        at = 0
        while at < len(piece) and self._wanted < manifest.table_size + manifest.size:
            if self._wanted < manifest.table_size:
                part = piece[: manifest.table_size - self._wanted]
                self._stage.add(part)
                taken = len(part)
                is_good = self._wanted + taken < manifest.table_size or self._stage.table_digest() == manifest.table
                self._wanted += taken
                if not is_good:
                    self._stage.begin(manifest.data, self._stage.is_shadow)
                    self._wanted = 0
            else:
                taken, is_good = self._fill(manifest, memoryview(piece)[at:])
            if not is_good:
                fields = {SEQUENCE: manifest.sequence, KID: manifest.kid}
                self._refuse(reasons.DIGEST_MISMATCH, fields)
                report = self._report()
                report[5] = reasons.DIGEST_MISMATCH
                return report
            at += taken
        if self._wanted == manifest.table_size + manifest.size:
            self._buffer = None
            self._wake.set()
        return self._report()

    def _fill(self, manifest: Manifest, piece) -> "tuple[int, bool]":
        """Add to the block that comes in, and write it when it is whole; return (bytes taken, whether all is well)."""
        number = (self._wanted - manifest.table_size) // _BLOCK
        size = manifest.block_size(number)
        if self._buffer is None:
            self._buffer = bytearray(_BLOCK)
            self._filled = 0
        taken = min(len(piece), size - self._filled)
        self._buffer[self._filled : self._filled + taken] = piece[:taken]
        self._filled += taken
        self._wanted += taken
        if self._filled < size:
            return taken, True
        block = memoryview(self._buffer)[:size]
        self._filled = 0
        check = self._stage.block_digest(number)
        is_good = sha256(block).digest()[:_CHECK] == check
        if is_good:
            self._target.write(number, block)
            is_good = self._is_there(number, size)
        if not is_good:
            self._wanted -= size
        return taken, is_good

    def _is_there(self, number: int, size: int) -> bool:
        """Read a block back."""
        digest = sha256()
        for piece in self._target.read(number, size):
            digest.update(piece)
        return digest.digest()[:_CHECK] == self._stage.block_digest(number)

    def _let_go_buffer(self) -> None:
        """Give the memory back; the block that was coming in begins anew."""
        self._buffer = None
        if self._manifest is not None and self._wanted > self._manifest.table_size:
            self._wanted -= self._filled
        self._filled = 0

    # --- what the task does ---

    async def _take_up(self) -> None:
        """Go on with what was under way when the power failed: all of it is looked at again."""
        try:
            manifest = Manifest(self._stage.manifest or b"")
        except ManifestError:
            self._stage.end()
            return
        reason, _ = self._decide(manifest)
        if reason not in (reasons.GRANTED, reasons.PRECONDITION_FAILED):
            # it was good once: it is what runs now, or something higher was confirmed meanwhile
            self._stage.end()
            return
        self._target = target = self._new_target(manifest)
        self._wanted = 0
        size = self._stage.table_size
        if size > manifest.table_size or (size == manifest.table_size and self._stage.table_digest() != manifest.table):
            self._stage.begin(manifest.data, self._stage.is_shadow)
        elif size < manifest.table_size:
            self._wanted = size
        else:
            number = 0
            while number < min(manifest.blocks, target.count()):
                if not self._is_there(number, manifest.block_size(number)):
                    break
                number += 1
                await asyncio.sleep_ms(0)
            number = target.cut(number)
            self._wanted = manifest.table_size + min(manifest.size, number * _BLOCK)
        self._manifest = manifest

    async def _finish(self, manifest: Manifest) -> None:
        """All blocks are there: read the whole back, look at its form, and say that it is staged."""
        digest = sha256()
        try:
            for number in range(manifest.blocks):
                for piece in self._target.read(number, manifest.block_size(number)):
                    digest.update(piece)
                await asyncio.sleep_ms(0)
            reason = reasons.GRANTED if digest.digest() == manifest.digest else reasons.DIGEST_MISMATCH
            if reason == reasons.GRANTED:
                for _ in self._target.check(manifest.size, manifest.sequence):
                    await asyncio.sleep_ms(0)
                self._target.finish()
        except ValueError as error:
            is_foreign = getattr(error, "is_foreign", False)
            reason = reasons.NOT_FOR_THIS_BOARD if is_foreign else reasons.COMMAND_MALFORMED
        except OSError:
            reason = reasons.FAULT
        if manifest is not self._manifest:
            return  # another one took its place meanwhile
        if reason != reasons.GRANTED:
            self._drop(reason)
            return
        self._is_staged = True
        if not self._stage.is_staged:
            self._record("staged", manifest.sequence, manifest.digest)
            self._stage.note()

    def _switch(self, manifest: Manifest) -> None:
        """Have it run: on trial, from the next start on, which is now."""
        reason, is_authentic = self._decide_again(manifest)
        if reason == reasons.PRECONDITION_FAILED:
            return  # a battery is charged some day
        if not is_authentic:
            self._drop(reason)
            return
        slots = self._slots
        place = _SLOT_IMAGE if manifest.component == IMAGE else self._target.number
        first = self._target.number if manifest.component == IMAGE else manifest.size
        slots.rows[place - 1] = first, manifest.sequence, manifest.digest
        slots.trial = place
        slots.starts = _STARTS
        slots.tried = manifest.sequence
        slots.save()
        self._stage.end()
        if place == _SLOT_IMAGE:
            self._start_image(self._target)
        else:
            self._parts.reset()

    def _decide_again(self, manifest: Manifest) -> "tuple[int, bool]":
        """Judge what is staged once more: it may have waited for long."""
        now, self._manifest = self._manifest, None  # it does not stand in its own way
        self._junk_ms = None
        decided = self._decide(manifest)
        self._manifest = now
        return decided

    def _is_quiet(self) -> bool:
        """Whether nobody is there who would notice a restart."""
        door = self._dispatch.lock
        return not self._dispatch.is_busy() and door.lock_state == _LOCKED and door.door_state == _CLOSED

    def _is_held(self, own: int) -> bool:
        """Whether a person at the door comes first."""
        if self._dispatch.sessions <= own:
            self._held_ms = None
            return False
        now_ms = self._ticks_ms()
        if self._held_ms is None:
            self._held_ms = now_ms
        return 0 <= ticks_diff(now_ms, self._held_ms) < _HOLD_MAX_MS

    # --- trial ---

    async def _go_on_trial(self, vote) -> None:
        """There is a trial: pass it, end it, or begin it where the power failed before."""
        slots = self._slots
        place = slots.trial
        row = slots.rows[place - 1]
        if place == _SLOT_IMAGE:
            image = self._parts.image()
            is_running = image.is_running(row[0])
            if not is_running and slots.starts:
                # it never ran, or never came so far
                while not self._is_quiet():
                    vote()
                    await asyncio.sleep_ms(_LOOK_MS)
                self._start_image(image)
                return
            if is_running and not slots.starts:
                # its second start: the chip would not have made it had it not passed
                self._confirm(place, row)
                return
            if is_running:
                slots.starts = 0
                slots.save()
        else:
            is_running = self._parts.number == place
        if not is_running:
            self._record("returned", row[1], row[2])
            slots.trial = 0
            slots.save()
            return
        self._record("installed", row[1], row[2])
        failure = "sequence" if self._parts.sequence != row[1] else await self._parts.gate(vote)
        if failure:
            self._dispatch.evidence.record(FAULT, {DETAIL: ("update:" + failure)[:DETAIL_MAX]})
            slots.starts = 0
            slots.save()
            self._parts.reset()
        else:
            self._confirm(place, row)

    def _confirm(self, place: int, row) -> None:
        """It stays. What makes it stay is durable first; the rest follows from it at the next start."""
        slots = self._slots
        if place == _SLOT_IMAGE:
            self._parts.image().keep()
        self._parts.floor.save(max(row[1], self._parts.floor.load() or 0))
        slots.active = 0 if place == _SLOT_IMAGE else place
        slots.trial = 0
        slots.save()
        self._parts.end_trial()
        self._record("confirmed", row[1], row[2])

    def _start_image(self, image) -> None:
        """Have the chip start the image, which costs one of its starts."""
        slots = self._slots
        slots.starts -= 1
        slots.save()
        try:
            image.start()
        except OSError:
            slots.trial = 0
            slots.save()
            self._clear()
            self._reason = reasons.DIGEST_MISMATCH
            self._refuse(self._reason, {SEQUENCE: slots.tried})
            return
        self._parts.reset()

    # --- records and ends ---

    def _report(self) -> "dict[int, Any]":
        manifest = self._manifest
        body: "dict[int, Any]" = {1: _IDLE, 3: self._parts.sequence}
        if self._slots.trial:
            body[1] = _TRIAL
        elif manifest is not None:
            body[4] = manifest.sequence
            body[1] = _STAGED if self._is_staged else _RECEIVING
            if not self._is_staged:
                body[2] = self._wanted
        elif not self._is_ready:
            body[1] = _RECEIVING
        elif self._slots.tried > self._parts.sequence:
            body[1] = _RETURNED
        if self._reason:
            body[5] = self._reason
        return body

    def _new_target(self, manifest: Manifest) -> "Any":
        return self._parts.image() if manifest.component == IMAGE else self._parts.application()

    def _drop(self, reason: int) -> None:
        """What is under way ends."""
        manifest = self._manifest
        fields: "dict[int, Any]" = {} if manifest is None else {SEQUENCE: manifest.sequence, KID: manifest.kid}
        try:
            self._clear()
            self._stage.end()
        except OSError:
            self._manifest = None  # the next one removes it
        self._reason = reason
        self._refuse(reason, fields)

    def _clear(self) -> None:
        """Nothing is under way any more."""
        target, self._target = self._target, None
        self._manifest = None
        self._is_staged = False
        self._wanted = self._filled = 0
        self._buffer = None
        if target is not None:
            target.clear()

    def _refuse(self, reason: int, fields: "dict[int, Any]") -> None:
        fields[REASON] = reason
        fields[DETAIL] = "refused"
        self._dispatch.evidence.record(_RECORD, fields)

    def _record(self, what: str, sequence: int, digest: bytes) -> None:
        self._dispatch.evidence.record(_RECORD, {DETAIL: what, SEQUENCE: sequence, _DIGEST: digest})
