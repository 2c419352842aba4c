"""The clocks of a chip: an RTC and ticks, run by one crystal that is somewhat fast or slow, beside the true time.

chip = ChipTime(unix_s, drift_ppm=-40)
clock = chip.clock(settings)    # a start of the firmware's driver; put back with `restore()`
chip.pass_ms(60_000)
"""

import time as host_time

from vitrine.drivers import clock as driver

WRAP = 2**30
EPOCH_2000_S = 946_684_800
_KEPT = driver.time, driver._EPOCH_S


def restore():
    """Give the driver its real modules back."""
    driver.time, driver._EPOCH_S = _KEPT


class Settings:
    """The settings that a clock asks for (SPEC.md section 6)."""

    def __init__(self, drift_ppm=100, max_error_s=300, coast_after_s=86_400, sntp_address=0):
        self.drift_ppm = drift_ppm
        self.max_error_s = max_error_s
        self.coast_after_s = coast_after_s
        self.sntp_address = sntp_address


class ChipTime:
    """true_ms: the true time in Unix ms. ticks: what the tick counter says at the start; it wraps soon by default."""

    def __init__(self, unix_s, drift_ppm=0, epoch_s=EPOCH_2000_S, ticks=WRAP - 5_000):
        self.true_ms = unix_s * 1000
        self.drift_ppm = drift_ppm
        self.epoch_s = epoch_s
        self.rtc = Rtc(self)
        self.rtc_ns = epoch_s * 1_000_000_000  # as after power-up
        self._ticks_ns = ticks * 1_000_000

    def clock(self, settings=None, floor_s=0):
        """Return a new driver over this chip."""
        driver.time, driver._EPOCH_S = self, self.epoch_s
        return driver.Clock(self.rtc, floor_s, settings or Settings())

    def pass_ms(self, ms):
        """Let true time pass; the crystal counts what it counts."""
        self.true_ms += ms
        counted_ns = ms * (1_000_000 + self.drift_ppm)
        self.rtc_ns += counted_ns
        self._ticks_ns += counted_ns

    def reset(self):
        """The chip restarts: ticks begin anew, the RTC and its memory go on."""
        self._ticks_ns = 0

    def power_cut(self):
        """Supply and battery fail."""
        self.reset()
        self.rtc_ns = self.epoch_s * 1_000_000_000
        self.rtc.data = b""

    def set_rtc(self, unix_s):
        """Set the RTC from outside."""
        self.rtc_ns = unix_s * 1_000_000_000

    # the chip's `time`

    def time_ns(self):
        return self.rtc_ns - self.epoch_s * 1_000_000_000

    def ticks_ms(self):
        return self._ticks_ns // 1_000_000 % WRAP

    def gmtime(self, seconds):
        return tuple(host_time.gmtime(seconds + self.epoch_s))[:8]


class Rtc:
    """machine.RTC: `writes` counts what is written to it and to its memory; it dies before the one that is `cut_at`."""

    def __init__(self, chip):
        self._chip = chip
        self.data = b""
        self.writes = 0
        self.cut_at = None

    def memory(self, *data):
        if data:
            self._write()
            assert len(data[0]) <= 2048
            self.data = bytes(data[0])
        return self.data

    def datetime(self, fields):
        self._write()
        year, month, day, weekday, hour, minute, second, us = fields
        assert 0 <= us < 1_000_000
        unix_s = int(host_time.mktime((year, month, day, hour, minute, second, 0, 0, 0)))
        assert weekday == host_time.gmtime(unix_s)[6]
        self._chip.rtc_ns = unix_s * 1_000_000_000 + us * 1000

    def _write(self):
        if self.writes == self.cut_at:
            raise Cut
        self.writes += 1


class Cut(Exception):
    """The chip was reset here."""
