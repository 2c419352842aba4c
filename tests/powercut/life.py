"""A scripted life of one lock's journal, the same in every run: what it writes, and what has been promised when.

It fills the smallest ring (64 KiB) more than twice: with a collector, without one until records of every class have to
be given up, with restarts, and with a collector again. Every operation on the flash is a place for the power to fail.
"""

import gc

from support import ON_MICROPYTHON
from vitrine.audit import record as r
from vitrine.audit import seal
from vitrine.audit.journal import Journal, provision
from vitrine.audit.outbox import Outbox

SECTORS = 16
EPOCH = 1_700_000_000
FIRST_KEY = bytes(range(24))
ACKNOWLEDGE_KEY = bytes(range(100, 132))
LOCK_ID = "case-12"


class Store:
    """drivers.nvs.Blob in RAM: NVS is its own journal, and only provisioning writes it."""

    def __init__(self, blob=None):
        self.blob = blob

    def load(self):
        return self.blob

    def save(self, data):
        self.blob = data


class Clock:
    """Virtual time."""

    def __init__(self):
        self.now_ms = 0

    def reading(self):
        return EPOCH + self.now_ms // 1000, 1

    def ticks_ms(self):
        return self.now_ms & 0x3FFFFFFF


class Promise:
    """What has been promised before one operation on the flash."""

    def __init__(self, count, acknowledged, may_acknowledge):
        self.count = count  # records reported as durable
        self.acknowledged = acknowledged
        self.may_acknowledge = may_acknowledge  # an acknowledgement under way

    def is_like(self, other):
        return (self.count, self.acknowledged, self.may_acknowledge) == (
            other.count,
            other.acknowledged,
            other.may_acknowledge,
        )


class Witness:
    """Stands between the journal and its flash: notes each record before its first byte goes out.

    `records[n]` is (class, body) of record n, `promises[i]` what held before operation i of the flash.
    """

    def __init__(self, flash):
        self.flash = flash
        self.records = []
        self.promises = []
        self.durable = 0
        self.acknowledged = 0
        self.may_acknowledge = 0

    def readblocks(self, sector, buffer, offset=0):
        return self.flash.readblocks(sector, buffer, offset)

    def writeblocks(self, sector, data, offset=None):
        self._promise()
        return self.flash.writeblocks(sector, data, offset)

    def ioctl(self, operation, argument):
        if operation == 6:
            self._promise()
        return self.flash.ioctl(operation, argument)

    def _promise(self):
        promise = Promise(self.durable, self.acknowledged, self.may_acknowledge)
        if self.promises and self.promises[-1].is_like(promise):
            promise = self.promises[-1]
        self.promises.append(promise)


class WatchedJournal(Journal):
    """The journal, whose witness hears of each record, its own RecordsLost included."""

    def _write(self, of_class, body):
        witness = self._sectors._device
        assert len(witness.records) == self.count
        witness.records.append((of_class, body))
        sequence = Journal._write(self, of_class, body)
        witness.durable = self.count
        return sequence


class Random:
    """The same numbers on both interpreters."""

    def __init__(self, seed):
        self._state = seed

    def below(self, limit):
        self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._state >> 8) % limit


def event(random, now_s, kind):
    """Return a record of one class: a grant, a door event or a refusal, of the usual lengths."""
    record = {r.TIME: now_s, r.TIME_STATE: 1}
    if kind == r.KEPT:
        record[r.KIND] = r.LOCK_OPERATION
        record[r.OPERATION] = 1
        record[r.SOURCE] = 7
        record[r.SUB] = bytes(random.below(256) for _ in range(16))
        record[r.CTI] = bytes(random.below(256) for _ in range(8 + random.below(9)))
        record[r.KID] = b"\x00\xff" * 4
        record[r.AUTHENTIC] = True
        if random.below(2):
            record[r.REF] = b"\xff" * (1 + random.below(32))
    elif kind == r.ROUTINE:
        record[r.KIND] = r.DOOR_STATE_CHANGE
        record[r.DOOR_STATE] = random.below(2)
    else:
        record[r.KIND] = r.LOCK_OPERATION_ERROR
        record[r.REASON] = 1 + random.below(20)
        record[r.ERROR] = 1
        record[r.LINK] = 1
        record[r.CTI] = bytes(random.below(256) for _ in range(8))
    return record


def live(flash, steps=1500, seed=12):
    """Live the life of `seed` on a blank `flash`; return (witness, store, the flash as provisioned)."""
    random = Random(seed)
    clock = Clock()
    store = Store()
    witness = Witness(flash)
    provision(witness, store, EPOCH, FIRST_KEY, ACKNOWLEDGE_KEY)
    witness.promises.clear()  # before it ends, provisioning promises nothing
    if flash.trace is not None:
        flash.trace.clear()
    start = bytes(flash.image)
    journal = WatchedJournal(witness, store, clock)
    for step in range(steps):
        if ON_MICROPYTHON and step % 16 == 0:
            gc.collect()  # what stays is packed at one end of a small heap, and images still fit in
        clock.now_ms += 20_000 + random.below(20_000)
        is_offline = steps // 6 < step < steps * 5 // 6
        # thirds: mostly grants, mostly door, mostly refusals, so that each class comes to give up its own
        draw = random.below(10)
        leaning = step * 6 // steps % 3
        kind = leaning if draw < 7 else draw - 7
        journal.append(event(random, clock.reading()[0], kind))
        if random.below(3) == 0:
            journal.tend()
        if not is_offline and step % 25 == 0:
            acknowledge(journal, witness, journal.count - random.below(20))
        if step % 61 == 0:
            journal = WatchedJournal(witness, store, clock)
            journal.append({r.KIND: r.START, r.COUNT: 1})
    return witness, store, start


def acknowledge(journal, witness, count):
    """The collector acknowledges all below `count`."""
    if count <= journal.acknowledged:
        return
    tag = seal.acknowledgement_tag(ACKNOWLEDGE_KEY, EPOCH, count)
    witness.may_acknowledge = count
    outbox = Outbox(journal, LOCK_ID)
    assert outbox.acknowledge(acknowledgement(count, tag)) == 0
    witness.acknowledged = count


def acknowledgement(count, tag):
    """Return the bytes of section 9 of SPEC.md, put together by hand."""
    head = bytes((0x84, 1, 0x1A)) + EPOCH.to_bytes(4, "big")
    if count < 24:
        number = bytes((count,))
    elif count < 256:
        number = bytes((0x18, count))
    elif count < 65536:
        number = bytes((0x19,)) + count.to_bytes(2, "big")
    else:
        number = bytes((0x1A,)) + count.to_bytes(4, "big")
    return head + number + bytes((0x50,)) + tag
