"""`vitrine logs`: a lock's records, fetched from the lock itself and checked on the spot."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import output
from .doctor import KeysOption, PassphraseOption, keys_of
from .options import with_options
from .reaching import Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..field.authority import Authority
    from ..field.pull import Judged, Pulled

app = typer.Typer(help="Fetch a lock's own records.", no_args_is_help=False)


@app.callback()
def _logs() -> None:
    """Fetch a lock's own records."""


@app.command("pull")
@with_options(Reach)
def pull_records(
    reach: Reach,
    out: Annotated[Path, typer.Option(help="file to write; one of an earlier try is gone on with", show_default=False)],
    form: Annotated[
        Literal["courier", "cloudevents", "csv"],
        typer.Option("--format", help="courier: sealed, for `vitrine collect --from`; or JSON lines, or CSV"),
    ] = "courier",
    keys: KeysOption = Path("journal-keys"),
    passphrase_file: PassphraseOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Fetch all records that the lock still has, with the right to service, and verify them. It keeps them all.

    Exit status 0: every seal and number is right; 1: something was altered, removed, or could not be checked.
    """
    from ..errors import ToolError
    from ..field import pull

    # sealed batches are what can be gone on with
    bag = out if form == "courier" else out.with_name(out.name + ".part")
    if form != "courier" and out.exists():
        raise ToolError(f"{out} exists: give another name")

    async def work(authority: "Authority") -> "Pulled":
        with _progress(is_shown=not as_json) as told:
            return await pull.Puller(bag, told).pull(lambda: reach.served(authority))

    try:
        pulled = reach.run(work)
    except KeyboardInterrupt:
        output.print_problem("interrupted: the same command goes on with what has come")
        raise typer.Exit(130) from None
    try:
        known = keys_of(pulled.lock_id, pulled.epoch, keys, passphrase_file)
    except ToolError as error:
        raise ToolError(f"{error}; {bag} has the records, unchecked") from None
    judged = pull.judge(pulled, known) if known is not None else None
    if form != "courier":
        if judged is None:
            raise ToolError(f"without the lock's key in {keys} no record can be told from a false one; {bag} has them")
        _export(out, form, pulled, judged)
        bag.unlink(missing_ok=True)
    _tell(pulled, judged, out, keys, as_json=as_json)
    raise typer.Exit(0 if judged is not None and judged.is_whole else 1)


def _export(out: Path, form: str, pulled: "Pulled", judged: "Judged") -> None:
    import time

    from ..audit import export
    from ..audit.query import Entry
    from ..audit.sealed import Seal
    from ..keys import write_new

    now_s = int(time.time())
    entries = [
        Entry(pulled.lock_id, pulled.epoch, each.sequence, each.seal or Seal.ALTERED, now_s, each.body)
        for each in judged.records
    ]
    lines = export.json_lines(entries) if form == "cloudevents" else export.csv_lines(entries)
    write_new(out, "".join(line + "\n" for line in lines).encode(), mode=0o600)


def _tell(pulled: "Pulled", judged: "Judged | None", out: Path, keys: Path, *, as_json: bool) -> None:
    there = sum(len(batch.records) for batch in pulled.batches)
    if as_json:
        said = {"lock": pulled.lock_id, "epoch": pulled.epoch, "count": pulled.count, "records": there}
        if judged is not None:
            said |= {"proved": judged.proved, "collected": judged.collected, "absent": judged.absent}
            said["findings"] = [
                {"kind": each.kind.value, "first": each.first, "last": each.last, "text": each.text}
                for each in judged.findings
            ]
        output.print_json(said | {"verified": judged is not None, "whole": judged is not None and judged.is_whole})
        return
    output.print_line(f"{there} records of {pulled.lock_id} are in {out}, of {pulled.count} since it was provisioned.")
    if judged is None:
        output.print_line(f"  --  nobody has checked their seals: the lock's key is not in {keys}")
        return
    output.print_line(f"  {output.marked(judged.is_whole)}  {judged.proved} of {there} seals right")
    if judged.absent:
        output.print_line(
            f"  --  {judged.absent} of the first {judged.collected} are not in the lock any more; a collector has them"
        )
    for each in judged.findings:
        output.print_line(f"      {'--' if each.is_harmless else '!!'} {output.one_line(each.text)}")


@contextmanager
def _progress(*, is_shown: bool) -> "Iterator[Callable[[int, int], None]]":
    """A bar on a terminal, else nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (is_shown and console.is_terminal)) as bar:
        task = bar.add_task("records", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
