"""The emulated board: the firmware, its hardware and its radio, in real or in virtual time.

REAL time is for the demo and for people, VIRTUAL time for tests: there the clock stands still until `advance` steps it,
exactly from deadline to deadline, and BLE takes no time at all.
"""

import ast
import asyncio
import collections
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self, TypeVar

from bumble.hci import Address

from vitrine_tools.emulator import hardware as chip
from vitrine_tools.emulator import stand_ins
from vitrine_tools.emulator.clock import HardwareClock
from vitrine_tools.emulator.console import ConsolePort
from vitrine_tools.emulator.firmware import Firmware, FirmwareGoneError
from vitrine_tools.emulator.flash import FLASH_SIZE, FlashImage
from vitrine_tools.emulator.lock_radio import LockRadio
from vitrine_tools.emulator.pins import Pins
from vitrine_tools.emulator.places import ROOT
from vitrine_tools.emulator.radio import VirtualRadio
from vitrine_tools.emulator.wifi import WifiRadio
from vitrine_tools.emulator.wire import WireError

FIRMWARE = ROOT / "firmware"
DEPS = ROOT / "build" / "deps"
DEPS_ENV = "VITRINE_DEPS"
HEAP = "1M"

_CRASHES_MAX = 5
_OUTPUT_LINES = 5000
_SETTLE_ROUNDS = 12  # turns of the event loop without a packet, after which the air counts as quiet
_SETTLE_MAX = 20_000  # turns after which time goes on all the same: somebody floods the air without a pause

T = TypeVar("T")


class EmulatorError(Exception):
    """The emulated board cannot do what was asked; the text says why and shows the firmware's last words."""


class EmulatedBoard:
    """One board. Use it as EmulatedLock, which adds the door and what people do to it."""

    def __init__(
        self,
        radio: VirtualRadio,
        *,
        flash: Path,
        provision: bytes | None = None,
        journal: tuple[str, bytes, int] | None = None,
        virtual: bool = False,
        firmware: Path = FIRMWARE,
        deps: Path | None = None,
        heap: str = HEAP,
        rtc_s: float | None = None,
        battery: bool = False,
        uptime_ms: int = 0,
        name: str = "lock",
        console: Path | None = None,
    ) -> None:
        self.name = name
        self.is_virtual = virtual
        self.flash = FlashImage(Path(flash))
        self.events: list[dict] = []  # what the firmware traced, each with "t_ms"
        self.pin_trace: list[tuple[float, str, int]] = []  # (milliseconds, pin, level)
        self.power_trace: list[tuple[float, str, float]] = []  # same with the share of time that it is high
        self.output: collections.deque[str] = collections.deque(maxlen=_OUTPUT_LINES)
        self.resets: list[int] = []  # the cause of each restart, as machine.reset_cause() names them
        self.listeners: list[Callable[[dict], None]] = []
        self.ended: str | None = None  # boot.py and main.py have ended: the exception, or "" without one
        self.radio = radio
        self.clock = HardwareClock(virtual)
        self.firmware = Firmware(lambda: self.clock.now_us, self._on_message, self.output.append, self._on_crash)
        self._code = Path(firmware).resolve()
        self._deps = _deps_folder(deps)
        self._heap = heap
        self._uptime_us = uptime_ms * 1000
        self._provision = provision
        self._journal = journal
        self._pins = Pins(self.clock, self._on_input, self._on_pin_change)
        self._hardware = chip.Hardware(self.clock, self._pins, self.firmware.send, self._reset, rtc_s, battery)
        self._mac = bytes([0x24, 0x0A, 0xC4]) + hashlib.sha256(str(Path(flash).resolve()).encode()).digest()[:3]
        ble_mac = self._mac[:-1] + bytes([(self._mac[-1] + 2) & 0xFF])  # as the chip derives it
        address = Address(bytes(reversed(ble_mac)), Address.PUBLIC_DEVICE_ADDRESS)
        self._lock_radio = LockRadio(radio, name, address, self.firmware.send, virtual)
        self.wifi = WifiRadio(self.clock, self.firmware.send, lambda: self.firmware.pid)
        self._console_path = console
        self._console: ConsolePort | None = None
        self._is_on = False
        self._restarting: asyncio.Task | None = None
        self._changed = asyncio.Event()
        self._settled_activity = -1
        self._levels: dict[str, int] = {}
        self._flash_cut_after = -1
        self._crashes = 0
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # power

    async def start(self) -> None:
        """Switch the power on. In virtual time, return when the firmware has nothing more to do."""
        if self._is_on:
            raise EmulatorError(f"{self.name} is on already")
        try:
            self._prepare_flash()
        except OSError as error:
            raise EmulatorError(f"cannot prepare {self.flash.path}: {error}") from error
        if self._console_path is not None and self._console is None:
            self._console = self._open_console(self._console_path)
        self._is_on = True
        self._hardware.power_on()
        await self._boot()
        if self.is_virtual:
            await self._settle()

    def _prepare_flash(self) -> None:
        """What the factory and the technician do before the first start."""
        if not self.flash.exists():
            self.flash.create()
        elif not self.flash.is_laid_out():
            raise EmulatorError(f"{self.flash.path} has another partition table: it is of another version, delete it")
        if self._provision is not None:
            self.flash.provision(self._provision)
            self._provision = None
        if self._journal is not None:
            self.flash.provision_journal(*self._journal)
            self._journal = None

    def _open_console(self, path: Path) -> ConsolePort:
        console = ConsolePort(path, self.output.append, self._on_console)
        try:
            console.open(lambda: self.firmware.pid)
        except OSError as error:
            raise EmulatorError(f"cannot make the console {path}: {error.strerror}") from error
        return console

    async def power_cut(self) -> None:
        """The supply fails: the process dies in whatever it does; pins fall to the board's resistors.

        A cut that waits for a flash operation (flash_cut) has come with this one.
        """
        self._flash_cut_after = -1
        self._power_off()
        if self._restarting is not None:
            self._restarting.cancel()
            self._restarting = None
        await self.firmware.wait_gone()

    async def reset(self) -> None:
        """The reset button (EN): to the chip this is a power-on, but the RTC goes on."""
        self._reset(chip.PWRON_RESET)
        if self.is_virtual:
            await self._settle()

    async def close(self) -> None:
        await self.power_cut()
        self.clock.stop()
        if self._console is not None:
            self._console.close()
            self._console = None

    @property
    def is_on(self) -> bool:
        return self._is_on

    @property
    def is_hung(self) -> bool:
        return self.firmware.is_hung

    @property
    def restarts(self) -> int:
        return len(self.resets)

    @property
    def aioble(self) -> str:
        """Which aioble the firmware gets: "library" or "stand-in"."""
        return "stand-in" if self._deps is None else "library"

    @property
    def address(self) -> str:
        """The board's BLE address."""
        return str(self._lock_radio.address)

    # time

    @property
    def now_ms(self) -> float:
        return self.clock.now_us / 1000

    @property
    def rtc_s(self) -> float:
        """The RTC's time in Unix seconds; assign to set it."""
        return self._hardware.rtc_s

    @rtc_s.setter
    def rtc_s(self, unix_s: float) -> None:
        self._hardware.set_rtc(unix_s)

    async def advance(self, ms: float) -> None:
        """Let so much virtual time pass, stepping exactly from one deadline to the next."""
        if not self.is_virtual:
            raise EmulatorError("advance() needs virtual time; in real time, wait")
        target_us = self.clock.now_us + round(ms * 1000)
        await self._settle()
        while await self._step(target_us):
            await self._settle(self._settled_activity)

    async def during(self, action: Awaitable[T], limit_ms: float = 10_000) -> T:
        """Await something that a phone or a person does while virtual time passes as the firmware needs it.

        Time moves only when the firmware waits and the air is quiet. Raises TimeoutError after limit_ms of it.
        """
        task = asyncio.ensure_future(action)
        target_us = self.clock.now_us + round(limit_ms * 1000)
        try:
            if not self.is_virtual:
                await asyncio.wait([task], timeout=limit_ms / 1000)
            while self.is_virtual and not task.done():
                await self._settle()
                if not task.done() and not await self._step(target_us):
                    break
            if not task.done():
                raise TimeoutError(f"not done after {limit_ms:g} ms")
            return task.result()
        finally:
            task.cancel()

    async def _step(self, target_us: int) -> bool:
        """Go to the next deadline, at most to target_us; False if there was nothing left to do until then."""
        firmware = self.firmware
        due_us = firmware.due_us if firmware.is_idle else None
        self.clock.step_to(min(us for us in (target_us, due_us, self.clock.next_us) if us is not None))
        fired = self.clock.run_due()
        if firmware.is_idle and due_us is not None and due_us <= self.clock.now_us:
            horizon_us = self.clock.horizon_us
            firmware.send({"e": "t", "horizon": target_us if horizon_us is None else min(target_us, horizon_us - 1)})
            return True
        return fired or self.clock.now_us < target_us

    async def _settle(self, settled_activity: int = -1) -> None:
        """Wait until the firmware is quiet and nothing is in the air.

        settled_activity: if the radio's count still stands there, the air need not be watched.
        """
        rounds = 0
        for _ in range(_SETTLE_MAX):
            if not self.firmware.is_quiet:
                await self.firmware.wait_quiet()
                rounds = 0
            self._check()
            if self.radio.activity != settled_activity:
                settled_activity = self.radio.activity
                rounds = _SETTLE_ROUNDS
            elif rounds == 0:
                self._settled_activity = settled_activity
                return
            rounds -= 1
            await asyncio.sleep(0)

    # what the firmware shows

    async def wait_event(self, predicate: Callable[[dict], object], limit_s: float = 10.0, since: int = 0) -> dict:
        """The first traced event, from the since-th on, for which predicate is true; waits for it in real time.

        In virtual time the firmware's clock does not move meanwhile: use advance() or during().
        """
        checked = since
        deadline = time.monotonic() + limit_s
        while True:
            while checked < len(self.events):
                checked += 1
                if predicate(self.events[checked - 1]):
                    return self.events[checked - 1]
            self._check()
            if self.ended is not None:
                raise EmulatorError(f"the firmware of {self.name} has ended: {self.ended}\n{self.last_words()}")
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - time.monotonic())
            except TimeoutError:
                raise EmulatorError(f"no such event in {limit_s:g} s\n{self.last_words()}") from None

    async def wait_advertising(self, limit_s: float = 10.0) -> None:
        """Wait (in real time) until the lock is on the air."""
        deadline = time.monotonic() + limit_s
        while not self._lock_radio.is_advertising:
            self._check()
            if self.ended is not None or time.monotonic() > deadline:
                raise EmulatorError(f"{self.name} does not advertise\n{self.last_words()}")
            await asyncio.sleep(0.005)

    def last_words(self, lines: int = 30) -> str:
        """The end of what the firmware printed."""
        return "\n".join(list(self.output)[-lines:])

    @property
    def pins(self) -> dict[str, int]:
        """The level of each named pin."""
        return {name: self._pins.level(name) for name in self._pins.numbers}

    @property
    def connections(self) -> int:
        """How many phones are connected."""
        return self._lock_radio.connections

    @property
    def cut_notifications(self) -> list[tuple[int, int]]:
        """Notifications that did not fit ATT_MTU - 3 and were cut, as NimBLE does: (bytes, room)."""
        return self._lock_radio.cut

    async def memory(self) -> dict[str, int]:
        """The firmware's heap after a collection: {"used": bytes, "free": bytes}."""
        answer = await self._ask("memory")
        return {"used": answer["used"], "free": answer["free"]}

    async def flash_counts(self) -> dict[str, int]:
        """Since boot: {"programmed": bytes, "erased": sectors}."""
        answer = await self._ask("flash_count")
        return {"programmed": answer["programmed"], "erased": answer["erased"]}

    async def loop_gap_ms(self) -> float:
        """The longest time in which the firmware gave no task its turn, since it was asked before; in real time only.

        The first call begins to measure.
        """
        return (await self._ask("gap"))["worst_us"] / 1000

    async def _ask(self, kind: str) -> dict:
        if not self.firmware.is_running:
            raise EmulatorError(f"the firmware of {self.name} does not run\n{self.last_words()}")
        try:
            return await self.firmware.ask(kind)
        except (FirmwareGoneError, TimeoutError) as error:
            raise EmulatorError(f"the firmware of {self.name} does not answer\n{self.last_words()}") from error

    # between firmware and hardware

    async def _boot(self) -> None:
        self.ended = None
        try:
            if self._console is not None:
                self._console.reset()
            await self.firmware.boot(self._heap, self._console.device if self._console else None)
        except WireError as error:
            self._failure = EmulatorError(str(error))
            self._is_on = False
            raise self._failure from error

    def _power_off(self) -> None:
        self._is_on = False
        self.firmware.kill()
        self._lock_radio.power_off()
        self.wifi.power_off()
        self._hardware.power_off()
        self._changed.set()

    def _reset(self, cause: int) -> None:
        """The chip restarts: the process ends at once, a new one begins with the same flash."""
        self.firmware.kill(is_restarting=True)
        self._lock_radio.power_off()
        self.wifi.power_off()
        self._hardware.reset(cause)
        self.resets.append(cause)
        self._changed.set()
        if self._restarting is not None:
            self._restarting.cancel()
        self._restarting = asyncio.get_running_loop().create_task(self._boot())

    def _on_crash(self) -> None:
        """The interpreter itself died: on the chip that is a panic, and a panic is a reset."""
        self._crashes += 1
        if self._crashes <= _CRASHES_MAX:
            self._reset(chip.HARD_RESET)
            return
        self._power_off()
        self.ended = "the interpreter crashed again and again"

    def _check(self) -> None:
        if self._failure is not None:
            raise EmulatorError(f"the emulator failed: {self._failure}\n{self.last_words()}") from self._failure

    def _on_message(self, message: dict) -> None:
        try:
            self._handle(message)
        except Exception as error:  # noqa: BLE001
            # On the event loop nobody would see it: whoever waits for the firmware is told instead.
            self._failure = error
            self.firmware.set_hung()
            self._changed.set()

    def _handle(self, message: dict) -> None:
        if self.is_virtual:
            self.clock.step_to(message["t"])
            if "fed" in message:
                self._hardware.feed(message["fed"])
        op = message["op"]
        if op == "idle":
            self.firmware.said_idle(message["n"], message["due"])
        elif op == "busy":
            self.firmware.said_busy()
        elif op == "wake":
            self.firmware.send({"e": "t"})
        elif op == "boot":
            self.firmware.send({"a": message["q"], **self._setup()})
        elif op == "trace":
            self._trace(message)
        elif op == "memory":
            self.firmware.replied(message)
        elif op in ("kbd_intr", "interrupt") and self._console is not None:
            self._console.interrupt() if op == "interrupt" else self._console.set_interrupt(message["c"])
            self.firmware.send({"a": message["q"]})
        elif op == "reset":
            self._reset(chip.HARD_RESET)
        elif op == "soft_reset":
            self._reset(chip.SOFT_RESET)
        elif op == "hung":
            self.firmware.set_hung()
            self._changed.set()
        elif op == "power_gone":
            self._flash_cut_after = -1
            self._power_off()
        elif op == "ended":
            self.ended = message["error"]
            self._changed.set()
        elif not any(part.handle(message) for part in (self._hardware, self._lock_radio, self.wifi)):
            raise EmulatorError(f"unknown message from the firmware: {op}")

    def _setup(self) -> dict:
        """What a starting process is told."""
        path = [stand_ins.folder(), stand_ins.packages(), self._code]
        if self._deps is not None:
            path.insert(0, self._deps)  # the library comes before its stand-in
        return {
            "virtual": self.is_virtual,
            "uptime": self._uptime_us,
            "epoch": self._hardware.epoch_us,
            "cause": self._hardware.cause,
            "id": self._mac.hex(),
            "memory": self._hardware.memory.hex(),
            "flash": str(self.flash.path.resolve()),
            "flash_size": FLASH_SIZE,
            "cut_after": self._flash_cut_after,
            "path": [str(folder) for folder in path],
            "console": self._console is not None,
        }

    def _trace(self, message: dict) -> None:
        record = ast.literal_eval(message["v"])
        record["t_ms"] = message["t"] / 1000
        self.events.append(record)
        for listener in self.listeners:
            listener(record)
        self._changed.set()

    def _on_console(self) -> None:
        """There is something to read at the wire; in virtual time the firmware is not quiet until it has looked."""
        if self.is_virtual:
            self.firmware.send({"e": "t"})

    def _on_input(self, number: int, level: int) -> None:
        self.firmware.send({"e": "pin", "n": number, "v": level})

    def _on_pin_change(self, name: str, level: int, power: float) -> None:
        now_ms = self.clock.now_us / 1000
        if self._levels.get(name) != level:
            self._levels[name] = level
            self.pin_trace.append((now_ms, name, level))
        self.power_trace.append((now_ms, name, power))


def _deps_folder(deps: Path | None) -> Path | None:
    """Where the third-party packages are; None if aioble is not among them, and its stand-in serves."""
    folder = Path(deps or os.environ.get(DEPS_ENV) or DEPS)
    return folder.resolve() if any(folder.glob("aioble*")) else None


def aioble_in_use(deps: Path | None = None) -> str:
    """One line for reports: which aioble an emulated lock uses."""
    if _deps_folder(deps) is None:
        return "aioble: stand-in (boards/unix/modules)"
    return "aioble: the library"
