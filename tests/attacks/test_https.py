"""Attacks on HTTP with TLS: strangers that begin handshakes and never end them keep no phone out, over BLE or HTTPS."""

import asyncio
import ssl
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from support.http_client import free_port, network_blob
from support.store import FAULT, LOCK_ID, Store, of_kind
from vitrine_tools.certificates import Authority
from vitrine_tools.errors import LinkError
from vitrine_tools.http_phone import HttpPhone

STRANGERS = [f"127.0.0.{number}" for number in range(2, 8)]
GARBAGE = bytes(range(256)) * 8


def client_hello():
    """What a TLS client says first, whole and valid."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


HELLO = client_hello()
OPENINGS = {
    "says nothing": b"",
    "half a hello": HELLO[: len(HELLO) // 2],
    "a hello, then nothing": HELLO,
    "a hello, then garbage": HELLO + GARBAGE,
    "garbage": GARBAGE,
    "HTTP without TLS": b"GET /v1/hello HTTP/1.1\r\nHost: lock\r\n\r\n",
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def ca(tmp_path):
    return Authority.new("store"), tmp_path


@asynccontextmanager
async def running(store, ca, **options):
    """A lock that serves HTTPS, and has nothing to complain of at the end."""
    authority, folder = ca
    lock = store.lock(**options)
    lock.ca, _ = authority.save(folder, "ca")
    own = authority.issue("localhost", hosts=("localhost", "127.0.0.1"))
    lock.http_port = free_port()
    lock.flash.create()
    blob = network_blob(lock.http_port, {5: own.certificate_der, 6: own.key_der})
    lock.flash.nvs_put("vitrine", "network", blob)
    async with lock:
        yield lock
    assert not of_kind(lock, FAULT)
    assert not [line for line in lock.output if "exception" in line.lower() or "rror" in line], lock.last_words()


@pytest.fixture
async def lock(store, ca):
    async with running(store, ca) as lock:
        yield lock


def phone(lock):
    return HttpPhone(f"https://127.0.0.1:{lock.http_port}", LOCK_ID, ca=str(lock.ca))


async def both_open(store, lock):
    assert (await phone(lock).open(store.token(), store.holder)).is_granted
    assert (await store.open(lock)).is_granted


async def begin(lock, stack, data, source):
    """A stranger's connection that has sent so much and waits; returns its reader."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lock.http_port, local_addr=(source, 0))
    stack.callback(writer.close)
    writer.write(data)
    await writer.drain()
    return reader


async def ended(reader):
    """Wait until the lock has ended a connection."""
    with suppress(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 5)


@pytest.mark.parametrize("data", OPENINGS.values(), ids=OPENINGS.keys())
async def test_strangers_that_stall_or_talk_rubbish(store, lock, data):
    """Five connections of each of six addresses; a phone opens at once, and all are over within 2 s of the lock's."""
    async with AsyncExitStack() as stack:
        readers = [await begin(lock, stack, data, source) for _ in range(5) for source in STRANGERS]
        await both_open(store, lock)
        await lock.advance(2_500)
        for reader in readers:
            await ended(reader)
        await lock.advance(12_000)
        await both_open(store, lock)


async def test_strangers_that_never_stop(store, ca):
    """In real time: handshakes begun as fast as they are taken, by six addresses, while a phone opens."""
    over = dict.fromkeys(STRANGERS, 0)

    async def flood(lock, source):
        while True:
            async with AsyncExitStack() as stack:
                with suppress(OSError, TimeoutError):
                    first, second = [await begin(lock, stack, HELLO, source) for _ in range(2)]
                    await ended(first)
                    await ended(second)
            over[source] += 1
            await asyncio.sleep(0.005)

    async with running(store, ca, virtual=False) as lock:
        await lock.wait_advertising()
        tasks = [asyncio.create_task(flood(lock, source)) for source in STRANGERS]
        try:
            for rounds in (3, 6):
                while min(over.values()) < rounds:
                    await asyncio.sleep(0.01)
                await both_open(store, lock)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_address_has_so_many_handshakes(store, lock):
    """Whole ones, each with a request; then the lock does not even begin one, and BLE goes on."""
    made = 0
    with pytest.raises(LinkError):
        for _ in range(20):
            await phone(lock).hello()
            made += 1
    assert made == 8
    assert (await store.open(lock)).is_granted
    await lock.advance(3_100)
    await both_open(store, lock)


async def test_a_stranger_cannot_use_up_what_another_has(store, lock):
    """A phone's request of three connections goes through while the neighbour's address is barred."""
    async with AsyncExitStack() as stack:
        for _ in range(20):
            await begin(lock, stack, GARBAGE, STRANGERS[0])
        await ended(await begin(lock, stack, HELLO, STRANGERS[0]))
        await both_open(store, lock)


async def test_the_heap_is_as_before(store, lock):
    await both_open(store, lock)
    await lock.advance(20_000)
    before = (await lock.memory())["used"]
    for _ in range(10):
        async with AsyncExitStack() as stack:
            for source in STRANGERS:
                await ended(await begin(lock, stack, GARBAGE, source))
        await lock.advance(10_000)
    await lock.advance(20_000)
    assert (await lock.memory())["used"] < before + 2_000
