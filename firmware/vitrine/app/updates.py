"""The way to app.update, which is loaded only when there is an update: somebody brings one, or one is under way.

A lock has the memory for other things meanwhile.
"""

import asyncio
import os

from micropython import const

from vitrine.audit.record import DETAIL, FAULT
from vitrine.version import SEQUENCE

from .dispatch import Malformed

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SIZE = const(132)  # of the blob `slots` (SPEC.md 20.6), and what is where in it
_ACTIVE_AT = const(1)
_TRIAL_AT = const(2)
_ROW = const(40)
_SEQUENCE_AT = const(-28)  # and a row for each number of a slot
_STAGE = const("/slot-stage")
_PIECE_MAX = const(1024)
_BUSY = const(2)


class Updates:
    """Updates(store, load, record): store: the blob `slots`. load() makes the app.update.Update. record: of events."""

    def __init__(self, store, load: "Callable[[], Any]", record: "Callable[[int, Any], None]") -> None:
        self._store = store
        self._load = load
        self._record = record
        self._update: "Any" = None
        self._wake = asyncio.Event()
        self._is_told = False  # that it cannot be loaded

    def answer(self, body: "Any", link: int, own: int) -> "tuple[int, Any]":
        """Answer op 9, as Update.answer; raises Malformed."""
        _check(body)
        try:
            answer = self._loaded().answer(body, link, own)
        except (MemoryError, OSError) as error:
            # no memory for it, or a flash that fails: no link is to end by that, nor whoever asks to fill the journal
            if not self._is_told:
                self._is_told = True
                self._record(FAULT, {DETAIL: "update:" + type(error).__name__})
            return _BUSY, None
        self._wake.set()
        return answer

    async def run(self, vote) -> None:
        """Be the task of an update, as soon as there is one."""
        if not self._is_pending():
            await self._wake.wait()
        await self._loaded().run(vote)

    def _loaded(self) -> "Any":
        if self._update is None:
            self._update = self._load()
        return self._update

    def _is_pending(self) -> bool:
        data = self._store.load() or b""
        if len(data) == _SIZE:
            active = data[_ACTIVE_AT]
            at = _SEQUENCE_AT + _ROW * active
            if active and int.from_bytes(data[at : at + 4], "big") > SEQUENCE:
                # damaged, or gone with the file system: what the image has runs in its place
                self._record(FAULT, {DETAIL: "slots:lost"})
            if data[_TRIAL_AT]:
                return True
        try:
            os.stat(_STAGE)
        except OSError:
            return False
        return True


def _check(body: "Any") -> None:
    """Check the form of a body of op 9 (SPEC.md 20.2); raises Malformed."""
    if type(body) is not dict:
        raise Malformed
    keys = set(body)
    if keys == {1} or keys == {1, 4}:
        is_right = type(body[1]) is bytes and body.get(4, True) is True
    elif keys == {2, 3}:
        is_right = type(body[2]) is int and body[2] >= 0 and type(body[3]) is bytes and 0 < len(body[3]) <= _PIECE_MAX
    else:
        is_right = not keys
    if not is_right:
        raise Malformed
