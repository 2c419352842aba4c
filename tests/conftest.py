"""Collect each portable test file twice: by pytest on CPython, and once more on the MicroPython unix port."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
PORTABLE = (
    "crypto/",
    "codec/",
    "access/",
    "door/",
    "audit/",
    "app/test_dispatch.py",
    "app/test_commands.py",
    "app/test_configuration.py",
    "app/test_doctor.py",
    "app/test_local_rules.py",
    "app/test_operations.py",
    "app/test_risk.py",
    "app/test_service.py",
    "app/test_starts.py",
    "links/test_console.py",
    "links/test_console_repl.py",
    "fuzz/test_dispatch_bytes.py",
    "fuzz/test_commands.py",
)
# firmware that needs asyncio's MicroPython extras or the chip's modules runs on MicroPython alone
DEVICE = (
    "drivers/",
    *(f"links/test_{name}.py" for name in ("http", "mqtt_wire", "sntp", "tls_gate", "wifi")),
    *(
        f"app/test_{name}.py"
        for name in (
            "controller",
            "event_log",
            "evidence",
            "health",
            "scenario",
            "supervisor",
            "sync",
            "timekeeper",
            "update",
            "update_cuts",
            "updates",
        )
    ),
)
MICROPYTHON = os.environ.get("MICROPYTHON") or str(Path(sys.executable).parent / "micropython")
FILE_TIME_LIMIT_S = 240

# The same examples each time where the outcome decides about a change; new ones everywhere else.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

sys.path[:0] = [str(ROOT / "firmware"), str(TESTS), str(TESTS / "support" / "cpython_shims")]


def pytest_report_header(config):
    from vitrine_tools.emulator.board import aioble_in_use

    return [f"micropython: {MICROPYTHON}", aioble_in_use()]


def pytest_collection_modifyitems(items):
    """Whatever runs the whole firmware is a system test."""
    for item in items:
        if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).parts[0] in ("system", "attacks"):
            item.add_marker(pytest.mark.system)


@pytest.fixture(autouse=True)
def messages_fit(request, monkeypatch, tmp_path_factory):
    """Every message of locks, over radio, HTTP, wire or mosquitto, fits its schema (tests/support/message_tap.py).

    Not where the emulated board runs something else than the firmware.
    """
    wrong = []
    if request.path.parent.name in ("boards", "emulator"):
        yield wrong
        return
    if "vitrine_tools.emulator.bumble_link" in sys.modules:
        from support.message_tap import tap_frames

        tap_frames(monkeypatch, wrong)
    if "vitrine_tools.demo.brokers" in sys.modules:
        from support.message_tap import tap_topics

        tap_topics(monkeypatch, wrong)
    end = None
    if request.node.get_closest_marker("system"):
        from support.message_tap import tap_clients

        end = tap_clients(monkeypatch, wrong, tmp_path_factory.mktemp("tap") / "notes")
    yield wrong
    if end is not None:
        end()
    assert not wrong, wrong[:5]


def pytest_collect_file(file_path, parent):
    if not file_path.is_relative_to(TESTS) or not file_path.name.startswith("test_") or file_path.suffix != ".py":
        return None
    if file_path.relative_to(TESTS).as_posix().startswith(PORTABLE):
        return MicroPythonFile.from_parent(parent, path=file_path, nodeid=f"{parent.nodeid}/[mpy]{file_path.name}")
    return None


def pytest_pycollect_makemodule(module_path, parent):
    if module_path.is_relative_to(TESTS) and module_path.relative_to(TESTS).as_posix().startswith(DEVICE):
        return MicroPythonFile.from_parent(parent, path=module_path)
    return None


class MicroPythonFile(pytest.File):
    """One portable file, run in one MicroPython process when the first of its tests is asked for."""

    def collect(self):
        self.results = None
        for node in ast.parse(self.path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield MicroPythonTest.from_parent(self, name=node.name)

    def result(self, name):
        from vitrine_tools.emulator import stand_ins

        if self.results is None:
            path = [ROOT / "firmware", TESTS, stand_ins.packages()]
            run = subprocess.run(
                [MICROPYTHON, "-X", "heapsize=8M", str(TESTS / "support" / "run_mpy.py"), str(self.path)],
                env={**os.environ, "MICROPYPATH": ":".join(map(str, path)) + ":.frozen"},
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=FILE_TIME_LIMIT_S,
            )
            lines = [json.loads(line[1:]) for line in run.stdout.splitlines() if line.startswith("@")]
            self.results = {line["name"]: line for line in lines}
            self.ending = f"exit status {run.returncode}\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
        return self.results.get(name)


class MicroPythonTest(pytest.Item):
    def __init__(self, **options):
        super().__init__(**options)
        self.add_marker("micropython")

    def runtest(self):
        result = self.parent.result(self.name)
        if result is None:
            raise MicroPythonFailure(f"did not finish on MicroPython: {self.parent.ending}")
        if result["outcome"] == "skipped":
            pytest.skip(result["detail"])
        if result["outcome"] == "failed":
            raise MicroPythonFailure(result["detail"])

    def repr_failure(self, excinfo):
        if isinstance(excinfo.value, MicroPythonFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, None, f"[mpy] {self.name}"


class MicroPythonFailure(Exception):
    """A test failed on MicroPython; the text is its traceback there."""
