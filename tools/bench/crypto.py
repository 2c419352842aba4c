"""Benchmark of Ed25519 verification: every way the firmware has, beside a textbook verifier and libsodium.

`run()` returns the figures; as a program it prints them as a table. All ways verify the same signature of a 200-byte
message in the same run; a time is the shortest of several. The 32-bit figures need tools/checks/crypto32.py's
interpreter in build/ and are left out without it.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from nacl.signing import SigningKey
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware"
HERE = Path(__file__).parent
MICROPYTHON = os.environ.get("MICROPYTHON") or str(Path(sys.executable).parent / "micropython")

# name, way, teeth, rounds
WAYS = (
    ("textbook", "textbook", 0, 4),
    ("fallback, bytecode, any key", "bytecode", 0, 6),
    ("native, any key", "any", 0, 20),
    ("native, pinned key, 4 teeth", "pinned", 4, 20),
    ("native, pinned key, 6 teeth", "pinned", 6, 20),
    ("native, pinned key, 8 teeth", "pinned", 8, 20),
)
TARGETS = {"fallback, bytecode, any key": 3.5, "native, any key": 14, "native, pinned key, 6 teeth": 35}
GARBAGE_LIMIT = 8192
INSTRUCTION_LIMITS = {"native, any key": 12_000_000, "native, pinned key, 6 teeth": 6_000_000}


PASSES = 4


def sample() -> tuple[SigningKey, bytes, str]:
    """The key, the message, and the line that the device part reads."""
    key = SigningKey(bytes(range(32)))
    message = bytes(i * 7 & 255 for i in range(200))
    line = " ".join(part.hex() for part in (bytes(key.verify_key), message, key.sign(message).signature))
    return key, message, line + "\n"


def device(command: list[str], way: str, teeth: int, rounds: int, path: Path = FIRMWARE) -> subprocess.CompletedProcess:
    arguments = [str(HERE / "crypto_device.py"), way, str(teeth), str(rounds)]
    return subprocess.run(
        [*command, *arguments],
        input=sample()[2],
        env={**os.environ, "MICROPYPATH": f"{path}:{HERE}:.frozen"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def libsodium_us() -> float:
    key, message, _ = sample()
    signature = key.sign(message).signature
    best = float("inf")
    for _ in range(200):
        start = time.perf_counter()
        key.verify_key.verify(message, signature)
        best = min(best, time.perf_counter() - start)
    return best * 1e6


def minimum_heap_kb(way: str, teeth: int) -> int:
    """The smallest heap, in KB, in which the compiled firmware imports, makes its table and verifies."""
    sys.path.insert(0, str(ROOT / "tools" / "checks"))
    import mpy_sizes

    compiled = mpy_sizes.compile_tree("x64")
    low, high = 16, 512
    while high - low > 4:
        middle = (low + high) // 2
        done = device([MICROPYTHON, "-X", f"heapsize={middle}k"], way, teeth, 1, compiled)
        low, high = (low, middle) if done.returncode == 0 else (middle, high)
    return high


def run() -> dict:
    """Measure everything. A figure that could not be had is None."""
    sys.path.insert(0, str(ROOT / "tools" / "checks"))
    import crypto32

    best: dict[str, dict] = {}
    # in turns, and the best of each: what else the machine does at the time falls on all alike
    for _ in range(PASSES):
        for name, way, teeth, rounds in WAYS:
            done = device([MICROPYTHON, "-X", "heapsize=4M"], way, teeth, rounds)
            if done.returncode:
                raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")
            row = {"name": name, **json.loads(done.stdout)}
            best[name] = min(row, best.get(name, row), key=lambda each: each["us"])
    rows = list(best.values())
    rows.append({"name": "libsodium (PyNaCl), C", "us": libsodium_us(), "garbage": None})
    for row in rows:
        row["ratio"] = rows[0]["us"] / row["us"]
    heap = {"any key": minimum_heap_kb("any", 0), "pinned key, 6 teeth": minimum_heap_kb("pinned", 6)}
    thirty_two_bit = crypto32.count({name: (way, teeth) for name, way, teeth, _ in WAYS[2:]})
    return {"ways": rows, "minimum_heap_kb": heap, "instructions_32_bit": thirty_two_bit}


def failures(figures: dict) -> list[str]:
    """Name each figure that misses its target."""
    missed = []
    for row in figures["ways"]:
        if row["ratio"] < TARGETS.get(row["name"], 0):
            missed.append(f"{row['name']}: {row['ratio']:.1f}x, not {TARGETS[row['name']]}x the textbook's speed")
        if row["name"].startswith("native") and row["garbage"] > GARBAGE_LIMIT:
            missed.append(f"{row['name']}: {row['garbage']} bytes of garbage, over {GARBAGE_LIMIT}")
    for name, limit in INSTRUCTION_LIMITS.items():
        count = (figures["instructions_32_bit"] or {}).get(name)
        if count and count > limit:
            missed.append(f"{name}: {count} instructions on 32 bits, over {limit}")
    return missed


def report(figures: dict, console: Console) -> None:
    table = Table(title="Ed25519 verification, 200-byte message, SHA-512 included")
    for heading in ("way", "us", "x textbook", "garbage B", "32-bit Minstr", "ESP32 ms (estimate)"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for row in figures["ways"]:
        count = (figures["instructions_32_bit"] or {}).get(row["name"])
        table.add_row(
            row["name"],
            f"{row['us']:,.0f}",
            f"{row['ratio']:.1f}",
            "-" if row["garbage"] is None else f"{row['garbage']:,}",
            f"{count / 1e6:.2f}" if count else "-",
            "{:.0f}-{:.0f}".format(*esp32_ms(count)) if count else "-",
        )
    console.print(table)
    for name, kilobytes in figures["minimum_heap_kb"].items():
        console.print(f"minimum heap, compiled, 64-bit unix port, {name}: {kilobytes} KB")
    console.print(
        "ESP32: not measured. 32-bit instructions are Thumb-2, counted under qemu; 1.5 to 2.6 cycles each at 240 MHz."
    )


def esp32_ms(instructions: int) -> tuple[float, float]:
    """A range for an ESP32 at 240 MHz: the windowed Xtensa code is of like length, its memory slower."""
    return instructions * 1.5 / 240e3, instructions * 2.6 / 240e3


def main() -> int:
    figures = run()
    report(figures, Console())
    missed = failures(figures)
    for line in missed:
        print("MISSED:", line)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
