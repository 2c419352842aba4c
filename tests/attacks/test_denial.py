"""Attacks that would keep those out who may come in: what others did, have, or may no longer do is in nobody's way."""

from contextlib import AsyncExitStack

import pytest

from support.store import Store
from vitrine_tools.protocol import Reason


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.mark.parametrize("age_s", [7200, -7200], ids=["over", "not begun"])
async def test_holders_who_may_not_open_do_not_take_all_connections(store, age_s):
    """They prove their keys, which nobody doubts, and keep talking: that is no right to a place."""
    useless = store.token(valid_s=3600, age_s=age_s)
    async with store.lock() as lock, AsyncExitStack() as hogs:
        sessions = [(await hogs.enter_async_context(store.phone(lock)))[1] for _ in range(3)]
        for session in sessions:
            assert (await session.open(useless, store.holder)).reason in (Reason.Expired, Reason.NotYetValid)
        await lock.advance(1_100)
        for session in sessions:
            await session.status()
        assert (await store.open(lock, store.token(holder=store.colleague), holder=store.colleague)).is_granted
