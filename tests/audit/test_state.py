"""The state cells: keys, acknowledgements, losses; and no spent key anywhere (SPEC.md 8.3)."""

from support.nor_flash import NorFlash
from vitrine.audit import seal
from vitrine.audit.sectors import DIRTY, READY, STATE, Sectors
from vitrine.audit.state import State

EPOCH = 77
KEY = bytes(range(24))
ACKNOWLEDGE_KEY = bytes(range(32))
CELLS = (4096 - 64) // 32


def key_of(count):
    key = KEY
    for _ in range(count):
        key = bytes(seal.next_key(key))
    return key


def fresh(ready=8):
    flash = NorFlash(16)
    sectors = Sectors(flash)
    sectors.scan(EPOCH)
    for _ in range(ready):
        sectors.prepare()
    state = State(sectors, EPOCH, ACKNOWLEDGE_KEY)
    state.begin(KEY)
    return flash, sectors, state


def loaded(flash, ready=4):
    sectors = Sectors(flash)
    sectors.scan(EPOCH)
    while sectors.in_use(READY) < ready and sectors.prepare():
        pass
    state = State(sectors, EPOCH, ACKNOWLEDGE_KEY)
    state.load()
    return state


def tag(count):
    return seal.acknowledgement_tag(ACKNOWLEDGE_KEY, EPOCH, count)


def where(flash, count):
    return bytes(flash.image).find(key_of(count))


def test_a_new_state_has_the_first_key():
    flash, _, _ = fresh()
    again = loaded(flash)
    assert (again.count, bytes(again.key), again.acknowledged) == (0, KEY, 0)


def test_only_the_current_key_is_in_flash_and_in_ram():
    flash, sectors, state = fresh()
    for count in range(1, 2 * CELLS):
        spent = state.key
        state.advance()
        assert bytes(spent) == bytes(24)
        assert where(flash, count) >= 0
        assert where(flash, count - 1) < 0
        if sectors.in_use(DIRTY):
            sectors.prepare()
    assert (state.count, state.unwiped) == (2 * CELLS - 1, 0)
    assert sectors.in_use(STATE) == 1
    assert bytes(loaded(flash).key) == key_of(2 * CELLS - 1)


def test_acknowledgements_and_losses_move_along():
    flash, _, state = fresh()
    for count in range(1, 31):
        state.advance()
        if count % 10 == 0:
            state.acknowledge(count, tag(count))
    state.note_lost(2, 30, 3, 9, 4)
    state.note_lost(0, 31, 1, 2, 2)
    for _ in range(3 * CELLS):
        state.advance()
        if state.is_full():
            state._sectors.prepare()
    again = loaded(flash)
    assert again.acknowledged == 30
    assert again.lost(2) == (30, 3, 9, 4)
    assert again.lost(0) == (31, 1, 2, 2)
    assert again.lost(1) is None


def test_a_loss_that_the_collector_knows_of_is_over():
    _, _, state = fresh()
    for _ in range(10):
        state.advance()
    state.note_lost(1, 5, 0, 3, 2)
    state.acknowledge(5, tag(5))
    assert state.lost(1) == (5, 0, 3, 2)
    state.acknowledge(6, tag(6))
    assert state.lost(1) is None


def test_an_acknowledgement_that_fills_the_sector_is_kept():
    flash, _, state = fresh()
    for _ in range(5):
        state.advance()
    for count in range(1, 2 * CELLS):
        state.count = max(state.count, count)
        state.acknowledge(count, tag(count))
        if state.is_full():
            state._sectors.prepare()
    again = loaded(flash)
    assert again.acknowledged == 2 * CELLS - 1


def test_a_forged_acknowledgement_in_flash_counts_nothing():
    flash, _, state = fresh()
    state.advance()
    state.acknowledge(1, tag(1))
    state.acknowledge(9, bytes(16))
    assert loaded(flash).acknowledged == 1


def test_is_authentic():
    _, _, state = fresh()
    assert state.is_authentic(7, tag(7))
    assert not state.is_authentic(8, tag(7))
    assert not state.is_authentic(7, tag(7)[:15])


def test_two_flipped_bits_in_the_key_cell_are_put_right():
    for one, other in ((0, 1), (0, 0), (2, 2), (13, 200), (255, 31)):
        flash, _, state = fresh()
        for _ in range(3):
            state.advance()
        at = where(flash, 3)
        for bit in {one, other}:
            flash.flip(at + (bit >> 3), bit & 7)
        again = loaded(flash)
        assert (again.count, bytes(again.key)) == (3, key_of(3))
        again.advance()
        assert bytes(loaded(flash).key) == key_of(4)


def test_a_lost_key_is_none_and_the_rest_goes_on():
    flash, _, state = fresh()
    for _ in range(3):
        state.advance()
    state.acknowledge(2, tag(2))
    at = where(flash, 3)
    for bit in range(0, 24, 3):
        flash.flip(at + bit, 1)
    again = loaded(flash)
    assert again.key is None
    assert again.acknowledged == 2
    again.advance()
    again.count = 9
    again.acknowledge(8, tag(8))
    assert loaded(flash).acknowledged == 8


def test_a_start_without_any_state_sector_opens_one_when_it_has_something_to_note():
    flash, _, _ = fresh()
    flash.image[16:32] = bytes(16)
    state = loaded(flash)
    assert state.key is None
    state.count = 5
    state.acknowledge(5, tag(5))
    assert loaded(flash).acknowledged == 5


def test_every_key_but_the_current_is_wiped_at_a_start():
    flash, _, state = fresh()
    state.advance()
    at = where(flash, 1)
    old = bytearray(flash.image[at - 32 : at])
    assert old == bytearray(32)
    # as a power cut before the wipe leaves it, and a torn one of the next
    cell = bytearray(KEY + bytes(8))
    from vitrine.codec import checksum

    checksum.close(cell, state._sectors.seed(0))
    flash.image[at - 32 : at] = cell
    flash.image[at + 32 : at + 40] = key_of(2)[:8]
    again = loaded(flash)
    assert (again.count, bytes(again.key)) == (1, key_of(1))
    assert where(flash, 0) < 0
    assert bytes(flash.image).find(key_of(2)[:8]) < 0
    again.advance()
    assert where(flash, 2) >= 0


def test_a_cell_that_cannot_be_written_is_wiped_and_passed_over():
    flash, _, state = fresh()
    at = where(flash, 0)
    for place in range(at + 32, at + 160):
        flash.stuck_ones[place] = 0x01
    state.advance()
    state.advance()
    assert where(flash, 2) == at + 192
    assert state.unwiped == 4  # the flash is worn out there, and it is said
    assert (loaded(flash).count, bytes(loaded(flash).key)) == (2, key_of(2))


def test_a_sector_without_a_good_cell_is_left_for_another():
    flash, sectors, state = fresh()
    state.advance()
    for place in range(64 + 96, 4096, 8):
        flash.stuck_ones[place] = 0xFF
    flash.stuck_ones[64 + 64] = 0xFF
    state.advance()
    state.acknowledge(2, tag(2))
    again = loaded(flash)
    assert (again.count, bytes(again.key), again.acknowledged) == (2, key_of(2), 2)
    assert sectors.use[0] == DIRTY


def test_skip_goes_on_at_a_later_key():
    flash, _, state = fresh()
    state.skip(9, bytearray(key_of(9)))
    again = loaded(flash)
    assert (again.count, bytes(again.key)) == (9, key_of(9))
    assert where(flash, 0) < 0
