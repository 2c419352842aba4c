"""What all commands share in speaking to people and to scripts."""

import json
import sys
from pathlib import Path
from typing import Any

from ..errors import ToolError
from ..personal_data import refuse_personal


def print_json(value: Any) -> None:
    """Print `value` for a script, on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_line(text: str = "") -> None:
    """Print a line for a person, on standard output."""
    print(text)


def print_fields(fields: list[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        print(f"  {name:<{width}}  {value}")


def print_problem(text: str) -> None:
    """Print one line on standard error."""
    print(f"vitrine: {one_line(text)}", file=sys.stderr)


def one_line(text: object) -> str:
    """Return `text` in one line without control characters: it may come from a file or from the air."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(str(text).split()))


def marked(is_good: bool | None) -> str:
    """Return a mark for a rule that is met, is not, or was not checked."""
    return {True: "ok", False: "NO", None: "--"}[is_good]


def parse_opaque(text: str, name: str, most: int) -> bytes:
    """Return the bytes of `hex:0a1b` or of a plain text; ToolError if they are none, over `most`, or personal."""
    try:
        value = bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()
    except ValueError:
        raise ToolError(f"{text!r} is not hexadecimal: write {name} as hex:0a1b or as plain text") from None
    if not 1 <= len(value) <= most:
        raise ToolError(f"{name} must be 1 to {most} bytes, not {len(value)}")
    refuse_personal(value, name)
    return value


def beside(path: Path, ending: str) -> Path:
    """Return the path of a file that belongs to `path`: issuer.pem -> issuer.pub.pem."""
    return path.with_name(path.name.removesuffix(".pem") + ending)
