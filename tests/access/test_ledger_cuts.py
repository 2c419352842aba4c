"""A sample of the power cuts of tests/powercut/ledger.py, and that its model sees it when a promise is broken.

All of them: `make powercut`.
"""

from powercut import ledger as lives
from powercut.ledger import LedgerCuts

from support import ON_MICROPYTHON
from vitrine.access.ledger import Ledger
from vitrine.access.ledger_pages import Pages

LIVES = lives.LIVES[:1] if ON_MICROPYTHON else lives.LIVES  # the full one does not fit the tests' heap there
_cuts = {}


def fresh(life):
    """A life is lived once; each test goes through it from the beginning."""
    if life not in _cuts:
        _cuts[life] = LedgerCuts(life)
    return _cuts[life].again()


def test_the_lives_have_merges_that_forget_and_one_class_full():
    for life in LIVES:
        cuts = fresh(life)
        cuts.go_to(len(cuts.operations))
        logs = [offset for _, offset, data in cuts.operations if data and data[:4] == b"LOG1"]
        assert len(logs) >= 2 and len(cuts.promises.gone) > 100
    if len(LIVES) == 2:  # 30 were added where there was room for 10 of each class
        assert cuts.promises.before[21][0] == 1990 + 4086 + 20


def test_a_sample_of_all_cuts():
    number = 0
    for life in LIVES:
        cuts = fresh(life)
        step = (97 if life else 41) * (4 if ON_MICROPYTHON else 1)
        for operation in range(3, len(cuts.operations), step):
            cuts.go_to(operation)
            tears = cuts.tears()
            for each in range(operation % 5, len(tears), 7):
                done, bits = tears[each]
                broken = cuts.outcome(done, bits, each == operation % 5 and not life)
                assert broken is None, (life, operation, done, bits, broken)
                number += 1
    assert number > (15 if ON_MICROPYTHON else 90)


def turning_points(operations):
    """Return where a block 0 or the header of a log is written, or a log is retired: what is in force changes there."""
    return [
        n
        for n in range(len(operations))
        if operations[n][1] == 0 and operations[n][2] and operations[n][2][:4] in (b"vtlp", b"LOG1", bytes(4))
    ]


def test_cuts_where_what_is_in_force_changes():
    cuts = fresh(0)
    for operation in turning_points(cuts.operations):
        cuts.go_to(operation)
        for done, bits in ((0, 0), (3, 0x15), (31, 0), (250, 0)):
            for again in (None, (0, 0), (0, 9)):
                if done < len(cuts.operations[operation][2]):
                    broken = cuts.outcome(done, bits, again is None and not ON_MICROPYTHON, again)
                    assert broken is None, (operation, done, again, broken)


def broken_by(owner, name, value):
    """Return what the model says of the operations of a life in which owner.name is `value`."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    said = set()
    try:
        cuts = LedgerCuts(0)
        points = [point + after for point in turning_points(cuts.operations)[:-1] for after in (0, 1)]
        for operation in sorted(list(range(100, 110)) + points):
            cuts.go_to(operation)
            said.add(cuts.outcome(0, 0, operation in points))
    finally:
        setattr(owner, name, before)
    said.discard(None)
    return " ".join(said)


def test_the_model_sees_an_entry_that_is_not_written():
    program = Pages.program

    def forgetful(self, sector, offset, data):
        return (len(data) == 16 and data[0] % 8 == 0) or program(self, sector, offset, data)

    assert "is gone" in broken_by(Pages, "program", forgetful)


def test_the_model_sees_a_new_log_without_what_came_in_since():
    renew = Ledger._renew_log

    def forgetful(self, sector):
        self._new = 0
        renew(self, sector)

    assert "is gone" in broken_by(Ledger, "_renew_log", forgetful)


def test_the_model_sees_a_log_retired_too_early():
    renew = Ledger._renew_log

    def hasty(self, sector):
        self._pages.retire(self._log)
        renew(self, sector)

    assert "NotFormatted" in broken_by(Ledger, "_renew_log", hasty)


def test_the_model_sees_what_comes_back():
    """An older image of the same flash has what was forgotten since."""
    cuts = fresh(0)
    cuts.go_to(turning_points(cuts.operations)[-2])
    older = bytes(cuts._before.image)
    cuts.go_to(len(cuts.operations) - 1)
    cuts._before.image[:] = older
    assert "came back" in str(cuts.outcome(0, 0, False))
    _cuts.clear()


def test_the_mark_matters():
    mark = Pages.mark
    assert "is gone" in broken_by(Pages, "mark", lambda self, sector: mark(self, sector) + 20)
