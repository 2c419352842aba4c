"""The `vitrine` command: registers the subcommands and turns every error into one line and an exit status.

Exit status: 0 done, 1 refused (by the lock, or by its rules in `token verify` and `policy explain`), 2 something for
the user to put right, 130 interrupted. VITRINE_DEBUG=1 shows where an unexpected error came from.
"""

import os
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from . import __version__
from .commands import (
    audit,
    collect,
    command,
    config,
    doctor,
    emulate,
    flash,
    homeassistant,
    keygen,
    logs,
    output,
    policy,
    pos,
    provision,
    rollout,
    schema,
    service,
    token,
    unlock,
    update,
)
from .errors import ToolError

EXIT_USER = 2
EXIT_INTERRUPTED = 130
EXIT_UNEXPECTED = 70  # sysexits.h: EX_SOFTWARE

app = typer.Typer(
    name="vitrine",
    help="Keys, tokens and emulated locks for Vitrine, and the phone that opens them.",
    pretty_exceptions_enable=False,
)
app.command("keygen")(keygen.keygen)
app.add_typer(token.app, name="token")
app.command("emulate")(emulate.emulate)
app.command("provision")(provision.provision)
app.command("deprovision")(provision.deprovision)
app.command("flash")(flash.flash)
app.command("unlock")(unlock.unlock)
app.command("collect")(collect.collect)
app.add_typer(command.app, name="command")
app.add_typer(update.app, name="update")
app.add_typer(rollout.app, name="rollout")
app.command("pos")(pos.pos)
app.add_typer(audit.app, name="audit")
app.add_typer(service.app, name="service")
app.command("doctor")(doctor.doctor)
app.add_typer(logs.app, name="logs")
app.add_typer(config.app, name="config")
app.add_typer(policy.app, name="policy")
app.add_typer(homeassistant.app, name="homeassistant")
app.add_typer(schema.app, name="schema")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version", is_eager=True)] = False,
) -> None:
    if version:
        output.print_line(f"vitrine {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        output.print_line(context.get_help())


def main() -> NoReturn:
    """Run the command line and exit; nothing but one line on standard error tells of an error."""
    sys.exit(_run())


def _run() -> int:
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "vitrine"
        output.print_problem(f"{error.format_message().rstrip('.')}: see `{path} --help`")
        return EXIT_USER
    except ToolError as error:
        output.print_problem(str(error))
        return EXIT_USER
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has had enough; nothing may be flushed at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort: a person gets a line, not a traceback
        if os.environ.get("VITRINE_DEBUG"):
            traceback.print_exc()
        output.print_problem(f"unexpected {type(error).__name__}: {error} (VITRINE_DEBUG=1 shows where)")
        return EXIT_UNEXPECTED
    return status if isinstance(status, int) else 0
