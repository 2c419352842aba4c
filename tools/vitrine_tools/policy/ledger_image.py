"""Reads the ledger out of an image of its flash partition: SPEC.md section 13, and nothing of the firmware."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from ..errors import ToolError

SECTOR: Final = 4096
SECTORS: Final = 16
_BLOCK = 256
_ENTRY = 7
_KEY = 5
_MAX_ENTRIES = 572
_IN_FIRST_BLOCK = 32
_IN_BLOCK = 36
_CELL = 16
_CELLS = 254
_LAST_KEY = (1 << 8 * _KEY) - 1
_CLASS_BIT = 1 << 8 * _KEY - 1


class LedgerImageError(ToolError):
    """The partition is no ledger, or so damaged that what it forbids is not known."""


@dataclass(frozen=True, slots=True)
class Entries:
    """The first 39 bits of each digest, by class, as 5 bytes with a zero bit in front."""

    revoked: frozenset[bytes]
    spent: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class _Page:
    generation: int
    first: int
    last: int
    keys: list[int]


def read(image: bytes) -> Entries:
    """Return what is in the ledger; LedgerImageError if one thing in it cannot be known."""
    if len(image) != SECTOR * SECTORS:
        raise LedgerImageError(f"a ledger has {SECTOR * SECTORS} bytes, not {len(image)}")
    sectors = [image[at : at + SECTOR] for at in range(0, len(image), SECTOR)]
    logs = [(log[0], sector) for sector in sectors if (log := _log_head(sector)) is not None]
    if not logs:
        raise LedgerImageError("no ledger is in the image: wiped, or never provisioned")
    generation, log = max(logs, key=lambda each: each[0])
    heads = [(sector, head) for sector in sectors if (head := _page_head(sector)) is not None]
    pages = [_page(sector, head) for sector, head in heads if _number(head, 4, 4) in (generation, generation + 1)]
    keys = set(_merged(pages, generation)) | set(_logged(log, generation))
    digests = {key: (key & ~_CLASS_BIT).to_bytes(_KEY, "big") for key in keys}
    return Entries(
        frozenset(digest for key, digest in digests.items() if not key & _CLASS_BIT),
        frozenset(digest for key, digest in digests.items() if key & _CLASS_BIT),
    )


def _merged(pages: list[_Page], generation: int) -> Iterator[int]:
    """Yield the keys of all pages: those of the next generation answer for the lowest keys while it is being made."""
    reach = 0  # below it, all keys are answered for
    newest_first = sorted(pages, key=lambda page: (-page.generation, page.first))
    for page in newest_first:
        if page.last < reach:
            continue
        if page.first > reach:
            break
        yield from (key for key in page.keys if key >= reach)
        reach = page.last + 1
    if reach <= _LAST_KEY:
        raise LedgerImageError(f"pages of generation {generation} are damaged or missing: who knows what they forbid")


def _page(sector: bytes, head: bytes) -> _Page:
    generation, count = _number(head, 4, 4), _number(head, 18, 2)
    entries = [head[at : at + _ENTRY] for at in range(28, 28 + _ENTRY * min(count, _IN_FIRST_BLOCK), _ENTRY)]
    for n in range(1, SECTOR // _BLOCK):
        missing = count - len(entries)
        if missing <= 0:
            break
        block = _mended(sector[_BLOCK * n : _BLOCK * (n + 1)], 16 * generation + n & 0xFFFFFFFF, flips=1)
        if block is None:
            raise LedgerImageError("a block of a page is damaged: what it forbids is not known")
        entries += (block[at : at + _ENTRY] for at in range(0, _ENTRY * min(missing, _IN_BLOCK), _ENTRY))
    return _Page(generation, _number(head, 8, _KEY), _number(head, 13, _KEY), [_number(e, 0, _KEY) for e in entries])


def _page_head(sector: bytes) -> bytes | None:
    head = _mended(sector[:_BLOCK], 0, flips=1)
    return head if head is not None and head[:4] == b"vtlp" and _number(head, 18, 2) <= _MAX_ENTRIES else None


def _log_head(sector: bytes) -> tuple[int] | None:
    head = _mended(sector[:32], 0, flips=1)
    return (_number(head, 4, 4),) if head is not None and head[:4] == b"LOG1" else None


def _logged(log: bytes, generation: int) -> Iterator[int]:
    """Yield the keys of the log's cells. The last one may have been cut."""
    cells = [log[at : at + _CELL] for at in range(32, 32 + _CELL * _CELLS, _CELL)]
    while cells and sum(byte != 0xFF for byte in cells[-1]) <= 2:
        cells.pop()
    for n, cell in enumerate(cells):
        if sum(byte != 0 for byte in cell) <= 2 or sum(byte != 0xFF for byte in cell) <= 2:
            continue
        good = _mended(cell, 0, flips=2)
        if good is not None and good[7] == n and _number(good, 8, 4) == generation:
            yield _number(good, 0, _KEY)
        elif n < len(cells) - 1:
            raise LedgerImageError("an entry of the log is damaged: what it forbids is not known")


def _mended(block: bytes, seed: int, *, flips: int) -> bytes | None:
    """Return `block` if its last 4 bytes are the CRC-32 of the others, or were before at most `flips` flipped bits."""
    # a flipped bit changes the CRC by the same whatever the others are, so each is tried once
    clean = _syndrome(block, seed)
    if clean == 0:
        return block
    if block == b"\xff" * len(block):
        return None
    bits = 8 * len(block)
    zero = _syndrome(bytes(len(block)), 0)
    effects = [_syndrome((1 << bit).to_bytes(len(block), "big"), 0) ^ zero for bit in range(bits)]
    for count in range(1, flips + 1):
        for chosen in combinations(range(bits), count):
            effect = 0
            for bit in chosen:
                effect ^= effects[bit]
            if effect == clean:
                mask = sum(1 << bit for bit in chosen)
                return (int.from_bytes(block, "big") ^ mask).to_bytes(len(block), "big")
    return None


def _syndrome(block: bytes, seed: int) -> int:
    return zlib.crc32(block[:-4], seed) ^ struct.unpack(">I", block[-4:])[0]


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")
