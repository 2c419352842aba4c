"""The strike: the only code that drives the output that releases the door.

Default off. Energised = first full power to pull the bolt in, then a carrier of hold_duty_pct to keep it. Both are
pulse trains of the RMT peripheral, written whole into the channel's memory before they start, so that the hardware ends
them by itself: a firmware that hangs, blocks or panics cannot keep the strike on.

Facts this rests on (MicroPython ports/esp32/esp32_rmt.c, ESP-IDF 5.3 to 5.5 esp_driver_rmt; read, not measured):
 * A pulse is at most 32767 ticks, and the slowest tick that ESP32, S3 and C3 all have is 80 MHz / 256 = 312,500 Hz.
 * S3 and C3 have 48 words of memory for a channel (ESP32: 64): two pulses to a word, and the end mark takes one. A
   longer train would be refilled by an interrupt handler, and if that ever stopped, the channel would play its memory
   again and again with the strike on. So a train has at most 94 pulses, 9.85 s; full power covers the rest of 10 s.
 * Making an RMT object routes the pin to its channel, Pin.init(Pin.OUT) routes it back to the GPIO register. Nothing
   else does, so release() needs no word from the channel, whose train runs out unseen.
 * A running train must not be stopped on ESP32: rmt_disable() spins with interrupts off until the train ends, and the
   interrupt watchdog panics after 300 ms (ESP-IDF issue 17692, mended in 5.5.2). So a released channel is kept until
   its train is over. C3 has two channels in all and may stop them: there RMT() fails, and the old ones are given up.
 * Giving up a channel (deinit, or the collector's finaliser) disables the pin's output, whoever drives it by then. So
   it happens only while the strike is off, and every channel is kept in a list until then.
"""

from esp32 import RMT
from machine import Pin
from micropython import const

from vitrine.door.ticks import ticks_add, ticks_diff

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable

# The coil's and the driver transistor's limit; also what a hung firmware can do at worst.
MAX_ON_MS = const(10_000)

_RESOLUTION_HZ = const(312_500)
_TICKS_IN_2_MS = const(625)
_PULSE_MAX = const(32_767)
_TRAIN_MAX_MS = const(9_850)  # 94 pulses of 104.85 ms

# Above hearing; below about 1.3 kHz the carrier's 16-bit counters overflow.
_CARRIER_HZ = const(20_000)

# Full power lasts this much longer if the loop is too busy (a signature check) to switch to the carrier in time:
# better a warm coil for a moment than a bolt that drops while somebody pulls.
_PULL_SPARE_MS = const(1_000)

# Trains that may still run when another is started: 8 channels on ESP32, less the two that this one takes.
_RUNNING_MAX = const(6)


class StrikeError(Exception):
    """The strike cannot be energised now; it is off, or runs on as before."""


class Strike:
    """Strike(pin, pull_ms, hold_duty_pct, ticks_ms): `pin` a machine.Pin, high = energised.

    The owner calls service() at `deadline_ms` or soon after.
    """

    def __init__(self, pin: Pin, pull_ms: int, hold_duty_pct: int, ticks_ms: "Callable[[], int]") -> None:
        self._pin = pin
        self._pull_ms = pull_ms
        # at 100 % there is nothing to chop, and a carrier with no low time is not defined
        self._carrier = (_CARRIER_HZ, hold_duty_pct, True) if hold_duty_pct < 100 else None
        self._ticks_ms = ticks_ms
        self._channels: "list[RMT]" = []  # all that are not given up; the last one may have the pin
        self._has_pin = False
        self._until_ms = 0
        self.deadline_ms: "int | None" = None
        self._drive_low()

    @property
    def is_energised(self) -> bool:
        """Whether current flows: what the hardware says, not what was asked for."""
        return self._has_pin and not self._channels[-1].wait_done()

    def energise(self, on_ms: int) -> None:
        """Energise for `on_ms` from now, 1 to MAX_ON_MS, in place of what runs.

        Raises StrikeError if too many earlier trains still run, ValueError out of bounds, OSError if the hardware
        refuses; except for the first, the strike is off after any of them.
        """
        if not 0 < on_ms <= MAX_ON_MS:
            self.release()
            raise ValueError("strike time out of bounds")
        running = 0
        for channel in self._channels:
            running += not channel.wait_done()
        if running > _RUNNING_MAX:
            raise StrikeError("too many trains")
        now_ms = self._ticks_ms()
        # off for less than a millisecond, which no bolt notices
        self.release()
        # what the carrier's train cannot cover is covered by full power
        pull_ms = max(self._pull_ms, on_ms - _TRAIN_MAX_MS)
        self._start(None, min(on_ms, pull_ms + _PULL_SPARE_MS))
        self._until_ms = ticks_add(now_ms, on_ms)
        self.deadline_ms = ticks_add(now_ms, pull_ms) if pull_ms < on_ms else None

    def release(self) -> None:
        """De-energise at once. Safe to call at any time, and what every fault ends in."""
        self._drive_low()
        running = []
        for channel in self._channels:
            if channel.wait_done():
                channel.deinit()
            else:
                running.append(channel)
        self._channels = running
        self._drive_low()

    def service(self) -> None:
        """Go from full power to the carrier once the bolt is in. Raises OSError; the strike is off then."""
        now_ms = self._ticks_ms()
        if self.deadline_ms is None or ticks_diff(self.deadline_ms, now_ms) > 0:
            return
        self.deadline_ms = None
        left_ms = ticks_diff(self._until_ms, now_ms)
        if left_ms <= 0:
            return
        if self.is_energised:
            self._start(self._carrier, left_ms)
        else:
            # so late that the bolt has dropped: the carrier alone would not pull it in again
            self.energise(left_ms)

    def _start(self, carrier: "tuple[int, int, bool] | None", on_ms: int) -> None:
        try:
            channel = self._new_channel(carrier)
            # from here on the pin belongs to the channel, which is idle and low
            self._channels.append(channel)
            self._has_pin = True
            ticks, levels = _train(on_ms)
            channel.write_pulses(ticks, levels)
        except BaseException:
            self.release()
            raise

    def _new_channel(self, carrier: "tuple[int, int, bool] | None") -> RMT:
        try:
            return RMT(pin=self._pin, resolution_hz=_RESOLUTION_HZ, idle_level=False, tx_carrier=carrier)
        except OSError:
            # no channel left: give up all of ours, running or not, and try once more
            self._drive_low()
            for channel in self._channels:
                channel.deinit()
            self._channels = []
            self._drive_low()
            return RMT(pin=self._pin, resolution_hz=_RESOLUTION_HZ, idle_level=False, tx_carrier=carrier)

    def _drive_low(self) -> None:
        self._has_pin = False
        self.deadline_ms = None
        self._pin.init(Pin.OUT, value=0)


def _train(on_ms: int) -> "tuple[int, tuple[bool, ...]]":
    """Return (ticks of each pulse, levels): equal pulses, all of them high, that last `on_ms` at most."""
    ticks = on_ms * _TICKS_IN_2_MS // 2
    pulses = (ticks + _PULSE_MAX - 1) // _PULSE_MAX
    return ticks // pulses, (True,) * pulses
