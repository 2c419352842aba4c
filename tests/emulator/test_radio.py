"""The air between locks and phones."""

import asyncio

import pytest

from support.board import echo
from vitrine_tools.emulator import BumblePhone, PhoneError, VirtualRadio
from vitrine_tools.emulator.bumble_link import SERVICE_UUID, parse_advertisement
from vitrine_tools.emulator.radio import RadioController, make_device

HINT = b"hint06"


@pytest.fixture
async def radio():
    return VirtualRadio()


async def test_what_a_lock_says_on_the_air(tmp_path, radio):
    async with echo(tmp_path, radio) as lock, BumblePhone(radio) as phone:
        async for advertisement in phone.advertisements():
            assert advertisement.address == lock.address
            assert (advertisement.hint, advertisement.state, advertisement.name) == (HINT, 3, "echo")
            assert advertisement.is_provisioned
            assert advertisement.is_time_known
            break


def test_other_advertisements_are_not_a_lock():
    from bumble.core import UUID, AdvertisingData

    service = UUID(SERVICE_UUID).to_bytes()
    for data in (b"", service, service + b"\x02\x03hint06", service + b"\x01\x03hint0", b"\x01" * 24):
        structures = AdvertisingData([(0x21, data)])
        assert parse_advertisement("x", structures) is None
    assert parse_advertisement("x", AdvertisingData([(0x21, service + b"\x01\x00hint06")])).hint == b"hint06"


async def test_a_lock_that_is_not_there(radio):
    async with BumblePhone(radio) as phone:
        with pytest.raises(PhoneError, match="no lock with this hint"):
            await phone.scan(HINT, timeout_s=0.05)
        with pytest.raises(PhoneError, match="no answer"):
            await phone.connect("24:0A:C4:00:00:01/P", timeout_s=0.05)
        with pytest.raises(PhoneError, match="not connected"):
            await phone.write_chunk(b"\x80")


async def test_a_connection_that_was_given_up_is_not_made_later(tmp_path, radio):
    """After a time-out the phone no longer answers the lock's advertisements."""
    lock = echo(tmp_path, radio)
    async with BumblePhone(radio) as phone:
        with pytest.raises(PhoneError):
            await phone.connect(lock.address, timeout_s=0.05)
        async with lock:
            await lock.advance(1_000)
            assert lock.connections == 0
            await phone.connect(lock.address)
            assert lock.connections == 1


async def test_many_locks_and_phones(tmp_path, radio):
    """Each phone talks to its own lock; addresses do not mix."""
    locks = []
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        locks.append(echo(folder, radio))
    await asyncio.gather(*(lock.start() for lock in locks))
    try:
        assert len({lock.address for lock in locks}) == 4

        async def talk(lock):
            async with BumblePhone(radio) as phone:
                await phone.connect(lock.address)
                for number in range(10):
                    message = f"{lock.address} {number}".encode()
                    await phone.write_chunk(message)
                    assert await phone.read_chunk() == message

        await asyncio.gather(*(talk(lock) for lock in locks for _ in range(2)))
    finally:
        for lock in locks:
            await lock.close()


async def test_a_peer_that_is_not_a_lock(radio):
    """A device without the service is named as such, not a crash."""
    controller = RadioController("watch", radio)
    address = radio.next_address()
    device = await make_device("watch", controller, address)
    await device.start_advertising(auto_restart=False)
    async with BumblePhone(radio) as phone:
        phone_target = str(address)
        from bumble.hci import Address

        connection = await phone.device.connect(Address(phone_target))
        assert connection.peer_address == address
    controller.vanish()


async def test_the_radio_is_empty_when_all_have_left(tmp_path, radio):
    async with echo(tmp_path, radio) as lock, BumblePhone(radio) as phone:
        await phone.connect(lock.address)
        assert len(radio.controllers) == 2
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert radio.controllers == set()
