"""The cases: each operation of the life on the flash, torn at each byte, and cut again while the lock starts.

A case has an id `OPERATION.DONE.BITS`: the power fails in that operation when DONE bytes are through and, of the next
byte, the bits in BITS; or `OPERATION.DONE.BITS+OPERATION.DONE`, where it fails again in an operation of the next start.
"""

from support.nor_flash import NorFlash, PowerCut, tear_at
from vitrine.audit.journal import Journal

from .life import SECTORS, Clock, Store, live
from .model import Broken, Model

_EDGES = (0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 160, 161)  # of an erase: within the header, and in its records


class PowerCuts:
    """One life, lived once, and the flash as it was before each operation: `advance` goes to the next."""

    def __init__(self, steps=1500, seed=12):
        flash = NorFlash(SECTORS)
        flash.trace = []
        witness, store, start = live(flash, steps, seed)
        self.model = Model(witness)
        self.operations = flash.trace
        self.at = 0
        self._blob = store.blob
        self._start = start
        self._before = NorFlash(SECTORS, image=start)

    def again(self):
        """Go back to the beginning of the same life."""
        self.at = 0
        self._before = NorFlash(SECTORS, image=self._start)
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
        if data is not None:
            tears = [(done, 0) for done in range(len(data))]
            return tears + [(done, (37 * (self.at + done) & 0xFF) | 1) for done in range(self.at % 2, len(data), 2)]
        places = _EDGES + tuple(range(256, self._before.sector_size, 256))
        return [(done, bits) for done in places for bits in (0, 0x24, 0xDB)]

    def run(self, done, bits, is_whole=False, again=None):
        """Cut the power here, and look. `again` (operation, done): cut it again in the start that follows.

        Return how many operations that start did. Raises Broken.
        """
        flash = NorFlash(SECTORS, image=self._before.image)
        sector, offset, data = self.operations[self.at]
        start = sector * flash.sector_size + offset
        tear_at(done, bits)(flash.image, start, len(data) if data else flash.sector_size, data)
        if again:
            flash.cut_after = again[0]
            flash.tear = tear_at(again[1])
            try:
                Journal(flash, Store(self._blob), Clock())
            except PowerCut:
                flash = NorFlash(SECTORS, image=flash.image)
            flash.cut_after = -1
        flash.trace = []
        try:
            self.model.check(flash, self._blob, self.model.promises[self.at], is_whole)
        except Broken:
            raise
        except Exception as error:
            raise Broken("the lock does not start: " + repr(error)) from error
        return len(flash.trace)

    def run_all(self):
        """Run every case of the operation that comes now; yield (id, None or what was broken)."""
        for number, (done, bits) in enumerate(self.tears()):
            name = f"{self.at}.{done}.{bits}"
            yield name, self.outcome(done, bits, number == 0)
            if number % 40 == 0:
                for again in range(8):
                    for half in (0, 9):
                        yield f"{name}+{again}.{half}", self.outcome(done, bits, False, (again, half))

    def outcome(self, done, bits, is_whole, again=None):
        """Return None or what was broken."""
        try:
            self.run(done, bits, is_whole, again)
        except Broken as broken:
            return str(broken)
        return None


def parse(name):
    """Return (operation, done, bits, again) of a case's id."""
    first, _, second = name.partition("+")
    operation, done, bits = [int(part) for part in first.split(".")]
    again = tuple(int(part) for part in second.split(".")) if second else None
    return operation, done, bits, again
