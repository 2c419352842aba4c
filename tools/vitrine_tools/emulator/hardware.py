"""The chip around the firmware's process: timers, watchdog, clock, converters; it goes on when the firmware hangs."""

from collections.abc import Callable

from vitrine_tools.emulator.clock import Alarm, HardwareClock
from vitrine_tools.emulator.pins import Pins

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5

EPOCH_2000_S = 946_684_800  # the chip counts from 2000-01-01


class Hardware:
    """`send(message)` reaches the firmware; `reset(cause)` restarts it."""

    def __init__(
        self,
        clock: HardwareClock,
        pins: Pins,
        send: Callable[[dict], None],
        reset: Callable[[int], None],
        rtc_s: float | None,
        has_battery: bool,
    ) -> None:
        self._clock = clock
        self._pins = pins
        self._send = send
        self._reset = reset
        self._has_battery = has_battery
        self._is_rtc_lost = False
        self._epoch_us = 0
        self._lost_power = False
        self._timers: dict[int, Alarm] = {}
        self._watchdog: Alarm | None = None
        self._watchdog_us = 0
        self.memory = b""  # the RTC's 2 KiB
        self.cause = PWRON_RESET
        self.analog_mv: dict[int, int] = {}
        self.cpu_hz = 160_000_000
        self.set_rtc(EPOCH_2000_S if rtc_s is None else rtc_s)
        self._handlers = {
            "pin": self._on_pin,
            "level": lambda m: pins.write(m["n"], m["v"]),
            "pwm": lambda m: pins.set_pwm(m["n"], m["hz"], m["duty"]),
            "adc": lambda m: self._answer(m, {"mv": self.analog_mv.get(m["n"], 0)}),
            "rmt": lambda m: pins.open_rmt(m["c"], m["n"], m["idle"], m["carrier"]),
            "pulses": lambda m: pins.rmt(m["c"]).write(m["ps"], m["ticks"], m["levels"], m["loops"]),
            "rmt_active": lambda m: self._answer(m, {"v": pins.rmt(m["c"]).is_sending}),
            "rmt_stop": lambda m: pins.rmt(m["c"]).stop(),
            "rmt_free": lambda m: pins.close_rmt(m["c"]),
            "timer": self._on_timer,
            "wdt": self._on_wdt,
            "feed": lambda m: self.feed(self._clock.now_us),
            "rtc": lambda m: self._set_epoch(m["epoch"]),
            "rtc_memory": self._on_memory,
            "freq": self._on_freq,
        }

    @property
    def epoch_us(self) -> int:
        """What to add to hardware time for microseconds since 2000-01-01."""
        return self._epoch_us

    @property
    def rtc_s(self) -> float:
        """The RTC's time in Unix seconds."""
        return (self._clock.now_us + self._epoch_us) / 1e6 + EPOCH_2000_S

    def set_rtc(self, unix_s: float) -> None:
        """Set the RTC from outside; a running firmware sees it at once."""
        self._set_epoch(round((unix_s - EPOCH_2000_S) * 1e6) - self._clock.now_us)
        self._send({"e": "rtc", "epoch": self._epoch_us})

    def set_memory(self, data: bytes) -> None:
        """Write the RTC's memory from outside; a running firmware sees it at once."""
        self.memory = data
        self._send({"e": "rtc_memory", "v": data.hex()})

    def handle(self, message: dict) -> bool:
        """Do what the firmware asks of the chip; False if it is not the chip's business."""
        handler = self._handlers.get(message["op"])
        if handler is None:
            return False
        handler(message)
        return True

    def power_off(self) -> None:
        self.reset(PWRON_RESET)
        self._lost_power = True

    def power_on(self) -> None:
        """Without a battery the RTC starts from 2000-01-01 after a power cut, and its memory is empty."""
        if self._lost_power and not self._has_battery:
            self._set_epoch(-self._clock.now_us)
            self.memory = b""
        self._lost_power = False

    def reset(self, cause: int) -> None:
        """The chip resets: peripherals stop, the RTC goes on."""
        self.cause = cause
        for alarm in self._timers.values():
            alarm.cancel()
        self._timers.clear()
        if cause == SOFT_RESET:  # the interpreter restarts: the watchdog and a running pulse do not notice
            self._pins.soft_reset()
            return
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        self._watchdog_us = 0
        self._pins.reset()
        self.cpu_hz = 160_000_000

    def _answer(self, message: dict, fields: dict) -> None:
        self._send({"a": message["q"], **fields})

    def _on_pin(self, message: dict) -> None:
        self._answer(message, {"v": self._pins.configure(message)})

    def _on_timer(self, message: dict) -> None:
        number, period_us = message["n"], message["us"]
        if number in self._timers:
            self._timers.pop(number).cancel()
        if period_us:
            self._arm_timer(number, self._clock.now_us + period_us, period_us if message["repeat"] else 0)

    def _arm_timer(self, number: int, due_us: int, period_us: int) -> None:
        def fire() -> None:
            del self._timers[number]
            if period_us:
                self._arm_timer(number, due_us + period_us, period_us)
            self._send({"e": "timer", "n": number})

        self._timers[number] = self._clock.at(due_us, fire)

    def _on_wdt(self, message: dict) -> None:
        self._watchdog_us = message["us"]
        self.feed(self._clock.now_us)

    def feed(self, now_us: int) -> None:
        """The watchdog was fed at this time."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._watchdog_us:
            self._watchdog = self._clock.at(now_us + self._watchdog_us, self._bite, is_shared=True)

    def _bite(self) -> None:
        self._watchdog = None
        self._watchdog_us = 0
        self._reset(WDT_RESET)

    def _set_epoch(self, epoch_us: int) -> None:
        self._epoch_us = epoch_us

    def _on_memory(self, message: dict) -> None:
        self.memory = bytes.fromhex(message["v"])

    def _on_freq(self, message: dict) -> None:
        self.cpu_hz = message["hz"]
