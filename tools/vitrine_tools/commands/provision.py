"""`vitrine provision` and `vitrine deprovision`: make a lock one of a site over its cable, and nobody's again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .collect import PassphraseOption
from .options import example, with_options
from .service import Right

if TYPE_CHECKING:
    from ..field.authority import Authority

PortOption = Annotated[str, typer.Option(help="the lock's serial port, e.g. /dev/ttyUSB0 or COM5", show_default=False)]


@with_options(Right)
def provision(
    right: Right,
    port: PortOption,
    lock: Annotated[str, typer.Option(help="id of the lock, e.g. case-12", show_default=False)],
    site: Annotated[Path, typer.Option(help="site file: issuers, settings, broker, Wi-Fi")] = Path("site.toml"),
    escrow_folder: Annotated[Path, typer.Option("--keys", help="folder of the escrow: the journals' root keys")] = Path(
        "journal-keys"
    ),
    passphrase_file: PassphraseOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    is_example: Annotated[bool, example("field.site", "a site file")] = False,
) -> None:
    """Make the lock at PORT one of a site. May be run again at any time: it does what is missing.

    A lock that is provisioned already asks for a right to service: --key, or --token and --holder; with it the lock is
    examined when all is done, too; what it lacks then, its broker for one, is only told.
    """
    from ..collector import escrow
    from ..field.provision import STEPS, Provisioner
    from ..field.report import Report
    from ..field.site import Site

    plan = Site(site).plan(lock)

    def passphrase() -> bytes:
        is_new = not escrow_folder.is_dir() or not any(escrow_folder.glob(f"*{escrow.SUFFIX}"))
        return escrow.ask_passphrase(passphrase_file, is_new=is_new)

    secret = passphrase()  # before the bar is on the screen
    with Report(STEPS).shown() as report:
        done = Provisioner(plan, escrow_folder, lambda: secret, report, _authority(right)).run(port)
    if as_json:
        output.print_json(
            {
                "lock": done.lock_id,
                "board": done.board,
                "epoch": done.epoch,
                "key_file": str(done.key_file),
                "changed": list(done.changed),
                "wrong": done.wrong and list(done.wrong),
                "seconds": round(done.seconds, 1),
            }
        )
    elif done.changed:
        output.print_line(f"{done.lock_id} is provisioned ({', '.join(done.changed)}; {done.seconds:.0f} s).")
        output.print_line(f"The root key of its journal is in {done.key_file}: keep a copy, and the passphrase apart.")
    else:
        output.print_line(f"{done.lock_id} is as {site} has it: nothing to do.")
    if not as_json:
        for each in done.wrong or ():
            output.print_line(f"  NO  {output.one_line(each)}")
        if done.wrong is None:
            output.print_line("It was not examined: give --key or --token, or ask `vitrine doctor`.")


@with_options(Right)
def deprovision(
    right: Right,
    port: PortOption,
    lock: Annotated[str, typer.Option(help="id of the lock, e.g. case-12", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Erase all that made the lock at PORT one of a site: its keys, records and files."""
    from .. import names
    from ..field.deprovision import STEPS
    from ..field.deprovision import deprovision as wipe
    from ..field.report import Report

    names.check_lock_id(lock)
    if not yes:
        typer.confirm(f"Erase {lock}, with all records that no collector has?", abort=True)
    with Report(STEPS).shown() as report:
        wipe(port, lock, report, _authority(right))
    output.print_line(
        f"{lock} is nobody's lock now. Its records stay where they were collected, its root key in escrow."
    )


def _authority(right: Right) -> "Authority | None":
    return right.authority() if right.key or right.token else None
