"""The clock: the epoch in one place, trust only with the mark, never below the floor, no jump unseen."""

import binascii
import struct
import time

from support import blobs, given, ints, lists, raises
from support.chip_time import EPOCH_2000_S, ChipTime, Cut, Settings, restore
from vitrine.access.trusted_time import COASTING, TRUSTED, UNTRUSTED
from vitrine.drivers import clock as driver

NOW_S = 1_790_000_000
FLOOR_S = 1_789_000_000
UNKNOWN_S = 2**32 - 1


def on_chip(test):
    def run():
        try:
            test()
        finally:
            restore()

    return run


def trusted_chip(error_ms=1000, **options):
    chip = ChipTime(NOW_S, **options)
    chip.clock().set_trusted(NOW_S * 1000, error_ms)
    return chip


@on_chip
def test_untrusted_until_it_is_set():
    for epoch_s in (0, EPOCH_2000_S):
        chip = ChipTime(NOW_S, epoch_s=epoch_s)
        clock = chip.clock(floor_s=FLOOR_S)
        assert clock.reading() == (FLOOR_S, UNTRUSTED) and clock.cause == "lost"
        assert clock.instant() == (FLOOR_S, UNTRUSTED, UNKNOWN_S) and clock.bounds() is None
        # an RTC that somebody set, who did not have our trust
        chip.set_rtc(NOW_S)
        assert chip.clock(floor_s=FLOOR_S).reading() == (NOW_S, UNTRUSTED)


@on_chip
def test_set_and_kept_over_a_reset_but_not_over_a_power_cut():
    for epoch_s in (0, EPOCH_2000_S):
        chip = ChipTime(NOW_S, epoch_s=epoch_s)
        chip.clock(floor_s=FLOOR_S).set_trusted(NOW_S * 1000 + 250, 1000)
        assert chip.clock(floor_s=FLOOR_S).reading() == (NOW_S, TRUSTED)
        assert chip.time_ns() % 1_000_000_000 == 250_000_000
        chip.pass_ms(3_600_000)
        chip.reset()
        clock = chip.clock(floor_s=FLOOR_S)
        assert clock.reading() == (NOW_S + 3600, TRUSTED) and clock.cause == ""
        chip.power_cut()
        clock = chip.clock(floor_s=FLOOR_S)
        assert clock.reading() == (FLOOR_S, UNTRUSTED) and clock.cause == "lost"


@on_chip
def test_the_error_grows_until_it_coasts_and_then_drifts_out():
    chip = trusted_chip()
    clock = chip.clock(Settings(drift_ppm=100, max_error_s=30, coast_after_s=86_400))
    assert clock.instant() == (NOW_S, TRUSTED, 1)
    chip.pass_ms(86_400_000)
    assert clock.instant() == (NOW_S + 86_400, TRUSTED, 10)
    chip.pass_ms(1)
    assert clock.reading()[1] == COASTING
    for _ in range(2):
        chip.pass_ms(86_400_000)
        assert clock.reading()[1] == COASTING
    chip.pass_ms(2 * 86_400_000)
    assert clock.instant() == (NOW_S + 5 * 86_400, UNTRUSTED, UNKNOWN_S) and clock.cause == "drifted"
    assert chip.clock(Settings(max_error_s=30)).reading()[1] == UNTRUSTED, "a reset mends nothing"
    clock.settings = Settings(max_error_s=60)
    assert clock.instant()[1:] == (COASTING, 45) and clock.cause == ""


@on_chip
def test_nobody_sets_it_below_the_floor():
    chip = ChipTime(NOW_S)
    clock = chip.clock(floor_s=FLOOR_S)
    with raises(ValueError):
        clock.set_trusted(FLOOR_S * 1000 - 1, 0)
    clock.set_trusted(FLOOR_S * 1000, 0)
    clock.set_trusted(NOW_S * 1000, 2000)
    with raises(ValueError):
        clock.set_trusted((NOW_S - 4) * 1000, 0)
    clock.set_trusted((NOW_S - 2) * 1000, 0)
    clock.raise_floor(NOW_S + 1)
    clock.raise_floor(NOW_S)
    with raises(ValueError):
        clock.set_trusted(NOW_S * 1000, 0)


@on_chip
def test_a_clock_below_the_floor_stays_untrusted():
    """The RTC goes on; that it passes the floor an hour later makes it no better."""
    chip = trusted_chip()
    clock = chip.clock(floor_s=NOW_S + 100)
    assert clock.reading() == (NOW_S + 100, UNTRUSTED) and clock.cause == "back"
    chip.pass_ms(3_600_000)
    assert clock.reading() == (NOW_S + 3600, UNTRUSTED)
    clock = chip.clock()
    assert clock.reading() == (NOW_S + 3600, UNTRUSTED) and clock.cause == "", "no news for the next start"


@on_chip
def test_turned_back_while_it_was_off():
    """Before the moment that it was set, so the mark alone gives it away."""
    chip = trusted_chip(error_ms=60_000)
    chip.set_rtc(NOW_S - 1)
    clock = chip.clock()
    assert clock.reading()[1] == UNTRUSTED and clock.cause == "back"


@on_chip
def test_a_jump_is_seen_at_the_next_look_and_for_good():
    for jump_ms in (2_101, -2_101, 86_400_000, -86_400_000, 10**12):
        chip = trusted_chip()
        clock = chip.clock()
        clock.reading()
        chip.pass_ms(100_000)
        chip.rtc_ns += jump_ms * 1_000_000
        assert clock.instant()[1:] == (UNTRUSTED, UNKNOWN_S) and clock.cause == "jump"
        chip.rtc_ns -= jump_ms * 1_000_000
        chip.pass_ms(1000)
        assert clock.reading()[1] == UNTRUSTED
        chip.reset()
        assert chip.clock().reading()[1] == UNTRUSTED
        clock.set_trusted(chip.true_ms, 1000)
        assert clock.reading() == (NOW_S + 101, TRUSTED)


@on_chip
def test_a_jump_is_one_on_a_clock_that_was_set_long_ago():
    chip = trusted_chip()
    clock = chip.clock()
    for _ in range(3600):
        clock.reading()
        chip.pass_ms(10_000)
    chip.rtc_ns += 2_015_000_000
    assert clock.reading()[1] == UNTRUSTED and clock.cause == "jump"


@on_chip
def test_what_is_no_jump():
    chip = trusted_chip()
    clock = chip.clock()
    clock.reading()
    chip.rtc_ns += 2_000_000_000
    assert clock.reading()[1] == TRUSTED
    chip.pass_ms(2_000_000)  # 1,000 ppm of it are forgiven
    assert clock.reading()[1] == TRUSTED
    chip.rtc_ns += 2_000_000_000
    assert clock.reading()[1] == TRUSTED
    chip.rtc_ns += 1_000_000
    assert clock.reading()[1] == UNTRUSTED


@on_chip
def test_small_steps_add_up_to_a_jump():
    chip = trusted_chip()
    clock = chip.clock()
    clock.reading()
    seen = []
    for _ in range(10):
        chip.pass_ms(1000)
        chip.rtc_ns += 500_000_000
        seen.append(clock.reading()[1])
    assert seen == [TRUSTED] * 4 + [UNTRUSTED] * 6


@on_chip
def test_the_ticks_wrap_every_12_days():
    chip = trusted_chip(ticks=0)
    clock = chip.clock(Settings(max_error_s=86_400, coast_after_s=604_800))
    for hour in range(24 * 40):
        chip.pass_ms(3_600_000)
        assert clock.reading()[1] != UNTRUSTED, hour
    chip.rtc_ns += 4_000_000_000_000
    assert clock.reading()[1] == UNTRUSTED


@on_chip
def test_trim_moves_it_within_its_bounds_only():
    chip = trusted_chip(error_ms=5_000)
    clock = chip.clock(floor_s=NOW_S - 4)
    for wrong_ms in (5_001, -5_001, 10**15, -(10**15), 499, -499, 0, -4_001):
        assert not clock.trim(NOW_S * 1000 + wrong_ms), wrong_ms
    assert chip.rtc.data and clock.instant() == (NOW_S, TRUSTED, 5)
    bounds = clock.bounds()
    assert clock.trim(NOW_S * 1000 + 4_500)
    assert clock.instant() == (NOW_S + 4, TRUSTED, 10), "told + error still reaches as far as the truth may lie"
    assert clock.bounds() == bounds
    assert clock.trim(NOW_S * 1000 - 4_000)
    assert clock.instant() == (NOW_S - 4, TRUSTED, 9) and clock.bounds() == bounds
    assert not clock.trim(NOW_S * 1000 - 4_500), "the floor"
    assert chip.clock(floor_s=NOW_S - 4).bounds() == bounds, "a reset forgets nothing of it"


@on_chip
def test_an_untrusted_clock_is_not_trimmed():
    chip = ChipTime(NOW_S)
    chip.set_rtc(NOW_S)
    clock = chip.clock()
    assert not clock.trim(NOW_S * 1000 + 1_000)
    assert clock.reading() == (NOW_S, UNTRUSTED) and chip.rtc.writes == 0


@on_chip
def test_a_reset_while_setting_leaves_it_untrusted():
    for change in (
        lambda clock: clock.set_trusted((NOW_S + 9) * 1000, 0),
        lambda clock: clock.trim(NOW_S * 1000 + 900),
    ):
        for writes in range(4):
            chip = trusted_chip()
            before = chip.rtc.data
            clock = chip.clock()
            chip.rtc.cut_at = chip.rtc.writes + writes
            try:
                change(clock)
                assert writes == 3
            except Cut:
                assert writes < 3
            chip.rtc.cut_at = None
            state = chip.clock().reading()[1]
            assert state == (TRUSTED if writes in (0, 3) else UNTRUSTED)
            assert (chip.rtc.data == before) == (writes == 0)


@on_chip
def test_the_mark_is_as_specified():
    """SPEC.md section 5.1, written by hand."""
    chip = ChipTime(NOW_S)
    mark = b"VTR2" + struct.pack(">QIi", NOW_S - 60, 1500, -400)
    chip.rtc.data = mark + struct.pack(">I", binascii.crc32(mark))
    chip.set_rtc(NOW_S)
    clock = chip.clock(Settings(drift_ppm=100))
    assert clock.instant() == (NOW_S, TRUSTED, 2)
    error_ms = 1500 + 7  # 60.4 s since
    assert clock.bounds() == (NOW_S * 1000 + 400 - error_ms, NOW_S * 1000 + 400 + error_ms)
    assert clock.floor_s <= NOW_S - 62


@on_chip
def test_a_mark_from_outside_counts_at_once():
    """A technician on the wire sets the clock of a lock that runs."""
    chip = ChipTime(NOW_S)
    clock = chip.clock()
    assert clock.reading()[1] == UNTRUSTED
    other = trusted_chip()
    chip.set_rtc(NOW_S)
    chip.rtc.data = other.rtc.data
    assert clock.reading() == (NOW_S, TRUSTED) and clock.cause == ""


@on_chip
def test_one_flipped_bit_is_no_mark():
    chip = trusted_chip()
    mark = chip.rtc.data
    for i in range(8 * len(mark)):
        bent = bytearray(mark)
        bent[i // 8] ^= 1 << (i % 8)
        chip.rtc.data = bytes(bent)
        assert chip.clock(floor_s=FLOOR_S).reading() == (NOW_S, UNTRUSTED)


@given(blobs(0, 40))
def test_no_memory_is_a_mark_by_chance(memory):
    chip = ChipTime(NOW_S)
    chip.rtc.data = memory
    try:
        assert chip.clock().reading()[1] == UNTRUSTED
    finally:
        restore()


@given(lists(ints(-400, 400_000_000), 1, 30), ints(-100, 100))
def test_the_time_told_never_goes_back_by_itself(steps, drift_ppm):
    chip = ChipTime(NOW_S, drift_ppm)
    try:
        clock = chip.clock(Settings(max_error_s=86_400), floor_s=FLOOR_S)
        told = []
        for step in steps:
            if step < 0:
                chip.reset()
                clock = chip.clock(Settings(max_error_s=86_400), floor_s=FLOOR_S)
            else:
                chip.pass_ms(step)
            told.append(clock.reading()[0])
            if step % 7 == 0 and not chip.rtc.data:
                clock.set_trusted(chip.true_ms, 1000)
        assert told == sorted(told) and told[0] >= FLOOR_S
    finally:
        restore()


def test_the_epoch_is_the_interpreters_own():
    assert driver._EPOCH_S == 0  # the unix port counts from 1970
    unix_s, state = driver.Clock(ChipTime(0).rtc, 0, Settings()).reading()
    assert abs(unix_s - time.time()) <= 1 and state == UNTRUSTED
