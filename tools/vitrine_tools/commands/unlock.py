"""`vitrine unlock`: be the phone. Through bleak, over the system's Bluetooth or to a running `vitrine emulate`; or over
the local network, by HTTP.
"""

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import output

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from ..courier import Carried
    from ..emulator_state import EmulatorState
    from ..keys import PrivateKey
    from ..phone import Outcome, Phone
    from ..protocol import Action


def unlock(
    lock: Annotated[str, typer.Option(help="lock to open, e.g. case-12", show_default=False)],
    token: Annotated[Path | None, typer.Option(help="file of the token (default: the running emulator's)")] = None,
    key: Annotated[Path | None, typer.Option(help="the holder's private key (likewise)")] = None,
    action: Annotated[Literal["unlock", "lock", "hold"], typer.Option(help="what to ask for")] = "unlock",
    uv: Annotated[bool, typer.Option("--uv", help="the phone has verified its user")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, max=300, help="seconds to look for the lock")] = 10.0,
    emulator: Annotated[
        Path | None, typer.Option(help="folder of a running `vitrine emulate` (default: build/emulator or build/fleet)")
    ] = None,
    courier: Annotated[
        Path | None, typer.Option(help="file in which to carry the lock's records to a collector, and its answer back")
    ] = None,
    http: Annotated[
        str | None, typer.Option(metavar="URL", help="go over the network, to e.g. http://192.168.1.20")
    ] = None,
    mdns: Annotated[
        str | None, typer.Option(metavar="NAME", help="go over the network, to NAME.local; NAME:PORT if it is not 80")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="certificates that may vouch for the lock: HTTPS")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Open a lock, as a phone does. Exit status 1 if the lock refuses."""
    import asyncio
    import logging
    from dataclasses import asdict

    from .. import keys, names, tokens
    from ..courier import load
    from ..errors import LinkError, ToolError
    from ..protocol import Action, ProtocolError

    names.check_lock_id(lock)
    if http is not None and mdns is not None:
        raise ToolError("give --http or --mdns, not both")
    running = choose_radio(emulator, lock)
    if token is None or key is None:
        if running is None or running.lock_id != lock:
            raise ToolError(f"give --token and --key: no emulator of {lock} runs here that could lend them")
        token, key = token or running.folder / "token.cbor", key or running.folder / "holder.pem"
    token_bytes = keys.read_file(token, "token")
    holder = keys.load_private(key)
    read = tokens.parse(token_bytes)
    if read.claims.holder != holder.public:
        raise ToolError(f"{key} is not the key that {token} was issued for: give the holder's private key")
    if courier is not None:
        load(courier)  # a damaged file is told while the lock is still closed
    logging.getLogger("bleak").setLevel(logging.CRITICAL)  # what matters comes as an exception
    is_network = http is not None or mdns is not None
    reach = _by_network(lock, http, mdns, timeout, ca) if is_network else _by_radio(lock, timeout)
    try:
        outcome, carried = asyncio.run(_open(reach, lock, token_bytes, holder, Action[action.upper()], uv, courier))
    except (LinkError, ProtocolError) as error:
        advice = "is it on, and in this network?" if is_network else "go nearer and try again"
        raise ToolError(f"no answer to rely on from {lock} ({error}): {advice}") from error
    if as_json:
        output.print_json({"lock": lock, **outcome.to_json(), "courier": carried and asdict(carried)})
    elif outcome.is_granted:
        output.print_line(_granted_text(lock, outcome))
    else:
        output.print_problem(f"{lock} refused: {_reason_text(outcome)}")
    if carried is not None and not as_json:
        output.print_line(_carried_text(carried, courier))
    raise typer.Exit(0 if outcome.is_granted else 1)


@asynccontextmanager
async def _by_radio(lock_id: str, timeout_s: float) -> "AsyncIterator[tuple[Phone, float]]":
    """Find the lock and connect to it; yield (its phone, when it was found)."""
    import time

    from ..ble import bleak_link
    from ..phone import Phone

    device = await bleak_link.find_lock(lock_id, timeout_s)
    found_s = time.perf_counter()
    async with await bleak_link.BleakLink.connect(device, timeout_s) as link:
        yield Phone(link, lock_id), found_s


@asynccontextmanager
async def _by_network(
    lock_id: str, url: str | None, name: str | None, timeout_s: float, ca: Path | None
) -> "AsyncIterator[tuple[Phone, float]]":
    """The same over HTTP; `name` is asked for in the local network."""
    import time

    from .. import http_phone

    if url is None:
        url = await http_phone.find(name or "", timeout_s, is_tls=ca is not None)
    yield http_phone.HttpPhone(url, lock_id, ca=None if ca is None else str(ca)), time.perf_counter()


async def _open(
    reach: "AbstractAsyncContextManager[tuple[Phone, float]]",
    lock_id: str,
    token: bytes,
    holder: "PrivateKey",
    action: "Action",
    is_user_verified: bool,
    bag: Path | None,
) -> "tuple[Outcome, Carried | None]":
    import time

    from ..courier import Carried, visit
    from ..errors import LinkError
    from ..protocol import ProtocolError

    begin_s = time.perf_counter()
    async with reach as (phone, found_s):
        connected_s = time.perf_counter()
        outcome = await phone.open(token, holder, action=action, is_user_verified=is_user_verified)
        has_proved = outcome.is_granted or outcome.reason is not None
        carried = None
        if bag is not None and has_proved:
            try:
                carried = await visit(phone, lock_id, token, holder, bag)
            except (LinkError, ProtocolError) as error:
                # what the lock did before it is done; nothing is released by a visit that failed
                carried = Carried(0, 0, is_complete=False, refused=str(error))
    outcome.timings_ms["find"] = (found_s - begin_s) * 1000
    outcome.timings_ms["connect"] = (connected_s - found_s) * 1000
    return outcome, carried


def choose_radio(folder: Path | None, lock_id: str) -> "EmulatorState | None":
    """Point D-Bus clients of this process to a running emulator's bus, if there is one, which is returned."""
    import os

    from ..emulator_state import EmulatorState

    state = EmulatorState.find(folder, lock_id)
    if state is not None:
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = state.bus_address
    return state


def _granted_text(lock_id: str, outcome: "Outcome") -> str:
    from .. import protocol

    done = {"UNLOCK": "unlocked", "LOCK": "locked", "HOLD": "held open"}[outcome.action.name]
    door = protocol.state_name(protocol.DOOR_STATES, outcome.door_state)
    total_ms = outcome.timings_ms.get("total", 0)
    return f"{lock_id} {done} ({door}); found in {outcome.timings_ms['find']:.0f} ms, opened in {total_ms:.0f} ms"


def _carried_text(carried: "Carried", bag: Path | None) -> str:
    delivered = f"{carried.delivered} acknowledgement{'' if carried.delivered == 1 else 's'} delivered"
    if carried.refused is not None:
        return f"no records for {bag}: the lock handed out none ({carried.refused}); {delivered}"
    rest = "" if carried.is_complete else "; there is more at the lock"
    batches = f"{carried.batches} batch{' ' if carried.batches == 1 else 'es '}of records"
    return f"{batches} taken along in {bag}{rest}; {delivered}"


def _reason_text(outcome: "Outcome") -> str:
    if outcome.reason_name is not None:
        return outcome.reason_name
    if outcome.status.name == "BUSY":
        return "it is busy, try again"
    return "it gives no reason to a phone that has not proved who it is (wrong lock, issuer or key?)"
