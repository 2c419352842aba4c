"""vitrine.access.uses: nothing ever hands a use back."""

from hashlib import sha256

from support import ON_MICROPYTHON, choices, given, ints, lists, raises, tuples
from support.ledger_flash import DAY, NOW_S, SPENT, UNIT, add_many, copy, fresh, tend
from support.nor_flash import PowerCut, tear_at
from vitrine.access.ledger import Ledger
from vitrine.access.ledger_pages import LedgerError
from vitrine.access.uses import Uses, UsesError

KID = b"kid 1234"
EXP = NOW_S + 10 * DAY


def cti(n):
    return b"token" + n.to_bytes(3, "big")


def spend(uses, n=1, exp=EXP, allowed=3, now_s=NOW_S):
    return uses.spend(KID, cti(n), exp, allowed, now_s)


class Counting:
    """A ledger that counts what it is asked, and can fail."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.lookups = 0
        self.is_broken = False
        self.is_full = False

    def has(self, *arguments):
        self.lookups += 1
        if self.is_broken:
            raise LedgerError("Damaged")
        return self.ledger.has(*arguments)

    def add(self, *arguments):
        if self.is_broken:
            raise LedgerError("WornOut")
        return not self.is_full and self.ledger.add(*arguments)


def lab():
    flash, ledger = fresh()
    ledger = Counting(ledger)
    return flash, ledger, Uses(ledger)


def test_counts_down():
    _, _, uses = lab()
    for left in (3, 2, 1):
        assert uses.left(KID, cti(1), 3) == left
        assert spend(uses) is True
    assert uses.left(KID, cti(1), 3) == 0
    for _ in range(3):
        assert spend(uses) is False
    assert uses.left(KID, cti(1), 3) == 0 and uses.left(KID, cti(2), 3) == 3


def test_an_entry_is_as_specified():
    _, ledger, uses = lab()
    assert spend(uses) and spend(uses)
    for use in (1, 2, 3):
        digest = sha256(KID + b"u" + b"\x08" + cti(1) + b"\x00" + bytes((use,))).digest()
        assert ledger.has(SPENT, digest) is (use < 3)
        assert ledger.has(SPENT, digest, EXP) is (use < 3)
        assert not ledger.has(SPENT, digest, EXP + UNIT)


def test_it_is_durable_before_true_comes_back():
    flash, _, uses = lab()
    for count in range(1, 4):
        programs = flash.programs
        assert spend(uses) and flash.programs == programs + 1
        # a power cut right here: the next start finds it
        assert Uses(Ledger(copy(flash))).left(KID, cti(1), 3) == 3 - count
    programs = flash.programs
    assert not spend(uses) and flash.programs == programs


def test_tokens_are_kept_apart():
    _, _, uses = lab()
    assert uses.spend(b"kid 1234", b"12345678", EXP, 1, NOW_S)
    assert uses.spend(b"kid 1235", b"12345678", EXP, 1, NOW_S)
    assert uses.spend(b"kid 1234", b"12345679", EXP, 1, NOW_S)
    assert uses.spend(b"kid 1234", b"12345678\x00", EXP, 1, NOW_S)
    assert not uses.spend(b"kid 1234", b"12345678", EXP, 1, NOW_S)


def test_a_larger_allowance_for_the_same_token_counts_what_was_used():
    _, _, uses = lab()
    assert [spend(uses, allowed=2) for _ in range(3)] == [True, True, False]
    assert [spend(uses, allowed=3) for _ in range(2)] == [True, False]
    assert spend(uses, allowed=1) is False and uses.left(KID, cti(1), 1) == 0


def test_a_single_use_costs_one_lookup_and_many_a_few():
    _, ledger, uses = lab()
    assert spend(uses, allowed=1) and ledger.lookups == 1
    ledger.lookups = 0
    assert not spend(uses, allowed=1) and ledger.lookups == 1
    for _ in range(1000):
        ledger.lookups = 0
        assert spend(uses, 2, allowed=1000)
        assert ledger.lookups <= 21
    ledger.lookups = 0
    assert not spend(uses, 2, allowed=1000) and uses.left(KID, cti(2), 1000) == 0 and ledger.lookups <= 40


def test_every_count_is_found():
    _, ledger, uses = lab()
    for allowed in range(1, 20):
        for count in range(allowed):
            assert uses.left(KID, cti(allowed), allowed) == allowed - count
            assert spend(uses, allowed, allowed=allowed)
        assert not spend(uses, allowed, allowed=allowed) and uses.left(KID, cti(allowed), allowed) == 0
    assert ledger.ledger.count(SPENT) == sum(range(20))


def test_an_expired_token():
    flash, _, uses = lab()
    programs = flash.programs
    assert spend(uses, now_s=EXP) is False and flash.programs == programs


def test_no_room():
    _, ledger, uses = lab()
    assert spend(uses)
    ledger.is_full = True
    assert spend(uses) is False and spend(uses, 2) is False and uses.left(KID, cti(1), 3) == 2
    add_many(ledger.ledger, SPENT, range(4095), 0)
    ledger.is_full = False
    assert spend(uses) is False and spend(uses, 2) is False and uses.left(KID, cti(1), 3) == 2


def test_a_ledger_that_fails():
    _, ledger, uses = lab()
    assert spend(uses)
    ledger.is_broken = True
    for call in (lambda: spend(uses), lambda: uses.left(KID, cti(1), 3)):
        with raises(UsesError):
            call()
    ledger.is_broken = False
    assert uses.left(KID, cti(1), 3) == 2


def test_a_later_exp_brings_nothing_back():
    """The same identity again, valid longer: what was used must last as long."""
    flash, ledger, uses = lab()
    assert spend(uses, allowed=9) and spend(uses, allowed=9) and spend(uses, allowed=9)
    assert spend(uses, exp=EXP + 90 * DAY, allowed=9)
    assert spend(uses, exp=EXP, allowed=9)
    for n in range(2, 200):
        assert spend(uses, n)
    tend(ledger.ledger, EXP + 2 * DAY)
    for each in (uses, Uses(Ledger(copy(flash)))):
        assert each.left(KID, cti(1), 9) == 5, "the one with the earlier exp may be forgotten, being the last"
        assert each.left(KID, cti(7), 3) == 3, "expired for more than a day"


def test_no_room_to_make_the_first_ones_last():
    _, ledger, uses = lab()
    assert spend(uses, allowed=9)
    ledger.is_full = True
    assert not spend(uses, exp=EXP + 90 * DAY, allowed=9)
    assert uses.left(KID, cti(1), 9) == 8


@given(
    lists(tuples(ints(0, 4), ints(1, 4), choices((0, 0, 0, 30)), ints(0, 40)), 1, 40),
    ints(0, 255),
    examples=20 if ON_MICROPYTHON else 100,
)
def test_never_more_than_allowed_over_power_cuts(orders, bits):
    flash, ledger = fresh()
    uses = Uses(ledger)
    granted = {}
    for n, allowed, later, cut in orders:
        if cut < 2:
            flash.cut_after = cut
            flash.tear = tear_at(bits % 16, bits)
        try:
            if spend(uses, n, EXP + later * DAY, allowed):
                granted[n] = granted.get(n, 0) + 1
                assert granted[n] <= allowed
        except PowerCut:
            flash = copy(flash)
            flash.is_strict = False
            uses = Uses(Ledger(flash))
        flash.cut_after = -1
        assert uses.left(KID, cti(n), 9) <= 9 - granted.get(n, 0)
