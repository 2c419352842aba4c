"""What an image freezes: firmware/manifest.py names every file, and firmware/package.json the same for a stock image.

python tools/checks/frozen.py [--write]          hold both lists to the tree; --write first writes package.json
python tools/checks/frozen.py --package BOARD    compile the package for a board into build/mip/BOARD

Prints one line for each trouble and exits with 1, or one line in all and exits with 0.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpy_sizes import FALLBACK, MPY_CROSS, OPTIONS, ROOT

from vitrine_tools import deps
from vitrine_tools.errors import ToolError
from vitrine_tools.field import boards

FIRMWARE = ROOT / "firmware"
COMMON = boards.BOARDS / "manifest_common.py"
PACKAGE = FIRMWARE / "package.json"
OUT = ROOT / "build" / "mip"
# not for a stock image: it has a _boot.py of its own, and boot.py is put there as a source, as it asks for it
IMAGE_ONLY = ("_boot.py", "boot.py")
# libraries that a stock image has
STOCK = ("umqtt",)


class ManifestError(ToolError):
    """A manifest that cannot be read, or that does what ours never do."""


class Manifest:
    """One manifest.py, run with MicroPython's names as far as ours use them. `files`: path in the image -> source."""

    def __init__(self, path: Path) -> None:
        self.files: dict[str, Path] = {}
        self.others: list[str] = []  # included or required
        self._folder = path.parent
        names = {name: getattr(self, f"_{name}") for name in ("include", "module", "package", "require")}
        try:
            exec(compile(path.read_text(), str(path), "exec"), names)  # noqa: S102  it is a file of ours
        except (NameError, TypeError, OSError) as error:
            raise ManifestError(f"{path.name}: {error}") from error

    def _include(self, path: str) -> None:
        self.others.append(path)

    def _require(self, name: str) -> None:
        self.others.append(name)

    def _module(self, name: str, base_path: str = ".", *, opt: int) -> None:
        self._add(name, self._folder / base_path / name, opt)

    def _package(self, name: str, files: tuple[str, ...], base_path: str = ".", *, opt: int) -> None:
        for file in files:
            self._add(f"{name}/{file}", self._folder / base_path / name / file, opt)

    def _add(self, target: str, source: Path, opt: int) -> None:
        if target in self.files:
            raise ManifestError(f"{target} is named twice")
        if f"-O{opt}" not in OPTIONS:
            raise ManifestError(f"{target} is compiled with opt={opt}, the sizes with {' '.join(OPTIONS)}")
        self.files[target] = source


def check(firmware: Path = FIRMWARE) -> Iterator[str]:
    """Yield what differs between the lists and the tree, a line each."""
    frozen = Manifest(firmware / "manifest.py")
    left_out = {line for line in FALLBACK.read_text().splitlines() if line and not line.startswith("#")}
    tree = {path.relative_to(firmware).as_posix() for path in firmware.rglob("*.py")} - {"manifest.py"}
    for name in sorted(tree - left_out - set(frozen.files)):
        yield f"firmware/manifest.py: {name} is not named"
    for name in sorted(set(frozen.files) - tree):
        yield f"firmware/manifest.py: there is no {name}"
    for name in sorted(set(frozen.files) & left_out):
        yield f"firmware/manifest.py: {name} is for interpreters without native code"
    if list(frozen.files) != sorted(frozen.files, key=lambda name: (name.count("/") > 0, name)):
        yield "firmware/manifest.py: the files are not in order"
    common = Manifest(COMMON)
    pinned = {file for package in deps.read_pins() for file in package.files}
    for name in sorted(pinned ^ set(common.files)):
        yield f"boards/manifest_common.py and firmware/deps.toml differ about {name}"
    if (firmware / "package.json").read_text() != package_json(frozen, common):
        yield "firmware/package.json is not what the manifests say: run tools/checks/frozen.py --write"


def package_json(frozen: Manifest, common: Manifest) -> str:
    """The package for mip: paths below /lib, from the folder that the package is in."""
    names = [name for name in frozen.files if name not in IMAGE_ONLY]
    names += ["board.py", *(name for name in common.files if name.partition("/")[0] not in STOCK)]
    version = re.search(r'^VERSION = "([^"]+)"$', (FIRMWARE / "vitrine" / "version.py").read_text(), re.MULTILINE)
    if version is None:
        raise ManifestError("firmware/vitrine/version.py has no VERSION")
    compiled = [name.removesuffix(".py") + ".mpy" for name in names]
    rows = ",\n".join(f"    {json.dumps([name, name])}" for name in compiled)
    return f'{{\n  "version": {json.dumps(version[1])},\n  "urls": [\n{rows}\n  ],\n  "deps": []\n}}\n'


def compile_package(name: str, architecture: str | None = None) -> Path:
    """Compile the package for the board of this name; return the path of its package.json. Raises ToolError.

    architecture: for an interpreter that is not the board's own (tests).
    """
    board = boards.load(name)
    architecture = architecture or board.chip.architecture
    sources: dict[str, Path] = {"board.py": board.folder / "modules" / "board.py"}
    for manifest in (Manifest(FIRMWARE / "manifest.py"), Manifest(COMMON)):
        sources |= manifest.files
    package: Any = json.loads(PACKAGE.read_text())
    target = OUT / name
    for path, _ in package["urls"]:
        source = sources[path.removesuffix(".mpy") + ".py"]
        if not source.is_file():
            raise ToolError(f"{source.name} is not there: `make deps` fetches {path.partition('/')[0]}")
        compiled = target / path
        compiled.parent.mkdir(parents=True, exist_ok=True)
        command = [MPY_CROSS, f"-march={architecture}", *OPTIONS, "-s", source.stem, "-o", compiled, source]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ToolError(f"{path}: {done.stderr.strip() or done.stdout.strip()}")
    (target / "package.json").write_text(PACKAGE.read_text())
    return target / "package.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--package", metavar="BOARD")
    arguments = parser.parse_args()
    try:
        if arguments.package:
            print(f"package: {compile_package(arguments.package).relative_to(ROOT)}")
            return 0
        if arguments.write:
            PACKAGE.write_text(package_json(Manifest(FIRMWARE / "manifest.py"), Manifest(COMMON)))
        troubles = list(check())
    except ToolError as error:
        print(error)
        return 1
    for trouble in troubles:
        print(trouble)
    if troubles:
        return 1
    print(f"frozen: {len(Manifest(FIRMWARE / 'manifest.py').files)} files are named, and no others are there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
