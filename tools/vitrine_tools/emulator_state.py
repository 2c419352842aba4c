"""How a running `vitrine emulate` is found by other commands: the state file in its folder; of a fleet, each lock's."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import control
from .errors import ToolError

DEFAULT_FOLDER: Final = Path("build/emulator")
DEFAULT_BARE: Final = Path("build/bare")
DEFAULT_FLEET: Final = Path("build/fleet")
_FILE = "emulator.json"


class NotRunningError(ToolError):
    """There is no running emulator where one is wanted, or there is one already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorState:
    """What the running emulator in `folder` tells: its lock, and the address of its D-Bus (empty if it has none)."""

    folder: Path
    lock_id: str
    bus_address: str

    def save(self) -> None:
        """Write the state file whole or not at all."""
        temporary = self.folder / f".{_FILE}.{os.getpid()}"
        temporary.write_text(json.dumps({"lock_id": self.lock_id, "bus_address": self.bus_address}))
        temporary.replace(self.folder / _FILE)

    def remove(self) -> None:
        """Remove the state file."""
        (self.folder / _FILE).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path) -> "EmulatorState | None":
        """Return the state of the emulator that runs in `folder`, or None; a file left behind does not count."""
        try:
            state = cls(folder=folder, **json.loads((folder / _FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return state if control.is_listening(folder) else None

    @classmethod
    def find(cls, folder: Path | None, lock_id: str) -> "EmulatorState | None":
        """Return the emulator in `folder`, or that lock of the fleet there, which must run; None: in the usual places.

        Without a folder, one of another lock is returned where there is none of this.
        """
        places = [folder, folder / lock_id] if folder else [DEFAULT_FOLDER, DEFAULT_BARE, DEFAULT_FLEET / lock_id]
        states = [state for place in places if (state := cls.load(place)) is not None]
        state = next((each for each in states if each.lock_id == lock_id), states[0] if states else None)
        if state is None and folder is not None:
            raise NotRunningError(f"no emulator runs in {folder}: start it with `vitrine emulate {folder}`")
        if state is not None and not state.bus_address:
            if folder is None:
                return None
            raise NotRunningError(f"the emulator in {folder} has no D-Bus: `apt-get install dbus` and start it again")
        return state
