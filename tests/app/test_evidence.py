"""The journal as the end of events: what fails, what is refused for it, and how it comes back (SPEC.md 8.7)."""

import asyncio

from powercut.life import ACKNOWLEDGE_KEY, EPOCH, FIRST_KEY, Clock, Store

from support.nor_flash import NorFlash
from support.virtual_time import VirtualTime
from vitrine.app.event_log import EventLog
from vitrine.app.evidence import Evidence
from vitrine.audit import faults, seal
from vitrine.audit import record as r
from vitrine.audit.journal import Journal, provision
from vitrine.codec import cbor

GRANT = {r.REASON: 0, r.OPERATION: 1, r.CTI: bytes(8), r.KID: bytes(8)}


class Lab:
    """A lock's evidence on a simulated flash; `busy` while somebody is in session."""

    def __init__(self, sectors=16):
        self.flash, self.store, self.clock = NorFlash(sectors), Store(), Clock()
        provision(self.flash, self.store, EPOCH, FIRST_KEY, ACKNOWLEDGE_KEY)
        self.time = VirtualTime()
        self.busy = False
        self.starts = 0
        self.cannot_open = None
        self.start()

    def start(self):
        self.events = EventLog(self.clock)
        self.seen = []
        self.events.add_sink(self.seen.append)
        self.evidence = Evidence(self.events, self.open_journal, "case-12")

    def open_journal(self):
        self.starts += 1
        if self.cannot_open is not None:
            raise self.cannot_open
        return Journal(self.flash, self.store, self.clock)

    def grant(self):
        self.evidence.record(r.LOCK_OPERATION, GRANT)

    def live(self, seconds):
        async def main():
            task = asyncio.create_task(self.evidence.run(lambda: None, lambda: self.busy))
            await asyncio.sleep_ms(1000 * seconds)
            task.cancel()

        self.time.run(main())

    def kept(self):
        """Return what a start finds in flash, having checked every seal and that no number is missing."""
        journal = Journal(self.flash, self.store, self.clock)
        walk = journal.unsent(0)
        key = bytes(FIRST_KEY)
        found = []
        while walk.step():
            assert walk.sequence == len(found)
            assert walk.tag == seal.record_tag(key, walk.sequence, walk.body)
            key = bytes(seal.next_key(key))
            found.append(cbor.decode(walk.body, 300))
        assert journal.count == len(found)
        return found

    def details(self):
        return [record[r.DETAIL] for record in self.seen if record[r.KIND] == r.FAULT]


class FailsAt:
    """Makes one call of `method` of `thing` raise."""

    def __init__(self, thing, method, error):
        self.inner = getattr(thing, method)
        self.thing, self.method, self.error = thing, method, error
        setattr(thing, method, self)

    def __call__(self, *args):
        setattr(self.thing, self.method, self.inner)
        raise self.error


def test_every_event_is_kept():
    lab = Lab()
    lab.grant()
    lab.events.record(r.START, {r.COUNT: 1})
    assert lab.kept() == lab.seen and lab.evidence.is_sound and lab.evidence.missed == 0
    assert (lab.evidence.count, lab.evidence.head) == (2, lab.evidence.journal.head)


def test_no_memory_in_the_middle_of_a_record():
    """The record is in flash and the key has not moved: writing on would put a second record under its number."""
    for part, method, number in (("_state", "advance", 4), ("_sectors", "program", 3)):
        lab = Lab()
        lab.grant()
        FailsAt(getattr(lab.evidence.journal, part), method, MemoryError())
        lab.grant()
        assert not lab.evidence.is_sound and lab.details() == ["journal:MemoryError"]
        lab.grant()
        assert lab.evidence.missed == 3, "the grant, the fault and the next grant"
        lab.live(9)
        assert not lab.evidence.is_sound and lab.starts == 1
        lab.busy = True
        lab.live(30)
        assert lab.starts == 1, "not while somebody waits"
        lab.busy = False
        lab.live(4)
        assert lab.evidence.is_sound and lab.starts == 2
        assert lab.seen[-1][r.DETAIL] == "journal:resumed" and lab.seen[-1][r.COUNT] == 3
        lab.grant()
        kept = lab.kept()
        assert kept[-2:] == lab.seen[-2:] and len(kept) == number, method
        assert lab.evidence.outbox.count == len(kept), "what leaves the lock goes on as well"
        # the second time it speaks only of what was missed since
        FailsAt(lab.evidence.journal._sectors, "program", MemoryError())
        lab.grant()
        lab.live(11)
        assert lab.seen[-1][r.COUNT] == 2


def test_strangers_who_are_always_in_session_do_not_keep_the_journal_down():
    lab = Lab()
    FailsAt(lab.evidence.journal._sectors, "program", MemoryError())
    lab.grant()
    lab.busy = True
    lab.live(61)
    assert lab.evidence.is_sound and lab.starts == 2


def test_it_is_not_sound_before_it_can_be_taken_up():
    lab = Lab()
    FailsAt(lab.evidence.journal._sectors, "program", MemoryError())
    lab.grant()
    for error in (MemoryError(), OSError(5), faults.JournalError(faults.FOREIGN)):
        lab.cannot_open = error
        before = lab.starts
        lab.live(21)
        assert lab.starts == before + 2 and not lab.evidence.is_sound
    lab.cannot_open = None
    lab.live(11)
    assert lab.evidence.is_sound
    assert lab.details() == ["journal:MemoryError", "journal:resumed"], "told once"


def test_what_is_no_record_costs_itself_and_nothing_else():
    lab = Lab()
    lab.evidence.record(r.LOCK_OPERATION_ERROR, {r.OPERATION: 256})
    assert lab.evidence.is_sound and lab.evidence.missed == 1
    assert lab.details() == ["journal:RecordError"]
    lab.grant()
    assert [record[r.KIND] for record in lab.kept()] == [r.FAULT, r.LOCK_OPERATION]


def test_a_clock_that_makes_every_record_wrong_does_not_go_round_for_ever():
    lab = Lab()
    lab.clock.reading = lambda: (-1, 1)
    lab.grant()
    assert lab.evidence.missed == 2 and lab.kept() == []


def test_a_worn_out_flash_refuses_until_the_next_start():
    lab = Lab()
    lab.flash.cannot_erase = set(range(16))
    for _ in range(2000):
        lab.grant()
        if not lab.evidence.is_sound:
            break
    assert lab.details() == ["journal:WornOut"] and lab.evidence.missed >= 1
    lab.live(60)
    assert not lab.evidence.is_sound and lab.starts == 1
    lab.flash.cannot_erase = set()
    lab.start()
    lab.grant()
    assert lab.evidence.is_sound and lab.evidence.missed == 0


def test_a_failure_in_idle_work_is_told_and_mended():
    lab = Lab()
    FailsAt(lab.evidence.journal, "tend", MemoryError())
    lab.live(1)
    assert not lab.evidence.is_sound and lab.details() == ["journal:MemoryError"]
    lab.live(11)
    assert lab.evidence.is_sound


def test_no_journal_at_a_start():
    for error, is_sound, told in (
        (faults.JournalError(faults.NOT_PROVISIONED), True, []),
        (faults.JournalError(faults.FOREIGN), False, ["journal:Foreign"]),
        (faults.JournalError(faults.WORN_OUT), False, ["journal:WornOut"]),
        (OSError(2), False, ["journal:OSError"]),
    ):
        lab = Lab()
        lab.cannot_open = error
        lab.start()
        lab.grant()
        assert lab.evidence.is_sound is is_sound and lab.evidence.outbox is None and lab.details() == told
        assert (lab.evidence.count, lab.evidence.head) == (lab.events.count, lab.events.head)
        starts = lab.starts
        lab.live(30)
        assert lab.starts == starts and lab.evidence.is_sound is is_sound
