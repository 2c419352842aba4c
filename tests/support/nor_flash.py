"""A NOR flash behind MicroPython's block device protocol, for both interpreters: it counts, wears out, and loses power.

A program can only turn ones into zeros, an erase sets one sector to ones. Unlike esp32.Partition it refuses what real
NOR flash would answer with silent corruption: programming a one over a zero. Time is counted, not spent.
"""

PAGE = 256
ERASE_US = 45_000  # typical serial NOR; the same figures as the datasheet of the chips on ESP32 modules
PROGRAM_US = 700  # of one page; fewer bytes take proportionally less, over a fixed part
PROGRAM_FIXED_US = 30


class PowerCut(Exception):
    """The supply failed in the middle of an operation. Not an OSError: no firmware handles the end of its own power."""


class Misuse(Exception):
    """An operation that the chip would not refuse, but that cannot do what the caller means."""


class NorFlash:
    """`sectors` x `sector_size` bytes, blank or filled with `image`.

    `cut_after` operations (programs and erases) go through, the next is torn: `tear(image, start, length, data)` leaves
    in `image` what such an operation leaves (data None: an erase), then PowerCut is raised, now and at every later use.
    `trace`, if a list, takes (sector, offset, data or None) of each operation. `is_strict` False: a program of ones
    over zeros has no effect there, as on the chip, instead of raising Misuse.
    """

    def __init__(self, sectors, sector_size=4096, image=None):
        self.sectors = sectors
        self.sector_size = sector_size
        self.image = bytearray(sectors * sector_size)
        for start in range(0, len(self.image), sector_size):  # in pieces, for a small heap
            self.image[start : start + sector_size] = image[start : start + sector_size] if image else self._blank()
        self.erases = [0] * sectors
        self.bytes_programmed = self.programs = self.bytes_read = self.device_us = 0
        self.cut_after = -1
        self.tear = None
        self.trace = None
        self.is_dead = False
        self.is_strict = True
        self.cannot_erase = set()  # sectors: the erase reports success and changes nothing
        self.raises_on_erase = set()  # sectors: the driver reports the failure
        self.stuck_ones = {}  # address -> mask of bits that no program clears
        self.stuck_zeros = {}  # address -> mask of bits that no erase sets

    def _blank(self):
        return b"\xff" * self.sector_size

    def zero_counters(self):
        self.erases = [0] * self.sectors
        self.bytes_programmed = self.programs = self.bytes_read = self.device_us = 0

    def readblocks(self, sector, buffer, offset=0):
        self._check(sector, offset, len(buffer))
        start = sector * self.sector_size + offset
        memoryview(buffer)[:] = memoryview(self.image)[start : start + len(buffer)]
        self.bytes_read += len(buffer)

    def writeblocks(self, sector, data, offset=None):
        if offset is None:  # the simple interface erases first
            self._erase(sector)
            offset = 0
        data = bytes(data)
        self._check(sector, offset, len(data))
        start = sector * self.sector_size + offset
        self._operation(sector, offset, start, len(data), data)
        self.bytes_programmed += len(data)
        self.programs += 1
        pages = (offset + len(data) - 1) // PAGE - offset // PAGE + 1
        self.device_us += pages * PROGRAM_FIXED_US + len(data) * (PROGRAM_US - PROGRAM_FIXED_US) // PAGE
        self._program(start, data)
        for address, mask in self.stuck_ones.items():
            if start <= address < start + len(data):
                self.image[address] |= mask
        return 0

    def ioctl(self, operation, argument):
        if operation == 4:
            return self.sectors
        if operation == 5:
            return self.sector_size
        if operation == 6:
            self._erase(argument)
        return 0

    def flip(self, address, bit):
        """Invert one bit, as age or radiation does."""
        self.image[address] ^= 1 << bit

    def _erase(self, sector):
        self._check(sector, 0, self.sector_size)
        start = sector * self.sector_size
        self._operation(sector, 0, start, self.sector_size, None)
        if sector in self.raises_on_erase:
            raise OSError(5)
        if sector not in self.cannot_erase:
            self.image[start : start + self.sector_size] = self._blank()
            for address, mask in self.stuck_zeros.items():
                if start <= address < start + self.sector_size:
                    self.image[address] &= ~mask & 0xFF
        self.erases[sector] += 1
        self.device_us += ERASE_US

    def _program(self, start, data):
        end = start + len(data)
        before = self.image[start:end]
        if before != b"\xff" * len(data) and any(data):
            after = bytes(data[i] & before[i] for i in range(len(data)))
            if self.is_strict and after != data:
                raise Misuse("ones programmed over zeros at %d" % start)
            data = after
        self.image[start:end] = data

    def _operation(self, sector, offset, start, length, data):
        if self.trace is not None:
            self.trace.append((sector, offset, data))
        if self.cut_after == 0:
            self.is_dead = True
            if self.tear:
                self.tear(self.image, start, length, data)
            raise PowerCut
        self.cut_after -= 1

    def _check(self, sector, offset, length):
        if self.is_dead:
            raise PowerCut
        if not 0 <= sector < self.sectors or offset < 0 or offset + length > self.sector_size:
            raise Misuse("outside the flash")


def tear_at(done, bits=0):
    """Return a `tear`: `done` bytes of the operation are through, and of the next byte the zeros in `bits`.

    An erase that is torn leaves its sector half erased: ones up to `done`, behind it the old bytes, each with the bits
    of `bits` already set.
    """

    def tear(image, start, length, data):
        through = min(done, length)
        image[start : start + through] = data[:through] if data else b"\xff" * through
        if data:
            if through < length:
                image[start + through] &= data[through] | (~bits & 0xFF)
        elif bits:
            for address in range(start + through, start + length):
                image[address] |= bits

    return tear
