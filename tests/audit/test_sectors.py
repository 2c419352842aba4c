"""Sectors: taken, retired, erased, worn, bad (SPEC.md 8.1)."""

from support import raises
from support.nor_flash import NorFlash
from vitrine.audit import faults, sectors
from vitrine.audit.sectors import BAD, DIRTY, READY, STATE, Sectors

EPOCH = 77
HEAD = bytes(range(32))


def scanned(flash, epoch=EPOCH):
    found = Sectors(flash)
    found.scan(epoch)
    return found


def prepared(flash, number):
    found = scanned(flash)
    for _ in range(number):
        assert found.prepare()
    return found


class Odd:
    """A device that answers what esp32.Partition would not."""

    def __init__(self, count, size):
        self.answers = {4: count, 5: size}

    def ioctl(self, operation, argument):
        return self.answers[operation]


def test_geometry():
    for count, size in ((15, 4096), (1025, 4096), (16, 512), (16, 4097), (0, 4096), (None, 4096), (16, None)):
        with raises(faults.JournalError) as refused:
            Sectors(Odd(count, size))
        assert refused.value.fault == faults.GEOMETRY
    for count in (16, 1024):
        assert Sectors(Odd(count, 4096)).count == count


def test_a_blank_flash_is_all_dirty_and_becomes_ready_by_erasing():
    flash = NorFlash(16)
    found = scanned(flash)
    assert found.in_use(DIRTY) == 16
    assert found.prepare()
    assert (found.in_use(READY), found.free()) == (1, 16)
    assert scanned(flash).in_use(READY) == 1


def test_an_opened_sector_is_found_again():
    flash = NorFlash(16)
    found = prepared(flash, 2)
    sector = found.open(2, 1234, EPOCH, HEAD)
    again = scanned(flash)
    assert again.use[sector] == 2
    assert again.first[sector] == 1234
    assert again.head(sector) == HEAD
    assert again.seed(sector) == found.seed(sector)
    assert not again.is_state(sector)
    assert scanned(flash, EPOCH + 1).use[sector] == DIRTY


def test_a_state_is_known_in_any_epoch():
    flash = NorFlash(16)
    sector = prepared(flash, 1).open(STATE, 0, EPOCH, HEAD)
    assert scanned(flash, EPOCH + 1).is_state(sector)


def test_a_retired_sector_is_dirty_for_good():
    flash = NorFlash(16)
    found = prepared(flash, 1)
    sector = found.open(0, 5, EPOCH, HEAD)
    found.retire(sector)
    assert found.use[sector] == DIRTY
    assert scanned(flash).use[sector] == DIRTY
    assert scanned(flash).wear[sector] == 1


def test_oldest_and_newest_of_a_class():
    flash = NorFlash(16)
    found = prepared(flash, 6)
    places = {first: found.open(first % 2, first, EPOCH, HEAD) for first in (0, 10, 5, 20, 7)}
    assert found.oldest(0) == places[0]
    assert found.oldest(0, 0) == places[10]
    assert found.oldest(0, 20) == -1
    assert found.newest(0) == places[20]
    assert found.newest(0, 19) == places[10]
    assert found.newest(1, 4) == -1


def test_the_least_worn_sector_is_taken_and_erased_first():
    flash = NorFlash(16)
    found = scanned(flash)
    found.prepare()
    for n in range(16):
        found.wear[n] = 100 - n
    found.use[5] = READY
    assert found.open(0, 0, EPOCH, HEAD) == 5
    found.prepare()
    assert found.use[15] == READY


def test_wear_is_counted_over_starts_and_unknown_wear_is_taken_for_the_lowest():
    flash = NorFlash(16)
    found = scanned(flash)
    for _ in range(16 * 3):
        found.prepare()
        found.use[list(found.use).index(READY)] = DIRTY
    again = scanned(flash)
    assert min(again.wear) == max(again.wear) == 3
    flash.image[4096 * 7 : 4096 * 7 + 16] = b"\xff" * 16
    assert scanned(flash).wear[7] == 3


def test_a_sector_that_cannot_be_erased_is_bad_until_the_next_start():
    flash = NorFlash(16)
    flash.image[0:16] = bytes(16)
    flash.cannot_erase.add(0)
    flash.raises_on_erase.add(1)
    found = scanned(flash)
    while found.in_use(DIRTY):
        found.prepare()
    assert (found.use[0], found.use[1], found.in_use(READY)) == (BAD, BAD, 14)
    flash.raises_on_erase.clear()
    assert scanned(flash).use[1] == DIRTY


def test_there_is_nothing_to_prepare_when_nothing_is_dirty():
    found = prepared(NorFlash(16), 16)
    assert not found.prepare()


def test_a_bit_that_cannot_be_erased_makes_the_sector_bad():
    flash = NorFlash(16)
    flash.stuck_zeros[4096 * 2 + 4000] = 0x08
    found = scanned(flash)
    while found.in_use(DIRTY):
        found.prepare()
    assert found.use[2] == BAD


def test_a_bit_that_cannot_be_programmed_makes_an_opening_go_elsewhere():
    flash = NorFlash(16)
    found = prepared(flash, 2)
    flash.stuck_ones[40] = 0xFF
    sector = found.open(0, 1, EPOCH, HEAD)
    assert (sector, found.use[0]) == (1, BAD)
    with raises(faults.JournalError) as refused:
        found.open(0, 2, EPOCH, HEAD)
    assert refused.value.fault == faults.WORN_OUT


def test_a_sector_that_cannot_be_retired_is_erased():
    flash = NorFlash(16)
    found = prepared(flash, 1)
    sector = found.open(0, 1, EPOCH, HEAD)
    flash.stuck_ones[sector * 4096 + 20] = 0xFF
    found.retire(sector)
    assert flash.erases[sector] == 2
    assert scanned(flash).use[sector] == DIRTY


def test_one_flipped_bit_in_each_half_of_a_header_does_no_harm():
    for bit in range(0, 256, 5):
        flash = NorFlash(16)
        found = prepared(flash, 1)
        sector = found.open(1, 1234, EPOCH, HEAD)
        flash.flip(bit >> 3, bit & 7)
        flash.flip(31 - (bit >> 3), bit & 7)
        again = scanned(flash)
        assert (again.use[sector], again.first[sector], again.seed(sector)) == (1, 1234, found.seed(sector))


def test_a_torn_head_is_known():
    flash = NorFlash(16)
    sector = prepared(flash, 1).open(1, 1234, EPOCH, HEAD)
    flash.flip(50, 1)
    assert scanned(flash).head(sector) is None


def test_an_opening_that_was_cut_leaves_a_dirty_sector():
    flash = NorFlash(16)
    prepared(flash, 1)
    flash.image[32:40] = HEAD[:8]
    assert scanned(flash).use[0] == DIRTY


def test_another_partition_size_or_a_copied_sector_is_not_ours():
    flash = NorFlash(16)
    prepared(flash, 1).open(0, 1, EPOCH, HEAD)
    larger = NorFlash(32, image=bytes(flash.image) + b"\xff" * (16 * 4096))
    assert scanned(larger).in_use(DIRTY) == 32
    copied = NorFlash(16, image=flash.image)
    copied.image[4096 * 3 : 4096 * 4] = flash.image[:4096]
    assert scanned(copied).use[3] == DIRTY


class Failing:
    """A flash whose driver reports failures, by an exception or by a number."""

    def __init__(self, flash, error):
        self.flash = flash
        self.error = error
        self.fails = False

    def readblocks(self, sector, buffer, offset=0):
        if self.fails:
            return self.answer()
        return self.flash.readblocks(sector, buffer, offset)

    def writeblocks(self, sector, data, offset=0):
        if self.fails:
            return self.answer()
        return self.flash.writeblocks(sector, data, offset)

    def ioctl(self, operation, argument):
        if self.fails and operation == 6:
            return self.answer()
        return self.flash.ioctl(operation, argument)

    def answer(self):
        if self.error:
            raise OSError(5)
        return -5


def test_a_driver_that_reports_failures_costs_sectors_not_exceptions():
    for error in (True, False):
        device = Failing(NorFlash(16), error)
        found = scanned(device)
        assert found.prepare()
        device.fails = True
        assert not found.prepare()
        assert not found.program(0, 64, bytes(16))
        buffer = bytearray(16)
        assert not found.read(0, 0, buffer)
        assert bytes(buffer) == b"\xff" * 16
        assert not found.is_state(0)
        assert found.seed(0) == 0
        assert found.head(0) is None
        assert scanned(device).in_use(BAD) == 16


def test_the_end_of_data_is_behind_the_last_zero():
    flash = NorFlash(16)
    found = scanned(flash)
    assert found.end_of_data(3, 64) == 64
    for place, end in ((64, 80), (100, 112), (4095, 4096)):
        flash.image[3 * 4096 + place] = 0
        assert found.end_of_data(3, 64) == end
    assert sectors.HEADER == 64
