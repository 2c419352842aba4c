"""Fixtures of the tests that run the whole firmware on the emulated board, in virtual time."""

import pytest

from support.store import DETAIL, Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    for lock in store.locks:
        assert not [line for line in lock.output if "exception" in line.lower()], lock.last_words()
        # nor one of a task that nobody waited for
        assert not [event for event in lock.events if str(event.get(DETAIL)).startswith("task:")], lock.events[-5:]


@pytest.fixture
async def lock(store):
    async with store.lock() as lock:
        yield lock
