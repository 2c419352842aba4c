"""Options that several commands share, as a dataclass."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import typer


def with_options(options: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a dataclass; they come as its first argument."""
    names = [field.name for field in fields(options)]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(**given: Any) -> None:
            function(options(**{name: given.pop(name) for name in names}), **given)

        shared = [
            parameter.replace(kind=parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(options).parameters.values()
        ]
        own = [
            parameter.replace(kind=parameter.KEYWORD_ONLY)
            for parameter in list(inspect.signature(function).parameters.values())[1:]
        ]
        # a typer.Argument has no name on the command line: its place among the options is free
        command.__signature__ = inspect.Signature(own + shared)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in own + shared}
        return command

    return decorate


def example(module: str, what: str) -> Any:
    """Return the option --example: print the file that the docstring of `module` (of these tools) shows, and end."""

    def show(is_asked: bool) -> None:
        if is_asked:
            import importlib
            import textwrap

            text = importlib.import_module(f"vitrine_tools.{module}").__doc__ or ""
            shown = [line for line in text.splitlines() if not line or line.startswith("    ")]
            typer.echo(textwrap.dedent("\n".join(shown)).strip())
            raise typer.Exit

    return typer.Option("--example", help=f"print {what} with all that may be in it", callback=show, is_eager=True)
