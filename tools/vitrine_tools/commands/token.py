"""`vitrine token`: issue, inspect and verify tokens."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import output

if TYPE_CHECKING:
    from .. import tokens, verify

app = typer.Typer(help="Issue, inspect and verify tokens.", no_args_is_help=False)

JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]
TokenArgument = Annotated[Path, typer.Argument(help="file of the token", show_default=False)]


@app.command()
def issue(
    key: Annotated[Path, typer.Option(help="the issuer's private key", show_default=False)],
    holder: Annotated[Path, typer.Option(help="the public key of the phone", show_default=False)],
    lock: Annotated[list[str] | None, typer.Option(help="lock that it opens; may be repeated")] = None,
    group: Annotated[list[str] | None, typer.Option(help="group of locks that it opens; may be repeated")] = None,
    valid_for: Annotated[str | None, typer.Option("--for", help="how long, e.g. 8h, 90m, 2d (default: 8h)")] = None,
    until: Annotated[str | None, typer.Option(help="end, ISO 8601, e.g. 2026-03-01T18:00")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="begin, ISO 8601 (default: a minute ago, as clocks differ)")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="unlock, hold, courier, service, admin; may be repeated (default: unlock)")
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(
            help='weekly window in the lock\'s local time, e.g. "Mon-Fri 09:00-17:30" or "Holidays 10:00-14:00"; '
            "may be repeated"
        ),
    ] = None,
    uv: Annotated[bool, typer.Option("--uv", help="the phone must verify its user")] = False,
    uses: Annotated[int | None, typer.Option(help="number of grants at each lock, 1 to 1000")] = None,
    persons: Annotated[int | None, typer.Option(help="number of persons who must agree, 1 to 3")] = None,
    exi: Annotated[
        int | None, typer.Option(help="in place of an end: seconds from when the lock first sees it, 1 to 86400")
    ] = None,
    cnonce: Annotated[
        str | None, typer.Option(help="the lock's nonce that it answers, in hex; needed with --exi")
    ] = None,
    revoke: Annotated[
        Path | None,
        typer.Option(help="file of revocations whose latest list the token takes along", show_default=False),
    ] = None,
    duress: Annotated[bool, typer.Option("--duress", help="opens, and raises a silent alarm")] = False,
    ref: Annotated[str | None, typer.Option(help="reference for the audit trail, e.g. a sale: text or hex:..")] = None,
    sub: Annotated[str | None, typer.Option(help="pseudonym of the holder, never a name: text or hex:..")] = None,
    issuer_name: Annotated[str | None, typer.Option(help="issuer's name as the locks know it")] = None,
    tagged: Annotated[bool, typer.Option("--tagged", help="with the COSE tag 18 in front")] = False,
    out: Annotated[Path, typer.Option(help="file to write")] = Path("token.cbor"),
    force: Annotated[bool, typer.Option("--force", help="overwrite an existing file")] = False,
    as_json: JsonOption = False,
) -> None:
    """Issue a token: one phone may open some locks for some time."""
    from .. import keys, names, tokens, when
    from ..errors import ToolError

    audiences = [names.check_lock_id(name) for name in lock or []] + [names.check_group(name) for name in group or []]
    if not audiences:
        raise ToolError("say what the token opens: --lock case-12, or --group jewellery")
    issuer = keys.load_private(key)
    now_s = int(time.time())
    others: dict[str, Any] = {
        "scopes": tuple(" ".join(scope or ["unlock"]).replace(",", " ").split()),
        "windows": tuple(when.parse_window(text) for text in window or []),
        "cnonce": None if cnonce is None else _nonce(cnonce),
        "needs_uv": uv,
        "uses": uses,
        "persons": persons,
        "issuer": issuer_name,
        "sub": None if sub is None else output.parse_opaque(sub, "sub", 16),
        "ref": None if ref is None else output.parse_opaque(ref, "ref", 32),
        "revoke": None if revoke is None else _latest_list(revoke, issuer.public.kid, now_s),
        "is_duress": duress,
    }
    phone = keys.load_public(holder)
    if exi is not None:
        if until or valid_for:
            raise ToolError("give either --exi or an end (--for, --until), not both")
        if cnonce is None:
            raise ToolError("--exi needs the lock's nonce: --cnonce")
        nbf_s = when.parse_time(start) if start else None
        claims = tokens.Claims.for_seconds(phone, audiences, exi_s=exi, now_s=now_s, nbf_s=nbf_s, **others)
    else:
        if until and valid_for:
            raise ToolError("give either --for or --until, not both")
        start_s = when.parse_time(start) if start else now_s - tokens.CLOCK_SLACK_S
        valid_s = when.parse_time(until) - start_s if until else when.parse_duration(valid_for or "8h")
        if start_s + valid_s <= now_s:
            raise ToolError(f"the token would have ended at {when.time_text(start_s + valid_s)}: give a later end")
        claims = tokens.Claims.for_holder(phone, audiences, now_s=now_s, nbf_s=start_s, valid_s=valid_s, **others)
    data = tokens.issue(claims, issuer, is_tagged=tagged)
    keys.write_new(out, data, mode=0o644, is_forced=force)
    if as_json:
        output.print_json({"file": str(out), **_claims_json(tokens.parse(data))})
    else:
        output.print_line(f"Token of {len(data)} bytes in {out}.")
        output.print_fields(_claims_fields(tokens.parse(data)))


@app.command()
def inspect(token: TokenArgument, as_json: JsonOption = False) -> None:
    """Show what a token says. Nothing is verified: whoever made it could say so."""
    from .. import keys, tokens

    read = tokens.parse(keys.read_file(token, "token"))
    if as_json:
        output.print_json(_claims_json(read))
    else:
        output.print_line(f"Token of {len(read.data)} bytes; its signature was not checked.")
        output.print_fields(_claims_fields(read))


@app.command("verify")
def verify_token(
    token: TokenArgument,
    issuer: Annotated[Path | None, typer.Option(help="the issuer's public key")] = None,
    provisioning: Annotated[Path | None, typer.Option(help="provisioning record of the lock")] = None,
    lock: Annotated[str | None, typer.Option(help="lock to verify for")] = None,
    group: Annotated[list[str] | None, typer.Option(help="group that the lock belongs to; may be repeated")] = None,
    at: Annotated[str | None, typer.Option(help="time to verify for, ISO 8601 (default: now)")] = None,
    time_zone: Annotated[str | None, typer.Option(help="the lock's, e.g. Europe/Vienna or a POSIX TZ")] = None,
    action: Annotated[Literal["unlock", "lock", "hold"], typer.Option(help="what the holder wants")] = "unlock",
    uv: Annotated[bool, typer.Option("--uv", help="the phone has verified its user")] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify a token rule by rule, as a lock would. Exit status 1 if it would be refused."""
    from .. import keys, names, protocol, when
    from .. import provisioning as records
    from .. import verify as rules
    from ..errors import ToolError

    if (issuer is None) == (provisioning is None):
        raise ToolError("give the issuer's public key with --issuer, or a lock's record with --provisioning")
    record = None
    if provisioning is not None:
        record = records.parse(keys.read_file(provisioning, "provisioning record"))
    verdict = rules.verify(
        keys.read_file(token, "token"),
        rules.Situation(
            now_s=when.parse_time(at) if at else int(time.time()),
            action=protocol.Action[action.upper()],
            is_user_verified=uv,
            issuer_key=keys.load_public(issuer) if issuer else None,
            provision=record,
            lock_id=names.check_lock_id(lock) if lock else None,
            groups=tuple(names.check_group(name) for name in group or []),
            zone=when.posix_zone(when.posix_zone_text(time_zone)) if time_zone else None,
        ),
    )
    is_granted = verdict.reason == protocol.Reason.Granted
    if as_json:
        output.print_json(_verdict_json(verdict))
    else:
        for check in verdict.checks:
            output.print_line(f"  {output.marked(check.is_met)}  {check.rule:<16} {output.one_line(check.detail)}")
        output.print_line(_conclusion(verdict))
    raise typer.Exit(0 if is_granted else 1)


def _nonce(text: str) -> bytes:
    from ..errors import ToolError

    try:
        nonce = bytes.fromhex(text)
    except ValueError:
        nonce = b""
    if len(nonce) != 16:
        raise ToolError(f"{text!r} is not a nonce of a lock: 32 hexadecimal digits")
    return nonce


def _latest_list(path: Path, kid: bytes, now_s: int) -> "tokens.Revoke":
    """Return the latest list in the file of revocations as a token takes it along."""
    from ..errors import ToolError
    from ..revocations import Book

    book = Book(path, kid)
    if not book.lists:
        raise ToolError(f"{path} holds no revocations")
    (part,) = book.after(book.lists[-2][0] if len(book.lists) > 1 else 0, now_s)
    entries = [entry.to_list() for entry in part.entries]
    return part.previous, part.sequence, tuple((kind, value, until_s) for kind, value, until_s in entries)


def _conclusion(verdict: "verify.Verdict") -> str:
    from .. import protocol

    if verdict.reason != protocol.Reason.Granted:
        return f"the lock would refuse: {verdict.reason.name}"
    open_rules = [check.rule for check in verdict.checks if check.is_met is None]
    if open_rules:
        return f"nothing stands against it, but these were not checked: {', '.join(open_rules)}"
    return "the lock would grant it"


def _verdict_json(verdict: "verify.Verdict") -> dict[str, Any]:
    return {
        "reason": verdict.reason.name,
        "checks": [{"rule": check.rule, "met": check.is_met, "detail": check.detail} for check in verdict.checks],
    }


def _claims_json(token: "tokens.Token") -> dict[str, Any]:
    from .. import protocol, when

    claims = token.claims
    return {
        "bytes": len(token.data),
        "hash": protocol.token_hash(token.data).hex(),
        "alg": token.algorithm,
        "kid": token.kid.hex(),
        "iss": claims.issuer,
        "sub": None if claims.sub is None else claims.sub.hex(),
        "aud": list(claims.audiences),
        "nbf": claims.nbf_s,
        "iat": claims.iat_s,
        "exp": claims.exp_s,
        "exi": claims.exi_s,
        "cnonce": None if claims.cnonce is None else claims.cnonce.hex(),
        "cti": claims.cti.hex(),
        "holder": claims.holder.raw.hex(),
        "scope": " ".join(claims.scopes),
        "windows": [when.window_text(window) for window in claims.windows],
        "uv": claims.needs_uv,
        "uses": claims.uses,
        "persons": claims.persons,
        "ref": None if claims.ref is None else claims.ref.hex(),
        "revoke": None if claims.revoke is None else _revoke_json(claims.revoke),
        "duress": claims.is_duress,
    }


def _revoke_json(revoke: "tokens.Revoke") -> dict[str, Any]:
    previous, sequence, entries = revoke
    listed = [[kind, value.hex() if isinstance(value, bytes) else value, until_s] for kind, value, until_s in entries]
    return {"previous": previous, "sequence": sequence, "entries": listed}


def _claims_fields(token: "tokens.Token") -> list[tuple[str, str]]:
    from .. import when

    claims = token.claims
    fields = [
        ("opens", ", ".join(map(output.one_line, claims.audiences))),
        ("scope", " ".join(claims.scopes)),
    ]
    lifetime = when.duration_text(claims.lifetime_s)
    if claims.has_start:
        fields.append(("from", when.time_text(claims.start_s)))
    if claims.exp_s is None:
        fields.append(("for", f"{lifetime} from when the lock first sees it"))
    else:
        fields.append(("until", f"{when.time_text(claims.exp_s)}  ({lifetime} in all)"))
    fields += [
        ("holder's key", claims.holder.raw.hex()),
        ("issuer's kid", f"{token.kid.hex()}  ({token.algorithm})"),
        ("identity", claims.cti.hex()),
    ]
    if claims.cnonce is not None:
        fields.append(("answers nonce", claims.cnonce.hex()))
    if claims.windows:
        fields.append(("windows", "; ".join(when.window_text(window) for window in claims.windows)))
    if claims.needs_uv:
        fields.append(("uv", "the phone must verify its user"))
    if claims.uses is not None:
        fields.append(("uses", str(claims.uses)))
    if claims.persons is not None:
        fields.append(("persons", str(claims.persons)))
    if claims.revoke is not None:
        fields.append(("revokes", f"{len(claims.revoke[2])} entries, list {claims.revoke[1]}"))
    if claims.is_duress:
        fields.append(("duress", "raises a silent alarm"))
    if claims.issuer is not None:
        fields.append(("issuer", output.one_line(claims.issuer)))
    if claims.sub is not None:
        fields.append(("sub", claims.sub.hex()))
    if claims.ref is not None:
        fields.append(("ref", claims.ref.hex()))
    return fields
