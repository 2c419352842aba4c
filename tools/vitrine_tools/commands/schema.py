"""`vitrine schema`: the documents that integrators and their tools read. Each is made from the code, and has a name."""

from typing import Annotated

import typer

from . import output

app = typer.Typer(help="Print the schemas of messages and APIs, as JSON.", no_args_is_help=False)


@app.command("list")
def list_names() -> None:
    """List the schemas of `vitrine schema json`."""
    from ..schemas import payloads

    width = max(map(len, payloads.NAMES))
    for name in payloads.NAMES:
        output.print_line(f"{name:<{width}}  {payloads.schema(name)['title']}")


@app.command("json")
def json_schema(name: Annotated[str, typer.Argument(help="from `vitrine schema list`", show_default=False)]) -> None:
    """Print the JSON Schema (2020-12) of one payload."""
    from ..errors import ToolError
    from ..schemas import payloads

    if name not in payloads.NAMES:
        raise ToolError(f"there is no schema {output.one_line(name)!r}: see `vitrine schema list`")
    output.print_json(payloads.schema(name))


@app.command()
def asyncapi() -> None:
    """Print the AsyncAPI 3.0 document of MQTT and of the frames over BLE."""
    from ..schemas import asyncapi

    output.print_json(asyncapi.document())


@app.command()
def openapi() -> None:
    """Print the OpenAPI 3.1 document of a lock's HTTP."""
    from ..schemas import openapi

    output.print_json(openapi.document())
