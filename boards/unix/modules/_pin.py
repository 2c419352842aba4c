"""machine.Pin, PWM and ADC for the ESP32's GPIO matrix. Levels live in the harness; inputs are mirrored here."""

import _board_link
from _errors import esp_error

link = _board_link.link
_INPUT_ONLY_FROM = 34
_FLASH_PINS = (6, 7, 8, 9, 10, 11)  # wired to the flash chip: touching one crashes the module
_MISSING_PINS = (20, 24, 28, 29, 30, 31)
_ADC_PINS = (0, 2, 4, 12, 13, 14, 15, 25, 26, 27, 32, 33, 34, 35, 36, 37, 38, 39)
_ADC1_FROM = 32

_pins = {}


def _pin_event(message):
    pin = _pins.get(message["n"])
    if pin is not None:
        pin._edge(message["v"])


def _pin_level(message):
    pin = _pins.get(message["n"])
    if pin is not None:
        pin._level = message["v"]


link.on("early:pin", _pin_level)
link.on("pin", _pin_event)


def gpio(pin):
    """The GPIO number of a Pin or int, as machine_pin_get_id."""
    return (pin if isinstance(pin, Pin) else Pin(pin)).number


class Pin:
    IN = 1
    OUT = 3
    OPEN_DRAIN = 7
    PULL_DOWN = 1
    PULL_UP = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2
    WAKE_LOW = 4
    WAKE_HIGH = 5
    DRIVE_0 = 0
    DRIVE_1 = 1
    DRIVE_2 = 2
    DRIVE_3 = 3

    def __new__(cls, id, *args, **kwargs):
        if isinstance(id, Pin):
            return id
        if not isinstance(id, int) or isinstance(id, bool) or not 0 <= id < 40 or id in _MISSING_PINS:
            raise ValueError("invalid pin")
        if id in _FLASH_PINS:
            raise ValueError("invalid pin: wired to the flash")
        if id not in _pins:
            pin = super().__new__(cls)
            pin.number = id
            pin._mode = 0
            pin._level = 0
            pin._handler = None
            pin._trigger = 0
            _pins[id] = pin
        return _pins[id]

    def __init__(self, id, *args, **kwargs):
        if args or kwargs:
            self.init(*args, **kwargs)

    def init(self, mode=None, pull=-1, *, value=None, drive=None, hold=None):
        if mode is not None:
            if mode not in (self.IN, self.OUT, self.OPEN_DRAIN):
                raise ValueError("invalid pin mode")
            if self.number >= _INPUT_ONLY_FROM and mode != self.IN:
                raise ValueError("pin can only be input")
            self._mode = mode
        if pull not in (-1, None):
            if not isinstance(pull, int) or pull & ~3:
                raise ValueError("invalid pull")
            if self.number >= _INPUT_ONLY_FROM and pull:
                raise ValueError("pin has no pull resistor")
        if drive is not None and drive not in (0, 1, 2, 3):
            raise ValueError("invalid drive")
        fields = {"n": self.number}
        if mode is not None:
            fields["mode"] = mode
        if pull != -1:
            fields["pull"] = pull or 0
        if value is not None:
            fields["v"] = 1 if value else 0
        if hold:
            raise NotImplementedError("pad hold is not emulated")
        self._level = link.request("pin", fields)["v"]

    def value(self, *value):
        if not value:
            if link.has_message():
                link.receive_all()
            return self._level
        if len(value) > 1:
            raise TypeError("function takes 2 positional arguments but %d were given" % (len(value) + 1))
        level = 1 if value[0] else 0
        if self._mode != self.IN:
            self._level = level
        link.send("level", {"n": self.number, "v": level}, is_passive=True)
        return None

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    def toggle(self):
        self.value(not self._level)

    def irq(self, handler=None, trigger=IRQ_FALLING | IRQ_RISING, wake=None):
        if handler is not None and not callable(handler):
            raise TypeError("handler must be callable")
        if not isinstance(trigger, int) or not 0 < trigger <= 3:
            raise ValueError("invalid trigger")  # level triggers only wake from sleep; the board does not sleep
        if wake is not None:
            raise ValueError("bad wake value")
        self._handler = handler
        self._trigger = trigger
        return self

    def _edge(self, level):
        if self._handler is not None and self._trigger & (1 if level else 2):
            self._handler(self)

    def __repr__(self):
        return "Pin(%d)" % self.number


class PWM:
    """One LEDC channel. The chip has 16 and counts duty in 16 bits at this interface."""

    _channels = {}

    def __init__(self, dest, freq=-1, duty=-1, duty_u16=-1, duty_ns=-1, invert=0):
        number = gpio(dest)
        if number >= _INPUT_ONLY_FROM:
            raise OSError(*esp_error("ESP_ERR_INVALID_ARG"))
        if number not in self._channels and len(self._channels) >= 16:
            raise ValueError("out of PWM channels:16")
        self._number = number
        self._freq, self._duty_u16, self._invert = self._channels.get(number) or (5000, 32768, 0)
        self._channels[number] = (self._freq, self._duty_u16, self._invert)
        self.init(freq, duty, duty_u16, duty_ns, invert)

    def init(self, freq=-1, duty=-1, duty_u16=-1, duty_ns=-1, invert=-1):
        if (duty >= 0) + (duty_u16 >= 0) + (duty_ns >= 0) > 1:
            raise ValueError("only one of parameters 'duty', 'duty_u16' or 'duty_ns' is allowed")
        if freq != -1:
            if not 0 < freq <= 40_000_000:
                raise ValueError("frequency must be from 1Hz to 40MHz")
            self._freq = freq
        if invert != -1:
            self._invert = 1 if invert else 0
        if duty >= 0:
            self._set(duty, 1023)
        elif duty_u16 >= 0:
            self._set(duty_u16, 65535)
        elif duty_ns >= 0:
            self._set(duty_ns, 1_000_000_000 // self._freq)
        else:
            self._apply()

    def freq(self, *value):
        if not value:
            return self._freq
        self.init(freq=value[0])
        return None

    def duty(self, *value):
        if not value:
            return self._duty_u16 * 1023 // 65535
        self._set(value[0], 1023)
        return None

    def duty_u16(self, *value):
        if not value:
            return self._duty_u16
        self._set(value[0], 65535)
        return None

    def duty_ns(self, *value):
        if not value:
            return self._duty_u16 * (1_000_000_000 // self._freq) // 65535
        self._set(value[0], 1_000_000_000 // self._freq)
        return None

    def deinit(self):
        self._channels.pop(self._number, None)
        link.send("pwm", {"n": self._number, "hz": 0, "duty": 0}, is_passive=True)

    def _set(self, duty, full):
        if not isinstance(duty, int) or not 0 <= duty <= full:
            raise ValueError("duty must be from 0 to %d" % full)
        self._duty_u16 = duty * 65535 // full
        self._apply()

    def _apply(self):
        self._channels[self._number] = (self._freq, self._duty_u16, self._invert)
        duty = 65535 - self._duty_u16 if self._invert else self._duty_u16
        link.send("pwm", {"n": self._number, "hz": self._freq, "duty": duty}, is_passive=True)


class ADC:
    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3
    WIDTH_9BIT = 9
    WIDTH_10BIT = 10
    WIDTH_11BIT = 11
    WIDTH_12BIT = 12

    # Accurate up to here; with 11 dB only to 2450, but it reads on to the end of ESP-IDF's table for it (read, for a
    # reference of 1100 mV)
    _FULL_MV = (950, 1250, 1750, 3130)

    def __init__(self, pin, *, atten=ATTN_0DB):
        self._number = gpio(pin)
        if self._number not in _ADC_PINS:
            raise ValueError("invalid pin")
        self.atten(atten)

    def atten(self, atten):
        if atten not in (0, 1, 2, 3):
            raise ValueError("invalid atten")
        self._atten = atten

    def width(self, width):
        if width not in (9, 10, 11, 12):
            raise ValueError("invalid bits")

    def read_uv(self):
        if self._number < _ADC1_FROM and _board_link.is_wifi_active:
            raise OSError(*esp_error("ESP_ERR_TIMEOUT"))  # ADC2 belongs to the Wi-Fi driver while it runs
        return min(link.request("adc", {"n": self._number})["mv"], self._FULL_MV[self._atten]) * 1000

    def read_u16(self):
        return self.read_uv() * 65535 // (self._FULL_MV[self._atten] * 1000)

    def read(self):
        return self.read_u16() >> 4
