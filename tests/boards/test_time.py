"""Virtual time: exact, fast, and the same for asyncio, time and the hardware."""

import time

import pytest

from support.board import board, run
from vitrine_tools.emulator import EmulatorError


async def test_a_day_in_well_under_a_second_of_work(tmp_path):
    source = """
import asyncio, board, machine
async def main():
    watchdog = machine.WDT(timeout=60_000)
    while True:
        watchdog.feed()
        await asyncio.sleep(50)
asyncio.run(main())
"""
    async with board(tmp_path, source) as lock:
        started_s = time.process_time()
        await lock.advance(86_400_000)
        assert time.process_time() - started_s < 0.5
        assert lock.now_ms == 86_400_000
        assert lock.resets == []


async def test_every_deadline_is_exact(tmp_path):
    source = """
import asyncio, board, time
async def sleeper(ms):
    while True:
        await asyncio.sleep_ms(ms)
        board.trace({"every": ms, "ms": time.ticks_ms()})
async def main():
    asyncio.create_task(sleeper(7))
    asyncio.create_task(sleeper(5_000))
    try:
        await asyncio.wait_for_ms(asyncio.Event().wait(), 10_001)
    except asyncio.TimeoutError:
        board.trace({"every": 0, "ms": time.ticks_ms()})
    await asyncio.sleep(3600)
asyncio.run(main())
"""
    async with board(tmp_path, source) as lock:
        for _ in range(4):
            await lock.advance(3_333)
        at = {every: [e["ms"] for e in lock.events if e["every"] == every] for every in (7, 5_000, 0)}
        assert at[7] == list(range(7, 13_333, 7))
        assert at[5_000] == [5_000, 10_000]
        assert at[0] == [10_001]
        assert all(event["t_ms"] == event["ms"] for event in lock.events)


async def test_time_stands_still_while_nobody_advances_it(tmp_path):
    source = """
import board, time
board.trace({"ms": time.ticks_ms()})
for _ in range(1000):
    time.ticks_ms()
time.sleep_ms(1)
board.trace({"ms": time.ticks_ms()})
"""
    async with board(tmp_path, source) as lock:
        assert [event["ms"] for event in lock.events] == [0]
        await lock.advance(0)
        assert len(lock.events) == 1
        await lock.advance(1)
        assert [event["ms"] for event in lock.events] == [0, 1]


async def test_sleep_blocks_and_callbacks_still_run(tmp_path):
    source = """
import board, time
from machine import Timer
Timer(0, mode=Timer.PERIODIC, period=300, callback=lambda timer: board.trace({"tick": time.ticks_ms()}))
time.sleep(1)
board.trace({"awake": time.ticks_ms()})
time.sleep_us(1500)
board.trace({"awake": time.ticks_us()})
"""
    async with board(tmp_path, source) as lock:
        await lock.advance(1_001)
        assert [e["tick"] for e in lock.events if "tick" in e] == [300, 600, 900]
        await lock.advance(1)
        assert [e["awake"] for e in lock.events if "awake" in e] == [1000, 1_001_500]


async def test_polling_the_clock_in_a_loop_moves_it(tmp_path):
    """A busy wait ends; otherwise time would stand still for ever."""
    source = """
import board, time
start = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), start) < 3:
    pass
board.trace({"ms": time.ticks_ms()})
"""
    async with board(tmp_path, source) as lock:
        await lock.advance(5)
        assert lock.events[0]["ms"] == 3


async def test_ticks_wrap_at_30_bits_as_on_the_chip(tmp_path):
    source = """
import asyncio, board, time
async def main():
    start = time.ticks_ms()
    await asyncio.sleep_ms(5_000)
    now = time.ticks_ms()
    board.trace({"start": start, "now": now, "diff": time.ticks_diff(now, start)})
    board.trace({"add": time.ticks_add(start, 1_000), "back": time.ticks_diff(start, now)})
asyncio.run(main())
"""
    async with board(tmp_path, source, uptime_ms=2**30 - 1_000) as lock:
        await lock.advance(5_000)
        first, second = lock.events
        assert (first["start"], first["now"], first["diff"]) == (2**30 - 1_000, 4_000, 5_000)
        assert (second["add"], second["back"]) == (0, -5_000)


async def test_the_epoch_is_the_chips(tmp_path):
    source = """
import board, time
made = time.mktime((2027, 1, 15, 8, 0, 0, 0, 0))
board.trace({"t": time.time(), "g": time.gmtime(), "zero": time.gmtime(0), "m": made})
"""
    (event,) = await run(tmp_path, source, rtc_s=1_800_000_000)
    assert event["t"] == event["m"] == 1_800_000_000 - 946_684_800
    assert event["g"] == (2027, 1, 15, 8, 0, 0, 4, 15)
    assert event["zero"] == (2000, 1, 1, 0, 0, 0, 5, 1)


async def test_a_clock_jump_does_not_touch_the_ticks(tmp_path):
    source = """
import asyncio, board, time
async def main():
    while True:
        board.trace({"time": time.time(), "ms": time.ticks_ms()})
        await asyncio.sleep(10)
asyncio.run(main())
"""
    async with board(tmp_path, source, rtc_s=1_800_000_000) as lock:
        lock.clock_jump(3_600)
        await lock.advance(10_000)
        lock.clock_jump(-7_200)
        await lock.advance(10_000)
        start = 1_800_000_000 - 946_684_800
        assert [(e["time"] - start, e["ms"]) for e in lock.events] == [(0, 0), (3_610, 10_000), (-3_580, 20_000)]


async def test_a_thread_wakes_the_loop(tmp_path):
    """A ThreadSafeFlag set by a thread ends the wait, although the harness did not send anything."""
    source = """
import _thread, asyncio, board, utime
flag = asyncio.ThreadSafeFlag()
def work():
    utime.sleep_ms(20)
    flag.set()
async def main():
    _thread.start_new_thread(work, ())
    await flag.wait()
    board.trace({"woken": True})
asyncio.run(main())
"""
    async with board(tmp_path, source) as lock:
        event = await lock.wait_event(lambda event: event.get("woken"))
        assert event["t_ms"] == 0


async def test_sockets_work_in_virtual_time(tmp_path, unused_tcp_port):
    """Real TCP, for what comes by HTTP and MQTT: it takes no virtual time."""
    import asyncio

    source = f"""
import asyncio, board
async def serve(reader, writer):
    writer.write(b"echo:" + await reader.readline())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
async def main():
    await asyncio.start_server(serve, "127.0.0.1", {unused_tcp_port})
    board.trace({{"listening": True}})
    await asyncio.sleep(3600)
asyncio.run(main())
"""
    async with board(tmp_path, source) as lock:
        await lock.wait_event(lambda event: event.get("listening"))
        reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
        writer.write(b"hello\n")
        assert await asyncio.wait_for(reader.read(), 5) == b"echo:hello\n"
        writer.close()
        await writer.wait_closed()
        assert lock.now_ms == 0


async def test_real_time_is_real(tmp_path):
    source = "import board, time\ntime.sleep_ms(120)\nboard.trace({'ms': time.ticks_ms()})"
    async with board(tmp_path, source, virtual=False) as lock:
        with pytest.raises(EmulatorError, match="virtual time"):
            await lock.advance(1)
        event = await lock.wait_event(lambda event: "ms" in event)
        assert 120 <= event["ms"] < 2_000
