"""The GPIO matrix and what drives it: latches, pulls, PWM and the RMT's pulse trains. It runs without the firmware.

A pin's level is made, in this order, by: an RMT channel, a PWM channel or an output latch of the chip; a level that
the world outside puts on it; the pull resistors on the board and in the chip. Power is the share of the time that the
output is high: 1.0 for a plain high level, less under PWM or an RMT carrier.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vitrine_tools.emulator.clock import Alarm, HardwareClock
from vitrine_tools.emulator.places import BOARD

IN, OUT, OPEN_DRAIN = 1, 3, 7
PULL_DOWN, PULL_UP = 1, 2


def board_pins() -> dict[str, int]:
    """The named pins of the emulated board, from its own table (boards/unix/modules/board.py)."""
    names = {}
    for node in ast.parse((BOARD / "modules" / "board.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            target = node.targets[0]
            if isinstance(target, ast.Name) and target.id in BOARD_PULLS:
                names[target.id] = int(str(node.value.value))
    return names


# Resistors and switches on the board, outside the chip.
BOARD_PULLS = {
    "STRIKE": 0,
    "DPS": 1,
    "REX": 1,
    "LED": 0,
    "BUZZER": 0,
    "BOLT": 1,
    "MOTION": 0,
    "TAMPER": 1,
    "BATTERY": 0,
    "CAMERA": 0,
    "RELAY": 0,
    "TRIGGER": 1,
}


@dataclass
class PwmChannel:
    hz: int
    duty: float

    @property
    def level(self) -> int:
        return 1 if self.duty > 0 else 0

    @property
    def power(self) -> float:
        return self.duty


class RmtChannel:
    """Sends pulse trains by itself. A train is an iterator of (duration in picoseconds, level)."""

    def __init__(self, clock: HardwareClock, idle: int, carrier: list[int] | None, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._idle = idle
        self._carrier = carrier
        self._changed = changed
        self._queue: list[Iterator[tuple[int, int]]] = []
        self._alarm: Alarm | None = None
        self._edge_ps = 0
        self.level = idle

    @property
    def power(self) -> float:
        if self._carrier is not None and self.level == self._carrier[2]:
            share = self._carrier[1] / 100
            return share if self.level else 1 - share
        return float(self.level)

    @property
    def is_sending(self) -> bool:
        return self._alarm is not None

    def write(self, tick_ps: int, ticks: list[int], levels: list[int], loops: int) -> None:
        self._queue.append(self._train(tick_ps, ticks, levels, loops))
        if not self.is_sending:
            self._edge_ps = self._clock.now_us * 1_000_000
            self._next_edge()

    def stop(self) -> None:
        self._queue.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._set(self._idle)

    @staticmethod
    def _train(tick_ps: int, ticks: list[int], levels: list[int], loops: int) -> Iterator[tuple[int, int]]:
        while True:
            for count, level in zip(ticks, levels, strict=True):
                yield count * tick_ps, level
            if loops == 0 or loops == 1:
                return
            loops -= 1 if loops > 0 else 0

    def _next_edge(self) -> None:
        self._alarm = None
        while self._queue:
            pulse = next(self._queue[0], None)
            if pulse is None:
                self._queue.pop(0)
                continue
            duration_ps, level = pulse
            self._set(level)
            self._edge_ps += duration_ps
            self._alarm = self._clock.at(self._edge_ps // 1_000_000, self._next_edge)
            return
        self._set(self._idle)

    def _set(self, level: int) -> None:
        if level != self.level:
            self.level = level
            self._changed()


@dataclass
class _Pin:
    mode: int = 0
    latch: int = 0
    pull: int = 0
    driver: PwmChannel | RmtChannel | None = None
    outside: int | None = None  # what a switch or a wire on the board puts on it
    board_pull: int = 0
    level: int = 0
    power: float = 0.0
    is_watched: bool = False
    listeners: list[Callable[[int], None]] = field(default_factory=list)


class Pins:
    """All pins. `on_input(gpio, level)` tells the firmware; `on_change(name, level, power)` records a named pin."""

    def __init__(
        self,
        clock: HardwareClock,
        on_input: Callable[[int, int], None],
        on_change: Callable[[str, int, float], None],
    ) -> None:
        self._clock = clock
        self._on_input = on_input
        self._on_change = on_change
        self.numbers = board_pins()
        self._names = {number: name for name, number in self.numbers.items()}
        self._pins = {number: _Pin() for number in range(40)}
        self._channels: dict[int, tuple[int, RmtChannel]] = {}
        for name, number in self.numbers.items():
            pin = self._pins[number]
            pin.board_pull = pin.level = BOARD_PULLS[name]

    def level(self, name: str) -> int:
        return self._pins[self.numbers[name]].level

    def power(self, name: str) -> float:
        return self._pins[self.numbers[name]].power

    def drive(self, name: str, level: int | None) -> None:
        """The world outside puts a level on a pin (None: lets go)."""
        number = self.numbers[name]
        self._pins[number].outside = level
        self._update(number)

    def reset(self) -> None:
        """The chip resets: every output lets go, every channel stops; the board's resistors hold the levels."""
        for _, channel in self._channels.values():
            channel.stop()
        self._channels.clear()
        for number, pin in self._pins.items():
            pin.mode = pin.latch = pin.pull = 0
            pin.driver = None
            pin.is_watched = False
            self._update(number)

    def soft_reset(self) -> None:
        """The interpreter restarts: interrupts and PWM end, latches and RMT trains go on (ports/esp32/main.c)."""
        for number, pin in self._pins.items():
            pin.is_watched = False
            if isinstance(pin.driver, PwmChannel):
                pin.driver = None
                self._update(number)

    # what the firmware does

    def configure(self, message: dict) -> int:
        number = message["n"]
        pin = self._pins[number]
        if "v" in message:
            pin.latch = message["v"]
        if "mode" in message:
            pin.mode = message["mode"]
            pin.driver = None  # the matrix is routed back to the latch
        if "pull" in message:
            pin.pull = message["pull"]
        pin.is_watched = True
        self._update(number)
        return pin.level

    def write(self, number: int, level: int) -> None:
        self._pins[number].latch = level
        self._update(number)

    def set_pwm(self, number: int, hz: int, duty: int) -> None:
        pin = self._pins[number]
        pin.driver = PwmChannel(hz, duty / 65535) if hz else None
        self._update(number)

    def open_rmt(self, channel_id: int, number: int, idle: int, carrier: list[int] | None) -> None:
        channel = RmtChannel(self._clock, idle, carrier, lambda: self._update(number))
        self._channels[channel_id] = (number, channel)
        self._pins[number].driver = channel
        self._update(number)

    def rmt(self, channel_id: int) -> RmtChannel:
        return self._channels[channel_id][1]

    def close_rmt(self, channel_id: int) -> None:
        """Give the channel up. ESP-IDF switches the pin's output off with it, whoever drives the pin by now."""
        number, channel = self._channels.pop(channel_id)
        channel.stop()
        pin = self._pins[number]
        pin.driver = None
        pin.mode = IN
        self._update(number)

    def _update(self, number: int) -> None:
        pin = self._pins[number]
        level, power = self._resolve(pin)
        if (level, power) == (pin.level, pin.power):
            return
        is_edge = level != pin.level
        pin.level, pin.power = level, power
        name = self._names.get(number)
        if name is not None:
            self._on_change(name, level, power)
        if is_edge and pin.is_watched:
            self._on_input(number, level)

    @staticmethod
    def _resolve(pin: _Pin) -> tuple[int, float]:
        if pin.driver is not None:
            return pin.driver.level, pin.driver.power
        if pin.mode == OUT:
            return pin.latch, float(pin.latch)
        if pin.mode == OPEN_DRAIN and pin.latch == 0:
            return 0, 0.0
        if pin.outside is not None:
            return pin.outside, 0.0
        if pin.pull:
            return (1 if pin.pull & PULL_UP else 0), 0.0
        return pin.board_pull, 0.0
