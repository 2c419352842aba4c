"""The whole firmware on the emulated board."""

from support.lock_fixtures import lock, store
from support.mosquitto import broker

__all__ = ["broker", "lock", "store"]
