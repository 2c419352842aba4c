"""aioble's map of connections, under a handle that the chip gives to the next phone at once."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

DISCONNECTED = 2


class Connection:
    def __init__(self):
        self.has_noticed = False


@pytest.fixture
def aioble(monkeypatch):
    """aioble's own order of things: interrupts write the map at once, a task deletes from it later."""
    module = ModuleType("aioble")
    module.core = SimpleNamespace(handlers=[], register_irq_handler=lambda irq, _: module.core.handlers.append(irq))
    module.device = SimpleNamespace(DeviceConnection=type("DeviceConnection", (), {"_connected": {}}))
    monkeypatch.setitem(sys.modules, "aioble", module)
    sys.modules.pop("vitrine.links.ble_connections", None)
    module.connections = importlib.import_module("vitrine.links.ble_connections")
    yield module
    sys.modules.pop("vitrine.links.ble_connections", None)


def disconnect(aioble, handle):
    for handler in aioble.core.handlers:
        assert handler(DISCONNECTED, (handle, 0, b"")) is None


def test_the_next_phone_keeps_the_handle_that_it_was_given(aioble):
    aioble.connections.guard()
    connected = aioble.device.DeviceConnection._connected
    connected[7], new = Connection(), Connection()
    disconnect(aioble, 7)
    connected[7] = new
    del connected[7]  # the clean-up of the one before
    assert connected.get(7) is new
    disconnect(aioble, 7)
    del connected[7]
    assert connected.get(7) is None
    del connected[7]  # two have gone before the first one's task ran: the second's finds nothing, and lives


def test_who_has_gone_is_forgotten(aioble):
    aioble.connections.guard()
    connected = aioble.device.DeviceConnection._connected
    connected[1], connected[2] = Connection(), Connection()
    disconnect(aioble, 1)
    disconnect(aioble, 9)
    del connected[1]
    assert list(connected) == [2]


def test_the_map_is_replaced_once_and_what_is_in_it_stays(aioble):
    there = aioble.device.DeviceConnection._connected[3] = Connection()
    aioble.connections.guard()
    aioble.connections.guard()
    assert len(aioble.core.handlers) == 1
    assert aioble.device.DeviceConnection._connected.get(3) is there


def test_an_aioble_without_such_a_map_is_left_alone(aioble):
    aioble.device.DeviceConnection = type("DeviceConnection", (), {})
    aioble.connections.guard()
    del aioble.device
    aioble.connections.guard()
    assert aioble.core.handlers == []
