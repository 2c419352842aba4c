"""Stand-in for the ESP32's `machine`. It refuses what the chip refuses; the hardware itself is the harness."""

import _board_link
from _clock import clock
from _pin import ADC, PWM, Pin  # noqa: F401  (names of this module)

link = _board_link.link

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

_FREQUENCIES = (20_000_000, 40_000_000, 80_000_000, 160_000_000, 240_000_000)
_RTC_MEMORY_MAX = 2048
_freq = 160_000_000  # what the chip boots with
_boot = _board_link.setup


def reset():
    """Reset the chip. The harness ends this process; nothing after this line runs."""
    _end("reset")


def soft_reset():
    """Restart the interpreter; pins and RTC keep their state."""
    _end("soft_reset")


def _end(op):
    link.send(op)
    while True:
        link.wait()
        link.receive_all()


def reset_cause():
    return _boot["cause"]


def unique_id():
    return bytes.fromhex(_boot["id"])


def freq(*value):
    global _freq
    if not value:
        return _freq
    if value[0] not in _FREQUENCIES:
        raise ValueError("frequency must be 20MHz, 40MHz, 80Mhz, 160MHz or 240MHz")
    _freq = value[0]
    link.send("freq", {"hz": _freq}, is_passive=True)
    return None


def idle():
    clock.sleep_until(clock.now_us())


def disable_irq():
    """Callbacks run only while the firmware waits, so there is nothing to hold back."""
    return 0


def enable_irq(state):
    pass


class Timer:
    """Hardware timers 0 to 3, and virtual ones (-1)."""

    ONE_SHOT = 0
    PERIODIC = 1

    _timers = {}
    _last_virtual = 1000

    def __new__(cls, id=-1, *args, **kwargs):
        if not isinstance(id, int) or id >= 4:
            raise ValueError("Timer(%s) doesn't exist, there are only 4 hardware timers" % id)
        if id >= 0 and id in cls._timers:
            return cls._timers[id]
        timer = super().__new__(cls)
        if id < 0:
            Timer._last_virtual += 1
            id = Timer._last_virtual
        timer._id = id
        timer._callback = None
        if id < 4:
            cls._timers[id] = timer
        return timer

    def __init__(self, id=-1, **kwargs):
        if kwargs:
            self.init(**kwargs)

    def init(self, *, mode=PERIODIC, callback=None, period=0xFFFFFFFF, tick_hz=1000, freq=None, hard=False):
        if hard:
            raise ValueError("hard Timers are not implemented")
        if mode not in (self.ONE_SHOT, self.PERIODIC):
            raise ValueError("invalid mode")
        period_us = int(1_000_000 / freq) if freq is not None else period * 1_000_000 // tick_hz
        if period_us <= 0:
            raise ValueError("Timer period is too short for this timer")
        self._callback = callback
        self._timers[self._id] = self  # a running timer is kept alive
        link.send("timer", {"n": self._id, "us": period_us, "repeat": mode == self.PERIODIC})

    def deinit(self):
        self._callback = None
        link.send("timer", {"n": self._id, "us": 0, "repeat": False})
        if self._id >= 4:
            self._timers.pop(self._id, None)


def _timer_event(message):
    timer = Timer._timers.get(message["n"])
    if timer is not None and timer._callback is not None:
        timer._callback(timer)


link.on("timer", _timer_event)


class WDT:
    """The task watchdog. Once started it cannot be stopped; a second WDT(...) changes its time-out."""

    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError
        if not isinstance(timeout, int) or timeout <= 0:
            raise ValueError("WDT timeout too short")
        link.send("wdt", {"us": timeout * 1000})
        if clock.is_virtual:
            clock.feed(timeout * 1000)

    def feed(self):
        if clock.is_virtual:
            clock.feed()
        else:
            link.send("feed", None, is_passive=True)


class RTC:
    """Wall clock and 2 KiB of memory that survive every reset but a power cut."""

    _memory = bytes.fromhex(_boot["memory"])

    def init(self, date):
        self._set(date, 3)

    def datetime(self, *date):
        if date:
            self._set(date[0], 4)
            return None
        import utime

        us = clock.now_us() + clock.epoch_us
        t = utime.gmtime(us // 1_000_000 + 946684800)
        return (t[0], t[1], t[2], t[6], t[3], t[4], t[5], us % 1_000_000)

    def _set(self, date, hour):
        if len(date) != 8:
            raise ValueError("requested length 8 but object has length %d" % len(date))
        import utime

        seconds = utime.mktime((date[0], date[1], date[2], date[hour], date[hour + 1], date[hour + 2], 0, 0, 0))
        clock.epoch_us = (int(seconds) - 946684800) * 1_000_000 + date[7] - clock.now_us()
        link.send("rtc", {"epoch": clock.epoch_us}, is_passive=True)

    def memory(self, *data):
        if not data:
            return RTC._memory
        if len(data[0]) > _RTC_MEMORY_MAX:
            raise ValueError("buffer too long")
        RTC._memory = bytes(data[0])
        link.send("rtc_memory", {"v": RTC._memory.hex()}, is_passive=True)
        return None


def _rtc_memory_event(message):
    RTC._memory = bytes.fromhex(message["v"])


link.on("early:rtc_memory", _rtc_memory_event)
