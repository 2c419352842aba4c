"""The event log: stamped, chained, and no sink can cost another one its record."""

import hashlib

from support import raises
from vitrine.app.event_log import EventLog
from vitrine.audit.record import DETAIL_MAX
from vitrine.codec import cbor


class FakeClock:
    def __init__(self):
        self.now = (1_790_000_000, 1)

    def reading(self):
        return self.now


def new():
    clock = FakeClock()
    return clock, EventLog(clock)


def test_stamps():
    clock, log = new()
    seen = []
    log.add_sink(seen.append)
    fields = {15: "x"}
    log.record(129, fields)
    clock.now = (5, 0)
    log.record(128)
    assert seen == [{1: 129, 2: 1_790_000_000, 3: 1, 15: "x"}, {1: 128, 2: 5, 3: 0}]
    assert fields == {15: "x"}, "the caller's fields are left alone"


def test_the_head_is_a_chain_over_every_record():
    _, log = new()
    head = bytes(32)
    assert (log.count, log.head) == (0, head)
    for number in range(200):
        log.record(2, {14: number})
        head = hashlib.sha256(head + cbor.encode({1: 2, 2: 1_790_000_000, 3: 1, 14: number})).digest()
        assert (log.count, log.head) == (number + 1, head)


def test_a_failing_sink_is_dropped_and_counted():
    _, log = new()
    first, last = [], []

    def broken(_record):
        raise OSError(28)

    log.add_sink(first.append)
    log.add_sink(broken)
    log.add_sink(broken)
    log.add_sink(last.append)
    log.record(128)
    log.record(128)
    assert log.dropped == 2
    kinds = [record[1] for record in first]
    assert sorted(kinds) == [128, 128, 129, 129]
    assert len(last) == 4, "the sinks behind it lose nothing"
    assert [record[15] for record in last if record[1] == 129] == ["sink:OSError"] * 2


def test_a_fault_tells_its_type_and_no_more():
    _, log = new()
    seen = []
    log.add_sink(seen.append)
    log.fault("controller", ValueError("what a peer sent"))
    log.fault("a name far longer than it is worth", OSError(5))
    details = [record[15] for record in seen]
    assert details[0] == "controller:ValueError"
    assert len(details[1]) == DETAIL_MAX == 32


def test_what_cannot_be_encoded_is_refused_before_a_sink_sees_it():
    _, log = new()
    seen = []
    log.add_sink(seen.append)
    with raises((cbor.CborError, TypeError)):
        log.record(129, {15: 1.5})
    assert seen == []
