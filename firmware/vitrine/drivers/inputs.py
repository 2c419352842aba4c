"""The door position switch (DPS) and the exit button (REX): pins in, debounced facts out.

Both are contacts to ground against a pull-up: a closed contact reads 0. DPS closed = door closed, so a cut wire reads
as an open door, never as a closed one. Whoever reads `door_closed` and `rex_pressed` knows nothing of polarity.

The first sign of a change starts the debounce time; from its end on, the first reading that differs is taken, and only
a contact that was then quiet for as long is said not to have changed. So the delay is bounded whatever the contact does
in between: no chatter, at any rhythm, hides an opening. An interrupt only leaves a mark and wakes the reader; the
levels are read again without one, so that a lost edge is made good, debouncing included, within 200 ms.
"""

import asyncio

from machine import Pin
from micropython import const

from vitrine.door.ticks import ticks_diff

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable

_SEEN_WITHIN_MS = const(200)
_REREAD_MIN_MS = const(20)


class _Contact:
    """One debounced contact to ground. is_closed: the level that was taken last."""

    def __init__(self, pin: Pin, debounce_ms: int, flag: "asyncio.ThreadSafeFlag") -> None:
        self._pin = pin
        self._debounce_ms = debounce_ms
        self._flag = flag
        self._moved = bytearray(1)
        self._since_ms: "int | None" = None  # when it began to be unsteady, or None
        self._moved_ms = 0  # when it was last seen to move
        pin.init(Pin.IN, Pin.PULL_UP)
        # what stands at power-up is a state, not an event: a button held at boot opens nothing
        self.is_closed = pin.value() == 0
        pin.irq(handler=self._on_edge, trigger=Pin.IRQ_FALLING | Pin.IRQ_RISING)

    def _on_edge(self, _pin: Pin) -> None:
        """Interrupt handler: allocates nothing, decides nothing."""
        self._moved[0] = 1
        self._flag.set()

    def poll(self, now_ms: int) -> bool:
        """Read the contact; return True if is_closed has changed."""
        has_moved = self._moved[0]
        self._moved[0] = 0
        differs = (self._pin.value() == 0) != self.is_closed
        if has_moved or differs:
            self._moved_ms = now_ms
            if self._since_ms is None:
                self._since_ms = now_ms
        if self._since_ms is None:
            return False
        if differs and self._age(self._since_ms, now_ms):
            self._since_ms = None
            self.is_closed = not self.is_closed
            return True
        if self._age(self._moved_ms, now_ms):
            self._since_ms = None
        return False

    def rest_ms(self, now_ms: int) -> "int | None":
        """Return how long until poll() may have something to say, or None while the contact is steady."""
        if self._since_ms is None:
            return None
        start_ms = self._moved_ms if self._age(self._since_ms, now_ms) else self._since_ms
        return max(0, self._debounce_ms - ticks_diff(now_ms, start_ms))

    def _age(self, start_ms: int, now_ms: int) -> bool:
        return ticks_diff(now_ms, start_ms) >= self._debounce_ms


class Inputs:
    """Inputs(dps, rex, debounce_ms, ticks_ms): `dps` and `rex` are machine.Pin objects."""

    def __init__(self, dps: Pin, rex: Pin, debounce_ms: int, ticks_ms: "Callable[[], int]") -> None:
        self._ticks_ms = ticks_ms
        self._reread_ms = max(_REREAD_MIN_MS, _SEEN_WITHIN_MS - debounce_ms)
        self._flag = asyncio.ThreadSafeFlag()
        self._dps = _Contact(dps, debounce_ms, self._flag)
        self._rex = _Contact(rex, debounce_ms, self._flag)

    @property
    def door_closed(self) -> bool:
        return self._dps.is_closed

    @property
    def rex_pressed(self) -> bool:
        return self._rex.is_closed

    def poll(self) -> bool:
        """Read both contacts; return True if door_closed or rex_pressed has changed."""
        now_ms = self._ticks_ms()
        door_changed = self._dps.poll(now_ms)
        return self._rex.poll(now_ms) or door_changed

    def wake(self) -> None:
        """Make changed() return soon, although nothing has changed: its caller has a new deadline to look at."""
        self._flag.set()

    async def changed(self, timeout_ms: int) -> None:
        """Return when poll() may tell something new, after wake(), or after `timeout_ms`."""
        timeout_ms = min(timeout_ms, self._reread_ms)
        now_ms = self._ticks_ms()
        for contact in (self._dps, self._rex):
            rest_ms = contact.rest_ms(now_ms)
            if rest_ms is not None:
                timeout_ms = min(timeout_ms, rest_ms)
        try:
            await asyncio.wait_for_ms(self._flag.wait(), timeout_ms)
        except asyncio.TimeoutError:
            return
