"""Stand-in for the ESP32's `time`: epoch 2000, tick counters of 30 bits from boot, driven by the board's clock."""

import utime
from _clock import clock

_EPOCH_2000_S = 946684800  # the interpreter below counts from 1970
_TICKS_MASK = (1 << 30) - 1
_TICKS_HALF = 1 << 29

gmtime = lambda secs=None: _tuple(utime.gmtime, secs)  # noqa: E731
localtime = gmtime  # the chip knows no time zones


def _tuple(convert, secs):
    fields = convert((time() if secs is None else int(secs)) + _EPOCH_2000_S)
    return tuple(fields)[:8]


def mktime(fields):
    return int(utime.mktime(tuple(fields)[:8] + (0,) * (8 - len(fields)))) - _EPOCH_2000_S


def time():
    return (clock.now_us() + clock.epoch_us) // 1_000_000


def time_ns():
    return (clock.now_us() + clock.epoch_us) * 1000


def ticks_ms():
    return (clock.uptime_us() // 1000) & _TICKS_MASK


def ticks_us():
    return clock.uptime_us() & _TICKS_MASK


def ticks_cpu():
    return (clock.uptime_us() * 240) & _TICKS_MASK


def ticks_add(ticks, delta):
    if not -_TICKS_HALF < delta < _TICKS_HALF:
        raise OverflowError("ticks interval overflow")
    return (ticks + delta) & _TICKS_MASK


def ticks_diff(end, start):
    return ((end - start + _TICKS_HALF) & _TICKS_MASK) - _TICKS_HALF


def sleep_us(duration):
    clock.sleep_until(clock.now_us() + max(0, int(duration)))


def sleep_ms(duration):
    clock.sleep_until(clock.now_us() + max(0, int(duration)) * 1000)


def sleep(seconds):
    clock.sleep_until(clock.now_us() + max(0, int(seconds * 1_000_000)))
