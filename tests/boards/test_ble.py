"""The GATT echo app over the virtual radio: with the stand-in aioble and, where it is at hand, with the library."""

import asyncio
import os
from pathlib import Path

import pytest

from support.board import board, echo
from vitrine_tools.emulator import BumblePhone, EmulatorError, PhoneError, VirtualRadio
from vitrine_tools.emulator.board import DEPS, DEPS_ENV

HINT = b"hint06"


def library() -> Path | None:
    folder = Path(os.environ.get(DEPS_ENV) or DEPS)
    return folder if any(folder.glob("aioble*")) else None


@pytest.fixture(params=["stand-in", "library"])
def deps(request, tmp_path):
    """The deps folder with which the app runs."""
    if request.param == "stand-in":
        return tmp_path
    folder = library()
    if folder is None:
        pytest.skip("no aioble in VITRINE_DEPS or build/deps: `make deps` fetches it")
    return folder


@pytest.fixture
async def lock(tmp_path, deps):
    async with echo(tmp_path, VirtualRadio(), deps=deps) as lock:
        assert lock.aioble == ("stand-in" if deps == tmp_path else "library")
        yield lock


@pytest.fixture
async def phone(lock):
    async with BumblePhone(lock.radio) as phone:
        yield phone


async def ask(phone: BumblePhone, data: bytes) -> bytes:
    await phone.write_chunk(data)
    return await phone.read_chunk()


@pytest.mark.parametrize("mtu", [23, 247])
async def test_echo(lock, phone, mtu):
    address = await phone.scan(HINT)
    assert address == lock.address
    await phone.connect(address, mtu=mtu)
    assert phone.att_mtu == mtu
    for size in (1, mtu - 4, mtu - 3):
        assert await ask(phone, bytes(range(size))) == bytes(range(size))
    assert lock.cut_notifications == []
    with pytest.raises(PhoneError, match="does not fit"):
        await phone.write_chunk(bytes(mtu - 2))


async def test_two_phones_at_once_and_still_on_the_air(lock, phone):
    """Each gets its own answers; the lock goes on advertising while phones are connected."""
    async with BumblePhone(lock.radio) as second:
        await phone.connect(await phone.scan(HINT))
        await second.connect(await second.scan(HINT), mtu=23)
        for number in range(20):
            first_answer, second_answer = await asyncio.gather(
                ask(phone, b"first %d" % number), ask(second, b"second %d" % number)
            )
            assert (first_answer, second_answer) == (b"first %d" % number, b"second %d" % number)
        assert lock.connections == 2
        async with BumblePhone(lock.radio) as third:
            assert await third.scan(HINT) == lock.address
        await phone.disconnect()
        assert await ask(second, b"alone") == b"alone"
        assert lock.connections == 1


async def test_the_fifth_phone_finds_no_place(lock):
    """NimBLE has four connections; with all of them taken, advertising is refused with ENOMEM."""
    phones = [BumblePhone(lock.radio) for _ in range(5)]
    for phone in phones:
        await phone.power_on()
    for phone in phones[:4]:
        await phone.connect(lock.address)
    assert lock.connections == 4
    with pytest.raises(PhoneError, match="no answer"):
        await phones[4].connect(lock.address, timeout_s=0.2)
    assert any("OSError: [Errno 12] ENOMEM" in line for line in lock.output)
    for phone in phones:
        await phone.close()


async def test_one_advertisement_makes_one_connection(lock):
    """Two phones that answer the same advertisement: the second waits for the next one."""
    async with BumblePhone(lock.radio) as first, BumblePhone(lock.radio) as second:
        await asyncio.gather(first.connect(lock.address), second.connect(lock.address))
        assert lock.connections == 2
        assert await ask(first, b"1") == b"1"
        assert await ask(second, b"2") == b"2"


async def test_the_lock_ends_a_connection(lock, phone):
    await phone.connect(lock.address)
    await phone.write_chunk(b"bye")
    await asyncio.wait_for(phone.disconnected.wait(), 5)
    assert phone.disconnect_reason == 0x13  # remote user terminated connection
    await lock.advance(10)
    assert lock.connections == 0
    await phone.connect(lock.address)
    assert await ask(phone, b"again") == b"again"


async def test_a_lost_connection_is_seen_by_both_ends(lock, phone):
    await phone.connect(lock.address)
    lock.ble_drop()
    await asyncio.wait_for(phone.disconnected.wait(), 5)
    assert phone.disconnect_reason == 0x08  # connection timeout
    await lock.advance(10)
    assert lock.connections == 0


async def test_a_phone_that_goes_out_of_reach(lock, phone):
    await phone.connect(lock.address)
    await phone.close()
    await lock.advance(10)
    assert lock.connections == 0


async def test_notifying_a_phone_that_has_gone(lock, phone):
    """OSError(ENOTCONN) from the stack, or TypeError from aioble's cleared handle: never silence."""
    await phone.connect(lock.address)
    handle = (await phone.handles())["b5a30002-7b1f-4e5d-9c41-76697472696e"]
    await phone.write_command(handle, b"last words")
    await phone.close()
    await lock.advance(100)
    lost = [event["lost"] for event in lock.events if "lost" in event]
    assert lost in (["OSError"], ["TypeError"], [])
    assert lock.ended is None


async def test_indication_read_and_mtu_by_the_lock(lock, phone):
    await phone.connect(lock.address, mtu=23)
    handles = await phone.handles()
    assert await phone.read(handles["b5a30003-7b1f-4e5d-9c41-76697472696e"]) == b"start"
    with pytest.raises(PhoneError, match="READ_NOT_PERMITTED"):
        await phone.read(handles["b5a30002-7b1f-4e5d-9c41-76697472696e"])
    assert await ask(phone, b"mtu") == b"200"
    assert phone.att_mtu == 200
    received = []
    phone._peer.gatt_client.indication_subscribers[handles["b5a30003-7b1f-4e5d-9c41-76697472696e"]] = {received.append}
    await phone.write_chunk(b"indicate")
    await lock.advance(1)
    assert received == [b"indicated"]


async def test_the_device_name(tmp_path):
    source = """
import bluetooth, time
ble = bluetooth.BLE()
ble.active(True)
ble.gap_advertise(100_000, b"")
time.sleep(1)
ble.config(gap_name="case-12")
time.sleep(3600)
"""
    radio = VirtualRadio()
    async with board(tmp_path, source, radio=radio) as lock, BumblePhone(radio) as phone:
        await phone.connect_raw(lock.address)
        handle = (await phone.handles())["2a00"]
        assert await phone.read(handle) == b"MPY ESP32"
        await lock.advance(1_000)
        assert await phone.read(handle) == b"case-12"


async def test_a_burst_without_response_overflows_the_capture_queue(lock, phone):
    """Ten places, the oldest is dropped: why the lock's protocol writes with response."""
    await phone.connect(lock.address)
    handle = (await phone.handles())["b5a30002-7b1f-4e5d-9c41-76697472696e"]
    await phone.write_chunk(b"block")
    await lock.advance(1)  # it has been taken, and blocks: its own place in the queue is free
    for number in range(40):
        await phone.write_command(handle, b"%d" % number)
    await lock.advance(200)
    answers = [phone.chunks.get_nowait() for _ in range(phone.chunks.qsize())]
    assert answers == [b"block"] + [b"%d" % number for number in range(30, 40)]


async def test_a_value_is_cut_to_the_buffer(lock, phone):
    """Write Long of 300 bytes: NimBLE puts it together, the characteristic holds 244."""
    await phone.connect(lock.address)
    handle = (await phone.handles())["b5a30002-7b1f-4e5d-9c41-76697472696e"]
    await phone.write(handle, bytes(300))
    assert await phone.read_chunk() == bytes(244)


async def test_a_notification_over_the_mtu_is_cut_and_reported(lock, phone):
    await phone.connect(lock.address, mtu=23)
    handle = (await phone.handles())["b5a30002-7b1f-4e5d-9c41-76697472696e"]
    await phone.write(handle, bytes(100))
    assert await phone.read_chunk() == bytes(20)
    assert lock.cut_notifications == [(100, 20)]


ATTACKS = {
    "nothing": b"",
    "opcode alone": b"\x12",
    "unknown opcode": b"\xfe\x00\x01",
    "response out of turn": b"\x13",
    "confirmation out of turn": b"\x1e",
    "read of handle 0": b"\x0a\x00\x00",
    "read of handle 65535": b"\x0a\xff\xff",
    "find in an inverted range": b"\x04\xff\xff\x01\x00",
    "read by type, odd UUID": b"\x08\x01\x00\xff\xff\x01\x02\x03",
    "write to a declaration": b"\x12\x01\x00hacked",
    "command over the MTU": b"\x52\x20\x00" + bytes(600),
    "prepare without execute": b"\x16\x20\x00\x00\x00abc",
    "execute without prepare": b"\x18\x01",
    "signed write": b"\xd2\x20\x00" + bytes(14),
}


@pytest.mark.parametrize("pdu", ATTACKS.values(), ids=ATTACKS.keys())
async def test_any_bytes_on_the_att_channel(lock, phone, pdu):
    """The radio survives them, and the app behind it answers as before."""
    await phone.connect(lock.address)
    phone.send_pdu(pdu)
    await lock.advance(10)
    async with BumblePhone(lock.radio) as other:
        await other.connect(lock.address)
        assert await ask(other, b"alive") == b"alive"
    assert lock.ended is None
    assert lock.restarts == 0


async def test_advertises_within_a_second_and_a_half_and_connects_at_one_interval(tmp_path, deps):
    """In real time: budgets of the emulator, not of a chip."""
    loop = asyncio.get_running_loop()
    radio = VirtualRadio()
    started = loop.time()
    async with echo(tmp_path, radio, deps=deps, virtual=False) as lock, BumblePhone(radio) as phone:
        await lock.wait_advertising()
        assert loop.time() - started < 1.5
        asked = loop.time()
        await phone.connect(await phone.scan(HINT))
        assert await ask(phone, b"strike200") == b"strike200"
        assert loop.time() - asked < 1.0
        assert lock.strike_energised


async def test_an_app_that_ends_is_reported(tmp_path):
    async with board(tmp_path, "raise ValueError('broken')", virtual=False) as lock:
        with pytest.raises(EmulatorError, match="broken"):
            await lock.wait_event(lambda event: True)
        with pytest.raises(EmulatorError, match="does not advertise"):
            await lock.wait_advertising()


async def test_the_radio_switched_off_and_on(tmp_path):
    source = """
import bluetooth, board, time
ble = bluetooth.BLE()
for round in range(2):
    ble.active(True)
    handles = ble.gatts_register_services(((bluetooth.UUID(0x180F), ((bluetooth.UUID(0x2A19), 2),)),))
    ble.gatts_write(handles[0][0], b"%d" % round)
    ble.gap_advertise(100_000, b"\\x02\\x01\\x06")
    time.sleep(10)
    ble.active(False)
    time.sleep(10)
"""
    radio = VirtualRadio()
    async with board(tmp_path, source, radio=radio) as lock:
        for number in range(2):
            async with BumblePhone(radio) as phone:
                await phone.connect_raw(lock.address)
                handle = (await phone.handles())["2a19"]
                assert await phone.read(handle) == b"%d" % number
                await lock.advance(10_000)
                await asyncio.wait_for(phone.disconnected.wait(), 5)
                with pytest.raises(PhoneError):
                    await phone.connect_raw(lock.address, timeout_s=0.1)
            await lock.advance(10_000)
