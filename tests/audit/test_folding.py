"""Floods of refusals become counts (SPEC.md 7.1)."""

from support import given, ints
from vitrine.audit import folding
from vitrine.audit import record as r

WRAP = 0x3FFFFFFF


def refusal(time_s, reason=5, **more):
    record = {r.KIND: r.LOCK_OPERATION_ERROR, r.TIME: time_s, r.TIME_STATE: 1, r.REASON: reason, r.CTI: bytes(8)}
    record[r.KID] = bytes(8)
    record.update({r.LINK: 1, r.ERROR: 1, r.AUTHENTIC: False, r.SUB: b"p", r.REF: b"r", r.DETAIL: "d"})
    return record


def flood(fold, number, start_ms=0, step_ms=10, reason=5):
    written = []
    for n in range(number):
        record = fold.take(refusal(1000 + n, reason), start_ms + n * step_ms)
        if record is not None:
            written.append(record)
    return written


def total(written):
    return sum(record.get(r.COUNT, 1) for record in written)


def test_the_first_ones_are_written_as_they_are():
    fold = folding.Folding(0)
    for n in range(folding.PLACES):
        record = refusal(n)
        assert fold.take(record, n) is record
    assert fold.take(refusal(9), 9) is None
    assert fold.folded == 1


def test_a_flood_leaves_few_records_and_loses_none():
    fold = folding.Folding(0)
    written = flood(fold, 20_000, step_ms=1)
    assert len(written) < folding.PLACES + 14
    rest = fold.due(20_000 + folding.MAX_AGE_MS)
    assert total(written) + rest[r.COUNT] == 20_000
    assert fold.due(20_000 + folding.MAX_AGE_MS) is None


def test_at_any_time_at_least_half_of_a_flood_is_written():
    fold = folding.Folding(0)
    done = 0
    for n in range(1, 5000):
        record = fold.take(refusal(n), n)
        if record is not None:
            done += record.get(r.COUNT, 1)
        assert done * 2 + folding.FIRST_COUNT >= n - folding.PLACES


def test_places_come_back():
    fold = folding.Folding(0)
    flood(fold, 20)
    record = refusal(5)
    assert fold.take(record, folding.PLACE_MS + 1) is record
    assert fold.take(refusal(6), folding.PLACE_MS + 2) is None
    for n in range(folding.PLACES):
        assert fold.take(refusal(n), 100 * folding.PLACE_MS) is not None
    assert fold.take(refusal(6), 100 * folding.PLACE_MS) is None


def test_time_may_wrap():
    start = WRAP - 5
    fold = folding.Folding(start)
    flood(fold, 10, start_ms=start, step_ms=0)
    record = refusal(1)
    assert fold.take(record, (start + folding.PLACE_MS) & WRAP) is record
    assert fold.due((start + folding.MAX_AGE_MS) & WRAP)[r.COUNT] == 2


def test_a_count_says_what_and_when_but_not_who():
    fold = folding.Folding(0)
    written = flood(fold, 16, step_ms=0)
    count = written[-1]
    assert count == {
        r.KIND: r.LOCK_OPERATION_ERROR,
        r.REASON: 5,
        r.ERROR: 1,
        r.LINK: 1,
        r.TIME: 1015,
        r.TIME_STATE: 1,
        r.SINCE: 1008,
        r.COUNT: 8,
    }
    r.encode(count)


def test_different_refusals_are_counted_apart():
    fold = folding.Folding(0)
    flood(fold, folding.PLACES)
    for _ in range(5):
        fold.take(refusal(1, reason=3), 1)
    for _ in range(3):
        fold.take(refusal(1, reason=9), 2)
    first = fold.due(folding.MAX_AGE_MS + 5)
    second = fold.due(folding.MAX_AGE_MS + 5)
    assert sorted([(first[r.REASON], first[r.COUNT]), (second[r.REASON], second[r.COUNT])]) == [(3, 5), (9, 3)]


def test_a_peer_cannot_choose_how_much_is_remembered():
    fold = folding.Folding(0)
    for reason in range(200):
        fold.take(refusal(1, reason=reason), 0)
    counts = []
    while True:
        record = fold.due(folding.MAX_AGE_MS)
        if record is None:
            break
        counts.append(record)
    # the rest has come out as counts of the kind alone, doubling
    assert len(counts) <= folding.MAX_KINDS + 1
    assert any(r.REASON not in record for record in counts)


def test_a_flood_that_is_over_is_forgotten_and_begins_small_again():
    fold = folding.Folding(0)
    flood(fold, 1000, step_ms=0)
    later = folding.MAX_AGE_MS
    while fold.due(later):
        pass
    assert fold.due(2 * later) is None
    fold.take(refusal(1), 2 * later)
    written = flood(fold, folding.PLACES + folding.FIRST_COUNT, start_ms=2 * later, step_ms=0)
    assert [record.get(r.COUNT) for record in written][-1] == folding.FIRST_COUNT


@given(ints(1, 3000), ints(0, 5000), ints(1, 6), examples=20)
def test_nothing_is_counted_twice_or_not_at_all(number, step_ms, reasons):
    fold = folding.Folding(0)
    counted = 0
    now_ms = 0
    for n in range(number):
        now_ms = (now_ms + step_ms) & WRAP
        record = fold.take(refusal(n, reason=n % reasons), now_ms)
        if record is not None:
            counted += record.get(r.COUNT, 1)
        if n % 50 == 0:
            record = fold.due(now_ms)
            if record is not None:
                counted += record[r.COUNT]
    now_ms = (now_ms + folding.MAX_AGE_MS) & WRAP
    while True:
        record = fold.due(now_ms)
        if record is None:
            break
        counted += record[r.COUNT]
    assert counted == number
