"""A sample of the power cuts of tests/powercut, and that its model sees it when a promise is broken.

All of them: `make powercut`.
"""

from powercut.cases import PowerCuts, parse
from powercut.life import ACKNOWLEDGE_KEY, EPOCH, FIRST_KEY, Clock, Random, Store, event

from support import ON_MICROPYTHON
from support.nor_flash import NorFlash, PowerCut, tear_at
from vitrine.audit import record as r
from vitrine.audit import seal
from vitrine.audit import state as state_module
from vitrine.audit.journal import Journal, provision

_cuts = []


def fresh():
    """The life is lived once; each test goes through it from the beginning."""
    if not _cuts:
        _cuts.append(PowerCuts())
    return _cuts[0].again()


def logarithmic(limit):
    """0, 1, 2, 3, 5, 8, ... and as often from the other end, and evenly in between."""
    chosen = set()
    step = 1
    while step < limit:
        chosen.add(step - 1)
        chosen.add(limit - step)
        step = step * 3 // 2 + 1
    chosen.update(range(0, limit, max(1, limit // (12 if ON_MICROPYTHON else 40))))
    return sorted(chosen)


def test_a_life_goes_twice_round_the_smallest_ring():
    cuts = fresh()
    cuts.go_to(len(cuts.operations))
    erased = [sector for sector, _, data in cuts.operations if data is None]
    opened = [sector for sector, offset, data in cuts.operations if offset == 16 and any(data)]
    assert set(erased) == set(range(16))
    assert len(opened) >= 2 * 16
    given_up = [of_class for of_class in range(3) if cuts.model.losses(of_class)]
    assert given_up == [0, 1, 2]


def test_a_sample_of_all_cuts():
    cuts = fresh()
    broken = []
    number = 0
    for operation in logarithmic(len(cuts.operations)):
        cuts.go_to(operation)
        tears = cuts.tears()
        for each in logarithmic(len(tears))[::3]:
            done, bits = tears[each]
            number += 1
            what = cuts.outcome(done, bits, each == 0)
            if what:
                broken.append(f"{operation}.{done}.{bits}: {what}")
        for again in ((0, 0), (1, 7), (2, 0)):
            number += 1
            what = cuts.outcome(0, 0, False, again)
            if what:
                broken.append(f"{operation}.0.0+{again[0]}.{again[1]}: {what}")
    assert not broken, broken[:10]
    assert number > 300


def test_every_cut_around_the_giving_up_of_a_sector():
    cuts = fresh()
    for operation in retirements(cuts.operations)[:: 6 if ON_MICROPYTHON else 1]:
        for before in (2, 1, 0):
            cuts.again()
            cuts.go_to(operation - before)
            for again in (None, (0, 0), (1, 3), (2, 0), (3, 20)):
                broken = cuts.outcome(0, 0, again is None, again)
                assert broken is None, (operation - before, again, broken)


def test_a_supply_that_fails_again_and_again():
    random = Random(21)
    flash = NorFlash(16)
    store = Store()
    clock = Clock()
    provision(flash, store, EPOCH, FIRST_KEY, ACKNOWLEDGE_KEY)
    durable = {}
    acknowledged = 0
    for _ in range(60 if ON_MICROPYTHON else 600):
        flash.cut_after = random.below(60)
        flash.tear = tear_at(random.below(200), random.below(256))
        record = {}
        try:
            journal = Journal(flash, store, clock)
            while True:
                clock.now_ms += 40_000
                record = event(random, 1, random.below(3))
                sequence = journal.append(record)
                durable[sequence] = r.encode(record)
                if random.below(3) == 0:
                    journal.tend()
                if random.below(20) == 0:
                    count = journal.count
                    acknowledged = count  # may be kept, or not, when it is cut
                    journal.release(count, seal.acknowledgement_tag(ACKNOWLEDGE_KEY, EPOCH, count))
        except PowerCut:
            flash = NorFlash(16, image=flash.image)
        journal = Journal(flash, store, clock)
        seen = set()
        walk = journal.unsent()
        while walk.step():
            assert durable.get(walk.sequence, walk.body) == walk.body
            seen.add(walk.sequence)
        lost = [n for n in durable if journal.acknowledged <= n and n not in seen]
        assert not lost, lost
        assert journal.acknowledged <= acknowledged
        if journal.count - 1 not in durable:  # the one that was cut, and is there all the same
            durable[journal.count - 1] = r.encode(record)
        assert sorted(durable) == list(range(journal.count))
    assert len(durable) > (300 if ON_MICROPYTHON else 3000)


def test_cases_that_were_broken_once():
    # 147: the first record of a new sector; what was before it was taken for removed
    for name in ("147.0.0", "147.3.0", "147.0.0+7.9"):
        operation, done, bits, again = parse(name)
        cuts = fresh()
        cuts.go_to(operation)
        assert cuts.outcome(done, bits, True, again) is None, name


def broken_by(change, choose):
    """Return what the model says when `change` has been done to the firmware, at each operation that is chosen."""
    said = set()
    _cuts.clear()
    undo = change()
    try:
        cuts = PowerCuts()
        for operation in choose(cuts.operations):
            cuts.go_to(operation)
            what = cuts.outcome(0, 0, True)
            if what:
                said.add(what.split(" ")[0] + " " + what.split(" ")[1])
    finally:
        undo()
    return said


def some(operations):
    return range(6, 40)


def retirements(operations):
    return [n for n in range(len(operations)) if operations[n][1:] == (16, bytes(16))]


def patched(owner, name, value):
    """Return a change that sets owner.name to value."""

    def change():
        before = getattr(owner, name)
        setattr(owner, name, value)
        return lambda: setattr(owner, name, before)

    return change


def test_the_model_sees_a_key_that_is_not_wiped():
    def no_wipe(self, place):
        pass

    assert "the spent" in broken_by(patched(state_module.State, "_wipe", no_wipe), some)


def test_the_model_sees_a_record_reported_before_it_is_written():
    write = Journal._write

    def too_early(self, of_class, body):
        self._sectors._device.durable = self.count + 1
        return write(self, of_class, body)

    assert "count 1" in broken_by(patched(Journal, "_write", too_early), some)


def test_the_model_sees_an_unfinished_giving_up():
    def not_finished(self, found):
        pass

    assert broken_by(patched(Journal, "_finish_giving_up", not_finished), retirements)


def test_the_model_sees_a_key_that_is_not_taken_up():
    def not_taken(self, found):
        return found

    assert broken_by(patched(Journal, "_take_up_key", not_taken), some)
