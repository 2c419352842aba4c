"""VITRINE_ESP32C3: a lock board with an ESP32-C3. Written from pins.csv by tools/checks/boards.py.

| name | GPIO | circuit |
|---|---:|---|
| STRIKE | 10 | N-channel driver, pulled down: high = energised |
| DPS | 3 | reed switch to ground, pulled up: low = closed, cut wire = open. Or end-of-line resistors |
| REX | 5 | push button to ground, pulled up: low = pressed |
| LED | 0 | to ground: high = on |
| BUZZER | 1 | piezo, driven by PWM |
| BOLT | 6 | bolt switch to ground, pulled up: low = home, cut wire = drawn |
| TAMPER | 7 | housing switch to ground, pulled up: low = closed, cut wire = open |
| BATTERY | 4 | the supply behind a divider |
"""

NAME = "VITRINE_ESP32C3"
CLASS_ID = b"\x56\x02\xf5\x7b\x26\xa6\x52\x72\x87\xae\x30\xd8\xea\x5a\xa7\xbe"
STRIKE = 10
DPS = 3
REX = 5
LED = 0
BUZZER = 1
BOLT = 6
TAMPER = 7
BATTERY = 4
CPU_HZ = 160_000_000
SECURE_BOOT = (0x60008838, 0x100000)  # register and bit of the eFuse
SERVE_ON = "0.0.0.0"  # every address of its own
trace = None  # the emulated board shows its records here
