"""The firmware in a small heap: as .mpy that runs in place, and after many unlocks."""

import sys
from pathlib import Path

import pytest

from support.store import FAULT, LOCK_ID, of_kind
from vitrine_tools import protocol
from vitrine_tools.protocol import Action, Op, Status

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "checks"))

import mpy_image  # noqa: E402

# A smoke limit, about a tenth above what the firmware needs: 64-bit objects are twice the size of ESP32's, and the
# emulated board's own modules, compiled from source, take about as much as the firmware.
HEAP = 400 * 1024
UNLOCKS = 300
# The collector is conservative: a dead object may look alive for one more round.
GROWTH_MAX = 1024


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return mpy_image.build(tmp_path_factory.mktemp("image"))


async def test_boots_and_unlocks_in_a_small_heap(store, image):
    heap = HEAP + image.stat().st_size  # the image is one object on the heap; on the chip it is in flash
    async with store.lock(firmware=image, heap=str(heap)) as lock:
        await lock.advance(5_000)
        for _ in range(3):
            outcome = await store.open(lock)
            assert outcome.is_granted and lock.strike_energised
            await lock.advance(20_000)
        assert not of_kind(lock, FAULT)
        assert lock.restarts == 0 and lock.ended is None


async def test_unlocks_leave_nothing_on_the_heap(store, image):
    token = store.token()
    hash_of_token = protocol.token_hash(token)
    async with store.lock(firmware=image) as lock:
        async with store.phone(lock) as (_, phone):
            nonce = (await phone.hello()).nonce
            await phone.present(token)
            used = []
            for number in range(2 * UNLOCKS):
                proof = protocol.make_proof(store.holder, LOCK_ID, nonce, Action.UNLOCK, False, hash_of_token)
                status, answer = await phone.ask(Op.ACT, protocol.act_body(Action.UNLOCK, False, proof))
                assert status == Status.OK, number
                nonce = answer[2]
                if number % UNLOCKS == UNLOCKS - 1:  # the first ones fill caches, and the holder's table is made
                    used.append((await lock.memory())["used"])
        assert used[1] - used[0] < GROWTH_MAX
