"""A sample of the power cuts of tests/powercut/updates.py, and that its model sees it when a promise is broken.

All of them: `make powercut`. Runs on MicroPython.
"""

from powercut.updates import UpdateCuts

from vitrine.app.update_intake import Intake
from vitrine.app.update_trial import Trial
from vitrine.drivers import components, slots

_made = []


def fresh():
    """The life is lived once; each test goes through it from the beginning."""
    if not _made:
        _made.append(UpdateCuts())
    return _made[0].again()


def turning_points(operations):
    """Return the operations on NVS and otadata: what is to run changes there."""
    return [n for n in range(len(operations)) if operations[n][0] < 16 + 4 + 2]


def test_the_life_has_all_that_can_come_of_an_update():
    life = fresh().life
    last, confirmed = life.before[-1]
    assert (last, confirmed) == (5, 10) and len(life.operations) > 400
    assert sorted({each for _, each in life.before}) == [5, 6, 8, 10]
    assert len(turning_points(life.operations)) > 30


def test_a_sample_of_all_cuts():
    cuts = fresh()
    number = 0
    for operation in range(1, len(cuts.operations), 19):
        cuts.go_to(operation)
        tears = cuts.tears()
        for each in range(operation % 3, len(tears), max(3, len(tears) // 3)):
            done, bits = tears[each]
            broken = cuts.outcome(done, bits, each == operation % 3)
            assert broken is None, (operation, done, bits, broken)
            number += 1
    assert number > 60


def test_cuts_where_what_is_to_run_changes():
    cuts = fresh()
    for operation in turning_points(cuts.operations):
        cuts.go_to(operation)
        for again in (None, (0, 0), (1, 9), (2, 0)):
            broken = cuts.outcome(0, 0, again is None, again)
            assert broken is None, (operation, again, broken)


def broken_by(owner, name, value, every=5):
    """Return what the model says of a life in which owner.name is `value`."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    said = set()
    try:
        cuts = UpdateCuts()
        for operation in sorted(set(turning_points(cuts.operations)) | set(range(3, len(cuts.operations), every))):
            cuts.go_to(operation)
            said.add(cuts.outcome(0, 0, False))
            if len(said) > 2:
                break
    finally:
        setattr(owner, name, before)
    said.discard(None)
    return " ".join(said)


def test_cases_that_were_broken_once():
    # the 30th: a third try to start an image, after two cuts, was taken for its second start, and the image for well
    for turn, again in ((29, (1, 9)), (27, (1, 0)), (30, (1, 9))):
        cuts = fresh()
        operation = turning_points(cuts.operations)[turn]
        assert cuts.life.before[operation] == (3, 8)
        cuts.go_to(operation)
        assert cuts.outcome(0, 0, False, again) is None, operation


def test_the_model_sees_a_start_that_is_not_counted():
    count = slots.Slots.save

    def forgetful(self):
        if self.trial and self.starts < 3:
            return
        count(self)

    assert "again and again" in broken_by(slots.Slots, "save", forgetful)


def test_the_model_sees_a_confirmation_in_the_wrong_order():
    def confirm(self, place, row):
        # the image is kept by the chip only after the lock has said so
        self._parts.floor.save(row[1])
        self._slots.active = 0 if place == 3 else place
        self._slots.trial = 0
        self._slots.save()
        if place == 3:
            self._parts.image().keep()
        self.record("confirmed", row[1], row[2])

    assert "below the floor" in broken_by(Trial, "_confirm", confirm)


def test_the_model_sees_a_slot_emptied_that_is_active():
    def clear(self):
        for number in (slots.A, slots.B):
            components._remove(slots.path_of(number))
        components._remove(self._new)

    assert "was confirmed" in broken_by(components.Application, "clear", clear)


def test_the_model_sees_blocks_that_are_believed_after_a_start():
    take_up = Intake.take_up

    async def credulous(self, manifest):
        await take_up(self, manifest)
        self.wanted = manifest.table_size + manifest.size
        self.is_staged = True

    assert broken_by(Intake, "take_up", credulous)


def test_the_model_sees_what_comes_back_tried_again():
    begin = Trial.begin

    def forgetful(self, place, first, sequence, digest):
        save = self._slots.save

        def no_memory():
            self._slots.tried = 0
            save()

        self._slots.save = no_memory
        begin(self, place, first, sequence, digest)

    assert "again and again" in broken_by(Trial, "begin", forgetful, 500)
