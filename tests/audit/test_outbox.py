"""Batches out, acknowledgements in, from anybody (SPEC.md section 9)."""

from powercut.life import ACKNOWLEDGE_KEY, EPOCH, FIRST_KEY, LOCK_ID, Clock, Random, Store, acknowledgement, event

from support import blobs, given, ints, raises
from support.nor_flash import NorFlash
from vitrine.audit import outbox, seal
from vitrine.audit import record as r
from vitrine.audit.faults import WORN_OUT, JournalError
from vitrine.audit.journal import Journal, provision
from vitrine.audit.outbox import AHEAD, FORGED, RELEASED, STALE, UNKEPT, Outbox
from vitrine.codec import cbor


def filled(number=0, lock_id=LOCK_ID):
    flash = NorFlash(16)
    store = Store()
    provision(flash, store, EPOCH, FIRST_KEY, ACKNOWLEDGE_KEY)
    journal = Journal(flash, store, Clock())
    random = Random(5)
    for n in range(number):
        journal.append(event(random, 1_700_000_000 + n, r.KEPT if n % 3 else r.ROUTINE))
    return journal, Outbox(journal, lock_id)


def key_of(count):
    key = FIRST_KEY
    for _ in range(count):
        key = seal.next_key(key)
    return key


def opened(data, count):
    content, tag = cbor.decode(data, 4096)
    assert tag == seal.batch_tag(key_of(count), content)
    return cbor.decode(content, 4096)


def tag(count):
    return seal.acknowledgement_tag(ACKNOWLEDGE_KEY, EPOCH, count)


def test_a_batch_has_what_the_table_says():
    journal, box = filled(5)
    data, end = box.batch()
    version, lock_id, epoch, start, to, count, head, records = opened(data, 5)
    assert (version, lock_id, epoch, start, to, count, head) == (1, LOCK_ID, EPOCH, 0, 5, 5, journal.head)
    assert end == 5
    assert [each[0] for each in records] == [0, 1, 2, 3, 4]
    for number, body, record_tag in records:
        assert record_tag == seal.record_tag(key_of(number), number, body)


def test_batches_follow_one_another_to_the_end():
    for limit in (outbox.MIN_BATCH, 512, 1000, 4096, 100_000):
        journal, box = filled(200)
        start = None
        numbers = []
        before = 0
        while start != 200:
            data, start = box.batch(start, limit)
            assert len(data) <= min(limit, 4096)
            fields = opened(data, 200)
            assert (fields[3], fields[4]) == (before, start)
            assert len(fields[7]) <= 48
            before = start
            numbers.extend([each[0] for each in fields[7]])
        assert numbers == list(range(200))


def test_the_longest_record_and_lock_id_fit_into_the_smallest_batch():
    journal, box = filled(0, "x" * 32)
    record = {
        key: 255 for key in (r.REASON, r.OPERATION, r.SOURCE, r.DOOR_STATE, r.ALARM, r.ERROR, r.LOCK_STATE, r.LINK)
    }
    record.update({r.KIND: r.FAULT, r.TIME: 0xFFFFFFFF, r.SINCE: 0xFFFFFFFF, r.COUNT: 0xFFFFFFFF, r.DETAIL: "x" * 32})
    record.update({r.SUB: bytes(16), r.CTI: bytes(16), r.KID: bytes(8), r.REF: bytes(32), r.HEAD: bytes(32)})
    record.update({r.RANGE: [0xFFFFFFFF, 0xFFFFFFFF], r.TIME_STATE: 1, r.AUTHENTIC: True, r.CLASS: 1})
    journal.append(record)
    data, end = box.batch(None, outbox.MIN_BATCH)
    assert end == 1
    assert len(opened(data, 1)[7]) == 1


def test_a_limit_that_no_record_is_sure_to_fit_into_is_a_mistake():
    _, box = filled(1)
    with raises(ValueError):
        box.batch(None, outbox.MIN_BATCH - 1)


def test_a_heartbeat_is_a_batch_without_records():
    journal, box = filled(7)
    data, end = box.batch(7)
    assert end == 7
    assert opened(data, 7)[3:] == [7, 7, 7, journal.head, []]


def test_a_start_out_of_range_is_the_acknowledged_count():
    journal, box = filled(7)
    journal.release(3, tag(3))
    for start in (2, 8, -1, None):
        assert opened(box.batch(start)[0], 7)[3] == 3


def test_a_pull_begins_wherever_it_is_told_and_releases_nothing():
    journal, box = filled(7)
    journal.release(3, tag(3))
    for start in (0, 2, 3, 7):
        data, end = box.batch(start, 4096, True)
        fields = opened(data, 7)
        assert fields[3:5] == [start, 7] and end == 7
        assert [each[0] for each in fields[7]] == list(range(start, 7))
    for start in (8, -1, None):
        assert opened(box.batch(start, 4096, True)[0], 7)[3] == 3
    assert journal.acknowledged == 3


def test_an_acknowledgement_releases_and_stays():
    journal, box = filled(20)
    assert box.acknowledge(acknowledgement(12, tag(12))) == RELEASED
    assert journal.acknowledged == 12
    assert opened(box.batch()[0], 20)[3] == 12
    assert box.acknowledge(acknowledgement(12, tag(12))) == STALE
    assert box.acknowledge(acknowledgement(5, tag(5))) == STALE
    assert box.acknowledge(acknowledgement(0, tag(0))) == STALE
    assert box.acknowledge(acknowledgement(20, tag(20))) == RELEASED
    assert journal.acknowledged == 20


def test_the_lock_can_show_the_acknowledgement_that_it_keeps():
    journal, box = filled(20)
    assert box.acknowledgement() is None
    box.acknowledge(acknowledgement(12, tag(12)))
    assert box.acknowledgement() == acknowledgement(12, tag(12))


def test_only_the_collector_is_believed():
    journal, box = filled(20)
    good = acknowledgement(12, tag(12))
    others = (
        b"",
        b"\xff",
        b"\x80",
        acknowledgement(12, tag(13)),
        acknowledgement(13, tag(12)),
        acknowledgement(12, bytes(16)),
        good[:-1],
        good + b"\0",
        cbor.encode([2, EPOCH, 12, tag(12)]),
        cbor.encode([1, EPOCH + 1, 12, tag(12)]),
        cbor.encode([1, EPOCH + 1, 12, seal.acknowledgement_tag(ACKNOWLEDGE_KEY, EPOCH + 1, 12)]),
        cbor.encode([1, EPOCH, 12, seal.acknowledgement_tag(b"x" * 32, EPOCH, 12)]),
        cbor.encode([1, EPOCH, -1, bytes(16)]),
        cbor.encode([1, EPOCH, 1 << 40, bytes(9)]),
        cbor.encode([1, EPOCH, True, tag(1)]),
        cbor.encode([1, EPOCH, "12", tag(12)]),
        cbor.encode([1, EPOCH, 12, None]),
        cbor.encode([1, EPOCH, 12, tag(12)[:15]]),
        cbor.encode({1: 1}),
        box.batch()[0],
    )
    for data in others:
        assert box.acknowledge(data) == FORGED, data
    assert journal.acknowledged == 0
    assert journal.count == 20


@given(ints(0, 28), ints(1, 255))
def test_no_altered_byte_is_believed(place, mask):
    journal, box = filled(9)
    data = bytearray(acknowledgement(5, tag(5)))
    data[place % len(data)] ^= mask
    assert box.acknowledge(bytes(data)) == FORGED
    assert journal.acknowledged == 0


@given(blobs(0, 64))
def test_no_junk_is_believed(data):
    journal, box = filled(3)
    assert box.acknowledge(data) == FORGED
    assert journal.acknowledged == 0


def test_an_acknowledgement_of_what_never_was_says_that_the_lock_was_set_back():
    journal, box = filled(3)
    said = [box.acknowledge(acknowledgement(4 + 50, tag(54))) for _ in range(3)]
    assert said == [AHEAD, STALE, STALE], "once in each start"
    assert (journal.acknowledged, journal.count) == (0, 3), "to record it is for those who stamp events"
    assert Outbox(journal, LOCK_ID).acknowledge(acknowledgement(54, tag(54))) == AHEAD


def test_a_flash_that_takes_no_more_keeps_no_acknowledgement_and_raises_nothing():
    journal, box = filled(20)

    def worn_out(count, tag):
        raise JournalError(WORN_OUT)

    release, journal.release = journal.release, worn_out
    assert box.acknowledge(acknowledgement(12, tag(12))) == UNKEPT and journal.acknowledged == 0
    journal.release = release
    assert box.acknowledge(acknowledgement(12, tag(12))) == RELEASED
