"""The controller: what opens the door, what never does, and what every fault ends in."""

import asyncio

from door_lab import Broken, FakeClock, Lab, Token, grant

from support import choices, given, lists, raises, tuples
from support import door_states as states
from vitrine.access import decision, reasons
from vitrine.app.controller import Controller, Unauthorised
from vitrine.audit.record import class_of
from vitrine.door import fsm
from vitrine.door.settings import Settings

LOCK, UNLOCK, HOLD, TEST = 0, 1, 128, 131
BLE = 1


def sleep(ms):
    return asyncio.sleep_ms(ms)


def test_at_power_up():
    lab = Lab()
    assert (lab.lock.lock_state, lab.lock.door_state) == (states.LOCK_LOCKED, states.DOOR_CLOSED)
    assert lab.strike.log == []
    (record,) = lab.records
    assert (record[1], record[10], record[17]) == (1, states.DOOR_CLOSED, states.LOCK_LOCKED)
    lab = Lab(door_closed=False)
    assert lab.lock.lock_state != states.LOCK_LOCKED and lab.lock.door_state == states.DOOR_OPEN
    assert lab.kinds() == [1]


def test_a_button_held_at_power_up_opens_nothing():
    lab = Lab(rex_pressed=True)

    async def scenario():
        await sleep(2000)
        assert lab.strike.log == []
        lab.inputs.set(rex_pressed=False)
        await sleep(100)
        lab.inputs.set(rex_pressed=True)
        await sleep(100)
        assert lab.strike.log == [5000]

    lab.run(scenario)


def test_a_strike_driven_by_somebody_else_is_off_within_200_ms_and_an_alarm():
    lab = Lab()

    async def scenario():
        await sleep(1000)
        for _ in range(2):
            lab.strike.is_astray = True
            await sleep(1000)  # FakeInputs wakes at the deadlines alone; the driver does within 140 ms
            assert not lab.strike.is_astray
            await sleep(1000)
        lab.strike.is_astray = True
        lab.lock.check_strike()
        assert not lab.strike.is_astray

    lab.run(scenario)
    alarms = [(record[11], record[14], record[15]) for record in lab.records if record[1] == 0]
    assert alarms == [(131, 1, "driven"), (131, 0, "driven")] * 2 + [(131, 1, "driven")]
    assert lab.strike.log == []


def test_a_strike_that_cannot_be_read_back_is_a_fault_and_off():
    lab = Lab()
    lab.lock.check_strike()
    lab.strike.is_astray = True
    lab.strike.fails_at = "release"
    lab.lock.check_strike()
    assert lab.kinds()[-1] == 129


def test_unlock_open_close_relock():
    lab = Lab()

    async def scenario():
        assert lab.lock.operate(UNLOCK, grant(), BLE) is True
        # synchronous: the strike has moved before anything else ran
        assert lab.strike.log == [5000] and lab.lock.lock_state == states.LOCK_UNLOCKED
        await sleep(1000)
        lab.inputs.set(door_closed=False)
        await sleep(1)
        assert not lab.strike.is_on and lab.lock.door_state == states.DOOR_OPEN
        await sleep(3000)
        lab.inputs.set(door_closed=True)
        await sleep(399)
        assert lab.lock.lock_state == states.NOT_FULLY_LOCKED
        await sleep(2)
        assert lab.lock.lock_state == states.LOCK_LOCKED

    lab.run(scenario)
    unlocked, opened, closed, relocked = lab.records[-4:]
    assert (unlocked[1], unlocked[4], unlocked[5], unlocked[6], unlocked[18]) == (2, reasons.GRANTED, UNLOCK, 7, BLE)
    assert (unlocked[7], unlocked[8], unlocked[13], unlocked[16]) == (Token.sub, Token.cti, Token.kid, True)
    assert 9 not in unlocked, "keys that do not apply are absent"
    assert (unlocked[10], unlocked[17]) == (states.DOOR_CLOSED, states.LOCK_UNLOCKED)
    assert (opened[1], opened[10], opened[6]) == (1, states.DOOR_OPEN, 1)
    assert (closed[1], closed[10]) == (1, states.DOOR_CLOSED)
    assert (relocked[1], relocked[5], relocked[6], relocked[17]) == (2, LOCK, 4, states.LOCK_LOCKED)
    assert 4 not in relocked and 7 not in relocked


def test_a_test_of_the_strike_is_an_unlock_of_half_a_second():
    lab = Lab()

    async def scenario():
        assert lab.lock.operate(TEST, grant(), 4) is True
        assert lab.strike.log == [500] and lab.lock.lock_state == states.LOCK_UNLOCKED
        await sleep(501)
        assert lab.strike.log == [500, "off"]
        await sleep(400)
        assert lab.lock.lock_state == states.LOCK_LOCKED
        assert lab.lock.operate(TEST, decision.denied(reasons.SCOPE_MISSING), 4) is False
        lab.is_shadow = True
        assert lab.lock.operate(TEST, grant(), 4) is True
        assert lab.strike.log == [500, "off"]

    lab.run(scenario)
    assert lab.operations() == [(UNLOCK, 7, False), (LOCK, 4, False), (UNLOCK, 7, True)]
    tested = [record for record in lab.records if record.get(15) == "test"]
    assert len(tested) == 2 and tested[0][18] == 4 and tested[0][13] == Token.kid and tested[0][4] == reasons.GRANTED
    assert class_of(tested[0]) == 0, "kept, as each opening by a token"


def test_unlock_and_nobody_opens():
    lab = Lab()

    async def scenario():
        assert lab.lock.operate(UNLOCK, grant(), BLE)
        await sleep(5001)
        assert lab.strike.log == [5000, "off"]
        await sleep(400)
        assert lab.lock.lock_state == states.LOCK_LOCKED

    lab.run(scenario)


def test_only_a_grant_moves_the_strike():
    lab = Lab()
    token = Token()
    refusals = [
        decision.denied(reasons.EXPIRED, token),
        decision.denied(reasons.EXPIRED, token, True),
        decision.accepted(token),
        decision.Decision(),
        decision.Decision(decision.GRANT, reasons.EXPIRED, token, True),
        decision.Decision(decision.GRANT, reasons.GRANTED, token, False),
        decision.Decision(decision.GRANT, reasons.GRANTED, token, 1),
        decision.Decision(1, reasons.GRANTED, token, True),
        decision.Decision(True, reasons.GRANTED, token, True),
    ]

    async def scenario():
        for operation in (LOCK, UNLOCK, HOLD):
            for refusal in refusals:
                assert lab.lock.operate(operation, refusal, BLE) is False
        for operation in (2, 3, 4, -1, 127, 129, None, "unlock"):
            assert lab.lock.operate(operation, grant(), BLE) is False
        await sleep(100)

    lab.run(scenario)
    assert lab.strike.log == [] and lab.lock.lock_state == states.LOCK_LOCKED


class FickleDecision:
    """Says yes once: what a glitch in the first comparison would look like."""

    def __init__(self, yes):
        self._good = grant()
        self._yes = yes
        self.token = Token()
        self.reason = reasons.GRANTED
        self.is_authentic = True
        self.persons = self.wanted = 1
        self.others = []
        self.score, self.is_duress = 0, False
        self.command = self.sequence = None

    @property
    def verdict(self):
        # is_grant reads the verdict twice
        self._yes -= 1
        return decision.GRANT if self._yes >= 0 else decision.DENY


def test_the_grant_is_asked_for_again_right_before_the_coil():
    for yes in (0, 1, 2, 3):
        lab = Lab()
        assert lab.lock.operate(UNLOCK, FickleDecision(yes), BLE) is False
        assert lab.strike.log == [] and lab.lock.lock_state == states.LOCK_LOCKED, yes
    assert lab.records[-1][15] == "controller:Unauthorised"
    lab = Lab()
    assert lab.lock.operate(UNLOCK, FickleDecision(4), BLE) is True


def test_hold_and_lock():
    lab = Lab()

    async def scenario():
        assert lab.lock.operate(HOLD, grant(), BLE)
        await sleep(1000)
        lab.inputs.set(door_closed=False)
        await sleep(1)
        assert lab.strike.is_on, "a hold outlasts the opening"
        # an open door is not locked by saying so; it locks when it has closed
        assert lab.lock.operate(LOCK, grant(), BLE) is True
        assert not lab.strike.is_on and lab.lock.lock_state == states.LOCK_UNLOCKED
        await sleep(5000)
        assert lab.lock.lock_state == states.LOCK_UNLOCKED
        lab.inputs.set(door_closed=True)
        await sleep(500)
        assert lab.lock.lock_state == states.LOCK_LOCKED
        assert lab.lock.operate(LOCK, grant(), BLE) is True

    lab.run(scenario)


def test_forced_open_is_an_alarm_at_once():
    lab = Lab()

    async def scenario():
        lab.inputs.set(door_closed=False)
        await sleep(1)
        assert lab.lock.door_state == states.DOOR_FORCED_OPEN
        await sleep(100000)

    lab.run(scenario)
    assert lab.kinds() == [1, 1, 0]
    assert lab.records[-1][11] == states.ALARM_FORCED_OPEN


def test_ajar_has_three_steps_and_an_end():
    lab = Lab({4: 5000, 9: 10000})
    raised = []

    async def scenario():
        lab.events.add_sink(lambda record: record[1] == 0 and raised.append((lab.time.now_ms - start_ms, record[14])))
        lab.lock.operate(UNLOCK, grant(), BLE)
        await sleep(100)
        start_ms = lab.time.now_ms
        lab.inputs.set(door_closed=False)
        await sleep(60000)
        assert lab.lock.door_state == states.DOOR_AJAR and lab.lock.alarms == (states.ALARM_AJAR,)
        lab.inputs.set(door_closed=True)
        await sleep(1)
        assert lab.lock.alarms == ()

    lab.run(scenario)
    assert raised == [(5000, 1), (15000, 2), (25000, 3), (60000, 0)]


def test_the_exit_button_always_lets_out():
    lab = Lab()

    async def scenario():
        for _ in range(3):
            lab.inputs.set(rex_pressed=True)
            await sleep(1)
            assert lab.strike.is_on
            lab.inputs.set(rex_pressed=False)
            await sleep(6000)
        assert lab.lock.lock_state == states.LOCK_LOCKED

    lab.run(scenario)
    operations = [record for record in lab.records if record[1] == 2 and record[5] == UNLOCK]
    assert [record[6] for record in operations] == [5, 5, 5]


def test_button_and_door_at_the_same_moment_is_no_forced_entry():
    lab = Lab()

    async def scenario():
        lab.inputs.set(rex_pressed=True, door_closed=False)
        await sleep(1)
        assert lab.lock.door_state == states.DOOR_OPEN and not lab.strike.is_on

    lab.run(scenario)
    assert 0 not in lab.kinds()


def test_a_busy_loop_makes_no_forced_entry():
    """Somebody opens in time, but the loop sees it only after the deadline."""
    lab = Lab()

    async def scenario():
        lab.lock.operate(UNLOCK, grant(), BLE)
        await sleep(10)
        lab.time.now_ms += 8000  # the loop was held up
        lab.inputs.set(door_closed=False)
        await sleep(1)
        assert lab.lock.door_state == states.DOOR_OPEN

    lab.run(scenario)
    assert 0 not in lab.kinds()


def test_a_door_that_opens_while_the_loop_is_busy_past_the_relocking_is_not_forced():
    """The switch is debounced only after the time in which the bolt was to settle."""
    lab = Lab()

    async def scenario():
        lab.lock.operate(UNLOCK, grant(), BLE)
        await sleep(5001)
        assert lab.lock.lock_state == states.NOT_FULLY_LOCKED
        lab.time.now_ms += 800
        lab.inputs.is_door_moving = True
        lab.inputs.wake()
        await sleep(30)
        assert lab.lock.lock_state == states.NOT_FULLY_LOCKED and lab.votes < 100
        lab.inputs.is_door_moving = False
        lab.inputs.set(door_closed=False)
        await sleep(1)
        assert lab.lock.door_state == states.DOOR_OPEN

    lab.run(scenario)
    assert lab.alarms() == []


def test_operate_sees_what_the_door_did_before():
    """The door was forced a moment ago and the task has not run since: the grant must not cover that up."""
    lab = Lab()
    lab.inputs.door_closed = False
    assert lab.lock.operate(UNLOCK, grant(), BLE)
    assert lab.kinds() == [1, 1, 0, 0, 2, 1] and lab.alarms() == [(6, 1), (6, 0)]


def test_a_strike_that_fails_is_a_no_on_record():
    lab = Lab()

    async def scenario():
        lab.strike.fails_at = "energise"
        assert lab.lock.operate(UNLOCK, grant(), BLE) is False
        assert lab.lock.lock_state == states.LOCK_LOCKED and not lab.strike.is_on
        lab.strike.fails_at = None
        assert lab.lock.operate(UNLOCK, grant(), BLE) is True
        # and an extension that fails takes the strike off, not on
        lab.strike.fails_at = "energise"
        await sleep(100)
        assert lab.lock.operate(UNLOCK, grant(), BLE) is False
        assert not lab.strike.is_on and lab.lock.lock_state == states.NOT_FULLY_LOCKED
        await sleep(500)
        assert lab.lock.lock_state == states.LOCK_LOCKED

    lab.run(scenario)
    faults = [record[15] for record in lab.records if record[1] == 129]
    assert faults == ["controller:Broken", "controller:Broken"]


def test_a_release_that_fails_is_on_record_too():
    lab = Lab()
    assert lab.lock.operate(UNLOCK, grant(), BLE) is True
    lab.strike.fails_at = "release"
    assert lab.lock.operate(LOCK, grant(), BLE) is False
    assert not lab.strike.is_on and lab.lock.lock_state == states.NOT_FULLY_LOCKED
    faults = [record[15] for record in lab.records if record[1] == 129]
    assert faults == ["strike:Broken", "controller:Broken"]


def test_an_unlock_that_cannot_be_recorded_does_not_stand():
    lab = Lab()

    def full(kind, fields=None):
        if kind == 2:
            raise MemoryError

    record, lab.events.record = lab.events.record, full
    assert lab.lock.operate(UNLOCK, grant(), BLE) is False
    assert not lab.strike.is_on and lab.lock.lock_state == states.NOT_FULLY_LOCKED
    lab.events.record = record


def test_what_is_withdrawn_is_off_at_once():
    lab = Lab()

    async def scenario():
        assert lab.lock.operate(UNLOCK, grant(), BLE) is True and lab.strike.is_on
        lab.lock.withdraw()
        assert not lab.strike.is_on and lab.lock.lock_state == states.NOT_FULLY_LOCKED
        await sleep(1000)
        assert lab.lock.lock_state == states.LOCK_LOCKED
        lab.strike.fails_at = "release"
        assert lab.lock.operate(UNLOCK, grant(), BLE) is True
        lab.lock.withdraw()
        assert not lab.strike.is_on

    lab.run(scenario)
    assert lab.records[-1][15] == "strike:Broken"


def test_what_is_withdrawn_gives_an_alarm_back():
    for opens_rightly, wanted in ((False, [(6, 1), (6, 0), (6, 1)]), (True, [(7, 1), (7, 2), (7, 0), (7, 2), (7, 3)])):
        lab = Lab({4: 5000, 9: 6000})

        async def scenario(lab=lab, opens_rightly=opens_rightly):
            if opens_rightly:
                lab.lock.operate(UNLOCK, grant(), BLE)
            lab.inputs.set(door_closed=False)
            await sleep(12000)
            said = lab.lock.door_state, lab.lock.alarms
            assert said[0] in (states.DOOR_AJAR, states.DOOR_FORCED_OPEN)
            assert lab.lock.operate(HOLD, order(), BLE)
            lab.lock.withdraw()
            assert (lab.lock.door_state, lab.lock.alarms) == said and not lab.strike.is_on
            assert lab.records[-2][10] == said[0] and lab.records[-2].get(26) is None, "not by who was refused"
            await sleep(6000)
            # to lock takes nothing back, nor does to withdraw it
            lab.lock.operate(LOCK, grant(), BLE)
            lab.lock.withdraw()
            assert (lab.lock.door_state, lab.lock.alarms) == said

        lab.run(scenario)
        assert lab.alarms() == wanted


def test_what_is_withdrawn_leaves_what_was_there_before():
    for begin in ("unlock", "rex", "passage"):
        for operation in (UNLOCK, HOLD):
            lab = Lab()

            async def scenario(lab=lab, begin=begin, operation=operation):
                if begin == "unlock":
                    lab.lock.operate(UNLOCK, grant(), BLE)
                elif begin == "rex":
                    lab.inputs.set(rex_pressed=True)
                else:
                    lab.lock.begin_passage()
                await sleep(2000)
                until_ms = lab.strike.until_ms
                assert lab.strike.is_on and lab.lock.operate(operation, grant(), BLE)
                lab.lock.withdraw()
                assert lab.strike.until_ms == until_ms and lab.lock.lock_state == states.LOCK_UNLOCKED
                await sleep(3100)
                assert lab.strike.is_on is (begin == "passage")
                # nobody's lock order, withdrawn, opens
                lab.lock.operate(UNLOCK, grant(), BLE)
                lab.lock.operate(LOCK, grant(), BLE)
                lab.lock.withdraw()
                assert lab.strike.is_on is (begin == "passage")

            lab.run(scenario)


def test_a_strike_that_fails_when_it_is_withdrawn_is_off():
    lab = Lab()
    lab.inputs.door_closed = False
    lab.lock._follow()
    lab.inputs.rex_pressed = True  # forced, and somebody leaves
    assert lab.lock.operate(HOLD, grant(), BLE)
    lab.strike.fails_at = "energise"
    lab.lock.withdraw()
    assert not lab.strike.is_on and lab.records[-1][15] == "controller:Broken"
    assert lab.lock.alarms == (states.ALARM_FORCED_OPEN,)


def test_a_fault_in_the_task_releases_is_recorded_and_goes_on():
    lab = Lab()

    async def main():
        task = asyncio.create_task(lab.lock.run(lab.vote))
        await sleep(10)
        lab.lock.operate(UNLOCK, grant(), BLE)
        await sleep(10)
        assert lab.strike.is_on
        lab.inputs.fails = True
        with raises(Broken):
            await task
        assert not lab.strike.is_on and lab.lock.lock_state == states.NOT_FULLY_LOCKED
        # the supervisor starts it again, and the door goes on from where it is
        task = asyncio.create_task(lab.lock.run(lab.vote))
        await sleep(500)
        assert lab.lock.lock_state == states.LOCK_LOCKED
        task.cancel()

    lab.time.run(main())
    assert 129 in lab.kinds()


def test_cancelling_the_task_releases_the_strike():
    lab = Lab()

    async def main():
        task = asyncio.create_task(lab.lock.run(lab.vote))
        await sleep(10)
        lab.lock.operate(HOLD, grant(), BLE)
        await sleep(10)
        task.cancel()
        with raises(asyncio.CancelledError):
            await task
        assert not lab.strike.is_on and lab.lock.lock_state != states.LOCK_UNLOCKED

    lab.time.run(main())
    assert 129 not in lab.kinds()


def test_it_votes_every_second_at_least():
    lab = Lab()

    async def scenario():
        await sleep(10000)

    lab.run(scenario)
    assert lab.votes >= 10


def test_the_strike_is_served_in_time():
    lab = Lab()
    served = []

    async def scenario():
        lab.lock.operate(UNLOCK, grant(), BLE)
        start_ms = lab.time.now_ms
        lab.strike.deadline_ms = (start_ms + 150) & (2**30 - 1)

        def service():
            if lab.strike.deadline_ms is not None and lab.time.now_ms >= start_ms + 150:
                served.append(lab.time.now_ms - start_ms)
                lab.strike.deadline_ms = None

        lab.strike.service = service
        await sleep(1000)

    lab.run(scenario)
    assert served == [150]


def test_forced_is_over_when_the_door_closes():
    lab = Lab()

    async def scenario():
        lab.inputs.set(door_closed=False)
        await sleep(10)
        assert lab.lock.alarms == (states.ALARM_FORCED_OPEN,) and lab.lock.alarm_mask() == 4
        lab.inputs.set(rex_pressed=True)
        await sleep(10)
        assert lab.lock.alarms == (states.ALARM_FORCED_OPEN,), "the exit button silences nothing"
        lab.inputs.set(door_closed=True)
        await sleep(10)
        assert lab.lock.alarms == () and lab.lock.alarm_mask() == 0

    lab.run(scenario)
    assert lab.alarms() == [(6, 1), (6, 0)]


def test_passage_holds_the_strike_until_it_ends():
    lab = Lab({4: 5000})

    async def scenario():
        lab.lock.begin_passage()
        lab.lock.begin_passage()
        await sleep(1)
        start_ms = lab.time.now_ms
        while lab.time.now_ms - start_ms < 600000:
            assert lab.strike.is_on and lab.lock.lock_state == states.LOCK_UNLOCKED
            await sleep(977)
        assert set(lab.strike.log) == {10000}
        # grants, the button and the door change nothing
        assert lab.lock.operate(UNLOCK, grant(), BLE) and lab.lock.operate(LOCK, grant(), BLE)
        lab.inputs.set(rex_pressed=True)
        await sleep(1)
        lab.inputs.set(rex_pressed=False, door_closed=False)
        await sleep(600000)
        assert lab.strike.is_on and lab.alarms() == []
        lab.lock.end_passage()
        assert not lab.strike.is_on and lab.lock.door_state == states.DOOR_OPEN
        lab.lock.end_passage()
        await sleep(4000)
        assert lab.alarms() == []
        await sleep(1001)
        assert lab.alarms() == [(7, 1)]
        lab.inputs.set(door_closed=True)
        await sleep(500)
        assert lab.lock.lock_state == states.LOCK_LOCKED

    lab.run(scenario)
    first, last = (UNLOCK, 6, False), (LOCK, 6, False)
    assert lab.operations() == [
        first, (UNLOCK, 7, False), (LOCK, 7, False), (UNLOCK, 5, False), last, (LOCK, 4, False)
    ]  # fmt: skip


def test_a_grant_that_outlasts_passage_has_the_strike_for_its_own_time_only():
    lab = Lab()

    async def scenario():
        lab.lock.begin_passage()
        await sleep(10)
        assert lab.lock.operate(UNLOCK, grant(), BLE)
        await sleep(2000)
        lab.lock.end_passage()
        assert lab.strike.log == [10000, 3000], "who hangs now lets go when the grant is over"
        await sleep(2999)
        assert lab.strike.is_on
        await sleep(2)
        assert not lab.strike.is_on and lab.strike.log[2:] == ["off"]

    lab.run(scenario)


def test_the_end_of_passage_energises_for_nothing_but_what_is_left():
    lab = Lab()
    step = fsm.step
    for on_ms in (1, 2999, 3001, 10000):
        lab.lock.operate(UNLOCK, grant(), BLE)
        lab.time.now_ms += 2000
        fsm.step = lambda state, event, now_ms, on_ms=on_ms: (state, ((states.ENERGISE_STRIKE, on_ms),))
        try:
            with raises(Unauthorised):
                lab.lock._step(states.PASSAGE_ENDED)
        finally:
            fsm.step = step
        lab.lock.withdraw()
    assert 10000 not in lab.strike.log


def test_a_passage_that_ends_over_a_closed_door_relocks():
    lab = Lab()

    async def scenario():
        lab.lock.begin_passage()
        await sleep(7000)
        lab.lock.end_passage()
        assert not lab.strike.is_on and lab.lock.lock_state == states.NOT_FULLY_LOCKED
        await sleep(401)
        assert lab.lock.lock_state == states.LOCK_LOCKED

    lab.run(scenario)


def test_the_strike_is_held_for_no_passage_that_nobody_began():
    """A glitch in the machine, or in whoever steps it."""
    lab = Lab()
    with raises(Unauthorised):
        lab.lock._step(states.PASSAGE_BEGUN)
    assert lab.strike.log == [] and lab.lock.lock_state == states.LOCK_LOCKED
    lab.lock.begin_passage()
    lab.lock._follow()
    assert lab.strike.log == [10000]
    lab.lock._is_passage = False
    lab.time.now_ms += 5000
    lab.lock._follow()
    assert lab.strike.log == [10000, "off"], "not renewed"
    assert lab.records[-1][15] == "controller:Unauthorised"


def test_passage_comes_back_after_a_fault():
    lab = Lab()

    async def main():
        task = asyncio.create_task(lab.lock.run(lab.vote))
        lab.lock.begin_passage()
        await sleep(10)
        assert lab.strike.is_on
        lab.inputs.fails = True
        lab.inputs.wake()
        with raises(Broken):
            await task
        assert not lab.strike.is_on and lab.lock.lock_state == states.NOT_FULLY_LOCKED
        await sleep(100)
        task = asyncio.create_task(lab.lock.run(lab.vote))
        await sleep(10)
        assert lab.strike.is_on and lab.lock.lock_state == states.LOCK_UNLOCKED
        task.cancel()

    lab.time.run(main())


def test_a_strike_that_fails_in_passage_is_off_and_on_record():
    lab = Lab()

    for method in ("energise", "service"):
        lab = Lab()

        async def scenario(lab=lab, method=method):
            lab.lock.begin_passage()
            await sleep(6000)
            lab.strike.fails_at = method
            await sleep(10000)
            assert not lab.strike.is_on and lab.lock.lock_state != states.LOCK_UNLOCKED
            # the door is followed all the while, and the button tried
            lab.inputs.set(door_closed=False)
            await sleep(1)
            assert lab.lock.door_state != states.DOOR_CLOSED and not lab.strike.is_on
            lab.inputs.set(door_closed=True, rex_pressed=True)
            await sleep(125000)
            assert lab.lock.lock_state != states.LOCK_UNLOCKED
            lab.lock.end_passage()
            lab.strike.fails_at = None
            await sleep(1001)
            assert lab.strike.is_on, "whoever still presses gets out"
            lab.inputs.set(rex_pressed=False)
            lab.lock.begin_passage()
            await sleep(20000)
            assert lab.strike.is_on and lab.lock.lock_state == states.LOCK_UNLOCKED

        lab.run(scenario)
        faults = [record[15] for record in lab.records if record[1] == 129]
        assert faults == ["controller:Broken"] * 3, "at first, then once a minute"


def test_days_without_a_failure_keep_no_passage_shut():
    for days in (7, 10, 12):
        lab = Lab()
        lab.time.now_ms += days * 86_400_000
        lab.lock.begin_passage()
        lab.strike.fails_at = "service"
        lab.lock._follow()
        assert lab.records[-1][15] == "controller:Broken"
        lab.strike.fails_at = None
        lab.time.now_ms += 1000
        lab.lock._follow()
        assert lab.strike.is_on


def test_lockdown_takes_the_strike_off_at_once_and_leaves_the_way_out():
    for begin in ("unlock", "hold", "passage"):
        lab = Lab()

        async def scenario(lab=lab, begin=begin):
            if begin == "passage":
                lab.lock.begin_passage()
            else:
                assert lab.lock.operate(UNLOCK if begin == "unlock" else HOLD, grant(), BLE)
            await sleep(10)
            assert lab.strike.is_on
            lab.lock.lock_down()
            assert not lab.strike.is_on and lab.lock.lock_state == states.NOT_FULLY_LOCKED
            await sleep(60000)
            assert not lab.strike.is_on and lab.lock.lock_state == states.LOCK_LOCKED
            lab.inputs.set(rex_pressed=True)
            await sleep(1)
            assert lab.strike.is_on, "nobody is kept in"
            await sleep(6000)
            lab.lock.begin_passage()  # lockdown is over, the opening time is not
            await sleep(1)
            assert lab.strike.is_on

        lab.run(scenario)


def test_a_passage_that_a_lockdown_ends_is_on_record():
    lab = Lab()

    async def scenario():
        lab.lock.begin_passage()
        await sleep(10)
        lab.lock.lock_down()
        lab.lock.end_passage()  # as the scenario does
        await sleep(1000)

    lab.run(scenario)
    assert lab.operations() == [(UNLOCK, 6, False), (LOCK, 6, False), (LOCK, 4, False)]


def test_a_lockdown_whose_release_fails_is_on_record():
    lab = Lab()

    async def scenario():
        lab.lock.begin_passage()
        await sleep(10)
        lab.strike.fails_at = "release"
        lab.lock.lock_down()
        assert not lab.strike.is_on and lab.lock.lock_state == states.NOT_FULLY_LOCKED
        lab.strike.fails_at = None

    lab.run(scenario)
    assert "controller:Broken" in [record.get(15) for record in lab.records]


def test_shadow_records_everything_and_moves_nothing():
    lab = Lab()
    lab.is_shadow = True

    async def scenario():
        for operation in (UNLOCK, HOLD, LOCK):
            assert lab.lock.operate(operation, grant(), BLE) is True
            assert lab.lock.lock_state == states.LOCK_LOCKED
        lab.inputs.set(rex_pressed=True)
        await sleep(100)
        lab.inputs.set(rex_pressed=False)
        lab.lock.begin_passage()
        await sleep(20000)
        lab.lock.end_passage()
        await sleep(1)
        assert lab.lock.operate(UNLOCK, decision.denied(reasons.EXPIRED, Token(), True), BLE) is False
        # the other lock has opened the door
        lab.inputs.set(door_closed=False)
        await sleep(100)
        assert lab.lock.door_state == states.DOOR_OPEN and lab.alarms() == []
        await sleep(30000)
        assert lab.alarms() == [(7, 1)], "a door that stands open is one in shadow too"
        lab.inputs.set(door_closed=True)
        await sleep(1000)
        assert lab.lock.lock_state == states.LOCK_LOCKED

    lab.run(scenario)
    assert lab.strike.log == []
    shadow = [(UNLOCK, 7), (HOLD, 7), (LOCK, 7), (UNLOCK, 5), (UNLOCK, 6), (LOCK, 6)]
    assert lab.operations() == [each + (True,) for each in shadow] + [(LOCK, 4, False)]
    granted = next(record for record in lab.records if record[1] == 2)
    assert (granted[4], granted[7], granted[13], granted[16]) == (reasons.GRANTED, Token.sub, Token.kid, True)
    assert (granted[10], granted[17]) == (states.DOOR_CLOSED, states.LOCK_LOCKED)


def test_shadow_that_begins_takes_the_strike_off():
    for begin in ("passage", "hold"):
        lab = Lab()

        async def scenario(lab=lab, begin=begin):
            if begin == "passage":
                lab.lock.begin_passage()
            else:
                lab.lock.operate(HOLD, grant(), BLE)
            await sleep(10)
            assert lab.strike.is_on
            lab.is_shadow = True
            lab.inputs.wake()
            await sleep(1)
            assert not lab.strike.is_on
            await sleep(30000)
            assert not lab.strike.is_on
            lab.is_shadow = False
            await sleep(2000)
            assert lab.strike.is_on is (begin == "passage")

        lab.run(scenario)


def test_shadow_that_begins_between_the_question_and_the_coil():
    lab = Lab()
    asked = []

    def fickle():
        asked.append(1)
        return len(asked) > 2  # not in _follow, not in operate, but before the coil

    lab.lock._is_shadow = fickle
    assert lab.lock.operate(UNLOCK, grant(), BLE) is False
    assert lab.strike.log == [] and lab.records[-1][15] == "controller:Unauthorised"


def test_duress_opens_like_any_other_and_says_so_where_nobody_sees_it():
    for is_shadow in (False, True):
        plain, forced = Lab(), Lab()
        for lab in (plain, forced):
            lab.is_shadow = is_shadow
            assert lab.lock.operate(UNLOCK, grant(lab is forced), BLE) is True
        assert plain.strike.log == forced.strike.log and plain.lock.alarms == forced.lock.alarms == ()
        # as many records: each phone is told how many there are
        assert len(plain.records) == len(forced.records)
        operation = forced.records[-1]
        assert (operation.pop(11), operation) == (8, plain.records[-1])
    lab = Lab()
    assert lab.lock.operate(LOCK, grant(True), BLE) is True and 11 not in lab.records[-1]
    lab = Lab()
    refused = decision.denied(reasons.EXPIRED, Token(), True)
    refused.is_duress = True
    assert lab.lock.operate(UNLOCK, refused, BLE) is False and lab.alarms() == []


def test_score_rule_and_persons_are_on_record():
    lab = Lab()
    made = grant()
    made.set_risk(40, "burst")
    made.persons, made.wanted, made.others = 2, 2, [b"p-2"]
    assert lab.lock.operate(UNLOCK, made, BLE)
    (unlocked,) = [record for record in lab.records if record[1] == 2]
    assert (unlocked[24], unlocked[25], unlocked[28]) == (40, "burst", 2)
    assert lab.lock.operate(UNLOCK, grant(), BLE)
    assert not {23, 24, 25, 28} & set(lab.records[-1])


def test_what_the_monitor_finds_is_on_record_and_among_the_alarms():
    lab = Lab({11: 1000})

    async def scenario():
        lab.sensors.tamper = True
        lab.inputs.cut = states.SWITCH_CUT
        await sleep(1001)
        assert lab.lock.alarms == (5, 129) and lab.lock.alarm_mask() == 0b1001
        lab.sensors.tamper = False
        lab.inputs.cut = None
        lab.sensors.bolt = True  # drawn, and nothing commands it
        start_ms = lab.time.now_ms
        lab.inputs.wake()
        await sleep(0)
        while not lab.lock.alarms or 131 not in lab.lock.alarms:
            await sleep(1)
        assert 1000 <= lab.time.now_ms - start_ms <= 1010
        lab.sensors.bolt = False
        await sleep(2001)
        assert lab.lock.alarms == ()

    lab.run(scenario)
    begun = [code for code, step in lab.alarms() if step]
    assert sorted(begun) == sorted(code for code, step in lab.alarms() if not step) == [0, 5, 129, 131]


def test_a_flood_of_one_alarm_is_not_kept_and_costs_no_other_its_place():
    """A magnet that pulls at the door switch for 20 minutes, then days of peace, over the wrap of the ticks."""
    lab = Lab()
    seen = {6: [0, 0], 5: [0, 0]}

    def count(each):
        lab.records.clear()
        if each[1] == 0:
            seen[each[11]][class_of(each)] += 1

    async def flap(times):
        for _ in range(times):
            lab.inputs.set(door_closed=False)
            await sleep(500)
            lab.inputs.set(door_closed=True)
            await sleep(500)

    async def scenario():
        lab.events.add_sink(count)
        await flap(1250)
        assert seen[6] == [16 + 2, 2500 - 18]
        lab.sensors.tamper = True
        lab.inputs.wake()
        await sleep(10)
        assert seen[5] == [1, 0]
        for days in (1, 7, 12, 13):
            before = seen[6][0]
            lab.time.now_ms += days * 86_400_000
            await flap(20)
            assert seen[6][0] == before + 16, days

    lab.run(scenario)


def test_a_brown_out_loop_is_over_after_a_minute():
    lab = Lab(short_starts=4)

    async def scenario():
        await sleep(10)
        assert lab.lock.alarms == (134,) and lab.lock.alarm_mask() == 128
        assert lab.starts_store.value == 5
        await sleep(61000)
        assert lab.lock.alarms == () and lab.starts_store.value == 0

    lab.run(scenario)
    assert lab.alarms() == [(134, 1), (134, 0)]
    lab = Lab(short_starts=3)
    lab.lock._follow()
    assert lab.lock.alarms == ()


def test_new_settings_hold_at_once():
    lab = Lab({4: 3600000})

    async def scenario():
        lab.lock.operate(UNLOCK, grant(), BLE)
        lab.inputs.set(door_closed=False)
        await sleep(10000)
        settings = Settings({4: 5000, 5: 20, 6: 50})
        lab.lock.configure(settings)
        await sleep(1)
        assert lab.alarms() == [(7, 1)]
        assert lab.strike.configured == (20, 50)
        assert lab.inputs.settings is settings and lab.sensors.settings is settings

    lab.run(scenario)


def test_without_sensors_shadow_and_starts():
    lab = Lab()
    lock = Controller(lab.strike, lab.inputs, Settings(), lab.events, lambda: lab.time.now_ms & (2**30 - 1))
    assert lock.operate(UNLOCK, grant(), BLE) and lab.strike.is_on and lock.alarms == ()


EVENTS = (
    "open", "shut", "rex", "no rex", "unlock", "hold", "lock", "refused", "passage", "no passage", "lockdown",
    "shadow", "no shadow", "power", "clock", "settings", "fault", "wait",
)  # fmt: skip


@given(lists(tuples(choices(EVENTS), choices((0, 1, 50, 399, 401, 1000, 4999, 5001, 12000))), 0, 40), examples=120)
def test_the_promises_in_any_order_of_events(steps):
    """Door, people, scenarios, power, clock and faults: see Watcher for what must hold after each."""
    watcher = Watcher()
    for event, ms in steps:
        watcher.do(event)
        watcher.wait(ms)
    watcher.end()


class Watcher:
    """A controller that is stepped as run() steps it, and what must hold whatever comes."""

    def __init__(self):
        self.in_lockdown = self.in_passage = self.is_shadow = False
        self.right_until_ms = 0
        self.active = {}
        self.lab = None
        self.power_up()

    def power_up(self):
        old = self.lab
        self.lab = lab = Lab({4: 5000, 9: 6000}, door_closed=old is None or old.inputs.door_closed)
        lab.is_shadow = self.is_shadow
        if old is not None:
            lab.time.now_ms = old.time.now_ms + 100
        self.active = {}
        self.seen = 0
        self.in_passage = False  # without a trusted clock
        self.was_forced = False
        self.right_until_ms = 0
        self.look()

    def do(self, event):
        lab, now_ms = self.lab, self.lab.time.now_ms
        if event in ("open", "shut"):
            lab.inputs.door_closed = event == "shut"
        elif event in ("rex", "no rex"):
            was_pressed = lab.inputs.rex_pressed
            lab.inputs.rex_pressed = event == "rex"
            if event == "rex" and not was_pressed and not self.is_shadow:
                self.right(now_ms + 5000)
        elif event in ("unlock", "hold"):
            if not self.in_lockdown:  # as the policy has it
                assert lab.lock.operate(UNLOCK if event == "unlock" else HOLD, grant(), BLE) is True
                if not self.is_shadow:
                    self.right(now_ms + (5000 if event == "unlock" else 10000))
                    assert lab.strike.is_on
        elif event == "lock":
            assert lab.lock.operate(LOCK, grant(), BLE) is True
            assert not lab.strike.is_on or self.in_passage
        elif event == "refused":
            was_on = lab.strike.is_on
            assert lab.lock.operate(UNLOCK, decision.denied(reasons.EXPIRED, Token(), True), BLE) is False
            assert lab.strike.is_on == was_on
        elif event == "passage":
            if not self.in_lockdown:
                self.in_passage = True
                lab.lock.begin_passage()
        elif event == "no passage":
            if self.in_passage:
                self.in_passage = False
                lab.lock.end_passage()
        elif event == "lockdown":
            self.in_lockdown, self.in_passage = not self.in_lockdown, False
            if self.in_lockdown:
                lab.lock.lock_down()
                self.right_until_ms = 0
                assert not lab.strike.is_on
        elif event in ("shadow", "no shadow"):
            self.is_shadow = lab.is_shadow = event == "shadow"
            if self.is_shadow:
                self.right_until_ms = 0
        elif event == "power":
            self.power_up()
        elif event == "clock":
            FakeClock.unix_s += 86400 if FakeClock.unix_s < 1_800_000_000 else -200_000_000
        elif event == "settings":
            lab.lock.configure(Settings({4: 5000, 9: 6000, 3: 100 if now_ms & 1 else 400}))
        elif event == "fault":
            lab.inputs.fails = True
            with raises(Broken):
                lab.lock._follow()
        self.look()

    def right(self, until_ms):
        self.right_until_ms = max(self.right_until_ms, until_ms)
        self.was_forced = False

    def wait(self, ms):
        """As run(): step at each deadline, at the latest every second."""
        time = self.lab.time
        end_ms = time.now_ms + ms
        while time.now_ms < end_ms:
            rest_ms = self.lab.lock._rest_ms()
            time.now_ms = min(end_ms, time.now_ms + min(1000, max(1, rest_ms)))
            self.look()

    def look(self):
        lab = self.lab
        if lab.inputs.fails:
            return
        was_locked = lab.lock.lock_state == states.LOCK_LOCKED
        was_closed = lab.lock.door_state == states.DOOR_CLOSED
        lab.lock._follow()
        forced = False
        for record in lab.records[self.seen :]:
            if record[1] == 0:
                code, step = record[11], record[14]
                forced = forced or (code, step) == (6, 1)
                assert (step == 0 and code in self.active) or step == self.active.get(code, 0) + 1, "out of order"
                if step:
                    self.active[code] = step
                else:
                    del self.active[code]
        self.seen = len(lab.records)
        assert set(lab.lock.alarms) == set(self.active), "alarms and records disagree"
        if forced:
            assert (was_locked or self.was_forced) and not self.is_shadow
            self.was_forced = True
        if was_locked and was_closed and not lab.inputs.door_closed and not self.is_shadow and not lab.strike.is_on:
            assert forced or self.in_passage or lab.time.now_ms <= self.right_until_ms, "opened without right, unsaid"
        if self.is_shadow:
            assert not lab.strike.is_on, "moved in shadow"
        elif lab.strike.is_on:
            assert self.in_passage or lab.time.now_ms <= self.right_until_ms, "on for nobody"
        elif self.in_passage:
            raise AssertionError("passage, and the strike is off")
        if lab.strike.is_on:
            assert lab.strike.until_ms - lab.time.now_ms <= 10000

    def end(self):
        """Everything is over when the door is shut and time has passed."""
        self.do("no passage")
        self.do("shut")
        self.do("no rex")
        self.wait(11000)
        assert self.active == {} and self.lab.lock.lock_state == states.LOCK_LOCKED
        assert not self.lab.strike.is_on


def order(command=b"command1", sequence=7):
    made = grant()
    made.token.sub, made.token.cti, made.token.ref = None, b"", b"sale"
    made.command, made.sequence = command, sequence
    return made


def test_an_operation_by_command_is_on_record_with_the_command():
    lab = Lab()
    assert lab.lock.operate(UNLOCK, order(), 3) is True
    fields = next(fields for fields in lab.records if fields[1] == 2)
    assert (fields[5], fields[6], fields[18]) == (1, 2, 3) and fields[16] is True
    assert (fields[9], fields[13], fields[26], fields[27]) == (b"sale", b"kkkkkkkk", b"command1", 7)
    assert 7 not in fields and 8 not in fields


def test_the_doors_records_name_who_opened_it_until_it_is_locked_again():
    for made, key, value in ((order(), 26, b"command1"), (grant(), 8, b"12345678")):
        lab = Lab({4: 5000})

        async def scenario(lab=lab, made=made):
            lab.lock.operate(UNLOCK, made, BLE)
            lab.inputs.set(door_closed=False)
            await asyncio.sleep_ms(6000)  # ajar
            lab.inputs.set(door_closed=True)
            await asyncio.sleep_ms(2000)
            lab.inputs.set(door_closed=False)  # forced, and nobody's
            await asyncio.sleep_ms(100)

        lab.run(scenario)
        moved = [(fields[10], fields.get(key)) for fields in lab.records if fields[1] == 1]
        assert moved == [(1, None), (0, value), (5, value), (1, value), (3, None)]


def test_who_did_not_open_is_not_named():
    lab = Lab()

    async def scenario():
        lab.lock.operate(UNLOCK, order(), BLE)
        await asyncio.sleep_ms(7000)  # nobody came
        lab.inputs.set(rex_pressed=True)
        await asyncio.sleep_ms(10)
        lab.inputs.set(door_closed=False, rex_pressed=False)
        await asyncio.sleep_ms(10)

    lab.run(scenario)
    assert [fields.get(26) for fields in lab.records if fields[1] == 1] == [None, None]
    # to lock opens nothing, and what comes later takes the place of what was before
    lab = Lab()

    async def again():
        lab.lock.operate(UNLOCK, order(b"command1"), BLE)
        lab.lock.operate(UNLOCK, order(b"command2"), BLE)
        lab.lock.operate(0, order(b"command3"), BLE)
        lab.inputs.set(door_closed=False)
        await asyncio.sleep_ms(10)

    lab.run(again)
    assert [fields.get(26) for fields in lab.records if fields[1] == 1] == [None, b"command2"]


def test_an_order_that_is_no_grant_moves_nothing():
    for change in (("verdict", decision.GRANT + 1), ("verdict", decision.DENY), ("reason", 25), ("wanted", 2)):
        lab = Lab()
        made = order()
        setattr(made, *change)
        assert lab.lock.operate(UNLOCK, made, 3) is False
        assert lab.strike.log == []
