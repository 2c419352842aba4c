"""vitrine.access.ledger: a set that forgets nothing, in 16 sectors, looked up where it lies."""

from support import ON_MICROPYTHON, blobs, choices, given, ints, lists, raises, tuples
from support.ledger_flash import (
    DAY,
    EPOCH,
    NOW_S,
    REVOKED,
    SECTOR,
    SPENT,
    UNIT,
    add_many,
    copy,
    digest,
    fresh,
    has_all,
    has_any,
    log,
    pages,
    tend,
)
from support.nor_flash import NorFlash, PowerCut, tear_at
from vitrine.access.ledger import Ledger, provision
from vitrine.access.ledger_pages import LedgerError
from vitrine.codec import checksum

LATER_S = NOW_S + 100 * DAY


def full():
    """Both classes to the last entry; the flash is written once and copied."""
    if not _full:
        flash, ledger = fresh()
        add_many(ledger, REVOKED, range(2000), LATER_S)
        add_many(ledger, SPENT, range(4096), LATER_S)
        _full.append(flash)
    flash = copy(_full[0])
    return flash, Ledger(flash)


_full = []


def test_the_empty_ledger_is_as_specified():
    flash, ledger = fresh()
    block = bytearray(b"\xff" * 256)
    block[:28] = b"vtlp" + b"\0\0\0\1" + bytes(5) + b"\xff" * 5 + bytes(10)
    checksum.close(block, 0)
    header = bytearray(b"LOG1" + b"\0\0\0\1" + bytes(24))
    checksum.close(header, 0)
    assert flash.image[:256] == block and flash.image[SECTOR : SECTOR + 32] == header
    rest = bytes(flash.image[256:SECTOR] + flash.image[SECTOR + 32 :])
    assert rest == b"\xff" * len(rest)
    assert not has_any(ledger, REVOKED, range(50)) and not has_any(ledger, SPENT, range(50))
    assert ledger.count(REVOKED) == ledger.count(SPENT) == 0


def test_a_cell_is_as_specified():
    flash, ledger = fresh()
    assert ledger.add(SPENT, bytes(range(1, 33)), EPOCH + 3 * UNIT + 1)
    assert ledger.add(REVOKED, b"\xff" * 32, 0)
    start = SECTOR * log(flash) + 32
    # 40 bits: the class, then 0x0102030405 without its last bit; then four units of time
    assert flash.image[start : start + 12] == b"\x80\x81\x01\x82\x02" + b"\0\4" + b"\0" + b"\0\0\0\1"
    assert flash.image[start + 16 : start + 28] == b"\x7f\xff\xff\xff\xff" + b"\xff\xff" + b"\1" + b"\0\0\0\1"
    for cell in (start, start + 16):
        assert checksum.is_right(flash.image[cell : cell + 16], 0)


def test_a_page_is_as_specified():
    flash, ledger = fresh()
    add_many(ledger, REVOKED, range(90), LATER_S)
    add_many(ledger, SPENT, range(110), LATER_S)
    tend(ledger)
    ((sector, generation, header),) = [page for page in pages(flash) if page[1] == 2]
    assert generation == 2
    assert header[8:] == bytes(5) + b"\xff" * 5 + b"\0\xc8" + b"\0\x5a" + b"\0\xc8" + bytes(4)
    image = bytes(flash.image[SECTOR * sector : SECTOR * sector + SECTOR])
    entries = [image[28 + 7 * i : 35 + 7 * i] for i in range(32)]
    for block in range(1, 6):
        data = image[256 * block : 256 * block + 256]
        assert checksum.is_right(data, 16 * 2 + block)
        entries += [data[7 * i : 7 * i + 7] for i in range(36)]
    assert entries[200:] == [b"\xff" * 7] * 12 and image[6 * 256 :] == b"\xff" * 10 * 256
    assert entries[:200] == sorted(entries[:200])
    for number in range(110):
        value = int.from_bytes(digest(number)[:5], "big") >> 1 | 1 << 39
        assert value.to_bytes(5, "big") + ((LATER_S - EPOCH + UNIT - 1) // UNIT).to_bytes(2, "big") in entries
    assert bytes(flash.image[SECTOR + 28 : SECTOR + 32]) == bytes(4), "the old log is not retired"


def test_it_tells_how_it_is():
    flash, ledger = fresh()
    assert ledger.stats() == [1, 14, 0, 0]
    add_many(ledger, REVOKED, range(300), LATER_S)
    generation, free, bad, state = ledger.stats()
    assert generation > 1 and (free, bad, state) == (14, 0, 0)
    add_many(ledger, REVOKED, range(300, 900), LATER_S)
    assert ledger.stats()[1] == 13
    ledger._is_stuck = True
    assert ledger.stats()[3] == 2
    ledger._is_damaged = True
    assert ledger.stats()[3] == 1


def test_added_is_there_and_durable():
    flash, ledger = fresh()
    for number in range(300):
        assert ledger.add(number % 2, digest(number), LATER_S) is True
        if number % 37 == 0:
            again = Ledger(copy(flash))
            assert all(again.has(each % 2, digest(each)) for each in range(number + 1))
    assert not any(ledger.has(1 - each % 2, digest(each)) for each in range(300)), "the classes are mixed up"
    assert not has_any(ledger, REVOKED, range(300, 600))
    assert ledger.count(REVOKED) == ledger.count(SPENT) == 150


def test_what_is_there_is_not_written_again():
    flash, ledger = fresh()
    add_many(ledger, SPENT, range(250), LATER_S)
    for merged in (False, True):
        if merged:
            tend(ledger)
        flash.zero_counters()
        add_many(ledger, SPENT, range(250), LATER_S)
        add_many(ledger, SPENT, range(250), NOW_S)
        assert flash.programs == 0
    assert ledger.count(SPENT) == 250


def test_a_later_time_counts():
    flash, ledger = fresh()
    first_s = NOW_S + 3 * UNIT
    for until_s, is_written in ((first_s, 1), (first_s - UNIT, 0), (first_s + UNIT, 1), (0, 1), (LATER_S, 0)):
        flash.zero_counters()
        assert ledger.add(REVOKED, digest(1), until_s) and flash.programs == is_written, until_s
        assert ledger.has(REVOKED, digest(1), until_s)
    add_many(ledger, SPENT, range(200), NOW_S)
    assert ledger.count(REVOKED) == 3
    tend(ledger, NOW_S + 1000 * DAY)
    # two of the three are merged into the last
    assert ledger.count(REVOKED) == 1 and ledger.has(REVOKED, digest(1), 0)
    assert ledger.add(REVOKED, digest(2), first_s)
    assert ledger.has(REVOKED, digest(2), first_s) and not ledger.has(REVOKED, digest(2), first_s + UNIT)
    assert not ledger.has(REVOKED, digest(2), 0)


def test_times_at_their_ends():
    _, ledger = fresh()
    last_s = EPOCH + 0xFFFE * UNIT
    for number, until_s in enumerate((1, EPOCH, EPOCH + 1, last_s, last_s + 1, 1 << 40)):
        assert ledger.add(SPENT, digest(number), until_s) and ledger.has(SPENT, digest(number), until_s)
    assert not ledger.has(SPENT, digest(3), 0) and ledger.has(SPENT, digest(4), 0) and ledger.has(SPENT, digest(5), 0)


def test_room_for_all_and_no_more():
    flash, ledger = full()
    assert ledger.count(REVOKED) == 2000 and ledger.count(SPENT) == 4096
    assert has_all(ledger, REVOKED, range(2000)) and has_all(ledger, SPENT, range(4096))
    assert not has_any(ledger, REVOKED, range(2000, 6000)) and not has_any(ledger, SPENT, range(4096, 8000))
    flash.zero_counters()
    for kind in (REVOKED, SPENT):
        assert ledger.add(kind, digest(9999), LATER_S) is False and not ledger.has(kind, digest(9999))
        assert ledger.add(kind, digest(77), LATER_S) is True
    assert flash.programs == sum(flash.erases) == 0, "who is refused wears the flash"
    while ledger.tend(None):
        pass
    assert has_all(ledger, REVOKED, range(2000)) and has_all(ledger, SPENT, range(4096))


def test_one_class_never_takes_the_others_room():
    _, ledger = fresh()
    add_many(ledger, SPENT, range(4096), LATER_S)
    assert ledger.add(SPENT, digest(5000), LATER_S) is False
    add_many(ledger, REVOKED, range(2000), LATER_S)
    assert ledger.add(REVOKED, digest(5000), LATER_S) is False


def test_what_is_over_for_a_day_makes_room_once_time_is_known():
    flash, ledger = full()
    day_s = LATER_S + DAY + UNIT
    for now_s in (None, LATER_S, LATER_S + DAY - UNIT):
        assert ledger.tend(now_s) in (True, False)
        assert not ledger.add(SPENT, digest(9999), day_s + DAY)
    while ledger.tend(None):
        pass
    assert has_all(ledger, SPENT, range(4096))
    ledger.tend(day_s)
    assert ledger.add(SPENT, digest(9999), day_s + DAY) and ledger.has(SPENT, digest(9999))
    assert ledger.count(SPENT) == 1 and ledger.count(REVOKED) == 0
    assert not has_any(ledger, SPENT, range(4096))
    assert not has_any(Ledger(copy(flash)), SPENT, range(4096))


def test_a_full_class_does_not_wear_the_flash_at_each_try():
    flash, ledger = full()
    for step in range(40):
        ledger.tend(NOW_S + step * 600)
        assert ledger.add(SPENT, digest(9999), LATER_S) is False
    # once to look, and again when the next unit of time has begun
    assert sum(flash.erases) <= 2 * 13


def test_forever_is_for_ever():
    _, ledger = fresh()
    add_many(ledger, REVOKED, range(20), 0)
    add_many(ledger, SPENT, range(200), NOW_S)
    tend(ledger, 1 << 36)
    assert has_all(ledger, REVOKED, range(20)) and ledger.count(REVOKED) == 20
    assert ledger.count(SPENT) == 0 and not has_any(ledger, SPENT, range(200))


def test_each_step_of_idle_work_is_short():
    flash, ledger = full()
    ledger.tend(LATER_S + 2 * DAY)
    add_many(ledger, SPENT, range(5000, 5400), LATER_S + 9 * DAY)
    while True:
        before = list(flash.erases)
        programs = flash.programs
        is_more = ledger.tend(None)
        erases = sum(flash.erases) - sum(before)
        assert erases <= 1 and (not erases or flash.programs == programs)
        if not is_more:
            break
    assert ledger.tend(None) is False


def test_nothing_is_lost_while_merging():
    """Adding, looking up and starting anew between any two steps."""
    flash, ledger = fresh()
    add_many(ledger, SPENT, range(192), LATER_S)
    number = 192
    add_many(ledger, REVOKED, range(1000, 1500), LATER_S)
    steps = 0
    for _ in range(150):
        if ledger.tend(NOW_S):
            steps += 1
        add_many(ledger, SPENT, (number, number + 1), LATER_S)
        number += 2
        assert has_all(ledger, SPENT, range(number - 60, number)) and has_all(ledger, SPENT, range(60))
        if steps % 5 == 2:
            ledger = Ledger(copy(flash))
            flash = ledger._pages._device
            assert has_all(ledger, SPENT, range(number)) and has_all(ledger, REVOKED, range(1000, 1500))
            assert not has_any(ledger, SPENT, range(number, number + 99))
    assert steps > 5 and ledger.count(SPENT) >= number
    tend(ledger)
    assert has_all(ledger, SPENT, range(number)) and ledger.count(REVOKED) == 500


def test_all_sectors_wear_alike():
    flash, ledger = fresh()
    now_s = NOW_S
    for number in range(3000 if ON_MICROPYTHON else 12_000):
        assert ledger.add(SPENT, digest(number), now_s + DAY)
        now_s += 300
        ledger.tend(now_s)
    assert max(flash.erases) - min(flash.erases) <= 2, flash.erases
    # at some 600 live entries: two pages and a log for each 192
    assert sum(flash.erases) < number / 40


def test_a_lookup_reads_little():
    flash, ledger = full()
    most = 0
    for number in range(0, 6000, 41):
        flash.bytes_read = 0
        ledger.has(SPENT, digest(number))
        most = max(most, flash.bytes_read)
    assert 256 <= most <= 5 * 256
    flash.bytes_read = 0
    Ledger(flash)
    assert flash.bytes_read <= len(flash.image) // 8


@given(
    lists(tuples(choices(("add", "add", "add", "many", "tend", "cut", "wait", "again")), ints(0, 400)), 20, 60),
    ints(0, 5000),
    blobs(2, 2),
    examples=8 if ON_MICROPYTHON else 60,
)
def test_it_is_a_set_whatever_happens(orders, cut_after, tear):
    """Against a plain dict: adding, idle work, time, power cuts anywhere, restarts."""
    flash, ledger = fresh()
    model = {}
    now_s = NOW_S
    number = 0
    flash.cut_after = cut_after
    for order, n in orders:
        entries = []
        try:
            if order in ("add", "many"):
                for each in range(90 if order == "many" else 1):
                    until_s = 0 if n % 10 == 0 else now_s + (n - 100) * UNIT // 8
                    entries.append(((number + each) % 2, (number + each) * 7 % 3000, until_s))
                number += len(entries)
                for kind, key, until_s in entries:
                    if ledger.add(kind, digest(key), until_s):
                        before = model.get((kind, key), 1)
                        model[kind, key] = 0 if not until_s or not before else max(until_s, before)
            elif order == "tend":
                for _ in range(n % 20):
                    ledger.tend(now_s)
            elif order == "wait":
                now_s += n * UNIT // 16
            elif order == "again":
                ledger = Ledger(flash)
            else:
                flash.cut_after = n % 50
                flash.tear = tear_at(tear[0], tear[1])
        except PowerCut:
            flash = copy(flash)
            flash.is_strict = False
            ledger = Ledger(flash)
            for kind, key, until_s in entries:  # it may have been added or not; from now on it is
                assert ledger.add(kind, digest(key), until_s)
                before = model.get((kind, key), 1)
                model[kind, key] = 0 if not until_s or not before else max(until_s, before)
        for (kind, key), until_s in model.items():
            if not until_s or until_s + DAY > now_s:
                assert ledger.has(kind, digest(key)), (order, kind, key)
    flash.cut_after = -1
    for each in (ledger, Ledger(copy(flash))):
        tend(each)
        for (kind, key), until_s in model.items():
            if not until_s or until_s + DAY > now_s:
                assert each.has(kind, digest(key)), (kind, key)
        absent = [(kind, key) for kind in (0, 1) for key in range(0, 3300, 17) if (kind, key) not in model]
        assert not any(each.has(kind, digest(key)) for kind, key in absent)


def test_another_geometry_is_refused():
    for sectors, size in ((15, 4096), (17, 4096), (128, 4096), (64, 1024), (16, 512)):
        for use in (Ledger, provision):
            with raises(LedgerError) as caught:
                use(NorFlash(sectors, size))
            assert str(caught.value) == "Geometry"


def test_an_unformatted_partition_is_refused():
    flash = NorFlash(16)
    flash.trace = []
    with raises(LedgerError) as caught:
        Ledger(flash)
    assert str(caught.value) == "NotFormatted" and flash.trace == []


def test_provisioning_again_forgets_all():
    flash, ledger = full()
    provision(flash)
    ledger = Ledger(flash)
    assert not has_any(ledger, REVOKED, range(2000)) and not has_any(ledger, SPENT, range(4096))
    add_many(ledger, SPENT, range(3000, 3500), LATER_S)
    assert has_all(Ledger(copy(flash)), SPENT, range(3000, 3500))
