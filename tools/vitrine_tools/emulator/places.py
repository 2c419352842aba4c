"""Where the emulated board and its interpreter are."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BOARD = ROOT / "boards" / "unix"
MICROPYTHON_ENV = "MICROPYTHON"


def interpreter() -> str:
    """The MicroPython to run: the environment's choice, or the one beside this Python."""
    return os.environ.get(MICROPYTHON_ENV) or str(Path(sys.executable).parent / "micropython")
