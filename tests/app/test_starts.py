"""Short starts in a row, over power cuts and a store that fails."""

from support import given, ints, lists
from vitrine.app.starts import Starts
from vitrine.door.ticks import ticks_add

NOW = 2**30 - 30_000  # the minute runs over the wrap of the ticks


class Store:
    def __init__(self, value=None):
        self.value = value
        self.saves = 0
        self.is_broken = False

    def load(self):
        if self.is_broken:
            raise OSError(5)
        return self.value

    def save(self, value):
        if self.is_broken:
            raise OSError(5)
        self.value = value
        self.saves += 1


class Events:
    def __init__(self):
        self.faults = []

    def fault(self, name, error):
        self.faults.append(name + ":" + type(error).__name__)


def at(ms):
    return ticks_add(NOW, ms)


def test_a_loop_from_its_first_start_to_its_end():
    store, events = Store(), Events()
    for ended in range(6):
        starts = Starts(store, events, NOW)
        assert starts.is_loop(4, at(0)) is (ended >= 4)
        assert starts.is_loop(4, at(59_999)) is (ended >= 4)
        assert store.value == ended + 1
    assert starts.is_loop(0, at(1)) is False, "0: never"
    # this one lasts
    assert starts.is_loop(4, at(60_000)) is False
    assert store.value == 0 and store.saves == 7
    for ms in (60_001, 2**29, 2**30 - 1):
        assert starts.is_loop(1, at(ms)) is False
    assert store.saves == 7, "written once, not at every look"
    assert Starts(store, events, NOW).is_loop(1, at(0)) is False
    assert events.faults == []


def test_a_store_that_fails_is_on_record_and_no_loop():
    store, events = Store(9), Events()
    store.is_broken = True
    starts = Starts(store, events, NOW)
    assert not starts.is_loop(1, at(0)) and events.faults == ["starts:OSError"] * 2
    assert not starts.is_loop(1, at(60_000)) and len(events.faults) == 3
    store.is_broken = False
    assert not starts.is_loop(1, at(60_001)) and store.value == 9


def test_whatever_the_store_holds():
    for value in (1000, 1001, 2**32 - 1):
        store = Store(value)
        assert Starts(store, Events(), NOW).is_loop(20, at(0)) and store.value == 1001


@given(lists(ints(0, 120_000), 0, 12), ints(1, 6))
def test_only_short_starts_in_a_row_count(lasted, limit):
    store, in_a_row = Store(), 0
    for ms in lasted:
        starts = Starts(store, Events(), NOW)
        assert starts.is_loop(limit, at(0)) is (in_a_row >= limit)
        starts.is_loop(limit, at(ms))
        in_a_row = in_a_row + 1 if ms < 60_000 else 0
