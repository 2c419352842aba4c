"""A lock that runs for people: in real time, with a timeline, keys and a control socket to operate its door.

The engine of `vitrine emulate`. Owns nothing of the lock itself, which is emulator.EmulatedLock.
"""

import asyncio
import json
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from . import cbor
from .ble.bluez_standin import BluezStandIn
from .ble.private_bus import BusError, PrivateBus
from .control import ControlServer
from .describe import describe
from .emulator import EmulatedLock, EmulatorError, VirtualRadio, aioble_in_use
from .emulator.radio import RadioController, make_device
from .emulator_state import DEFAULT_FOLDER, EmulatorState
from .errors import ToolError
from .hand import Hand, status_text
from .keyboard import listening
from .workspace import Workspace

_WATCH_S = 0.5
_HOST: Final = "127.0.0.1"
_SSID: Final = b"vitrine-emulator"
_MAX_KEYS = 64
KEYS: Final = {"o": "open", "c": "close", "x": "rex", "f": "force", "p": "power-cut", "s": "status"}
HELP: Final = (
    "keys: o pull the door open   c close it   x press the exit button   f force the door\n"
    "      p power cut            s status     h this help               q quit"
)


class Emulation:
    """One run of the command: the lock, its radio and bus, and who operates the door."""

    def __init__(
        self, space: Workspace, *, as_json: bool, http_port: int | None = None, console: Path | None = None
    ) -> None:
        """http_port: where the lock serves HTTP, on this machine only; 0: at a free port; None: not at all.

        console: where to link the lock's wire to.
        """
        self._space = space
        self._console = console
        self._http_port = _free_port() if http_port == 0 else http_port
        self._as_json = as_json
        self._end = asyncio.Event()
        self._begin_s = time.monotonic()
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._radio = VirtualRadio()
        self._lock = EmulatedLock(
            self._radio,
            flash=space.flash,
            provision=space.record.to_bytes() if space.is_new_record else None,
            journal=space.new_journal() if space.is_new_record else None,
            rtc_s=time.time(),
            is_time_trusted=True,
            battery=True,
            name=space.record.lock_id,
            console=console,
        )
        self._lock.listeners.append(self._heard)
        self._hand = Hand(self._lock, space.record.lock_id, self._say)

    async def run(self) -> None:
        """Start everything, wait for the end, stop everything; ToolError if the lock cannot run."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._end.set)
        async with AsyncExitStack() as stack:
            control = ControlServer(self._space.folder, self._hand.obey)
            await control.start()
            stack.push_async_callback(control.stop)
            try:
                self._say("emulator", "starts the firmware", aioble_in_use())
                self._set_network()
                await stack.enter_async_context(self._lock)
                await self._lock.wait_advertising()
            except EmulatorError as error:
                self._keep_log()
                raise ToolError(f"{str(error).splitlines()[0]}: see {self._space.log}") from error
            bus_address = await self._open_bus(stack)
            state = EmulatorState(
                folder=self._space.folder, lock_id=self._space.record.lock_id, bus_address=bus_address
            )
            state.save()
            stack.callback(state.remove)
            self._introduce(bus_address)
            with listening(self._pressed) as has_keys:
                if has_keys and not self._as_json:
                    self._print(HELP)
                keys = asyncio.create_task(self._obey_keys())
                await self._until_end()
                keys.cancel()
        if self._lock.ended is not None:
            self._keep_log()
            raise ToolError(f"the firmware ended ({self._lock.ended or 'main.py returned'}): see {self._space.log}")
        self._say("emulator", "ends")

    def _set_network(self) -> None:
        """Have the lock in a network where it serves HTTP, or not any more. A network of one's own is left alone."""
        flash = self._lock.flash
        try:
            if not flash.exists():
                flash.create()
            stored = flash.nvs_get("vitrine", "network")
            if self._http_port or (stored is not None and _SSID in stored):
                network = {1: 1, 2: _SSID, 3: "not a secret"} | ({4: self._http_port} if self._http_port else {})
                flash.nvs_put("vitrine", "network", cbor.encode(network))
        except OSError as error:
            raise ToolError(f"cannot prepare {flash.path}: {error}") from error

    async def _open_bus(self, stack: AsyncExitStack) -> str:
        """Give bleak a way to the radio; without dbus-daemon the lock runs all the same. Returns the bus's address."""
        bus = PrivateBus()
        try:
            await stack.enter_async_context(bus)
        except BusError as error:
            self._say("emulator", "has no Bluetooth for `vitrine unlock`", str(error))
            return ""
        central = await make_device("adapter", RadioController("adapter", self._radio), self._radio.next_address())
        await stack.enter_async_context(BluezStandIn(bus.address, central))
        return bus.address

    async def _until_end(self) -> None:
        while not self._end.is_set() and self._lock.ended is None:
            try:
                await asyncio.wait_for(self._end.wait(), _WATCH_S)
            except TimeoutError:
                continue

    def _introduce(self, bus_address: str) -> None:
        lock_id = self._space.record.lock_id
        self._say("lock", f"{lock_id} is on the air")
        if self._console is not None:
            self._say("lock", "has its wire at", str(self._console))
        if self._space.is_bare and not self._as_json:
            words = f"{sys.argv[0]} provision --port {self._console} --lock {lock_id} --site {self._space.site}"
            self._print(f"\nMake a bare board a lock from a second terminal:\n  {words} --keys {self._space.escrow}\n")
        url = f"http://{_HOST}:{self._http_port}" if self._http_port else ""
        if url:
            self._say("lock", "serves HTTP", url)
        if not (bus_address or url) or self._as_json:
            return
        if self._space.token.exists():
            where = "" if self._space.folder == DEFAULT_FOLDER else f" --emulator {self._space.folder}"
            ways = ([where] if bus_address else []) + ([f" --http {url}"] if url else [])
            words = f"{sys.argv[0]} unlock --lock {lock_id} --token {self._space.token} --key {self._space.holder}"
            lines = "".join(f"  {words}{way}\n" for way in ways)
            self._print(f"\nOpen it from a second terminal:\n{lines}")
        else:
            self._print("\nOpen it with a token of an issuer that it trusts: vitrine unlock\n")

    def _heard(self, record: dict[Any, Any]) -> None:
        line = describe(record)
        self._say(line.who, line.what, line.why, is_bad=line.is_bad)

    def _pressed(self, key: str) -> None:
        if key == "q":
            self._end.set()
        elif self._keys.qsize() < _MAX_KEYS:
            self._keys.put_nowait(key)

    async def _obey_keys(self) -> None:
        """Do what the keys say, one after the other."""
        while True:
            key = await self._keys.get()
            if key == "h":
                self._print(HELP)
            elif key in KEYS:
                try:
                    answer = await self._hand.obey(KEYS[key])
                except ToolError as error:
                    self._say("hand", str(error), is_bad=True)
                else:
                    if KEYS[key] == "status":
                        self._print(status_text(answer))

    def _say(self, who: str, what: str, why: str = "", *, is_bad: bool = False) -> None:
        """Print one line of the timeline."""
        at_s = round(time.monotonic() - self._begin_s, 3)
        if self._as_json:
            self._print(json.dumps({"at_s": at_s, "who": who, "what": what, "why": why, "bad": is_bad}))
            return
        line = Text(f"{time.strftime('%H:%M:%S')} ")
        line.append(f" {who:<9}", "bold")
        line.append(f" {what:<34}", "red" if is_bad else "")
        line.append(f" {why}".rstrip(), "dim")
        self._print(line)

    def _print(self, line: str | Text) -> None:
        """Print for whoever reads; when nobody does any more, end."""
        try:
            if isinstance(line, Text):
                Console(highlight=False).print(line, soft_wrap=True)
            else:
                print(line)
            sys.stdout.flush()
        except OSError:
            self._end.set()

    def _keep_log(self) -> None:
        self._space.log.write_text(self._lock.last_words(1000) + "\n")


def _free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return probe.getsockname()[1]
