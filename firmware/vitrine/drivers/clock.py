"""What time it is, and whether that can be believed. The only code that knows the epoch of the chip.

A real-time clock says nothing of who set it. So time is trusted only while the RTC's memory, which a power cut wipes
together with the RTC, holds the mark of a trusted setting (SPEC.md section 5.1), and only at or above the floor: the
greatest time that the lock was told by somebody it trusts, who is the technician on the wire so far.
"""

import binascii
import struct
import time

from micropython import const

from vitrine.door.ticks import ticks_diff

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable

    from machine import RTC

UNTRUSTED = const(0)
TRUSTED = const(1)
COASTING = const(2)

_MAGIC = b"VTR1"
_MARK = ">4sQI"  # magic, floor, CRC-32 of both: after a brown-out RTC memory holds anything
_MARK_SIZE = const(16)

# ESP32's MicroPython counts from 2000, the unix port from 1970.
_EPOCH_YEAR = time.gmtime(0)[0]
_EPOCH_S = 0 if _EPOCH_YEAR == 1970 else 946_684_800


class Clock:
    """Clock(rtc, floor_s): `rtc` a machine.RTC, `floor_s` the Unix time before which it cannot be (provisioned at)."""

    def __init__(self, rtc: "RTC", floor_s: int) -> None:
        self._rtc = rtc
        self._floor_s = floor_s
        # the one place that takes ticks from the chip; the stubs make them a type of its own
        self.ticks_ms: "Callable[[], int]" = time.ticks_ms  # pyright: ignore[reportAttributeAccessIssue]
        self.ticks_diff = ticks_diff

    def reading(self) -> "tuple[int, int]":
        """Return (Unix seconds, time state): never below the floor, TRUSTED only with a good mark and not below it."""
        now_s = time.time() + _EPOCH_S
        marked_floor_s = self._mark()
        floor_s = self._floor_s if marked_floor_s is None else max(self._floor_s, marked_floor_s)
        if now_s < floor_s:
            return floor_s, UNTRUSTED
        return now_s, UNTRUSTED if marked_floor_s is None else TRUSTED

    def set_trusted(self, unix_s: int) -> None:
        """Set the clock on the word of somebody trusted (the technician on the wire, a signed statement).

        Raises ValueError below the floor: nobody turns the lock back to when an old token was good.
        """
        marked_floor_s = self._mark()
        if unix_s < self._floor_s or (marked_floor_s is not None and unix_s < marked_floor_s):
            raise ValueError("time below the floor")
        year, month, day, hour, minute, second, weekday, _ = time.gmtime(unix_s - _EPOCH_S)[:8]
        # first without a mark: a cut in between must leave an untrusted clock, not a wrong one
        self._rtc.memory(b"")
        self._rtc.datetime((year, month, day, weekday, hour, minute, second, 0))
        mark = struct.pack(">4sQ", _MAGIC, unix_s)
        self._rtc.memory(mark + struct.pack(">I", binascii.crc32(mark)))

    def _mark(self) -> "int | None":
        """Return the floor that the last trusted setting left in RTC memory, or None without a good mark."""
        memory = self._rtc.memory() or b""
        if len(memory) != _MARK_SIZE:
            return None
        magic, floor_s, check = struct.unpack(_MARK, memory)
        if magic != _MAGIC or check != binascii.crc32(memory[:12]):
            return None
        return floor_s
