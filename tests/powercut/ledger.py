"""Power cuts of the ledger: scripted lives on its flash, what was promised before each operation, and every cut.

Two lives: 0 is from the empty ledger through several merges, some with time to forget; 1 is around a full one. A case
has an id `ledger.LIFE.OPERATION.DONE.BITS`, as in cases.py; `+OPERATION.DONE`: cut again in the start that follows.
"""

from support.ledger_flash import DAY, NOW_S, UNIT, digest
from support.nor_flash import NorFlash, PowerCut, tear_at
from vitrine.access.ledger import REVOKED, SPENT, Ledger, provision

LIVES = (0, 1)
_EDGES = (0, 1, 7, 8, 27, 28, 29, 31, 32, 33, 48, 160, 251, 252, 253, 255)
_SOON_S = NOW_S + UNIT
_LATER_S = NOW_S + 40 * DAY


class Promises:
    """Takes the operations on the flash as its `trace`, and notes what was promised before each."""

    def __init__(self):
        self.operations = []
        self.before = []  # (entries acknowledged, entries seen to be gone, time to forget by)
        self.entries = []
        self.gone = []
        self.now_s = 0

    def append(self, operation):
        self.operations.append(operation)
        self.before.append((len(self.entries), len(self.gone), self.now_s))


class Live:
    """One ledger whose every promise is noted."""

    def __init__(self, flash, promises):
        self.flash = flash
        self.promises = promises
        self.ledger = Ledger(flash)

    def add(self, kind, number, until_s):
        entry = (kind, number, until_s)
        if self.ledger.add(kind, digest(number), until_s):
            self.promises.entries.append(entry)

    def tend(self, now_s=None, steps=1000):
        if now_s:
            self.promises.now_s = now_s
        for _ in range(steps):
            if not self.ledger.tend(now_s):
                self._note_gone()
                return

    def _note_gone(self):
        known = set(self.promises.gone)
        old = [each for each in self.promises.entries if each not in known and may_forget(each, self.promises.now_s)]
        self.promises.gone += [each for each in old if not self.ledger.has(each[0], digest(each[1]))]

    def restart(self):
        self.ledger = Ledger(self.flash)


def may_forget(entry, now_s):
    return bool(entry[2]) and entry[2] + DAY <= now_s


def from_empty(flash, promises):
    """Some 700 entries: merges in idle time with adding in between, one at once when the log is full, restarts."""
    live = Live(flash, promises)
    number = 0
    for until_s in (_SOON_S, _LATER_S, 0):
        for _ in range(66):
            live.add(REVOKED if number % 3 == 0 else SPENT, number, until_s)
            number += 1
    for _ in range(7):
        live.tend(None, 1)
        for _ in range(3):
            live.add(number % 2, number, _LATER_S)
            number += 1
    live.restart()
    live.tend()
    for _ in range(260):
        live.add(number % 2, number, _SOON_S if number % 5 == 0 else _LATER_S)
        number += 1
    live.restart()
    while live.ledger.tend(None):
        live.add(SPENT, number, _LATER_S)
        number += 1
    for _ in range(190):
        live.add(SPENT, number, _LATER_S)
        number += 1
    live.tend(_SOON_S + DAY + UNIT)
    live.restart()
    live.tend()
    live.add(REVOKED, number, 0)


def around_full(flash, promises):
    """From 20 below full to full, forgetting, and full again."""
    live = Live(flash, promises)
    number = 10_000
    for _ in range(30):
        live.add(number % 2, number, _LATER_S)
        number += 1
    live.tend(_SOON_S + DAY + UNIT, 5)
    live.restart()
    promises.now_s = _SOON_S + DAY + UNIT
    live.ledger.tend(promises.now_s)
    for _ in range(230):
        live.add(SPENT, number, _LATER_S)
        number += 1
    live.tend(promises.now_s)


def nearly_full():
    """Return a flash with 10 less than there is room for, of each class; a tenth of it ends soon."""
    entries = []
    for kind, most in ((REVOKED, 1990), (SPENT, 4086)):
        for number in range(most):
            entries.append((kind, number, _SOON_S if number % 10 == 0 else _LATER_S))
    flash = NorFlash(16)
    provision(flash)
    ledger = Ledger(flash)
    for kind, number, until_s in entries:
        ledger.add(kind, digest(number), until_s)
    return flash, entries


class Broken(Exception):
    """A promise was broken; the text says which."""


class LedgerCuts:
    """One life, lived once, and the flash as it was before each operation: `go_to` goes to one."""

    def __init__(self, life=0):
        self.life = life
        self.promises = promises = Promises()
        if life:
            flash, promises.entries = nearly_full()
        else:
            flash = NorFlash(16)
            provision(flash)
        self._start = bytes(flash.image)
        flash.trace = promises
        (around_full if life else from_empty)(flash, promises)
        self.operations = promises.operations
        self.again()

    def again(self):
        """Go back to the beginning of the same life."""
        self.at = 0
        self._before = NorFlash(16, image=self._start)
        return self

    def go_to(self, operation):
        """Bring the flash to the state before `operation`."""
        while self.at < operation:
            sector, offset, data = self.operations[self.at]
            if data is None:
                self._before.ioctl(6, sector)
            else:
                self._before.writeblocks(sector, data, offset)
            self.at += 1

    def tears(self):
        """Return all (done, bits) of the operation that comes now."""
        data = self.operations[self.at][2]
        if data is None:
            return [(done, bits) for done in _EDGES + tuple(range(256, 4096, 512)) for bits in (0, 0x24, 0xDB)]
        if len(data) <= 32:
            tears = [(done, 0) for done in range(len(data))]
            return tears + [(done, (37 * (self.at + done) & 0xFF) | 1) for done in range(self.at % 2, len(data), 2)]
        places = [done for done in _EDGES if done < len(data)] + list(range(16 + self.at % 16, len(data), 32))
        return [(done, bits) for done in places for bits in (0, (37 * (self.at + done) & 0xFF) | 1)]

    def run(self, done, bits, is_whole=False, again=None):
        """Cut the power here, and look; `is_whole`: at everything, and go on living. Return the operations of the
        start that followed. Raises Broken.
        """
        flash = NorFlash(16, image=self._before.image)
        flash.is_strict = False  # an erase that was torn leaves anything
        sector, offset, data = self.operations[self.at]
        tear_at(done, bits)(flash.image, sector * 4096 + offset, len(data) if data else 4096, data)
        if again:
            flash.cut_after = again[0]
            flash.tear = tear_at(again[1])
            try:
                Ledger(flash)
            except PowerCut:
                flash = NorFlash(16, image=flash.image)
            flash.cut_after = -1
        flash.trace = trace = []
        ledger = Ledger(flash)
        number = len(trace)
        self.check(ledger, 1 if is_whole else 13)
        if is_whole:
            self._live_on(flash, ledger)
        return number

    def check(self, ledger, every):
        """Hold the ledger to what was promised: the last 30 entries, and of the others each `every`-th."""
        number, gone, now_s = self.promises.before[self.at]
        forgotten = set(self.promises.gone[:gone])
        for index in range(number):
            if index % every and index < number - 30:
                continue
            entry = self.promises.entries[index]
            is_there = ledger.has(entry[0], digest(entry[1]))
            if entry in forgotten:
                if is_there:
                    raise Broken(f"{entry} came back")
            elif not is_there and not may_forget(entry, now_s):
                raise Broken(f"{entry} is gone")
        for absent in range(50_000, 50_000 + 300 // every):
            if ledger.has(absent % 2, digest(absent)):
                raise Broken(f"{absent} was never there")

    def _live_on(self, flash, ledger):
        """Merging goes on, more comes in, and nothing is lost over it, nor by the next start."""
        more = []
        for entry in range(60_000, 60_300):
            if ledger.add(SPENT, digest(entry), _LATER_S):
                more.append(entry)
        while ledger.tend(None):
            pass
        for each in (ledger, Ledger(NorFlash(16, image=flash.image))):
            self.check(each, 1)
            if not all(each.has(SPENT, digest(entry)) for entry in more):
                raise Broken("an entry of after the cut is gone")
        if not self.life and len(more) != 300:
            raise Broken("no room after the cut")

    def run_all(self):
        """Run every case of the operation that comes now; yield (id, None or what was broken)."""
        for number, (done, bits) in enumerate(self.tears()):
            name = f"ledger.{self.life}.{self.at}.{done}.{bits}"
            is_whole = number == self.at % 7 and (not self.life or self.at % 5 == 0)
            yield name, self.outcome(done, bits, is_whole)
            if number % 16 == 0:
                for again in range(3):
                    for half in (0, 9):
                        yield f"{name}+{again}.{half}", self.outcome(done, bits, False, (again, half))

    def outcome(self, done, bits, is_whole, again=None):
        """Return None or what was broken."""
        try:
            self.run(done, bits, is_whole, again)
        except Broken as broken:
            return str(broken)
        except Exception as error:
            return "the ledger does not work: " + repr(error)
        return None
