"""What a person at an emulated case can do, as the control socket names it: door, exit button, mains."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from .emulator import EmulatedLock, EmulatorError
from .errors import ToolError

POWER_OFF_S: Final = 0.5
BUTTON_S: Final = 0.3


class Hand:
    """Hand(lock, lock_id, say): `say(who, what, why, is_bad=...)` takes one line of a timeline."""

    def __init__(self, lock: EmulatedLock, lock_id: str, say: Callable[..., object]) -> None:
        self._lock = lock
        self._lock_id = lock_id
        self._say = say

    async def obey(self, command: str) -> dict[str, Any]:
        """Do one of control.COMMANDS, and return the status after it; ToolError if it cannot be done."""
        lock = self._lock
        if command == "open":
            is_open = lock.pull_door()
            self._say("hand", "pulls the door", "it opens" if is_open else "the bolt holds it")
        elif command == "close":
            lock.set_door(True)
            self._say("hand", "closes the door")
        elif command == "force":
            lock.set_door(False)
            self._say("hand", "forces the door open", is_bad=True)
        elif command == "rex":
            self._say("hand", "presses the exit button")
            lock.press_rex(True)
            await asyncio.sleep(BUTTON_S)
            lock.press_rex(False)
        elif command == "power-cut":
            await self._cut_power()
        return self.status()

    def status(self) -> dict[str, Any]:
        """Return what can be seen of the lock."""
        lock = self._lock
        return {
            "lock_id": self._lock_id,
            "power": lock.is_on,
            "door": "closed" if lock.door_closed else "open",
            "strike": lock.strike_energised,
            "phones": lock.connections,
            "restarts": lock.restarts,
        }

    async def _cut_power(self) -> None:
        lock = self._lock
        if not lock.is_on:
            raise ToolError("the power is off already: wait for it to come back")
        self._say("hand", "cuts the power", "the clock has a battery", is_bad=True)
        await lock.power_cut()
        await asyncio.sleep(POWER_OFF_S)
        try:
            await lock.start()
            await lock.wait_advertising()
        except EmulatorError as error:
            raise ToolError(str(error).splitlines()[0]) from error
        self._say("lock", "is on the air again")


def status_text(status: dict[str, Any]) -> str:
    """Return a status, as the control socket gives it, in one line for a person."""
    strike = "energised (the bolt is free)" if status["strike"] else "without current (the bolt holds)"
    power = "" if status["power"] else "; no power"
    phones = f"{status['phones']} phone{'' if status['phones'] == 1 else 's'} connected"
    return f"{status['lock_id']}: door {status['door']}, strike {strike}, {phones}{power}"
