"""vitrine.access.ledger on a flash that ages, fails or was never one of ours: never a silent no."""

from support import ON_MICROPYTHON, blobs, choices, given, ints, raises
from support.ledger_flash import (
    DAY,
    NOW_S,
    REVOKED,
    SECTOR,
    SPENT,
    add_many,
    copy,
    digest,
    flip,
    fresh,
    has_all,
    has_any,
    log,
    pages,
    tend,
)
from support.nor_flash import NorFlash
from vitrine.access.ledger import Ledger, provision
from vitrine.access.ledger_pages import LedgerError

LATER_S = NOW_S + 100 * DAY
MERGED = range(900)
LOGGED = range(900, 950)
ABSENT = range(2000, 2600)


def some():
    """Return a flash with two pages and a log."""
    if not _some:
        flash, ledger = fresh()
        add_many(ledger, SPENT, MERGED, LATER_S)
        while ledger._cells:
            ledger._merge()
        add_many(ledger, SPENT, LOGGED, LATER_S)
        _some.append(flash)
    return copy(_some[0])


_some = []


def key_of(number):
    return (1 << 39 | int.from_bytes(digest(number)[:5], "big") >> 1).to_bytes(5, "big")


def outcomes(ledger, numbers):
    """Return {number: True, False or None: not to be known}."""
    found = {}
    for number in numbers:
        try:
            found[number] = ledger.has(SPENT, digest(number))
        except LedgerError:
            found[number] = None
    return found


def live(flash):
    newest = max(generation for _, generation, _ in pages(flash))
    return sorted(
        (header[8:13], header[13:18], sector) for sector, generation, header in pages(flash) if generation == newest
    )


@given(ints(0, 1), ints(0, 16 * 2048 - 1), examples=25 if ON_MICROPYTHON else 150)
def test_a_flipped_bit_in_a_page_changes_no_answer(page, bit):
    flash = some()
    flip(flash, live(flash)[page][2], 0, (bit,))
    ledger = Ledger(flash)
    assert has_all(ledger, SPENT, range(0, 950, 5)) and not has_any(ledger, SPENT, range(2000, 2200))
    # flash that was fine when the lock started
    flash = some()
    ledger = Ledger(flash)
    flip(flash, live(flash)[page][2], 0, (bit,))
    assert has_all(ledger, SPENT, range(0, 950, 5)) and not has_any(ledger, SPENT, range(2000, 2200))


def test_what_was_put_right_is_written_anew():
    flash = some()
    flip(flash, live(flash)[1][2], 700, (3,))
    ledger = Ledger(flash)
    assert ledger.tend(None) is False
    assert has_all(ledger, SPENT, MERGED)
    assert tend(ledger) > 3
    flash.trace = []
    again = Ledger(copy(flash))
    assert has_all(again, SPENT, MERGED) and has_all(again, SPENT, LOGGED) and again.tend(None) is False


@given(ints(0, 255), examples=40)
def test_a_flipped_bit_in_the_logs_header(bit):
    flash = some()
    flip(flash, log(flash), 0, (bit,))
    ledger = Ledger(flash)
    assert has_all(ledger, SPENT, LOGGED) and has_all(ledger, SPENT, range(0, 900, 50))


@given(ints(0, 49), ints(0, 127), ints(0, 127), examples=20 if ON_MICROPYTHON else 80)
def test_two_flipped_bits_in_a_cell(cell, one, other):
    flash = some()
    flip(flash, log(flash), 32 + 16 * cell, (one, other) if one != other else (one,))
    ledger = Ledger(flash)
    assert has_all(ledger, SPENT, LOGGED) and not has_any(ledger, SPENT, range(2000, 2100))
    tend(ledger)
    assert has_all(Ledger(copy(flash)), SPENT, LOGGED)


def test_more_damage_in_a_block_leaves_its_range_unknown_and_nothing_else():
    for page in (0, 1):
        for block in (1, 4):
            flash = some()
            _, _, sector = live(flash)[page]
            start = SECTOR * sector + 256 * block
            entries = [bytes(flash.image[start + 7 * i : start + 7 * i + 5]) for i in range(36)]
            flip(flash, sector, 256 * block + 90, (0, 5, 17))
            ledger = Ledger(flash)
            unknown = 0
            for number, found in outcomes(ledger, list(MERGED) + list(LOGGED) + list(ABSENT)).items():
                if found is None:
                    unknown += 1
                elif number < 950 and entries[0] <= key_of(number) <= entries[-1]:
                    assert number in LOGGED and found, number
                else:
                    assert found is (number < 950), number
            assert unknown >= 36


def test_more_damage_in_block_0_leaves_the_pages_range_unknown_and_nothing_else():
    for page in (0, 1):
        flash = some()
        first, last, sector = live(flash)[page]
        flip(flash, sector, 100, (0, 5, 17))
        ledger = Ledger(flash)
        for number, found in outcomes(ledger, list(MERGED) + list(ABSENT)).items():
            assert found is (None if first <= key_of(number) <= last else number < 950), number
        assert has_all(ledger, SPENT, LOGGED)


def test_a_damaged_ledger_still_takes_entries_and_loses_none():
    flash = some()
    flip(flash, live(flash)[0][2], 100, (0, 5, 17))
    ledger = Ledger(flash)
    taken = []
    with raises(LedgerError):
        for number in range(3000, 4000):
            try:
                if ledger.add(SPENT, digest(number), LATER_S):
                    taken.append(number)
            except LedgerError:
                if ledger._cells == 254:
                    raise
            assert ledger.tend(None) is False or ledger._mark >= 0
    assert len(taken) > 50
    for each in (ledger, Ledger(copy(flash))):
        assert has_all(each, SPENT, taken)


def test_a_damaged_cell_leaves_unknown_what_is_not_found():
    flash = some()
    flip(flash, log(flash), 32 + 16 * 7, (0, 5, 17, 40))
    ledger = Ledger(flash)
    found = outcomes(ledger, list(MERGED) + list(LOGGED) + list(ABSENT))
    assert [number for number in found if found[number] is None] == [907] + list(ABSENT)
    assert all(found[number] for number in found if found[number] is not None)
    assert ledger.tend(None) is False
    # neither does a restart forget that something is missing
    assert outcomes(Ledger(copy(flash)), (907, 2000)) == {907: None, 2000: None}


def test_the_log_lost():
    flash = some()
    flip(flash, log(flash), 0, (0, 5, 17, 40))
    with raises(LedgerError) as caught:
        Ledger(flash)
    assert str(caught.value) == "NotFormatted"


class Failing(NorFlash):
    """A device that reports errors: `fails(operation, sector)` tells where. `is_quiet`: by a negative number."""

    is_quiet = False
    broken = -1

    def fails(self, operation, sector):
        return operation == "read" and sector == self.broken

    def _fail(self):
        if not self.is_quiet:
            raise OSError(5)
        return -5

    def readblocks(self, sector, buffer, offset=0):
        return self._fail() if self.fails("read", sector) else NorFlash.readblocks(self, sector, buffer, offset)

    def writeblocks(self, sector, data, offset=None):
        return self._fail() if self.fails("write", sector) else NorFlash.writeblocks(self, sector, data, offset)

    def ioctl(self, operation, argument):
        if operation == 6 and self.fails("erase", argument):
            return self._fail()
        return NorFlash.ioctl(self, operation, argument)


def test_a_sector_that_cannot_be_read():
    for is_quiet in (False, True):
        flash = Failing(16, image=some().image)
        flash.is_quiet = is_quiet
        first, last, sector = live(flash)[0]
        earlier = Ledger(flash)
        flash.broken = sector
        for ledger in (earlier, Ledger(flash)):
            for number, found in outcomes(ledger, list(range(100)) + list(ABSENT)).items():
                assert found is (None if first <= key_of(number) <= last else number < 950), number
        flash.broken = -1
        assert has_all(earlier, SPENT, MERGED), "it can be read again"
        flash.broken = log(flash)
        with raises(LedgerError):
            Ledger(flash)


def test_a_log_that_cannot_be_written_counts_nothing():
    for is_quiet in (False, True):
        flash = Failing(16, image=some().image)
        flash.is_quiet = is_quiet
        flash.fails = lambda operation, each: operation == "write"
        ledger = Ledger(flash)
        for number in range(3000, 3004):
            with raises(LedgerError) as caught:
                ledger.add(SPENT, digest(number), LATER_S)
        assert str(caught.value) == "WornOut"
        assert has_all(ledger, SPENT, MERGED) and has_all(ledger, SPENT, LOGGED)
        flash.fails = lambda operation, each: False
        assert has_all(Ledger(copy(flash)), SPENT, range(950))
        assert not has_any(Ledger(copy(flash)), SPENT, ABSENT)


def filled(flash, most=9000):
    """Fill both classes; return the entries that were taken."""
    ledger = Ledger(flash)
    taken = {REVOKED: [], SPENT: []}
    for kind in (REVOKED, SPENT):
        try:
            for number in range(most):
                if not ledger.add(kind, digest(number), LATER_S):
                    break
                taken[kind].append(number)
        except LedgerError as error:
            assert str(error) == "WornOut", error
    for each in (ledger, Ledger(copy(flash))):
        for kind in (REVOKED, SPENT):
            assert has_all(each, kind, taken[kind])
            assert not has_any(each, kind, range(most, most + 300))
    return len(taken[REVOKED]), len(taken[SPENT])


def test_bad_sectors_cost_room_and_nothing_else():
    for bad, spent in ((2, 4096), (3, 3720), (4, 3148), (6, 2004)):
        flash, _ = fresh()
        flash.cannot_erase = set(range(5, 5 + bad - 1))
        flash.raises_on_erase = {12}
        flash.image[SECTOR * 5 : SECTOR * 16] = bytes(SECTOR * 11)
        assert filled(flash) == (2000, spent), bad
        assert sum(flash.erases[5 : 5 + bad - 1]) > 0


def test_stuck_bits():
    for stuck in ("stuck_ones", "stuck_zeros"):
        flash, _ = fresh()
        setattr(flash, stuck, {SECTOR * 3 + 40: 4, SECTOR * 6 + 300: 0x81, SECTOR * 9 + 4095: 16, SECTOR * 11 + 2: 8})
        flash.image[SECTOR * 3 + 40] = 0xFB if stuck == "stuck_zeros" else 0xFF
        flash.is_strict = False
        revoked, spent = filled(flash)
        assert revoked == 2000 and spent >= 3148, (stuck, spent)


def test_stuck_bits_in_the_log():
    """A cell that does not take its entry is crossed out; if it does not take that either, the log moves."""
    for stuck in ("stuck_ones", "stuck_zeros"):
        for mask in (1, 0xFF):
            flash, ledger = fresh()
            flash.is_strict = False
            start = SECTOR * log(flash) + 32
            for cell in (0, 3, 4, 20):
                for byte in (2, 5, 9):
                    getattr(flash, stuck)[start + 16 * cell + byte] = mask
                    if stuck == "stuck_zeros":
                        flash.image[start + 16 * cell + byte] = ~mask & 0xFF
            add_many(ledger, SPENT, range(100), LATER_S)
            for each in (ledger, Ledger(copy(flash))):
                assert has_all(each, SPENT, range(100)) and not has_any(each, SPENT, ABSENT)


@given(blobs(64, 64), ints(0, 3), examples=6 if ON_MICROPYTHON else 40)
def test_garbage_in_every_sector_is_no_ledger(pattern, sort):
    flash = NorFlash(16)
    fill = (pattern * 64, bytes(SECTOR), b"vtlp" + pattern * 64, b"LOG1" + pattern * 64)[sort][:SECTOR]
    flash.image[:] = bytes(fill) * 16
    with raises(LedgerError) as caught:
        Ledger(flash)
    assert str(caught.value) == "NotFormatted"
    flash.is_strict = False
    provision(flash)
    assert filled(flash, 300) == (300, 300)


def test_garbage_in_the_free_sectors_is_nothing():
    flash = some()
    used = [log(flash)] + [sector for _, _, sector in live(flash)]
    for sector in range(16):
        if sector not in used:
            flash.image[SECTOR * sector : SECTOR * (sector + 1)] = bytes((0x5A + sector,)) * SECTOR
    flash.is_strict = False
    ledger = Ledger(flash)
    assert has_all(ledger, SPENT, range(950)) and not has_any(ledger, SPENT, ABSENT)
    add_many(ledger, REVOKED, range(1000), LATER_S)
    assert has_all(Ledger(copy(flash)), REVOKED, range(1000))


def test_provisioning_over_sectors_that_keep_their_old_pages():
    """What cannot be erased must not come back as a page of the new ledger."""
    flash = some()
    ledger = Ledger(flash)
    tend(ledger)
    flash.cannot_erase = {live(flash)[0][2], log(flash)}
    provision(flash)
    ledger = Ledger(flash)
    assert not has_any(ledger, SPENT, range(950))
    add_many(ledger, SPENT, range(3000, 3500), LATER_S)
    assert not has_any(Ledger(copy(flash)), SPENT, range(950))
    flash.cannot_erase = {1, 2, 3}
    flash.image[SECTOR : SECTOR * 4] = bytes(SECTOR * 3)
    with raises(LedgerError) as caught:
        provision(flash)
    assert str(caught.value) == "WornOut"


class Torn(Failing):
    """Writes the header of a log, and from then on does nothing any more but fail."""

    is_done = False

    def fails(self, operation, sector):
        return self.is_done

    def writeblocks(self, sector, data, offset=None):
        done = Failing.writeblocks(self, sector, data, offset)
        self.is_done |= bytes(data[:4]) == b"LOG1"
        return done


def test_a_new_log_that_may_be_one_or_not_takes_no_entry_from_the_old_one():
    flash = Torn(16, image=some().image)
    ledger = Ledger(flash)
    add_many(ledger, SPENT, range(950, 1100), LATER_S)
    while not flash.is_done:
        ledger.tend(None)
    flash.fails = lambda operation, sector: False
    assert has_all(ledger, SPENT, range(1100))
    for number in range(3000, 3003):
        with raises(LedgerError):
            ledger.add(SPENT, digest(number), LATER_S)
    again = Ledger(copy(flash))
    assert has_all(again, SPENT, range(1100)) and not has_any(again, SPENT, ABSENT)
    add_many(again, SPENT, range(3000, 3003), LATER_S)


class Exhausted(NorFlash):
    """The heap is exhausted once, at the operation `at`, before it or after it."""

    at = -1
    is_after = False

    def writeblocks(self, sector, data, offset=None):
        self.at -= 1
        if self.at == 0 and not self.is_after:
            raise MemoryError
        NorFlash.writeblocks(self, sector, data, offset)
        if self.at == 0:
            raise MemoryError


@given(ints(1, 700), choices((False, True)), examples=10 if ON_MICROPYTHON else 80)
def test_want_of_memory_anywhere(at, is_after):
    flash = Exhausted(16, image=some().image)
    flash.at = at
    flash.is_after = is_after
    ledger = Ledger(flash)
    taken = list(range(0, 950, 10))
    for number in range(3000, 3500):
        try:
            if ledger.add(SPENT, digest(number), LATER_S):
                taken.append(number)
            if number % 3 == 0:
                ledger.tend(None)
        except (MemoryError, LedgerError):
            continue
    for each in (ledger, Ledger(copy(flash))):
        assert has_all(each, SPENT, taken)
