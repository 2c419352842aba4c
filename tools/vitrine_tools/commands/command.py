"""`vitrine command`: sign what locks shall do, and bring it to them: by BLE, over a broker, or in a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import output
from .options import with_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..collector.broker import Broker
    from ..commanding import Answer, Carrier, Command, Envelope
    from ..keys import PrivateKey
    from ..revocations import Book

app = typer.Typer(help="Sign commands for locks, and bring them there.", no_args_is_help=False)

KeyOption = Annotated[Path, typer.Option(help="the issuer's private key", show_default=False)]
LockOption = Annotated[list[str] | None, typer.Option(help="lock; may be repeated with --broker or --out")]
TimeoutOption = Annotated[float, typer.Option(min=0.1, max=300, help="seconds to wait for the lock")]
EmulatorOption = Annotated[
    Path | None, typer.Option(help="folder of a running `vitrine emulate` (default: build/emulator or build/fleet)")
]
BrokerOption = Annotated[str | None, typer.Option(help="go over a broker, e.g. mqtts://broker.example:8883")]
BrokerCaOption = Annotated[Path | None, typer.Option(help="CA certificate of the broker (default: the system's)")]
BrokerCertOption = Annotated[Path | None, typer.Option(help="our certificate, if the broker asks for one")]
BrokerKeyOption = Annotated[Path | None, typer.Option(help="its private key")]
_A_DAY_S = 86_400

JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]


@dataclass(kw_only=True)
class Way:
    """How a command gets to its locks: the options that all commands here have."""

    lock: LockOption = None
    timeout: TimeoutOption = 10.0
    emulator: EmulatorOption = None
    broker: BrokerOption = None
    broker_ca: BrokerCaOption = None
    broker_cert: BrokerCertOption = None
    broker_key: BrokerKeyOption = None
    as_json: JsonOption = False


@dataclass(kw_only=True)
class Signing(Way):
    """Who signs, and what makes it fresh, besides the way."""

    key: KeyOption
    sequence: Annotated[
        int | None, typer.Option(min=1, help="higher than all before (default: the Unix time, which rises by itself)")
    ] = None
    out: Annotated[Path | None, typer.Option(help="only sign, into a file for `vitrine command send`")] = None
    group: Annotated[
        list[str] | None, typer.Option(help="group of locks (with --broker or --out); may be repeated")
    ] = None
    valid_for: Annotated[
        str | None, typer.Option("--for", help="how long it may take to get there (default: 5m, with --out 1d)")
    ] = None
    cnonce: Annotated[
        str | None, typer.Option(help="nonce from `vitrine command fresh`: it need not know the time (with --out)")
    ] = None
    force: Annotated[bool, typer.Option("--force", help="overwrite an existing file")] = False


RefOption = Annotated[
    str | None, typer.Option(help="reference for the audit trail, e.g. a sale, never a name: text or hex:..")
]


@app.command()
@with_options(Signing)
def unlock(way: Signing, ref: RefOption = None) -> None:
    """Open without a phone, for the unlock time."""
    _operate(way, "unlock", ref)


@app.command()
@with_options(Signing)
def hold(way: Signing, ref: RefOption = None) -> None:
    """Open without a phone, for the hold time."""
    _operate(way, "hold", ref)


@app.command()
@with_options(Signing)
def lock(way: Signing, ref: RefOption = None) -> None:
    """End the time of an unlock or a hold."""
    _operate(way, "lock", ref)


@app.command()
@with_options(Signing)
def identify(way: Signing) -> None:
    """Have the lock show where it is."""
    from ..commanding import Number

    _one(_short(way), "identify", Number.IDENTIFY, None)


@app.command()
@with_options(Signing)
def audit(way: Signing) -> None:
    """Have the lock send its collector at once what has not been acknowledged."""
    from ..commanding import Number

    _one(_short(way), "audit", Number.AUDIT, None)


@app.command()
@with_options(Signing)
def lockdown(way: Signing) -> None:
    """No token opens any more, but those with the scope admin, until `release`. The exit button works."""
    _scenario(way, "lockdown", {2: True})


@app.command()
@with_options(Signing)
def release(way: Signing) -> None:
    """End a lockdown."""
    _scenario(way, "release", {2: False})


@app.command()
@with_options(Signing)
def shadow(way: Signing, state: Annotated[Literal["on", "off"], typer.Argument()]) -> None:
    """Decide and record only, and never move the strike; or do it again."""
    _scenario(way, f"shadow {state}", {3: state == "on"})


@app.command()
@with_options(Signing)
def passage(
    way: Signing,
    window: Annotated[
        list[str] | None, typer.Option(help='weekly opening time, e.g. "Mon-Fri 09:00-17:30"; may be repeated')
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="begin of one opening, ISO 8601 (default: now)")] = None,
    end: Annotated[str | None, typer.Option("--until", help="its end, ISO 8601")] = None,
    is_off: Annotated[bool, typer.Option("--off", help="no opening times any more")] = False,
) -> None:
    """Open without a token at these times, instead of all opening times of the same kind before."""
    import time

    from .. import when
    from ..errors import ToolError

    if is_off == bool(window or end) or (start and not end):
        raise ToolError("give opening times, with --window or with --until, or --off")
    body: dict[int, Any] = {4: [], 5: []} if is_off else {}
    if window:
        body[4] = [list(when.parse_window(text)) for text in window]
    if end:
        start_s = when.parse_time(start) if start else int(time.time())
        body[5] = [[start_s, when.parse_time(end)]]
        if body[5][0][1] <= start_s:
            raise ToolError("the opening would end before it begins")
    _scenario(way, "passage", body)


@app.command()
@with_options(Signing)
def configure(
    way: Signing,
    file: Annotated[Path, typer.Argument(help="the whole configuration, TOML or JSON", show_default=False)],
) -> None:
    """Replace the configuration: settings, holidays, zone, hours."""
    from .. import commanding, configuration

    _one(way, "configure", commanding.Number.CONFIGURE, configuration.load(file).to_body())


@app.command("time")
@with_options(Signing)
def set_time(way: Signing) -> None:
    """Tell a lock the time, over a nonce of its own. For locks at a broker there is `serve-time`."""
    from .. import commanding
    from ..errors import ToolError

    if way.broker:
        raise ToolError("a lock at a broker asks for the time itself: run `vitrine command serve-time`")
    if way.out and not way.cnonce:
        raise ToolError("a statement of the time is made for a nonce: get one with `vitrine command fresh`")
    _one(way, "time", commanding.Number.TIME, None)


@app.command()
@with_options(Signing)
def revoke(
    way: Signing,
    token: Annotated[list[Path] | None, typer.Option(help="file of a token; may be repeated")] = None,
    cti: Annotated[list[str] | None, typer.Option(help="identity of a token in hexadecimal; may be repeated")] = None,
    sub: Annotated[list[str] | None, typer.Option(help="all tokens of a pseudonym: text or hex:..")] = None,
    holder: Annotated[list[Path] | None, typer.Option(help="all tokens for a phone: its public key")] = None,
    before: Annotated[str | None, typer.Option(help="all tokens from before this time, ISO 8601, or `now`")] = None,
    until: Annotated[
        str | None, typer.Option(help="when --cti, --sub and --holder may be forgotten, ISO 8601 (default: never)")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option(help="file of all lists so far (default: beside the key, ISSUER.revocations.json)")
    ] = None,
) -> None:
    """Revoke tokens, and send the lock every list that it has missed. Without anything to revoke, only that."""
    import time

    from .. import commanding, keys, revocations, tokens, when
    from ..errors import ToolError

    issuer = keys.load_private(way.key)
    until_s = when.parse_time(until) if until else 0
    entries = [revocations.Entry("cti", text.lower(), until_s) for text in cti or []]
    entries += [revocations.Entry("sub", output.parse_opaque(text, "sub", 16).hex(), until_s) for text in sub or []]
    entries += [revocations.Entry.of_key(keys.load_public(path).raw, until_s) for path in holder or []]
    for path in token or []:
        claims = tokens.parse(keys.read_file(path, "token")).claims
        # a token without an end (exi) ends with the lock's next start, which nobody here knows
        entries.append(revocations.Entry("cti", claims.cti.hex(), claims.exp_s or 0))
    if before:
        cutoff_s = int(time.time()) if before == "now" else when.parse_time(before)
        if cutoff_s > time.time() + _A_DAY_S:
            raise ToolError(f"--before {before} would revoke what is issued until then, and nothing takes that back")
        entries.append(revocations.Entry("before", cutoff_s))
    book = revocations.Book(lists or output.beside(way.key, ".revocations.json"), issuer.public.kid)
    if entries:
        book.add(entries, way.sequence)
    if way.out:
        commands = [
            commanding.Command(
                number=commanding.Number.REVOKE, audiences=_audiences(way), sequence=part.sequence, body=part.to_body()
            )
            for part in book.after(0, int(time.time()))
        ]
        _write(way, "revoke", issuer, commands)
    else:
        _deliver(way, lambda carrier: _send_lists(carrier, issuer, book), "revoke")


@app.command()
@with_options(Way)
def send(way: Way, file: Annotated[Path, typer.Argument(help="from --out", show_default=False)]) -> None:
    """Bring signed commands to a lock. Whoever carries them needs no key."""
    from .. import commanding, keys
    from ..errors import ToolError
    from ..protocol import Reason

    envelopes = [commanding.parse(data) for data in commanding.split(keys.read_file(file, "file of commands", 1 << 20))]
    if not envelopes:
        raise ToolError(f"there is no command in {file}")

    async def bring(carrier: "Carrier") -> "Answer":
        answer = await carrier.send(envelopes[0])
        for envelope in envelopes[1:]:
            if not answer.is_done:
                if answer.reason != Reason.SequenceStale:
                    break
                # of many lists of revocations it has the first ones; a few refusals, and it would hang up
                if (envelope.command.sequence or 0) <= (answer.sequence or 0):
                    continue
            answer = await carrier.send(envelope)
        return answer

    _deliver(way, bring, envelopes[-1].command.name)


@app.command()
@with_options(Way)
def fresh(way: Way) -> None:
    """Get a nonce from a lock, for a command that is signed elsewhere within five minutes."""
    from ..errors import ToolError
    from ..protocol import TIME_STATES, state_name

    if way.broker:
        raise ToolError("a nonce is asked for over BLE: leave out --broker")
    lock_id = _only(way)
    cnonce, time_state = _by_radio(way, lock_id, lambda phone: phone.fresh())
    state = state_name(TIME_STATES, time_state)
    if way.as_json:
        output.print_json({"lock": lock_id, "cnonce": cnonce.hex(), "time_state": state})
    else:
        output.print_line(cnonce.hex())


@app.command()
def serve_time(
    key: KeyOption,
    broker: Annotated[str, typer.Option(help="broker, e.g. mqtts://broker.example:8883", show_default=False)],
    broker_ca: BrokerCaOption = None,
    broker_cert: BrokerCertOption = None,
    broker_key: BrokerKeyOption = None,
) -> None:
    """Tell the time to all locks at a broker that ask for it. Ctrl-C ends it. Keep this computer's clock right."""
    import asyncio
    import contextlib
    import signal
    import sys
    import time

    from .. import commanding, keys
    from ..collector import broker as brokers
    from ..commanding_broker import TimeServer

    issuer = keys.load_private(key)
    address = brokers.parse(broker, ca=broker_ca, certificate=broker_cert, key=broker_key)
    commanding.time_statement("clock", bytes(16), time.time())  # refuses now, not at the first lock

    def say(text: str) -> None:
        output.print_line(output.one_line(text))
        sys.stdout.flush()

    async def serve() -> None:
        task = asyncio.ensure_future(TimeServer(address, issuer, say).run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(serve())


def _operate(way: Signing, name: str, ref: str | None) -> None:
    from ..commanding import Number, operation
    from ..protocol import Action

    opaque = None if ref is None else output.parse_opaque(ref, "ref", 32)
    body = operation(Action[name.upper()], (), 1, opaque).body
    _one(_short(way), name, Number.OPERATE, body)


def _short(way: Signing) -> Signing:
    """Have an operation end soon: locks take none that is good for longer."""
    from .. import commanding, when
    from ..errors import ToolError

    way.valid_for = way.valid_for or f"{commanding.OPERATION_VALID_S // 60}m"
    if when.parse_duration(way.valid_for) > commanding.MAX_OPERATION_S:
        raise ToolError("what opens by command is good for 5 minutes at most: give --for 5m or less")
    return way


def _scenario(way: Signing, name: str, body: dict[int, Any]) -> None:
    from ..commanding import Number

    _one(way, name, Number.SCENARIO, body)


def _one(way: Signing, name: str, number: int, body: Any) -> None:
    """Sign one command and bring it to its locks, or into a file."""
    import time

    from .. import commanding, keys

    issuer = keys.load_private(way.key)
    is_time = number == commanding.Number.TIME
    sequence = None
    if not is_time:
        sequence = commanding.check_sequence(way.sequence) if way.sequence else commanding.next_sequence()

    def made(audiences: tuple[str, ...], cnonce: bytes) -> "Command":
        if is_time:
            return commanding.time_statement(audiences[0], cnonce, time.time())
        return commanding.Command(number=number, audiences=audiences, sequence=sequence, body=body)

    if way.out:
        _write(way, name, issuer, [made(_audiences(way), _cnonce(way) or b"")])
        return

    async def bring(carrier: "Carrier") -> "Answer":
        command = made((carrier.lock_id,), b"")
        if is_time:
            cnonce = (await carrier.bound(command)).cnonce or b""
            return await carrier.send(commanding.sign(made((carrier.lock_id,), cnonce), issuer))
        # who opens once must not open twice because somebody on the way makes up a SequenceStale
        is_free = way.sequence is None and number != commanding.Number.OPERATE
        return await commanding.carry_out(carrier, issuer, command, is_sequence_free=is_free)

    if way.broker and way.group and not is_time:
        _to_groups(way, name, issuer, lambda group: made((group,), b""))
    else:
        _deliver(way, bring, name)


def _to_groups(way: Signing, name: str, issuer: "PrivateKey", made: "Callable[[str], Command]") -> None:
    """Send one command to each group over the broker, and print what the locks answer."""
    import asyncio
    import time
    from dataclasses import replace

    from .. import commanding, names, when
    from ..commanding_broker import connected, send_to_group
    from ..errors import LinkError, ToolError

    if way.lock or way.cnonce:
        raise ToolError("over a broker give either --lock or --group, and no --cnonce")
    groups = [names.check_group(group) for group in way.group or []]
    valid_s = when.parse_duration(way.valid_for or "5m")

    async def send() -> list[tuple[str, Any]]:
        results: list[tuple[str, Any]] = []
        async with connected(_broker(way)) as client:
            for group in groups:
                command = replace(made(group), exp_s=int(time.time()) + valid_s)
                answers = await send_to_group(client, group, commanding.sign(command, issuer), way.timeout)
                results += sorted(answers.items()) or [(group, f"no lock answered within {way.timeout:g} s")]
        return results

    try:
        _report(way, name, asyncio.run(send()))
    except LinkError as error:
        raise ToolError(str(error)) from error


async def _send_lists(carrier: "Carrier", issuer: "PrivateKey", book: "Book") -> "Answer":
    """Send the latest list; if there is a gap before it, all that the lock has missed, in order."""
    import time

    from .. import commanding
    from ..commanding import Answer, Command, Number
    from ..errors import ToolError
    from ..protocol import Reason

    if not book.lists:
        raise ToolError("nothing was revoked so far: say what, for example with --token or --sub")
    latest = list(book.after(book.lists[-2][0] if len(book.lists) > 1 else 0, int(time.time())))
    answer = Answer(None)
    for parts in (latest, None):
        for part in book.after(answer.sequence or 0, int(time.time())) if parts is None else parts:
            command = Command(
                number=Number.REVOKE, audiences=(carrier.lock_id,), sequence=part.sequence, body=part.to_body()
            )
            answer = await commanding.carry_out(carrier, issuer, command)
            if not answer.is_done:
                break
        if answer.reason != Reason.SequenceGap:
            break
    if answer.reason == Reason.SequenceStale and answer.sequence == book.sequence:
        return Answer(Reason.Granted, answer.sequence)  # it has them all
    return answer


def _write(way: Signing, name: str, issuer: "PrivateKey", commands: "list[Command]") -> None:
    """Sign commands into a file."""
    import time
    from dataclasses import replace

    from .. import commanding, keys, when
    from ..errors import ToolError

    if way.out is None or not commands:
        raise ToolError("there is nothing to sign")
    cnonce = _cnonce(way)
    exp_s = None if cnonce else int(time.time()) + when.parse_duration(way.valid_for or "1d")
    envelopes = [commanding.sign(replace(command, cnonce=cnonce, exp_s=exp_s), issuer) for command in commands]
    keys.write_new(way.out, b"".join(each.data for each in envelopes), mode=0o644, is_forced=way.force)
    ends = "as long as the nonce is good" if cnonce else f"until {when.time_text(exp_s or 0)}"
    if way.as_json:
        output.print_json(
            {
                "file": str(way.out),
                "commands": [{"id": each.command.id.hex(), "sequence": each.command.sequence} for each in envelopes],
                "exp": exp_s,
            }
        )
    else:
        output.print_line(f"{name} for {', '.join(_audiences(way))} in {way.out}, {ends}.")


def _deliver(way: Way, bring: "Callable[[Carrier], Any]", name: str) -> None:
    """Have `bring` done for each lock, print what came of it, and exit with the status for it."""
    import asyncio

    from .. import names
    from ..errors import ToolError

    for lock_id in way.lock or []:
        names.check_lock_id(lock_id)
    if isinstance(way, Signing) and (way.group or way.cnonce):
        raise ToolError("--group needs --broker (not for time and revoke) or --out, and --cnonce needs --out")
    if way.broker:
        results = asyncio.run(_over_broker(way, bring))
    else:
        lock_id = _only(way)

        async def by_radio(phone: Any) -> "Answer":
            return await bring(_RadioCarrier(phone, lock_id))

        results = [(lock_id, _by_radio(way, lock_id, by_radio))]
    _report(way, name, results)


def _report(way: Way, name: str, results: "list[tuple[str, Any]]") -> None:
    """Print what came of it, one line for each lock, and exit with the status for it."""
    if way.as_json:
        output.print_json({"command": name, "results": [_json(lock_id, answer) for lock_id, answer in results]})
    for lock_id, answer in results:
        if isinstance(answer, str):
            output.print_problem(f"no answer to rely on from {lock_id}: {answer}")
        elif way.as_json:
            continue
        elif answer.is_done:
            sequence = "" if answer.sequence is None else f" (sequence {answer.sequence})"
            output.print_line(f"{lock_id}: {name} done{sequence}")
        else:
            output.print_problem(f"{lock_id} refused: {_reason(answer)}{_way_back(way, name, answer)}")
    answers = [answer for _, answer in results]
    if any(isinstance(answer, str) for answer in answers):
        raise typer.Exit(2)
    raise typer.Exit(0 if all(answer.is_done for answer in answers) else 1)


async def _over_broker(way: Way, bring: "Callable[[Carrier], Any]") -> "list[tuple[str, Any]]":
    """Return (lock, answer, or what went wrong in words) for each lock."""
    from .. import when
    from ..commanding_broker import BrokerCarrier, connected
    from ..errors import LinkError, ToolError
    from ..protocol import ProtocolError

    valid_s = when.parse_duration((way.valid_for if isinstance(way, Signing) else None) or "5m")
    if not way.lock:
        raise ToolError("say which lock: --lock case-12")
    address = _broker(way)
    results: list[tuple[str, Any]] = []
    try:
        async with connected(address) as client:
            for lock_id in way.lock:
                try:
                    results.append((lock_id, await bring(BrokerCarrier(client, lock_id, way.timeout, valid_s))))
                except (LinkError, ProtocolError) as error:
                    results.append((lock_id, str(error)))
    except LinkError as error:
        raise ToolError(str(error)) from error
    return results


class _RadioCarrier:
    """The way to a lock that a phone is connected to. Commands are bound to a nonce of the lock."""

    def __init__(self, phone: Any, lock_id: str) -> None:
        self._phone = phone
        self.lock_id = lock_id

    async def bound(self, command: "Command") -> "Command":
        from dataclasses import replace

        return replace(command, cnonce=(await self._phone.fresh())[0])

    async def send(self, envelope: "Envelope") -> "Answer":
        return await self._phone.command(envelope.data)


def _by_radio(way: Way, lock_id: str, work: "Callable[[Any], Any]") -> Any:
    """Connect as a phone, do `work` and return what it returns; ToolError if the link is not to be relied on."""
    import asyncio
    import logging

    from ..ble import bleak_link
    from ..errors import LinkError, ToolError
    from ..phone import Phone
    from ..protocol import ProtocolError
    from .unlock import choose_radio

    choose_radio(way.emulator, lock_id)
    logging.getLogger("bleak").setLevel(logging.CRITICAL)  # what matters comes as an exception

    async def visit() -> Any:
        device = await bleak_link.find_lock(lock_id, way.timeout)
        async with await bleak_link.BleakLink.connect(device, way.timeout) as link:
            return await work(Phone(link, lock_id))

    try:
        return asyncio.run(visit())
    except (LinkError, ProtocolError) as error:
        raise ToolError(f"no answer to rely on from {lock_id} ({error}): go nearer and try again") from error


def _broker(way: Way) -> "Broker":
    from ..collector import broker as brokers

    return brokers.parse(way.broker or "", ca=way.broker_ca, certificate=way.broker_cert, key=way.broker_key)


def _only(way: Way) -> str:
    from .. import names
    from ..errors import ToolError

    if not way.lock or len(way.lock) != 1:
        raise ToolError("say which lock, --lock case-12: one over BLE, and more with --broker or --out")
    return names.check_lock_id(way.lock[0])


def _audiences(way: Signing) -> tuple[str, ...]:
    from .. import names
    from ..errors import ToolError

    audiences = tuple(map(names.check_lock_id, way.lock or [])) + tuple(map(names.check_group, way.group or []))
    if not audiences:
        raise ToolError("say which locks: --lock case-12, or --group jewellery")
    return audiences


def _cnonce(way: Signing) -> bytes | None:
    from .. import commanding

    return None if way.cnonce is None else output.parse_opaque(f"hex:{way.cnonce}", "cnonce", commanding.CNONCE_SIZE)


def _json(lock_id: str, answer: Any) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"lock": lock_id, "done": False, "error": answer}
    return {"lock": lock_id, "done": answer.is_done, "reason": answer.reason_name, "sequence": answer.sequence}


def _way_back(way: Way, name: str, answer: "Answer") -> str:
    """Return what helps when the lock has a sequence from a clock that was years ahead."""
    is_stale = answer.reason_name == "SequenceStale" and answer.sequence is not None
    if not is_stale or not isinstance(way, Signing) or name == "revoke":
        return ""
    return f": to get past it, give --sequence {(answer.sequence or 0) + 1}"


def _reason(answer: "Answer") -> str:
    if answer.reason_name is None:
        return "it gives no reason (is the key one of its issuers', and is it the right lock?)"
    return answer.reason_name + ("" if answer.sequence is None else f" (it is at sequence {answer.sequence})")
