"""The journal as a lock sees it: durable, bounded, never full of the wrong things (SPEC.md sections 7.1 and 8)."""

from powercut.life import ACKNOWLEDGE_KEY, EPOCH, FIRST_KEY, Clock, Random, Store, event

from support import raises
from support.nor_flash import NorFlash
from vitrine.audit import faults, seal
from vitrine.audit import record as r
from vitrine.audit.journal import Journal, provision
from vitrine.codec import cbor

KIB = 1024


class Lock:
    """A lock's journal on a simulated flash."""

    def __init__(self, kib=64, device=None, **faults_of):
        self.flash = device or NorFlash(kib // 4)
        for name, value in faults_of.items():
            setattr(self.flash, name, value)
        self.store = Store()
        self.clock = Clock()
        provision(self.flash, self.store, EPOCH, FIRST_KEY, ACKNOWLEDGE_KEY)
        self.random = Random(3)
        self.start()

    def start(self):
        self.journal = Journal(self.flash, self.store, self.clock)
        return self.journal

    def write(self, of_class, number=1, spread_ms=60_000):
        """Append `number` events of a class, with time between so that refusals are not folded."""
        for _ in range(number):
            self.clock.now_ms += spread_ms
            self.journal.append(event(self.random, 1_700_000_000, of_class))

    def idle(self):
        while self.journal.tend():
            pass

    def acknowledge(self, count):
        self.journal.release(count, seal.acknowledgement_tag(ACKNOWLEDGE_KEY, EPOCH, count))

    def found(self, start=0):
        walk = self.journal.unsent(start)
        found = {}
        while walk.step():
            found[walk.sequence] = cbor.decode(walk.body, 300)
        return found

    def lost(self):
        """Return {class: (first, last, count)} of the widest RecordsLost of each class."""
        losses = {}
        for record in self.found().values():
            if record[r.KIND] == r.RECORDS_LOST:
                of_class = record.get(r.CLASS, -1)
                first, last = record[r.RANGE]
                widest = losses.get(of_class, (0, -1))
                if last - first > widest[1] - widest[0]:
                    losses[of_class] = (first, last, record[r.COUNT])
        return losses


def grant(n):
    return {r.KIND: r.LOCK_OPERATION, r.TIME: n, r.TIME_STATE: 1, r.OPERATION: 1, r.KID: bytes(8), r.CTI: bytes(8)}


def of_size(size):
    """A kept record whose body has `size` bytes."""
    record = grant(1_700_000_000)
    record.update({r.SUB: bytes(14), r.DETAIL: ""})
    record[r.DETAIL] = "x" * (size - len(r.encode(record)))
    assert len(r.encode(record)) == size
    return record


def test_a_new_journal_is_empty():
    lock = Lock()
    assert (lock.journal.count, lock.journal.head, lock.journal.acknowledged) == (0, bytes(32), 0)
    assert lock.found() == {}


def test_records_are_numbered_and_there_after_a_start():
    lock = Lock()
    assert [lock.journal.append(grant(n)) for n in range(50)] == list(range(50))
    head = lock.journal.head
    lock.start()
    assert (lock.journal.count, lock.journal.head) == (50, head)
    assert [lock.found()[n][r.TIME] for n in range(50)] == list(range(50))


def test_what_is_no_record_is_not_written():
    lock = Lock()
    for record in ({}, {r.KIND: 77}, {r.KIND: r.START, 99: 1}):
        with raises(r.RecordError):
            lock.journal.append(record)
    assert lock.journal.count == 0


def test_floods_of_refusals_never_evict_grants_alarms_or_configuration_changes():
    lock = Lock()
    precious = [grant(5), {r.KIND: r.DOOR_LOCK_ALARM, r.ALARM: 6}, {r.KIND: r.CONFIGURATION_CHANGE, r.DETAIL: "x"}]
    for n in range(60):
        lock.journal.append(precious[n % 3])
    door = [lock.journal.append({r.KIND: r.DOOR_STATE_CHANGE, r.DOOR_STATE: 1}) for _ in range(20)]
    lock.write(r.REFUSED, 3000)
    found = lock.found()
    assert [n for n in range(60) if n not in found] == []
    assert [n for n in door if n not in found] == []
    assert set(lock.lost()) == {r.REFUSED}


def test_a_flapping_door_never_evicts_grants():
    lock = Lock()
    lock.write(r.KEPT, 60)
    lock.write(r.ROUTINE, 3000)
    assert [n for n in range(60) if n not in lock.found()] == []
    assert set(lock.lost()) == {r.ROUTINE}


def test_grants_come_before_all_others_but_leave_a_floor():
    lock = Lock()
    lock.write(r.ROUTINE, 1000)
    lock.write(r.REFUSED, 1000)
    lock.write(r.KEPT, 3000)
    lock.idle()
    stats = lock.journal.stats()
    kinds = [record[r.KIND] for record in lock.found().values()]
    assert stats["free"] >= 4
    assert kinds.count(r.DOOR_STATE_CHANGE) > 50
    assert kinds.count(r.LOCK_OPERATION_ERROR) > 50
    assert set(lock.lost()) == {0, 1, 2}


def test_who_has_nothing_yet_finds_room_in_a_full_journal():
    lock = Lock()
    lock.write(r.KEPT, 2000)
    before = set(lock.found())
    lock.write(r.ROUTINE, 60)
    lock.write(r.REFUSED, 60)
    after = lock.found()
    gone = [n for n in before if n not in after]
    assert gone == []


def test_the_range_and_number_of_what_is_lost_is_exact():
    lock = Lock()
    written = {}
    for _ in range(2500):
        of_class = lock.random.below(3)
        lock.clock.now_ms += 60_000
        sequence = lock.journal.append(event(lock.random, 1, of_class))
        written[sequence] = of_class
        if lock.random.below(400) == 0:
            lock.start()
    for n, record in lock.found().items():
        if record[r.KIND] == r.RECORDS_LOST:
            written[n] = r.KEPT
    # RecordsLost that were lost themselves are of class kept, and nothing else is unknown
    for n in range(lock.journal.count):
        written.setdefault(n, r.KEPT)
    found = lock.found()
    for of_class, (first, last, number) in lock.lost().items():
        gone = [n for n in range(lock.journal.count) if written[n] == of_class and n not in found]
        assert (first, last, number) == (gone[0], gone[-1], len(gone))
    assert len(lock.lost()) == 3


def test_acknowledged_records_go_first_and_without_a_word():
    lock = Lock()
    for _ in range(60):
        lock.write(r.KEPT, 15)
        lock.write(r.ROUTINE, 15)
        lock.write(r.REFUSED, 15)
        lock.acknowledge(lock.journal.count)
    assert lock.lost() == {}
    assert lock.journal.acknowledged == lock.journal.count == 2700
    lock.start()
    assert lock.journal.acknowledged == 2700


def test_history_stays_until_its_room_is_needed():
    lock = Lock()
    lock.write(r.KEPT, 100)
    lock.acknowledge(100)
    lock.idle()
    lock.start()
    assert len(lock.found()) == 100
    assert lock.found(lock.journal.acknowledged) == {}


def test_an_acknowledgement_beyond_the_count_releases_nothing():
    lock = Lock()
    lock.write(r.KEPT, 5)
    lock.acknowledge(6)
    lock.acknowledge(3)
    lock.acknowledge(2)
    assert lock.journal.acknowledged == 3


def test_refusals_in_a_flood_are_counted_and_the_count_comes_out():
    lock = Lock()
    same = {r.KIND: r.LOCK_OPERATION_ERROR, r.REASON: 9, r.LINK: 1}
    numbers = [lock.journal.append(same) for _ in range(1000)]
    assert numbers.count(None) > 970
    lock.clock.now_ms += 600_000
    lock.idle()
    assert sum(record.get(r.COUNT, 1) for record in lock.found().values()) == 1000
    assert lock.journal.stats()["folded"] == 992


def test_ten_thousand_typical_records_fit_into_a_mebibyte():
    lock = Lock(1024)
    typical = of_size(64)
    for _ in range(10_000):
        lock.journal.append(typical)
    lock.start()
    walk = lock.journal.unsent()
    number = 0
    while walk.step():
        number += 1
    assert number == lock.journal.count == 10_000


def test_the_cost_of_a_record():
    lock = Lock(512)
    typical = of_size(64)
    for _ in range(6000):  # once round
        lock.journal.append(typical)
        lock.idle()
    lock.flash.zero_counters()
    for _ in range(6000):
        lock.journal.append(typical)
        lock.idle()
    assert lock.flash.bytes_programmed <= 3 * 64 * 6000
    assert sum(lock.flash.erases) <= 0.04 * 6000


def test_a_full_ring_is_mounted_by_reading_a_twentieth():
    for each in (0, 1, 2, 50):
        lock = Lock(512)
        for _ in range(7000 + 13 * each):
            lock.clock.now_ms += 60_000
            lock.journal.append(event(lock.random, 1, lock.random.below(3)))
        lock.flash.bytes_read = 0
        lock.start()
        assert lock.flash.bytes_read <= 512 * KIB // 20


def test_an_append_does_not_wait_for_an_erase_if_the_lock_has_idle_time():
    lock = Lock(64)
    for step in range(3000):
        erases = sum(lock.flash.erases)
        lock.write(step % 3, 1)
        assert sum(lock.flash.erases) == erases
        lock.idle()
        assert lock.journal.stats()["ready"] >= 4


def test_idle_work_comes_in_pieces_of_one_erase():
    lock = Lock(64)
    lock.write(r.KEPT, 800)
    while True:
        erases = sum(lock.flash.erases)
        more = lock.journal.tend()
        assert sum(lock.flash.erases) - erases <= 1
        if not more:
            break


def test_wear_is_even():
    lock = Lock(64)
    for step in range(12_000):
        # the slow class has one record in 500: its sector must not sit there for ever
        lock.write(r.REFUSED if step % 500 == 0 else r.KEPT if step % 3 else r.ROUTINE)
        if step % 10 == 0:
            lock.idle()
        if step % 40 == 0:
            lock.acknowledge(lock.journal.count)
        if step % 1000 == 0:
            lock.start()
    stats = lock.journal.stats()
    assert min(lock.flash.erases) > 15
    assert max(lock.flash.erases) - min(lock.flash.erases) <= 4
    assert stats["wear_max"] - stats["wear_min"] <= 4


class Sparse:
    """Four mebibytes of flash on a small heap: only sectors that were touched take room."""

    def __init__(self):
        self.blank = b"\xff" * 4096
        self.touched = {}

    def readblocks(self, sector, buffer, offset=0):
        memoryview(buffer)[:] = memoryview(self.touched.get(sector, self.blank))[offset : offset + len(buffer)]

    def writeblocks(self, sector, data, offset=0):
        image = self.touched.setdefault(sector, bytearray(self.blank))
        for n in range(len(data)):
            image[offset + n] &= data[n]

    def ioctl(self, operation, argument):
        if operation == 6:
            self.touched.pop(argument, None)
        return {4: 1024, 5: 4096}.get(operation, 0)


def test_geometries():
    for kib, device in ((64, None), (128, None), (4096, Sparse())):
        lock = Lock(kib, device)
        lock.write(r.KEPT, 150)
        lock.write(r.REFUSED, 50)
        head = lock.journal.head
        assert (lock.start().head, lock.journal.count) == (head, 200)
        assert sorted(lock.found()) == list(range(200))


def test_a_lock_that_was_never_provisioned_has_no_journal():
    for blob in (None, b"", b"\xff", cbor.encode([1]), cbor.encode([b"", 1]), cbor.encode({1: 2}), cbor.encode([1, 2])):
        with raises(faults.JournalError) as refused:
            Journal(NorFlash(16), Store(blob), Clock())
        assert refused.value.fault == faults.NOT_PROVISIONED


def test_a_wiped_or_foreign_partition_is_known_and_left_alone():
    lock = Lock()
    for image in (None, bytes(64 * KIB), bytes(range(256)) * 256):
        flash = NorFlash(16, image=image)
        with raises(faults.JournalError) as refused:
            Journal(flash, lock.store, lock.clock)
        assert refused.value.fault == faults.FOREIGN
        assert flash.programs == sum(flash.erases) == 0
    other = Store(cbor.encode([EPOCH + 1, ACKNOWLEDGE_KEY]))
    with raises(faults.JournalError) as refused:
        Journal(lock.flash, other, lock.clock)
    assert refused.value.fault == faults.FOREIGN


def test_a_wrong_geometry_is_no_journal():
    with raises(faults.JournalError) as refused:
        Journal(NorFlash(15), Lock().store, Clock())
    assert refused.value.fault == faults.GEOMETRY


def test_provisioning_again_leaves_no_old_key_and_no_old_record():
    for epoch in (EPOCH, EPOCH + 5):
        lock = Lock(raises_on_erase={2})
        lock.write(r.KEPT, 200)
        lock.write(r.ROUTINE, 50)
        old = bytes(lock.journal._state.key)
        provision(lock.flash, lock.store, epoch, b"n" * 24, ACKNOWLEDGE_KEY)
        assert bytes(lock.flash.image).find(old) < 0
        lock.start()
        assert (lock.journal.count, lock.journal.epoch, lock.found()) == (0, epoch, {})


def test_bad_sectors_are_passed_over():
    lock = Lock(cannot_erase={3, 5}, raises_on_erase={9})
    lock.flash.is_strict = False
    lock.flash.image[3 * 4096 + 100] = 0
    lock.flash.image[5 * 4096 + 100] = 0
    for _ in range(10):
        lock.write(r.KEPT, 100)
        lock.write(r.ROUTINE, 100)
        lock.acknowledge(lock.journal.count)
        lock.idle()
        lock.start()
    assert lock.journal.count == 2000
    assert lock.journal.stats()["bad"] <= 3
    assert lock.lost() == {}


def test_a_worn_out_partition_is_known():
    lock = Lock()
    lock.write(r.KEPT, 10)
    lock.flash.raises_on_erase = set(range(16))
    with raises(faults.JournalError) as refused:
        for _ in range(5000):
            lock.write(r.KEPT)
    assert refused.value.fault == faults.WORN_OUT
    written = set(lock.found())
    with raises(faults.JournalError) as refused:
        for _ in range(20):
            lock.start()
            lock.idle()
            lock.write(r.KEPT, 1)
    assert refused.value.fault == faults.WORN_OUT
    assert len(written) > 50


def test_too_few_good_sectors_for_provisioning():
    flash = NorFlash(16)
    flash.raises_on_erase = set(range(3, 16))
    with raises(faults.JournalError) as refused:
        provision(flash, Store(), EPOCH, FIRST_KEY, ACKNOWLEDGE_KEY)
    assert refused.value.fault == faults.WORN_OUT


def test_too_few_good_sectors_at_a_start():
    lock = Lock()
    lock.write(r.KEPT, 3)

    class Deaf(NorFlash):
        def readblocks(self, sector, buffer, offset=0):
            if sector >= 10:
                raise OSError(5)
            NorFlash.readblocks(self, sector, buffer, offset)

    with raises(faults.JournalError) as refused:
        Journal(Deaf(16, image=lock.flash.image), lock.store, lock.clock)
    assert refused.value.fault == faults.WORN_OUT


def test_stuck_bits_cost_places_not_records():
    random = Random(9)
    lock = Lock()
    for _ in range(60):
        lock.flash.stuck_ones[random.below(64 * KIB)] = 1 << random.below(8)
    bodies = {}
    for step in range(1500):
        lock.clock.now_ms += 60_000
        record = event(random, step, step % 3)
        bodies[lock.journal.append(record)] = record
        if step % 100 == 0:
            lock.acknowledge(max(0, lock.journal.count - 50))
            lock.start()
    found = lock.found(lock.journal.acknowledged)
    assert set(found) == set(range(lock.journal.acknowledged, lock.journal.count))
    for n in found:
        assert n not in bodies or found[n] == bodies[n]


def test_a_sector_where_nothing_can_be_written_is_left():
    lock = Lock()
    lock.write(r.KEPT, 3)
    sector = next(n for n in range(16) if lock.journal._sectors.use[n] == 4)
    for place in range(64, 4096, 8):
        lock.flash.stuck_ones[sector * 4096 + place] = 0xFF
    lock.write(r.ROUTINE, 60)
    lock.write(r.REFUSED, 60)
    lock.start()
    assert set(lock.found()) == set(range(123))


# --- tampering that a start has to live with; what it means is the verifier's business ---


def test_missing_newest_records_become_a_record():
    lock = Lock()
    lock.write(r.KEPT, 20)
    tail = lock.journal._tails[r.KEPT]
    lock.flash.image[tail.sector * 4096 + tail.end - 200 : tail.sector * 4096 + tail.end] = b"\xff" * 200
    lock.start()
    assert lock.lost() == {-1: (lock.lost()[-1][0], 19, 20 - lock.lost()[-1][0])}
    assert lock.journal.count == 21
    lock.start()
    assert lock.journal.count == 21


def test_what_went_missing_is_said_again_before_it_is_given_up():
    lock = Lock()
    lock.write(r.KEPT, 20)
    tail = lock.journal._tails[r.KEPT]
    lock.flash.image[tail.sector * 4096 + tail.end - 200 : tail.sector * 4096 + tail.end] = b"\xff" * 200
    lock.start()
    missing = lock.lost()[-1]
    lock.write(r.KEPT, 2000)
    assert 20 not in lock.found()
    assert lock.lost()[-1] == missing
    lock.acknowledge(lock.journal.count)
    lock.write(r.KEPT, 2000)
    assert -1 not in lock.lost()


def test_records_that_are_acknowledged_and_gone_are_not_missed():
    lock = Lock()
    lock.write(r.KEPT, 20)
    lock.acknowledge(20)
    sector = lock.journal._tails[r.KEPT].sector
    lock.flash.image[sector * 4096 + 64 : sector * 4096 + 4096] = b"\xff" * 4032
    lock.start()
    assert lock.journal.count == 20
    lock.write(r.KEPT, 1)
    assert list(lock.found(20)) == [20]


def test_a_lost_head_starts_again_from_zeros_and_says_so_once():
    lock = Lock()
    lock.write(r.KEPT, 20)
    sector = lock.journal._tails[r.KEPT].sector
    lock.flash.flip(sector * 4096 + 40, 3)
    lock.start()
    assert lock.lost() == {-1: (19, 19, 0)}
    lost = next(record for record in lock.found().values() if record[r.KIND] == r.RECORDS_LOST)
    assert lost[r.HEAD] == bytes(32)
    for _ in range(3):
        lock.start()
    assert lock.journal.count == 21
    assert len(lock.found()) == 21


def test_a_lost_head_of_an_empty_journal():
    lock = Lock()
    lock.write(r.KEPT, 1)
    sector = lock.journal._tails[r.KEPT].sector
    lock.flash.image[sector * 4096 + 64 : sector * 4096 + 4096] = b"\xff" * 4032
    lock.flash.flip(sector * 4096 + 40, 3)
    lock.start()
    assert lock.lost() == {-1: (0, 0, 1)}


def test_all_records_removed():
    lock = Lock()
    lock.write(r.KEPT, 20)
    sector = lock.journal._tails[r.KEPT].sector
    lock.flash.image[sector * 4096 : sector * 4096 + 4096] = b"\xff" * 4096
    lock.start()
    assert lock.lost() == {-1: (0, 19, 20)}


def test_a_state_set_back_is_brought_forward_by_the_records():
    lock = Lock()
    lock.write(r.KEPT, 5)
    sector = lock.journal._state._sector
    old = bytes(lock.flash.image[sector * 4096 : sector * 4096 + 4096])
    lock.write(r.KEPT, 5)
    head = lock.journal.head
    lock.flash.image[sector * 4096 : sector * 4096 + 4096] = old
    lock.start()
    assert (lock.journal.count, lock.journal.head) == (10, head)
    lock.write(r.KEPT, 1)
    assert lock.start().count == 11


def test_records_that_the_key_does_not_prove_are_not_believed():
    lock = Lock()
    lock.write(r.KEPT, 5)
    image = bytes(lock.flash.image)
    # the same flash, with records of an unknown key behind the count: of one, in a new sector, and far away
    for count in (5, 300, 100_000):
        lock.flash.image[:] = image
        lock.start()
        state = lock.journal._state
        lock.journal._state.key = bytearray(b"x" * 24)
        state.count = count
        key_cells = bytes(lock.flash.image)
        lock.write(r.KEPT, 1)
        lock.write(r.ROUTINE, 1)
        sector = state._sector
        lock.flash.image[sector * 4096 : sector * 4096 + 4096] = key_cells[sector * 4096 : sector * 4096 + 4096]
        lock.start()
        assert lock.journal.count == 5
        assert list(lock.found()) == [0, 1, 2, 3, 4]
        lock.write(r.KEPT, 50)
        lock.write(r.ROUTINE, 50)
        assert lock.start().count == 105
        assert list(lock.found()) == list(range(105))


def test_a_lost_key_leaves_a_journal_that_is_not_sealed_but_whole():
    lock = Lock()
    lock.write(r.KEPT, 5)
    place = lock.journal._state._place
    lock.flash.image[place[0] * 4096 + place[1] : place[0] * 4096 + place[1] + 24] = bytes(24)
    lock.start()
    assert lock.journal.stats()["sealed"] == 0
    assert lock.journal.batch_tag(b"x") == bytes(16)
    lock.write(r.KEPT, 200)
    lock.write(r.ROUTINE, 200)
    lock.acknowledge(100)
    lock.start()
    assert (lock.journal.count, lock.journal.acknowledged) == (405, 100)
    assert list(lock.found()) == list(range(405))


def test_stats():
    lock = Lock()
    lock.write(r.KEPT, 5)
    lock.acknowledge(3)
    stats = lock.journal.stats()
    assert (stats["records"], stats["acknowledged"], stats["sectors"], stats["sealed"]) == (5, 3, 16, 1)
    assert stats["wear_max"] >= stats["wear_min"] >= 0
