"""Reading records back from what is damaged, torn, twice there or crafted (SPEC.md 8.2)."""

from support.nor_flash import NorFlash
from vitrine.audit import walk
from vitrine.audit.sectors import Sectors

EPOCH = 77
TAG = bytes(range(16))


class Ring:
    """Some opened sectors, and a pen."""

    def __init__(self):
        self.flash = NorFlash(16)
        self.sectors = Sectors(self.flash)
        self.sectors.scan(EPOCH)
        for _ in range(10):
            self.sectors.prepare()
        self.ends = {}

    def open(self, of_class, first):
        sector = self.sectors.open(of_class, first, EPOCH, bytes(32))
        self.ends[sector] = 64
        return sector

    def write(self, sector, sequence, body=b"\xa1\x01\x02", size=None):
        data = walk.frame(sequence, body, TAG, self.sectors.seed(sector))
        place = self.ends[sector]
        self.flash.writeblocks(sector, data[:size], place)
        self.ends[sector] = place + len(data)
        return place

    def numbers(self, sector, limit=1000):
        return [each[0] for each in steps(walk.Walk(self.sectors, sector, limit))]


def steps(walked):
    found = []
    while walked.step():
        found.append((walked.sequence, walked.body, walked.tag))
    return found


def test_records_of_all_lengths():
    ring = Ring()
    sector = ring.open(0, 5)
    bodies = [bytes((n,)) * n for n in (1, 5, 6, 7, 21, 22, 23, 100, 223, 224)]
    for n, body in enumerate(bodies):
        ring.write(sector, 5 + n, body)
        assert ring.ends[sector] % 16 == 0
    assert steps(walk.Walk(ring.sectors, sector)) == [(5 + n, body, TAG) for n, body in enumerate(bodies)]
    assert walk.size_in_flash(70) == 96


def test_the_next_record_goes_behind_all_that_is_not_blank():
    ring = Ring()
    sector = ring.open(0, 0)
    ring.write(sector, 0)
    torn = ring.write(sector, 1, bytes(60), size=20)
    walked = walk.Walk(ring.sectors, sector)
    assert [each[0] for each in steps(walked)] == [0]
    assert walked.end == torn + 32


def test_behind_a_torn_record_the_next_one_is_found():
    ring = Ring()
    sector = ring.open(0, 0)
    ring.write(sector, 0)
    ring.ends[sector] = ring.write(sector, 1, bytes(60), size=20) + 32
    ring.write(sector, 1)
    ring.write(sector, 2)
    assert ring.numbers(sector) == [0, 1, 2]


def test_behind_a_hole_the_next_one_is_found():
    ring = Ring()
    sector = ring.open(0, 0)
    ring.write(sector, 0)
    ring.ends[sector] += 16 * 40
    ring.write(sector, 1)
    assert ring.numbers(sector) == [0, 1]


def test_one_flipped_bit_anywhere_costs_nothing_but_the_length():
    for bit in range(0, 8 * 96, 7):
        ring = Ring()
        sector = ring.open(0, 0)
        ring.write(sector, 0)
        place = ring.write(sector, 1, bytes(range(70)))
        ring.write(sector, 2)
        ring.flash.flip(sector * 4096 + place + (bit >> 3), bit & 7)
        found = steps(walk.Walk(ring.sectors, sector))
        if bit < 16:  # the length: where it ends is not known, and the record is gone
            assert [each[0] for each in found] in ([0, 2], [0, 1, 2])
        else:
            assert [each[0] for each in found] == [0, 1, 2]
            assert found[1][1] == bytes(range(70))


def test_two_flipped_bits_cost_that_record_only():
    ring = Ring()
    sector = ring.open(0, 0)
    ring.write(sector, 0)
    place = ring.write(sector, 1, bytes(60))
    ring.write(sector, 2)
    for bit in (3, 700):
        ring.flash.flip(sector * 4096 + place + 16 + (bit >> 4), bit & 7)
    assert ring.numbers(sector) == [0, 2]


def test_numbers_that_cannot_be_are_passed_over():
    ring = Ring()
    sector = ring.open(0, 10)
    for sequence in (9, 10, 10, 12, 11, 999, 1000, 13):
        ring.write(sector, sequence)
    assert ring.numbers(sector) == [10, 12, 999]
    assert ring.numbers(sector, 13) == [10, 12]


def test_records_of_a_life_before_are_none():
    ring = Ring()
    sector = ring.open(0, 0)
    ring.write(sector, 0)
    old = bytes(ring.flash.image[sector * 4096 + 64 : sector * 4096 + 128])
    ring.sectors.retire(sector)
    while ring.sectors.use[sector] != 4:
        ring.sectors.prepare()
    for each in range(16):
        ring.sectors.wear[each] += each != sector
    assert ring.open(0, 0) == sector
    ring.flash.image[sector * 4096 + 64 : sector * 4096 + 128] = old
    assert ring.numbers(sector) == []


def test_a_record_inside_a_torn_record_is_none_unless_it_knows_the_seed():
    ring = Ring()
    sector = ring.open(0, 0)
    crafted = bytes(walk.frame(7, b"\xa1\x01\x02", TAG, 0))
    ring.write(sector, 0, bytes(10) + crafted, size=16 + len(crafted))
    assert ring.numbers(sector) == []


def test_all_classes_in_the_order_of_their_numbers():
    ring = Ring()
    kept, door, refused = ring.open(0, 0), ring.open(1, 1), ring.open(2, 4)
    for sequence, sector in ((0, kept), (1, door), (2, kept), (3, door), (4, refused), (5, refused), (6, kept)):
        ring.write(sector, sequence)
    more = ring.open(1, 7)
    for sequence, sector in ((7, more), (8, kept), (9, more)):
        ring.write(sector, sequence)

    def merged(start, limit=100):
        return [each[0] for each in steps(walk.Merge(ring.sectors, start, limit))]

    assert merged(0) == list(range(10))
    for start in range(11):
        assert merged(start) == list(range(start, 10))
    assert merged(3, 8) == [3, 4, 5, 6, 7]


def test_a_record_that_is_there_twice_comes_once():
    ring = Ring()
    first = ring.open(0, 0)
    ring.write(first, 0)
    ring.write(first, 1)
    second = ring.open(0, 1)
    ring.write(second, 1)
    ring.write(second, 2)
    assert [each[0] for each in steps(walk.Merge(ring.sectors, 0, 100))] == [0, 1, 2]


def test_an_empty_ring():
    ring = Ring()
    assert steps(walk.Merge(ring.sectors, 0, 100)) == []
    ring.open(1, 0)
    assert steps(walk.Merge(ring.sectors, 0, 100)) == []
