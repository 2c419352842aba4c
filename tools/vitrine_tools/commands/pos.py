"""`vitrine pos`: open the fixtures that are paid for."""

from pathlib import Path
from typing import Annotated

import typer

from . import output


def pos(
    key: Annotated[Path, typer.Option(help="the issuer's private key, best one of its own", show_default=False)],
    fixture: Annotated[list[str], typer.Option(help="lock that a sale may open; may be repeated", show_default=False)],
    broker: Annotated[
        str, typer.Option(help="the locks' broker, e.g. mqtts://broker.example:8883", show_default=False)
    ],
    broker_ca: Annotated[Path | None, typer.Option(help="CA certificate of the broker (default: the system's)")] = None,
    broker_cert: Annotated[Path | None, typer.Option(help="our certificate, if the broker asks for one")] = None,
    broker_key: Annotated[Path | None, typer.Option(help="its private key")] = None,
    tills: Annotated[
        str | None, typer.Option(help="the tills' broker (default: the locks'); same certificates")
    ] = None,
    book: Annotated[Path, typer.Option(help="file of the sales so far; do not lose it")] = Path("sales.db"),
    token: Annotated[
        Path | None, typer.Option(help="public key of a phone: issue tokens of one use for it, send no commands")
    ] = None,
    sale_topic: Annotated[str, typer.Option(help="where tills tell of sales")] = "vitrine-pos/sale",
    opened_topic: Annotated[str, typer.Option(help="where they are told what came of it")] = "vitrine-pos/opened",
    timeout: Annotated[float, typer.Option(min=0.1, max=120, help="seconds to wait for a lock")] = 10.0,
) -> None:
    """Open what a till says is paid, once for each sale. Ctrl-C ends it.

    A till publishes {"sale": "9f03c1d2", "fixture": "case-12", "paid": true} and hears {"sale": "9f03c1d2", "opened":
    true, "reason": "Granted"}. The sale is a random reference, in hexadecimal or base64url; never a name or a number
    of somebody.
    """
    import asyncio
    import contextlib
    import signal
    import sys

    from .. import keys, names
    from ..collector import broker as brokers
    from ..pos.bridge import Bridge, Shop
    from ..pos.till_book import TillBook

    locks = brokers.parse(broker, ca=broker_ca, certificate=broker_cert, key=broker_key)
    tills_broker = brokers.parse(tills, ca=broker_ca, certificate=broker_cert, key=broker_key) if tills else locks
    shop = Shop(
        issuer=keys.load_private(key),
        fixtures=frozenset(map(names.check_lock_id, fixture)),
        holder=keys.load_public(token) if token else None,
        timeout_s=timeout,
        sale_topic=sale_topic,
        opened_topic=opened_topic,
    )

    def say(text: str) -> None:
        output.print_line(output.one_line(text))
        sys.stdout.flush()

    async def serve() -> None:
        task = asyncio.ensure_future(Bridge(shop, tills_broker, locks, TillBook(book), say).run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(serve())
