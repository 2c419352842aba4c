"""What time it is, and whether that can be believed. The only code that knows the epoch of the chip.

A real-time clock says nothing of who set it. So time is trusted only while the RTC's memory, which a power cut wipes
together with the RTC, holds the mark of a trusted setting, while the RTC moves as the ticks do, and at or above the
floor. Each look at the clock checks that, so that a clock that was moved opens nothing, whatever the tasks are doing.
Source: SPEC.md sections 5.1 and 5.2; what the mark means is in access.trusted_time.
"""

import time

from micropython import const

from vitrine.access.trusted_time import COASTING, JUMP_MS, TRUSTED, UNTRUSTED, Mark, decode_mark, slip_ms
from vitrine.door.ticks import ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from machine import RTC

    class ClockSettings(Protocol):
        """Of door.settings.Settings."""

        drift_ppm: int
        max_error_s: int
        coast_after_s: int


_UNKNOWN_S = const(0xFFFFFFFF)  # an untrusted clock may be off by any time: whatever ends has ended
_SECOND_MS = const(1000)
_STEP_MS = const(500)  # who trims the clock by less moves no decision
# In the place of a mark: this lock itself ended the trust. A supply that was gone leaves nothing.
_ENDED = const(b"\x00")

# ESP32's MicroPython counts from 2000, the unix port from 1970.
_EPOCH_YEAR = time.gmtime(0)[0]
_EPOCH_S = 0 if _EPOCH_YEAR == 1970 else 946_684_800


class Clock:
    """Clock(rtc, floor_s, settings): `rtc` a machine.RTC, `floor_s` the Unix time before which it cannot be.

    settings: those in force (`configure`). floor_s only rises (`raise_floor`).
    cause: why time is untrusted: "jump", "back", "drifted" or "lost" (there is no mark), as the records name it; empty
    while it is not, and if it was an earlier start that ended the trust.
    """

    def __init__(self, rtc: "RTC", floor_s: int, settings: "ClockSettings") -> None:
        self._rtc = rtc
        self.floor_s = floor_s
        self.settings = settings
        self.cause = ""
        # the one place that takes ticks from the chip; the stubs make them a type of its own
        self.ticks_ms: "Callable[[], int]" = time.ticks_ms  # pyright: ignore[reportAttributeAccessIssue]
        self.ticks_diff = ticks_diff
        self._memory: "bytes | None" = None  # the RTC's, as it was at the last look
        self._mark: "Mark | None" = None
        # a second ago or more: what the RTC said, the ticks, and by how much the RTC was ahead of them
        self._then_ms = 0
        self._ticks = 0
        self._slip_ms = 0

    def configure(self, settings: "ClockSettings") -> None:
        """Take other settings, at once."""
        self.settings = settings

    def reading(self) -> "tuple[int, int]":
        """Return (Unix seconds, time state): never below the floor."""
        now_ms, state, _ = self._now()
        return now_ms // 1000, state

    def instant(self) -> "tuple[int, int, int]":
        """Return (Unix seconds, time state, seconds by which that may be wrong): 2**32 - 1 while untrusted."""
        now_ms, state, error_ms = self._now()
        return now_ms // 1000, state, -(-error_ms // 1000)

    def bounds(self) -> "tuple[int, int] | None":
        """Return the Unix milliseconds (low, high) that the true time lies between, or None while untrusted."""
        clock_ms, state, _ = self._now()
        if state == UNTRUSTED or self._mark is None:
            return None
        return self._mark.bounds(clock_ms, self.settings.drift_ppm)

    def set_trusted(self, unix_ms: int, error_ms: int) -> None:
        """Set the clock to what it is now, give or take `error_ms`, on the word of somebody trusted.

        Raises ValueError below the floor: nobody turns the lock back to when an old token was good.
        """
        if unix_ms < self.floor_s * 1000:
            raise ValueError("time below the floor")
        self._set(unix_ms - self._rtc_ms(), Mark(unix_ms // 1000, error_ms))

    def trim(self, unix_ms: int) -> bool:
        """Move a trusted or coasting clock to `unix_ms` on the word of nobody in particular; return whether it moved.

        Not out of its bounds, which stay as they are, nor below the floor, nor by less than half a second.
        """
        bounds = self.bounds()
        mark = self._mark
        if bounds is None or mark is None or not max(bounds[0], self.floor_s * 1000) <= unix_ms <= bounds[1]:
            return False
        step_ms = unix_ms - self._rtc_ms()
        if abs(step_ms) < _STEP_MS:
            return False
        self._set(step_ms, Mark(mark.set_s, mark.error_ms, mark.trim_ms + step_ms))
        return True

    def raise_floor(self, unix_s: int) -> None:
        """It is not before `unix_s`, from now on."""
        self.floor_s = max(self.floor_s, unix_s)

    def _now(self) -> "tuple[int, int, int]":
        """Return (Unix ms, time state, error in ms), having checked the mark, the ticks and the floor."""
        clock_ms = self._look()
        mark = self._mark
        if mark is None:
            return max(clock_ms, self.floor_s * 1000), UNTRUSTED, _UNKNOWN_S * 1000
        settings = self.settings
        error_ms = mark.bound_ms(clock_ms, settings.drift_ppm)
        if error_ms > settings.max_error_s * 1000:
            self.cause = "drifted"
            return clock_ms, UNTRUSTED, _UNKNOWN_S * 1000
        self.cause = ""
        is_fresh = mark.elapsed_ms(clock_ms) <= settings.coast_after_s * 1000
        return clock_ms, TRUSTED if is_fresh else COASTING, error_ms + abs(mark.trim_ms)

    def _look(self) -> int:
        """Return what the RTC says, in Unix ms; afterwards there is a mark only if it can be trusted."""
        clock_ms = self._rtc_ms()
        ticks = self.ticks_ms()
        memory = self._rtc.memory() or b""
        if memory != self._memory:
            self._memory = memory
            self._mark = decode_mark(memory)
            self._then_ms, self._ticks, self._slip_ms = clock_ms, ticks, 0
            if self._mark is not None:
                self.raise_floor(self._mark.floor_s)
            elif memory != _ENDED:
                self.cause = "lost"
        if self._mark is not None:
            passed_ms = ticks_diff(ticks, self._ticks)
            slipped_ms = slip_ms(self._slip_ms, clock_ms - self._then_ms, passed_ms)
            if passed_ms >= _SECOND_MS:
                self._then_ms, self._ticks, self._slip_ms = clock_ms, ticks, slipped_ms
            if abs(slipped_ms) > JUMP_MS:
                self._distrust("jump")
            elif clock_ms < self.floor_s * 1000 or self._mark.elapsed_ms(clock_ms) < 0:
                # for good: the RTC goes on, and would pass the floor again without being any more right
                self._distrust("back")
        return clock_ms

    def _distrust(self, cause: str) -> None:
        self.cause = cause
        self._mark = None
        self._memory = _ENDED
        self._rtc.memory(_ENDED)

    def _set(self, step_ms: int, mark: Mark) -> None:
        """Move the RTC by `step_ms` and write `mark`."""
        # first without a mark: a reset in between must leave an untrusted clock, not a wrong one
        self._rtc.memory(_ENDED)
        unix_ms = self._rtc_ms() + step_ms
        year, month, day, hour, minute, second, weekday, _ = time.gmtime(unix_ms // 1000 - _EPOCH_S)[:8]
        self._rtc.datetime((year, month, day, weekday, hour, minute, second, unix_ms % 1000 * 1000))
        self._rtc.memory(mark.encode())
        self._look()

    def _rtc_ms(self) -> int:
        return time.time_ns() // 1_000_000 + _EPOCH_S * 1000
