"""Bolt, motion, tamper and battery: what is there is read, what is not is None, what is cut alarms."""

import fake_chip

fake_chip.install()

from fake_chip import Chip  # noqa: E402

from vitrine.door.settings import Settings  # noqa: E402
from vitrine.drivers.sensors import Sensors  # noqa: E402

BOLT, MOTION, TAMPER, BATTERY = 18, 19, 21, 35


def new(bolt=BOLT, motion=MOTION, tamper=TAMPER, battery=BATTERY, scale_pct=200):
    chip = Chip()
    chip.inputs = {BOLT: 0, MOTION: 0, TAMPER: 0}
    chip.mv[BATTERY] = 1500
    return chip, Sensors(bolt, motion, tamper, battery, Settings({17: 1, 18: scale_pct}), chip.ticks_ms)


def settle(chip, sensors, ms=100):
    for _ in range(ms // 10):
        sensors.poll()
        chip.ms += 10


def test_a_board_without_any():
    chip, sensors = new(None, None, None, None)
    settle(chip, sensors, 3000)
    assert (sensors.bolt, sensors.motion, sensors.tamper, sensors.battery_mv) == (None, None, None, None)
    assert not chip.handlers


def test_all_quiet():
    chip, sensors = new()
    settle(chip, sensors)
    assert (sensors.bolt, sensors.motion, sensors.tamper, sensors.battery_mv) == (False, False, False, 3000)


def test_each_alone():
    for pin, name in ((BOLT, "bolt"), (MOTION, "motion"), (TAMPER, "tamper")):
        chip, sensors = new()
        chip.set_input(pin, 1)
        sensors.poll()
        assert not getattr(sensors, name), "not before the debounce time"
        settle(chip, sensors)
        assert [getattr(sensors, each) for each in ("bolt", "motion", "tamper")].count(True) == 1
        assert getattr(sensors, name) is True
        chip.set_input(pin, 0)
        settle(chip, sensors)
        assert getattr(sensors, name) is False


def test_a_cut_wire_reads_as_the_alarming_level():
    """The pull resistors make it: up at the contacts, down at the motion sensor."""
    chip = Chip()
    chip.mv[BATTERY] = 0
    sensors = Sensors(BOLT, MOTION, TAMPER, BATTERY, Settings(), chip.ticks_ms)
    assert (sensors.bolt, sensors.motion, sensors.tamper) == (True, False, True)


def test_the_battery_is_read_once_a_second_and_scaled():
    chip, sensors = new(scale_pct=500)
    settle(chip, sensors, 500)
    assert sensors.battery_mv == 7500
    chip.mv[BATTERY] = 1400
    settle(chip, sensors, 500)
    assert sensors.battery_mv == 7500
    settle(chip, sensors, 10)
    assert sensors.battery_mv == 7000
    sensors.configure(Settings({17: 1, 18: 1000}))
    settle(chip, sensors, 1000)
    assert sensors.battery_mv == 14000
    chip.mv[BATTERY] = None
    settle(chip, sensors, 1000)
    assert sensors.battery_mv is None, "what does not answer is not known"
    chip.mv[BATTERY] = 1000
    settle(chip, sensors, 1000)
    assert sensors.battery_mv == 10000
    sensors.configure(Settings())
    settle(chip, sensors, 3000)
    assert sensors.battery_mv is None, "no battery, no conversions"


def test_polling_allocates_nothing_while_nothing_changes():
    import micropython

    chip, sensors = new()
    settle(chip, sensors)
    micropython.heap_lock()
    try:
        sensors.poll()
    finally:
        micropython.heap_unlock()
