"""The bounds of the time: the truth lies between them, whatever is stated, hinted and reset."""

import binascii
import struct

from support import blobs, given, ints, lists, tuples
from vitrine.access.trusted_time import JUMP_MS, Mark, decode_mark, drift_ms, merge, slip_ms, statement_bounds

NOW_S = 1_790_000_000
YEAR_MS = 365 * 86_400_000


@given(ints(0, YEAR_MS), ints(1, 1000), ints(0, 1))
def test_drift_covers_the_slowest_and_the_fastest_clock(true_ms, drift_ppm, is_slow):
    counted_ms = true_ms * (1_000_000 + (-drift_ppm if is_slow else drift_ppm)) // 1_000_000
    assert abs(true_ms - counted_ms) <= drift_ms(counted_ms, drift_ppm) + 1


def test_drift_is_rounded_up():
    assert drift_ms(0, 100) == 0 and drift_ms(-5, 100) == 0
    assert drift_ms(1, 100) == 1 and drift_ms(10_000, 100) == 2 and drift_ms(9_999, 100) == 1


@given(ints(0, 300_000), ints(0, 300_000), ints(0, 999), ints(-1000, 1000))
def test_a_statement_bounds_the_time_whenever_it_was_made(age_ms, made_ms, fraction_ms, drift_ppm):
    """The nonce is `age_ms` old, the statement was made `made_ms` after it, by a clock that cuts off `fraction_ms`."""
    made_ms = min(made_ms, age_ms)
    stated_ms = NOW_S * 1000 + fraction_ms
    true_now_ms = stated_ms + age_ms - made_ms
    counted_ms = age_ms * (1_000_000 + drift_ppm) // 1_000_000
    low, high = statement_bounds(NOW_S, counted_ms, max(1, abs(drift_ppm)))
    assert low <= true_now_ms <= high
    assert high - low <= 1_000 + counted_ms + 2 * (20 + 302)


def test_what_a_statement_is_worth():
    """SPEC.md section 5.2: the statement + half a second + age / 2, give or take age / 2 + 520 ms."""
    low, high = statement_bounds(NOW_S, 10_000, 100)
    assert (low + high) // 2 == NOW_S * 1000 + 5_500
    assert (high - low) // 2 == 5_500 + 20 + 2


def test_what_lies_in_both_is_left():
    assert merge(None, (10, 20), 0) == (10, 20)
    assert merge((0, 100), (10, 20), 0) == (10, 20)
    assert merge((0, 15), (10, 20), 0) == (10, 15)
    assert merge((20, 90), (10, 20), 0) == (20, 20)
    assert merge((21, 90), (10, 20), 0) == (10, 20), "they contradict each other: the statement stands"
    assert merge((21, 90), (10, 20), 15) == (15, 20)
    assert merge(None, (10, 20), 20) == (20, 20)
    assert merge(None, (10, 20), 21) is None and merge((0, 100), (10, 20), 21) is None


def test_a_jump_is_what_is_left_when_1000_ppm_are_forgiven():
    for before_ms, clock_ms, ticks_ms, expected in (
        (0, 1000, 1000, 0),
        (0, 3000, 1000, 1999),
        (0, -1001, 1000, -2000),
        (0, 999, 1000, 0),
        (1999, 1001, 1000, 1999),
        (1999, 1500, 1000, 2498),
        (2, 1000, 5000, -3993),
        (5, 999_999, 999_999, 0),
        (-5, 60_000, 60_000, 0),
        (0, 10**13, 5, 10**13 - 5),
    ):
        assert slip_ms(before_ms, clock_ms, ticks_ms) == expected, (before_ms, clock_ms, ticks_ms)


@given(lists(ints(-3000, 3000), 1, 60))
def test_no_steps_take_a_clock_far_without_a_jump(steps):
    """Whoever moves it each minute moves it by 2 s and 1,000 ppm at most before it is seen."""
    slipped_ms = moved_ms = 0
    for minutes, step_ms in enumerate(steps, 1):
        slipped_ms = slip_ms(slipped_ms, 60_000 + step_ms, 60_000)
        if abs(slipped_ms) > JUMP_MS:
            return
        moved_ms += step_ms
        assert abs(moved_ms) <= JUMP_MS + 60 * minutes


@given(ints(0, 2**32 - 1), ints(0, 2**32 - 1), ints(-(2**31), 2**31 - 1))
def test_a_mark_comes_back(set_s, error_ms, trim_ms):
    data = Mark(set_s, error_ms, trim_ms).encode()
    expected = b"VTR2" + struct.pack(">QIi", set_s, error_ms, trim_ms)
    assert data == expected + struct.pack(">I", binascii.crc32(expected))
    mark = decode_mark(data)
    assert (mark.set_s, mark.error_ms, mark.trim_ms) == (set_s, error_ms, trim_ms)
    assert 0 <= mark.floor_s <= set_s


@given(blobs(0, 40))
def test_no_bytes_are_a_mark_by_chance(data):
    assert decode_mark(data) is None


def test_a_time_that_no_record_can_hold_is_no_mark():
    assert decode_mark(Mark(2**32, 0).encode()) is None


class World:
    """A crystal that drifts, the mark that a lock keeps of it, and those who tell it the time."""

    def __init__(self, rate_ppm, drift_ppm):
        self.rate_ppm = rate_ppm
        self.drift_ppm = drift_ppm
        self.true_ns = NOW_S * 10**9
        self.rtc_ns = 0
        self.mark = None

    @property
    def clock_ms(self):
        return self.rtc_ns // 10**6

    def pass_ms(self, ms):
        self.true_ns += ms * 10**6
        self.rtc_ns += ms * (10**6 + self.rate_ppm)

    def state(self, age_ms, made_ms, floor_ms):
        """A nonce is asked for, a statement made after made_ms, and it comes back after age_ms."""
        made_ms = min(made_ms, age_ms)
        before_ms = self.clock_ms
        self.pass_ms(made_ms)
        stated_s = self.true_ns // 10**9
        self.pass_ms(age_ms - made_ms)
        told = statement_bounds(stated_s, self.clock_ms - before_ms, self.drift_ppm)
        known = self.bounds()
        if known is not None and told[1] - told[0] >= known[1] - known[0]:
            return
        bounds = merge(known, told, floor_ms)
        middle_ms = (bounds[0] + bounds[1]) // 2
        self.rtc_ns = middle_ms * 10**6
        self.mark = Mark(middle_ms // 1000, bounds[1] - middle_ms)

    def hint(self, unix_ms):
        """As drivers.clock takes it: only within the bounds."""
        bounds = self.bounds()
        if bounds is not None and bounds[0] <= unix_ms <= bounds[1]:
            step_ms = unix_ms - self.clock_ms
            self.rtc_ns += step_ms * 10**6
            self.mark = Mark(self.mark.set_s, self.mark.error_ms, self.mark.trim_ms + step_ms)

    def reset(self):
        if self.mark is not None:
            self.mark = decode_mark(self.mark.encode())

    def bounds(self):
        return None if self.mark is None else self.mark.bounds(self.clock_ms, self.drift_ppm)


@given(
    lists(tuples(ints(0, 4), ints(0, 400_000_000), ints(0, 300_000), ints(-600_000, 600_000)), 1, 40),
    ints(-999, 999),
    examples=300,
)
def test_the_truth_lies_within_the_error_whatever_happens(events, rate_ppm):
    world = World(rate_ppm, abs(rate_ppm) + 1)
    floor_ms = 0
    for kind, pass_ms, age_ms, lie_ms in events:
        if kind == 0:
            world.pass_ms(pass_ms)
        elif kind == 1:
            world.state(age_ms, pass_ms % 300_001, floor_ms)
        elif kind == 2:
            world.hint(world.clock_ms + lie_ms)
        elif kind == 3:
            world.reset()
        else:
            world.hint(world.true_ns // 10**6 + lie_ms % 50)
        if world.mark is None:
            continue
        low, high = world.bounds()
        true_ms = world.true_ns // 10**6
        assert low - 1 <= true_ms <= high + 1
        error_ms = world.mark.bound_ms(world.clock_ms, world.drift_ppm) + abs(world.mark.trim_ms)
        assert world.clock_ms - error_ms - 1 <= true_ms <= world.clock_ms + error_ms + 1
        assert low >= floor_ms, "what it was at least never falls"
        floor_ms = max(floor_ms, low // 1000 * 1000)
        assert world.clock_ms >= floor_ms


@given(lists(ints(-(10**6), 10**6), 1, 40))
def test_no_order_of_lies_widens_the_bounds(lies):
    world = World(0, 100)
    world.state(0, 0, 0)
    for lie_ms in lies:
        world.pass_ms(3_600_000)
        width_ms = world.bounds()[1] - world.bounds()[0]
        world.hint(world.clock_ms + lie_ms)
        low, high = world.bounds()
        assert high - low == width_ms and low <= world.clock_ms <= high
