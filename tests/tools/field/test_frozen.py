"""What an image freezes: every file by name, nothing of the emulated board's, and the same by mip for a stock image."""

import ast
import json
import sys
from pathlib import Path

import pytest

from vitrine_tools.field import boards

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tools" / "checks"))

import frozen  # noqa: E402


def test_the_lists_are_those_of_the_tree():
    assert list(frozen.check()) == []


@pytest.mark.parametrize("name", boards.names())
def test_a_boards_manifest_is_the_common_one_and_its_own_module(name):
    manifest = frozen.Manifest(ROOT / "boards" / name / "manifest.py")
    assert manifest.others == ["../manifest_common.py"]
    assert list(manifest.files) == ["board.py"]
    assert manifest.files["board.py"].samefile(ROOT / "boards" / name / "modules" / "board.py")


def test_the_common_manifest_takes_the_firmware_its_libraries_and_asyncio():
    manifest = frozen.Manifest(frozen.COMMON)
    assert manifest.others == ["../firmware/manifest.py", "$(MPY_DIR)/extmod/asyncio", "ssl"]
    assert {name.partition("/")[0] for name in manifest.files} == {"aioble", "microdot", "umqtt"}


def test_no_stand_in_gets_into_an_image():
    """What only the emulated board has would let a test's harness into a lock."""
    stand_ins = {path.stem for path in (ROOT / "boards" / "unix" / "modules").glob("*.py")} - {"board", "aioble"}
    assert "_testing" in stand_ins
    for path in (frozen.COMMON, ROOT / "firmware" / "manifest.py"):
        named = {Path(name).parts[0].removesuffix(".py") for name in frozen.Manifest(path).files}
        assert not named & stand_ins


def test_everything_that_frozen_code_imports_is_frozen_or_built_in():
    """Built in: read in MicroPython's esp32 port. A module missing here fails on the chip only, in the field."""
    built_in = {"array", "binascii", "bluetooth", "collections", "cryptolib", "deflate", "errno", "esp32", "gc"}
    built_in |= {"hashlib", "io", "json", "machine", "micropython", "network", "os", "re", "select", "socket"}
    built_in |= {"struct", "sys", "time", "tls", "uctypes", "vfs", "_thread", "builtins"}
    files = frozen.Manifest(ROOT / "firmware" / "manifest.py").files | frozen.Manifest(frozen.COMMON).files
    own = {Path(name).parts[0].removesuffix(".py") for name in files} | {"board", "asyncio", "ssl"}
    for name, source in files.items():
        if name.startswith(("vitrine/", "boot", "_boot", "main")):
            for module in imported(ast.parse(source.read_text())):
                assert module in built_in | own, (name, module)


def imported(tree: ast.Module) -> set[str]:
    """The first names of all modules that the code imports, but for what only the type checker sees."""
    found = set()
    pending = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "_TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
        pending.extend(ast.iter_child_nodes(node))
    return found


def test_a_file_that_is_not_named_or_not_there_is_noticed(tmp_path):
    firmware = tmp_path / "firmware"
    (firmware / "vitrine").mkdir(parents=True)
    for name in ("boot.py", "vitrine/new.py", "vitrine/edwards.py"):
        (firmware / name).write_text("")
    (firmware / "manifest.py").write_text(
        'module("boot.py", opt=3)\nmodule("gone.py", opt=3)\npackage("vitrine", ("edwards.py",), opt=3)\n'
    )
    (firmware / "package.json").write_text("{}")
    assert list(frozen.check(firmware)) == [
        "firmware/manifest.py: vitrine/new.py is not named",
        "firmware/manifest.py: there is no gone.py",
        "firmware/package.json is not what the manifests say: run tools/checks/frozen.py --write",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('module("boot.py", opt=0)', "compiled with opt=0"),
        ('module("boot.py")', "missing 1 required"),
        ('freeze("modules")', "name 'freeze' is not defined"),
        ('module("boot.py", opt=3)\nmodule("boot.py", opt=3)', "named twice"),
    ],
)
def test_what_a_manifest_must_not_do_is_refused(tmp_path, text, message):
    (tmp_path / "manifest.py").write_text(text)
    with pytest.raises(frozen.ManifestError, match=message):
        frozen.Manifest(tmp_path / "manifest.py")


def test_the_package_installs_below_lib_and_leaves_the_start_to_boot_py():
    package = json.loads(frozen.PACKAGE.read_text())
    targets = [target for target, _ in package["urls"]]
    assert all(target == source and target.endswith(".mpy") for target, source in package["urls"])
    assert {"main.mpy", "board.mpy", "vitrine/app/dispatch.mpy", "aioble/server.mpy"} <= set(targets)
    assert not {"boot.mpy", "_boot.mpy", "umqtt/simple.mpy"} & set(targets)
    assert len(set(targets)) == len(targets)


def test_a_package_is_compiled_for_the_boards_chip(tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "OUT", tmp_path)
    package = json.loads(frozen.PACKAGE.read_text())
    chosen = [row for row in package["urls"] if row[0].startswith(("board", "main", "vitrine/crypto/scalar"))]
    short = tmp_path / "short.json"
    short.write_text(json.dumps(package | {"urls": chosen}))
    monkeypatch.setattr(frozen, "PACKAGE", short)
    built = {name: frozen.compile_package(name).parent for name in ("VITRINE_ESP32", "VITRINE_ESP32C3")}
    for folder in built.values():
        assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.mpy")} == {row[0] for row in chosen}
    one, other = ((folder / "board.mpy").read_bytes() for folder in built.values())
    assert one[:1] == other[:1] == b"M" and one != other  # each has its own pins


def test_a_package_without_its_libraries_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "OUT", tmp_path)
    short = tmp_path / "short.json"
    short.write_text(json.dumps({"urls": [["aioble/core.mpy", "aioble/core.mpy"]]}))
    monkeypatch.setattr(frozen, "PACKAGE", short)
    monkeypatch.setattr(frozen, "COMMON", tmp_path / "manifest_common.py")
    (tmp_path / "manifest_common.py").write_text('package("aioble", ("core.py",), base_path="none", opt=3)\n')
    with pytest.raises(frozen.ToolError, match="`make deps` fetches aioble"):
        frozen.compile_package("VITRINE_ESP32")
