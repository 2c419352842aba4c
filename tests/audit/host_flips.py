"""Bit flips in any place of the flash: the lock starts, and loses at most what was hit."""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from powercut import life

from support.nor_flash import NorFlash
from vitrine.audit import record as r
from vitrine.audit.faults import JournalError
from vitrine.audit.journal import Journal

_FLASH = NorFlash(16)
_WITNESS, _STORE, _ = life.live(_FLASH, 700)
_IMAGE = bytes(_FLASH.image)
_BITS = st.integers(0, len(_IMAGE) * 8 - 1)


def restarted(bits):
    flash = NorFlash(16, image=_IMAGE)
    flash.is_strict = False
    for bit in bits:
        flash.flip(bit >> 3, bit & 7)
    clock = life.Clock()
    clock.now_ms = 100_000_000
    return flash, Journal(flash, _STORE, clock)


def numbers(journal, start):
    found = {}
    walk = journal.unsent(start)
    while walk.step():
        found[walk.sequence] = walk.body
    return found


_INTACT = numbers(restarted(())[1], 0)


@settings(max_examples=300, deadline=None)
@given(_BITS)
@example(149_760)  # in the newest acknowledgement
def test_one_flipped_bit_costs_at_most_one_record(bit):
    _, journal = restarted((bit,))
    found = numbers(journal, 0)
    gone = [n for n in _INTACT if n not in found]
    assert len(gone) <= 1
    assert all(found[n] == _INTACT[n] for n in _INTACT if n in found)
    # a damaged acknowledgement is none: the one before holds, and the collector gets some records again
    assert journal.acknowledged <= _WITNESS.acknowledged
    assert journal.stats()["sealed"] == 1
    # what it adds is at most that something is missing
    assert journal.count - len(_WITNESS.records) <= 1
    sequence = journal.append({r.KIND: r.DOOR_LOCK_ALARM, r.ALARM: 6})
    assert sequence in numbers(journal, sequence)


@settings(max_examples=150, deadline=None)
@given(st.lists(_BITS, min_size=2, max_size=200))
def test_many_flipped_bits_never_stop_the_lock_nor_change_a_record_unseen(bits):
    try:
        flash, journal = restarted(bits)
    except JournalError:
        return  # no sector of ours is left that could be believed
    found = numbers(journal, 0)
    hit = {bit >> 3 for bit in bits}
    for n, body in _INTACT.items():
        if n in found and found[n] != body:
            at = _IMAGE.find(body)
            assert any(at - 16 <= place < at + len(body) + 32 for place in hit)
    for of_class in (r.KEPT, r.ROUTINE, r.REFUSED):
        sequence = journal.append(life.event(life.Random(1), 1, of_class))
        if sequence is not None:
            assert sequence in numbers(journal, sequence)
    again = Journal(flash, _STORE, life.Clock())
    assert again.count == journal.count
