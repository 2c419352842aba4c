"""Make an empty journal in a flash file that no board runs from: what `vitrine provision` has a real lock do.

micropython boards/unix/provision_journal.py FLASH ADDRESS SIZE < {"epoch", "first_key", "acknowledge_key"}
MICROPYPATH: firmware, .frozen. Keys come on standard input, in hex; the blob for the key store goes to standard output.
"""

import json
import sys

sys.path.insert(0, __file__.rpartition("/")[0] + "/modules")

from _flash import SECTOR, NorFlash

from vitrine.audit.journal import provision


class Region:
    """A part of the flash as the block device that esp32.Partition is."""

    def __init__(self, flash, address, size):
        self._flash = flash
        self._address = address
        self._sectors = size // SECTOR

    def readblocks(self, block, buffer, offset=0):
        self._flash.read_into(self._address + block * SECTOR + offset, buffer)

    def writeblocks(self, block, buffer, offset):
        self._flash.program(self._address + block * SECTOR + offset, buffer)

    def ioctl(self, operation, argument):
        if operation == 4:
            return self._sectors
        if operation == 5:
            return SECTOR
        if operation == 6:
            self._flash.erase(self._address + argument * SECTOR)
        return 0


class Store:
    """Shows the key store's blob to the host, which puts it into NVS."""

    def load(self):
        return None

    def save(self, data):
        print(data.hex())


def power_gone():
    raise SystemExit(1)


path, address, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
secrets = json.loads(sys.stdin.read())
first_key, acknowledge_key = (bytes.fromhex(secrets[name]) for name in ("first_key", "acknowledge_key"))
with open(path, "r+b") as file:
    flash = NorFlash(file, address + size, power_gone)
    provision(Region(flash, address, size), Store(), secrets["epoch"], first_key, acknowledge_key)
