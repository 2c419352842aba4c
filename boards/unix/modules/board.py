"""The emulated lock board: an ESP32 module with a strike, a door switch, an exit button, a light and a buzzer.

| name | GPIO | circuit |
|---|---:|---|
| STRIKE | 26 | N-channel driver, pulled down: high = energised. Not a strapping pin and quiet at reset |
| DPS | 33 | reed switch to ground, pulled up: low = closed; a cut wire reads as open |
| REX | 32 | push button to ground, pulled up: low = pressed |
| LED | 25 | to ground: high = on |
| BUZZER | 27 | piezo, driven by PWM |
"""

import _board_link

NAME = "unix"
STRIKE = 26
DPS = 33
REX = 32
LED = 25
BUZZER = 27
CPU_HZ = 240_000_000


def trace(record):
    """Show an event (a dict of plain values) to the harness."""
    _board_link.link.send("trace", {"v": repr(record)}, is_passive=True)
