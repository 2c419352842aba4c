"""The firmware as a ROMFS image of .mpy files: its code runs in place there, as frozen code does on the chip.

For the emulated board and what is measured on it: `EmulatedLock(firmware=build(folder))`.
"""

import contextlib
import io
import subprocess
from pathlib import Path

from mpremote.romfs import VfsRomWriter, copy_recursively
from mpy_sizes import MPY_CROSS, OPTIONS, ROOT, compile_tree

MAIN = ROOT / "firmware" / "main.py"


def build(folder: Path, main: Path = MAIN) -> Path:
    """Compile into `folder` for the unix port and return the image's path; with another `main`, without our package."""
    tree = folder / main.stem
    tree.mkdir(parents=True, exist_ok=True)
    starts = {"boot": ROOT / "firmware" / "boot.py", "main": main}
    if main == MAIN:
        compile_tree("x64", tree)
        starts["_boot"] = ROOT / "firmware" / "_boot.py"
    for name, source in starts.items():
        compiled = tree / f"{name}.mpy"
        subprocess.run([MPY_CROSS, "-march=x64", *OPTIONS, "-s", name, "-o", compiled, source], check=True)
    writer = VfsRomWriter()
    with contextlib.redirect_stdout(io.StringIO()):
        copy_recursively(writer, f"{tree}/", "", False)
    image = folder / f"{main.stem}.romfs"
    image.write_bytes(writer.finalise())
    return image
