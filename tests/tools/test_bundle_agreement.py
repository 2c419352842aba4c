"""The lock's reader of bundles and the tools' agree on what is one: on thousands of damaged and forged ones."""

import itertools
import json
import os
import random
import struct
import subprocess

from support.forged_bundles import ROW, closed, rows
from support.paths import FIRMWARE
from vitrine_tools import bundle
from vitrine_tools.bundle import BundleError
from vitrine_tools.emulator.places import interpreter

NATIVE, BYTECODE = b"M\x06\x0b\x1f", b"M\x06\x00\x1f"  # as the unix port runs them
PROGRAM = """
import json, os, sys
from vitrine.drivers.bundle import check
verdicts = []
for number in range(len(os.listdir("."))):
    name = str(number)
    size = os.stat(name)[6]
    try:
        with open(name, "rb") as file:
            sequence = int.from_bytes(file.read(8)[4:], "big")
        for _ in check(name, size, sequence):
            pass
        verdicts.append(1)
    except ValueError:  # what its callers expect
        verdicts.append(0)
print(json.dumps(verdicts))
"""


def forged(rng: random.Random, good: bytes) -> bytes:
    """One that is wrong in a few places, and mostly has the right CRC all the same."""
    data = bytearray(good)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = rng.randrange(7)
        at = rng.choice(rows(data))
        if kind == 0:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            field, size = rng.choice(((1, 2), (3, 2)))
            number = int.from_bytes(data[at + field : at + field + size], "big") + rng.choice((-4, -1, 1, 4, 1 << 15))
            data[at + field : at + field + size] = (number % 256**size).to_bytes(size, "big")
        elif kind == 2:
            data[at] = (data[at] + rng.choice((-1, 1, 35))) % 256  # length of the name
        elif kind == 3:
            data[min(at + ROW + rng.randrange(max(data[at], 1)), len(data) - 1)] = rng.choice(b"\0/a_zA.\xff9")
        elif kind == 4:  # two rows change places, contents and all, or one comes twice
            begins = [*rows(data), len(data)]
            pieces = [data[begin:end] for begin, end in itertools.pairwise(begins)]
            pieces[rng.randrange(len(pieces))] = rng.choice(pieces)
            rng.shuffle(pieces)
            data[64:] = b"".join(pieces)
            data[8:12] = struct.pack(">I", len(data))
        elif kind == 5:
            data[rng.randrange(64)] = rng.randrange(256)
        else:  # the last change: its fields may be gone
            data[:] = (
                data[: rng.randrange(len(data))] if rng.randrange(2) else data + rng.randbytes(rng.randrange(1, 9))
            )
            if len(data) >= 12 and rng.randrange(2):
                data[8:12] = struct.pack(">I", len(data))
            break
        if not rows(data):
            break
    data = bytes(data)
    return closed(data) if len(data) > 64 and rng.randrange(4) else data


def test_both_readers_take_the_same_bundles(tmp_path):
    rng = random.Random(7)
    words = [rng.randbytes(rng.randrange(2, 9)) for _ in range(20)]
    files = {f"vitrine/{name}.mpy": NATIVE + b"".join(rng.choices(words, k=40)) for name in ("a", "b/c", "b/d")}
    good = bundle.pack({"main.mpy": BYTECODE + b"0123", **files}, 7, "0.7.0")
    candidates = [good, *(forged(rng, good) for _ in range(3000))]
    for number, data in enumerate(candidates):
        (tmp_path / str(number)).write_bytes(data)
    environment = {**os.environ, "MICROPYPATH": f"{FIRMWARE}:.frozen"}
    done = subprocess.run(
        [interpreter(), "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    verdicts = json.loads(done.stdout)
    assert verdicts[0] == 1 and len(verdicts) == len(candidates)
    taken = 0
    for number, (data, verdict) in enumerate(zip(candidates, verdicts, strict=True)):
        try:
            bundle.read(data)
            ours = 1
        except BundleError:
            ours = 0
        assert ours == verdict, f"candidate {number}: the tools say {ours}, the lock {verdict}"
        taken += ours
    # neither says no to all: an own sequence, another version
    assert 10 < taken < 600, taken
