"""How a technician reaches a lock: over its wire, by radio, or over the local network; and with what right."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .service import Right

if TYPE_CHECKING:
    from ..field.authority import Authority
    from ..phone import Phone


@dataclass(frozen=True, slots=True)
class Reach(Right):
    """Without a port or an address: by radio."""

    lock: Annotated[str | None, typer.Option(help="which lock, e.g. case-12; with --port it may be left out")] = None
    port: Annotated[str | None, typer.Option(help="go over its wire: the board's port, e.g. /dev/ttyUSB0")] = None
    http: Annotated[
        str | None, typer.Option(metavar="URL", help="go over the network, to e.g. http://192.168.1.20")
    ] = None
    mdns: Annotated[
        str | None, typer.Option(metavar="NAME", help="go over the network, to NAME.local; NAME:PORT if it is not 80")
    ] = None
    ca: Annotated[Path | None, typer.Option(help="certificates that may vouch for the lock: HTTPS")] = None
    timeout: Annotated[float, typer.Option(min=0.1, max=300, help="seconds to look for the lock by radio")] = 10.0
    emulator: Annotated[
        Path | None, typer.Option(help="folder of a running `vitrine emulate` (default: build/emulator or build/fleet)")
    ] = None

    def check(self) -> None:
        """ToolError unless one way is named, and what it needs."""
        from .. import names
        from ..errors import ToolError

        if sum(way is not None for way in (self.port, self.http, self.mdns)) > 1:
            raise ToolError("give one of --port, --http and --mdns")
        if self.lock is not None:
            names.check_lock_id(self.lock)
        elif self.port is None:
            raise ToolError("say with --lock which lock, or with --port which cable")

    @asynccontextmanager
    async def phone(self) -> "AsyncIterator[Phone]":
        """Connect; LinkError, ProtocolError or ToolError."""
        lock_id = self.lock or ""
        if self.port is not None:
            from ..field import console_link

            async with console_link.reach(self.port, lock_id) as phone:
                yield phone
        elif self.http is not None or self.mdns is not None:
            from .. import http_phone

            url = self.http or await http_phone.find(self.mdns or "", self.timeout, is_tls=self.ca is not None)
            yield http_phone.HttpPhone(url, lock_id, ca=None if self.ca is None else str(self.ca))
        else:
            from ..ble import bleak_link
            from ..phone import Phone
            from .unlock import choose_radio

            choose_radio(self.emulator, lock_id)
            device = await bleak_link.find_lock(lock_id, self.timeout)
            async with await bleak_link.BleakLink.connect(device, self.timeout) as link:
                yield Phone(link, lock_id)

    @asynccontextmanager
    async def served(self, authority: "Authority") -> "AsyncIterator[Phone]":
        """Connect, and have service granted. A console that was closed is closed again."""
        import asyncio

        from ..field import service
        from ..field.console_link import ConsolePhone
        from ..protocol import Action

        async with self.phone() as phone:
            wire = phone.wire if isinstance(phone, ConsolePhone) else None
            was_open = wire is None or await asyncio.to_thread(service.is_open, wire)
            await authority.ask(phone, Action.SERVICE)
            try:
                yield phone
            finally:
                if wire is not None and not was_open:
                    await asyncio.to_thread(service.close, wire)

    def run(self, work: "Callable[[Authority], Awaitable[Any]]") -> Any:
        """Do `work`, which makes its own sessions; ToolError in one line if the lock cannot be reached."""
        import asyncio
        import logging

        from ..errors import LinkError, ToolError
        from ..protocol import ProtocolError

        self.check()
        authority = self.authority()
        logging.getLogger("bleak").setLevel(logging.CRITICAL)  # what matters comes as an exception
        try:
            return asyncio.run(work(authority))  # pyright: ignore[reportArgumentType]
        except (LinkError, ProtocolError) as error:
            raise ToolError(f"no answer to rely on from {self.lock or self.port}: {error}") from error
