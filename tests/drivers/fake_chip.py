"""The chip as the drivers see it: `machine` and `esp32` with the real names, refusing what the chip refuses.

`Chip` holds the hardware side: virtual time in milliseconds, what drives each pin, and the RMT channels, whose trains
run by themselves. `install()` puts the two modules in place; a test makes a new Chip for each case.
"""

import sys


class Panic(BaseException):
    """The chip would have crashed here."""


class Chip:
    """words: RMT memory of a channel. channels: how many. can_stop: whether a running train may be stopped."""

    now = None  # the chip that runs

    def __init__(self, words=64, channels=8, can_stop=False):
        self.ms = 2**30 - 4000
        self.words = words
        self.channels = channels
        self.can_stop = can_stop
        self.used = 0
        self.driver = {}  # pin number -> None (floating, pulled down outside), 0, 1 or an RMT
        self.inputs = {}
        self.handlers = {}
        self.tones = {}
        self.timers = {}  # those that run: when they are due
        self.mv = {}  # pin number -> voltage, or None: the converter does not answer
        Chip.now = self

    def ticks_ms(self):
        return self.ms & (2**30 - 1)

    def pass_ms(self, ms):
        """Let time pass; a timer calls back on its millisecond."""
        for _ in range(ms):
            self.ms += 1
            for timer, due_ms in list(self.timers.items()):
                if due_ms <= self.ms:
                    del self.timers[timer]
                    timer.callback(timer)

    def power(self, number):
        """Return what the coil at this pin gets now: 0 to 100 percent."""
        driver = self.driver.get(number)
        if isinstance(driver, RMT):
            return driver.power(self.ms)
        return 100 if driver else 0

    def set_input(self, number, level, is_lost=False):
        """Change the level of an input; the edge raises the interrupt unless it is lost."""
        old, self.inputs[number] = self.inputs.get(number, 1), level
        pin, handler, trigger = self.handlers.get(number, (None, None, 0))
        if handler is not None and level != old and not is_lost and trigger & (1 if level else 2):
            handler(pin)


class Pin:
    IN = 1
    OUT = 3
    PULL_DOWN = 1
    PULL_UP = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, number, mode=None, pull=None, *, value=None):
        self.number = number
        if mode is not None:
            self.init(mode, pull, value=value)

    def init(self, mode, pull=None, *, value=None):
        if mode == self.OUT:
            assert value == 0 and pull is None, "an output starts low"
            Chip.now.driver[self.number] = 0
        else:
            assert mode == self.IN and pull in (self.PULL_UP, self.PULL_DOWN) and value is None
            Chip.now.inputs.setdefault(self.number, 1 if pull == self.PULL_UP else 0)

    def value(self, *level):
        if level:
            assert self.number in Chip.now.driver, "an input is not driven"
            Chip.now.driver[self.number] = level[0]
        if self.number in Chip.now.driver:  # an output is read back as it is
            return 1 if Chip.now.power(self.number) else 0
        return Chip.now.inputs.get(self.number, 1)

    def irq(self, *, handler, trigger):
        assert callable(handler) and trigger in (1, 2, 3)
        Chip.now.handlers[self.number] = (self, handler, trigger)


class Timer:
    ONE_SHOT = 0

    def __init__(self, number):
        assert number in (0, 1), "the smallest chip has two"

    def init(self, *, mode, period, callback):
        assert mode == self.ONE_SHOT and period > 0
        self.callback = callback
        Chip.now.timers[self] = Chip.now.ms + period


class ADC:
    ATTN_11DB = 3

    def __init__(self, pin, *, atten):
        if pin.number not in range(32, 40):
            raise ValueError("invalid pin")
        assert atten == self.ATTN_11DB and pin.number not in Chip.now.handlers, "an analog pin raises no interrupts"
        self.number = pin.number

    def read_uv(self):
        mv = Chip.now.mv[self.number]
        if mv is None:
            raise OSError(116)
        return min(mv, 3130) * 1000


class RMT:
    def __init__(self, *, pin, resolution_hz, idle_level, tx_carrier):
        assert isinstance(pin, Pin) and idle_level is False
        chip = Chip.now
        divider = 80_000_000 // resolution_hz
        assert 80_000_000 % resolution_hz == 0 and 1 <= divider <= 256, "no such tick"
        self.duty = 100
        if tx_carrier is not None:
            hz, self.duty, level = tx_carrier
            assert 0 < self.duty < 100 and level is True
            assert 80_000_000 * self.duty // (hz * 100) <= 65535 and 80_000_000 // hz <= 65535
        if chip.used >= chip.channels:
            raise OSError(-0x105, "ESP_ERR_NOT_FOUND")
        chip.used += 1
        self.pin = pin
        self.resolution_hz = resolution_hz
        self.start_ms = self.end_ms = chip.ms
        chip.driver[pin.number] = self

    def power(self, ms):
        return self.duty if self.start_ms <= ms < self.end_ms else 0

    def write_pulses(self, duration, data):
        assert self.pin is not None and self.wait_done(), "would block until the train before is over"
        assert isinstance(duration, int) and 0 < duration <= 32767 and isinstance(data, tuple)
        assert all(level == 1 for level in data)
        assert len(data) <= 2 * (Chip.now.words - 1), "the train needs the CPU to refill the memory"
        self.start_ms = Chip.now.ms
        self.end_ms = self.start_ms + duration * len(data) * 1000 / self.resolution_hz

    def wait_done(self):
        if self.pin is None:
            raise OSError("already deinitialized")
        return Chip.now.ms >= self.end_ms

    def deinit(self):
        chip = Chip.now
        if not chip.can_stop and self.end_ms - chip.ms > 300:
            raise Panic("rmt_disable() of a running train")
        if chip.driver.get(self.pin.number) is not None:
            chip.driver[self.pin.number] = None
        chip.used -= 1
        self.pin = None


class PWM:
    def __init__(self, pin, *, freq, duty_u16):
        assert pin.number not in Chip.now.tones
        self.pin = pin
        self.init(freq=freq, duty_u16=duty_u16)

    def init(self, *, freq, duty_u16):
        assert 0 < freq <= 40_000_000 and 0 <= duty_u16 <= 65535
        Chip.now.tones[self.pin.number] = freq

    def deinit(self):
        del Chip.now.tones[self.pin.number]


class WDT:
    def __init__(self, *, timeout):
        assert isinstance(timeout, int) and timeout > 0
        self.fed = 0

    def feed(self):
        self.fed += 1


class NVS:
    """Changes are visible at once and durable at commit(), as a power cut (`cut`) shows."""

    durable = {}
    visible = {}

    @classmethod
    def cut(cls):
        cls.visible = dict(cls.durable)

    def __init__(self, namespace):
        assert isinstance(namespace, str) and 0 < len(namespace) <= 15
        self.namespace = namespace

    def _key(self, key):
        assert isinstance(key, str) and 0 < len(key) <= 15
        return self.namespace, key

    def get_blob(self, key, buffer):
        value = self.visible.get(self._key(key))
        if value is None:
            raise OSError(-0x1102, "ESP_ERR_NVS_NOT_FOUND")
        if len(value) > len(buffer):
            raise OSError(-0x110C, "ESP_ERR_NVS_INVALID_LENGTH")
        buffer[: len(value)] = value
        return len(value)

    def set_blob(self, key, value):
        NVS.visible[self._key(key)] = bytes(value)

    def get_i32(self, key):
        value = self.visible.get(self._key(key))
        if not isinstance(value, int):
            raise OSError(-0x1102, "ESP_ERR_NVS_NOT_FOUND")
        return value

    def set_i32(self, key, value):
        if not -(2**31) <= value < 2**31:
            raise OverflowError
        NVS.visible[self._key(key)] = value

    def erase_key(self, key):
        if NVS.visible.pop(self._key(key), None) is None:
            raise OSError(-0x1102, "ESP_ERR_NVS_NOT_FOUND")

    def commit(self):
        NVS.durable = dict(NVS.visible)


class _Module:
    pass


def install():
    """Put `machine` and `esp32` in place for the drivers that are imported after this."""
    machine = _Module()
    machine.Pin = Pin
    machine.ADC = ADC
    machine.PWM = PWM
    machine.WDT = WDT
    machine.Timer = Timer
    esp32 = _Module()
    esp32.RMT = RMT
    esp32.NVS = NVS
    sys.modules["machine"] = machine
    sys.modules["esp32"] = esp32
