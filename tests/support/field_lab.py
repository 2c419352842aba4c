"""A bare board whose console is open, without a console: small programs call `lock` as a technician's tool does.

The board's main.py makes the stores and drivers of the real one, and its `lock`; then it runs a program of the test's.
"""

import hashlib
import json
from pathlib import Path

from support.board import board
from vitrine_tools.audit.sealed import Keys
from vitrine_tools.emulator import EmulatedLock
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

if {".wipe", ".wiped"}.intersection(os.listdir("/")):
    from vitrine.drivers.wipe import go_on

    go_on("vitrine", lambda: None)
    machine.reset()
from vitrine.app.field import Field
from vitrine.field_parts import Chip

blob = lambda key: Blob("vitrine", key)
identity = Identity(blob("provision"))
clock = Clock(machine.RTC(), identity.provisioned_at, Settings())
clock.raise_floor(Integer("vitrine", "floor").load() or 0)
events = EventLog(clock, lambda record: None)
evidence = Evidence(events, lambda: Journal(data_partition("journal"), blob("journal"), clock), identity.lock_id)
tables = KeyTables(Files("keys"), events.record, 2)
lock = Field(identity, Chip("vitrine"), evidence, clock, tables)

def show(value):
    board.trace({"said": json.dumps(value)})

def refused(call, *values):
    try:
        call(*values)
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
    return None

PROGRAM
"""


def field_board(folder: Path, program: str, **options) -> EmulatedLock:
    """A board that runs `program` at each start; what it shows is among the events."""
    code = folder / "code"
    code.mkdir(exist_ok=True)
    if not (code / "vitrine").exists():
        (code / "vitrine").symlink_to(ROOT / "firmware" / "vitrine")
    source = _MAIN.replace("PROGRAM", program)
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
