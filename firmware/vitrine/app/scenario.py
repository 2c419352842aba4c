"""What the lock is told to be: normal, open at times (passage), shut (lockdown), or watching (shadow). SPEC.md 6.2.

Decides when, and tells the door. Lockdown and shadow hold as soon as apply() has returned: whoever decides or moves
the strike asks them. Passage and the strike at a lockdown follow in run(), which is woken at once.
"""

import asyncio

from micropython import const

from vitrine.access.schedule import parse_windows

from .sequenced_blob import SequencedBlob, pairs

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from vitrine.access.schedule import Calendar

    from .configuration import Configuration
    from .sequenced_blob import Store

    class Door(Protocol):
        """The controller. None of these raises."""

        def begin_passage(self) -> None: ...

        def end_passage(self) -> None: ...

        def lock_down(self) -> None: ...

    class Evidence(Protocol):
        is_sound: bool

    class Clock(Protocol):
        def instant(self) -> "tuple[int, int, int]": ...


_LOCKDOWN = const(2)
_SHADOW = const(3)
_WEEKLY = const(4)
_PASSAGE = const(5)
_MAX_WEEKLY = const(16)
_MAX_PASSAGES = const(8)
_U32 = const(0xFFFFFFFF)
_TRUSTED = const(1)
_COASTING = const(2)
_STEP_MS = const(1000)


class Scenario(SequencedBlob):
    """is_lockdown, is_shadow: bool. A blob that is not sound is a lockdown."""

    def __init__(self, store: "Store") -> None:
        """Take up the blob in `store`."""
        # if nobody knows what the lock was told, it opens for nobody, and moves for those who mend it
        super().__init__(store, {_LOCKDOWN: True, _SHADOW: False, _WEEKLY: [], _PASSAGE: []})
        self._woken = asyncio.Event()
        self._in_passage = False
        self._told = (False, False)  # is_lockdown and is_shadow, as the door was told last

    def attach(self, door: "Door", clock: "Clock", configuration: "Configuration", evidence: "Evidence") -> None:
        """Hand over what run() needs: once, before it starts."""
        self._door = door
        self._clock = clock
        self._configuration = configuration
        self._evidence = evidence
        configuration.add_listener(self.wake)

    @property
    def name(self) -> str:
        """`lockdown`, `shadow`, `passage` or `normal`, in this order: as in `state` (SPEC.md section 10)."""
        if self.is_lockdown:
            return "lockdown"
        if self.is_shadow:
            return "shadow"
        return "passage" if self._in_passage else "normal"

    def apply(self, body: "Any", sequence: int) -> int:
        """Change what `body`, from a command, names; see SequencedBlob. If it was not sound, the rest is lockdown."""
        reason = super().apply(body, sequence)
        self.wake()
        return reason

    def is_passage(self, instant: "tuple[int, int, int]", calendar: "Calendar") -> bool:
        """Tell whether anybody may pass at `instant` (Unix seconds, time state, error): never without a clock."""
        unix_s, time_state, _ = instant
        if self.is_lockdown or time_state not in (_TRUSTED, _COASTING):
            return False
        for start_s, until_s in self._passage:
            if start_s <= unix_s < until_s:
                return True
        return calendar.is_open(self._weekly, unix_s)

    def wake(self, _: object = None) -> None:
        """Have run() look again now: the clock or the configuration has changed. Also a listener of those."""
        self._woken.set()

    async def run(self, vote: "Callable[[], None]") -> None:
        """Tell the door, for ever, at most a second late. `vote` is called as often."""
        self._told = (False, False)
        try:
            while True:
                vote()
                self._woken.clear()
                self._follow()
                try:
                    await asyncio.wait_for_ms(self._woken.wait(), _STEP_MS)
                except asyncio.TimeoutError:
                    pass
        finally:
            # a passage that nobody follows would have no end
            self._end_passage()

    def _follow(self) -> None:
        configuration = self._configuration
        # one that is lost may have had holidays, or another zone; and what nobody could prove is not done
        is_sound = configuration.is_sound and self._evidence.is_sound
        is_passage = is_sound and self.is_passage(self._clock.instant(), configuration.calendar)
        was_lockdown, was_shadow = self._told
        self._told = (self.is_lockdown, self.is_shadow)
        if self.is_lockdown and not was_lockdown:
            self._door.lock_down()
        # with shadow begun or over, the passage begins anew: the strike lets go, or moves at last
        if not is_passage or self.is_shadow != was_shadow:
            self._end_passage()
        if is_passage and not self._in_passage:
            self._in_passage = True
            self._door.begin_passage()

    def _end_passage(self) -> None:
        if self._in_passage:
            self._in_passage = False
            self._door.end_passage()

    def _present(self) -> "dict[Any, Any]":
        return {
            _LOCKDOWN: self.is_lockdown,
            _SHADOW: self.is_shadow,
            _WEEKLY: self._weekly,
            _PASSAGE: self._passage,
        }

    def _read(self, record: "dict[Any, Any]") -> "tuple[Any, ...]":
        for key in (_LOCKDOWN, _SHADOW):
            if record[key] is not True and record[key] is not False:
                raise ValueError
        weekly = parse_windows(record[_WEEKLY], 0, _MAX_WEEKLY)
        return record[_LOCKDOWN], record[_SHADOW], weekly, pairs(record[_PASSAGE], _MAX_PASSAGES, _U32, _U32)

    def _hold(self, state: "tuple[Any, ...]") -> None:
        self.is_lockdown: bool
        self.is_shadow: bool
        self.is_lockdown, self.is_shadow, self._weekly, self._passage = state


def empty() -> bytes:
    """Return the blob that provisioning writes: {1: 0, 2: false, 3: false, 4: [], 5: []}."""
    return b"\xa5\x01\x00\x02\xf4\x03\xf4\x04\x80\x05\x80"
