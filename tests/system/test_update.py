"""Updates of the whole lock on the emulated chip: what runs after each, and that people get in meanwhile."""

import asyncio

import pytest

from support.console_lab import Technician
from support.store import FAULT, LOCK_ID, of_kind
from support.update_lab import UpdateStore, application, image, signed, updates_of
from vitrine_tools.emulator import FlashImage
from vitrine_tools.protocol import Status
from vitrine_tools.updates.push import State

DETAIL = 15
RAISES = {"main.py": "raise ValueError\n"}
HANGS = {"main.py": "while True:\n    pass\n"}
# a health gate that never comes to an end, in an application that otherwise lives
GATE_SLEEPS = {
    "vitrine/app/health.py": """
import asyncio

async def examine(dispatch, provision, ble, votes, vote):
    while True:
        vote()
        await asyncio.sleep_ms(500)
""",
}
CRYPTO_SAYS_YES = {
    "vitrine/crypto/ed25519.py": """
GRANT = 0x2CB31A65
DENY = GRANT ^ 0x3FFFFFFF

class PublicKey:
    def __init__(self, raw):
        self.raw = bytes(raw)
    def use_table(self, table):
        pass
    def verdict(self, message, signature):
        return GRANT

def verdict(raw, message, signature):
    return GRANT
""",
}


@pytest.fixture
def store(tmp_path):
    return UpdateStore(tmp_path)


@pytest.fixture
async def lock(store):
    async with store.lock(battery=True) as lock:
        yield lock


async def install(store, lock, component, sequence=None):
    """Bring it, and see it confirmed."""
    sender = store.sender(lock, component, sequence)
    await sender.push()
    report = await sender.wait()
    sequence = sequence or component.sequence
    assert (report.state, report.running) == (State.IDLE, sequence), (updates_of(lock), lock.resets, lock.last_words())
    return report


async def comes_back(store, lock, component, sequence=None):
    """Bring it, and see it come to nothing."""
    await store.sender(lock, component, sequence).push()
    before = await running(store, lock)
    for _ in range(20):
        await lock.advance(20_000)
        if updates_of(lock)[-1][0] == "returned":
            break
    told = (updates_of(lock), lock.resets, lock.last_words())
    assert updates_of(lock)[-1] == ("returned", sequence or component.sequence, None), told
    coming = sequence or component.sequence
    assert (await store.ask(lock, {}))[1] == {1: State.RETURNED, 3: before, 4: coming}, told


async def running(store, lock):
    _, answer = await store.ask(lock, {})
    return answer[3]


async def test_applications_by_turns(store, lock):
    for sequence in (8, 9):
        lock.resets.clear()
        await install(store, lock, application(sequence))
        assert len(lock.resets) == 1
        steps = [("staged", sequence, None), ("installed", sequence, None), ("confirmed", sequence, None)]
        assert updates_of(lock)[-3:] == steps
        assert (await store.open(lock)).is_granted
        await lock.advance(10_000)  # until it is locked again
    await lock.power_cut()
    await lock.start()
    assert await running(store, lock) == 9
    assert not of_kind(lock, FAULT)


@pytest.mark.parametrize(
    ("changes", "said", "fault"),
    [
        (RAISES, None, None),
        (HANGS, None, None),
        (None, 99, "update:sequence"),
        (GATE_SLEEPS, None, None),
        (CRYPTO_SAYS_YES, None, "update:crypto"),
    ],
    ids=["raises", "hangs", "another-sequence", "gate-sleeps", "crypto-says-yes"],
)
async def test_an_application_that_is_not_well_comes_back(store, lock, changes, said, fault):
    await install(store, lock, application(8))
    await comes_back(store, lock, application(9, changes, said))
    assert [event[DETAIL] for event in of_kind(lock, FAULT)] == ([fault] if fault else [])
    assert (await store.open(lock)).is_granted
    await lock.advance(10_000)
    assert (await store.ask(lock, {1: signed(application(9)).data}))[0] == Status.REFUSED, "it had its chance"


async def test_an_image_and_its_return(store, lock):
    await install(store, lock, image(8), 8)
    assert (await store.open(lock)).is_granted
    await lock.advance(10_000)
    await comes_back(store, lock, image(9, RAISES), 9)
    assert await running(store, lock) == 8
    # an application over the image, and an image over that
    await install(store, lock, application(10))
    await install(store, lock, image(11), 11)
    await lock.power_cut()
    await lock.start()
    assert await running(store, lock) == 11
    assert (await store.open(lock)).is_granted


async def test_people_get_in_while_an_update_comes(store, lock):
    component = application(8)
    stream = component.stream
    at = 0
    opened = busy = 0
    while at < len(stream):
        async with store.phone(lock) as (_, session):
            status, answer = await session.ask(9, {1: signed(component).data})
            assert status == Status.OK
            for _ in range(40):
                at = answer.get(2, len(stream))
                if at >= len(stream):
                    break
                status, answer = await session.ask(9, {2: at, 3: stream[at : at + 512]})
                assert status == Status.OK
            if opened < 3:
                assert (await store.open(lock)).is_granted  # with the sender connected
                opened += 1
                async with store.phone(lock):
                    status, _ = await session.ask(9, {2: 0, 3: b"x"})
                    busy += status == Status.BUSY
    assert opened == 3 and busy == 3
    # it does not switch before the door is locked again
    assert lock.strike_energised and not lock.resets
    await lock.advance(30_000)
    assert lock.resets and await running(store, lock) == 8


async def test_mpremote_can_look_at_a_slot(store, tmp_path):
    async with store.lock() as lock:
        await install(store, lock, application(8))
    port = tmp_path / "wire"
    async with store.lock(virtual=False, console=port) as lock:
        await lock.wait_advertising()
        technician = Technician(store, lock, port)
        await technician.serve()
        table = await technician.mpremote("df")
        assert " /app\n" in table and " /\n" in table, table
        tree = await technician.mpremote("tree", ":/app")
        assert "main.mpy" in tree and "update_intake.mpy" in tree, tree
        sizes = await technician.mpremote("ls", ":/app/vitrine/app")
        assert "update_intake.mpy" in sizes and " 0 " not in sizes, sizes
        await technician.check()


async def test_an_open_door_holds_the_switch_up(store, lock):
    lock.set_door(False)
    await store.sender(lock, application(8)).push()
    await lock.advance(600_000)
    assert not lock.resets and (await store.ask(lock, {}))[1][1] == State.STAGED
    lock.set_door(True)
    await lock.advance(10_000)
    assert lock.resets and await running(store, lock) == 8


async def test_a_staged_update_waits_over_a_power_cut_and_keeps_to_its_floor(store, lock):
    lock.set_door(False)
    await store.sender(lock, application(8)).push()
    await lock.power_cut()
    lock.flash.nvs_put("vitrine", "upd_floor", 8)
    await lock.start()
    lock.set_door(True)
    await lock.advance(60_000)
    assert await running(store, lock) == 7 and lock.resets == []
    assert (await store.ask(lock, {}))[1] == {1: State.IDLE, 3: 7}


async def test_nobody_updates_a_lock_that_is_not_provisioned(store, tmp_path):
    bare = store.lock(flash=tmp_path / "bare.bin", provision=None)
    async with bare as lock, store.phone(lock, lock_id="") as (_, session):
        status, answer = await session.ask(9, {})
    assert status == Status.REFUSED and answer == {1: 20}


async def test_two_who_bring_it_at_once(store, lock):
    component = application(8)
    first, second = store.sender(lock, component), store.sender(lock, component)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.push()) for each in (first, second)]
    states = {task.result().state for task in tasks}
    assert states <= {State.STAGED, State.TRIAL, State.IDLE}
    assert (await first.wait()).running == 8


async def test_power_cuts_in_a_whole_update(store, tmp_path):
    """A sample of tests/powercut/updates.py on the whole lock: it comes up, with one of the two, and gets there."""
    flash = tmp_path / f"{LOCK_ID}.bin"
    async with store.lock(flash=flash) as lock:
        await install(store, lock, application(8))
    whole = flash.read_bytes()
    component = application(9)
    units = 0
    async with store.lock(flash=flash, provision=None) as lock:
        before = await lock.flash_counts()
        await store.sender(lock, component).push()
        after = await lock.flash_counts()
        units = sum(after.values()) - sum(before.values())
    assert units > len(component.data)
    for share in (3, 48, 95, 100):
        flash.write_bytes(whole)
        lock = store.lock(flash=flash, provision=None, battery=True)
        await lock.start()
        lock.flash_cut(units * share // 100)
        try:
            sender = store.sender(lock, component)
            await asyncio.wait_for(sender.push(), 20)
            await lock.advance(20_000)
        except Exception:  # the lock is gone in whatever it was asked
            assert not lock.is_on
        if lock.is_on:
            await lock.power_cut()
        await lock.start()
        assert await running(store, lock) in (8, 9), share
        assert (await store.open(lock)).is_granted, share
        await lock.advance(10_000)
        if await running(store, lock) == 8:
            await install(store, lock, component)
        assert await running(store, lock) == 9, share
        await lock.close()


async def test_a_bootloader_without_a_slot_to_start_says_so(store, tmp_path):
    flash = tmp_path / f"{LOCK_ID}.bin"
    async with store.lock(flash=flash) as lock:
        await install(store, lock, image(8), 8)
    FlashImage(flash).flip_bit("ota_1", 5000)
    async with store.lock(flash=flash, provision=None) as lock:
        # the image is damaged: the bootloader starts the other one
        assert await running(store, lock) == 7
        assert (await store.open(lock)).is_granted
