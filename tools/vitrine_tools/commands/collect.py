"""`vitrine collect`: take the locks' sealed records from a broker or a courier, store them, acknowledge them."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output

if TYPE_CHECKING:
    from ..collector.escrow import Escrow

DbOption = Annotated[str, typer.Option(help="database: an SQLite file, or postgresql+psycopg://user@host/name")]
KeysOption = Annotated[Path, typer.Option(help="folder of the journals' escrowed root keys")]
PassphraseOption = Annotated[
    Path | None, typer.Option(help="file with the escrow's passphrase (default: VITRINE_ESCROW_PASSPHRASE, or asked)")
]


def open_escrow(folder: Path, passphrase_file: Path | None) -> "Escrow":
    """Return the keys in a folder, whose passphrase is asked for when one of them is encrypted."""
    import functools

    from ..collector.escrow import Escrow, ask_passphrase

    return Escrow(folder, functools.partial(ask_passphrase, passphrase_file))


def collect(
    keys: KeysOption = Path("journal-keys"),
    db: DbOption = "vitrine.db",
    broker: Annotated[str | None, typer.Option(help="broker, e.g. mqtts://broker.example:8883")] = None,
    ca: Annotated[Path | None, typer.Option(help="CA certificate of the broker (default: the system's)")] = None,
    cert: Annotated[Path | None, typer.Option(help="our certificate, if the broker asks for one")] = None,
    key: Annotated[Path | None, typer.Option(help="its private key")] = None,
    group: Annotated[str, typer.Option(help="collectors of one group share the load")] = "vitrine",
    from_file: Annotated[Path | None, typer.Option("--from", help="a courier's file instead of a broker")] = None,
    passphrase_file: PassphraseOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON (with --from)")] = False,
) -> None:
    """Collect sealed records: verify, store, and only then acknowledge. Ctrl-C ends it; nothing is lost by that."""
    from ..collector import bag, intake, store
    from ..collector import broker as brokers
    from ..errors import ToolError

    if (broker is None) == (from_file is None):
        raise ToolError("say where the records come from: --broker URL, or --from a courier's FILE")
    address = brokers.parse(broker, ca=ca, certificate=cert, key=key) if broker else None
    kept = open_escrow(keys, passphrase_file)
    kept.unlock()  # not when the first lock speaks
    door = intake.Intake(kept, store.Store(db))
    if from_file is None:
        assert address is not None
        asyncio.run(_run(door, address, group))
        return
    emptied = bag.empty(from_file, door)
    for line in emptied.refused:
        output.print_problem(f"refused, and left in the file: {line}")
    if as_json:
        output.print_json(
            {
                "stored": emptied.stored,
                "repeated": emptied.repeated,
                "refused": list(emptied.refused),
                "findings": list(emptied.findings),
                "acknowledged": list(emptied.acknowledged),
            }
        )
    else:
        for finding in emptied.findings:
            output.print_line(f"FOUND {output.one_line(finding)}")
        output.print_line(f"{emptied.stored} new records stored, {emptied.repeated} were there already.")
        if emptied.acknowledged:
            output.print_line(
                f"Acknowledgements for {', '.join(emptied.acknowledged)} are in {from_file}: take it back."
            )
    raise typer.Exit(1 if emptied.refused else 0)


async def _run(door, address, group: str) -> None:
    from ..collector.service import Collector

    def say(text: str) -> None:
        output.print_line(output.one_line(text))
        sys.stdout.flush()  # whoever reads along, a journal daemon for one, wants it now

    collector = Collector(door, address, say, group=group)
    task = asyncio.ensure_future(collector.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    output.print_line(
        f"{door.new} new records stored, {door.repeated} repeated, {door.refused.total()} messages refused."
    )
