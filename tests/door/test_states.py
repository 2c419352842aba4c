"""The numbers are Matter's (DoorLock cluster 0x0101, revision 7)."""

from support import door_states as states


def test_matter_numbers():
    assert (states.NOT_FULLY_LOCKED, states.LOCK_LOCKED, states.LOCK_UNLOCKED) == (0, 1, 2)
    assert (states.DOOR_OPEN, states.DOOR_CLOSED, states.DOOR_FORCED_OPEN, states.DOOR_AJAR) == (0, 1, 3, 5)
    assert (states.ALARM_FORCED_OPEN, states.ALARM_AJAR) == (6, 7)
    assert (states.LOCK, states.UNLOCK, states.HOLD) == (0, 1, 128)
    sources = (states.SOURCE_MANUAL, states.SOURCE_AUTO, states.SOURCE_BUTTON, states.SOURCE_REMOTE)
    assert sources == (1, 4, 5, 7)


def test_no_open_door_is_locked():
    assert len(states.LOCK_STATES) == len(states.DOOR_STATES) == states.RELOCKING + 1
    for mode, door_state in enumerate(states.DOOR_STATES):
        assert states.LOCK_STATES[mode] != states.LOCK_LOCKED or door_state == states.DOOR_CLOSED
