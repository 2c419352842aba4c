"""The board's wire: what goes over it, as on the chip, and that the terminal outlives the firmware's processes."""

import asyncio
import os
import time

import pytest

from support.board import board
from support.console_lab import Bytes
from vitrine_tools.emulator.board import EmulatorError

LIMIT_S = 20


async def heard(wire: Bytes, wanted: bytes) -> bytes:
    """What comes over the wire, up to and with `wanted`."""
    data = b""
    end_s = time.monotonic() + LIMIT_S
    while wanted not in data and time.monotonic() < end_s:
        await asyncio.sleep(0.005)
        data += wire.read()
    assert wanted in data, data
    return data


async def test_text_is_cooked_and_bytes_are_not(tmp_path):
    source = """
import sys
print("a\\nb")
sys.stdout.write("c\\r\\n")
sys.stdout.buffer.write(b"d\\n\\x00\\xff\\n")
sys.stdout.buffer.write(b"efgh", 2)
print("g", file=sys.stdout)
sys.print_exception(ValueError("h"), sys.stdout)
sys.stdin.buffer.read(1)
print("end")
"""
    port = tmp_path / "wire"
    async with board(tmp_path, source, console=port, virtual=False) as lock:
        wire = Bytes(port)
        await lock.reset()
        data = await heard(wire, b"h\r\n")
        assert data == b"a\r\nb\r\nc\r\r\nd\n\x00\xff\nefg\r\nValueError: h\r\n", data
        wire.write(b"x")
        await heard(wire, b"end\r\n")
        assert "ValueError: h" in lock.output and lock.ended is not None
        wire.close()
    assert not port.is_symlink()


async def test_ctrl_c_is_a_byte_until_it_is_asked_for(tmp_path):
    source = """
import micropython, sys, time
micropython.kbd_intr(-1)
print("ready")
print(sys.stdin.buffer.read(2))
micropython.kbd_intr(3)
try:
    print("armed")
    while True:
        pass
except KeyboardInterrupt:
    micropython.kbd_intr(-1)
print(sys.stdin.buffer.read(3))
micropython.kbd_intr(24)
try:
    print("again")
    time.sleep(60)
except KeyboardInterrupt:
    micropython.kbd_intr(-1)
print(sys.stdin.buffer.read(2))
print("end")
"""
    port = tmp_path / "wire"
    async with board(tmp_path, source, console=port, virtual=False):
        wire = Bytes(port)
        wire.write(b"\x03\x04")
        await heard(wire, b"armed\r\n")
        await asyncio.sleep(0.3)
        wire.write(b"a\x03bc")
        assert b"b'abc'" in await heard(wire, b"again\r\n")
        await asyncio.sleep(0.3)
        wire.write(b"\x18\x03\x04")
        assert b"b'\\x03\\x04'" in await heard(wire, b"end\r\n")
        wire.close()


async def test_the_terminal_stays_over_a_reset_and_what_was_unread_does_not(tmp_path):
    source = """
import machine, sys, time
print("start", machine.reset_cause())
if sys.stdin.buffer.read(1) == b"r":
    machine.reset()
print("end")
"""
    port = tmp_path / "wire"
    async with board(tmp_path, source, console=port, virtual=False) as lock:
        wire = Bytes(port)
        name = os.readlink(port)
        wire.write(b"rx")
        await heard(wire, b"start 2\r\n")
        wire.write(b"q")
        await heard(wire, b"end\r\n")
        assert lock.resets == [2] and os.readlink(port) == name
        wire.close()


async def test_who_does_not_read_holds_nothing_up(tmp_path):
    source = """
import time
for i in range(2000):
    print("x" * 60)
print("end")
"""
    port = tmp_path / "wire"
    async with board(tmp_path, source, console=port, virtual=False) as lock:
        end_s = time.monotonic() + LIMIT_S
        while lock.ended is None and time.monotonic() < end_s:
            await asyncio.sleep(0.01)
        assert lock.ended == "" and lock.output[-1] == "end"
        wire = Bytes(port)
        await lock.reset()
        await heard(wire, b"x\r\nend\r\n")
        wire.close()


async def test_a_path_that_cannot_be_linked_is_an_error(tmp_path):
    with pytest.raises(EmulatorError, match="cannot make the console"):
        async with board(tmp_path, "", console=tmp_path / "nowhere" / "wire", virtual=False):
            pass
