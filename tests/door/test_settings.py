"""Settings on the lock: every row of SPEC.md section 6, from the page itself."""

import struct

from support import given, ints, lists, raises, tuples
from vitrine.door.settings import Settings, SettingsError
from vitrine.door.settings_table import NAMES, ROWS


def spec_rows():
    """Return {key: (name, default, least, most, since)} of SPEC.md's table."""
    with open(__file__.rsplit("/", 3)[0] + "/firmware/SPEC.md") as file:
        table = file.read().split("<!-- settings: begin -->")[1].split("<!-- settings: end -->")[0]
    rows = {}
    for line in table.split("\n"):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and cells[0].isdigit():
            least, most = cells[3].split(" to ")
            rows[int(cells[0])] = cells[1], int(cells[2]), int(least), int(most), int(cells[4])
    return rows


ROWS_OF_SPEC = spec_rows()
LAST = max(ROWS_OF_SPEC)
# what the rules across fields need beside one setting at a bound
BESIDE = {14: {15: 3299, 16: 3300}, 15: {14: 0, 16: 3300}, 16: {14: 0, 15: 1}, 24: {25: 65535}, 25: {24: 10}}


def test_the_table_is_the_specs():
    assert list(range(1, LAST + 1)) == sorted(ROWS_OF_SPEC) and LAST >= 33
    names = NAMES.split(" ")
    for key, (name, default, least, most, since) in ROWS_OF_SPEC.items():
        assert names[key - 1] == name
        assert struct.unpack_from(">BIHI", ROWS, 11 * (key - 1)) == (since, default, least, most)
    assert len(names) == LAST and len(ROWS) == 11 * LAST


def test_defaults():
    for settings in (Settings(), Settings(None), Settings({})):
        for name, default, _least, _most, _since in ROWS_OF_SPEC.values():
            assert getattr(settings, name) == default


def test_each_bound():
    for key, (name, _default, least, most, _since) in ROWS_OF_SPEC.items():
        beside = BESIDE.get(key, {})
        for value in (least, most):
            differing = dict(beside)
            differing[key] = value
            if (key, value) in ((14, 3300), (15, 0), (15, 3300), (16, 0)):
                continue  # within its bounds, but no bands can ascend around it
            assert getattr(Settings(differing), name) == value
        for value in (least - 1, most + 1, -1, 2**40, True, None, "500", 500.0, b"500", [500]):
            differing[key] = value
            with raises(SettingsError):
                Settings(differing)


def test_unknown_keys():
    for key in (0, LAST + 1, -1, 2**40, True, None, "unlock_ms", b"1", (1,)):
        with raises(SettingsError):
            Settings({key: 500})


def test_the_bands_of_the_door_switch_ascend():
    assert Settings({14: 0, 15: 1, 16: 2}).dps_open_mv == 2
    for short, closed, opened in ((1500, 1500, 2700), (300, 2700, 2700), (300, 2700, 1500), (0, 0, 0)):
        with raises(SettingsError):
            Settings({14: short, 15: closed, 16: opened})
    with raises(SettingsError):
        Settings({14: 1500})  # against the default of the next one


def test_the_longest_lock_out_is_no_shorter_than_the_first():
    assert Settings({24: 600, 25: 600}).lockout_max_s == 600
    for differing in ({24: 600, 25: 599}, {25: 299}):
        with raises(SettingsError):
            Settings(differing)


def test_settling_outlasts_debouncing():
    assert Settings().settle_ms == 400
    assert Settings({3: 100, 7: 160}).settle_ms == 260


def test_differences_are_named_with_their_new_value():
    before, after = Settings({1: 3000, 8: 50}), Settings({1: 3000, 31: 2**32 - 1})
    assert after.differences(before) == [(8, "advertise_ms=100"), (31, "sntp_address=4294967295")]
    assert after.differences(after) == []
    for name, _default, _least, most, _since in ROWS_OF_SPEC.values():
        assert len(name) + 1 + len(str(most)) <= 32  # the detail of a record


@given(lists(tuples(ints(0, LAST + 1), ints(-2, 2**32)), 0, 4))
def test_whatever_is_taken_is_in_bounds(pairs):
    differing = dict(pairs)
    is_known = all(1 <= key <= LAST for key in differing)
    is_bounded = is_known and all(ROWS_OF_SPEC[k][2] <= v <= ROWS_OF_SPEC[k][3] for k, v in differing.items())
    try:
        settings = Settings(differing)
    except SettingsError:
        is_crossing = not {14, 15, 16, 24, 25}.isdisjoint(differing)
        assert not is_bounded or is_crossing
    else:
        assert is_bounded
        for key, (name, default, _least, _most, _since) in ROWS_OF_SPEC.items():
            assert getattr(settings, name) == differing.get(key, default)
