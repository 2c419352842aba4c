"""`vitrine update`: sign what locks may install, and bring it there: BLE, network, cable, or a broker."""

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from . import output
from .options import with_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..updates.manifest import Preconditions, Signed
    from ..updates.push import Connect, Report

app = typer.Typer(help="Make updates for locks, and bring them there.", no_args_is_help=False)

JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]
ManifestArgument = Annotated[Path, typer.Argument(help="file of the signed manifest", show_default=False)]


@dataclass(kw_only=True)
class Way:
    """How to reach a lock. Without a word about it: over Bluetooth."""

    lock: Annotated[str, typer.Option(help="lock, e.g. case-12", show_default=False)]
    timeout: Annotated[float, typer.Option(min=0.1, max=300, help="seconds to find the lock, or for an answer")] = 10.0
    ble: Annotated[bool, typer.Option("--ble", help="go over Bluetooth")] = False
    emulator: Annotated[
        Path | None, typer.Option(help="folder of a running `vitrine emulate` (default: build/emulator or build/fleet)")
    ] = None
    http: Annotated[
        str | None, typer.Option(metavar="URL", help="go over the network, to e.g. http://192.168.1.20")
    ] = None
    mdns: Annotated[
        str | None, typer.Option(metavar="NAME", help="go over the network, to NAME.local; NAME:PORT if it is not 80")
    ] = None
    ca: Annotated[Path | None, typer.Option(help="certificates that may vouch for the lock: HTTPS")] = None
    port: Annotated[str | None, typer.Option(help="go over the cable, at e.g. /dev/ttyACM0")] = None
    broker: Annotated[str | None, typer.Option(help="go over a broker, e.g. mqtts://broker.example:8883")] = None
    broker_ca: Annotated[Path | None, typer.Option(help="CA certificate of the broker (default: the system's)")] = None
    broker_cert: Annotated[Path | None, typer.Option(help="our certificate, if the broker asks for one")] = None
    broker_key: Annotated[Path | None, typer.Option(help="its private key")] = None
    as_json: JsonOption = False


@app.command()
def manifest(
    key: Annotated[Path, typer.Option(help="the issuer's private key (scope: update)", show_default=False)],
    out: Annotated[Path, typer.Option(help="file for the manifest", show_default=False)],
    board: Annotated[str, typer.Option(help="board that it is for, e.g. VITRINE_ESP32S3", show_default=False)],
    bundle: Annotated[Path | None, typer.Option(help="application bundle")] = None,
    image: Annotated[Path | None, typer.Option(help="application image for the chip")] = None,
    sequence: Annotated[int | None, typer.Option(min=1, help="sequence of an image; a bundle has its own")] = None,
    version: Annotated[str | None, typer.Option(help="version of an image, for people; a bundle has its own")] = None,
    precondition: Annotated[
        list[str] | None,
        typer.Option(help="sequence=N, image=N (lowest that may run) or battery=MILLIVOLTS; may be repeated"),
    ] = None,
    aud: Annotated[
        list[str] | None, typer.Option(help="only for this lock or group:NAME; may be repeated (default: all)")
    ] = None,
    vendor: Annotated[
        str | None, typer.Option(help="DNS name of who makes the board, if that is not Vitrine; it is not checked then")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="overwrite an existing file")] = False,
    as_json: JsonOption = False,
) -> None:
    """Sign that locks may install a bundle or an image."""
    from .. import keys
    from ..errors import ToolError
    from ..updates import component as components
    from ..updates import manifest as manifests

    file = bundle or image
    if file is None or (bundle is not None and image is not None):
        raise ToolError("give --bundle or --image: each has a manifest of its own")
    issuer = keys.load_private(key)
    component = components.read(file)
    wanted = components.Kind.APPLICATION if bundle else components.Kind.IMAGE
    if component.kind is not wanted:
        raise ToolError(f"{file} is an {component.kind.name.lower()}: give it as --{_option(component.kind)}")
    if vendor is None:
        components.check_board(component, board)
    signed = manifests.sign(
        manifests.of_component(
            component,
            board,
            sequence=sequence,
            version=version,
            preconditions=_preconditions(precondition or []),
            audiences=tuple(aud or ()),
            vendor=manifests.vendor_id(vendor) if vendor else manifests.VENDOR_ID,
        ),
        issuer,
    )
    keys.write_new(out, signed.data, mode=0o644, is_forced=force)
    if as_json:
        output.print_json({"file": str(out), **_described(signed)})
    else:
        made = signed.manifest
        output.print_line(f"{made.kind.name.lower()} {made.version} (sequence {made.sequence}) for {board} in {out}.")


@app.command()
def inspect(
    manifest: ManifestArgument,
    component: Annotated[Path | None, typer.Option("--file", help="compare it with this bundle or image")] = None,
    issuer: Annotated[Path | None, typer.Option("--issuer", help="public key that must have signed it")] = None,
    board: Annotated[str | None, typer.Option(help="board that it must be for")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a manifest says. Exit status 1 if it is not as it should be."""
    from .. import keys
    from ..errors import ToolError
    from ..updates import component as components
    from ..updates import manifest as manifests

    signed = _load(manifest)
    checks: dict[str, bool] = {}
    if issuer is not None:
        checks["signature"] = signed.is_signed_by(keys.load_public(issuer))
    if board is not None:
        checks["board"] = signed.manifest.class_id == manifests.class_id(board, signed.manifest.vendor)
    if component is not None:
        try:
            signed.check(components.read(component))
            checks["file"] = True
        except ToolError:
            checks["file"] = False
    if as_json:
        output.print_json({**_described(signed), "checks": checks})
    else:
        rows = [(name, _text(value)) for name, value in _described(signed).items() if value not in (None, [], {})]
        output.print_fields(rows)
        for name in ("signature", "board", "file"):
            output.print_line(f"  {output.marked(checks.get(name))}  {name}")
    raise typer.Exit(0 if all(checks.values()) else 1)


@app.command()
@with_options(Way)
def push(
    way: Way,
    manifest: ManifestArgument,
    component: Annotated[Path, typer.Argument(help="its bundle or image", show_default=False)],
    shadow: Annotated[
        bool, typer.Option("--shadow", help="have it fetched and verified, and never switched to")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="wait until the lock has confirmed it, or gone back")] = False,
    wait_limit: Annotated[str, typer.Option(help="how long to wait for that")] = "5m",
    patience: Annotated[str, typer.Option(help="give up after so long without progress")] = "2m",
) -> None:
    """Bring an update to a lock, from where it stopped. Exit status 1 if the lock refuses it, or goes back."""
    import asyncio

    from .. import when
    from ..errors import LinkError, ToolError
    from ..protocol import ProtocolError
    from ..updates import component as components
    from ..updates.push import Patience, Refused, Sender, State

    signed, content = _load(manifest), components.read(component)
    limits = Patience(silent_s=when.parse_duration(patience), wait_s=when.parse_duration(wait_limit))
    if shadow and wait:
        raise ToolError("--shadow ends when it is staged: leave out --wait")

    async def bring(connect: "Connect") -> "tuple[Report, bool]":
        with _progress(way.lock, is_shown=not way.as_json) as told:
            sender = Sender(connect, signed, content, is_shadow=shadow, patience=limits, told=told)
            report = await sender.push()
            if wait and report.state in (State.STAGED, State.TRIAL):
                report = await sender.wait()
            return report, sender.is_confirmed(report)

    try:
        report, is_confirmed = asyncio.run(_reached(way, bring))
    except KeyboardInterrupt:
        output.print_problem(f"interrupted: {way.lock} keeps what it has; the same command goes on where it stopped")
        raise typer.Exit(130) from None
    except Refused as refusal:
        _refused(way, refusal)
    except (LinkError, ProtocolError) as error:
        raise ToolError(
            f"{way.lock} has not got it whole ({error}): the same command goes on where it stopped"
        ) from error
    word = "confirmed" if is_confirmed else _WORDS[report.state]
    if way.as_json:
        output.print_json({"lock": way.lock, "outcome": word, **_state(report)})
    else:
        output.print_line(f"{way.lock}: {_sentence(word, signed.manifest.version, shadow)}")
    raise typer.Exit(1 if word == "returned" else 0)


@app.command()
@with_options(Way)
def status(way: Way) -> None:
    """Ask a lock what runs, and what is on its way."""
    import asyncio

    from ..errors import LinkError, ToolError
    from ..protocol import ProtocolError
    from ..updates.push import Refused, State, ask_state

    try:
        report = asyncio.run(_reached(way, ask_state))
    except Refused as refusal:
        _refused(way, refusal)
    except (LinkError, ProtocolError) as error:
        raise ToolError(f"no answer to rely on from {way.lock} ({error})") from error
    if way.as_json:
        output.print_json({"lock": way.lock, **_state(report)})
        return
    parts = [report.state.name.lower()]
    if report.running is not None:
        parts.append(f"sequence {report.running} runs")
    if report.coming is not None:
        what = "did not pass" if report.state is State.RETURNED else "is on its way"
        parts.append(f"sequence {report.coming} {what}" + (f", {report.wanted} bytes" if report.wanted else ""))
    if report.reason_name is not None:
        parts.append(report.reason_name)
    output.print_line(f"{way.lock}: {'; '.join(parts)}")


_WORDS = ("idle", "receiving", "staged", "switched", "returned")  # by state


async def _reached(way: Way, work: "Callable[[Connect], Any]") -> Any:
    """Do `work` with the way that the options name; ToolError if they name more than one."""
    import logging

    from .. import names
    from ..errors import ToolError
    from ..updates import links

    names.check_lock_id(way.lock)
    chosen = [bool(each) for each in (way.ble, way.http, way.mdns, way.port, way.broker)]
    if sum(chosen) > 1:
        raise ToolError("give one way to the lock: --ble, --http, --mdns, --port or --broker")
    if way.http or way.mdns:
        if way.http:
            from ..http_phone import parse_url

            parse_url(way.http)
        ca = None if way.ca is None else str(way.ca)
        return await work(links.over_http(way.lock, way.http, way.mdns, way.timeout, ca))
    if way.port:
        return await work(links.over_cable(way.lock, way.port))
    if way.broker:
        from ..collector import broker as brokers

        address = brokers.parse(way.broker, ca=way.broker_ca, certificate=way.broker_cert, key=way.broker_key)
        async with links.Exchange(address, f"vitrine/{way.lock}/update/answer") as exchange:
            return await work(exchange.way(way.lock, way.timeout))
    from .unlock import choose_radio

    choose_radio(way.emulator, way.lock)
    logging.getLogger("bleak").setLevel(logging.CRITICAL)  # what matters comes as an exception
    return await work(links.over_radio(way.lock, way.timeout))


def _load(path: Path) -> "Signed":
    from .. import keys
    from ..updates import manifest as manifests

    return manifests.parse(keys.read_file(path, "manifest", manifests.MAX_MANIFEST))


def _option(kind: Any) -> str:
    return "image" if kind else "bundle"


def _preconditions(words: list[str]) -> "Preconditions":
    from ..errors import ToolError
    from ..updates.manifest import Preconditions

    names = {"sequence": "sequence", "battery": "battery_mv", "image": "image_sequence"}
    values: dict[str, int] = {}
    for word in words:
        name, _, number = word.partition("=")
        if name not in names or names[name] in values or not (number.isascii() and number.isdecimal()):
            raise ToolError(f"{word!r} is not a precondition: write sequence=12, image=12 or battery=5600, each once")
        values[names[name]] = int(number)
    return Preconditions(**values)


def _described(signed: "Signed") -> dict[str, Any]:
    """Return what a manifest says, for scripts."""
    import uuid

    manifest = signed.manifest
    asked = manifest.preconditions
    return {
        "component": manifest.kind.name.lower(),
        "version": manifest.version,
        "sequence": manifest.sequence,
        "vendor": str(uuid.UUID(bytes=manifest.vendor)),
        "class": str(uuid.UUID(bytes=manifest.class_id)),
        "size": manifest.size,
        "digest": manifest.digest.hex(),
        "table": manifest.table.hex(),
        "preconditions": {
            name: value
            for name, value in (
                ("sequence", asked.sequence),
                ("battery_mv", asked.battery_mv),
                ("image_sequence", asked.image_sequence),
            )
            if value is not None
        },
        "audiences": list(manifest.audiences),
        "kid": signed.kid.hex(),
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


def _state(report: "Report") -> dict[str, Any]:
    return {
        "state": report.state.name.lower(),
        "running": report.running,
        "coming": report.coming,
        "wanted": report.wanted,
        "reason": report.reason_name,
    }


def _sentence(word: str, version: str, is_shadow: bool) -> str:
    if word == "staged" and is_shadow:
        return f"{version} is there, whole and good, and is not switched to"
    return {
        "staged": f"{version} is there, whole and good; it switches when nobody is in session and the door is locked",
        "switched": f"{version} runs, and is not confirmed yet",
        "confirmed": f"{version} runs, confirmed",
        "returned": f"{version} did not pass: what ran before runs again",
    }.get(word, word)


def _refused(way: Way, refusal: Any) -> NoReturn:
    """Say it, and exit with 1."""
    from .. import protocol

    if way.as_json:
        reason = None if refusal.reason is None else protocol.reason_name(refusal.reason)
        output.print_json({"lock": way.lock, "outcome": "refused", "reason": reason, "detail": str(refusal)})
    else:
        output.print_problem(f"{way.lock} refused: {refusal}")
    raise typer.Exit(1)


@contextmanager
def _progress(lock_id: str, *, is_shown: bool) -> "Iterator[Callable[[Report, int, int], None]]":
    """A bar on a terminal, else a line at each tenth; yield what is to be told of each answer."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from ..updates.push import State

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (is_shown and console.is_terminal)) as bar:
        task = bar.add_task(lock_id, total=None)
        last = ""

        def told(report: "Report", sent: int, total: int) -> None:
            nonlocal last
            done = total if report.state in (State.STAGED, State.TRIAL) else sent
            bar.update(task, description=f"{lock_id} {_WORDS[report.state]}", completed=done, total=total)
            line = _WORDS[report.state]
            if report.state is State.RECEIVING:
                line += f", {10 * (10 * done // total)} %"
            if line != last and report.state is not State.IDLE and is_shown and not console.is_terminal:
                print(f"{lock_id}: {line}", file=sys.stderr, flush=True)
            last = line

        yield told
