"""The key-value store in the nvs partition: what it keeps, and what a power cut at any byte leaves of it."""

import random

import pytest

from support.board import board, run
from vitrine_tools.emulator.flash import FlashImage, _nvs_store

SIZE = 0x4000
SECTOR = 4096


class PowerCut(Exception):
    """The supply failed inside a flash operation."""


class Flash:
    """NOR flash that fails after `units` more units: a byte programmed or a sector erased is one."""

    def __init__(self, content: bytes = b"\xff" * SIZE, units: int = -1):
        self.content = bytearray(content)
        self.units = units
        self.spent = 0

    def read(self, offset, count):
        return bytes(self.content[offset : offset + count])

    def program(self, offset, data):
        for index, byte in enumerate(data):
            self._spend()
            assert not byte & ~self.content[offset + index], "a bit cannot be programmed from 0 to 1"
            self.content[offset + index] &= byte

    def erase(self, offset):
        if self.spent == self.units:
            self.content[offset : offset + SECTOR // 2] = b"\xff" * (SECTOR // 2)
        self._spend()
        self.content[offset : offset + SECTOR] = b"\xff" * SECTOR

    def _spend(self):
        if self.spent == self.units:
            raise PowerCut
        self.spent += 1

    def store(self):
        return _nvs_store.NvsStore(self.read, self.program, self.erase, SIZE)


def state(store):
    return dict(store._values)


def test_keeps_the_last_value_of_each_key():
    flash = Flash()
    store = flash.store()
    store.put("a", "x", _nvs_store.BLOB, b"1")
    store.put("a", "x", _nvs_store.BLOB, b"22")
    store.put("b", "x", _nvs_store.I32, b"\1\0\0\0")
    store.put("a", "y", _nvs_store.BLOB, b"")
    store.remove("b", "x")
    again = Flash(bytes(flash.content)).store()
    assert again.get("a", "x") == (_nvs_store.BLOB, b"22")
    assert again.get("a", "y") == (_nvs_store.BLOB, b"")
    assert again.get("b", "x") is None


def test_an_unchanged_value_costs_nothing():
    flash = Flash()
    store = flash.store()
    store.put("a", "x", _nvs_store.BLOB, b"1")
    spent = flash.spent
    store.put("a", "x", _nvs_store.BLOB, b"1")
    assert flash.spent == spent


def test_makes_room_and_refuses_what_cannot_fit():
    flash = Flash()
    store = flash.store()
    for number in range(200):
        store.put("a", "counter", _nvs_store.BLOB, b"%d" % number * 50)
    store.put("a", "big", _nvs_store.BLOB, bytes(7000))
    before = state(store)
    with pytest.raises(OSError, match="NOT_ENOUGH_SPACE"):
        store.put("a", "more", _nvs_store.BLOB, bytes(2000))
    assert state(store) == before
    assert state(Flash(bytes(flash.content)).store()) == before


def history():
    """Writes that fill a bank several times, with erasures and one large value."""
    chance = random.Random(7)
    for number in range(40):
        yield f"x{number % 5}", (_nvs_store.BLOB, chance.randbytes(chance.choice((0, 3, 16, 700, 1900))))
        if number % 7 == 3:
            yield f"x{(number + 2) % 5}", None


def play(store, model, steps):
    """Do the steps; yield after each, so that whoever stops early knows the state before and after."""
    for key, entry in steps:
        after = dict(model)
        after.pop(("n", key), None)
        if entry is not None:
            after[("n", key)] = entry
        yield after
        if entry is None:
            store.remove("n", key)
        else:
            store.put("n", key, *entry)
        model.clear()
        model.update(after)


def test_a_power_cut_at_any_byte_leaves_the_state_before_or_after():
    """Every 13th unit of the whole history and every one of the first 3,000; the store goes on working after it."""
    whole = Flash()
    for _ in play(whole.store(), {}, history()):
        pass
    assert whole.spent > 20_000
    for units in [*range(3000), *range(3000, whole.spent, 13)]:
        flash = Flash(units=units)
        before, after = {}, {}
        try:
            store = flash.store()
            for state_after in play(store, before, history()):
                after = state_after
        except PowerCut:
            pass
        survivor = Flash(bytes(flash.content))
        store = survivor.store()
        assert state(store) in (before, after), units
        store.put("n", "later", _nvs_store.BLOB, b"works")
        assert Flash(bytes(survivor.content)).store().get("n", "later") == (_nvs_store.BLOB, b"works"), units


def test_a_second_cut_while_it_recovers():
    """The mount and the first write after a cut are cut as well."""
    chance = random.Random(11)
    whole = Flash()
    for _ in play(whole.store(), {}, history()):
        pass
    for _ in range(300):
        flash = Flash(units=chance.randrange(whole.spent))
        before, after = {}, {}
        try:
            for state_after in play(flash.store(), before, history()):
                after = state_after
        except PowerCut:
            pass
        second = Flash(bytes(flash.content), units=chance.randrange(1, 6000))
        written = False
        try:
            store = second.store()
            known = state(store)
            store.put("n", "x0", _nvs_store.BLOB, b"second")
            written = True
        except PowerCut:
            known = None
        final = state(Flash(bytes(second.content)).store())
        assert final.get(("n", "x0")) == (_nvs_store.BLOB, b"second") if written else True
        rest = {key: value for key, value in final.items() if key != ("n", "x0")}
        expected = [{k: v for k, v in s.items() if k != ("n", "x0")} for s in (before, after)]
        assert rest in expected, known


def test_any_bytes_in_the_partition_mount():
    chance = random.Random(3)
    for _ in range(200):
        store = Flash(chance.randbytes(SIZE)).store()
        assert state(store) == {}
        store.put("n", "x", _nvs_store.BLOB, b"1")


async def test_on_the_board_only_what_was_committed_is_durable(tmp_path):
    source = """
import board, esp32, machine
nvs = esp32.NVS("shop")
buffer = bytearray(100)
def blob(key):
    try:
        return bytes(buffer[: nvs.get_blob(key, buffer)])
    except OSError:
        return None
board.trace({"kept": blob("kept"), "lost": blob("lost"), "gone": blob("gone")})
nvs.set_blob("kept", b"durable")
nvs.set_blob("gone", b"for a while")
nvs.commit()
nvs.erase_key("gone")
nvs.commit()
nvs.set_blob("lost", b"never committed")
board.trace({"kept": blob("kept"), "lost": blob("lost"), "gone": blob("gone")})
"""
    async with board(tmp_path, source) as lock:
        await lock.power_cut()
        await lock.start()
        first, second, third = ({k: e[k] for k in ("kept", "lost", "gone")} for e in lock.events[:3])
    assert first == {"kept": None, "lost": None, "gone": None}
    assert second == {"kept": b"durable", "lost": b"never committed", "gone": None}
    assert third == {"kept": b"durable", "lost": None, "gone": None}
    image = FlashImage(tmp_path / "flash.bin")
    assert image.nvs_get("shop", "kept") == b"durable"


@pytest.mark.parametrize("after", [0, 1, 11, 12, 40, 200, 2_000])
async def test_on_the_board_a_cut_inside_a_commit(tmp_path, after):
    """The board dies in the middle of its own flash operation and comes back with the old value or the new one."""
    source = """
import asyncio, board, esp32
nvs = esp32.NVS("shop")
buffer = bytearray(2000)
try:
    size = nvs.get_blob("value", buffer)
except OSError:
    size = 0
board.trace({"size": size, "whole": buffer[:size] == bytes(size)})
async def main():
    await asyncio.sleep(1)
    nvs.set_blob("value", bytes(size + 500))
    nvs.commit()
    board.trace({"committed": size + 500})
    await asyncio.sleep(3600)
asyncio.run(main())
"""
    async with board(tmp_path, source) as lock:
        await lock.advance(2_000)
        await lock.power_cut()
        await lock.start()
        assert lock.events[-1]["size"] == 500
        lock.flash_cut(after)
        await lock.advance(2_000)
        cut = not lock.is_on
        assert cut == (after < 1_000)
        if cut:
            await lock.start()
            assert lock.events[-1]["size"] == 500
            assert lock.events[-1]["whole"] is True


async def test_handles_of_a_namespace_see_each_other(tmp_path):
    source = """
import board, esp32
first, second, other = esp32.NVS("shop"), esp32.NVS("shop"), esp32.NVS("else")
first.set_i32("x", 1)
board.trace({"seen": second.get_i32("x")})
second.commit()
try:
    other.get_i32("x")
except OSError as error:
    board.trace({"seen": error.errno})
"""
    assert await run(tmp_path, source) == [{"seen": 1}, {"seen": -0x1102}]


async def test_a_provisioned_image(tmp_path):
    image = FlashImage(tmp_path / "flash.bin").create()
    image.provision(b"the record")
    source = """
import board, esp32
buffer = bytearray(20)
board.trace({"record": bytes(buffer[: esp32.NVS("vitrine").get_blob("provision", buffer)])})
"""
    assert await run(tmp_path, source) == [{"record": b"the record"}]


async def test_who_writes_to_its_partition_has_no_store_until_the_next_start(tmp_path):
    source = """
import board, esp32, machine
nvs = esp32.NVS("shop")
try:
    board.trace({"seen": nvs.get_i32("x")})
except OSError as error:
    nvs.set_i32("x", 1)
    nvs.commit()
    partition = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="nvs")[0]
    WRITE
    for call in (lambda: nvs.get_i32("x"), lambda: nvs.erase_key("x"), nvs.commit):
        try:
            call()
        except OSError as error:
            board.trace({"seen": error.errno})
    machine.reset()
"""
    for write, after in (("partition.ioctl(6, 3)", [1]), ("partition.writeblocks(3, b'\\0', 0)", [1])):
        folder = tmp_path / str(len(write))
        folder.mkdir()
        async with board(folder, source.replace("WRITE", write)) as lock:
            await lock.advance(100)
            assert [event["seen"] for event in lock.events] == [-0x110B] * 3 + after
