"""A ledger on a simulated flash, for portable tests: `fresh()`, digests, and the times of section 13."""

from hashlib import sha256

from support.nor_flash import NorFlash
from vitrine.access.ledger import REVOKED, SPENT, Ledger, provision

EPOCH = 1577836800
UNIT = 1 << 15
DAY = 86400
NOW_S = EPOCH + 6800 * UNIT  # 2027
SECTOR = 4096


def fresh():
    """Return (flash, ledger) of an empty ledger."""
    flash = NorFlash(16)
    provision(flash)
    return flash, Ledger(flash)


def digest(number):
    return sha256(b"%d" % number).digest()


def tend(ledger, now_s=None):
    """Let the ledger finish its idle work; return the number of steps."""
    steps = 1
    while ledger.tend(now_s):
        steps += 1
    return steps


def add_many(ledger, kind, numbers, until_s=NOW_S + DAY):
    for number in numbers:
        assert ledger.add(kind, digest(number), until_s) is True, number


def has_all(ledger, kind, numbers):
    return all(ledger.has(kind, digest(number)) for number in numbers)


def has_any(ledger, kind, numbers):
    return any(ledger.has(kind, digest(number)) for number in numbers)


def copy(flash):
    """The same flash after a power cut."""
    return NorFlash(flash.sectors, image=flash.image)


def pages(flash):
    """Return [(sector, generation, header)] of all that looks like a page."""
    found = []
    for sector in range(16):
        header = bytes(flash.image[SECTOR * sector : SECTOR * sector + 28])
        if header[:4] == b"vtlp":
            found.append((sector, int.from_bytes(header[4:8], "big"), header))
    return found


def log(flash):
    """Return the sector of the log."""
    (found,) = [sector for sector in range(16) if flash.image[SECTOR * sector : SECTOR * sector + 4] == b"LOG1"]
    return found


def flip(flash, sector, offset, bits=(0,)):
    for bit in bits:
        flash.flip(SECTOR * sector + offset + bit // 8, bit % 8)


__all__ = [
    "DAY",
    "EPOCH",
    "NOW_S",
    "REVOKED",
    "SECTOR",
    "SPENT",
    "UNIT",
    "add_many",
    "copy",
    "digest",
    "flip",
    "fresh",
    "has_all",
    "has_any",
    "log",
    "pages",
    "tend",
]
