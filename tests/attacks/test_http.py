"""Attacks over the local network: none keeps a phone waiting, over BLE or over HTTP, and each ends by itself."""

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest

from support.http_client import ask, exchange, free_port, network_blob, request
from support.store import FAULT, LOCK_ID, Store, of_kind
from vitrine_tools.http_phone import HttpPhone

HELLO = request("GET", "/v1/hello")
NOTICED_MS = 10


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
async def lock(store):
    lock = store.lock()
    lock.http_port = free_port()
    lock.flash.create()
    lock.flash.nvs_put("vitrine", "network", network_blob(lock.http_port))
    async with lock:
        yield lock
    assert not of_kind(lock, FAULT)
    assert not [line for line in lock.output if "exception" in line.lower()], lock.last_words()


async def connect(lock, stack, data=b""):
    """A connection that has sent so much and waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lock.http_port)
    stack.callback(writer.close)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def both_open(store, lock):
    """A phone opens over each way."""
    assert (await HttpPhone(f"http://127.0.0.1:{lock.http_port}", LOCK_ID).open(store.token(), store.holder)).is_granted
    assert (await store.open(lock)).is_granted


async def test_slow_loris(store, lock):
    """Twenty connections that never say all: four have a place, each of them for 2 s, none from who has a request."""
    async with AsyncExitStack() as stack:
        slow = [await connect(lock, stack, HELLO[:-2]) for _ in range(20)]
        await both_open(store, lock)
        await lock.advance(2_500)
        for reader, _ in slow:
            assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.0 408")
        await both_open(store, lock)


async def test_a_body_that_never_comes(store, lock):
    start = request("POST", "/v1/present", b"x" * 1000, Content_Type="application/cbor")[:-900]
    async with AsyncExitStack() as stack:
        slow = [await connect(lock, stack, start) for _ in range(4)]
        await both_open(store, lock)
        await lock.advance(5_500)
        for reader, _ in slow:
            assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.0 408")


async def test_one_byte_a_second_is_no_life_beyond_2_s(lock):
    async with AsyncExitStack() as stack:
        reader, writer = await connect(lock, stack)
        for byte in HELLO[:3]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
            await lock.advance(1_000)
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.0 408")


async def test_pipelining(lock):
    """A hundred requests at once are one."""
    data = HELLO * 100
    async with AsyncExitStack() as stack:
        reader, _ = await connect(lock, stack, data)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.0 200")
    assert (await ask(lock.http_port, "GET", "/v1/hello")).status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /v1/hello\r\n\r\n", 400),
        (bytes(range(256)) * 8, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", 400),
        (request("POST", "/v1/present", Content_Length="4294967296"), 413),
        (request("POST", "/v1/present", Transfer_Encoding="chunked") + b"ffffffff\r\n" + b"x" * 4000, 411),
        (request("POST", "/v1/present"), 411),
        (request("GET", "/v1/hello", Cookie="x" * 1100), 431),
    ],
    ids=["HTTP/0.9", "garbage", "TLS", "huge length", "chunked", "no length", "long header"],
)
async def test_what_is_no_request(store, lock, data, status):
    for _ in range(10):
        async with AsyncExitStack() as stack:
            reader, _ = await connect(lock, stack, data)
            assert (await asyncio.wait_for(reader.readline(), 5)).split()[1] == str(status).encode()
    await both_open(store, lock)


async def test_who_connects_and_goes_away(store, lock):
    """Resets in every state, and connections that say nothing."""
    for count in range(40):
        with socket.create_connection(("127.0.0.1", lock.http_port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(HELLO[: count * 2])
        await asyncio.sleep(0.004)
    await both_open(store, lock)
    before = (await lock.memory())["used"]
    for count in range(200):
        with socket.create_connection(("127.0.0.1", lock.http_port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(HELLO[: count % 40])
        await asyncio.sleep(0.004)  # longer than an accept takes: a full backlog would cost a second
    await lock.advance(16_000)
    assert (await lock.memory())["used"] < before + 4_000


async def test_who_never_reads_the_answer(store, lock):
    async with AsyncExitStack() as stack:
        for _ in range(8):
            await connect(lock, stack, HELLO)
        await both_open(store, lock)
        await lock.advance(1_000)
        await both_open(store, lock)


async def test_a_flood_of_sessions_pushes_nobody_out(store, lock):
    """Somebody else begins fifty sessions while a person confirms: it is his own that give way."""
    flooded = asyncio.Event()

    async def confirm():
        await flooded.wait()
        return True

    phone = HttpPhone(f"http://127.0.0.1:{lock.http_port}", LOCK_ID)
    outcome = asyncio.create_task(phone.open(store.token(), store.holder, confirm=confirm))
    for _ in range(50):
        assert (await ask(lock.http_port, "GET", "/v1/hello", source="127.0.0.2")).status == 200
    flooded.set()
    assert (await outcome).is_granted


async def test_a_phone_over_ble_notices_nothing_of_it(tmp_path):
    """In real time: the fastest unlocks of ten, without and with a flood on the network."""
    store = Store(tmp_path)
    lock = store.lock(virtual=False)
    lock.http_port = free_port()
    lock.flash.create()
    lock.flash.nvs_put("vitrine", "network", network_blob(lock.http_port))

    async def unlock_ms():
        times = []
        for _ in range(10):
            outcome = await store.open(lock)
            assert outcome.is_granted
            times.append(outcome.timings_ms["total"])
        return sorted(times)

    async def flood():
        while True:
            try:
                await exchange(lock.http_port, bytes(range(256)) * 8)
            except OSError:
                await asyncio.sleep(0.01)

    async with lock:
        await lock.wait_advertising()
        idle = await unlock_ms()
        floods = [asyncio.create_task(flood()) for _ in range(4)]
        try:
            busy = await unlock_ms()
        finally:
            for task in floods:
                task.cancel()
    assert busy[0] < idle[0] + NOTICED_MS, (idle, busy)
