"""Options that several commands share, as a dataclass."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any


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
