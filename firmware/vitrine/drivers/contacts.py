"""Debounced inputs: a contact at a pin, or a line with end-of-line resistors at an analog pin.

Both say a level, one of _SWITCH_*. The first sign of a change starts the debounce time; from its end on, the first
reading that differs is taken, and only an input that was then quiet for as long is said not to have changed. So the
delay is bounded whatever the contact does in between: no chatter, at any rhythm, hides an opening.
"""

from machine import ADC, Pin
from micropython import const

from vitrine.door.ticks import ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from asyncio import ThreadSafeFlag

    Bands = tuple[int, int, int]

# Where the line is
_SWITCH_SHORTED = const(0)
_SWITCH_CLOSED = const(1)
_SWITCH_OPEN = const(2)
_SWITCH_CUT = const(3)


class _Debounced:
    """level: the one that was taken last. is_changing: another was read, and the debounce time is not over."""

    def __init__(self, debounce_ms: int) -> None:
        self.debounce_ms = debounce_ms
        self._moved = bytearray(1)
        self._since_ms: "int | None" = None  # when it began to be unsteady, or None
        self._moved_ms = 0  # when it was last seen to move
        # what stands at power-up is a state, not an event: a button held at boot opens nothing
        self.level = self._read()
        self.is_changing = False

    @property
    def is_closed(self) -> bool:
        return self.level == _SWITCH_CLOSED

    def poll(self, now_ms: int) -> bool:
        """Read the input; return True if its level has changed."""
        has_moved = self._moved[0]
        self._moved[0] = 0
        level = self._read()
        self.is_changing = level != self.level
        if has_moved or self.is_changing:
            self._moved_ms = now_ms
            if self._since_ms is None:
                self._since_ms = now_ms
        if self._since_ms is None:
            return False
        if self.is_changing and self._age(self._since_ms, now_ms):
            self._since_ms = None
            self.level = level
            self.is_changing = False
            return True
        # for longer than it: a rhythm of just the debounce time would never be seen
        if ticks_diff(now_ms, self._moved_ms) > self.debounce_ms:
            self._since_ms = None
        return False

    def rest_ms(self, now_ms: int) -> "int | None":
        """Return how long until poll() may have something to say, or None while the input is steady."""
        if self._since_ms is None:
            return None
        if self._age(self._since_ms, now_ms):
            return max(0, self.debounce_ms + 1 - ticks_diff(now_ms, self._moved_ms))
        return self.debounce_ms - ticks_diff(now_ms, self._since_ms)

    def _age(self, start_ms: int, now_ms: int) -> bool:
        return ticks_diff(now_ms, start_ms) >= self.debounce_ms

    def _read(self) -> int:
        raise NotImplementedError


class Contact(_Debounced):
    """A contact to ground against a pull-up, or an output: low = _SWITCH_CLOSED, high = _SWITCH_OPEN.

    With a `flag` an interrupt leaves a mark at each edge and sets it; without one the owner polls often enough.
    """

    def __init__(
        self, pin: Pin, debounce_ms: int, flag: "ThreadSafeFlag | None" = None, pull: int = Pin.PULL_UP
    ) -> None:
        self._pin = pin
        self._flag = flag
        pin.init(Pin.IN, pull)
        super().__init__(debounce_ms)
        if flag is not None:
            pin.irq(handler=self._on_edge, trigger=Pin.IRQ_FALLING | Pin.IRQ_RISING)

    def _on_edge(self, _pin: Pin) -> None:
        """Interrupt handler: allocates nothing, decides nothing."""
        self._moved[0] = 1
        if self._flag is not None:
            self._flag.set()

    def _read(self) -> int:
        return _SWITCH_OPEN if self._pin.value() else _SWITCH_CLOSED


class Line(_Debounced):
    """A switch with end-of-line resistors, read as a voltage.

    bands: millivolts below which it is shorted, closed, open; at or above the last it is cut. A converter that does not
    answer, or a pin that has none, is a line that nobody sees: cut. It must not keep the lock from starting.
    mv: what was read last, or None.
    """

    def __init__(self, pin: Pin, debounce_ms: int, bands: "Bands") -> None:
        self.bands = bands
        self.mv: "int | None" = None
        try:
            self._adc = ADC(pin, atten=ADC.ATTN_11DB)
        except (ValueError, OSError):
            self._adc = None
        super().__init__(debounce_ms)

    def _read(self) -> int:
        if self._adc is None:
            return _SWITCH_CUT
        try:
            mv = self.mv = self._adc.read_uv() // 1000
        except OSError:
            self.mv = None
            return _SWITCH_CUT
        if mv < self.bands[0]:
            return _SWITCH_SHORTED
        if mv < self.bands[1]:
            return _SWITCH_CLOSED
        return _SWITCH_OPEN if mv < self.bands[2] else _SWITCH_CUT
