"""Attacks on the whole firmware."""

from support.lock_fixtures import lock, store

__all__ = ["lock", "store"]
