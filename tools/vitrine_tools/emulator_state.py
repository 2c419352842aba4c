"""How a running `vitrine emulate` is found by other commands: the state file in its folder."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from . import control
from .errors import ToolError

DEFAULT_FOLDER: Final = Path("build/emulator")
_FILE = "emulator.json"


class NotRunningError(ToolError):
    """There is no running emulator where one is wanted, or there is one already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorState:
    """What the running emulator tells: its lock, and the address of its D-Bus (empty if it has none)."""

    lock_id: str
    bus_address: str

    def save(self, folder: Path) -> None:
        """Write the state file whole or not at all."""
        temporary = folder / f".{_FILE}.{os.getpid()}"
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(folder / _FILE)

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove the state file."""
        (folder / _FILE).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path) -> "EmulatorState | None":
        """Return the state of the emulator that runs in `folder`, or None; a file left behind does not count."""
        try:
            state = cls(**json.loads((folder / _FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return state if control.is_listening(folder) else None

    @classmethod
    def find(cls, folder: Path | None) -> "EmulatorState | None":
        """Return the emulator in `folder`, which must run; or without a folder the one in the usual place, if any."""
        state = cls.load(folder or DEFAULT_FOLDER)
        if state is None and folder is not None:
            raise NotRunningError(f"no emulator runs in {folder}: start it with `vitrine emulate {folder}`")
        if state is not None and not state.bus_address:
            if folder is None:
                return None
            raise NotRunningError(f"the emulator in {folder} has no D-Bus: `apt-get install dbus` and start it again")
        return state
