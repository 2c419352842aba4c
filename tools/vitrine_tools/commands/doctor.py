"""`vitrine doctor`: what a lock says of itself, whether that is to be believed, what is wrong, and what to do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .options import with_options
from .reaching import Reach

if TYPE_CHECKING:
    from ..audit.sealed import Keys
    from ..field.authority import Authority
    from ..field.diagnosis import Diagnosis
    from ..field.findings import Finding

KeysOption = Annotated[Path, typer.Option("--keys", help="folder of the escrow: the journals' root keys")]
PassphraseOption = Annotated[
    Path | None, typer.Option(help="file with the escrow's passphrase (default: VITRINE_ESCROW_PASSPHRASE, or asked)")
]


@with_options(Reach)
def doctor(
    reach: Reach,
    keys: KeysOption = Path("journal-keys"),
    passphrase_file: PassphraseOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="exit with 1 also for what is only noted")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Examine a lock, with the right to service. Exit status 0: well; 1: something is wrong; 2: no word to rely on."""
    from ..errors import ToolError
    from ..field import diagnosis, findings

    report = reach.run(lambda authority: _fetch(reach, authority))
    known = keys_of(report.lock_id, report.epoch, keys, passphrase_file)
    is_authentic = None if known is None else report.is_authentic(known)
    if is_authentic is False:
        raise ToolError(
            f"the report on {report.lock_id} does not bear its lock's seal: somebody else made it, or altered it"
        )
    found = findings.judge(report.told)
    if is_authentic is None:
        advice = f"put the lock's key into {keys}, or say with --keys where it is"
        found.insert(0, findings.Finding("unverified", True, "nobody has checked that the lock said this", advice))
    if as_json:
        output.print_json(
            {
                "lock": report.lock_id,
                "authentic": is_authentic,
                "findings": [
                    {"name": each.name, "wrong": each.is_wrong, "what": each.what, "advice": each.advice}
                    for each in found
                ],
                "report": diagnosis.plain(report),
            }
        )
    else:
        _print(report, found, is_authentic=is_authentic is True)
    raise typer.Exit(1 if any(each.is_wrong or strict for each in found) else 0)


async def _fetch(reach: Reach, authority: "Authority") -> "Diagnosis":
    from ..field import diagnosis

    async with reach.served(authority) as phone:
        return await diagnosis.fetch(phone, phone.lock_id)


def keys_of(lock_id: str, epoch: int | None, folder: Path, passphrase_file: Path | None) -> "Keys | None":
    """Return the escrowed keys of a lock's journal, of its latest one if `epoch` is None; None if there are none."""
    from ..collector import escrow

    if not folder.is_dir():
        return None
    keeper = escrow.Escrow(folder, lambda: escrow.ask_passphrase(passphrase_file))
    epoch = keeper.last_epoch(lock_id) if epoch is None else epoch
    return keeper.of(lock_id, epoch) if epoch >= 0 else None


def _print(report: "Diagnosis", found: "list[Finding]", *, is_authentic: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..field import diagnosis

    console = Console(highlight=False)
    facts = Table(show_header=False, box=None, pad_edge=False)
    seal = "sealed by the lock" if is_authentic else "NOT VERIFIED"
    for name, value in [("lock", f"{report.lock_id}, {seal}"), *diagnosis.facts(report)]:
        facts.add_row(Text(name, style="dim"), Text(output.one_line(value)))
    console.print(facts)
    console.print()
    for each in found:
        style: Any = "bold red" if each.is_wrong else "yellow"
        mark = Text("wrong  " if each.is_wrong else "note   ", style=style)
        console.print(mark + Text(output.one_line(f"{each.what}: {each.advice}")))
    if not found:
        console.print(Text("Nothing is wrong.", style="green"))
