"""Fetching the device's packages, from a local server with the index's own layout."""

import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest

from vitrine_tools import deps

FILES = {"lib/__init__.py": b"VERSION = 1\n", "lib/core.py": b"def go():\n    return 1\n"}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Index:
    """A package index on loopback: url -> content; counts what is asked of it."""

    def __init__(self):
        self.contents: dict[str, bytes] = {}
        self.asked: list[str] = []
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                index.asked.append(self.path)
                data = index.contents.get(self.path)
                self.send_response(404 if data is None else 200)
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/pi"

    def publish(self, name: str, version: str, files: dict[str, bytes]) -> None:
        hashes = []
        for path, data in files.items():
            short = sha(data)[:8]
            self.contents[f"/pi/file/{short[:2]}/{short}"] = data
            hashes.append([path, short])
        listing = {"v": 1, "hashes": hashes, "version": version}
        self.contents[f"/pi/package/py/{name}/{version}.json"] = json.dumps(listing).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def index():
    index = Index()
    yield index
    index.close()


@pytest.fixture
def pins(tmp_path):
    return pin(tmp_path, FILES)


def pin(folder: Path, files: dict[str, bytes]) -> Path:
    rows = "\n".join(f'"{path}" = "{sha(data)}"' for path, data in files.items())
    path = folder / "deps.toml"
    path.write_text(f'[lib]\nversion = "1.2"\nlicense = "MIT"\n[lib.files]\n{rows}\n')
    return path


def run(pins: Path, url: str, *more: str) -> tuple[int, Path]:
    target = pins.parent / "deps"
    return deps.main(["--pins", str(pins), "--index", url, "--target", str(target), *more]), target


def content(target: Path) -> dict[str, bytes]:
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def test_fetches_what_is_pinned_and_nothing_else(index, pins, capsys):
    index.publish("lib", "1.2", FILES | {"lib/unwanted.py": b"surplus"})
    status, target = run(pins, index.url)
    assert status == 0
    assert content(target) == FILES
    assert capsys.readouterr().out == "deps: lib 1.2 fetched, 2 files, each with its pinned SHA-256\n"


def test_what_is_there_is_not_fetched_again(index, pins, capsys):
    index.publish("lib", "1.2", FILES)
    run(pins, index.url)
    asked = len(index.asked)
    assert run(pins, index.url + "/")[0] == 0
    assert len(index.asked) == asked
    assert capsys.readouterr().out.endswith("deps: lib 1.2 is there\n")


def test_a_damaged_copy_is_replaced_whole(index, pins):
    index.publish("lib", "1.2", FILES)
    _, target = run(pins, index.url)
    (target / "lib/core.py").write_bytes(b"damaged")
    (target / "lib/stale.py").write_bytes(b"of an older version")
    assert run(pins, index.url)[0] == 0
    assert content(target) == FILES


def test_another_content_under_the_same_short_hash(index, pins, capsys):
    """The index's 8 digits are not trusted: a chosen collision is found by the whole hash, and nothing is installed."""
    index.publish("lib", "1.2", FILES)
    short = sha(FILES["lib/core.py"])[:8]
    index.contents[f"/pi/file/{short[:2]}/{short}"] = b"import evil\n"
    status, target = run(pins, index.url)
    assert status == 2
    assert content(target) == {}
    assert capsys.readouterr().err == "deps: lib 1.2: lib/core.py does not have the pinned SHA-256\n"


@pytest.mark.parametrize("short", ["00000000", "", "a"])
def test_an_index_that_lists_something_else(index, pins, short, capsys):
    listing = {"hashes": [["lib/__init__.py", short], ["lib/core.py", short]]}
    index.contents["/pi/package/py/lib/1.2.json"] = json.dumps(listing).encode()
    status, target = run(pins, index.url)
    assert status == 2
    assert content(target) == {}
    assert "another lib/__init__.py than deps.toml pins" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [b"", b"<html>captive portal</html>", b"[]", b'{"hashes": 5}'])
def test_an_answer_that_is_not_an_index(index, pins, answer, capsys):
    index.contents["/pi/package/py/lib/1.2.json"] = answer
    assert run(pins, index.url)[0] == 2
    assert "not a package description" in capsys.readouterr().err


def test_a_file_without_end(index, pins, capsys):
    index.publish("lib", "1.2", FILES)
    short = sha(FILES["lib/core.py"])[:8]
    index.contents[f"/pi/file/{short[:2]}/{short}"] = bytes(300_000)
    assert run(pins, index.url)[0] == 2
    assert "more than" in capsys.readouterr().err


def test_no_index_is_one_line_and_the_stand_in(pins, unused_tcp_port, capsys):
    status, target = run(pins, f"http://127.0.0.1:{unused_tcp_port}")
    assert status == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("deps: lib 1.2 not fetched (the index cannot be reached: ")
    assert captured.err.endswith("; the emulator uses its stand-in\n")
    assert captured.err.count("\n") == 1
    assert content(target) == {}
    assert run(pins, f"http://127.0.0.1:{unused_tcp_port}", "--required")[0] == 2


def test_a_version_that_the_index_does_not_have(index, pins, capsys):
    assert run(pins, index.url)[0] == 0
    assert "the index answers 404" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[lib]\n", "needs version and files"),
        ("lib = 1\n", "needs version and files"),
        ("[lib", "deps.toml"),
        ('[lib]\nversion = "1"\n[lib.files]\n"../x.py" = "' + "0" * 64 + '"\n', "not a relative path"),
        ('[lib]\nversion = "1"\n[lib.files]\n"/x.py" = "' + "0" * 64 + '"\n', "not a relative path"),
        ('[lib]\nversion = "1"\n[lib.files]\n"x.py" = "abc"\n', "not a relative path"),
    ],
)
def test_a_wrong_list(tmp_path, text, problem, capsys):
    pins = tmp_path / "deps.toml"
    pins.write_text(text)
    assert run(pins, "http://127.0.0.1:1")[0] == 2
    assert problem in capsys.readouterr().err


def test_our_own_list_is_well_formed():
    aioble = next(package for package in deps.read_pins() if package.name == "aioble")
    modules = {"__init__", "core", "device", "peripheral", "server"}
    assert set(aioble.files) == {f"aioble/{module}.py" for module in modules}


def test_the_index_is_the_one_of_mpremote():
    assert deps.mip._PACKAGE_INDEX.startswith("https://")


def test_a_wheel_is_copied_without_an_index(tmp_path, capsys):
    microdot = next(package for package in deps.read_pins() if package.is_wheel)
    table = "".join(f'"{path}" = "{pin}"\n' for path, pin in microdot.files.items())
    pins = tmp_path / "deps.toml"
    head = f'[microdot]\nversion = "{microdot.version}"\nsource = "wheel"\n[microdot.files]\n'
    pins.write_text(head + table)
    status, target = run(pins, "http://127.0.0.1:1")
    assert status == 0 and set(content(target)) == set(microdot.files)
    assert "copied, 2 files" in capsys.readouterr().out
    pins.write_text(head + table.replace(microdot.files["microdot/microdot.py"], "0" * 64))
    assert run(pins, "http://127.0.0.1:1")[0] == 2
    assert "microdot/microdot.py does not have the pinned SHA-256" in capsys.readouterr().err
