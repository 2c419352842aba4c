"""The committed vectors are what their generator makes."""

import importlib.util
import json

from support.paths import TESTS


def test_session_vectors_are_up_to_date():
    path = TESTS / "vectors" / "make_session.py"
    spec = importlib.util.spec_from_file_location("make_session", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert json.loads(module.FILE.read_text()) == module.make()
