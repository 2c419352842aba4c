"""Door settings: defaults and bounds of SPEC.md section 6."""

from support import given, ints, raises
from vitrine.door.settings import Settings, SettingsError

BOUNDS = {
    1: ("unlock_ms", 500, 10000),
    2: ("hold_ms", 500, 10000),
    3: ("relock_ms", 100, 5000),
    4: ("ajar_ms", 5000, 3600000),
    5: ("pull_ms", 20, 1000),
    6: ("hold_duty_pct", 10, 100),
    7: ("debounce_ms", 5, 200),
    8: ("advertise_ms", 20, 1000),
}


def test_defaults():
    for settings in (Settings(), Settings(None), Settings({})):
        values = [getattr(settings, BOUNDS[key][0]) for key in range(1, 8)]
        assert values == [5000, 10000, 400, 30000, 150, 40, 30]


def test_each_bound():
    for key, (name, least, most) in BOUNDS.items():
        for value in (least, most):
            assert getattr(Settings({key: value}), name) == value
        for value in (least - 1, most + 1, 0, -1, 2**40, True, None, "500", 500.0, b"500"):
            with raises(SettingsError):
                Settings({key: value})


def test_unknown_keys():
    for key in (0, 9, -1, True, None, "unlock_ms", b"1"):
        with raises(SettingsError):
            Settings({key: 500})


def test_settling_outlasts_debouncing():
    assert Settings().settle_ms == 400
    assert Settings({3: 100, 7: 200}).settle_ms == 300


@given(ints(1, 7), ints(-(2**31), 2**31))
def test_whatever_is_taken_is_in_bounds(key, value):
    name, least, most = BOUNDS[key]
    try:
        settings = Settings({key: value})
    except SettingsError:
        assert not least <= value <= most
    else:
        assert least <= value <= most and getattr(settings, name) == value
