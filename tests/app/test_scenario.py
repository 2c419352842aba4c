"""Scenario: what signed commands make of it, and what the door is told when. In virtual time."""

import asyncio

from support import raises
from support.virtual_time import VirtualTime
from vitrine.access import reasons
from vitrine.access.schedule import Zone
from vitrine.app import configuration
from vitrine.app.configuration import Configuration
from vitrine.app.scenario import Scenario, empty
from vitrine.codec import cbor

UNTRUSTED, TRUSTED, COASTING = 0, 1, 2
MONDAY_S = 1_782_086_400  # 00:00 UTC
NINE_S = MONDAY_S + 9 * 3600
SHOP = [[62, 540, 1140]]  # Monday to Friday, 9 to 19
BEGIN, END, DOWN = "begin", "end", "down"


class Store:
    def __init__(self, blob=None):
        self.blob = empty() if blob is None else blob
        self.fails = False

    def load(self):
        return self.blob

    def save(self, data):
        if self.fails:
            raise OSError
        self.blob = data


class Provision:
    door = {}
    zone = Zone("UTC0")


class Broken(Exception):
    pass


class Lab:
    """A door that notes what it is told and when, a clock that the test sets, and a lock's scenario."""

    def __init__(self, blob=None, unix_s=NINE_S - 10, time_state=TRUSTED):
        self.time = VirtualTime()
        self.start_ms = self.time.now_ms
        self.offset_s = unix_s
        self.time_state = time_state
        self.told = []
        self.fails_at = None
        self.votes = 0
        self.is_sound = True  # as evidence
        self.store = Store(blob)
        self.configuration = Configuration(Store(configuration.empty()), Provision())
        self.scenario = Scenario(self.store)
        self.scenario.attach(self, self, self.configuration, self)
        self.sequence = 0

    def elapsed_ms(self):
        return self.time.now_ms - self.start_ms

    def instant(self):
        return self.offset_s + self.elapsed_ms() // 1000, self.time_state, 0

    def _note(self, what):
        self.told.append((self.elapsed_ms(), what))
        if self.fails_at == what:
            raise Broken

    def begin_passage(self):
        self._note(BEGIN)

    def end_passage(self):
        self._note(END)

    def lock_down(self):
        self._note(DOWN)

    def vote(self):
        self.votes += 1

    def apply(self, body):
        self.sequence += 1
        return self.scenario.apply(body, self.sequence)

    def run(self, *steps):
        """Run the task while `steps` happen: milliseconds to let pass, or functions."""

        async def main():
            task = asyncio.create_task(self.scenario.run(self.vote))
            try:
                for step in steps:
                    if callable(step):
                        step()
                    else:
                        await asyncio.sleep_ms(step)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        self.time.run(main())

    def names(self):
        return [name for _, name in self.told]


def test_as_provisioned():
    assert cbor.decode(empty(), 32) == {1: 0, 2: False, 3: False, 4: [], 5: []}
    lab = Lab()
    scenario = lab.scenario
    assert (scenario.is_sound, scenario.is_lockdown, scenario.is_shadow, scenario.name) == (
        True,
        False,
        False,
        "normal",
    )
    lab.run(100_000)
    assert lab.told == []


def test_a_command_changes_what_it_names_and_leaves_the_rest():
    lab = Lab()
    passage = [[NINE_S, NINE_S + 60]]
    assert lab.apply({4: SHOP, 5: passage}) == reasons.GRANTED
    assert lab.apply({2: True}) == reasons.GRANTED
    assert lab.apply({3: True}) == reasons.GRANTED
    assert cbor.decode(lab.store.blob, 640) == {1: 3, 2: True, 3: True, 4: SHOP, 5: passage}
    again = Scenario(lab.store)  # a reset forgets none of it
    assert again.is_sound and again.is_lockdown and again.is_shadow and again.sequence == 3
    assert lab.apply({2: False, 3: False, 4: [], 5: []}) == reasons.GRANTED
    assert not lab.scenario.is_lockdown and not lab.scenario.is_shadow


BAD = (
    None,
    [],
    True,
    "lockdown",
    {},
    {1: 9},
    {1: 9, 2: True},
    {6: True},
    {2: True, 6: True},
    {"2": True},
    {2: 1},
    {2: 0},
    {2: None},
    {2: True, 3: 0},
    {3: "yes"},
    {4: None},
    {4: {}},
    {4: [[0, 0, 1]]},
    {4: [[256, 0, 1]]},
    {4: [[1, 0, 1441]]},
    {4: [[1, 0]]},
    {4: [[1, 0, False]]},
    {4: SHOP * 17},
    {5: None},
    {5: [1, 2]},
    {5: [[1]]},
    {5: [[1, 2, 3]]},
    {5: [[-1, 2]]},
    {5: [[1, 2**32]]},
    {5: [[1, 0]]},
    {5: [[True, 2]]},
    {5: [[1, 2]] * 9},
)


def test_bad_bodies_and_roll_back_change_nothing():
    lab = Lab()
    assert lab.scenario.apply({2: True, 4: SHOP}, 5) == reasons.GRANTED
    blob = lab.store.blob
    for bad in BAD:
        assert lab.scenario.apply(bad, 6) == reasons.COMMAND_MALFORMED, bad
        assert lab.store.blob == blob and lab.scenario.sequence == 5 and lab.scenario.is_lockdown
    for sequence in (5, 4, 0, -1, 2**32):
        assert lab.scenario.apply({2: False}, sequence) == reasons.SEQUENCE_STALE
        assert lab.store.blob == blob and lab.scenario.is_lockdown
    lab.store.fails = True
    assert lab.scenario.apply({2: False}, 6) == reasons.FAULT
    assert lab.scenario.is_lockdown and lab.scenario.sequence == 5 and Scenario(lab.store).is_lockdown
    lab.store.fails = False
    assert lab.scenario.apply({4: [[255, 0, 1440]] * 16, 5: [[1, 2**32 - 1]] * 8}, 2**32 - 1) == reasons.GRANTED
    assert Scenario(lab.store).is_sound


def test_what_is_not_known_is_a_lockdown():
    for blob in (b"", b"\xff", empty()[:-1], empty() + b"\x00", cbor.encode({1: 3, 2: False, 3: False, 4: [], 5: 0})):
        lab = Lab(blob)
        assert lab.scenario.is_sound is False and lab.scenario.is_lockdown is True and lab.scenario.name == "lockdown"
        assert not lab.scenario.is_passage((NINE_S, TRUSTED, 0), lab.configuration.calendar)
        # a command that does not speak of it does not end it
        assert lab.scenario.apply({4: SHOP}, 9) == reasons.GRANTED
        assert lab.scenario.is_sound and lab.scenario.is_lockdown
        assert lab.scenario.apply({2: False}, 10) == reasons.GRANTED
        assert not Scenario(lab.store).is_lockdown


def test_passage_needs_a_clock_and_a_window():
    lab = Lab()
    calendar = lab.configuration.calendar
    assert lab.apply({4: SHOP, 5: [[MONDAY_S, MONDAY_S + 60]]}) == reasons.GRANTED
    for unix_s, expected in (
        (MONDAY_S - 1, False),
        (MONDAY_S, True),
        (MONDAY_S + 59, True),
        (MONDAY_S + 60, False),
        (NINE_S - 1, False),
        (NINE_S, True),
        (NINE_S + 36000 - 1, True),
        (NINE_S + 36000, False),
    ):
        for time_state in (UNTRUSTED, TRUSTED, COASTING):
            expected_now = expected and time_state != UNTRUSTED
            assert lab.scenario.is_passage((unix_s, time_state, 0), calendar) is expected_now
    for time_state in (-1, 3, None):
        assert not lab.scenario.is_passage((NINE_S, time_state, 0), calendar)
    assert lab.apply({2: True}) == reasons.GRANTED
    assert not lab.scenario.is_passage((NINE_S, TRUSTED, 0), calendar)


def test_windows_are_followed_to_the_second():
    lab = Lab()
    assert lab.apply({4: SHOP}) == reasons.GRANTED
    lab.run(36_020_000)
    (begun_ms, begun), (ended_ms, ended) = lab.told
    assert (begun, ended) == (BEGIN, END)
    assert 0 <= begun_ms - 10_000 <= 1000 and 0 <= ended_ms - 36_010_000 <= 1000
    assert lab.votes >= 36_000


def test_a_command_holds_at_once():
    lab = Lab(unix_s=NINE_S)
    names = []
    lab.run(
        500,
        lambda: lab.apply({4: SHOP}),
        1,
        lambda: names.append(lab.scenario.name),
        99,
        lambda: lab.apply({2: True}),
        1,
        lambda: names.append(lab.scenario.name),
        99,
        lambda: lab.apply({2: False}),
        1,
        lambda: names.append(lab.scenario.name),
        99,
        lambda: lab.apply({4: []}),
        1,
        lambda: names.append(lab.scenario.name),
        98,
    )
    assert lab.names() == [BEGIN, DOWN, END, BEGIN, END]
    assert names == ["passage", "lockdown", "passage", "normal"]
    late_ms = [lab.told[i][0] - expected_ms for i, expected_ms in enumerate((500, 600, 600, 700, 800))]
    assert min(late_ms) >= 0 and max(late_ms) <= 1


def test_a_lockdown_survives_a_reset_and_comes_before_the_windows():
    lab = Lab(cbor.encode({1: 4, 2: True, 3: False, 4: SHOP, 5: []}), unix_s=NINE_S)
    lab.run(5000)
    assert lab.told == [(0, DOWN)] and lab.scenario.name == "lockdown"


def test_the_end_of_time_ends_the_passage_and_its_return_resumes_it():
    lab = Lab(unix_s=NINE_S, time_state=UNTRUSTED)
    lab.apply({4: SHOP})

    def set_state(state):
        def step():
            lab.time_state = state
            lab.scenario.wake()

        return step

    lab.run(5000, set_state(TRUSTED), 5000, set_state(COASTING), 5000, set_state(UNTRUSTED), 5000)
    assert lab.told == [(5000, BEGIN), (15000, END)]


def test_a_jump_of_the_clock_is_caught_up_with():
    lab = Lab(unix_s=NINE_S)
    lab.apply({4: SHOP})

    def jump(seconds):
        def step():
            lab.offset_s += seconds

        return step

    lab.run(4900, jump(86400 * 5), 5000, jump(86400 * 2), 5000)  # to Saturday, to Monday
    assert lab.names() == [BEGIN, END, BEGIN, END]
    (_, (ended_ms, _), (begun_ms, _), _) = lab.told
    assert 0 <= ended_ms - 4900 <= 1000 and 0 <= begun_ms - 9900 <= 1000


def test_without_its_configuration_a_lock_stands_open_for_nobody():
    # what was damaged may have said that today is a holiday, or where the lock is
    lab = Lab(unix_s=NINE_S)
    lab.apply({4: SHOP, 5: [[NINE_S, NINE_S + 60]]})
    lab.configuration = Configuration(Store(b"damaged"), Provision())
    lab.scenario.attach(lab, lab, lab.configuration, lab)
    body = {2: {}, 3: [], 4: None, 5: []}
    lab.run(4500, lambda: lab.configuration.apply(body, 1), 1000)
    assert lab.names()[0] == BEGIN and 0 <= lab.told[0][0] - 4500 <= 1


def test_a_new_configuration_moves_the_windows_at_once():
    lab = Lab(unix_s=NINE_S)
    lab.apply({4: SHOP})
    body = {2: {}, 3: [[MONDAY_S // 86400, 1]], 4: None, 5: []}
    lab.run(4500, lambda: lab.configuration.apply(body, 1), 4500)
    assert lab.names() == [BEGIN, END]
    assert 0 <= lab.told[1][0] - 4500 <= 1


def test_shadow_ends_a_passage_and_begins_it_anew():
    lab = Lab(unix_s=NINE_S)
    lab.apply({4: SHOP})
    names = []
    lab.run(
        1500,
        lambda: lab.apply({3: True}),
        1,
        lambda: names.append(lab.scenario.name),
        1000,
        lambda: lab.apply({3: False}),
        1,
        lambda: names.append(lab.scenario.name),
        10,
    )
    # the door asks is_shadow before it moves anything: the first end lets go, the begin after it moves nothing
    assert lab.names() == [BEGIN, END, BEGIN, END, BEGIN, END]
    assert names == ["shadow", "passage"]


def test_a_task_that_ends_leaves_no_passage_behind():
    lab = Lab(unix_s=NINE_S)
    lab.apply({4: SHOP})
    lab.run(2000)
    assert lab.names() == [BEGIN, END] and lab.scenario.name == "normal"
    lab.run(2000)  # and takes it up again
    assert lab.names() == [BEGIN, END, BEGIN, END]


def test_a_door_that_fails_is_told_again_after_the_restart():
    lab = Lab(unix_s=NINE_S)
    lab.apply({2: True})
    lab.fails_at = DOWN
    with raises(Broken):
        lab.time.run(lab.scenario.run(lab.vote))
    lab.fails_at = None
    lab.run(10)
    assert lab.names() == [DOWN, DOWN]
    lab = Lab(unix_s=NINE_S)
    lab.apply({4: SHOP})
    lab.fails_at = BEGIN
    with raises(Broken):
        lab.time.run(lab.scenario.run(lab.vote))
    assert lab.names() == [BEGIN, END]


def test_a_lock_that_can_prove_nothing_stands_open_for_nobody():
    lab = Lab(unix_s=NINE_S)
    lab.apply({4: SHOP})

    def fail():
        lab.is_sound = False

    lab.run(5000, fail, 10_000)
    assert lab.names() == [BEGIN, END] and 5000 <= lab.told[1][0] <= 6001
