"""A bare board whose console is open, without a console: small programs call `lock` as a technician's tool does.

The board's main.py makes the stores and drivers of the real one, and its `lock`; then it runs a program of the test's.
"""

import hashlib
import json
import shutil
from pathlib import Path

from support.board import board
from support.store import LOCK_ID, Store, strike_changes
from vitrine_tools.audit.sealed import Keys
from vitrine_tools.emulator import EmulatedLock
from vitrine_tools.emulator.flash import FlashImage
from vitrine_tools.emulator.places import ROOT

NOW_S = 1_800_000_000
ROOT_KEY = b"r" * 32
EPOCH = NOW_S

_MAIN = """
import board, json, machine, os
from vitrine.app.event_log import EventLog
from vitrine.app.evidence import Evidence
from vitrine.app.identity import Identity
from vitrine.app.key_tables import KeyTables
from vitrine.audit.journal import Journal
from vitrine.door.settings import Settings
from vitrine.drivers.clock import Clock
from vitrine.drivers.files import Files
from vitrine.drivers.nvs import Blob, Integer
from vitrine.drivers.partition import data_partition

def show(value):
    board.trace({"said": json.dumps(value)})

PREFIX
if {".wipe", ".wiped"}.intersection(os.listdir("/")):
    from vitrine.drivers.wipe import go_on

    go_on("vitrine", lambda: None, lambda: bool(Identity(Blob("vitrine", "provision")).trouble))
    AT_THE_END
    machine.reset()
from vitrine.app.field import Field
from vitrine.field_parts import Chip

blob = lambda key: Blob("vitrine", key)
identity = Identity(blob("provision"))
clock = Clock(machine.RTC(), identity.provisioned_at, Settings())
clock.raise_floor(Integer("vitrine", "floor").load() or 0)
events = EventLog(clock, lambda record: None)
evidence = Evidence(events, lambda: Journal(data_partition("journal"), blob("journal"), clock), identity.lock_id)
tables = KeyTables(Files("/"), events.record, blob("tables"), os.urandom, 2)
lock = Field(identity, Chip("vitrine"), evidence, clock, tables)

def refused(call, *values):
    try:
        call(*values)
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
    return None

PROGRAM
"""

_TRACER = """
import _board_link
_units = []

def _traced(method, size):
    def operation(*values):
        _units.append(size(values))
        return method(*values)
    return operation

_flash = _board_link.flash
_flash.program = _traced(_flash.program, lambda values: len(values[1]))
_flash.erase = _traced(_flash.erase, lambda values: 1)
"""


def field_board(folder: Path, program: str, *, is_traced: bool = False, **options) -> EmulatedLock:
    """A board that runs `program` at each start; what it shows is among the events.

    is_traced: before it restarts after a wipe, and where the program says TRACE, it shows how many units (bytes
    programmed, sectors erased) each operation on the flash took since the start.
    """
    code = folder / "code"
    code.mkdir(exist_ok=True)
    if not (code / "vitrine").exists():
        (code / "vitrine").symlink_to(ROOT / "firmware" / "vitrine")
    source = _MAIN.replace("PROGRAM", program).replace("PREFIX", _TRACER if is_traced else "")
    source = source.replace("AT_THE_END", "show(_units)" if is_traced else "pass")
    return board(folder, source, **({"rtc_s": NOW_S - 1000} | options))


def said(lock: EmulatedLock) -> list:
    """What the program showed, over all starts."""
    return [json.loads(event["said"]) for event in lock.events if "said" in event]


def journal_call(lock_id: str = "case-12", epoch: int = EPOCH) -> str:
    """The call that makes the journal of the root key."""
    first, acknowledge = Keys(ROOT_KEY, lock_id, epoch).secrets
    return f"lock.journal({epoch}, {first.hex()!r}, {acknowledge.hex()!r}, {check(first + acknowledge)!r})\n"


def blob_calls(name: str, data: bytes, piece: int = 300) -> str:
    """The calls that bring a blob."""
    calls = [f"lock.begin({name!r}, {len(data)})\n"]
    for start in range(0, len(data), piece):
        calls.append(f"lock.put({data[start : start + piece].hex()!r})\n")
    return "".join([*calls, f"lock.commit({check(data)!r})\n"])


def check(data: bytes) -> str:
    """How a call says what it brings."""
    return hashlib.sha256(data).hexdigest()[:16]


MQTT, NETWORK = b"the broker and its key" * 60, b"the network and its passphrase"
BLOBS = {"configuration", "scenario", "receipts", "lockout", "revocations", "operations"}


def provisioning(record: bytes) -> str:
    """A program that provisions the lock if that is not done, as the tool would."""
    steps = journal_call() + blob_calls("mqtt", MQTT) + blob_calls("network", NETWORK) + blob_calls("provision", record)
    steps += f"lock.finish({NOW_S * 1000}, 1000)\nlock.restart()\n"
    return (
        "if not identity.lock_id:\n" + "".join(f"    {line}\n" for line in steps.splitlines()) + "show(lock.state())\n"
    )


def ended_well(lock) -> None:
    """The program has come to its end."""
    assert lock.ended == "", lock.last_words()


async def provisioned(folder, record: bytes) -> dict:
    """Provision a bare board; return what it says of itself then. Its flash is folder / "flash.bin"."""
    async with field_board(folder, provisioning(record)) as lock:
        await lock.advance(1000)
        ended_well(lock)
        return said(lock)[-1]


async def opens(store: Store, flash, lock_id: str | None = None) -> bool | None:
    """Whether the lock with this flash opens for a phone; None if it says that it is nobody's, and does not."""
    if lock_id is None:
        lock_id = LOCK_ID if FlashImage(flash).nvs_get("vitrine", "provision") else ""
    async with store.lock(flash=flash, provision=None) as lock:
        await lock.advance(100)
        async with store.phone(lock, lock_id=lock_id) as (_, session):
            outcome = await session.open(store.token(), store.holder)
        if not lock_id:
            assert outcome.reason_name == "NotProvisioned" and not strike_changes(lock)[1:]
            return None
        return outcome.is_granted


async def cut_provisioning(store: Store, after: int) -> bool:
    """Cut the power of a board while it is provisioned, after so many units; False if it was done by then.

    It must be nobody's or wholly the store's then, and the same program must make it whole.
    """
    async with field_board(store.folder, "") as lock:
        ended_well(lock)  # the chip's own first start: file system and NVS are made
    lock = field_board(store.folder, provisioning(store.provision()))
    lock.flash_cut(after)
    async with lock:
        await lock.advance(1000)
        if lock.is_on:
            return False
        copy = store.folder / "copy.bin"
        shutil.copy(lock.flash.path, copy)
        assert await opens(store, copy) in (None, True)
        lock.events.clear()
        await lock.start()
        await lock.advance(1000)
        ended_well(lock)
        state = said(lock)[-1]
        assert state["lock"] == LOCK_ID and state["is_journal_sound"] and state["is_ledger_sound"]
        assert state["blobs"].keys() == BLOBS | {"provision", "journal", "mqtt", "network"}
    assert await opens(store, lock.flash.path)
    return True


async def cut_wipe(store: Store, image: FlashImage, after: int) -> bool | None:
    """Cut the power while the lock with `image` is wiped; return whether it is, None if it was by then.

    It must be as before or wholly wiped when it has started again.
    """
    lock = field_board(store.folder, WIPE, flash=image.path)
    lock.flash_cut(after)
    async with lock:
        await lock.advance(1000)
        if lock.is_on:
            return None
    async with store.lock(flash=image.path, provision=None) as lock:
        await lock.advance(100)  # it goes on, if there is a mark
    granted = await opens(store, image.path)
    assert granted is not False and kept_of_updates(image) == (9, SLOTS)
    if granted is None:
        assert traces(store, image) == []
    return granted is None


NOTE, BOOK, OLD = b"the owner's phone is 555", b"a page of the customers' book ", b"what stood here before"
SLOTS = b"which application is to run" * 4
WRITE_FILES = f"""
import os
if identity.lock_id and "notes" not in os.listdir("/"):
    os.mkdir("/notes")
    files = (("/notes/one", {NOTE!r}), ("/two", {OLD!r}), ("/two", {NOTE!r}), ("/slot-a", b"application" * 3000))
    for path, text in files:
        with open(path, "wb") as file:
            file.write(text)
    with open("/notes/book", "wb") as file:
        file.write({BOOK!r} * 500)
show(sorted(os.listdir("/./")))
"""
WIPE = """
if identity.lock_id:
    lock.wipe("case-12")
"""


async def in_service(folder, store: Store) -> FlashImage:
    """The flash of a lock that was provisioned, has worked, and has files of its technicians."""
    await provisioned(folder, store.provision())
    async with field_board(folder, WRITE_FILES) as lock:
        ended_well(lock)
        assert {"notes", "slot-a", "two"} <= set(said(lock)[-1])
    image = FlashImage(folder / "flash.bin")
    async with store.lock(flash=image.path, provision=None) as lock:
        assert (await store.open(lock)).is_granted
    image.nvs_put("vitrine", "upd_floor", 9)
    image.nvs_put("vitrine", "slots", SLOTS)
    return image


def kept_of_updates(image: FlashImage) -> tuple[int, bytes | None]:
    floor = image.nvs_get("vitrine", "upd_floor")
    return int.from_bytes(floor or b"", "little"), image.nvs_get("vitrine", "slots")


def traces(store: Store, image: FlashImage) -> list[bytes]:
    """What of the lock that it was can be found in its flash, byte by byte."""
    data = image.path.read_bytes()
    first, acknowledge = Keys(ROOT_KEY, LOCK_ID, EPOCH).secrets
    secrets = [LOCK_ID.encode(), store.issuer.public.raw, store.issuer.public.kid, store.headquarters.public.raw]
    secrets += [first, acknowledge, MQTT[:22], NETWORK, NOTE, BOOK, OLD, b"comb-", b"notes", b"vtj1", b"vtlp", b"LOG1"]
    return [secret for secret in secrets if secret in data]
