"""The strike on three chips: what the coil gets, and what it still gets when the firmware is gone."""

import fake_chip

fake_chip.install()

from fake_chip import Chip, Pin  # noqa: E402

from support import choices, given, ints, lists, raises, tuples  # noqa: E402
from vitrine.drivers.strike import MAX_ON_MS, Strike, StrikeError  # noqa: E402

NUMBER = 26
CHIPS = {"ESP32": (64, 8, False), "S3": (48, 4, True), "C3": (48, 2, True)}


def new(chip="ESP32", pull_ms=150, duty=40):
    chip = Chip(*CHIPS[chip])
    return chip, Strike(Pin(NUMBER), pull_ms, duty, chip.ticks_ms)


def pass_time(chip, strike, ms, is_hung=False):
    """Let `ms` pass in steps of 1 ms, as a loop that serves the strike or as one that hangs; return the power curve."""
    curve = []
    for _ in range(ms):
        chip.ms += 1
        if not is_hung:
            deadline = strike.deadline_ms
            if deadline is not None and (chip.ticks_ms() - deadline) & (2**30 - 1) < 2**29:
                strike.service()
        curve.append(chip.power(NUMBER))
    return curve


def test_off_from_the_start():
    chip, strike = new()
    assert chip.driver[NUMBER] == 0 and chip.power(NUMBER) == 0
    assert not strike.is_energised and strike.deadline_ms is None
    assert chip.used == 0


def test_a_strike_that_somebody_else_drives_is_told():
    chip, strike = new()
    assert not strike.is_astray
    strike.energise(2000)
    pass_time(chip, strike, 100)
    assert strike.is_energised and not strike.is_astray
    pass_time(chip, strike, 2000)
    assert not strike.is_astray
    chip.driver[NUMBER] = 1
    assert strike.is_astray
    strike.release()
    assert not strike.is_astray and chip.power(NUMBER) == 0


def test_peak_then_hold_then_off():
    for name in CHIPS:
        chip, strike = new(name)
        strike.energise(5000)
        assert chip.power(NUMBER) == 100 and strike.is_energised
        curve = pass_time(chip, strike, 5200)
        assert curve[:149] == [100] * 149
        assert curve[150:4999] == [40] * 4849
        assert curve[4999:] == [0] * 201
        assert not strike.is_energised


def test_full_duty_needs_no_carrier():
    chip, strike = new(duty=100)
    strike.energise(500)
    assert pass_time(chip, strike, 600) == [100] * 499 + [0] * 101


def test_release_is_at_once_and_stays():
    for name in CHIPS:
        for after_ms in (0, 1, 100, 200, 3000):
            chip, strike = new(name)
            strike.energise(10000)
            pass_time(chip, strike, after_ms)
            strike.release()
            assert chip.power(NUMBER) == 0 and not strike.is_energised and strike.deadline_ms is None
            assert pass_time(chip, strike, 11000) == [0] * 11000
            strike.release()
            assert chip.used == 0, "a finished channel is given back"
            assert chip.driver[NUMBER] == 0, "and the output is driven low, not left floating"


def test_a_hung_firmware_lets_go_within_three_seconds():
    for name in CHIPS:
        for pull_ms in (20, 150, 1000):
            for after_ms in (0, pull_ms - 1, pull_ms + 5, 1999, 2001, 6000, 9000):
                chip, strike = new(name, pull_ms)
                strike.energise(MAX_ON_MS)
                pass_time(chip, strike, after_ms)
                curve = pass_time(chip, strike, 11000, is_hung=True)
                assert not any(curve[min(3000, MAX_ON_MS - after_ms) :])


def test_a_loop_that_is_busy_for_a_second_drops_nothing():
    for name in CHIPS:
        chip, strike = new(name)
        strike.energise(MAX_ON_MS)
        curve = []
        while len(curve) < 9990:
            curve += pass_time(chip, strike, 1)
            if strike.deadline_ms is not None and strike.deadline_ms == chip.ticks_ms() + 1:
                curve += pass_time(chip, strike, 990, is_hung=True)
        assert all(curve[:9990])
        assert not any(pass_time(chip, strike, 1000)[20:])


def test_every_length():
    """The fake refuses a train that does not fit into the memory of a channel."""
    for pull_ms, duty in ((20, 10), (1000, 99), (150, 100)):
        for on_ms in (1, 2, 19, 20, 21, 499, 1151, 2999, 3000, 3001, 9850, 9999, MAX_ON_MS):
            chip, strike = new("C3", pull_ms, duty)
            strike.energise(on_ms)
            curve = pass_time(chip, strike, on_ms + 20)
            on = sum(1 for power in curve if power)
            assert on_ms - 2 <= on < on_ms + 1, (on_ms, on)
            assert not any(curve[on_ms:])


def test_energise_again_extends():
    for name in CHIPS:
        chip, strike = new(name)
        strike.energise(5000)
        pass_time(chip, strike, 4000)
        strike.energise(5000)
        curve = pass_time(chip, strike, 5100)
        assert curve[:149] == [100] * 149 and all(curve[:4998]) and not any(curve[5000:])


def test_unlock_open_close_unlock():
    """The second unlock comes while the train of the first still runs unseen: it must not block, crash or fail."""
    for name in CHIPS:
        chip, strike = new(name)
        for _ in range(3):
            strike.energise(5000)
            pass_time(chip, strike, 1300)
            strike.release()
            pass_time(chip, strike, 400)
        strike.energise(500)
        assert all(pass_time(chip, strike, 498))


def test_asking_again_and_again_keeps_full_power_rare():
    """A holder who sends one unlock after another must not burn the coil, nor run out of channels."""
    for name in CHIPS:
        for every_ms in (1, 40, 149, 151, 700, 1001):
            chip, strike = new(name)
            curve = []
            while len(curve) < 20000:
                strike.energise(5000)
                curve += pass_time(chip, strike, every_ms)
            full = sum(1 for power in curve if power == 100)
            assert all(curve) and full <= len(curve) / 4, (name, every_ms, full)
            assert not any(pass_time(chip, strike, 6000)[5000:])


def test_a_later_try_pulls_again():
    """The bolt was jammed by somebody leaning on the door: the next unlock must pull with full power."""
    chip, strike = new()
    strike.energise(5000)
    pass_time(chip, strike, 1500)
    strike.energise(5000)
    assert pass_time(chip, strike, 149) == [100] * 149


def test_a_shorter_time_takes_the_place_of_a_longer():
    for name in CHIPS:
        for after_ms in (50, 500, 2500):
            chip, strike = new(name)
            strike.energise(10000)
            pass_time(chip, strike, after_ms)
            strike.energise(700)
            curve = pass_time(chip, strike, 11000)
            assert all(curve[:698]) and not any(curve[700:])


def test_more_trains_than_a_chip_has_channels():
    """Unlock and open, faster than any person: refused before it would crash the chip, and over within seconds."""
    chip, strike = new("ESP32")
    refused = 0
    for _ in range(40):
        try:
            strike.energise(10000)
            pass_time(chip, strike, 10)
        except StrikeError:
            refused += 1
            assert chip.power(NUMBER) == 0
        strike.release()
        pass_time(chip, strike, 10)
    assert refused
    pass_time(chip, strike, 3000)
    strike.energise(5000)
    assert chip.power(NUMBER) == 100 and chip.used == 1


def test_an_exit_button_and_a_door_that_flap():
    """Pressed, opened, shut and pressed again, for half a minute: each time the bolt is drawn at once."""
    for name in CHIPS:
        flapping = (150, 333, 50), (150, 333, 300), (150, 80, 40), (1000, 300, 290), (20, 80, 75)
        for pull_ms, every_ms, open_ms in flapping:
            chip, strike = new(name, pull_ms)
            for _ in range(30000 // every_ms):
                strike.energise(5000)
                assert all(pass_time(chip, strike, open_ms))
                strike.release()
                assert not any(pass_time(chip, strike, every_ms - open_ms))
            # and whoever hangs then lets go in time
            strike.energise(5000)
            assert not any(pass_time(chip, strike, 8000, is_hung=True)[3000:])
            # after that, everything is as before
            strike.energise(5000)
            assert all(pass_time(chip, strike, 200))
            curve = pass_time(chip, strike, 900, is_hung=True)
            assert all(curve) and strike.deadline_ms is not None


def test_out_of_bounds():
    for on_ms in (0, -1, MAX_ON_MS + 1, 2**31):
        chip, strike = new()
        strike.energise(5000)
        with raises(ValueError):
            strike.energise(on_ms)
        assert chip.power(NUMBER) == 0


def test_late_service_pulls_in_again():
    chip, strike = new()
    strike.energise(5000)
    curve = pass_time(chip, strike, 2000, is_hung=True)
    assert curve[1148] == 100 and curve[1150] == 0 and not strike.is_energised
    strike.service()
    assert chip.power(NUMBER) == 100, "the carrier alone would not pull the bolt in"
    curve = pass_time(chip, strike, 4000)
    assert curve[2900] == 40 and not any(curve[3000:])


def test_service_after_the_end_does_nothing():
    chip, strike = new()
    strike.energise(500)
    pass_time(chip, strike, 700, is_hung=True)
    strike.service()
    assert chip.power(NUMBER) == 0 and not any(pass_time(chip, strike, 1000))


def test_a_failing_channel_leaves_it_off():
    write_pulses, wait_done = fake_chip.RMT.write_pulses, fake_chip.RMT.wait_done

    def start_and_fail(self, duration, data):
        write_pulses(self, duration, data)
        raise OSError(-1)

    def fail(self):
        raise OSError(-1)

    chip, strike = new()
    fake_chip.RMT.write_pulses = start_and_fail
    try:
        with raises(OSError):
            strike.energise(5000)
    finally:
        fake_chip.RMT.write_pulses = write_pulses
    assert chip.power(NUMBER) == 0 and not strike.is_energised
    chip, strike = new()
    strike.energise(5000)
    fake_chip.RMT.wait_done = fail
    try:
        with raises(OSError):
            strike.release()
    finally:
        fake_chip.RMT.wait_done = wait_done
    assert chip.power(NUMBER) == 0 and not strike.is_energised


def test_no_channel_at_all():
    chip, strike = new()
    chip.channels = 0
    with raises(OSError):
        strike.energise(5000)
    assert chip.power(NUMBER) == 0 and not strike.is_energised


@given(
    choices(("ESP32", "S3", "C3")),
    lists(tuples(choices(("energise", "release", "hang", "late")), ints(0, 6000), ints(1, MAX_ON_MS)), 1, 12),
    examples=60,
)
def test_any_use_ends_within_the_limit(name, steps):
    chip, strike = new(name)
    until_ms = chip.ms
    for what, wait_ms, on_ms in steps:
        if what == "energise":
            try:
                strike.energise(on_ms)
                until_ms = chip.ms + on_ms
            except StrikeError:
                pass
        elif what == "release":
            strike.release()
            until_ms = chip.ms
        elif what == "late":
            strike.service()
        for _ in range(20):
            chip.ms += wait_ms // 20
            if what != "hang":
                strike.service()
            assert chip.power(NUMBER) == 0 or chip.ms < until_ms
    chip.ms += MAX_ON_MS
    assert chip.power(NUMBER) == 0
    strike.release()
    assert chip.used == 0


def test_new_settings_hold_from_the_next_train_on():
    chip, strike = new()
    strike.energise(5000)
    strike.configure(50, 100)
    assert pass_time(chip, strike, 149) == [100] * 149
    strike.release()
    pass_time(chip, strike, 2000)
    strike.configure(50, 20)
    strike.energise(1000)
    curve = pass_time(chip, strike, 1100)
    assert curve[:49] == [100] * 49 and curve[50:999] == [20] * 949 and curve[999:] == [0] * 101


def test_passage_renews_for_hours_and_a_hang_still_lets_go():
    """As the door machine does it: 10 s, again when 5 s of them are left."""
    for name in CHIPS:
        for hung_after_ms in (0, 100, 1500, 2500, 4999):
            chip, strike = new(name)
            curve = []
            for _ in range(12):
                strike.energise(MAX_ON_MS)
                curve += pass_time(chip, strike, 5000)
            assert min(curve) == 40, "the bolt drops"
            assert curve.count(100) * 4 <= len(curve), "the coil burns"
            strike.energise(MAX_ON_MS)
            pass_time(chip, strike, hung_after_ms)
            assert pass_time(chip, strike, 3001, is_hung=True)[-1] == 0
