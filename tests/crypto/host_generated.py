"""The generated files are what their generators write, and the tables are what the plain formulas give."""

import importlib.util
from pathlib import Path

import pytest

from vitrine.crypto import comb
from vitrine.crypto.base_table import BASE_TABLE
from vitrine.crypto.ed25519 import PublicKey

CODEGEN = Path(__file__).resolve().parents[2] / "tools" / "codegen"


def generator(name):
    spec = importlib.util.spec_from_file_location(name, CODEGEN / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["ed25519_tables", "field_viper"])
def test_no_drift(name):
    assert generator(name).main(["--check"]) == 0


def test_the_tables_made_on_the_lock_are_those_of_the_plain_formulas():
    """The key whose negative is the base point: its table must be the generated one."""
    tables = generator("ed25519_tables")
    x, y = tables.base_point()
    key = PublicKey((y | (1 - x % 2) << 255).to_bytes(32, "little"))
    assert key.point == (x, y)
    assert list(comb.build(key, tables.TEETH))[-1] == BASE_TABLE
