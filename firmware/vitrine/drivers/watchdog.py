"""The hardware watchdog: once started it resets the chip unless it is fed; nothing can stop it again."""

from machine import WDT


class Watchdog:
    """Starts with the object; feed() must follow within `timeout_ms`, again and again."""

    def __init__(self, timeout_ms: int) -> None:
        self._wdt = WDT(timeout=timeout_ms)
        self.timeout_ms = timeout_ms

    def feed(self) -> None:
        self._wdt.feed()
