"""The BLE link's own tasks when one of them comes to grief; what it does for phones is in tests/system."""

import asyncio
import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture
def ble(monkeypatch):
    aioble = ModuleType("aioble")
    aioble.stop = lambda: None
    monkeypatch.setitem(sys.modules, "aioble", aioble)
    monkeypatch.setitem(sys.modules, "bluetooth", ModuleType("bluetooth"))
    for name in ("vitrine.links.ble", "vitrine.links.ble_connections"):
        sys.modules.pop(name, None)
    yield importlib.import_module("vitrine.links.ble")
    for name in ("vitrine.links.ble", "vitrine.links.ble_connections"):
        sys.modules.pop(name, None)


class Request:
    """The characteristic that phones write to: hands over `chunks`, then fails."""

    def __init__(self, *chunks):
        self._chunks = list(chunks)

    async def written(self):
        if not self._chunks:
            raise MemoryError
        return self._chunks.pop(0)


def link_of(ble, request):
    class Link(ble.BleLink):
        def _start(self):
            return request, None

        async def _advertise(self):
            await asyncio.sleep(0)

    return Link(SimpleNamespace(clock=None), None, "case-12", 100)


def test_a_radio_that_hears_nobody_begins_anew(ble):
    votes = []
    with pytest.raises(MemoryError):
        asyncio.run(asyncio.wait_for(link_of(ble, Request()).run(lambda: votes.append(1)), 5))
    assert 0 < len(votes) <= 3


def test_a_phone_for_which_there_is_no_memory_leaves_nobody_in_session(ble, monkeypatch):
    """Or the lock would be busy from then on, and put off for ever what it does while nobody is there."""
    from support.session_lab import Lab

    def no_memory(_):
        raise MemoryError

    dispatch = Lab().dispatch
    link = ble.BleLink(dispatch, None, "case-12", 100)
    monkeypatch.setattr(ble.chunks, "Assembler", no_memory)
    phone = SimpleNamespace(device=SimpleNamespace(addr_type=0, addr=b"phone1"))
    with pytest.raises(MemoryError):
        link._admit(phone, None)
    assert not dispatch.is_busy() and link._peers == []


def test_a_message_for_which_there_is_no_memory_is_the_trouble_of_one_phone(ble):
    def no_memory(_):
        raise MemoryError

    one, other = (ble.Peer(SimpleNamespace(), None, 0) for _ in range(2))
    one.assembler = SimpleNamespace(feed=no_memory)
    link = link_of(ble, Request((one.connection, b"\x80x"), (other.connection, b"\x80x")))
    link._peers += [one, other]
    with pytest.raises(MemoryError):
        asyncio.run(asyncio.wait_for(link.run(lambda: None), 5))
    assert one.broken and one.take() is None
    assert other.take() == b"x"
