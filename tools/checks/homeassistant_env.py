"""Check our discovery messages by Home Assistant's own schemas and templates, in an environment of its own.

Home Assistant needs Python 3.13: HOMEASSISTANT_PYTHON names one, else PATH and pyenv are searched. Where there is none,
or the package does not install, it says so and ends with 0: tests/tools/test_homeassistant.py holds the messages to the
list of Home Assistant's fields in any case.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = "2026.2.3"
ENVIRONMENT = ROOT / "build" / "homeassistant"
INSTALL_S = 900

sys.path.insert(0, str(ROOT / "tests"))


def main() -> int:
    from support.homeassistant_cases import CASES
    from vitrine_tools.homeassistant import discovery

    python = environment()
    if python is None:
        return 0
    messages = [discovery.message("case-12"), discovery.message("a" * 32, without=discovery.OPTIONAL)]
    judge = Path(__file__).with_name("homeassistant_judge.py")
    return subprocess.run(
        [python, judge], input=json.dumps({"messages": messages, "cases": CASES}), text=True, timeout=120
    ).returncode


def environment() -> Path | None:
    """Return the Python of the environment, made if it is not there; None, and a line, if it cannot be."""
    python = ENVIRONMENT / "bin" / "python"
    ready = ENVIRONMENT / f".{VERSION}"
    if ready.exists():
        return python
    base = interpreter()
    if base is None:
        print("skipped: Home Assistant needs Python 3.13 (HOMEASSISTANT_PYTHON=path)")
        return None
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--ignore-requires-python"]
    try:
        subprocess.run([base, "-m", "venv", ENVIRONMENT], check=True, timeout=INSTALL_S)
        # its manifest has what the MQTT integration needs besides
        wanted = [f"homeassistant=={VERSION}", "paho-mqtt==2.1.0"]
        subprocess.run([*install, *wanted], check=True, timeout=INSTALL_S, stderr=subprocess.DEVNULL)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"skipped: Home Assistant {VERSION} does not install here ({type(error).__name__})")
        return None
    ready.touch()
    return python


def interpreter() -> str | None:
    """Return a Python that Home Assistant runs on, or None."""
    named = os.environ.get("HOMEASSISTANT_PYTHON")
    if named:
        return named
    versions = ("3.13", "3.14")
    found = [shutil.which(f"python{version}") for version in versions]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for version in versions:
        found += map(str, sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True))
    return next((path for path in found if path and _runs(path)), None)


def _runs(path: str) -> bool:
    """Tell whether it is a Python of 3.13 or later: pyenv's shims are there for versions that are not chosen."""
    check = "import sys; sys.exit(sys.version_info < (3, 13))"
    return subprocess.run([path, "-c", check], capture_output=True, timeout=30).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
