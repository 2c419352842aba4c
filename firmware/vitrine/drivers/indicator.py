"""The light and the buzzer: what the lock tells the people in front of it. Patterns are data.

Fed with audit records (SPEC.md section 7) as a sink of the event log. A refusal is shown only to an authentic holder:
the light answers no guesses of a peer that has proved nothing, and no stranger's phone can make the lock beep. Nor is
anything shown of ForcedUser, or of what is only decided and not done (shadow).

An alarm plays its pattern when it begins or gets worse, then one round of the worst one every 30 s until it is over,
whatever else is shown meanwhile.
"""

import asyncio

from machine import PWM, Pin
from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What is shown besides alarms, whose keys are their codes (the steps of ajar: 7, 200, 201). Below 200: an alarm.
_AJAR_2 = const(200)
_UNLOCKED = const(210)
_LOCKED = const(211)
_PASSAGE_BEGUN = const(212)
_PASSAGE_ENDED = const(213)
_REFUSED = const(214)
_NOT_NOW = const(215)
_NEXT_PERSON = const(216)
_LOCKED_OUT = const(217)
_LOCKED_DOWN = const(218)
_ALARM_ACTIVE = const(219)
_IDENTIFY = const(220)
_FAULT = const(221)

# key, rank, how many rounds, steps in a round; then each step: light, tone / 20 Hz (0: none), length / 20 ms.
# A lower rank does not interrupt a higher.
PATTERNS = (
    b"\xd2\x01\x01\x02" b"\x01\x87\x04" b"\x01\x00\x5f"  # unlocked: a high beep, light for 2 s
    b"\xd3\x01\x01\x01" b"\x01\x5a\x02"  # locked: a tick
    b"\xd4\x01\x01\x03" b"\x01\x5a\x05" b"\x01\x6e\x05" b"\x01\x87\x0a"  # passage begun: rising
    b"\xd5\x01\x01\x03" b"\x01\x87\x05" b"\x01\x6e\x05" b"\x01\x5a\x0a"  # passage ended: falling
    b"\xd6\x01\x02\x02" b"\x01\x14\x07" b"\x00\x00\x05"  # refused: two short low ones
    b"\xd7\x01\x02\x02" b"\x01\x28\x14" b"\x00\x00\x0a"  # the right person at the wrong time: two long ones
    b"\xd8\x01\x14\x03" b"\x01\x5a\x02" b"\x01\x87\x02" b"\x00\x00\x47"  # next person please: for 30 s
    b"\xd9\x01\x01\x01" b"\x01\x14\x32"  # locked out: one very long low one
    b"\xda\x01\x02\x04" b"\x01\x1e\x05" b"\x00\x00\x03" b"\x01\x14\x0f" b"\x00\x00\x0a"  # lockdown: short, long
    b"\xdb\x01\x02\x03" b"\x01\x3c\x05" b"\x01\x14\x0a" b"\x00\x00\x05"  # an alarm blocks: falling, twice
    b"\xdc\x02\x0a\x02" b"\x01\x64\x05" b"\x00\x00\x14"  # identify
    b"\xdd\x03\x03\x02" b"\x01\x00\x32" b"\x00\x00\x0a"  # fault: light only
    b"\x04\x04\x05\x04" b"\x01\x00\x05" b"\x00\x00\x05" b"\x01\x00\x05" b"\x00\x00\x19"  # a lock-out: light only
    b"\x85\x04\x03\x02" b"\x01\x32\x02" b"\x00\x00\x32"  # BatteryLow: a chirp
    b"\x86\x04\x03\x04" b"\x01\x32\x02" b"\x00\x00\x05" b"\x01\x32\x02" b"\x00\x00\x32"  # BrownoutLoop: two
    b"\x84\x04\x05\x02" b"\x01\x46\x0a" b"\x00\x00\x28"  # ExitHeld
    b"\x80\x05\x05\x03" b"\x01\x55\x0a" b"\x01\x6e\x0a" b"\x00\x00\x14"  # DoorUnattended: a call
    b"\x07\x05\x0a\x02" b"\x01\x64\x0d" b"\x00\x00\x0c"  # DoorAjar
    b"\xc8\x06\x1e\x02" b"\x01\x78\x0d" b"\x00\x00\x06"  # its second step: longer, quicker, louder
    b"\xc9\x07\x3c\x02" b"\x01\x87\x0d" b"\x00\x00\x03"  # its third, at what most piezos are loudest at
    b"\x00\x06\x0a\x04" b"\x01\x28\x05" b"\x00\x00\x02" b"\x01\x28\x05" b"\x00\x00\x19"  # LockJammed
    b"\x83\x06\x0a\x04" b"\x01\x28\x0f" b"\x00\x00\x02" b"\x01\x28\x05" b"\x00\x00\x19"  # StrikeStuck
    b"\x81\x08\x1e\x03" b"\x01\x8c\x05" b"\x01\x50\x05" b"\x00\x00\x05"  # SwitchCut: a siren
    b"\x82\x08\x1e\x03" b"\x01\x50\x05" b"\x01\x8c\x05" b"\x00\x00\x05"  # SwitchShorted
    b"\x05\x08\x3c\x02" b"\x01\x96\x0a" b"\x00\x00\x03"  # FrontEsceutcheonRemoved
    b"\x06\x09\x3c\x02" b"\x01\xa0\x05" b"\x00\x00\x03"  # DoorForcedOpen
)  # fmt: skip

_HEAD = const(4)
_STEP = const(3)
_TONE_HZ = const(20)
_LENGTH_MS = const(20)
_HALF_DUTY = const(32768)
_REMIND_MS = const(30_000)

_COURIER = const(129)  # an operation

# Alarm codes
_LOCK_OUT = const(4)  # has no end
_AJAR = const(7)


def key_of(record: "dict[int, Any]") -> "int | None":
    """Return the key of the pattern that shows `record`, or None if it is nobody's business."""
    kind = record.get(1)
    if record.get(23) is True:
        return None
    if kind == 0:
        alarm, step = record.get(11), record.get(14)
        if alarm == _AJAR and (step == 2 or step == 3):
            return _AJAR_2 + step - 2
        return alarm if alarm is not None and alarm < _AJAR_2 and step != 0 and _find(alarm) >= 0 else None
    if kind == 2:
        is_lock = record.get(5) == 0
        if record.get(5) == _COURIER:
            return None  # nothing moves
        if record.get(6) == 6:
            return _PASSAGE_ENDED if is_lock else _PASSAGE_BEGUN
        if is_lock:
            return _LOCKED if record.get(17) == 1 else None  # it will be, when the door is shut and settled
        return _UNLOCKED
    if kind == 3 and record.get(16) is True:
        return _key_of_reason(record.get(4))
    if kind == 132 and record.get(6) == 2:
        return _IDENTIFY  # by command; a holder's request is shown before it is on record
    return _FAULT if kind == 129 else None


def _key_of_reason(reason: "int | None") -> int:
    """SPEC.md 3.1."""
    if reason in (4, 5, 10, 11):  # NotYetValid, Expired, TimeUntrusted, OutsideWindow
        return _NOT_NOW
    if reason == 13:
        return _NEXT_PERSON
    if reason == 24:
        return _LOCKED_OUT
    if reason == 25:
        return _LOCKED_DOWN
    return _ALARM_ACTIVE if reason == 26 else _REFUSED


def _find(key: int) -> int:
    """Return where in PATTERNS the pattern of `key` begins, or -1."""
    at = 0
    while at < len(PATTERNS):
        if PATTERNS[at] == key:
            return at
        at += _HEAD + _STEP * PATTERNS[at + 3]
    return -1


def _always() -> bool:
    return True


class Indicator:
    """Indicator(led, buzzer, is_loud): machine.Pin objects; the light is on when high, the buzzer is a piezo driven by
    PWM. is_loud is asked before each sound.
    """

    def __init__(self, led: Pin, buzzer: Pin, is_loud: "Callable[[], int]" = _always) -> None:
        self._led = led
        self._buzzer = buzzer
        self._is_loud = is_loud
        self._pwm: "PWM | None" = None
        self._at = -1  # the pattern that is shown or waits to be, in PATTERNS
        self._rounds = 0
        self._lasting: "dict[int, int]" = {}  # alarm code: its pattern, in PATTERNS
        self._changed = asyncio.Event()
        self._quiet()

    def show(self, record: "dict[int, Any]") -> None:
        """Show a record; never waits. Made to be a sink of the event log."""
        key = key_of(record)
        if record.get(1) == 0 and record.get(14) == 0:
            self._end(record.get(11, -1))
        elif key is not None:
            if key <= _AJAR_2 + 1 and key != _LOCK_OUT:
                self._lasting[record[11]] = _find(key)
            self._play(_find(key))

    def identify(self) -> None:
        """Show where this lock is."""
        self._play(_find(_IDENTIFY))

    async def run(self, vote: "Callable[[], None] | None") -> None:
        """Play what show() and identify() ask for. Silent and dark whenever it ends."""
        # by itself: what comes again and again at a busy door must not put it off
        reminder = asyncio.create_task(self._remind())
        try:
            while True:
                await self._changed.wait()
                await self._perform()
        finally:
            reminder.cancel()
            self._quiet()

    def _play(self, at: int) -> None:
        if self._at < 0 or PATTERNS[at + 1] >= PATTERNS[self._at + 1]:
            self._at = at
            self._rounds = PATTERNS[at + 2]
            self._changed.set()

    def _end(self, alarm: int) -> None:
        """An alarm is over: so is its pattern."""
        at = self._lasting.pop(alarm, -1)
        if at >= 0 and at == self._at:
            self._at = -1
            self._changed.set()

    async def _remind(self) -> None:
        """Play one round of the worst alarm that is active, again and again."""
        while True:
            await asyncio.sleep_ms(_REMIND_MS)
            for at in self._lasting.values():
                if self._at < 0 or PATTERNS[at + 1] > PATTERNS[self._at + 1]:
                    self._at = at
                    self._rounds = 1
                    self._changed.set()

    async def _perform(self) -> None:
        self._changed.clear()
        while self._at >= 0 and self._rounds > 0:
            self._rounds -= 1
            start = self._at + _HEAD
            for step in range(start, start + _STEP * PATTERNS[self._at + 3], _STEP):
                self._led.value(PATTERNS[step])
                self._sound(PATTERNS[step + 1] * _TONE_HZ if self._is_loud() else 0)
                if await self._news(PATTERNS[step + 2] * _LENGTH_MS):
                    return  # something new to show, or nothing any more
        self._at = -1
        self._quiet()

    async def _news(self, ms: int) -> bool:
        """Wait for something new to show, for so long at most; return whether there is."""
        try:
            await asyncio.wait_for_ms(self._changed.wait(), ms)
            return True
        except asyncio.TimeoutError:
            return False

    def _sound(self, tone_hz: int) -> None:
        if tone_hz:
            if self._pwm is None:
                self._pwm = PWM(self._buzzer, freq=tone_hz, duty_u16=_HALF_DUTY)
            else:
                self._pwm.init(freq=tone_hz, duty_u16=_HALF_DUTY)
        elif self._pwm is not None:
            self._pwm.deinit()
            self._pwm = None
            self._buzzer.init(Pin.OUT, value=0)  # a freed PWM pin may stay high, which warms the piezo's driver

    def _quiet(self) -> None:
        self._sound(0)
        self._buzzer.init(Pin.OUT, value=0)
        self._led.init(Pin.OUT, value=0)
