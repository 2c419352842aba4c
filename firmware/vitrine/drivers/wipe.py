"""Deprovisioning: what made this lock one of a site is erased, byte by byte (SPEC.md section 21).

A mark comes first, a file, as it is made and removed whole and lies beside all that is erased. While it is there the
lock is nobody's: each start goes on here before it looks at anything else, and starts again when all is gone.

What is secret goes first, as files may fail. From then on NVS is not touched: its driver knows nothing of an erase
behind its back, and only a start sets it right. What it knew of updates is in the mark, and comes back with that start:
an old application does not come to run because somebody deprovisions the lock.

A file can be written by whoever copies files over an open console. So NVS has to say that this lock, if it has a
record, asked for this mark: else it is removed, and nothing of it is believed. For a lock that cannot read its record
NVS says so too, and it must be unreadable again, more than once, at that start: one fault wipes nobody's lock.
"""

import os
from hashlib import sha256

from micropython import const

from .nvs import Blob, Integer
from .partition import data_partition

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable

_MARK = "/.wipe"
_ERASED = "/.wiped"  # its name when all is gone
_ASIDE = "/.keep"
# the application's own: bundles, and what a board without an image of ours was given instead
_KEPT = ("slot-a", "slot-b", "lib", "vitrine", "boot.py", "main.py", "board.py", ".wipe")
_FILLER = "/fill"
_ROOT = "/./"  # of the flash alone: "/" shows what is mounted beside it, too
_FLOOR, _SLOTS = "upd_floor", "slots"  # SPEC.md sections 20.4 and 20.6
_ASKED = "wipe"  # digest of the mark, and a byte: 1 only because the record cannot be read
_RECORD = "provision"
_ASKED_TIMES = const(4)
_FOLDER = const(0x4000)
_SECTOR = const(4096)
_PIECE = const(512)
# A folder keeps what was in it until it is written anew, in each of two places: small files with their contents too.
_CHURN = const(128)
_CHURNED = const(100)


def begin(space: str, is_unreadable: "Callable[[], bool] | None" = None) -> None:
    """Leave the mark: from the next start on the lock is wiped, whatever happens. `space`: its NVS namespace.

    is_unreadable: given for a lock whose record cannot be used: reads it again, and tells. Nothing is done unless it
    says so each time.
    """
    if is_unreadable is not None and not _is_always(is_unreadable):
        return
    data = (Integer(space, _FLOOR).load() or 0).to_bytes(4, "big") + (Blob(space, _SLOTS).load() or b"")
    with open(_ASIDE, "wb") as file:
        file.write(data)
    Blob(space, _ASKED).save(sha256(data).digest() + bytes((is_unreadable is not None,)))
    os.rename(_ASIDE, _MARK)


def go_on(space: str, feed: "Callable[[], object]", is_unreadable: "Callable[[], bool]") -> None:
    """Do what the mark says; afterwards the chip has to be started again at once. OSError: the next start tries again.

    feed(): the watchdog's. is_unreadable: as of `begin`.
    """
    files = os.listdir("/")
    if not _is_asked(space, is_unreadable):
        for name in (_MARK, _ERASED):
            if name[1:] in files:
                os.remove(name)
    elif _MARK[1:] in files:
        _erase(space, feed)
        os.rename(_MARK, _ERASED)
    elif _ERASED[1:] in files:
        with open(_ERASED, "rb") as file:
            floor, slots = int.from_bytes(file.read(4), "big"), file.read()
        if floor:
            Integer(space, _FLOOR).save(floor)
        if slots:
            Blob(space, _SLOTS).save(slots)
        os.remove(_ERASED)


def _is_asked(space: str, is_unreadable: "Callable[[], bool]") -> bool:
    """Whether this lock has no record, or has asked for the mark that lies there."""
    try:
        if not any([Blob(space, _RECORD).load() is not None for _ in range(_ASKED_TIMES)]):
            return True
    except OSError:
        pass  # there is something
    try:
        asked = Blob(space, _ASKED).load() or b""
        with open(_MARK, "rb") as file:
            digest = sha256(file.read()).digest()
    except OSError:
        return False
    if asked == digest + b"\x00":
        return True
    return asked == digest + b"\x01" and _is_always(is_unreadable)


def _is_always(is_so: "Callable[[], bool]") -> bool:
    return all([is_so() is True for _ in range(_ASKED_TIMES)])


def _erase(space: str, feed: "Callable[[], object]") -> None:
    Blob(space, _RECORD).remove()
    for label in ("journal", "access", "nvs"):
        device = data_partition(label)
        buffer = bytearray(_SECTOR)
        for sector in range(device.ioctl(4, 0)):
            feed()
            device.readblocks(sector, buffer)
            if buffer.count(b"\xff") != _SECTOR:
                device.ioctl(6, sector)
    _remove_files(_ROOT, feed)
    _overwrite_files(feed)


def _remove_files(folder: str, feed: "Callable[[], object]") -> None:
    for entry in list(os.ilistdir(folder)):
        path = folder + entry[0]
        if folder == _ROOT and entry[0] in _KEPT:
            continue
        feed()
        if entry[1] & _FOLDER:
            _remove_files(path + "/", feed)
            os.rmdir(path)
        else:
            os.remove(path)


def _overwrite_files(feed: "Callable[[], object]") -> None:
    """Have littlefs write over what it has freed: its folder's two blocks, then every free one."""
    for _ in range(_CHURN):
        feed()
        with open(_FILLER, "wb") as file:
            file.write(b"\xff" * _CHURNED)
    piece = b"\xff" * _PIECE
    try:
        with open(_FILLER, "wb") as file:
            while True:
                feed()
                file.write(piece)
    except OSError:
        os.remove(_FILLER)  # no room is left: all of it was written
