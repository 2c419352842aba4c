"""Tick arithmetic wraps like the shortest ticks of any target."""

from support import given, ints
from vitrine.door.ticks import ticks_add, ticks_diff


def test_over_the_wrap():
    assert ticks_add(2**30 - 1, 1) == 0
    assert ticks_diff(5, 2**30 - 5) == 10
    assert ticks_diff(2**30 - 5, 5) == -10


@given(ints(0, 2**62 - 1), ints(-(2**29), 2**29 - 1))
def test_a_sum_is_that_far_away(ticks, delta):
    later = ticks_add(ticks, delta)
    assert 0 <= later < 2**30
    assert ticks_diff(later, ticks) == delta
