"""What is known of the time: two bounds that the true time lies between, and what becomes of them. Pure arithmetic.

A statement brings bounds; the drift of the crystal moves them apart; a better statement narrows them. What SNTP says
moves the time told between them and never the bounds, so nobody without a key moves the clock further than its error.
All of it holds as long as the clock's drift is below drift_ppm. Source: SPEC.md sections 5.1 and 5.2. Times are Unix
milliseconds where a name says ms.
"""

import binascii
import struct

from micropython import const

_TYPE_CHECKING = const(0)

UNTRUSTED = const(0)
TRUSTED = const(1)
COASTING = const(2)

JUMP_MS = const(2000)

_MAGIC = const(b"VTR2")
_MARK = const(">4sQIiI")
_MARK_SIZE = const(24)
_MAX_S = const(0xFFFFFFFF)  # what a record can hold
_MILLION = const(1_000_000)
_STATEMENT_MS = const(1000)  # a statement names a whole second that has begun
_OWN_MS = const(20)  # between the look at the ticks and the clock that is set
_FORGIVEN_SHARE = const(1000)


def drift_ms(elapsed_ms: int, drift_ppm: int) -> int:
    """Return how far a clock is off at most that has counted `elapsed_ms`; rounded up.

    Of the time that has truly passed drift_ppm is the share: a slow clock has counted less than that.
    """
    return -(-max(0, elapsed_ms) * drift_ppm // (_MILLION - drift_ppm))


def statement_bounds(unix_s: int, age_ms: int, drift_ppm: int) -> "tuple[int, int]":
    """Return (low, high) of the time now, if it was `unix_s` at some moment since a nonce was made, `age_ms` ago.

    The seconds are whole ones, cut off as every clock does: it may have been almost the next one.
    """
    slack_ms = drift_ms(age_ms, drift_ppm) + _OWN_MS
    return unix_s * 1000 - slack_ms, unix_s * 1000 + _STATEMENT_MS + age_ms + slack_ms


def merge(known: "tuple[int, int] | None", told: "tuple[int, int]", floor_ms: int) -> "tuple[int, int] | None":
    """Return the bounds after a statement with the bounds `told`, or None if it is all below the floor.

    What lies in both is left. Where nothing does, the clock was not what it should be, and the statement stands.
    """
    low, high = told
    if high < floor_ms:
        return None
    if known is not None and max(low, known[0]) <= min(high, known[1]):
        low, high = max(low, known[0]), min(high, known[1])
    return max(low, floor_ms), high


def slip_ms(before_ms: int, clock_ms: int, ticks_ms: int) -> int:
    """Return by how much the clock is ahead of its ticks, which was `before_ms`, when it has gone `clock_ms` forward.

    1,000 ppm of it are forgiven: what is left over JUMP_MS is no drift, whether it came at once or bit by bit.
    """
    ahead_ms = before_ms + clock_ms - ticks_ms
    forgiven_ms = min(abs(ahead_ms), ticks_ms // _FORGIVEN_SHARE)
    return ahead_ms - forgiven_ms if ahead_ms > 0 else ahead_ms + forgiven_ms


class Mark:
    """What was known when the clock was set: `set_s` the time, `error_ms`, and by how much SNTP has moved it since."""

    def __init__(self, set_s: int, error_ms: int, trim_ms: int = 0) -> None:
        self.set_s = set_s
        self.error_ms = error_ms
        self.trim_ms = trim_ms

    def elapsed_ms(self, clock_ms: int) -> int:
        """Return what the clock has counted since it was set; negative if it was turned back."""
        return clock_ms - self.trim_ms - self.set_s * 1000

    def bound_ms(self, clock_ms: int, drift_ppm: int) -> int:
        """Return how far off the clock is at most when it says `clock_ms`, but for what SNTP did to it."""
        return self.error_ms + drift_ms(self.elapsed_ms(clock_ms), drift_ppm)

    def bounds(self, clock_ms: int, drift_ppm: int) -> "tuple[int, int]":
        """Return (low, high) of the true time when the clock says `clock_ms`."""
        bound_ms = self.bound_ms(clock_ms, drift_ppm)
        return clock_ms - self.trim_ms - bound_ms, clock_ms - self.trim_ms + bound_ms

    @property
    def floor_s(self) -> int:
        """The whole second before which it was not when the clock was set."""
        return max(0, self.set_s - 1 - self.error_ms // 1000)

    def encode(self) -> bytes:
        """Return the 24 bytes of SPEC.md section 5.1."""
        data = struct.pack(_MARK[:-1], _MAGIC, self.set_s, self.error_ms, self.trim_ms)
        return data + struct.pack(">I", binascii.crc32(data))


def decode_mark(data: bytes) -> "Mark | None":
    """Return the mark in `data`, or None: after a brown-out RTC memory holds anything."""
    if len(data) != _MARK_SIZE:
        return None
    magic, set_s, error_ms, trim_ms, check = struct.unpack(_MARK, data)  # pyright: ignore[reportUnknownMemberType]
    if magic != _MAGIC or check != binascii.crc32(data[:20]) or set_s > _MAX_S:
        return None
    return Mark(set_s, error_ms, trim_ms)
