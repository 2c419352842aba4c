"""The timekeeper: statements, hints, the floor, and each change on record once (SPEC.md 5.2)."""

import asyncio

from support import given, ints, lists, raises, tuples
from support.chip_time import ChipTime, Settings, restore
from support.virtual_time import VirtualTime
from vitrine.access import reasons
from vitrine.access.freshness import Freshness
from vitrine.access.trusted_time import COASTING, TRUSTED, UNTRUSTED
from vitrine.app.event_log import EventLog
from vitrine.app.timekeeper import Timekeeper
from vitrine.audit import record as r

NOW_S = 1_790_000_000
DAY_MS = 86_400_000


class FloorStore:
    """NVS integer `floor`; `saves` holds (true time in ms, value)."""

    def __init__(self, chip):
        self.chip = chip
        self.value = None
        self.saves = []
        self.error = None

    def load(self):
        if self.error:
            raise self.error
        return self.value

    def save(self, value):
        if self.error:
            raise self.error
        self.value = value
        self.saves.append((self.chip.true_ms, value))


class Lab:
    """A lock's time on a chip with its drift; `start()` is a start of the firmware."""

    def __init__(self, drift_ppm=0, settings=None, **options):
        self.chip = ChipTime(NOW_S, drift_ppm, **options)
        self.settings = settings or Settings()
        self.store = FloorStore(self.chip)
        self.records = []
        self.busy = False
        self.start()

    def start(self):
        self.clock = self.chip.clock(self.settings, floor_s=NOW_S - 1000)
        self.events = EventLog(self.clock)
        self.events.add_sink(self.keep)
        self.fresh = Freshness(lambda count: bytes(range(count)))
        self.keeper = Timekeeper(self.clock, self.fresh, self.store, self.events.record)

    def keep(self, record):
        r.encode(record)  # what the journal would refuse is a mistake
        self.records.append(record)

    def live(self, seconds, step_ms=250):
        """Let the task run."""

        async def main():
            task = asyncio.create_task(self.keeper.run(lambda: None, lambda: self.busy))
            for _ in range(seconds * 1000 // step_ms):
                await asyncio.sleep_ms(step_ms)
                self.chip.pass_ms(step_ms)
            await asyncio.sleep_ms(1)
            task.cancel()

        VirtualTime().run(main())

    def technician(self):
        self.clock.set_trusted(self.chip.true_ms, 1000)

    def state(self, age_ms=0, off_s=0, made_ms=0, fields=None):
        """Ask for a nonce, let a statement be made `made_ms` later, and bring it when the nonce is `age_ms` old."""
        nonce = self.fresh.issue(self.chip.ticks_ms())
        self.chip.pass_ms(made_ms)
        unix_s = self.chip.true_ms // 1000 + off_s
        self.chip.pass_ms(age_ms - made_ms)
        return self.bring(unix_s, nonce, fields)

    def bring(self, unix_s, nonce, fields=None):
        age_ms = self.fresh.age_ms(nonce, self.chip.ticks_ms())
        return self.keeper.take(unix_s, age_ms, fields)

    def details(self):
        """Return what the records told since the last call."""
        told = [record[r.DETAIL] for record in self.records]
        self.records.clear()
        return told

    def error_ms(self):
        return abs(self.clock._now()[0] - self.chip.true_ms)


def in_lab(test):
    def run():
        try:
            test()
        finally:
            restore()

    return run


@in_lab
def test_a_statement_makes_time():
    lab = Lab()
    lab.live(2)
    assert lab.details() == [] and lab.clock.reading() == (NOW_S - 1000, UNTRUSTED)
    assert lab.state(age_ms=4_000, made_ms=1_500, fields={r.KID: bytes(8), r.DETAIL: "time"}) == reasons.GRANTED
    record = lab.records[0]
    now_s = lab.chip.true_ms // 1000
    assert abs(lab.clock.reading()[0] - now_s) <= 2 and lab.clock.reading()[1] == TRUSTED
    assert record[r.KIND] == r.TIME_CHANGE and record[r.DETAIL] == "statement" and record[r.KID] == bytes(8)
    assert record[r.ERROR_BOUND] == 3 and record[r.SINCE] == NOW_S - 1000 and record[r.TIME_STATE] == TRUSTED
    lab.live(3)
    assert lab.details() == ["statement"], "once"
    assert lab.error_ms() <= 2_530


@in_lab
def test_only_a_better_statement_is_taken():
    lab = Lab()
    assert lab.state(age_ms=10_000) == reasons.GRANTED
    assert lab.state(age_ms=60_000, off_s=40) == reasons.SEQUENCE_STALE
    assert lab.state(age_ms=10_100) == reasons.SEQUENCE_STALE
    assert lab.details() == ["statement"] and lab.error_ms() <= 5_600
    assert lab.state(age_ms=1_000) == reasons.GRANTED
    assert lab.error_ms() <= 1_100
    lab.chip.pass_ms(DAY_MS)  # 8.64 s worse
    assert lab.state(age_ms=10_000) == reasons.GRANTED


@in_lab
def test_what_two_statements_say_together():
    """A worse clock, narrowed by what both say, is never wider than either."""
    lab = Lab()
    lab.state(age_ms=10_000)
    before = lab.clock.bounds()
    lab.state(age_ms=8_000, made_ms=8_000)
    low, high = lab.clock.bounds()
    assert high - low <= 9_100 and low >= before[0] and low <= lab.chip.true_ms <= high


@in_lab
def test_a_statement_that_contradicts_the_clock_stands():
    """Whoever may state the time may set it forward; back to the floor at most."""
    lab = Lab()
    lab.state(age_ms=10_000)
    assert lab.state(age_ms=2_000, off_s=100_000) == reasons.GRANTED
    assert abs(lab.clock.reading()[0] - lab.chip.true_ms // 1000 - 100_000) <= 2
    assert lab.state(age_ms=500, off_s=0) == reasons.TIME_UNTRUSTED


@in_lab
def test_nothing_below_the_floor():
    lab = Lab()
    assert lab.state(off_s=-1002) == reasons.TIME_UNTRUSTED
    assert lab.clock.reading() == (NOW_S - 1000, UNTRUSTED) and lab.details() == []
    assert lab.state(off_s=-1000) == reasons.GRANTED
    assert lab.clock.reading()[0] >= NOW_S - 1000


@in_lab
def test_a_nonce_is_good_for_one_statement_and_ends_the_older_ones():
    lab = Lab()
    old = lab.fresh.issue(lab.chip.ticks_ms())
    lab.chip.pass_ms(2_000)
    nonce = lab.fresh.issue(lab.chip.ticks_ms())
    assert lab.bring(NOW_S + 2, nonce) == reasons.GRANTED
    before = lab.clock.bounds()
    for _ in range(3):
        lab.chip.pass_ms(5)
        assert lab.bring(NOW_S + 2, nonce) == reasons.FRESHNESS_MISSING
        assert lab.bring(NOW_S + 2, old) == reasons.FRESHNESS_MISSING
    assert before[1] + 15 <= lab.clock.bounds()[1] <= before[1] + 17
    lab.chip.power_cut()
    lab.chip.pass_ms(60_000)
    lab.start()
    assert lab.state(age_ms=100) == reasons.GRANTED


@in_lab
def test_an_age_measured_somewhat_early_brings_no_nonce_back():
    lab = Lab()
    assert lab.keeper.take(NOW_S, 2_000) == reasons.GRANTED
    assert lab.keeper.take(NOW_S, 1_500) == reasons.FRESHNESS_MISSING
    assert lab.keeper.take(NOW_S + 2, 900) == reasons.GRANTED


@in_lab
def test_what_the_lock_does_meanwhile_counts_as_age():
    """A change of the clock is put on record first, and that can wait for the flash."""
    lab = Lab(settings=Settings(coast_after_s=60))
    lab.technician()
    lab.live(1)
    lab.chip.pass_ms(100_990)
    lab.events.add_sink(lambda record: lab.chip.pass_ms(400))
    lab.settings.drift_ppm = 1000  # the present time is worth little
    lab.chip.pass_ms(3_000_000)
    before_ms = lab.chip.true_ms
    assert lab.keeper.take(before_ms // 1000, 0) == reasons.GRANTED
    low, high = lab.clock.bounds()
    assert low <= lab.chip.true_ms <= high and lab.details()[-2:] == ["coasting", "statement"]


@in_lab
def test_what_was_used_is_forgotten_before_the_ticks_come_round():
    lab = Lab(ticks=1000)
    lab.state()
    for _ in range(14):
        lab.chip.pass_ms(DAY_MS)
        lab.live(1)
    assert lab.keeper._used_ms is None
    assert lab.state() == reasons.GRANTED


@in_lab
def test_what_is_no_time():
    lab = Lab()
    for wrong in (None, True, "1790000000", b"", -1, 2**32, 1.5, [NOW_S]):
        assert lab.keeper.take(wrong, 0) == reasons.COMMAND_MALFORMED
    assert lab.details() == [] and lab.chip.rtc.writes == 0


@in_lab
def test_the_latest_time_that_can_be_stated_leaves_room_for_records():
    lab = Lab()
    lab.chip.true_ms = 2**32 * 1000 - 1  # a clock of an issuer, all ones
    assert lab.state(age_ms=250_000) == lab.state() == reasons.COMMAND_MALFORMED
    lab.chip.true_ms = 4_000_000_000_000 - 250_000
    assert lab.state(age_ms=250_000) == reasons.GRANTED
    lab.live(300)
    lab.events.record(r.FAULT, {r.DETAIL: "later"})  # `keep` encodes it
    assert lab.clock.reading()[1] == TRUSTED and lab.records[-1][r.TIME] > 4_000_000_000


@in_lab
def test_it_coasts_drifts_and_comes_back():
    lab = Lab(settings=Settings(max_error_s=30, coast_after_s=3600))
    lab.technician()
    lab.live(1)
    lab.details()
    lab.chip.pass_ms(3_600_000)
    lab.live(3)
    assert [lab.records[0][key] for key in (r.DETAIL, r.TIME_STATE, r.ERROR_BOUND)] == ["coasting", COASTING, 2]
    assert abs(lab.records[0][r.SINCE] - lab.chip.true_ms // 1000) <= 4
    assert lab.details() == ["coasting"]
    for _ in range(4):
        lab.chip.pass_ms(DAY_MS)
        lab.live(2)
    assert lab.records[0][r.TIME_STATE] == UNTRUSTED and r.ERROR_BOUND not in lab.records[0]
    assert lab.details() == ["drifted"]
    lab.live(3)
    assert lab.state() == reasons.GRANTED
    lab.live(2)
    assert lab.details() == ["statement"]


@in_lab
def test_a_jump_is_on_record_once_with_the_time_before():
    for jump_s in (-86_400, -3, 3, 86_400):
        lab = Lab()
        lab.technician()
        lab.live(5)
        lab.details()
        lab.chip.rtc_ns += jump_s * 10**9
        lab.clock.reading()  # somebody asks before the task looks
        lab.live(5)
        record = lab.records[0]
        assert abs(record[r.SINCE] - lab.chip.true_ms // 1000) <= 6, "what it would have been"
        assert record[r.TIME_STATE] == UNTRUSTED and lab.details() == ["jump"]
        lab.chip.reset()
        lab.start()
        lab.live(2)
        assert lab.details() == [] and lab.clock.reading()[1] == UNTRUSTED, "the start before has told it"
        assert lab.state() == reasons.GRANTED


@in_lab
def test_a_task_that_hung_for_seconds_sees_no_jump():
    lab = Lab(drift_ppm=-90)
    lab.technician()
    lab.live(1)
    lab.details()
    for hang_ms in (7_000, 60_000, 3_600_000, 5 * DAY_MS):
        lab.chip.pass_ms(hang_ms)
        lab.live(2)
    assert lab.details() == ["coasting"]


@in_lab
def test_a_start_without_time():
    lab = Lab()
    lab.live(2)
    assert lab.details() == [], "a new lock has lost nothing"
    lab.technician()
    lab.live(2)
    assert lab.details() == ["set"]
    lab.chip.reset()
    lab.start()
    lab.live(2)
    assert lab.details() == []
    lab.chip.power_cut()
    floor_s = lab.store.value
    lab.start()
    assert lab.clock.reading() == (floor_s, UNTRUSTED), "before the task runs"
    lab.live(2)
    assert lab.records[0][r.SINCE] - floor_s <= 2 and lab.details() == ["lost"]
    lab.live(2)
    assert lab.details() == []
    lab.chip.power_cut()
    lab.start()
    assert lab.state() == reasons.GRANTED
    assert lab.details() == ["lost", "statement"], "in the order in which it came about"


@in_lab
def test_a_start_that_finds_the_clock_turned_back():
    lab = Lab()
    lab.technician()
    lab.live(10)
    lab.chip.pass_ms(600_000)
    lab.live(2)
    lab.details()
    lab.chip.rtc_ns -= 300 * 10**9
    lab.chip.reset()
    lab.start()
    lab.live(3)
    assert lab.details() == ["back"] and lab.clock.reading() == (lab.store.value, UNTRUSTED)
    lab.chip.pass_ms(900_000)
    lab.live(2)
    assert lab.clock.reading()[1] == UNTRUSTED and lab.details() == []


@in_lab
def test_the_floor_is_never_more_than_60_s_old():
    for busy in (False, True):
        lab = Lab(drift_ppm=50)
        lab.busy = busy
        lab.technician()
        for _ in range(600):
            lab.live(1)
            assert 0 <= lab.clock.reading()[0] - lab.store.value <= 60
            assert lab.store.value <= lab.chip.true_ms // 1000, "at least so late it is"
        gaps = [lab.store.saves[i + 1][0] - lab.store.saves[i][0] for i in range(len(lab.store.saves) - 1)]
        least_ms = 56_000 if busy else 48_000
        assert min(gaps) >= least_ms and max(gaps) <= least_ms + 2_500, gaps


@in_lab
def test_the_floor_is_written_when_they_are_gone():
    lab = Lab()
    lab.technician()
    lab.live(1)
    lab.busy = True
    lab.live(53)
    assert len(lab.store.saves) == 1
    lab.busy = False
    lab.live(2)
    assert len(lab.store.saves) == 2


@in_lab
def test_an_unsure_clock_does_not_wear_out_the_flash():
    lab = Lab()
    lab.clock.set_trusted(lab.chip.true_ms, 200_000)
    lab.live(300)
    assert len(lab.store.saves) <= 16
    assert max(value for _, value in lab.store.saves) <= NOW_S + 300 - 200


@in_lab
def test_no_floor_from_a_clock_that_is_not_trusted():
    lab = Lab()
    lab.chip.set_rtc(NOW_S + 10**8)
    lab.live(130)
    assert lab.store.saves == []
    lab.state()
    lab.live(70)
    saves = len(lab.store.saves)
    assert saves == 2
    lab.chip.rtc_ns += 10**8 * 10**9
    lab.live(130)
    assert len(lab.store.saves) == saves
    lab.chip.set_rtc(NOW_S)
    assert lab.state() == reasons.GRANTED, "the jump forward has locked nobody out"


@in_lab
def test_a_store_that_fails_is_told_once():
    lab = Lab()
    lab.technician()
    lab.store.error = OSError(-0x1105)
    lab.live(200)
    assert lab.details() == ["set", "floor:OSError"]
    lab.store.error = None
    lab.live(60)
    assert 0 <= lab.clock.reading()[0] - lab.store.value <= 60
    lab.store.error = OSError(-0x1105)
    lab.chip.reset()
    lab.start()
    lab.live(2)
    assert lab.details() == ["floor:OSError"] and lab.clock.reading()[1] == TRUSTED


@in_lab
def test_a_hint_trims_and_no_more():
    lab = Lab(drift_ppm=60)
    lab.technician()
    lab.chip.pass_ms(DAY_MS)
    lab.live(2)
    lab.details()
    bounds = lab.clock.bounds()
    off_ms = lab.error_ms()
    assert off_ms > 5_000
    lab.keeper.hint(lab.chip.true_ms)
    assert lab.error_ms() <= 1 and lab.clock.bounds() == bounds
    assert lab.records[0][r.ERROR_BOUND] > 10 and lab.records[0][r.SINCE] - lab.chip.true_ms // 1000 in (5, 6)
    assert lab.details() == ["sntp"]
    lab.keeper.hint(lab.chip.true_ms)
    lab.keeper.hint(lab.chip.true_ms + 30_000)
    lab.keeper.hint(lab.chip.true_ms - 10**15)
    lab.live(2)
    assert lab.details() == [] and lab.error_ms() <= 1


@in_lab
def test_a_hint_establishes_nothing():
    lab = Lab()
    lab.keeper.hint(lab.chip.true_ms)
    lab.live(2)
    assert lab.clock.reading() == (NOW_S - 1000, UNTRUSTED) and lab.details() == []


@in_lab
def test_the_task_votes_and_ends_old_nonces():
    lab = Lab()
    nonce = lab.fresh.issue(lab.chip.ticks_ms())
    votes = []

    async def main():
        task = asyncio.create_task(lab.keeper.run(lambda: votes.append(1), lambda: False))
        for _ in range(700):
            await asyncio.sleep_ms(1000)
            lab.chip.pass_ms(1000)
        task.cancel()
        with raises(asyncio.CancelledError):
            await task

    VirtualTime().run(main())
    assert len(votes) >= 700 and lab.fresh._keys == []
    assert lab.fresh.age_ms(nonce, lab.chip.ticks_ms()) is None


@given(
    lists(tuples(ints(0, 6), ints(0, 200_000_000), ints(0, 300_000), ints(-600, 600)), 1, 30),
    ints(-999, 999),
    examples=150,
)
def test_whatever_happens_the_truth_lies_within_the_error(events, drift_ppm):
    """Statements early and late, lies by SNTP, resets, power cuts, jumps: told is never wrong by more than it says."""
    lab = Lab(drift_ppm, Settings(drift_ppm=abs(drift_ppm) + 1))
    stored_s = 0
    try:
        for kind, pass_ms, age_ms, off_s in events:
            records = len(lab.records)
            state = lab.clock.reading()[1]
            if kind == 0:
                lab.chip.pass_ms(pass_ms)
            elif kind == 1:
                lab.state(age_ms=age_ms, made_ms=min(age_ms, pass_ms % 300_001))
            elif kind == 2:
                lab.keeper.hint(lab.clock.reading()[0] * 1000 + off_s * 100)
            elif kind == 3:
                lab.chip.reset()
                lab.start()
            elif kind == 4:
                lab.chip.power_cut()
                lab.chip.pass_ms(pass_ms)
                lab.start()
            elif kind == 5:
                lab.chip.rtc_ns += (off_s + (7 if off_s >= 0 else -7)) * 10**9
            else:
                lab.live(2)
            now_s, now_state, error_s = lab.clock.instant()
            true_s = lab.chip.true_ms / 1000
            if now_state != UNTRUSTED:
                assert now_s - error_s - 0.002 <= true_s <= now_s + 1 + error_s + 0.002, (kind, now_s, error_s, true_s)
            assert now_s >= lab.clock.floor_s >= (lab.store.value or 0) >= stored_s
            stored_s = lab.store.value or 0
            if kind == 5:
                assert now_state == UNTRUSTED or state == UNTRUSTED or age_ms == 0, "a jump of 7 s"
            lab.live(1)
            assert len(lab.records) <= records + 2
    finally:
        restore()
