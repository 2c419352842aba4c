"""`make release`: everything of one version, from nothing; the same bytes wherever and whenever it is built.

build/release/VERSION/ gets, for each kind of processor, the `.mpy` set, the bundle of it that an update carries, and
its SBOM; an SBOM of the tools; sizes.json; SHA256SUMS; with --key, a signed manifest of the bundle for each board.
Version and sequence are those of firmware/vitrine/version.py. The time in the SBOMs is SOURCE_DATE_EPOCH's, else that
of the commit.

Besides the sources the bytes depend on mpy-cross and on this Python's zlib: the SBOMs name both.
"""

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools" / "checks")]

import mpy_sizes  # noqa: E402
import sbom  # noqa: E402

from vitrine_tools import bundle, keys  # noqa: E402
from vitrine_tools.errors import ToolError  # noqa: E402
from vitrine_tools.field import boards  # noqa: E402
from vitrine_tools.updates import component, manifest  # noqa: E402

OUT = ROOT / "build" / "release"
MAIN = ROOT / "firmware" / "main.py"
VERSION_FILE = ROOT / "firmware" / "vitrine" / "version.py"


@dataclass(frozen=True)
class Built:
    """What was made for one kind of processor. sizes: bytes of .mpy by package."""

    architecture: str
    files: dict[str, bytes]
    bundle: bytes
    sizes: dict[str, int]

    def figures(self) -> dict[str, object]:
        """What sizes.json says of it. mpy_sha256 is of the whole set: over the lines that `sha256sum` would print."""
        return {
            "files": len(self.files),
            "mpy_bytes": self.sizes,
            "mpy_sha256": hashlib.sha256(sums(self.files).encode()).hexdigest(),
            "bundle_bytes": len(self.bundle),
            "bundle_sha256": hashlib.sha256(self.bundle).hexdigest(),
        }


def sums(contents: Mapping[str, bytes]) -> str:
    """What `sha256sum` prints of these files, in the order of their paths."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in sorted(contents.items()))


def read_version(path: Path = VERSION_FILE) -> tuple[str, int]:
    """Return (VERSION, SEQUENCE) without running the file; ToolError if they are not plain values."""
    values: dict[str, object] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value.args[0] if isinstance(node.value, ast.Call) and node.value.args else node.value
            if isinstance(value, ast.Constant):
                values[node.targets[0].id] = value.value
    version, sequence = values.get("VERSION"), values.get("SEQUENCE")
    if not isinstance(version, str) or not isinstance(sequence, int):
        raise ToolError(f"{path.name} must say VERSION = '...' and SEQUENCE = number")
    return version, sequence


def build_one(architecture: str, scratch: Path, version: str, sequence: int) -> Built:
    """Compile main and the package for one kind of processor, into a folder that does not exist yet."""
    tree = mpy_sizes.compile_tree(architecture, scratch / architecture)
    command = [mpy_sizes.MPY_CROSS, f"-march={architecture}", *mpy_sizes.OPTIONS, "-s", "main"]
    done = subprocess.run([*command, "-o", tree / "main.mpy", MAIN], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"main.py for {architecture}: {done.stderr.strip() or done.stdout.strip()}")
    files = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*.mpy")}
    return Built(architecture, files, bundle.pack(files, sequence, version), mpy_sizes.sizes(tree))


def build(key: keys.PrivateKey | None = None) -> Path:
    """Build into build/release/VERSION, which is replaced as a whole; return it. ToolError, RuntimeError."""
    version, sequence = read_version()
    epoch_s, commit = _epoch(), _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUT, prefix=".building-") as name:
        scratch = Path(name)
        with ThreadPoolExecutor() as pool:
            made = pool.map(lambda one: build_one(one, scratch / "mpy", version, sequence), mpy_sizes.ARCHITECTURES)
            all_built = list(made)
        compiler = _words(str(mpy_sizes.MPY_CROSS), "--version")
        context = sbom.Context(version, sequence, epoch_s, commit, compiler)
        contents: dict[str, bytes] = {}
        for built in all_built:
            name = f"vitrine-{version}-{built.architecture}"
            contents |= {f"mpy/{built.architecture}/{path}": data for path, data in built.files.items()}
            contents[f"{name}.bundle"] = built.bundle
            contents[f"{name}.cdx.json"] = sbom.of_firmware(context, built.architecture, built.files, built.bundle)
            if key is not None:
                contents |= manifests(built, version, key)
        contents[f"vitrine-{version}-tools.cdx.json"] = sbom.of_tools(context)
        figures = {
            "version": version,
            "sequence": sequence,
            "mpy_cross": compiler,
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
            "architectures": {built.architecture: built.figures() for built in all_built},
        }
        contents["sizes.json"] = (json.dumps(figures, indent=2) + "\n").encode()
        return _put(contents, scratch / "release", OUT / version)


def manifests(built: Built, version: str, key: keys.PrivateKey) -> dict[str, bytes]:
    """Sign the bundle for each board with this kind of processor, the emulated one too."""
    names = {name: boards.load(name).chip.architecture for name in boards.names()} | {boards.EMULATED: "x64"}
    application = component.application(built.bundle)
    return {
        f"vitrine-{version}-{name}.manifest": manifest.sign(manifest.of_component(application, name), key).data
        for name, architecture in names.items()
        if architecture == built.architecture
    }


def _put(contents: dict[str, bytes], scratch: Path, target: Path) -> Path:
    """Write everything aside, then put it in the place of what was there."""
    for path, data in contents.items():
        (scratch / path).parent.mkdir(parents=True, exist_ok=True)
        (scratch / path).write_bytes(data)
    (scratch / "SHA256SUMS").write_text(sums(contents))
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)
    return target


def _epoch() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct")
    if not text.isdecimal():
        raise ToolError("set SOURCE_DATE_EPOCH to the Unix time of the release: there is no commit to take it from")
    return int(text)


def _git(*words: str) -> str:
    """What git says of this folder; "" where it is no repository of its own."""
    return _words("git", "-C", str(ROOT), *words) if (ROOT / ".git").exists() else ""


def _words(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make release", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--key", type=Path, help="private key of an issuer with the scope update")
    options = parser.parse_args(arguments)
    try:
        target = build(keys.load_private(options.key) if options.key else None)
    except (ToolError, RuntimeError) as error:
        print(f"release: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    figures = json.loads((target / "sizes.json").read_text())
    print(f"release: {target.relative_to(ROOT)}, sequence {figures['sequence']}")
    for architecture, of_it in figures["architectures"].items():
        print(f"  {architecture:<10} {of_it['mpy_bytes']['all']:>8,} bytes of .mpy  set    {of_it['mpy_sha256']}")
        print(f"  {'':<10} {of_it['bundle_bytes']:>8,} bytes          bundle {of_it['bundle_sha256']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
