"""The emulated lock board: an ESP32 module with a strike, a door switch, an exit button, a light, a buzzer and sensors.

For the room around it there are a camera, an alarm relay and a trigger contact.

| name | GPIO | circuit |
|---|---:|---|
| STRIKE | 26 | N-channel driver, pulled down: high = energised. Not a strapping pin and quiet at reset |
| DPS | 33 | reed switch to ground, pulled up: low = closed; a cut wire reads as open. Or with end-of-line resistors |
| REX | 32 | push button to ground, pulled up: low = pressed |
| LED | 25 | to ground: high = on |
| BUZZER | 27 | piezo, driven by PWM |
| BOLT | 18 | bolt switch to ground, pulled up: low = home; a cut wire reads as drawn |
| MOTION | 19 | output of a motion sensor, pulled down: high = motion |
| TAMPER | 21 | housing switch to ground, pulled up: low = closed; a cut wire reads as open |
| BATTERY | 35 | the supply, divided by two |
| CAMERA | 22 | driver, pulled down: high = film |
| RELAY | 23 | driver of the alarm relay, pulled down: high = on |
| TRIGGER | 13 | contact to ground, pulled up: low = something happens |

A board names the pins that it does not have None.
"""

import _board_link

NAME = "unix"
CLASS_ID = b"\x39\x99\x5c\x97\x4a\x32\x5c\xcc\xac\xac\x37\x39\x78\xd7\x3c\xa6"
STRIKE = 26
DPS = 33
REX = 32
LED = 25
BUZZER = 27
BOLT = 18
MOTION = 19
TAMPER = 21
BATTERY = 35
CAMERA = 22
RELAY = 23
TRIGGER = 13
CPU_HZ = 240_000_000
SERVE_ON = "127.0.0.1"  # on a chip 0.0.0.0: every address of its own


def trace(record):
    """Show an event (a dict of plain values) to the harness."""
    _board_link.link.send("trace", {"v": repr(record)}, is_passive=True)
