"""`vitrine policy`: why a token opens a lock, or does not."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import output

if TYPE_CHECKING:
    from ..policy.lock_file import Noted

app = typer.Typer(help="Explain what a lock decides.", no_args_is_help=False)


@app.command()
def explain(
    token: Annotated[Path, typer.Argument(help="file of the token", show_default=False)],
    lock: Annotated[Path, typer.Option(help="lock file (JSON), or provisioning record", show_default=False)],
    at: Annotated[str | None, typer.Option(help="when, ISO 8601 (default: now)")] = None,
    action: Annotated[
        Literal["unlock", "lock", "hold", "courier", "service", "test"], typer.Option(help="what is asked")
    ] = "unlock",
    uv: Annotated[bool, typer.Option("--uv", help="the phone has verified its user")] = False,
    persons: Annotated[
        list[str] | None, typer.Option(help="sub of somebody else who has just asked, text or hex:..; may be repeated")
    ] = None,
    nonce_age: Annotated[
        str | None, typer.Option(help="how long ago the lock made the token's cnonce, e.g. 4m (default: just now)")
    ] = None,
    received: Annotated[
        str | None, typer.Option(help="how long ago the lock received the token, e.g. 30m, if it has a cnonce")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Explain rule by rule whether a lock opens to a token, decided as the lock decides it.

    The holder is taken to have proved the key. Exit status 0 if it would open, 1 if not.
    """
    from .. import keys, when
    from ..policy import explain as words
    from ..policy import lock_file
    from ..policy.case import Act
    from ..policy.judge import judge
    from ..protocol import Action, Reason

    data = keys.read_file(token, "token")
    held = lock_file.load(lock)
    act = Act(
        at_s=when.parse_time(at) if at else int(time.time()),
        action=Action[action.upper()],
        is_user_verified=uv,
        noted=tuple(_noted(person, action) for person in persons or []),
        nonce_age_s=when.parse_duration(nonce_age) if nonce_age else 0,
        presented_ago_s=when.parse_duration(received) if received else None,
    )
    judgement = judge(data, held, act)
    if as_json:
        output.print_json(words.to_json(judgement, held, act))
    else:
        words.print_table(judgement, act, sys.stdout)
        for line in words.conclusion(judgement, held, act):
            output.print_line(line)
    raise typer.Exit(0 if judgement.reason == Reason.Granted else 1)


@app.command()
def snapshot(
    image: Annotated[Path, typer.Argument(help="image of a lock's whole flash", show_default=False)],
    at: Annotated[str | None, typer.Option(help="when the image was read, ISO 8601 (default: now)")] = None,
) -> None:
    """Print the lock file of a lock's flash image, e.g. the flash.bin of an emulator that does not run."""
    from .. import when
    from ..policy import snapshot as snapshots

    held = snapshots.read(image, when.parse_time(at) if at else int(time.time()))
    output.print_line(held.model_dump_json(indent=2, exclude_defaults=True))


def _noted(person: str, action: Literal["unlock", "lock", "hold", "courier", "service", "test"]) -> "Noted":
    from ..policy.lock_file import Noted

    return Noted(sub=output.parse_opaque(person, "sub", 16), action=action)
