"""One lock of a fleet: its folder, its firmware, its control socket, and what is known of it."""

import time
from collections import deque
from typing import Any, Final

from .. import keys
from ..control import ControlServer
from ..emulator import EmulatedLock, EmulatorError, FlashImage, VirtualRadio
from ..emulator_state import EmulatorState
from ..errors import ToolError
from ..hand import Hand
from ..workspace import TOKEN_S, Workspace

_PENDING_MAX: Final = 4096  # records on their way whose age is known
_NEW = "flash.new"


class Member:
    """`await start(bus)`, `await stop()`. The counters, and `state` as the broker shows it, are the fleet's to set."""

    def __init__(self, radio: VirtualRadio, space: Workspace) -> None:
        self.space = space
        self.lock_id = space.record.lock_id
        self.granted = self.refused = self.failed = 0
        self.records = self.stored = 0  # the journal's count and what of it is stored, as the last batch says
        self.is_online = False
        self.state: dict[str, Any] = {}
        self.is_visited = False
        self.holder = keys.load_private(space.holder)
        self._token, self._token_s = b"", 0.0
        self._pending: deque[tuple[str, float]] = deque(maxlen=_PENDING_MAX)
        self.lock = EmulatedLock(
            radio, flash=space.flash, rtc_s=time.time(), is_time_trusted=True, battery=True, name=self.lock_id
        )
        self.lock.listeners.append(self._heard)
        self._control = ControlServer(space.folder, Hand(self.lock, self.lock_id, lambda *_, **__: None).obey)
        self._state_file: EmulatorState | None = None

    def prepare(self, escrow, mqtt: bytes) -> None:
        """Make its flash, if there is none, with a journal whose key goes to the folder `escrow`. For any thread."""
        flash = FlashImage(self.space.flash)
        try:
            if self.space.is_new_record:
                # under another name until it is whole: a start that is interrupted leaves nothing that looks like one
                new = FlashImage(self.space.folder / _NEW).create()
                new.provision(self.space.record.to_bytes())
                new.provision_journal(*self.space.new_journal(escrow))
                new.path.replace(flash.path)
            flash.nvs_put("vitrine", "mqtt", mqtt)
        except OSError as error:
            raise ToolError(f"cannot prepare the flash of {self.lock_id}: {error}") from error

    async def start(self, bus_address: str) -> None:
        """Power it; return when it is on the air. ToolError if it does not come up."""
        await self._control.start()
        try:
            await self.lock.start()
            await self.lock.wait_advertising(30.0)
        except EmulatorError as error:
            self.space.log.write_text(self.lock.last_words(1000) + "\n")
            raise ToolError(f"{str(error).splitlines()[0]}: see {self.space.log}") from error
        self._state_file = EmulatorState(folder=self.space.folder, lock_id=self.lock_id, bus_address=bus_address)
        self._state_file.save()

    async def stop(self) -> None:
        """End it. May be called at any time."""
        if self._state_file is not None:
            self._state_file.remove()
        await self.lock.close()
        await self._control.stop()

    @property
    def trouble(self) -> str:
        """What a person should look at, or nothing."""
        if self.lock.ended is not None:
            return f"firmware ended: {self.lock.ended or 'main.py returned'}"
        if not self.lock.is_on:
            return "no power"
        return "" if self.is_online else "not at the broker"

    def token(self) -> bytes:
        """Return a token that opens it, renewed long before it ends."""
        if time.monotonic() - self._token_s > TOKEN_S / 2 or not self._token:
            if self._token:
                self.space.renew_token()
            self._token, self._token_s = keys.read_file(self.space.token, "token"), time.monotonic()
        return self._token

    def was_stored(self, fields: dict[Any, Any]) -> float | None:
        """Return when (time.monotonic) the record with these fields was made, if that is known, and forget it."""
        key = _key(fields)
        for index, (pending, made_s) in enumerate(self._pending):
            if pending == key:
                # those before it are stored as well, or were never in the journal
                for _ in range(index + 1):
                    self._pending.popleft()
                return made_s
        return None

    def _heard(self, record: dict[Any, Any]) -> None:
        lock = self.lock
        age_s = max(0.0, lock.now_ms - record["t_ms"]) / 1000
        self._pending.append(
            (_key({key: value for key, value in record.items() if key != "t_ms"}), time.monotonic() - age_s)
        )
        # a fleet may run for days, and nobody asks for these
        for kept in (lock.events, lock.pin_trace, lock.power_trace):
            kept.clear()


def _key(fields: dict[Any, Any]) -> str:
    return repr(sorted(fields.items()))
