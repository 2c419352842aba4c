"""The door's names and numbers: those of Matter's DoorLock cluster (0x0101, revision 7), and the machine's own.

The firmware's modules each have those that they use, private, as constants of a module take memory on the device.
tests/door/host_states.py holds them to these.
"""

from micropython import const

# DlLockState (attribute LockState)
NOT_FULLY_LOCKED = const(0)
LOCK_LOCKED = const(1)
LOCK_UNLOCKED = const(2)

# DoorStateEnum (attribute DoorState)
DOOR_OPEN = const(0)
DOOR_CLOSED = const(1)
DOOR_FORCED_OPEN = const(3)
DOOR_AJAR = const(5)

# AlarmCodeEnum (event DoorLockAlarm): those of the door machine
ALARM_FORCED_OPEN = const(6)
ALARM_AJAR = const(7)

# LockOperationTypeEnum (event LockOperation); HOLD is ours: unlock for the hold time (SPEC.md section 3)
LOCK = const(0)
UNLOCK = const(1)
HOLD = const(128)
TEST = const(131)  # also ours: the strike for half a second (section 18)

# OperationSourceEnum
SOURCE_UNSPECIFIED = const(0)
SOURCE_MANUAL = const(1)
SOURCE_AUTO = const(4)
SOURCE_BUTTON = const(5)
SOURCE_SCHEDULE = const(6)
SOURCE_REMOTE = const(7)

# Modes of the machine. Closed: LOCKED, UNLOCKED, RELOCKING. Open: OPEN, AJAR, FORCED.
LOCKED = const(0)  # closed, strike off, bolt settled
UNLOCKED = const(1)  # closed, strike energised, waiting for the door to open
OPEN = const(2)  # opened after a grant, an exit request or in passage, or found open at power-up
AJAR = const(3)  # held open beyond ajar_ms
FORCED = const(4)  # opened while LOCKED
RELOCKING = const(5)  # closed, strike off, settling in the frame before LOCKED may be said

# by mode
LOCK_STATES = (LOCK_LOCKED, LOCK_UNLOCKED, LOCK_UNLOCKED, LOCK_UNLOCKED, NOT_FULLY_LOCKED, NOT_FULLY_LOCKED)
DOOR_STATES = (DOOR_CLOSED, DOOR_CLOSED, DOOR_OPEN, DOOR_AJAR, DOOR_FORCED_OPEN, DOOR_CLOSED)

# Events the machine takes
DOOR_OPENED = const(0)
DOOR_SHUT = const(1)
REX_PRESSED = const(2)
UNLOCK_GRANTED = const(3)
HOLD_GRANTED = const(4)
LOCK_GRANTED = const(5)
TIME_PASSED = const(6)
STRIKE_FAILED = const(7)
POWERED_UP = const(8)  # the cause of the first state; not an event of step()
PASSAGE_BEGUN = const(9)
PASSAGE_ENDED = const(10)
LOCKED_DOWN = const(11)
TEST_GRANTED = const(13)
DOOR_FOUND_OPEN = const(12)  # opened while this lock only looks on (shadow): nobody's alarm

# Where the door switch's line is, as drivers and monitor name it
SWITCH_SHORTED = const(0)
SWITCH_CLOSED = const(1)
SWITCH_OPEN = const(2)
SWITCH_CUT = const(3)

# Actions the machine asks for: tuples that start with one of these
ENERGISE_STRIKE = const(0)  # (ENERGISE_STRIKE, on_ms): from now on, in place of what ran before
RELEASE_STRIKE = const(1)  # (RELEASE_STRIKE,)
REPORT_OPERATION = const(2)  # (REPORT_OPERATION, operation, source)
REPORT_DOOR = const(3)  # (REPORT_DOOR, DoorStateEnum, source)
RAISE_ALARM = const(4)  # (RAISE_ALARM, AlarmCodeEnum, step): 1 to 3 it has begun, or is worse; 0 it is over
