"""VITRINE_ESP32S3: a lock board with an ESP32-S3. Written from pins.csv by tools/checks/boards.py.

| name | GPIO | circuit |
|---|---:|---|
| STRIKE | 21 | N-channel driver, pulled down: high = energised |
| DPS | 4 | reed switch to ground, pulled up: low = closed, cut wire = open. Or end-of-line resistors |
| REX | 6 | push button to ground, pulled up: low = pressed |
| LED | 11 | to ground: high = on |
| BUZZER | 12 | piezo, driven by PWM |
| BOLT | 7 | bolt switch to ground, pulled up: low = home, cut wire = drawn |
| MOTION | 9 | output of a motion sensor, pulled down: high = motion |
| TAMPER | 8 | housing switch to ground, pulled up: low = closed, cut wire = open |
| BATTERY | 5 | the supply behind a divider |
| CAMERA | 13 | driver, pulled down: high = film |
| RELAY | 14 | driver of the alarm relay, pulled down: high = on |
| TRIGGER | 10 | contact to ground, pulled up: low = something happens |
"""

NAME = "VITRINE_ESP32S3"
CLASS_ID = b"\x19\xbd\xf3\xd0\xd4\x65\x57\x68\xb6\x48\xb8\xa5\xe9\x45\x50\x35"
STRIKE = 21
DPS = 4
REX = 6
LED = 11
BUZZER = 12
BOLT = 7
MOTION = 9
TAMPER = 8
BATTERY = 5
CAMERA = 13
RELAY = 14
TRIGGER = 10
CPU_HZ = 240_000_000
SECURE_BOOT = (0x60007038, 0x100000)  # register and bit of the eFuse
SERVE_ON = "0.0.0.0"  # every address of its own
trace = None  # the emulated board shows its records here
