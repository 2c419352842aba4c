"""`vitrine rollout`: one update for many locks at a broker, ring by ring. It stops by itself when it does harm."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .options import example, with_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from ..updates.component import Component
    from ..updates.manifest import Signed
    from ..updates.rollout.book import Book, Course
    from ..updates.rollout.plan import Plan

app = typer.Typer(help="Roll an update out to many locks, ring by ring.", no_args_is_help=False)

StateArgument = Annotated[Path, typer.Argument(metavar="STATE", help="file of the rollout", show_default=False)]
PlanArgument = Annotated[Path, typer.Argument(metavar="PLAN", help="plan, TOML", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]


@dataclass(kw_only=True)
class Site:
    """Where the locks are, and what is heard of them."""

    broker: Annotated[str, typer.Option(help="broker, e.g. mqtts://broker.example:8883", show_default=False)]
    broker_ca: Annotated[Path | None, typer.Option(help="CA certificate of the broker (default: the system's)")] = None
    broker_cert: Annotated[Path | None, typer.Option(help="our certificate, if the broker asks for one")] = None
    broker_key: Annotated[Path | None, typer.Option(help="its private key")] = None
    db: Annotated[
        str | None, typer.Option(help="the collector's database: a plan's stops by alarms and refusals need it")
    ] = None


@app.command()
def plan(
    plan: PlanArgument,
    as_json: JsonOption = False,
    is_example: Annotated[bool, example("updates.rollout.plan", "a plan")] = False,
) -> None:
    """Show which locks are in which ring, and do nothing."""
    _, content, signed, _ = _load(plan)
    rings = _assigned(content, signed)
    if as_json:
        output.print_json(
            {
                "version": signed.manifest.version,
                "sequence": signed.manifest.sequence,
                "rings": [{"name": ring.name, "shadow": ring.is_shadow, "locks": list(ring.locks)} for ring in rings],
            }
        )
        return
    for ring in rings:
        shadow = ", in shadow" if ring.is_shadow else ""
        count = f"{len(ring.locks)} lock{'' if len(ring.locks) == 1 else 's'}"
        output.print_line(f"{ring.name}: {count}{shadow}")
        for lock in ring.locks:
            output.print_line(f"  {lock}")


@app.command()
@with_options(Site)
def start(
    site: Site,
    plan: PlanArgument,
    state: Annotated[Path | None, typer.Option(help="file for the rollout (default: PLAN.rollout)")] = None,
) -> None:
    """Begin a rollout, and run it to its end. What ends it in between may `resume` it. Exit status 1 if it stops."""
    import time

    from ..updates.rollout.book import Book

    text, content, signed, component = _load(plan)
    _check_site(site, content)
    path = state or plan.with_name(f"{plan.name}.rollout")
    rings = _assigned(content, signed)
    book = Book.create(path, text, plan.resolve().parent, signed.data, rings, time.time())
    output.print_line(f"rollout of {signed.manifest.version} to {len(content.fleet)} locks: {path}")
    _run(site, book, content, signed, component)


@app.command()
@with_options(Site)
def resume(
    site: Site,
    state: StateArgument,
    retry: Annotated[bool, typer.Option("--retry", help="once more to locks that refused or fell silent")] = False,
) -> None:
    """Go on with a rollout that was paused, killed or stopped. Locks that went back from the update stay so."""
    from ..updates import component as components
    from ..updates import manifest as manifests
    from ..updates.rollout import plan as plans
    from ..updates.rollout.book import Book, Course
    from ..updates.rollout.rings import State

    book = Book(state)
    content = plans.parse(book.plan, book.folder)
    signed = manifests.parse(book.manifest)
    component = components.read(content.component)
    signed.check(component)
    _check_site(site, content)
    with book.running():  # not while it runs elsewhere
        book.steer(Course.RUNNING)
        if retry:
            output.print_line(f"{book.retry(frozenset({State.REFUSED, State.SILENT}))} locks once more")
    _run(site, book, content, signed, component)


@app.command()
def status(state: StateArgument, as_json: JsonOption = False) -> None:
    """Show how far a rollout is."""
    from rich.console import Console

    from ..updates import manifest as manifests
    from ..updates.rollout.book import Book

    book = Book(state)
    course, why = book.course
    if not as_json:
        Console(highlight=False).print(_table(book))
        failed = [(lock, place) for (_, lock), place in book.places().items() if place.detail]
        for lock, place in failed:
            output.print_line(output.one_line(f"{lock}: {place.state}: {place.detail}"))
        return
    places = book.places()
    manifest = manifests.parse(book.manifest).manifest
    output.print_json(
        {
            "course": course,
            "why": why,
            "version": manifest.version,
            "sequence": manifest.sequence,
            "rings": [
                {
                    "name": ring.name,
                    "shadow": ring.is_shadow,
                    "locks": {
                        lock: {
                            "state": places[number, lock].state,
                            "since": int(places[number, lock].since_s),
                            "detail": places[number, lock].detail,
                        }
                        for lock in ring.locks
                    },
                }
                for number, ring in enumerate(book.rings)
            ],
        }
    )


@app.command()
def pause(state: StateArgument) -> None:
    """Have no lock more begin, until `resume`. Those that have all of it switch all the same."""
    _steer(state, "paused")


@app.command()
def abort(state: StateArgument) -> None:
    """End a rollout for good. Nothing is taken back: what runs, runs."""
    _steer(state, "aborted")


def _steer(state: Path, course: str) -> None:
    from ..updates.rollout.book import Book, Course

    Book(state).steer(Course(course), "by hand")
    output.print_line(f"{state} is {course}.")


def _load(path: Path) -> "tuple[str, Plan, Signed, Component]":
    from .. import keys
    from ..updates import component as components
    from ..updates import manifest as manifests
    from ..updates.rollout import plan as plans

    text = plans.read(path)
    content = plans.parse(text, path.resolve().parent)
    signed = manifests.parse(keys.read_file(content.manifest, "manifest", manifests.MAX_MANIFEST))
    component = components.read(content.component)
    signed.check(component)
    return text, content, signed, component


def _assigned(content: "Plan", signed: "Signed") -> Any:
    import hashlib

    from ..updates.rollout.rings import assign

    return assign(content, hashlib.sha256(signed.data).digest())


def _check_site(site: Site, content: "Plan") -> None:
    from ..errors import ToolError

    if site.db is None and (content.stop.alarms or content.stop.refusals):
        raise ToolError("the plan stops by alarms or refusals: give --db, the collector's database")


def _run(site: Site, book: "Book", content: "Plan", signed: "Signed", component: "Component") -> None:
    """Run it, and exit with the status for how it ended."""
    import asyncio
    import signal

    from ..collector import broker as brokers
    from ..collector.store import Store
    from ..errors import LinkError, ToolError
    from ..updates.links import Exchange
    from ..updates.rollout.book import Course
    from ..updates.rollout.harm import Figures
    from ..updates.rollout.runner import Runner
    from ..updates.rollout.targets import Targets

    address = brokers.parse(site.broker, ca=site.broker_ca, certificate=site.broker_cert, key=site.broker_key)

    async def run() -> "Course | None":
        store = None if site.db is None else Store(site.db, is_new_allowed=False)
        harm = None if store is None else Figures(store, book.begun_s, content.baseline, content.stop)
        async with Exchange(address) as exchange:
            targets = Targets(exchange, signed, component, content.silent)
            with _shown(book) as (told, refresh):
                runner = Runner(book, content, push=targets.push, check=targets.check, harm=harm, told=told)
                task = asyncio.ensure_future(runner.run())
                for number in (signal.SIGINT, signal.SIGTERM):
                    asyncio.get_running_loop().add_signal_handler(number, task.cancel)
                while not task.done():
                    await asyncio.wait({task}, timeout=1)
                    refresh()
                return None if task.cancelled() else task.result()

    try:
        course = asyncio.run(run())
    except LinkError as error:
        raise ToolError(f"{error}: go on with `vitrine rollout resume`") from error
    if course is None:
        output.print_problem(f"interrupted: go on with `vitrine rollout resume {book.path}`")
        raise typer.Exit(130)
    raise typer.Exit(0 if course is Course.FINISHED else 1)


@contextlib.contextmanager
def _shown(book: "Book") -> "Iterator[tuple[Callable[[str], None], Callable[[], None]]]":
    """A table on a terminal, and each line above it; yield what takes a line for a person, and what draws the table.

    Drawn by who calls it, not by a thread of rich's: the book is read by the thread that opened it alone.
    """
    import sys
    import time

    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)

    def say(line: str) -> None:
        console.print(f"{time.strftime('%H:%M:%S')}  {output.one_line(line)}", markup=False)

    if not console.is_terminal:

        def said(line: str) -> None:
            say(line)
            sys.stdout.flush()

        yield said, lambda: None
        return
    with Live(get_renderable=lambda: _table(book), console=console, auto_refresh=False) as live:
        yield say, live.refresh


def _table(book: "Book") -> "Table":
    """How many locks of each ring are where."""
    from rich.table import Table

    from ..updates import manifest as manifests
    from ..updates.rollout.rings import FAILED, State

    course, why = book.course
    manifest = manifests.parse(book.manifest).manifest
    table = Table(
        title=output.one_line(f"{manifest.version} (sequence {manifest.sequence}): {course}{': ' if why else ''}{why}")
    )
    for name in ("ring", "locks", *State):
        table.add_column(name, justify="left" if name == "ring" else "right")
    places = book.places()
    for number, ring in enumerate(book.rings):
        states = [places[number, lock].state for lock in ring.locks]
        cells = []
        for state in State:
            count = states.count(state)
            style = "red" if state in FAILED else "green" if state is State.DONE else ""
            text = str(count) if count else ""
            cells.append(f"[{style}]{text}[/]" if style and text else text)
        table.add_row(f"{ring.name}{' (shadow)' if ring.is_shadow else ''}", str(len(ring.locks)), *cells)
    return table
