"""Power cuts of updates: one lock's life through six of them, and every cut. Runs on MicroPython.

Applications and images by turns, some of which do not pass their trial. A case has an id
`updates.OPERATION.DONE.BITS`, as in cases.py; `+OPERATION.DONE`: cut again in the starts that follow. After each cut
the lock is started, again and again as it likes, with a sender who goes on, and must come to where it would have been.

    micropython tests/powercut/updates.py JOB JOBS EVERY   prints a line for each operation: cases, and what was broken
"""

import sys

if __name__ == "__main__":
    _HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
    sys.path[:0] = [_HERE + "/..", _HERE + "/../../firmware"]

from support.nor_flash import NorFlash, PowerCut, tear_at
from support.update_world import ORIGINAL, SECTORS, Component, Lock, Reset, factory
from support.virtual_time import VirtualTime

APPLICATION, IMAGE = 0, 1
_STARTS_MAX = 16  # more than any way takes
_LATER = 100  # a sequence of after it all


class Broken(Exception):
    """A promise was broken; the text says which."""


class Life:
    """What happens when nothing happens: the operations on the flash, and before each how far the lock was."""

    def __init__(self):
        self.steps = [
            Component(APPLICATION, 6),
            Component(APPLICATION, 7, is_good=False),
            Component(IMAGE, 8),
            Component(IMAGE, 9, is_good=False),
            Component(APPLICATION, 10),
            Component(APPLICATION, 11),
        ]
        self.bad = [step.sequence for step in self.steps if not step.is_good]
        self.known = {ORIGINAL: b""}
        for step in self.steps:
            self.known[step.sequence] = step.digest
        self.operations = []
        self.before = []  # (step, sequence confirmed)
        self._step = 0
        self._confirmed = ORIGINAL
        nor = factory()
        nor.trace = self
        for number, step in enumerate(self.steps):
            self._step = number
            for _ in range(_STARTS_MAX):
                lock = Lock(nor)
                lock.bad = self.bad
                is_over = not lock.start().live(step)
                if ("confirmed", step.sequence, None) in lock.records:
                    self._confirmed = step.sequence
                if is_over:
                    break

    def append(self, operation):
        self.operations.append(operation)
        self.before.append((self._step, self._confirmed))


class UpdateCuts:
    """The life, lived once, and the flash as it was before each operation: `go_to` goes to one."""

    def __init__(self):
        self.life = Life()
        self.operations = self.life.operations
        self.again()

    def again(self):
        """Go back to the beginning."""
        self.at = 0
        self._before = factory()
        self._before.is_strict = False
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
            return [(done, bits) for done in (0, 32, 2048) for bits in (0, 0xDB)]
        if len(data) <= 64:
            return [(done, (37 * (self.at + done) & 0xFF) if done % 2 else 0) for done in range(len(data))]
        places = sorted({0, 1, len(data) // 3, len(data) // 2 + self.at % 16, len(data) - 1})
        return [(done, bits) for done in places for bits in (0, (37 * (self.at + done) & 0xFF) | 1)]

    def run(self, done, bits, is_whole=False, again=None):
        """Cut the power here, and look. `again` (operation, done): once more, so much later. Raises Broken."""
        nor = NorFlash(SECTORS, image=self._before.image)
        nor.is_strict = False  # an erase that was torn leaves anything
        sector, offset, data = self.operations[self.at]
        tear_at(done, bits)(nor.image, sector * 4096 + offset, len(data) if data else 4096, data)
        if again:
            nor.cut_after = again[0]
            nor.tear = tear_at(again[1])
        number, confirmed = self.life.before[self.at]
        step = self.life.steps[number]
        lock, nor = self._settle(nor, step, confirmed, again is not None)
        running = lock.running.sequence
        if step.is_good and step.kind == APPLICATION and running != step.sequence:
            raise Broken(f"{running} runs, and {step.sequence} was good")
        if not step.is_good and running != confirmed:
            raise Broken(f"{running} runs after {step.sequence} came back to {confirmed}")
        if is_whole:
            later = Component(APPLICATION, _LATER)
            self.life.known[_LATER] = later.digest
            lock, nor = self._settle(nor, later, running, False)
            if lock.running.sequence != _LATER:
                raise Broken("nothing can be installed any more")

    def _settle(self, nor, step, confirmed, may_cut):
        """Start the lock until it has nothing more to do; return it, and its flash."""
        for _ in range(_STARTS_MAX):
            lock = Lock(nor, VirtualTime())
            lock.bad = self.life.bad
            try:
                lock.start()
                self._check(lock, step, confirmed)
                how = lock.live(step)
                floor = lock.parts.floor.load() or 0
            except Reset:
                raise Broken("a start that starts again") from None
            except PowerCut:
                if not may_cut:
                    raise Broken("cut where nothing was") from None
                nor = NorFlash(SECTORS, image=nor.image)
                nor.is_strict = False
                continue
            finally:
                lock.end()
            if ("confirmed", step.sequence, None) in lock.records:
                confirmed = step.sequence
            if floor > lock.running.sequence and not how:
                raise Broken(f"{lock.running.sequence} is left running below the floor, {floor}")
            if not how:
                return lock, nor
        raise Broken("it starts again and again")

    def _check(self, lock, step, confirmed):
        """Whatever the start came to must be whole, and nothing old."""
        running = lock.running
        if self.life.known.get(running.sequence) != running.digest:
            raise Broken(f"what runs as {running.sequence} is half installed")
        if running.sequence not in (confirmed, step.sequence):
            raise Broken(f"{running.sequence} runs, and {confirmed} was confirmed")
        if lock.ask({})[1][3] != running.sequence:
            raise Broken("no answer")

    def run_all(self):
        """Run every case of the operation that comes now; yield (id, None or what was broken)."""
        for number, (done, bits) in enumerate(self.tears()):
            name = f"updates.{self.at}.{done}.{bits}"
            yield name, self.outcome(done, bits, number == self.at % 5)
            if number == self.at % 3:
                for again in (0, 1, 2, 3, 5, 8, 13, 30, 60, 90):
                    for half in (0, 9):
                        yield f"{name}+{again}.{half}", self.outcome(done, bits, False, (again, half))

    def outcome(self, done, bits, is_whole, again=None):
        """Return None or what was broken."""
        try:
            self.run(done, bits, is_whole, again)
        except Broken as broken:
            return str(broken)
        except Exception as error:
            return "the lock does not start: " + repr(error)
        return None


def main(job, jobs, every):
    cuts = UpdateCuts()
    print("total", len(cuts.operations))
    for operation in range(job * every, len(cuts.operations), jobs * every):
        cuts.go_to(operation)
        cases = 0
        for name, what in cuts.run_all():
            cases += 1
            if what:
                print("broken", name, what)
        print("cases", cases)


if __name__ == "__main__":
    main(*[int(each) for each in sys.argv[1:4]])
