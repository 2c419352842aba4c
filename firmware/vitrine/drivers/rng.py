"""Random bytes from the hardware generator.

On ESP32 os.urandom reads esp_fill_random(): true random while a radio is on, and seeded at boot with entropy from the
ADC's noise before that (ESP-IDF "Random Number Generation"). On unix it is the kernel's.
"""

import os


def random_bytes(count: int) -> bytes:
    """Return `count` fresh random bytes, fit for nonces."""
    return os.urandom(count)
