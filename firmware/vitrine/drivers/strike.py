"""The strike: the only code that drives the output that releases the door.

Default off. Energised = first full power to pull the bolt in, then a carrier of hold_duty_pct to keep it. Both are
pulse trains of the RMT peripheral, which the hardware plays and ends by itself. A train lasts 3 s at most and service()
puts the next one in its place a second before its end: a firmware that hangs, blocks or panics lets go within 3 s.

Facts this rests on (MicroPython ports/esp32/esp32_rmt.c, ESP-IDF 5.3 to 5.5 esp_driver_rmt; read, not measured):
 * A pulse is at most 32767 ticks, and the slowest tick that ESP32, S3 and C3 all have is 80 MHz / 256 = 312,500 Hz.
   A channel has memory for 48 words on S3 and C3 (64 on ESP32), two pulses to a word, and the end mark takes one. A
   train that fits needs no CPU; a longer one is refilled by an interrupt handler, and if that ever stopped, the channel
   would play its memory again and again with the strike on. 3 s are 29 pulses, 15 words.
 * Making an RMT object routes the pin to its channel, Pin.init(Pin.OUT) routes it back to the GPIO register. Nothing
   else does, so release() needs no word from the channel, whose train runs out unseen.
 * A running train must not be stopped on ESP32: rmt_disable() spins with interrupts off until the train ends, and the
   interrupt watchdog panics after 300 ms (ESP-IDF issue 17692, mended in 5.5.2). So a channel is given up only when its
   train is over. C3 has two channels in all and may stop them: there RMT() fails, and all old ones are given up.
 * Giving up a channel (deinit, or the collector's finaliser) disables the pin's output, whoever drives it by then. So
   every channel is kept in a list, and given up right before the pin is routed anew.
"""

from esp32 import RMT
from machine import Pin
from micropython import const

from vitrine.door.ticks import ticks_add, ticks_diff

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable

    Carrier = tuple[int, int, bool] | None

# The coil's and the driver transistor's limit for one grant.
MAX_ON_MS = const(10_000)

_RESOLUTION_HZ = const(312_500)
_TICKS_IN_2_MS = const(625)
_PULSE_MAX = const(32_767)

# Above hearing; below about 1.3 kHz the carrier's 16-bit counters overflow.
_CARRIER_HZ = const(20_000)

# A train outlasts the moment when it is to be replaced by this: a loop that is busy (a signature check) for less does
# not drop the bolt while somebody pulls. Three times this is the longest train.
_SPARE_MS = const(1_000)
# So little while more trains than this still run, unseen: those of a button that is pressed again and again at a door
# that flaps are over before the channels are.
_SPARE_SHORT_MS = const(62)
_RUNNING_FEW = const(2)

# Who asks again soon gets no new pull: however often they ask, full power is at most a quarter of the time.
_REST_PULLS = const(4)
_REST_MIN_MS = const(1_000)

# Trains that may still run when one more is started: ESP32 has 8 channels, one must stay free.
_RUNNING_MAX = const(6)


class StrikeError(Exception):
    """The strike cannot be energised now."""


class Strike:
    """Strike(pin, pull_ms, hold_duty_pct, ticks_ms): `pin` a machine.Pin, high = energised.

    The owner calls service() at `deadline_ms` (ticks, or None) or soon after.
    """

    def __init__(self, pin: Pin, pull_ms: int, hold_duty_pct: int, ticks_ms: "Callable[[], int]") -> None:
        self._pin = pin
        self.configure(pull_ms, hold_duty_pct)
        self._ticks_ms = ticks_ms
        self._channels: "list[RMT]" = []  # all that are not given up; the last one may have the pin
        self._has_pin = False
        self._until_ms = 0  # the end of what was asked for
        self._train_end_ms = 0
        self._pulled_ms = 0
        self.deadline_ms: "int | None" = None
        self._drive_low()

    def configure(self, pull_ms: int, hold_duty_pct: int) -> None:
        """Take other settings for the trains from now on."""
        self._pull_ms = pull_ms
        # at 100 % there is nothing to chop, and a carrier with no low time is not defined
        self._carrier: "Carrier" = (_CARRIER_HZ, hold_duty_pct, True) if hold_duty_pct < 100 else None

    @property
    def is_energised(self) -> bool:
        """Whether current flows: what the hardware says, not what was asked for."""
        return self._has_pin and not self._channels[-1].wait_done()

    @property
    def is_astray(self) -> bool:
        """Whether the output is high though nothing here drives it: read back from the pin."""
        return not self.is_energised and self._pin.value() == 1

    def energise(self, on_ms: int) -> None:
        """Energise for `on_ms` from now, 1 to MAX_ON_MS, in place of what runs.

        Raises ValueError out of bounds, StrikeError if too many earlier trains still run (a release costs one), OSError
        if the hardware refuses; the strike is off then.
        """
        if not 0 < on_ms <= MAX_ON_MS:
            self.release()
            raise ValueError("strike time out of bounds")
        now_ms = self._ticks_ms()
        is_on = self.is_energised
        self._until_ms = ticks_add(now_ms, on_ms)
        rest_ms = max(_REST_PULLS * self._pull_ms, _REST_MIN_MS)
        if is_on and ticks_diff(now_ms, self._pulled_ms) < rest_ms:
            if ticks_diff(self._train_end_ms, self._until_ms) <= 0:
                # what runs goes on; service() adds what is missing
                if self.deadline_ms is None:
                    self.deadline_ms = ticks_add(self._train_end_ms, -_SPARE_MS)
                return
        else:
            self._pulled_ms = now_ms
        pull_ms = max(0, self._pull_ms - ticks_diff(now_ms, self._pulled_ms))
        self._start(now_ms, on_ms, pull_ms)

    def release(self) -> None:
        """De-energise at once. Safe to call at any time, and what every fault ends in."""
        self._drive_low()
        self._give_up(False)
        self._drive_low()

    def service(self) -> None:
        """Go from full power to the carrier, or on to the next train. Raises like energise()."""
        now_ms = self._ticks_ms()
        if self.deadline_ms is None or ticks_diff(self.deadline_ms, now_ms) > 0:
            return
        left_ms = ticks_diff(self._until_ms, now_ms)
        if left_ms <= 0:
            self.release()
        elif self.is_energised:
            self._start(now_ms, left_ms, 0)
        else:
            # so late that the bolt has dropped: the carrier alone would not pull it in again
            self.energise(left_ms)

    def _start(self, now_ms: int, left_ms: int, pull_ms: int) -> None:
        """Have a new channel drive the pin: at full power for `pull_ms`, or with the carrier if that is 0.

        The output is off for less than a millisecond meanwhile.
        """
        try:
            channel = self._new_channel(None if pull_ms else self._carrier)
            spare_ms = _SPARE_MS if len(self._channels) <= _RUNNING_FEW else _SPARE_SHORT_MS
            next_ms = pull_ms or 2 * spare_ms
            train_ms = min(left_ms, next_ms + spare_ms)
            # from here on the pin belongs to the channel, which is idle and low
            self._channels.append(channel)
            self._has_pin = True
            ticks, levels = _train(train_ms)
            channel.write_pulses(ticks, levels)
        except BaseException:
            self.release()
            raise
        self._train_end_ms = ticks_add(now_ms, train_ms)
        self.deadline_ms = ticks_add(now_ms, next_ms) if (pull_ms or train_ms) < left_ms else None

    def _new_channel(self, carrier: "Carrier") -> RMT:
        self._give_up(False)
        if len(self._channels) > _RUNNING_MAX:
            raise StrikeError("too many trains")
        try:
            return RMT(pin=self._pin, resolution_hz=_RESOLUTION_HZ, idle_level=False, tx_carrier=carrier)
        except OSError:
            # no channel left: give up all of ours, running or not, and try once more
            self._give_up(True)
            return RMT(pin=self._pin, resolution_hz=_RESOLUTION_HZ, idle_level=False, tx_carrier=carrier)

    def _give_up(self, also_running: bool) -> None:
        """Give up channels; the pin's output may be disabled after it."""
        kept: "list[RMT]" = []
        for channel in self._channels:
            if also_running or channel.wait_done():
                channel.deinit()
            else:
                kept.append(channel)
        self._channels = kept

    def _drive_low(self) -> None:
        self._has_pin = False
        self.deadline_ms = None
        self._pin.init(Pin.OUT, value=0)


def _train(on_ms: int) -> "tuple[int, tuple[bool, ...]]":
    """Return (ticks of each pulse, levels): equal pulses, all of them high, that last `on_ms` at most."""
    ticks = on_ms * _TICKS_IN_2_MS // 2
    pulses = (ticks + _PULSE_MAX - 1) // _PULSE_MAX
    return ticks // pulses, (True,) * pulses
