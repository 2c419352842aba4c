"""The real bleak, as a phone, against locks on a Bumble link behind the BlueZ stand-in on a private D-Bus."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from bleak import BleakClient
from bleak.exc import BleakError

from support.fake_lock import SERVICE_LE, BumbleLock, Peripheral, structure
from vitrine_tools import names, protocol, tokens
from vitrine_tools.ble import bleak_link
from vitrine_tools.ble.bleak_link import BleakLink, OutOfReachError
from vitrine_tools.ble.bluez_standin import BluezStandIn
from vitrine_tools.ble.private_bus import ADDRESS_VARIABLE, PrivateBus
from vitrine_tools.emulator import VirtualRadio
from vitrine_tools.emulator.radio import RadioController, make_device
from vitrine_tools.errors import LinkError
from vitrine_tools.keys import PrivateKey
from vitrine_tools.phone import Phone
from vitrine_tools.provisioning import Issuer, Provision

pytestmark = pytest.mark.skipif(not PrivateBus.is_available(), reason="dbus-daemon is not installed (Debian: dbus)")

ISSUER = PrivateKey.from_seed(b"i" * 32)
HOLDER = PrivateKey.from_seed(b"h" * 32)
NOW_S = 1_800_000_000
LIMIT_S = 10.0


class Air:
    """A virtual radio with an adapter on the private bus, to which tests add locks."""

    def __init__(self, stack):
        self.radio = VirtualRadio()
        self._stack = stack

    async def start(self, bus):
        adapter = await make_device("adapter", RadioController("adapter", self.radio), self.radio.next_address())
        self.standin = await self._stack.enter_async_context(BluezStandIn(bus.address, adapter))

    async def add(self, lock_id, mtu=247, interval_ms=20):
        issuer = Issuer(
            public_key=ISSUER.public, name="s", scopes=("unlock",), audiences=("group:a",), max_lifetime_s=86400
        )
        record = Provision(lock_id=lock_id, groups=("group:a",), issuers=(issuer,), provisioned_at_s=0)
        lock = BumbleLock(self.radio, record, NOW_S, mtu, interval_ms)
        await lock.start()
        self._stack.push_async_callback(lock.stop)
        return lock

    async def add_other(self, service_data):
        """Add a device that advertises this service data and is no lock."""
        other = Peripheral(self.radio, "other")
        await other.start()
        other.advertise(structure(0x21, service_data))
        self._stack.callback(other.vanish)


@pytest.fixture
async def air(monkeypatch):
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(PrivateBus())
        monkeypatch.setenv(ADDRESS_VARIABLE, bus.address)
        air = Air(stack)
        await air.start(bus)
        yield air


def token():
    claims = tokens.Claims.for_holder(HOLDER.public, ["group:a"], now_s=NOW_S, valid_s=3600)
    return tokens.issue(claims, ISSUER)


async def open_lock(lock_id, device=None):
    device = device or await bleak_link.find_lock(lock_id, LIMIT_S)
    async with await BleakLink.connect(device, LIMIT_S) as link:
        return link.att_mtu, await Phone(link, lock_id).open(token(), HOLDER)


@pytest.mark.parametrize("mtu", [23, 64, 247])
async def test_opens(air, mtu):
    lock = await air.add("case-12", mtu)
    for _ in range(2):  # and once more: the first session has left nothing behind
        att_mtu, outcome = await open_lock("case-12")
        assert (att_mtu, outcome.is_granted) == (mtu, True)
    assert len(lock.connections) == 2 and lock.longest_write <= mtu - 3


async def test_finds_its_lock_among_fifty_and_connects_to_no_other(air):
    locks = [await air.add(f"case-{n}", interval_ms=200) for n in range(50)]
    _, outcome = await open_lock("case-31")
    assert outcome.is_granted
    assert [len(lock.connections) for lock in locks] == [1 if n == 31 else 0 for n in range(50)]


async def test_three_locks_at_once(air):
    devices = {}
    for lock_id in ("case-1", "case-2", "case-3"):
        await air.add(lock_id)
        devices[lock_id] = await bleak_link.find_lock(lock_id, LIMIT_S)
    outcomes = await asyncio.gather(*(open_lock(lock_id, device) for lock_id, device in devices.items()))
    assert [outcome.is_granted for _, outcome in outcomes] == [True] * 3


async def test_a_lock_that_is_not_there(air):
    with pytest.raises(OutOfReachError, match=r"case-9 is not in reach \(and no other"):
        await bleak_link.find_lock("case-9", 0.1)
    await air.add("case-1")
    with pytest.raises(OutOfReachError, match=r"\(but another Vitrine lock is"):
        await bleak_link.find_lock("case-9", 0.5)
    await air.add("case-2")
    with pytest.raises(OutOfReachError, match=r"\(but 2 other Vitrine locks are") as caught:
        await bleak_link.find_lock("case-9", 0.5)
    assert "\n" not in str(caught.value)


async def test_foreign_advertisements_are_passed_over(air):
    """Right service and wrong version or size; right hint under another service."""
    hint = names.hint("case-12")
    other = bytes(15) + b"\x01"
    contents = [
        SERVICE_LE + b"\x02\x03" + hint,
        SERVICE_LE + b"\x01\x03" + hint[:5],
        SERVICE_LE,
        other + b"\x01\x03" + hint,
    ]
    for content in contents:
        await air.add_other(content)
    with pytest.raises(OutOfReachError, match="no other Vitrine lock"):
        await bleak_link.find_lock("case-12", 0.5)


async def test_the_lock_ends_the_connection(air):
    lock = await air.add("case-12")
    device = await bleak_link.find_lock("case-12", LIMIT_S)
    async with await BleakLink.connect(device, LIMIT_S) as link:
        await Phone(link, "case-12").hello()
        await lock.connections[0].disconnect()
        for _ in range(2):  # once ended, ended for good
            with pytest.raises(LinkError, match="ended the connection"):
                await asyncio.wait_for(link.read_chunk(), LIMIT_S)
        with pytest.raises(LinkError, match="broke off"):
            await link.write_chunk(b"\x80x")
    _, outcome = await open_lock("case-12")
    assert outcome.is_granted


async def test_a_lock_that_vanishes_after_it_was_found(air):
    lock = await air.add("case-12")
    device = await bleak_link.find_lock("case-12", LIMIT_S)
    lock.stop_advertising()
    begin_s = time.monotonic()
    with pytest.raises(LinkError, match="connect"):
        await BleakLink.connect(device, 0.3)
    await air.add("case-13")
    _, outcome = await open_lock("case-13")  # the attempt that was given up is in nobody's way
    assert outcome.is_granted and time.monotonic() - begin_s < 5


async def test_a_lock_whose_power_fails(air):
    lock = await air.add("case-12")
    device = await bleak_link.find_lock("case-12", LIMIT_S)
    async with await BleakLink.connect(device, LIMIT_S) as link:
        lock.vanish()
        with pytest.raises(LinkError, match="ended the connection"):
            await asyncio.wait_for(link.read_chunk(), LIMIT_S)


async def test_a_device_without_the_service(air):
    """A lock's advertisement without a lock's service behind it."""
    await air.add_other(SERVICE_LE + b"\x01\x03" + names.hint("case-12"))
    found = await bleak_link.find_lock("case-12", LIMIT_S)
    with pytest.raises(LinkError, match="no Vitrine service"):
        await BleakLink.connect(found, LIMIT_S)


async def test_values_over_the_mtu_are_refused(air):
    lock = await air.add("case-12", mtu=64)
    async with BleakClient(await bleak_link.find_lock("case-12", LIMIT_S)) as client:
        with pytest.raises(BleakError):
            await client.write_gatt_char(protocol.REQUEST_UUID, bytes(62), response=True)
        with pytest.raises(BleakError):
            await client.start_notify(protocol.REQUEST_UUID, lambda *_: None)
    assert lock.longest_write == 0


async def test_reads(air):
    await air.add("case-12")
    async with BleakClient(await bleak_link.find_lock("case-12", LIMIT_S)) as client:
        assert await client.read_gatt_char("00002a00-0000-1000-8000-00805f9b34fb") == b"case-12"  # GAP device name


async def test_no_chunk_comes_after_stop_notify(air):
    await air.add("case-12")
    device = await bleak_link.find_lock("case-12", LIMIT_S)
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    hello = protocol.split(protocol.request(protocol.Op.HELLO, 1), 247)[0]
    async with BleakClient(device) as client:
        await client.start_notify(protocol.ANSWER_UUID, lambda _, value: chunks.put_nowait(bytes(value)))
        await client.write_gatt_char(protocol.REQUEST_UUID, hello, response=True)
        await asyncio.wait_for(chunks.get(), LIMIT_S)
        await client.stop_notify(protocol.ANSWER_UUID)
        await client.write_gatt_char(protocol.REQUEST_UUID, hello, response=True)
        await client.write_gatt_char(protocol.REQUEST_UUID, hello, response=True)
    assert chunks.empty()


async def test_no_bluez_on_the_bus(monkeypatch):
    async with PrivateBus() as bus:
        monkeypatch.setenv(ADDRESS_VARIABLE, bus.address)
        with pytest.raises(OutOfReachError, match="Bluetooth cannot be used") as caught:
            await bleak_link.find_lock("case-12", 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["unix:path=/nowhere/socket", "tcp:host=localhost", "nonsense", ""])
async def test_no_bus(monkeypatch, address):
    monkeypatch.setenv(ADDRESS_VARIABLE, address)
    with pytest.raises(OutOfReachError, match="Bluetooth cannot be used") as caught:
        await bleak_link.find_lock("case-12", 1)
    assert "\n" not in str(caught.value)
