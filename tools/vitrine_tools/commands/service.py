"""`vitrine service`: a lock's console for a technician, over the wire of the board (SPEC.md section 18)."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .options import with_options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..field.authority import Authority
    from ..field.console_link import ConsolePhone

app = typer.Typer(help="Open, test and close a lock over its wire, by USB.", no_args_is_help=False)

PortOption = Annotated[str, typer.Option(help="the board's port, e.g. /dev/ttyUSB0", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]


@dataclass(frozen=True, slots=True)
class Right:
    """With what right a technician comes."""

    token: Annotated[Path | None, typer.Option(help="file of a token with the scope service")] = None
    holder: Annotated[Path | None, typer.Option(help="private key that the token was issued for")] = None
    key: Annotated[
        Path | None, typer.Option(help="in place of both: an issuer's private key, which makes a token for this once")
    ] = None
    sub: Annotated[
        str | None, typer.Option(help="with --key: whose pseudonym goes on record, never a name: text or hex:..")
    ] = None
    uv: Annotated[bool, typer.Option("--uv", help="the user was verified, where a token asks for that")] = False

    def authority(self) -> "Authority":
        """Read the files."""
        from ..field.authority import Authority

        sub = output.parse_opaque(self.sub, "sub", 16) if self.sub is not None else None
        return Authority.load(self.token, self.holder, self.key, sub=sub, uv=self.uv)


@dataclass(frozen=True, slots=True)
class Wired(Right):
    """And to which lock."""

    port: PortOption = ""
    lock: Annotated[str | None, typer.Option(help="which lock it must be (default: whichever the cable leads to)")] = (
        None
    )


@app.command("open")
@with_options(Wired)
def open_console(
    way: Wired,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- [MPREMOTE...]", help="have mpremote do this, then close")
    ] = None,
    repl: Annotated[bool, typer.Option("--repl", help="have mpremote show the prompt, then close")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="do not close when mpremote is done")] = False,
    as_json: JsonOption = False,
) -> None:
    """Open the console for 15 minutes, or for as long as mpremote runs."""
    from ..field import service

    command = service.mpremote(way.port, arguments or []) if arguments or repl else None
    lock_id, _ = _run(way, service.begin)
    if as_json:
        output.print_json({"lock": lock_id, "port": way.port, "open": True})
    else:
        output.print_line(f"{lock_id} is in service: until nothing was sent for 5 minutes, for 15 at most.")
    if command is None:
        return
    status = _hand_over(command)
    if not keep:
        _close(way.port)
    raise typer.Exit(status)


@app.command("test")
@with_options(Wired)
def test_strike(way: Wired, as_json: JsonOption = False) -> None:
    """Move the strike for half a second; the door can be opened meanwhile."""
    from ..field import service

    lock_id, acted = _run(way, service.test_strike)
    if as_json:
        output.print_json({"lock": lock_id, "lock_state": acted.lock_state, "door_state": acted.door_state})
    else:
        output.print_line(f"{lock_id}: the strike had current for half a second. It is on record.")


@app.command("close")
def close_console(port: PortOption, as_json: JsonOption = False) -> None:
    """Close the console; needs nothing but the wire."""
    _close(port)
    if as_json:
        output.print_json({"port": port, "open": False})
    else:
        output.print_line("The console is closed.")


def _run(way: Wired, work: "Callable[[ConsolePhone, Authority], Awaitable[Any]]") -> tuple[str, Any]:
    """Do `work` in a session over the wire; return (lock, what came of it)."""
    import asyncio

    from .. import names
    from ..errors import LinkError, ToolError
    from ..field import console_link
    from ..protocol import ProtocolError

    if not way.port:
        raise ToolError("give --port, the board's, e.g. /dev/ttyUSB0 or COM5")
    authority = way.authority()
    lock_id = "" if way.lock is None else names.check_lock_id(way.lock)

    async def run() -> tuple[str, Any]:
        async with console_link.reach(way.port, lock_id) as phone:
            done = await work(phone, authority)
            return phone.lock_id, done

    try:
        return asyncio.run(run())
    except (LinkError, ProtocolError) as error:
        raise ToolError(f"no answer to rely on at {way.port}: {error}") from error


def _hand_over(command: list[str]) -> int:
    """Run mpremote; Ctrl-C is for it alone."""
    import signal
    import subprocess

    before = signal.signal(signal.SIGINT, lambda *_: None)  # what is ignored, a child would ignore as well
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _close(port: str) -> None:
    from ..errors import LinkError, ToolError
    from ..field import console_link, service

    wire = console_link.Wire(port)
    try:
        service.close(wire)
    except LinkError as error:
        raise ToolError(f"{error}") from error
    finally:
        wire.close()
