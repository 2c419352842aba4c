"""`make deps`: fetch the device's third-party packages (firmware/deps.toml) from the package index of micropython-lib.

The index is the one that the pinned mpremote uses, so that no host is written here; its format is that of mip:
INDEX/package/py/NAME/VERSION.json lists files and short hashes, INDEX/file/HH/HASH is a file. Every file is checked
against the SHA-256 in deps.toml before any of its package is put in place. Where the index cannot be reached, one line
says so and the emulator's stand-in serves; a file with another content than pinned is an error. A package whose source
is a wheel is installed already, and copied from there.
"""

import argparse
import hashlib
import http.client
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mpremote import mip

from .errors import ToolError

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "firmware" / "deps.toml"
TARGET = ROOT / "build" / "deps"

_TIMEOUT_S = 10
_FILE_MAX = 256 * 1024
_SHORT_HASH_MIN = 4  # what the index's own tool guarantees


class DepsError(ToolError):
    """What came is not what is pinned, or deps.toml is wrong."""


class UnreachableError(Exception):
    """The index cannot be reached, or does not have the package."""


@dataclass(frozen=True)
class Package:
    """One pinned package: files maps a relative path to its SHA-256 in hex. is_wheel: it comes with `make setup`."""

    name: str
    version: str
    files: dict[str, str]
    is_wheel: bool = False

    def is_in(self, folder: Path) -> bool:
        """Whether exactly this is there already."""
        return all(_digest(folder / path) == pin for path, pin in self.files.items())


def read_pins(path: Path = PINS) -> list[Package]:
    """Read deps.toml; DepsError says what is wrong with it."""
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DepsError(f"{path.name}: {error}") from None
    packages = []
    for name, table in tables.items():
        try:
            files = {str(k): str(v) for k, v in table["files"].items()}
            package = Package(name, str(table["version"]), files, table.get("source") == "wheel")
        except (KeyError, TypeError, AttributeError):
            raise DepsError(f"{path.name}: [{name}] needs version and files") from None
        for file, pin in package.files.items():
            parts = PurePosixPath(file).parts
            if not parts or parts[0] == "/" or ".." in parts or len(pin) != 64 or set(pin) - set("0123456789abcdef"):
                raise DepsError(f"{path.name}: [{name}] {file}: not a relative path with a SHA-256")
        packages.append(package)
    return packages


def fetch(package: Package, index: str, target: Path) -> None:
    """Put the package's files into `target`, all or none.

    UnreachableError if the index cannot be had, DepsError if a content is not the pinned one.
    """
    listing = _listing(package, index)
    contents = {}
    for path, pin in package.files.items():
        short = listing.get(path, "")
        if len(short) < _SHORT_HASH_MIN or not pin.startswith(short):
            raise DepsError(f"{package.name} {package.version}: the index has another {path} than deps.toml pins")
        contents[path] = _get(f"{index}/file/{short[:2]}/{short}")
    put(package, contents, target)


def installed(package: Package) -> dict[str, bytes]:
    """Return the contents of a package that came with `make setup`; DepsError if it is not there as pinned."""
    try:
        distribution = importlib.metadata.distribution(package.name)
        contents = {path: Path(str(distribution.locate_file(path))).read_bytes() for path in package.files}
    except (importlib.metadata.PackageNotFoundError, OSError):
        raise DepsError(f"{package.name} {package.version} is not installed: make setup") from None
    _check(package, contents)
    return contents


def put(package: Package, contents: dict[str, bytes], target: Path) -> None:
    """Put `contents` into `target`, all or none; DepsError if one is not the pinned one."""
    _check(package, contents)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".fetch-") as scratch:
        for path, data in contents.items():
            file = Path(scratch) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        for entry in Path(scratch).iterdir():
            place = target / entry.name
            if place.is_dir():
                shutil.rmtree(place)
            os.replace(entry, place)


def _check(package: Package, contents: dict[str, bytes]) -> None:
    for path, pin in package.files.items():
        if hashlib.sha256(contents[path]).hexdigest() != pin:
            raise DepsError(f"{package.name} {package.version}: {path} does not have the pinned SHA-256")


def _listing(package: Package, index: str) -> dict[str, str]:
    """What the index lists for this version: path -> short hash."""
    data = _get(f"{index}/package/py/{package.name}/{package.version}.json")
    try:
        return {str(path): str(short) for path, short in json.loads(data)["hashes"]}
    except (ValueError, KeyError, TypeError):
        raise DepsError(f"{package.name} {package.version}: the index's answer is not a package description") from None


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            data = answer.read(_FILE_MAX + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise UnreachableError(f"the index answers {error.code}") from None
    except urllib.error.URLError as error:
        raise UnreachableError(f"the index cannot be reached: {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"the index cannot be reached: {error}") from None
    if len(data) > _FILE_MAX:
        raise DepsError(f"the index sends more than {_FILE_MAX} bytes")
    return data


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status: 0 also if the index cannot be reached, unless --required."""
    parser = argparse.ArgumentParser(
        prog="python -m vitrine_tools.deps", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--index", default=mip._PACKAGE_INDEX, help="base address of the package index")
    parser.add_argument("--pins", type=Path, default=PINS, help="the list of packages (default: firmware/deps.toml)")
    parser.add_argument("--target", type=Path, default=TARGET, help="where to put them (default: build/deps)")
    parser.add_argument("--required", action="store_true", help="exit status 2 if a package cannot be had")
    options = parser.parse_args(arguments)
    status = 0
    try:
        for package in read_pins(options.pins):
            title = f"deps: {package.name} {package.version}"
            if package.is_in(options.target):
                print(f"{title} is there")
                continue
            if package.is_wheel:
                put(package, installed(package), options.target)
                print(f"{title} copied, {len(package.files)} files, each with its pinned SHA-256")
                continue
            try:
                fetch(package, options.index.rstrip("/"), options.target)
                print(f"{title} fetched, {len(package.files)} files, each with its pinned SHA-256")
            except UnreachableError as error:
                print(f"{title} not fetched ({error}); the emulator uses its stand-in", file=sys.stderr)
                status = 2 if options.required else status
    except DepsError as error:
        print(f"deps: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
