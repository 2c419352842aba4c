"""`vitrine audit`: look at the collected records, verify them, export them, make a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import output
from .collect import DbOption, KeysOption, PassphraseOption, open_escrow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..audit.query import Entry, Filter
    from ..audit.seal import Finding
    from ..collector.escrow import Escrow

app = typer.Typer(help="Look at collected records: list, show, verify, risk, export, report.", no_args_is_help=False)

LockOption = Annotated[list[str] | None, typer.Option(help="only this lock; may be repeated")]
SinceOption = Annotated[str | None, typer.Option(help="only from then on, ISO 8601")]
UntilOption = Annotated[str | None, typer.Option(help="only before then, ISO 8601")]
PersonOption = Annotated[str | None, typer.Option(help="only this pseudonym: text or hex:..")]
TypeOption = Annotated[
    list[str] | None, typer.Option("--type", help="only this type, e.g. LockOperation; may be repeated")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command("list")
def list_records(
    db: DbOption = "vitrine.db",
    lock: LockOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    person: PersonOption = None,
    kind: TypeOption = None,
    last: Annotated[int, typer.Option(min=1, help="how many, the latest")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List records in order of time."""
    from ..audit import export, query
    from ..collector.store import Store

    store = Store(db, is_new_allowed=False)
    entries = list(query.select(store, _filter(lock, since, until, person, kind), last=last))
    if as_json:
        output.print_json([export.cloud_event(entry) for entry in entries])
        return
    for entry in entries:
        output.print_line(_line(entry))
    if not entries:
        output.print_line("No such records.")


@app.command()
def show(
    lock: Annotated[str, typer.Argument(help="lock", show_default=False)],
    sequence: Annotated[int, typer.Argument(help="number of the record", show_default=False)],
    db: DbOption = "vitrine.db",
    epoch: Annotated[int | None, typer.Option(help="of which journal (default: the lock's latest)")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one record in full."""
    from ..audit import export, query
    from ..collector.store import Store
    from ..errors import ToolError

    found = query.one(Store(db, is_new_allowed=False), lock, sequence, epoch)
    if found is None:
        raise ToolError(f"there is no record {sequence} of {lock} in the store: `vitrine audit verify` tells why")
    if as_json:
        output.print_json(export.cloud_event(found))
        return
    output.print_line(_line(found))
    fields = [(name, output.one_line(value)) for name, value in found.named().items()]
    when = export.time_text(found.received_s)
    output.print_fields([*fields, ("epoch", str(found.epoch)), ("received", when), ("body", found.body.hex())])


@app.command()
def verify(
    db: DbOption = "vitrine.db",
    keys: KeysOption = Path("journal-keys"),
    passphrase_file: PassphraseOption = None,
    lock: LockOption = None,
    image: Annotated[Path | None, typer.Option(help="a lock's journal partition instead of the database")] = None,
    epoch: Annotated[int | None, typer.Option(help="of which journal the image is, if the lock had several")] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify every seal, number and head again. Exit status 1 if something was altered, removed or set back."""
    from ..errors import ToolError

    escrow = open_escrow(keys, passphrase_file)
    if image is not None:
        is_whole = _verify_image(image, escrow, lock or [], epoch, as_json)
        raise typer.Exit(0 if is_whole else 1)
    from ..audit import verdict
    from ..collector.store import Store

    verdicts = verdict.judge(Store(db, is_new_allowed=False), escrow, tuple(lock or ()))
    if not verdicts:
        raise ToolError("there are no such journals in the store")
    if as_json:
        output.print_json([each.to_json() for each in verdicts])
    for each in verdicts if not as_json else ():
        _print_verdict(each.is_whole, each.summary, each.findings)
    raise typer.Exit(0 if all(each.is_whole for each in verdicts) else 1)


def _verify_image(path: Path, escrow: "Escrow", locks: list[str], epoch: int | None, as_json: bool) -> bool:
    from ..audit import image
    from ..errors import ToolError

    known = [keys for keys in escrow.all() if keys.lock_id in locks and epoch in (None, keys.epoch)]
    if len(locks) != 1 or not known:
        raise ToolError("say with --lock whose flash it is; its root key must be in the folder")
    keys = max(known, key=lambda keys: keys.epoch)
    judged = image.verify(image.load(path), keys)
    if as_json:
        findings = [{"kind": each.kind.value, "first": each.first, "text": each.text} for each in judged.findings]
        output.print_json({"lock": keys.lock_id, "epoch": keys.epoch, "whole": judged.is_whole, "findings": findings})
    else:
        summary = f"{keys.lock_id} (epoch {keys.epoch}): {len(judged.records)} sealed records in {path}"
        _print_verdict(judged.is_whole, summary, judged.findings)
    return judged.is_whole


def _print_verdict(is_whole: bool, summary: str, findings: "Iterable[Finding]") -> None:
    output.print_line(f"  {output.marked(is_whole)}  {summary}")
    for finding in findings:
        output.print_line(f"      {'--' if finding.is_harmless else '!!'} {output.one_line(finding.text)}")


@app.command()
def risk(
    db: DbOption = "vitrine.db",
    site: Annotated[Path | None, typer.Option(help="TOML file: how long it is to walk between locks")] = None,
    score: Annotated[int, typer.Option(min=1, max=100, help="list scores from this one on")] = 50,
    lock: LockOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    person: PersonOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is unusual. Exit status 1 if somebody was at two locks faster than one can walk."""
    from ..audit import query
    from ..audit import risk as risks
    from ..collector.store import Store

    place = risks.load_site(site) if site is not None else None
    wanted = _filter(lock, since, until, person, None)
    found = risks.find(query.select(Store(db, is_new_allowed=False), wanted), place, score)
    unnamed = sorted(found.unnamed)
    if as_json:
        output.print_json(
            {
                "travels": [each.to_json() for each in found.travels],
                "scores": [each.to_json() for each in found.scores],
                "unjudged": found.unjudged,
                "unnamed": [list(pair) for pair in unnamed],
            }
        )
        raise typer.Exit(1 if found.travels else 0)
    for each in found.travels:
        output.print_line(f"  !!  {output.one_line(each.text)}")
    for each in found.scores:
        output.print_line(f"  --  {output.one_line(each.text)}")
    if not found.travels and not found.scores:
        output.print_line("Nothing unusual.")
    if found.unjudged:
        output.print_line(f"Not judged: {found.unjudged} at an unknown time.")
    for one, other in unnamed:
        output.print_line(output.one_line(f"Not judged: how far {one} and {other} are apart is not in {site}."))
    raise typer.Exit(1 if found.travels else 0)


@app.command("export")
def export_records(
    db: DbOption = "vitrine.db",
    form: Annotated[Literal["cloudevents", "csv"], typer.Option("--format", help="JSON lines or CSV")] = "cloudevents",
    lock: LockOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    person: PersonOption = None,
    kind: TypeOption = None,
    out: Annotated[Path | None, typer.Option(help="file to write (default: standard output)")] = None,
    force: Annotated[bool, typer.Option("--force", help="overwrite an existing file")] = False,
) -> None:
    """Export records as CloudEvents 1.0 (one JSON object a line) or CSV."""
    from ..audit import export, query
    from ..collector.store import Store
    from ..keys import write_new

    entries = query.select(Store(db, is_new_allowed=False), _filter(lock, since, until, person, kind))
    lines = export.json_lines(entries) if form == "cloudevents" else export.csv_lines(entries)
    if out is None:
        for line in lines:
            output.print_line(line)
        return
    data = "".join(line + "\n" for line in lines).encode()
    write_new(out, data, mode=0o600, is_forced=force)
    output.print_line(f"{len(data)} bytes in {out}.")


@app.command()
def report(
    db: DbOption = "vitrine.db",
    keys: KeysOption = Path("journal-keys"),
    passphrase_file: PassphraseOption = None,
    lock: LockOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    out: Annotated[Path, typer.Option(help="HTML file to write")] = Path("audit-report.html"),
    force: Annotated[bool, typer.Option("--force", help="overwrite an existing file")] = False,
) -> None:
    """Make one HTML page: who opened what when, refusals, door-open times, gaps and seals."""
    from ..audit import query, verdict
    from ..audit.report import page
    from ..collector.store import Store
    from ..keys import write_new

    store = Store(db, is_new_allowed=False)
    wanted = _filter(lock, since, until, None, None)
    verdicts = verdict.judge(store, open_escrow(keys, passphrase_file), wanted.locks)
    data = page(list(query.select(store, wanted)), verdicts).encode()
    write_new(out, data, mode=0o600, is_forced=force)
    output.print_line(f"{out}: open it in a browser; it needs no network.")


def _filter(
    lock: list[str] | None, since: str | None, until: str | None, person: str | None, kind: list[str] | None
) -> "Filter":
    from .. import names, when
    from ..audit import query

    return query.Filter(
        locks=tuple(names.check_lock_id(name) for name in lock or []),
        since_s=when.parse_time(since) if since else None,
        until_s=when.parse_time(until) if until else None,
        person=output.parse_opaque(person, "a pseudonym", 16) if person else None,
        kinds=tuple(query.parse_kind(text) for text in kind or []),
    )


def _line(entry: "Entry") -> str:
    from .. import describe
    from ..audit import export
    from ..audit.sealed import Seal

    when = export.time_text(entry.time_s) if entry.time_s is not None else "time unknown"
    line = describe.describe(entry.fields)
    mark = "" if entry.seal == Seal.RIGHT else "  ALTERED"
    why = f"  ({line.why})" if line.why else ""
    return (
        output.one_line(f"{when}  {entry.lock_id} #{entry.sequence}")
        + "  "
        + output.one_line(f"{line.what}{why}{mark}")
    )
