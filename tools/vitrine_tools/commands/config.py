"""`vitrine config`: check a configuration file before it is signed, and print its schema."""

from pathlib import Path
from typing import Annotated

import typer

from . import output

app = typer.Typer(help="Check configuration files of locks, print their schema.", no_args_is_help=False)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="configuration, TOML or JSON (*.json)", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say whether a lock would take this configuration, and what it says."""
    from .. import configuration

    found = configuration.load(file)
    size = len(found.to_blob(configuration.MAX_SEQUENCE))
    said = found.model_dump(mode="json", exclude_unset=True)
    if as_json:
        output.print_json({"file": str(file), "bytes": size, **said})
        return
    output.print_line(f"{file} is good: {size} of {configuration.MAX_SIZE} bytes.")
    fields = [(name, str(value)) for name, value in said.get("settings", {}).items()]
    fields += [(name, ", ".join(said[name])) for name in ("holidays", "hours") if said.get(name)]
    fields.append(("zone", found.zone or "as provisioned"))
    output.print_fields(fields)


@app.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of a configuration file."""
    from .. import configuration

    output.print_json(configuration.schema())
