"""Loaded by each Python that a test starts (tests/support/client_tap.py)."""

import importlib.util
import os
from pathlib import Path

if os.environ.get("VITRINE_TAP"):
    _SPEC = importlib.util.spec_from_file_location("client_tap", Path(__file__).resolve().parents[1] / "client_tap.py")
    _TAP = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(_TAP)
    _TAP.install(os.environ["VITRINE_TAP"])
