"""Records: bounds, classes, sizes (SPEC.md section 7)."""

from support import bools, given, ints, raises, tuples
from vitrine.audit import record as r
from vitrine.codec import cbor

SERVICE, UPDATE = 136, 137  # kinds, and a field that only those who write them name
DIGEST = 31

GRANT = {
    r.KIND: r.LOCK_OPERATION,
    r.TIME: 1_700_000_000,
    r.TIME_STATE: 1,
    r.REASON: 0,
    r.OPERATION: 1,
    r.SOURCE: 7,
    r.SUB: bytes(16),
    r.CTI: bytes(16),
    r.REF: bytes(8),
    r.KID: bytes(8),
    r.AUTHENTIC: True,
    r.LOCK_STATE: 2,
    r.LINK: 1,
}


def test_a_full_grant_takes_at_most_96_bytes():
    assert len(r.encode(GRANT)) == 79


def test_the_common_records_take_at_most_96_bytes():
    door = {r.KIND: r.DOOR_STATE_CHANGE, r.TIME: 1_700_000_000, r.TIME_STATE: 1, r.DOOR_STATE: 0, r.LOCK_STATE: 2}
    refusal = dict(GRANT)
    refusal[r.KIND] = r.LOCK_OPERATION_ERROR
    refusal[r.ERROR] = 3
    lost = {
        r.KIND: r.RECORDS_LOST,
        r.TIME: 1_700_000_000,
        r.TIME_STATE: 1,
        r.COUNT: 0xFFFFFFFF,
        r.RANGE: [0xFFFFFFFE, 0xFFFFFFFF],
        r.CLASS: 2,
        r.HEAD: bytes(32),
    }
    for record in (door, refusal, lost):
        assert len(r.encode(record)) <= 96


def test_what_is_encoded_is_decoded_the_same():
    assert cbor.decode(r.encode(GRANT), r.MAX_BODY) == GRANT


def test_classes():
    kept = [
        GRANT,
        {r.KIND: r.DOOR_LOCK_ALARM},
        {r.KIND: r.CONFIGURATION_CHANGE},
        {r.KIND: r.RECORDS_LOST},
        {r.KIND: SERVICE},
        {r.KIND: UPDATE, r.REASON: 0, DIGEST: bytes(32)},
    ]
    routine = [{r.KIND: kind} for kind in (r.DOOR_STATE_CHANGE, r.LOCK_OPERATION, r.START, r.FAULT, r.TIME_CHANGE)]
    routine.append({r.KIND: r.DOOR_LOCK_ALARM, r.ALARM: 6, r.DETAIL: r.AGAIN})
    refused = [{r.KIND: r.LOCK_OPERATION_ERROR, r.KID: bytes(8)}, {r.KIND: r.IDENTIFY}]
    refused.append({r.KIND: UPDATE, r.REASON: 28, r.DETAIL: "refused"})
    assert [r.class_of(each) for each in kept] == [r.KEPT] * 6
    assert [r.class_of(each) for each in routine] == [r.ROUTINE] * 6
    assert [r.class_of(each) for each in refused] == [r.REFUSED] * 3


def test_what_is_no_record_is_refused():
    base = {r.KIND: r.START}
    for key, value in (
        (r.KIND, 4),
        (r.KIND, None),
        (r.TIME, -1),
        (r.TIME, 1 << 32),
        (r.TIME, True),
        (r.TIME, "now"),
        (r.TIME_STATE, 3),
        (r.SUB, b""),
        (r.SUB, bytes(17)),
        (r.SUB, "someone"),
        (r.CTI, bytes(17)),
        (r.REF, bytes(33)),
        (r.KID, bytes(7)),
        (r.DETAIL, "x" * 33),
        (r.DETAIL, b"x"),
        (r.AUTHENTIC, 1),
        (r.RANGE, [1]),
        (r.RANGE, [1, -1]),
        (r.RANGE, 5),
        (r.HEAD, bytes(31)),
        (DIGEST, bytes(31)),
        (DIGEST, bytes(33)),
        (r.OTHERS, b"p-1"),
        (r.OTHERS, []),
        (r.OTHERS, [b"p-1"] * 3),
        (r.OTHERS, [b"p-1", b""]),
        (r.OTHERS, [b"p-1", None]),
        (0, 1),
        (23, 1),
    ):
        record = dict(base)
        record[key] = value
        with raises(r.RecordError):
            r.encode(record)
    with raises(r.RecordError):
        r.encode({r.TIME: 1})


def test_a_record_of_all_fields_at_their_largest_fits():
    common = {
        key: 255 for key in (r.REASON, r.OPERATION, r.SOURCE, r.DOOR_STATE, r.ALARM, r.ERROR, r.LOCK_STATE, r.LINK)
    }
    common.update({key: 0xFFFFFFFF for key in (r.TIME, r.SINCE, r.COUNT)})
    common.update({r.KIND: r.FAULT, r.TIME_STATE: 2, r.AUTHENTIC: True, r.KID: bytes(8)})
    # an operation, by whoever and why; what else there is never comes together with it
    operation = {r.SUB: bytes(16), r.CTI: bytes(16), r.REF: bytes(32), r.SHADOW: True, r.SCORE: 100, r.RULE: "x" * 16}
    operation.update({r.PERSONS: 3, r.OTHERS: [bytes(16)] * 2})
    loss = {r.RANGE: [0xFFFFFFFF, 0xFFFFFFFF], r.CLASS: 2, r.HEAD: bytes(32), r.DETAIL: "x" * 32}
    change = {r.DETAIL: "x" * 32, r.ERROR_BOUND: 0xFFFFFFFF, r.COMMAND: bytes(16), r.SEQUENCE: 0xFFFFFFFF}
    program = {r.SUB: bytes(16), r.CTI: bytes(16), r.REF: bytes(32), r.DETAIL: "x" * 16, DIGEST: bytes(32)}
    seen = set(common)
    for special in (operation, loss, change, program):
        record = dict(common)
        record.update(special)
        assert len(r.encode(record)) <= r.MAX_BODY
        seen |= set(special)
    assert sorted(seen) == list(range(1, 32))  # a new field needs its place here, and room in a page


@given(tuples(ints(-1, 2), ints(0, 0xFFFFFFFF), ints(0, 0xFFFFFFFF), ints(0, 0xFFFFFFFF)), bools())
def test_lost_range_reads_what_was_written(loss, has_head):
    of_class, first, last, number = loss
    record = {r.KIND: r.RECORDS_LOST, r.RANGE: [first, last], r.COUNT: number}
    if of_class >= 0:
        record[r.CLASS] = of_class
    if has_head:
        record[r.HEAD] = bytes(32)
    assert r.lost_range(r.encode(record)) == loss


def test_lost_range_of_anything_else_is_none():
    for body in (
        b"",
        b"\xff",
        r.encode(GRANT),
        cbor.encode([1]),
        cbor.encode({r.KIND: r.RECORDS_LOST}),
        cbor.encode({r.KIND: r.RECORDS_LOST, r.RANGE: [1, 2]}),
        cbor.encode({r.KIND: r.RECORDS_LOST, r.RANGE: [1, 2, 3], r.COUNT: 1}),
        cbor.encode({r.KIND: r.RECORDS_LOST, r.RANGE: [1, 2], r.COUNT: 1, r.CLASS: 3}),
        cbor.encode({r.KIND: r.RECORDS_LOST, r.RANGE: 7, r.COUNT: 1}),
    ):
        assert r.lost_range(body) is None
