"""`vitrine homeassistant`: show the locks of a broker in Home Assistant."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output

if TYPE_CHECKING:
    from ..collector.broker import Broker
    from ..homeassistant.bridge import Options

app = typer.Typer(help="Show the locks of a broker in Home Assistant.", no_args_is_help=False)

BrokerOption = Annotated[str, typer.Option(help="broker, e.g. mqtts://broker.example:8883", show_default=False)]
BrokerCaOption = Annotated[Path | None, typer.Option(help="CA certificate of the broker (default: the system's)")]
BrokerCertOption = Annotated[Path | None, typer.Option(help="our certificate, if the broker asks for one")]
BrokerKeyOption = Annotated[Path | None, typer.Option(help="its private key")]
LockOption = Annotated[list[str] | None, typer.Option(help="only this lock (default: all); may be repeated")]
ReleaseOption = Annotated[
    Path | None, typer.Option(help="manifest of the release that the locks could have: shown as the latest version")
]
PrefixOption = Annotated[str, typer.Option(help="Home Assistant's discovery prefix")]
WithoutOption = Annotated[
    list[str] | None, typer.Option(help="hardware that these locks lack: battery, motion or tamper; may be repeated")
]


@app.command()
def publish(
    broker: BrokerOption,
    broker_ca: BrokerCaOption = None,
    broker_cert: BrokerCertOption = None,
    broker_key: BrokerKeyOption = None,
    lock: LockOption = None,
    without: WithoutOption = None,
    release: ReleaseOption = None,
    prefix: PrefixOption = "homeassistant",
) -> None:
    """Publish the discovery messages once. They stay at the broker, and Home Assistant reads the locks' own topics."""
    from ..homeassistant import bridge

    options = _options(lock, without, prefix, release)
    locks = _once(bridge.publish_once, _broker(broker, broker_ca, broker_cert, broker_key), options)
    output.print_line(f"Published: {', '.join(locks)}." if locks else "The broker knows no locks.")


@app.command()
def remove(
    broker: BrokerOption,
    broker_ca: BrokerCaOption = None,
    broker_cert: BrokerCertOption = None,
    broker_key: BrokerKeyOption = None,
    lock: LockOption = None,
    prefix: PrefixOption = "homeassistant",
) -> None:
    """Take locks out of Home Assistant again: these, or all that were published."""
    from ..homeassistant import bridge

    locks = _once(bridge.remove, _broker(broker, broker_ca, broker_cert, broker_key), _options(lock, None, prefix))
    output.print_line(f"Removed: {', '.join(locks)}." if locks else "There was nothing to remove.")


@app.command()
def run(
    broker: BrokerOption,
    broker_ca: BrokerCaOption = None,
    broker_cert: BrokerCertOption = None,
    broker_key: BrokerKeyOption = None,
    lock: LockOption = None,
    without: WithoutOption = None,
    release: ReleaseOption = None,
    prefix: PrefixOption = "homeassistant",
    db: Annotated[
        str | None, typer.Option(help="collector's database: its new records become events in Home Assistant")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="issuer's private key with the scope unlock: whoever can press it opens, with --allow"),
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="lock that Home Assistant may unlock (with --key); may be repeated")
    ] = None,
) -> None:
    """Publish, follow new locks and Home Assistant's restarts, tell events, and answer "unlock". Ctrl-C ends it."""
    import asyncio
    import contextlib
    import signal
    import sys
    from dataclasses import replace

    from .. import keys, names
    from ..collector.store import Store
    from ..errors import ToolError
    from ..homeassistant.bridge import Bridge
    from ..homeassistant.events import NewRecords

    if (key is None) != (not allow):
        raise ToolError("give --key and --allow together: the key is for the locks that are named")
    allowed = frozenset(names.check_lock_id(each) for each in allow or [])
    options = replace(
        _options(lock, without, prefix, release), key=None if key is None else keys.load_private(key), allow=allowed
    )
    address = _broker(broker, broker_ca, broker_cert, broker_key)
    new_records = None if db is None else NewRecords(Store(db, is_new_allowed=False))

    def say(text: str) -> None:
        output.print_line(output.one_line(text))
        sys.stdout.flush()

    async def serve() -> None:
        task = asyncio.ensure_future(Bridge(address, options, say, new_records).run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(serve())


def _options(lock: list[str] | None, without: list[str] | None, prefix: str, release: Path | None = None) -> "Options":
    from .. import keys, names
    from ..errors import ToolError
    from ..homeassistant import discovery
    from ..homeassistant.bridge import Options
    from ..updates import manifest as manifests

    version = None
    if release is not None:
        version = manifests.parse(keys.read_file(release, "manifest", manifests.MAX_MANIFEST)).manifest.version
    for name in without or []:
        if name not in discovery.OPTIONAL:
            raise ToolError(f"{name!r} is nothing that a lock can lack: use {', '.join(discovery.OPTIONAL)}")
    locks = tuple(dict.fromkeys(names.check_lock_id(each) for each in lock or []))
    return Options(
        prefix=discovery.check_prefix(prefix),
        locks=locks,
        without=tuple(dict.fromkeys(without or [])),
        release=version,
    )


def _broker(url: str, ca: Path | None, certificate: Path | None, key: Path | None) -> "Broker":
    from ..collector import broker

    return broker.parse(url, ca=ca, certificate=certificate, key=key)


def _once(do, address: "Broker", options: "Options") -> list[str]:
    """Run what connects, does its work and returns locks."""
    import asyncio

    from ..errors import LinkError, ToolError

    try:
        return asyncio.run(do(address, options))
    except LinkError as error:
        raise ToolError(str(error)) from error
