"""What comes in of an update: table and blocks, put in their places one by one. Source: SPEC.md 20.1, 20.2.

A block is looked at before it is written, and read back after. What was written is not believed later: after a start
all of it is looked at again.
"""

import asyncio
from hashlib import sha256

from micropython import const

from vitrine.access import reasons
from vitrine.access.manifest import IMAGE, Manifest

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any

_BLOCK = const(4096)
_CHECK = const(16)  # bytes of a block's digest
_EIO = const(5)


class Intake:
    """parts: as of app.update.Update. manifest: of what is under way, or None. wanted: where its stream goes on.

    Methods raise OSError when the flash fails, ValueError for an image of another chip.
    """

    def __init__(self, parts) -> None:
        self._parts = parts
        self._stage = parts.stage
        self.manifest: "Manifest | None" = None
        self.target: "Any" = None
        self.wanted = 0
        self.is_staged = False
        # a stranger's junk must not wear the flash: nothing is written of a table or block that is not whole and good
        self._table: "list[bytearray]" = []
        self._buffer: "Any" = None  # the block that comes in, so far as it is filled
        self._filled = 0

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there."""
        manifest = self.manifest
        return manifest is not None and self.wanted == manifest.table_size + manifest.size

    def begin(self, manifest: Manifest, is_shadow: bool) -> None:
        """Expect what this manifest is about, in place of what was under way."""
        self.clear()
        target = self._target_of(manifest)
        target.clear()
        self._stage.begin(manifest.data, is_shadow)
        self.manifest, self.target = manifest, target

    def end(self) -> None:
        """Nothing is under way any more, nor will be after a start."""
        try:
            self.clear()
        finally:
            self._stage.end()

    def clear(self) -> None:
        """Forget it here, and what was written of it."""
        target, self.target, self.manifest = self.target, None, None
        self.is_staged = False
        self.wanted = self._filled = 0
        self._buffer = None
        self._table = []
        if target is not None:
            target.clear()

    def take(self, offset: int, piece: bytes) -> bool:
        """Take a piece of the stream, if it is the one that is wanted; return False if a block or the table is wrong.

        Where that begins is wanted again then.
        """
        manifest = self.manifest
        if manifest is None or offset != self.wanted:
            return True
        at = 0
        while at < len(piece) and not self.is_whole:
            left = memoryview(piece)[at:]
            taken, is_good = (
                self._add(manifest, left) if self.wanted < manifest.table_size else self._fill(manifest, left)
            )
            if not is_good:
                return False
            at += taken
        if self.is_whole:
            self._buffer = None
        return True

    def let_go(self) -> None:
        """Give the memory back; the table or block that was coming in begins anew."""
        self._buffer = None
        self.wanted = 0 if self._table else self.wanted - self._filled
        self._filled = 0
        self._table = []

    async def take_up(self, manifest: Manifest) -> None:
        """Go on with what was under way when the power failed."""
        self.target = target = self._target_of(manifest)
        size = self._stage.table_size
        if size and (size != manifest.table_size or self._stage.table_digest() != manifest.table):
            self._stage.begin(manifest.data, self._stage.is_shadow)
            size = 0
        self.wanted = size
        if size == manifest.table_size:
            number = 0
            while number < min(manifest.blocks, target.count()):
                if not self._is_there(number, manifest.block_size(number)):
                    break
                number += 1
                await asyncio.sleep_ms(0)
            self.wanted += min(manifest.size, target.cut(number) * _BLOCK)
        self.manifest = manifest

    async def finish(self, manifest: Manifest) -> int:
        """Read the whole back, and look at its form: return GRANTED, or what is wrong. It is staged then."""
        target = self.target
        digest = sha256()
        for number in range(manifest.blocks):
            for piece in target.read(number, manifest.block_size(number)):
                digest.update(piece)
            await asyncio.sleep_ms(0)
        if digest.digest() != manifest.digest:
            return reasons.DIGEST_MISMATCH
        try:
            for _ in target.check(manifest.size, manifest.sequence):
                await asyncio.sleep_ms(0)
        except ValueError as error:
            is_foreign = getattr(error, "is_foreign", False)
            return reasons.NOT_FOR_THIS_BOARD if is_foreign else reasons.COMMAND_MALFORMED
        if self.manifest is manifest:  # else another one has taken its place meanwhile
            target.finish()
            self.is_staged = True
        return reasons.GRANTED

    def _add(self, manifest: Manifest, piece) -> "tuple[int, bool]":
        """Add to the table, and write it when it is whole; return (bytes taken, whether all is well)."""
        at = self.wanted % _BLOCK
        if not at:
            self._table.append(bytearray(min(_BLOCK, manifest.table_size - self.wanted)))
        part = self._table[-1]
        taken = min(len(piece), len(part) - at)
        part[at : at + taken] = piece[:taken]
        self.wanted += taken
        if self.wanted < manifest.table_size:
            return taken, True
        self.wanted = 0  # until it is in its place
        table, self._table = self._table, []
        digest = sha256()
        for part in table:
            digest.update(part)
        if digest.digest() != manifest.table:
            return taken, False
        self._stage.add(table)
        self.wanted = manifest.table_size
        return taken, True

    def _fill(self, manifest: Manifest, piece) -> "tuple[int, bool]":
        """Add to the block that comes in, and write it when it is whole; return as _add."""
        number = (self.wanted - self._filled - manifest.table_size) // _BLOCK
        size = manifest.block_size(number)
        if self._buffer is None:
            self._buffer = bytearray(_BLOCK)
        taken = min(len(piece), size - self._filled)
        self._buffer[self._filled : self._filled + taken] = piece[:taken]
        self._filled += taken
        self.wanted += taken
        if self._filled < size:
            return taken, True
        self._filled = 0
        # not wanted any more when it is in its place, and not before
        self.wanted -= size
        block = memoryview(self._buffer)[:size]
        if sha256(block).digest()[:_CHECK] != self._stage.block_digest(number):
            return taken, False
        self.target.write(number, block, self.wanted + size == manifest.table_size + manifest.size)
        if not self._is_there(number, size):
            raise OSError(_EIO)
        self.wanted += size
        return taken, True

    def _is_there(self, number: int, size: int) -> bool:
        """Read a block back."""
        digest = sha256()
        for piece in self.target.read(number, size):
            digest.update(piece)
        return digest.digest()[:_CHECK] == self._stage.block_digest(number)

    def _target_of(self, manifest: Manifest) -> "Any":
        return self._parts.image() if manifest.component == IMAGE else self._parts.application()
