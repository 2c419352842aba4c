"""The door position switch (DPS) and the exit button (REX): pins in, debounced facts out.

Both are contacts to ground against a pull-up. DPS closed = door closed, so a cut wire reads as an open door, never as a
closed one; with end-of-line resistors (dps_mode 1) a cut line and a shorted one are told apart from both. Whoever reads
`door_closed` and `rex_pressed` knows nothing of polarity.

An interrupt only leaves a mark and wakes the reader; the levels are read again without one, so that a lost edge is made
good, debouncing included, within 140 ms. An analog line has no interrupt and lives on the reading again.
"""

import asyncio

from machine import Pin
from micropython import const

from .contacts import Contact, Line

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from .contacts import Bands

    class Settings(Protocol):
        """SPEC.md section 6, by name."""

        debounce_ms: int
        dps_mode: int
        dps_short_mv: int
        dps_closed_mv: int
        dps_open_mv: int


# An opening must be told within 250 ms (SPEC.md 7.2), although the flash may be erased meanwhile: 45 ms each, during
# which nothing runs, before it is first seen and again when it is debounced.
_SEEN_WITHIN_MS = const(140)
_REREAD_MIN_MS = const(20)


class Inputs:
    """Inputs(dps, rex, settings, ticks_ms): `dps`, `rex`: machine.Pin objects; with dps_mode 1 dps is one of ADC1."""

    def __init__(self, dps: Pin, rex: Pin, settings: "Settings", ticks_ms: "Callable[[], int]") -> None:
        self._ticks_ms = ticks_ms
        self._flag = asyncio.ThreadSafeFlag()
        debounce_ms = settings.debounce_ms
        if settings.dps_mode:
            self._dps = Line(dps, debounce_ms, _bands(settings))
        else:
            self._dps = Contact(dps, debounce_ms, self._flag)
        self._rex = Contact(rex, debounce_ms, self._flag)
        self.configure(settings)

    def configure(self, settings: "Settings") -> None:
        """Take other settings, at once, but for dps_mode, which stays as it was at the start."""
        debounce_ms = settings.debounce_ms
        self._reread_ms = max(_REREAD_MIN_MS, _SEEN_WITHIN_MS - debounce_ms)
        self._dps.debounce_ms = self._rex.debounce_ms = debounce_ms
        if isinstance(self._dps, Line):
            self._dps.bands = _bands(settings)

    @property
    def door_closed(self) -> bool:
        return self._dps.is_closed

    @property
    def rex_pressed(self) -> bool:
        return self._rex.is_closed

    @property
    def is_door_moving(self) -> bool:
        """Whether the door switch has been seen to change, and is not debounced yet."""
        return self._dps.is_changing

    @property
    def switch(self) -> int:
        """Where the door switch's line is: states.SWITCH_*."""
        return self._dps.level

    @property
    def switch_mv(self) -> "int | None":
        """The voltage of the door switch's line, where it is read as one."""
        return self._dps.mv if isinstance(self._dps, Line) else None

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


def _bands(settings: "Settings") -> "Bands":
    return settings.dps_short_mv, settings.dps_closed_mv, settings.dps_open_mv
