"""Watchdog and random bytes."""

import fake_chip

fake_chip.install()

from vitrine.drivers.rng import random_bytes  # noqa: E402
from vitrine.drivers.watchdog import Watchdog  # noqa: E402


def test_the_watchdog_is_fed_when_told_only():
    watchdog = Watchdog(8000)
    assert watchdog._wdt.fed == 0
    watchdog.feed()
    assert watchdog._wdt.fed == 1


def test_random_bytes():
    drawn = [random_bytes(16) for _ in range(200)]
    assert all(len(some) == 16 for some in drawn) and len(set(drawn)) == 200
    assert random_bytes(0) == b""
