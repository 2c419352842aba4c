"""A fleet: its folder, its radio, its broker and collector, and the locks; grows and shrinks while it runs."""

import asyncio
import contextlib
import os
import resource
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from .. import control, keys, workspace
from ..ble.bluez_standin import BluezStandIn
from ..ble.private_bus import BusError, PrivateBus
from ..collector.escrow import Escrow
from ..collector.service import Collector
from ..collector.store import Store, Verified, fields_of
from ..control import ControlServer
from ..emulator import VirtualRadio
from ..emulator.radio import RadioController, make_device
from ..errors import ToolError
from .collecting import TellingIntake
from .member import Member
from .uplink import COLLECTOR, GivenUplink, OwnUplink, Uplink
from .watch import watch

LOCKS_MAX: Final = 500  # processes and files that an ordinary machine lets one user have
_FILES_PER_LOCK: Final = 8
_AT_ONCE: Final = 2 * (os.cpu_count() or 1)  # locks that start at the same time
_KEPT: Final = 4096
_ISSUER: Final = "fleet.pem"
_SUBSCRIBE_S: Final = 30.0
_CANCEL_S: Final = 1.0


class Fleet:
    """`async with Fleet(folder, "auto") as fleet: await fleet.resize(100)`.

    broker: auto, mosquitto or embedded, to be started with the fleet; or its URL, with the folder `certificates`.
    issuer: whom all locks trust beside their own issuer, so that one signature commands all; None: a key made for it.
    `say` takes one line for a person. lags_s: from making a record to its transaction, of the latest records.
    """

    def __init__(
        self,
        folder: Path,
        broker: str = "auto",
        certificates: Path | None = None,
        *,
        zone: str = "UTC0",
        issuer: keys.PublicKey | None = None,
        say: Callable[[str], None] = lambda _line: None,
        has_bus: bool = True,
    ) -> None:
        self.folder = folder
        self.radio = VirtualRadio()
        self.members: list[Member] = []
        self.lags_s: deque[float] = deque(maxlen=_KEPT)
        self.bus_address = ""
        self._broker = broker
        self._certificates = certificates
        self._zone = zone
        self._issuer = issuer
        self._is_issuer_given = issuer is not None
        self._say = say
        self._has_bus = has_bus
        self._stack = contextlib.AsyncExitStack()
        self._by_id: dict[str, Member] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.uplink: Uplink

    @property
    def escrow(self) -> Path:
        """The root keys of all its journals."""
        return self.folder / "escrow"

    @property
    def issuer_key(self) -> Path | None:
        """The private key of the common issuer, if the fleet made it."""
        return None if self._is_issuer_given else self.folder / _ISSUER

    @property
    def database(self) -> Path:
        """What the collector stored."""
        return self.folder / "vitrine.db"

    async def __aenter__(self) -> Self:
        _make_folder(self.folder)
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def resize(self, count: int) -> None:
        """Start locks until there are `count`, or end those with the highest numbers. ToolError if one cannot start."""
        _allow_files(count * _FILES_PER_LOCK + 256)
        ending = self.members[count:]
        del self.members[count:]
        for member in ending:
            del self._by_id[member.lock_id]
        await asyncio.gather(*(member.stop() for member in ending))
        gate = asyncio.Semaphore(_AT_ONCE)

        async def start(lock_id: str) -> None:
            async with gate:
                space = await asyncio.to_thread(
                    workspace.prepare, self.folder / lock_id, lock_id, None, self._zone, self._issuer
                )
                control.check_free(space.folder)
                member = self._by_id[lock_id] = Member(self.radio, space)
                await asyncio.to_thread(member.prepare, self.escrow, self.uplink.settings(lock_id))
                await member.start(self.bus_address)

        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(len(self.members) + 1, count + 1):
                    tasks.create_task(start(f"case-{number:03}"))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        self.members = [self._by_id[lock_id] for lock_id in sorted(self._by_id)]

    def member(self, lock_id: str) -> Member | None:
        """Return the lock with this id."""
        return self._by_id.get(lock_id)

    async def _start(self) -> None:
        stack = self._stack
        server = ControlServer(self.folder, _refuse)  # so that no second fleet begins here
        await server.start()
        stack.push_async_callback(server.stop)
        if self._issuer is None:
            self._issuer = workspace.make_key(self.folder / _ISSUER).public
        if self._has_bus:
            await self._open_bus()
        self.uplink = self._make_uplink()
        stack.push_async_callback(self.uplink.stop)
        await self.uplink.start()
        store = Store(str(self.database))
        stack.callback(store.close)
        intake = TellingIntake(Escrow(self.escrow), store, self._stored)
        collector = Collector(intake, self.uplink.client(COLLECTOR), self._say)
        self._tasks = [
            asyncio.create_task(collector.run()),
            asyncio.create_task(watch(self.uplink.client(COLLECTOR), self.member)),
        ]
        stack.push_async_callback(self._end_tasks)
        # last, so first to end: the collector still hears what the locks say of it
        stack.push_async_callback(self._end_locks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SUBSCRIBE_S):
                await collector.is_subscribed.wait()

    async def _open_bus(self) -> None:
        """Give `vitrine unlock` a way to the radio; without dbus-daemon the fleet runs all the same."""
        bus = PrivateBus()
        try:
            await self._stack.enter_async_context(bus)
        except BusError as error:
            self._say(f"no Bluetooth for `vitrine unlock`: {error}")
            return
        central = await make_device("adapter", RadioController("adapter", self.radio), self.radio.next_address())
        await self._stack.enter_async_context(BluezStandIn(bus.address, central))
        self.bus_address = bus.address

    def _make_uplink(self) -> Uplink:
        if self._broker in ("auto", "mosquitto", "embedded"):
            own = self.folder / "broker"
            shutil.rmtree(own, ignore_errors=True)  # left behind by a fleet that was killed
            self._stack.callback(shutil.rmtree, own, ignore_errors=True)
            return OwnUplink(self._broker, own)
        if self._certificates is None:
            raise ToolError("give --certificates, the folder with ca.crt and the certificates of locks and collector")
        return GivenUplink(self._broker, self._certificates)

    async def _end_tasks(self) -> None:
        pending = set(self._tasks)
        while pending:
            for task in pending:
                task.cancel()
            # again: a client that is just connecting takes a cancellation for the end of its connection, and goes on
            _, pending = await asyncio.wait(pending, timeout=_CANCEL_S)

    async def _end_locks(self) -> None:
        await asyncio.gather(*(member.stop() for member in self._by_id.values()))

    def _stored(self, batches: list[Verified], stored_s: float) -> None:
        for batch, member in ((each, self._by_id.get(each.batch.lock_id)) for each in batches):
            if member is None:
                continue
            member.records = max(member.records, batch.batch.count)
            member.stored = max(member.stored, batch.batch.to)
            for record in batch.records:
                made_s = member.was_stored(fields_of(record.body))
                if made_s is not None:
                    self.lags_s.append(stored_s - made_s)


async def _refuse(_command: str) -> dict[str, object]:
    raise ToolError("this is a fleet: give the folder of one of its locks")


def _make_folder(folder: Path) -> None:
    """ToolError if it is not a fleet's, or not to be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and ((folder / "issuer.pem").exists() or not (folder / "escrow").is_dir()):
            raise ToolError(f"{folder} has other files in it: give a folder that is empty or a fleet's")
        folder.chmod(0o700)
        (folder / "escrow").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ToolError(f"cannot make the folder {folder}: {error.strerror}") from error


def _allow_files(count: int) -> None:
    """Raise this process's own limit of open files; ToolError if the system's is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise ToolError(f"so many locks need {count} open files, and the limit is {hard}: raise `ulimit -n`")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
