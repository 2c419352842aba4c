"""The whole firmware on the emulated board."""

from support.lock_fixtures import lock, store

__all__ = ["lock", "store"]
