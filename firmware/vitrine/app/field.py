"""What a technician's tool may do to this lock over its open console: `lock` of the programs there. SPEC.md section 21.

Tells what there is, never what is in it. Loaded with an open console only, which is its authority: whoever can call
this has shown a service token, or holds the cable of a lock that is nobody's yet.

What can fail raises ValueError, OSError, JournalError or LedgerError, with nothing of what was sent in it.
"""

from binascii import unhexlify
from hashlib import sha256

from micropython import const

from vitrine.access.ledger import Ledger, LedgerError
from vitrine.access.ledger import provision as make_ledger
from vitrine.access.ledger_pages import Pages
from vitrine.access.provision import MAX_SIZE, parse_provision
from vitrine.audit.journal import provision as make_journal
from vitrine.audit.record import CONFIGURATION_CHANGE, DETAIL
from vitrine.audit.seal import wipe as overwrite
from vitrine.codec import cbor
from vitrine.crypto.hmac256 import hmac_sha256
from vitrine.door.settings import Settings

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from typing import Any, Protocol

    from vitrine.access.provision import Provision

    from .evidence import Evidence
    from .identity import Identity
    from .key_tables import KeyTables

    class Chip(Protocol):
        """about: plain values for tools. blob and integer: stores of the lock's NVS namespace, by name."""

        about: "dict[str, object]"

        def blob(self, name: str) -> "Any": ...
        def integer(self, name: str) -> "Any": ...
        def partition(self, label: str) -> "Any": ...
        def reset(self) -> object: ...
        def begin_wipe(self) -> object: ...


_PROVISION = "provision"
_JOURNAL = "journal"  # the partition's label and the blob's name
_SENT = ("mqtt", "network")
_BLOB_MAX = const(1984)
_KEY, _ACKNOWLEDGE_KEY = const(24), const(32)
_SECTOR = const(4096)
_KEPT = const(12)  # issuers in `revocations` and `operations`, pinned no more among them
# What a new lock has beside its record (SPEC.md section 5). PER_ISSUER: so many zeros come behind each kid.
_PER_ISSUER = (("revocations", 2), ("operations", 1))
_INITIAL = (
    ("configuration", b"\xa5\x01\x00\x02\xa0\x03\x80\x04\xf6\x05\x80"),
    ("scenario", b"\xa5\x01\x00\x02\xf4\x03\xf4\x04\x80\x05\x80"),
    ("receipts", b"\x80"),
    ("lockout", b"\x01\x00\x58\xc2\x23\xbe"),
)
_BLOBS = (_PROVISION, _JOURNAL) + _SENT + tuple([name for name, _ in _PER_ISSUER + _INITIAL])


class Field:
    """Field(identity, chip, evidence, clock, tables): made for each open console, of the firmware's own parts.

    chip: vitrine.field_parts.Chip.
    """

    def __init__(self, identity: "Identity", chip: "Chip", evidence: "Evidence", clock, tables: "KeyTables") -> None:
        self._identity = identity
        self._chip = chip
        self._blob = chip.blob
        self._evidence = evidence
        self._clock = clock
        self._tables = tables
        self._name = ""  # of the blob that is coming
        self._data = bytearray()
        self._record = b""  # the provisioning record that waits for `finish`
        self._provision: "Provision | None" = None

    def state(self) -> "dict[str, object]":
        """Return what there is, as plain values; of each blob its digest under the acknowledge key, or "?" without.

        Secrets are in some of them that can be guessed: a plain digest would tell who guessed right.
        """
        identity, evidence = self._identity, self._evidence
        provision, journal = identity.provision, evidence.journal
        epoch, key = self._journal_key()
        blobs = {}
        for name in _BLOBS:
            data = self._blob(name).load()
            if data is not None:
                digest = hmac_sha256(key, b"vitrine/field", name.encode(), b"\x00", data) if key else None
                blobs[name] = digest[:16].hex() if digest else "?"
        return {
            "lock": identity.lock_id,
            "trouble": identity.trouble,
            "provisioned_at": identity.provisioned_at,
            "issuers": [issuer.kid.hex() for issuer in provision.issuers] if provision else [],
            "blobs": blobs,
            "epoch": epoch,
            "records": journal.count if journal else 0,
            "is_journal_sound": bool(journal and evidence.is_sound),
            "is_ledger_sound": self._is_ledger_sound(),
            "floor": self._chip.integer("floor").load() or 0,
            "time": self._clock.reading(),
            "board": self._chip.about,
        }

    def begin(self, name: str, size: int) -> None:
        """A blob comes: `mqtt`, `network`, or the record `provision`. One before it that is not whole is gone."""
        self._refuse_troubled()
        most = MAX_SIZE if name == _PROVISION else _BLOB_MAX if name in _SENT else 0
        if not 0 < size <= most:
            raise ValueError("no such blob")
        overwrite(self._data)
        self._name, self._data = name, bytearray()
        self._size = size

    def put(self, text: str) -> int:
        """Take the next piece of it, hexadecimal; return how many bytes are here."""
        piece = unhexlify(text)
        if not self._name or len(self._data) + len(piece) > self._size:
            raise ValueError("too long")
        self._data += piece
        overwrite(piece)
        return len(self._data)

    def commit(self, check: str) -> None:
        """The blob is whole. `provision` is checked, and waits for `finish`; the others are durable then."""
        name, data = self._name, bytes(self._data)
        if not name or len(data) != self._size:
            raise ValueError("not whole")
        _compare(check, data)
        if name == _PROVISION:
            self._stage(data)
        else:
            self._blob(name).save(data)
            overwrite(data)
        overwrite(self._data)
        self._name = ""

    def remove(self, name: str) -> None:
        """Forget `mqtt` or `network`: the lock goes there no more."""
        self._refuse_troubled()
        if name not in _SENT:
            raise ValueError("no such blob")
        self._blob(name).remove()

    def journal(self, epoch: int, first_key: str, acknowledge_key: str, check: str) -> None:
        """Make an empty journal (SPEC.md 8.5), keys in hexadecimal; in place of none that a lock in service has."""
        self._refuse_troubled()
        if self._identity.provision and self._evidence.journal:
            raise ValueError("there is a journal")
        first, acknowledge = unhexlify(first_key), unhexlify(acknowledge_key)
        if len(first) != _KEY or len(acknowledge) != _ACKNOWLEDGE_KEY or not 0 <= epoch <= 0xFFFFFFFF:
            raise ValueError("no keys of a journal")
        _compare(check, first, acknowledge)
        self._evidence.journal = None  # what it knows of the partition is no longer so
        # first without the blob: a cut in between must leave a lock without a journal, not one with the wrong key
        self._blob(_JOURNAL).remove()
        make_journal(self._chip.partition(_JOURNAL), self._blob(_JOURNAL), epoch, first, acknowledge)
        overwrite(first)
        overwrite(acknowledge)

    def set_time(self, unix_ms: int, error_ms: int) -> None:
        """Set a clock that lost its time: ValueError below the floor, which only `finish` moves back."""
        self._clock.set_trusted(unix_ms, error_ms)

    def finish(self, unix_ms: int, error_ms: int) -> None:
        """Make whatever is missing yet, then the record, which is the commit.

        `restart` is to follow in the same program: the rest of the firmware knows the floor and the blobs as they were.
        """
        provision = self._provision
        if provision is None or self._blob(_JOURNAL).load() is None:
            raise ValueError("no record, or no journal")
        self._make_ledger()
        for name, initial in _INITIAL:
            if self._blob(name).load() is None:
                self._blob(name).save(initial)
        kids = [issuer.kid for issuer in provision.issuers]
        for name, count in _PER_ISSUER:
            store = self._blob(name)
            present = store.load()
            renewed = cbor.encode(_renewed(cbor.decode(present, 256) if present else [], kids, count))
            if renewed != present:
                store.save(renewed)
        floor = self._chip.integer("floor")
        if (floor.load() or 0) > provision.provisioned_at:
            floor.save(provision.provisioned_at)
        self._clock.floor_s = provision.provisioned_at
        self._clock.set_trusted(unix_ms, error_ms)
        self._chip.integer("starts").save(0)  # what this took of them was no brown-out
        before = self._identity.provision
        if before:
            self._evidence.record(CONFIGURATION_CHANGE, {DETAIL: _PROVISION})
        self._blob(_PROVISION).save(self._record)
        for issuer in before.issuers if before else ():
            if issuer.kid not in kids:
                self._tables.unpin(issuer.public_key)

    def restart(self) -> None:
        """Start again, as what was made of the lock."""
        self._chip.reset()

    def wipe(self, lock_id: str) -> None:
        """Deprovision: erase all that makes this lock `lock_id` (empty: nobody's). The next start does it."""
        if lock_id != self._identity.lock_id:
            raise ValueError("another lock")
        self._chip.begin_wipe()
        self._chip.reset()

    def _stage(self, data: bytes) -> None:
        provision = parse_provision(data)
        Settings(provision.door)
        before = self._identity.provision
        if before:
            kids = [issuer.kid for issuer in before.issuers]
            if before.lock_id != provision.lock_id or not any(issuer.kid in kids for issuer in provision.issuers):
                raise ValueError("this lock belongs to another site")
        self._record, self._provision = data, provision

    def _refuse_troubled(self) -> None:
        """A record that cannot be read does not say whose lock this is: it has to be wiped first."""
        if self._identity.trouble:
            raise ValueError("the record is damaged: deprovision")

    def _journal_key(self) -> "tuple[int, bytes]":
        """Return the epoch and the acknowledge key of the journal that there is; (0, b"") without."""
        try:
            epoch, key = cbor.decode(self._blob(_JOURNAL).load() or b"", 64)
            return epoch, key
        except ValueError:
            return 0, b""

    def _is_ledger_sound(self) -> bool:
        device = self._chip.partition("access")
        try:
            # a lock in service has one that works on it: only looked at
            Pages(device).find_log() if self._identity.provision else Ledger(device)
        except LedgerError:
            return False
        return True

    def _make_ledger(self) -> None:
        """Make the ledger, unless there is one, or was one: what that knew is not handed back."""
        device = self._chip.partition("access")
        is_kept = self._is_ledger_sound() or (self._identity.provision and not _is_blank(device))
        if not is_kept:
            make_ledger(device)


def _renewed(present: "list[list[Any]]", kids: "list[bytes]", count: int) -> "list[list[Any]]":
    """Return the entries of `kids` first, new ones with `count` zeros, then those of others, who may come back."""
    known = {entry[0]: entry for entry in present}
    entries = [known.get(kid) or [kid] + [0] * count for kid in kids]
    return (entries + [entry for entry in present if entry[0] not in kids])[:_KEPT]


def _compare(check: str, *parts: bytes) -> None:
    """Raise ValueError if `parts` are not what was sent: `check` is the first 16 digits of their SHA-256."""
    digest = sha256()
    for part in parts:
        digest.update(part)
    if digest.digest()[:8].hex() != check:
        raise ValueError("damaged on the way")


def _is_blank(device) -> bool:
    buffer = bytearray(_SECTOR)
    for sector in range(device.ioctl(4, 0)):
        device.readblocks(sector, buffer)
        if buffer.count(b"\xff") != _SECTOR:
            return False
    return True
