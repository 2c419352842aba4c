"""An emulated lock: the firmware in a MicroPython process, its hardware here, its door in the world outside.

REAL time for the demo and for people, VIRTUAL time for tests: there the clock stands still until `advance` steps it,
exactly from deadline to deadline, and BLE takes no time at all.
"""

import ast
import asyncio
import collections
import hashlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from bumble.hci import Address

from vitrine_tools.emulator import hardware as chip
from vitrine_tools.emulator.clock import HardwareClock
from vitrine_tools.emulator.flash import BOARD, FLASH_SIZE, FlashImage
from vitrine_tools.emulator.lock_radio import LockRadio
from vitrine_tools.emulator.pins import Pins
from vitrine_tools.emulator.radio import VirtualRadio
from vitrine_tools.emulator.wire import FirmwareProcess, WireError
from vitrine_tools.provisioning import trusted_time_mark

ROOT = BOARD.parents[1]
FIRMWARE = ROOT / "firmware"
DEPS = ROOT / "build" / "deps"
DEPS_ENV = "VITRINE_DEPS"
HEAP = "1M"

START_LIMIT_S = 20.0
HUNG_CPU_S = 5.0  # processor time without a sign of life, after which the firmware counts as hung
STALLED_S = 20.0  # real time without a sign of life and without work: blocked on something outside
_CRASHES_MAX = 5
_OUTPUT_LINES = 5000
_SETTLE_ROUNDS = 12

T = TypeVar("T")


class EmulatorError(Exception):
    """The emulated lock cannot do what was asked; the text says why and shows the firmware's last words."""


class EmulatedLock:
    """One lock. `async with EmulatedLock(radio, flash=path, provision=blob, virtual=True) as lock:`

    flash: its file, made if it does not exist. provision: the record to store before the first start.
    firmware: folder with boot.py, main.py and vitrine (sources or .mpy), or a ROMFS image of it. deps: folder with third-party packages.
    rtc_s: Unix time of the RTC at the start (None: as after a power cut, 2000-01-01). is_time_trusted: a technician has
    set it, and left the mark that the firmware looks for. battery: RTC and mark survive a power cut.
    uptime_ms: what the tick counters start from at each boot; close to 2**30 to test their wrap-around.
    """

    def __init__(
        self,
        radio: VirtualRadio,
        *,
        flash: Path,
        provision: bytes | None = None,
        virtual: bool = False,
        firmware: Path = FIRMWARE,
        deps: Path | None = None,
        heap: str = HEAP,
        rtc_s: float | None = None,
        is_time_trusted: bool = False,
        battery: bool = False,
        uptime_ms: int = 0,
        name: str = "lock",
    ) -> None:
        self.name = name
        self.is_virtual = virtual
        self.flash = FlashImage(flash)
        self.events: list[dict] = []  # what the firmware traced, each with "t_ms"
        self.pin_trace: list[tuple[float, str, int]] = []  # (milliseconds, pin, level)
        self.power_trace: list[tuple[float, str, float]] = []  # same with the share of time that it is high
        self.output: collections.deque[str] = collections.deque(maxlen=_OUTPUT_LINES)
        self.resets: list[int] = []  # the cause of each restart, as machine.reset_cause() names them
        self.listeners: list[Callable[[dict], None]] = []
        self.is_hung = False
        self.ended: str | None = None  # boot.py or main.py ended: the exception, or "" without one
        self.clock = HardwareClock(virtual)
        self._radio = radio
        self._firmware = Path(firmware).resolve()
        self._deps = _deps_folder(deps)
        self._heap = heap
        self._uptime_us = uptime_ms * 1000
        self._provision = provision
        self._mac = bytes([0x24, 0x0A, 0xC4]) + hashlib.sha256(str(Path(flash).resolve()).encode()).digest()[:3]
        self._pins = Pins(self.clock, self._on_input, self._on_pin_change)
        self._process: FirmwareProcess | None = None
        self._hardware = chip.Hardware(self.clock, self._pins, self._send, self._reset, rtc_s, battery)
        if is_time_trusted:
            self.trust_time()
        address = self._mac[:-1] + bytes([(self._mac[-1] + 2) & 0xFF])  # as the chip derives it
        public = Address(bytes(reversed(address)), Address.PUBLIC_DEVICE_ADDRESS)
        self._lock_radio = LockRadio(radio, name, public, self._send, virtual)
        self._due_us: int | None = None
        self._is_idle = False
        self._activity_settled = -1
        self._dying: FirmwareProcess | None = None
        self._quiet = asyncio.Event()
        self._changed = asyncio.Event()
        self._restarting: asyncio.Task | None = None
        self._replies: dict[int, asyncio.Future[dict]] = {}
        self._reply_number = 0
        self._cut_after = -1
        self._crashes = 0
        self._failure: Exception | None = None
        self._is_bolt_stuck = False
        self._door_closed = True
        self.set_door(True)

    async def __aenter__(self) -> "EmulatedLock":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # power

    async def start(self) -> None:
        """Switch the power on and wait until the firmware has nothing more to do (or, in real time, runs)."""
        if self._process is not None:
            raise EmulatorError(f"{self.name} is on already")
        if not self.flash.exists():
            self.flash.create()
        if self._provision is not None:
            self.flash.provision(self._provision)
            self._provision = None
        self._hardware.power_on()
        await self._boot()
        if self.is_virtual:
            await self._settle()

    async def power_cut(self) -> None:
        """The supply fails: the process dies in whatever it does; pins fall to the board's resistors."""
        self._kill()
        self._hardware.power_off()
        if self._restarting is not None:
            self._restarting.cancel()
            self._restarting = None
        await self._reap()

    async def reset(self) -> None:
        """The reset button (EN): to the chip this is a power-on, but the RTC goes on."""
        self._reset(chip.PWRON_RESET)
        if self.is_virtual:
            await self._settle()

    async def close(self) -> None:
        await self.power_cut()
        self.clock.stop()

    @property
    def is_on(self) -> bool:
        return self._process is not None

    @property
    def restarts(self) -> int:
        return len(self.resets)

    @property
    def aioble(self) -> str:
        """Which aioble the firmware gets: "aioble (the library)" or the stand-in."""
        return "stand-in" if self._deps is None else "library"

    @property
    def address(self) -> str:
        """The lock's BLE address."""
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

    def trust_time(self) -> None:
        """Mark the clock as trusted, as provisioning over the wire does."""
        self._hardware.set_memory(trusted_time_mark(int(self.rtc_s)))

    def clock_jump(self, seconds: float) -> None:
        """A fault: the RTC jumps; the tick counters do not."""
        self._hardware.set_rtc(self._hardware.rtc_s + seconds)

    async def advance(self, ms: float) -> None:
        """Let so much virtual time pass, stepping exactly from one deadline to the next."""
        if not self.is_virtual:
            raise EmulatorError("advance() needs virtual time; in real time, wait")
        target_us = self.clock.now_us + round(ms * 1000)
        await self._settle()
        while await self._step(target_us):
            await self._settle(self._activity_settled)

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
        due_us = self._due_us if self._is_idle else None
        self.clock.step_to(min(us for us in (target_us, due_us, self.clock.next_us) if us is not None))
        fired = self.clock.run_due()
        if self._is_idle and due_us is not None and due_us <= self.clock.now_us:
            horizon_us = self.clock.horizon_us
            self._send({"e": "t", "horizon": target_us if horizon_us is None else min(target_us, horizon_us - 1)})
            return True
        return fired or self.clock.now_us < target_us

    async def _settle(self, settled_activity: int = -1) -> None:
        """Wait until the firmware waits (or is dead, or hung) and nothing is in the air.

        settled_activity: if the radio's count still stands there, the air need not be watched.
        """
        rounds = 0
        while True:
            if not self._quiet.is_set():
                await self._wait_quiet()
                rounds = 0
            self._check()
            if self._radio.activity != settled_activity:
                settled_activity = self._radio.activity
                rounds = _SETTLE_ROUNDS
            elif rounds == 0:
                self._activity_settled = settled_activity
                return
            rounds -= 1
            await asyncio.sleep(0)

    async def _wait_quiet(self) -> None:
        """Wait for the firmware; after a while without a sign of life it counts as hung."""
        started_s = time.monotonic()
        process, spent_s = self._process, 0.0
        while not self._quiet.is_set():
            try:
                await asyncio.wait_for(self._quiet.wait(), 0.25)
                continue  # it may have been for a moment only, in a reset
            except TimeoutError:
                pass
            if self._restarting is not None and self._restarting.done() and not self._restarting.cancelled():
                self._restarting.result()  # raises what kept it from starting
            if process is not self._process or spent_s == 0.0:
                process, started_s = self._process, time.monotonic()
                spent_s = process.cpu_seconds() if process else 0.0
            elif process is not None and (
                process.cpu_seconds() - spent_s > HUNG_CPU_S or time.monotonic() - started_s > STALLED_S
            ):
                self._set_hung()

    def _set_hung(self) -> None:
        self.is_hung = True
        self._quiet.set()
        self._changed.set()

    # the firmware's process

    async def _boot(self) -> None:
        process = FirmwareProcess(self._on_message, self.output.append, self._on_exit)
        self._process = process
        self._is_idle = self.is_hung = False
        self.ended = None
        self._due_us = None
        self._quiet.clear()
        try:
            await process.start(self._heap)
        except WireError as error:
            self._process = None
            raise EmulatorError(str(error)) from error

    def _kill(self) -> None:
        process, self._process = self._process, None
        self._lock_radio.power_off()
        self._is_idle = False
        self._quiet.set()
        for future in self._replies.values():
            future.cancel()
        self._replies.clear()
        if process is not None:
            process.kill()
            self._dying = process

    async def _reap(self) -> None:
        if self._dying is not None:
            await self._dying.wait_gone()

    def _reset(self, cause: int) -> None:
        """The chip restarts: the process ends at once, a new one begins with the same flash."""
        self._kill()
        self._hardware.reset(cause)
        self.resets.append(cause)
        self._quiet.clear()
        self._changed.set()
        if self._restarting is not None and not self._restarting.done():
            self._restarting.cancel()
        self._restarting = asyncio.get_running_loop().create_task(self._restart())

    async def _restart(self) -> None:
        await self._reap()
        await self._boot()

    def _on_exit(self, process: FirmwareProcess) -> None:
        """The interpreter itself died: on the chip that is a panic, and a panic is a reset."""
        if process is self._process:
            self._crashes += 1
            if self._crashes > _CRASHES_MAX:
                self._kill()
                self.ended = "the interpreter crashed again and again"
                self._changed.set()
            else:
                self._reset(chip.HARD_RESET)

    def _send(self, message: dict) -> None:
        if self._process is not None and not self.is_hung:
            message["t"] = self.clock.now_us
            self._process.send(message)
            if self._process.is_alive:
                self._is_idle = False
                self._quiet.clear()

    def _on_message(self, message: dict) -> None:
        try:
            self._handle(message)
        except Exception as error:  # noqa: BLE001
            # On the event loop nobody would see it: whoever waits for the firmware is told instead.
            self._failure = error
            self._quiet.set()
            self._changed.set()

    def _check(self) -> None:
        if self._failure is not None:
            raise EmulatorError(f"the emulator failed: {self._failure!r}\n{self.last_words()}") from self._failure

    def _handle(self, message: dict) -> None:
        if self.is_virtual:
            self.clock.step_to(message["t"])
            if "fed" in message:
                self._hardware.feed(message["fed"])
        op = message["op"]
        if op == "idle":
            process = self._process
            if process is not None and message["n"] == process.sent:
                self._is_idle = True
                self._due_us = message["due"]
                self._quiet.set()
        elif op == "busy":
            self._is_idle = False
            self._quiet.clear()
        elif op == "wake":
            self._send({"e": "t"})
        elif op == "boot":
            self._send({"a": message["q"], **self._setup()})
        elif op == "chip":
            self._send(
                {
                    "a": message["q"],
                    "cause": self._hardware.cause,
                    "id": self._mac.hex(),
                    "memory": self._hardware.memory.hex(),
                }
            )
        elif op == "trace":
            self._trace(message)
        elif op == "memory":
            future = self._replies.get(message["i"])
            if future is not None and not future.done():
                future.set_result(message)
        elif op == "reset":
            self._reset(chip.HARD_RESET)
        elif op == "soft_reset":
            self._reset(chip.SOFT_RESET)
        elif op == "hung":
            self._set_hung()
        elif op == "power_gone":
            self._kill()
            self._hardware.power_off()
            self._cut_after = -1
            self._changed.set()
        elif op == "ended":
            self.ended = message["error"]
            self._changed.set()
        elif not self._hardware.handle(message) and not self._lock_radio.handle(message) and op != "booted":
            raise EmulatorError(f"unknown message from the firmware: {op}")

    def _setup(self) -> dict:
        path = [str(self._firmware)]
        if self._deps is not None:
            path.insert(0, str(self._deps))
        path.insert(1 if self._deps is not None else 0, str(BOARD / "modules"))
        return {
            "virtual": self.is_virtual,
            "uptime": self._uptime_us,
            "epoch": self._hardware.epoch_us,
            "id": self._mac.hex(),
            "flash": str(self.flash.path.resolve()),
            "flash_size": FLASH_SIZE,
            "cut_after": self._cut_after,
            "path": path,
            "aioble": self.aioble,
        }

    def _trace(self, message: dict) -> None:
        record = ast.literal_eval(message["v"])
        record["t_ms"] = message["t"] / 1000
        self.events.append(record)
        for listener in self.listeners:
            listener(record)
        self._changed.set()

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
            left_s = deadline - time.monotonic()
            try:
                await asyncio.wait_for(self._changed.wait(), left_s)
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
    def connections(self) -> int:
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

    async def _ask(self, kind: str) -> dict:
        if self._process is None or not self._process.is_alive:
            raise EmulatorError(f"the firmware of {self.name} does not run\n{self.last_words()}")
        self._reply_number += 1
        number = self._reply_number
        future = self._replies[number] = asyncio.get_running_loop().create_future()
        self._send({"e": kind, "i": number})
        try:
            return await asyncio.wait_for(future, 10)
        finally:
            self._replies.pop(number, None)

    # the world outside

    @property
    def pins(self) -> dict[str, int]:
        """The level of each named pin."""
        return {name: self._pins.level(name) for name in self._pins.numbers}

    @property
    def strike_energised(self) -> bool:
        return self._pins.level("STRIKE") == 1

    @property
    def strike_power(self) -> float:
        """Share of the full current in the coil."""
        return self._pins.power("STRIKE")

    @property
    def door_closed(self) -> bool:
        return self._door_closed

    def set_door(self, closed: bool) -> None:
        """Move the door, by force if need be: the reed switch follows."""
        self._door_closed = closed
        self._pins.drive("DPS", 0 if closed else 1)

    def pull_door(self) -> bool:
        """A person pulls the door; it opens only if the bolt is drawn. Returns whether it is open."""
        if self._door_closed and self.strike_energised and not self._is_bolt_stuck:
            self.set_door(False)
        return not self._door_closed

    def press_rex(self, pressed: bool = True) -> None:
        """Press the exit button, or let it go."""
        self._pins.drive("REX", 0 if pressed else 1)

    # faults

    async def hang(self) -> None:
        """The firmware runs in circles: no task, no callback, nothing; only the hardware goes on."""
        self._send({"e": "hang"})
        while not self.is_hung:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 10)

    def dps_bounce(self, closed: bool, bounces: int = 6, gap_us: int = 700) -> None:
        """The reed switch chatters on its way to its new state."""
        for index in range(bounces * 2):
            level = index % 2 == 0
            self.clock.after(gap_us * (index + 1), lambda level=level: self.set_door(closed == level))
        self.clock.after(gap_us * (bounces * 2 + 1), lambda: self.set_door(closed))

    def dps_cut(self) -> None:
        """The door switch's wire is cut: it reads as open."""
        self._pins.drive("DPS", None)

    def strike_stuck(self, is_stuck: bool = True) -> None:
        """The bolt does not move although the strike is energised."""
        self._is_bolt_stuck = is_stuck

    def ble_drop(self) -> None:
        """Every BLE connection is lost; both ends see the supervision time-out."""
        self._lock_radio.drop_all()

    def heap_squeeze(self, free: int) -> None:
        """Leave only so many bytes of heap free; 0 gives the memory back."""
        self._send({"e": "squeeze", "free": free})

    def flash_cut(self, after: int) -> None:
        """Cut the power in the middle of a flash operation: after so many units (bytes programmed, sectors erased)."""
        self._cut_after = after
        self._send({"e": "flash_cut", "after": after})

    def set_analog(self, name_or_gpio: str | int, mv: int) -> None:
        number = self._pins.numbers[name_or_gpio] if isinstance(name_or_gpio, str) else name_or_gpio
        self._hardware.analog_mv[number] = mv

    def _on_input(self, number: int, level: int) -> None:
        self._send({"e": "pin", "n": number, "v": level})

    def _on_pin_change(self, name: str, level: int, power: float) -> None:
        now_ms = self.clock.now_us / 1000
        if not self.pin_trace or self._last_level(name) != level:
            self.pin_trace.append((now_ms, name, level))
        self.power_trace.append((now_ms, name, power))

    def _last_level(self, name: str) -> int | None:
        for _, other, level in reversed(self.pin_trace):
            if other == name:
                return level
        return None


def _deps_folder(deps: Path | None) -> Path | None:
    """Where the third-party packages are; None if aioble is not among them, and its stand-in serves."""
    import os

    for folder in (deps, os.environ.get(DEPS_ENV), DEPS):
        if folder is not None:
            folder = Path(folder)
            return folder.resolve() if any(folder.glob("aioble*")) else None
    return None


def aioble_in_use(deps: Path | None = None) -> str:
    """One line for reports: which aioble an emulated lock would use."""
    folder = _deps_folder(deps)
    return "aioble: stand-in (boards/unix/modules)" if folder is None else f"aioble: the library, in {folder}"


__all__ = ["EmulatedLock", "EmulatorError", "aioble_in_use", "Any"]
