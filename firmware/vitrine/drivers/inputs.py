"""The door position switch (DPS) and the exit button (REX): pins in, debounced facts out.

Both are contacts to ground against a pull-up. DPS closed = door closed, so a cut wire reads as an open door, never as a
closed one; with end-of-line resistors (dps_mode 1) a cut line and a shorted one are told apart from both. Whoever reads
`door_closed` and `rex_pressed` knows nothing of polarity.

An interrupt only leaves a mark and wakes the reader; the levels are read again without one, so that a lost edge is made
good, debouncing included, within 200 ms. An analog line has no interrupt and lives on the reading again.
"""

import asyncio

from machine import Pin
from micropython import const

from .contacts import Contact, Line

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable

    from .contacts import Bands

_SEEN_WITHIN_MS = const(200)
_REREAD_MIN_MS = const(20)


class Inputs:
    """Inputs(dps, rex, debounce_ms, ticks_ms, bands): `dps` and `rex` are machine.Pin objects.

    bands: None for a contact at `dps`; else millivolts (short, closed, open) of a line with end-of-line resistors, and
    `dps` is a pin of ADC1.
    """

    def __init__(
        self, dps: Pin, rex: Pin, debounce_ms: int, ticks_ms: "Callable[[], int]", bands: "Bands | None" = None
    ) -> None:
        self._ticks_ms = ticks_ms
        self._flag = asyncio.ThreadSafeFlag()
        self._dps = Contact(dps, debounce_ms, self._flag) if bands is None else Line(dps, debounce_ms, bands)
        self._rex = Contact(rex, debounce_ms, self._flag)
        self.configure(debounce_ms, bands)

    def configure(self, debounce_ms: int, bands: "Bands | None") -> None:
        """Take other settings, at once; whether there are bands stays as it was at the start."""
        self._reread_ms = max(_REREAD_MIN_MS, _SEEN_WITHIN_MS - debounce_ms)
        self._dps.debounce_ms = self._rex.debounce_ms = debounce_ms
        if bands is not None and isinstance(self._dps, Line):
            self._dps.bands = bands

    @property
    def door_closed(self) -> bool:
        return self._dps.is_closed

    @property
    def rex_pressed(self) -> bool:
        return self._rex.is_closed

    @property
    def switch(self) -> int:
        """Where the door switch's line is: states.SWITCH_*."""
        return self._dps.level

    def poll(self) -> bool:
        """Read both; return True if door_closed, switch or rex_pressed has changed."""
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
