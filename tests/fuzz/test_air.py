"""Garbage over the air, on every characteristic and below them: no unlock, no reset, no leak, the lock goes on."""

import asyncio
import random

from bumble.core import ProtocolError as ProtocolErrorOfBumble

from support.store import FAULT, Store, of_kind, strike_changes
from vitrine_tools.emulator import PhoneError, aioble_in_use
from vitrine_tools.errors import ToolError
from vitrine_tools.protocol import ProtocolError

CONNECTIONS = 40
FRAMES_PER_CONNECTION = 50
HEAP_GROWTH_MAX = 4_096


async def frame(phone, session, handles, token, rng):
    """One frame of garbage."""
    junk = rng.randbytes(rng.randrange(0, phone.att_mtu - 2))
    handle = rng.choice(handles)
    kind = rng.randrange(8)
    if kind <= 1:
        await phone.write_command(handle, junk)
    elif kind == 2:
        await phone.write(handle, junk)
    elif kind == 3:
        await phone.write(handle, rng.randbytes(rng.randrange(200, 512)))
    elif kind == 4:
        await phone.read(handle)
    elif kind == 5:
        await session.present(token[: rng.randrange(1, len(token))])
    else:
        # chunks of a message that does not end, so that the connection lives on
        await phone.write_chunk(bytes([rng.randrange(3)]) + junk[1:])


async def attack(store, lock, rng):
    """One connection's worth of garbage; returns how many frames were sent before the lock hung up."""
    sent = 0
    token = store.token()
    async with store.phone(lock, mtu=rng.choice((23, 247))) as (phone, session):
        handles = list((await phone.handles()).values())
        while phone.is_connected and sent < FRAMES_PER_CONNECTION:
            sent += 1
            if sent == FRAMES_PER_CONNECTION:
                # last, because it also confuses the phone's own stack
                phone.send_pdu(rng.randbytes(rng.randrange(1, 24)))
            try:
                await asyncio.wait_for(frame(phone, session, handles, token, rng), 0.2)
            except (PhoneError, ToolError, ProtocolError, TimeoutError, ProtocolErrorOfBumble):
                continue
    return sent


async def test_garbage_over_the_air(tmp_path):
    print(aioble_in_use())
    rng = random.Random(20262)
    store = Store(tmp_path)
    async with store.lock() as lock:
        assert (await store.open(lock)).is_granted
        await lock.advance(6_000)
        moves = len(strike_changes(lock))
        sent = used = 0
        for number in range(CONNECTIONS):
            sent += await attack(store, lock, rng)
            await lock.advance(100)
            if number == CONNECTIONS // 2:
                used = (await lock.memory())["used"]  # by now the rings of bounded size are full
        assert sent > CONNECTIONS * 5, sent
        await lock.advance(20_000)
        assert len(strike_changes(lock)) == moves, "something moved the strike"
        assert lock.restarts == 0 and lock.ended is None
        assert not of_kind(lock, FAULT)
        assert lock.connections == 0
        assert (await lock.memory())["used"] - used < HEAP_GROWTH_MAX
        assert (await store.open(lock)).is_granted
