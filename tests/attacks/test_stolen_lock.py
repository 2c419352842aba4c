"""Who has stolen a lock and reads all of its flash, and its memory, finds nothing that opens another one."""

import hashlib
import secrets
from pathlib import Path

import pytest

from support.store import LOCK_ID, NOW_S, Store
from vitrine_tools import commanding
from vitrine_tools.keys import PrivateKey

SEEDS = {name: secrets.token_bytes(32) for name in ("issuer", "headquarters", "holder", "colleague")}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, **{name: PrivateKey.from_seed(seed) for name, seed in SEEDS.items()})


def private_parts():
    """Everybody's private key in each form in which one could lie about: seed, scalar and prefix (RFC 8032, 5.1.5)."""
    for name, seed in SEEDS.items():
        expanded = hashlib.sha512(seed).digest()
        scalar = bytes([expanded[0] & 248, *expanded[1:31], expanded[31] & 127 | 64])
        yield from (
            (f"{name}: {form}", data)
            for form, data in (("seed", seed), ("scalar", scalar), ("hash", expanded[:32]), ("prefix", expanded[32:]))
        )


def memory_of(pid):
    """What a process can write to: its heap, and all else."""
    chunks = []
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights, *_ = line.split()
            start, end = (int(each, 16) for each in where.split("-"))
            if rights.startswith("rw") and "[v" not in line:
                memory.seek(start)
                chunks.append(memory.read(end - start))
    return b"".join(chunks)


async def test_no_private_key_is_in_its_flash_or_its_memory(store, lock):
    """After all that brings keys near a lock: tokens, proofs, commands, a courier's fetch, a power cut."""
    assert (await store.open(lock, store.token(uses=5))).is_granted
    assert not (await store.open(lock, store.token(), holder=store.colleague)).is_granted
    assert (await store.command(lock, commanding.Number.SCENARIO, {2: True})).is_done
    assert (await store.tell_time(lock, NOW_S + 60)).is_done
    seen = {"memory": memory_of(lock.firmware.pid)}
    await lock.power_cut()
    seen["flash"] = lock.flash.path.read_bytes()
    for place, data in seen.items():
        assert LOCK_ID.encode() in data and store.issuer.public.raw in data, f"the scan does not reach the {place}"
        assert [name for name, part in private_parts() if part in data] == [], place
