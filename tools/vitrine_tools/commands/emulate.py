"""`vitrine emulate`: one lock, or a fleet, that keeps running in real time, with a door and buttons to operate."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import output


def emulate(
    folder: Annotated[
        Path | None, typer.Argument(help="where the lock keeps its keys and its flash (default: build/emulator)")
    ] = None,
    lock: Annotated[str | None, typer.Option(help="id of a new lock (default: case-12)")] = None,
    provisioning: Annotated[Path | None, typer.Option(help="provision the lock with this record instead")] = None,
    time_zone: Annotated[str, typer.Option(help="of a new lock, e.g. Europe/Vienna or a POSIX TZ")] = "UTC0",
    send: Annotated[
        Literal["open", "close", "rex", "force", "power-cut", "status"] | None,
        typer.Option(help="tell the lock that runs in FOLDER, instead of starting one"),
    ] = None,
    http: Annotated[
        int | None, typer.Option(min=0, max=65535, help="have the lock serve HTTP at this port here; 0: at a free one")
    ] = None,
    console: Annotated[
        Path | None, typer.Option(help="link the lock's wire to this path: mpremote connect PATH, or --port PATH")
    ] = None,
    bare: Annotated[
        bool, typer.Option("--bare", help="a board as it comes, to be provisioned over its wire (with --console)")
    ] = False,
    count: Annotated[
        int | None, typer.Option(min=1, max=500, help="a fleet: so many locks, case-001 and on (folder: build/fleet)")
    ] = None,
    broker: Annotated[
        str, typer.Option(help="of a fleet: mosquitto or embedded (started with it), or a URL like mqtts://host:8883")
    ] = "auto",
    certificates: Annotated[
        Path | None, typer.Option(help="with a URL: folder of ca.crt, NAME.crt and NAME.key; or ca.key to issue them")
    ] = None,
    issuer: Annotated[
        Path | None,
        typer.Option(help="of a fleet: public key that all its locks trust (default: fleet.pem, made in FOLDER)"),
    ] = None,
    unlocks_per_minute: Annotated[float, typer.Option(min=0, max=6000, help="by the phones of a fleet, in all")] = 0,
    phones: Annotated[int, typer.Option(min=1, max=50, help="of a fleet")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, one object a line")] = False,
) -> None:
    """Run an emulated lock until you quit; open it with `vitrine unlock` from a second terminal."""
    import json

    from ..emulator_state import DEFAULT_BARE, DEFAULT_FLEET, DEFAULT_FOLDER
    from ..errors import ToolError

    if count is not None:
        import asyncio

        from .. import keys, when
        from ..fleet.fleet import Fleet
        from ..fleet.play import play

        if bare or any(each is not None for each in (lock, provisioning, send, http, console)):
            options = "--lock, --provisioning, --send, --http, --console and --bare"
            raise ToolError(f"a fleet's locks are made with it: leave out {options}")
        zone, common = when.posix_zone_text(time_zone), keys.load_public(issuer) if issuer else None
        fleet = Fleet(folder or DEFAULT_FLEET, broker, certificates, zone=zone, issuer=common)
        asyncio.run(play(fleet, count, unlocks_per_minute, phones, as_json=as_json))
        return
    if issuer is not None:
        raise ToolError("--issuer is for a fleet, with --count; --provisioning says whom one lock trusts")
    if bare and (provisioning is not None or console is None):
        raise ToolError("--bare goes with --console PATH, where it is provisioned, and without --provisioning")
    folder = folder or (DEFAULT_BARE if bare else DEFAULT_FOLDER)
    if send is not None:
        from .. import control
        from ..hand import status_text

        answer = control.send(folder, send)
        output.print_line(json.dumps(answer) if as_json else status_text(answer))
        return
    import asyncio

    from .. import control, when, workspace
    from ..emulation import Emulation

    control.check_free(folder)  # before anything in it is changed
    space = workspace.prepare(folder, lock, provisioning, when.posix_zone_text(time_zone), is_bare=bare)
    asyncio.run(Emulation(space, as_json=as_json, http_port=http, console=console).run())
