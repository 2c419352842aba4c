"""The NOR flash chip, in a file: programming only clears bits, erasing sets a 4 KiB sector, reading costs nothing.

The power can fail in the middle: after `cut_after` more units (a byte programmed or a sector erased is one unit) the
operation stops half done, the harness is told that the power is gone, and nothing after that line runs.
"""

SECTOR = 4096
_CHUNK = 256


class NorFlash:
    def __init__(self, file, size, power_gone):
        self.size = size
        self.programmed = 0  # bytes, since start
        self.erased = 0  # sectors, since start
        self.cut_after = -1
        self._file = file
        self._power_gone = power_gone
        self._blank = b"\xff" * SECTOR
        self._page = bytearray(_CHUNK)

    def read_into(self, address, buffer):
        self._check(address, len(buffer))
        self._file.seek(address)
        self._file.readinto(buffer)

    def program(self, address, data):
        """Clear the bits that are 0 in data; bits that are 0 already stay 0, as in the chip."""
        count = len(data)
        self._check(address, count)
        is_cut = 0 <= self.cut_after < count
        if is_cut:
            count = self.cut_after
        try:
            self._clear_bits(address, data, count)
        except MemoryError:
            self._clear_bits_in_place(address, data, count)
        self._spend(count, is_cut)
        self.programmed += count

    def _clear_bits(self, address, data, count):
        view = memoryview(data)
        for start in range(0, count, _CHUNK):
            part = view[start : min(count, start + _CHUNK)]
            old = bytearray(len(part))
            self.read_into(address + start, old)
            if old != self._blank[: len(old)]:
                for i in range(len(old)):
                    old[i] &= part[i]
                part = old
            self._file.seek(address + start)
            self._file.write(part)

    def _clear_bits_in_place(self, address, data, count):
        """The same without any memory: the collector closes a file that was forgotten, and may not allocate then."""
        page = self._page
        at = 0
        while at < count:
            inside = (address + at) % _CHUNK
            place = address + at - inside
            self._file.seek(place)
            self._file.readinto(page)
            while inside < _CHUNK and at < count:
                page[inside] &= data[at]
                inside += 1
                at += 1
            self._file.seek(place)
            self._file.write(page)

    def erase(self, address):
        """Erase the 4 KiB sector at address."""
        if address % SECTOR:
            raise ValueError("not a sector")
        self._check(address, SECTOR)
        is_cut = self.cut_after == 0
        self._file.seek(address)
        self._file.write(self._blank[: SECTOR // 2] if is_cut else self._blank)
        self._spend(1, is_cut)
        self.erased += 1

    def _spend(self, units, is_cut):
        if is_cut:
            self._power_gone()
        if self.cut_after > 0:
            self.cut_after -= units

    def _check(self, address, count):
        if address < 0 or address + count > self.size:
            raise ValueError("outside the flash")
