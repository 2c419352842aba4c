"""VITRINE_ESP32: a lock board with an ESP32. Written from pins.csv by tools/checks/boards.py.

| name | GPIO | circuit |
|---|---:|---|
| STRIKE | 26 | N-channel driver, pulled down: high = energised |
| DPS | 33 | reed switch to ground, pulled up: low = closed, cut wire = open. Or end-of-line resistors |
| REX | 32 | push button to ground, pulled up: low = pressed |
| LED | 25 | to ground: high = on |
| BUZZER | 27 | piezo, driven by PWM |
| BOLT | 18 | bolt switch to ground, pulled up: low = home, cut wire = drawn |
| MOTION | 19 | output of a motion sensor, pulled down: high = motion |
| TAMPER | 21 | housing switch to ground, pulled up: low = closed, cut wire = open |
| BATTERY | 35 | the supply behind a divider |
| CAMERA | 22 | driver, pulled down: high = film |
| RELAY | 23 | driver of the alarm relay, pulled down: high = on |
| TRIGGER | 13 | contact to ground, pulled up: low = something happens |
"""

NAME = "VITRINE_ESP32"
CLASS_ID = b"\x43\x16\xff\x95\x79\xf7\x57\x14\x82\xfd\xc8\xa2\x20\x29\xa5\x12"
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
SECURE_BOOT = (0x3FF5A018, 0x20)  # register and bit of the eFuse
SERVE_ON = "0.0.0.0"  # every address of its own
trace = None  # the emulated board shows its records here
