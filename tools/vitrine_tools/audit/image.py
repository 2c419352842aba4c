"""Reads a lock's journal out of a raw image of its flash partition, and judges it (SPEC.md section 8).

For a lock on the bench: stolen, returned, or suspected. Written from the specification alone. The seals decide what is
a record, not the checksums: whoever alters a record can put its checksum right.
"""

import hmac
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..errors import ToolError
from . import records, seal
from .seal import Finding, Kind, Verdict, Witness
from .sealed import NO_TAG, TAG_SIZE, Keys, Record

SECTOR: Final = 4096
_HEADER = 64
_CELL = 32
_KEY_SIZE = 24
_STATE = 3
_KEY_MASK = 0
_ACKNOWLEDGEMENT_MASK = 0x0F0F0F0F
_AROUND = 26
_BLANK = b"\xff" * 16
_MAX_FILE = 16 << 20
_MAX_COUNT = 1 << 24  # a forged number must not send us through billions of keys; a record a minute for 30 years


class ImageError(ToolError):
    """The file is no image of a journal, or of another lock's."""


@dataclass(frozen=True, slots=True)
class Place:
    """A record as it lies in flash. `is_intact`: its checksum is right."""

    record: Record
    sector: int
    offset: int
    is_intact: bool


@dataclass(frozen=True, slots=True)
class Image:
    """What an image says: `count` is None if no key cell proves it."""

    places: list[Place]
    rubble: list[Place]  # behind these records stands something that was one
    count: int | None
    acknowledged: int
    spent_keys: list[int]


def load(path: Path) -> bytes:
    """Return the bytes of an image file; ImageError says what is wrong with it."""
    try:
        if path.stat().st_size > _MAX_FILE:
            raise ImageError(f"{path}: too large for a journal partition")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}; give the image of the journal partition") from None
    if not data or len(data) % SECTOR:
        raise ImageError(f"{path}: {len(data)} bytes, not a whole number of {SECTOR}-byte sectors")
    return data


def verify(data: bytes, keys: Keys, witnesses: list[Witness] | None = None) -> Verdict:
    """Judge the image of a whole partition. Raises ImageError if there is no journal of these keys in it."""
    image = read(data, keys)
    ordered = sorted(image.places, key=lambda place: place.record.sequence)
    # a record may be in flash twice: the second was written when the first did not read back right
    kept = list(dict.fromkeys(place.record for place in ordered))
    verdict = seal.verify(keys, kept, count=image.count, start=image.acknowledged, witnesses=witnesses or [])
    findings = [replace(finding, text=finding.text + _where(finding, ordered)) for finding in verdict.findings]
    for place in ordered:
        if not place.is_intact and seal.is_sealed(keys, place.record):
            what = records.describe(place.record.sequence, place.record.body)
            text = f"{what}: its checksum is wrong, what it says is right{_at(place)}"
            findings.append(Finding(Kind.ALTERED, place.record.sequence, place.record.sequence, text))
    for place in image.rubble:
        number = place.record.sequence
        text = f"what stands behind record {number} is no record any more{_at(place)}"
        findings.append(Finding(Kind.ALTERED, number, number, text))
    if image.count is None:
        text = "no key cell of this lock is in the image: nothing proves where the trail ends"
        findings.append(Finding(Kind.KEY, 0, 0, text))
    for number in image.spent_keys:
        text = f"the spent key of record {number} was not wiped: what is sealed from there on proves less"
        findings.append(Finding(Kind.KEY, number, number, text))
    return Verdict(verdict.records, findings)


def read(data: bytes, keys: Keys) -> Image:
    """Return what lies in the image; ImageError if nothing of this lock and epoch does."""
    sectors = [data[at : at + SECTOR] for at in range(0, len(data), SECTOR)]
    count: int | None = None
    acknowledged = 0
    spent: list[int] = []
    own = 0
    for sector in sectors:
        if _opened_as(sector, keys.epoch) is None:
            continue
        own += 1
        if _opened_as(sector, keys.epoch) == _STATE:
            for number in _keys(sector, keys):
                spent.append(number)
                count = number if count is None else max(count, number)
            acknowledged = max([acknowledged, *_acknowledgements(sector, keys)])
    if not own:
        raise ImageError("no journal of this lock and epoch is in the image: wiped, or another lock's")
    limit = count if count is not None else _MAX_COUNT
    rubble: list[Place] = []
    places = [place for n, sector in enumerate(sectors) for place in _records(n, sector, keys, limit, rubble)]
    # the key before the current one may still be there after a power cut, until the next start
    return Image(places, rubble, count, acknowledged, sorted(n for n in spent if count is not None and n < count - 1))


def _opened_as(sector: bytes, epoch: int) -> int | None:
    """Return what a sector in use holds (a class, or the state), None if it is not in use."""
    is_right = sector[:4] == b"vtj1" and _crc(sector[:12]) == sector[12:16] and _crc(sector[:28]) == sector[28:32]
    return sector[16] if is_right and sector[24:28] == epoch.to_bytes(4, "big") else None


def _cells(sector: bytes, mask: int) -> list[tuple[int, bytes]]:
    """Return (count, payload) of the cells of one kind."""
    seed = int.from_bytes(sector[28:32], "big") ^ mask
    cells = [sector[at : at + _CELL] for at in range(_HEADER, len(sector) - _CELL + 1, _CELL)]
    return [(int.from_bytes(c[24:28], "big"), c[:_KEY_SIZE]) for c in cells if _crc(c[:28], seed) == c[28:]]


def _keys(sector: bytes, keys: Keys) -> list[int]:
    """Return the counts whose key is in a cell: it is the key if it seals as the key does."""
    return [
        count
        for count, key in _cells(sector, _KEY_MASK)
        if count <= _MAX_COUNT and hmac.digest(key, b"vitrine/batch", "sha256")[:TAG_SIZE] == keys.batch_tag(count, b"")
    ]


def _acknowledgements(sector: bytes, keys: Keys) -> list[int]:
    return [
        count
        for count, tag in _cells(sector, _ACKNOWLEDGEMENT_MASK)
        if tag[:TAG_SIZE] == keys.acknowledgement_tag(count)
    ]


def _records(number: int, sector: bytes, keys: Keys, limit: int, rubble: list[Place]) -> list[Place]:
    """Return all in a sector that is a record, or has the look of one that was; add what is neither to `rubble`."""
    opened_as = _opened_as(sector, keys.epoch)
    if opened_as == _STATE:
        return []
    found = {at: _record(number, sector, at, keys, limit) for at in range(_HEADER, len(sector), 16)}
    places: list[Place] = []
    before = Place(Record(int.from_bytes(sector[20:24], "big"), b"", NO_TAG), number, 16, True)
    at = rubble_at = _HEADER
    while at < len(sector):
        place = found[at]
        if place is not None:
            places.append(place)
            before = place
            end = at + _size(len(place.record.body))
            at += 16
            # the length of one that was altered is not to be believed: do not step over a good one
            while at < end and (place.is_intact or (later := found[at]) is None or not later.is_intact):
                at += 16
            rubble_at = at
            continue
        block = sector[at : at + 16]
        at += 16
        is_end = at == len(sector) or sector[at : at + 16] == _BLANK or found[at] is not None
        if not is_end:
            continue
        # what a power cut tore ends in ones, or between two blocks, before the end that its length promises
        promised = rubble_at + _size(int.from_bytes(sector[rubble_at : rubble_at + 2], "big"))
        is_cut_short = at < promised and sector[at : at + 16] == _BLANK
        if opened_as is not None and block[12:] != _BLANK[12:] and not is_cut_short:
            rubble.append(before)
        rubble_at = at
    return places


def _record(number: int, sector: bytes, at: int, keys: Keys, limit: int) -> Place | None:
    """Return what stands at `at` if it is a record, or was one: not if a power cut tore it."""
    length = int.from_bytes(sector[at : at + 2], "big")
    total = _size(length)
    sequence = int.from_bytes(sector[at + 2 : at + 6], "big")
    if not 1 <= length <= records.MAX_BODY or at + total > len(sector) or sequence > limit:
        return None
    end = at + 6 + length
    record = Record(sequence, sector[at + 6 : end], sector[end : end + TAG_SIZE])
    checksum = int.from_bytes(sector[at + total - 4 : at + total], "big")
    expected = zlib.crc32(sector[at : at + total - 4], int.from_bytes(sector[28:32], "big"))
    if checksum == expected or seal.is_sealed(keys, record):
        return Place(record, number, at, checksum == expected)
    is_torn = checksum & expected == expected  # it only lacks zeros
    return None if is_torn or record.body[0] >> 5 != 5 else Place(record, number, at, False)


def _size(length: int) -> int:
    return (length + _AROUND + 15) & ~15


def _where(finding: Finding, places: list[Place]) -> str:
    if finding.kind not in (Kind.ALTERED, Kind.INSERTED):
        return ""
    for place in places:
        if place.record.sequence == finding.first:
            return _at(place)
    return ""


def _at(place: Place) -> str:
    return f" (sector {place.sector}, bytes from {place.offset})"


def _crc(data: bytes, seed: int = 0) -> bytes:
    return zlib.crc32(data, seed).to_bytes(4, "big")
