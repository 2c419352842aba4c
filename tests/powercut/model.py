"""Decides what may be seen after a power cut: a model of the promises, independent of how the journal keeps them."""

from vitrine.audit import record as r
from vitrine.audit import seal
from vitrine.audit.journal import Journal
from vitrine.audit.tails import NO_HEAD

from .life import FIRST_KEY, Clock, Store, event


class Broken(Exception):
    """A promise was broken; the text says which."""


class Model:
    """What the life of `witness` wrote, record by record: keys, tags, heads, and the numbers of each class."""

    def __init__(self, witness):
        self.records = witness.records
        self.promises = witness.promises
        key = bytes(FIRST_KEY)
        self.keys = [key]
        self.tags = []
        self.heads = [NO_HEAD]
        self.of_class = [[], [], []]
        for sequence in range(len(self.records)):
            of_class, body = self.records[sequence]
            self.of_class[of_class].append(sequence)
            self.tags.append(seal.record_tag(key, sequence, body))
            self.heads.append(seal.next_head(self.heads[-1], sequence, self.tags[-1]))
            key = bytes(seal.next_key(key))
            self.keys.append(key)

    def losses(self, of_class):
        """Return how many RecordsLost of a class the life wrote."""
        found = [r.lost_range(body) for _, body in self.records]
        return len([each for each in found if each and each[0] == of_class])

    def check(self, flash, blob, promise, is_whole):
        """Start the lock on what the cut left in `flash`; raise Broken if it is not what was promised.

        `is_whole`: read everything, and go on living; otherwise only what is near the cut.
        """
        clock = Clock()
        clock.now_ms = 10_000_000
        journal = Journal(flash, Store(blob), clock)
        count = journal.count
        if not promise.count <= count <= promise.count + 1:
            raise Broken(f"count {count} after {promise.count} durable records")
        if journal.acknowledged not in (promise.acknowledged, promise.may_acknowledge):
            raise Broken(f"acknowledged {journal.acknowledged}")
        if journal.head != self.heads[count]:
            raise Broken(f"head at {count}")
        self._check_keys(flash, count, is_whole)
        self._check_records(journal, 0 if is_whole else max(0, count - 40))
        if not is_whole:
            return
        sequence = journal.append(event(_Zero(), 1, r.KEPT))
        while journal.tend():
            pass
        again = Journal(flash, Store(blob), clock)
        if again.head != journal.head or again.count != journal.count:
            raise Broken("the second start does not see what the first did")
        walk = again.unsent(sequence)
        if not walk.step() or walk.sequence != sequence:
            raise Broken("a record of after the cut is gone")

    def _check_records(self, journal, start):
        seen = set()
        lost = {}
        walk = journal.unsent(start)
        before = -1
        while walk.step():
            if walk.sequence <= before:
                raise Broken(f"{walk.sequence} after {before}")
            before = walk.sequence
            seen.add(walk.sequence)
            if walk.body != self.records[walk.sequence][1] or walk.tag != self.tags[walk.sequence]:
                raise Broken(f"record {walk.sequence} is another")
            declared = r.lost_range(walk.body)
            if declared:
                of_class, first, last, number = declared
                if of_class < 0:
                    raise Broken("a power cut was taken for damage")
                of_range = [n for n in self.of_class[of_class] if first <= n <= last]
                if number != len(of_range):
                    raise Broken(f"RecordsLost {walk.sequence} says {number}, not {len(of_range)}")
                lost[of_class] = lost.get(of_class, set()) | set(of_range)
        gone = set()
        for each in lost:
            gone |= lost[each]
        if gone & seen:
            raise Broken("lost and there: " + str(sorted(gone & seen)[:5]))
        for sequence in range(max(start, journal.acknowledged), journal.count):
            if sequence not in seen and sequence not in gone:
                raise Broken(f"record {sequence} is gone")

    def _check_keys(self, flash, count, is_whole):
        """No key before the current one may be found, in any place of the flash; the current one must be."""
        image = bytes(flash.image)
        if image.find(self.keys[count]) < 0:
            raise Broken(f"the key of {count} is not there")
        recent = max(0, count - 3)
        older = range(count % 16, recent, 16) if is_whole else ()  # any one stands for its neighbours in other cases
        for sequence in list(range(recent, count)) + list(older):
            if image.find(self.keys[sequence]) >= 0:
                raise Broken(f"the spent key of {sequence} is there")


class _Zero:
    def below(self, limit):
        return 0
