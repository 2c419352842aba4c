"""How CBOR is shown to JSON Schema, and the few forms that schemas are put together from.

`project` gives the JSON of a CBOR value: map keys become texts (`"1"`, `"-70001"`), byte strings become diagnostic
notation (`h'0a1b'`, RFC 8949 section 8), all else stays. So a schema tells bytes from text, and how many there are.
"""

from collections.abc import Iterable
from typing import Any, Final

Schema = dict[str, Any]

U16: Final = 2**16 - 1
U32: Final = 2**32 - 1
U64: Final = 2**64 - 1
NULL: Final[Schema] = {"type": "null"}


def project(value: Any) -> Any:
    """Return the JSON of what `cbor.decode` gives."""
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, dict):
        return {str(key): project(item) for key, item in value.items()}
    if isinstance(value, list):
        return [project(item) for item in value]
    return value


def whole(least: int = 0, most: int = U32, title: str = "") -> Schema:
    """A whole number within bounds."""
    return _titled({"type": "integer", "minimum": least, "maximum": most}, title)


def blob(least: int, most: int | None = None, title: str = "") -> Schema:
    """A byte string of `least` to `most` bytes (the same number, if no most is given)."""
    count = f"{{{least}}}" if most is None or most == least else f"{{{least},{most}}}"
    return _titled({"type": "string", "pattern": f"^h'([0-9a-f]{{2}}){count}'$"}, title)


def content(least: int, most: int, name: str, title: str = "") -> Schema:
    """A byte string that is CBOR again, with the schema `name` of its own."""
    return blob(least, most, title) | {"contentMediaType": "application/cbor", "$comment": f"contains: {name}"}


def text(least: int = 0, most: int | None = None, pattern: str = "", title: str = "") -> Schema:
    """A text; lengths in characters."""
    schema: Schema = {"type": "string", "minLength": least}
    if most is not None:
        schema["maxLength"] = most
    if pattern:
        schema["pattern"] = pattern
    return _titled(schema, title)


def one_of(values: Iterable[Any], title: str = "") -> Schema:
    """One of these values."""
    return _titled({"enum": list(values)}, title)


def numbered(names: dict[int, str], title: str = "") -> Schema:
    """A number of an enumeration, described by name."""
    described = ", ".join(f"{number} {name}" for number, name in sorted(names.items()))
    return _titled({"enum": sorted(names), "description": described}, title)


def array(*items: Schema, title: str = "") -> Schema:
    """An array of exactly these items."""
    count = len(items)
    return _titled(
        {"type": "array", "prefixItems": list(items), "items": False, "minItems": count, "maxItems": count}, title
    )


def many(item: Schema, least: int, most: int, title: str = "") -> Schema:
    """An array of `least` to `most` alike."""
    return _titled({"type": "array", "items": item, "minItems": least, "maxItems": most}, title)


def record(properties: dict[Any, Schema], required: Iterable[Any] | None = None, title: str = "") -> Schema:
    """A map of only these keys; all are required unless `required` says which."""
    wanted = properties if required is None else required
    return _titled(
        {
            "type": "object",
            "properties": {str(key): value for key, value in properties.items()},
            "required": [str(key) for key in wanted],
            "additionalProperties": False,
        },
        title,
    )


def either(*schemas: Schema, title: str = "") -> Schema:
    """Exactly one of these."""
    return _titled({"oneOf": list(schemas)}, title)


def _titled(schema: Schema, title: str) -> Schema:
    return {"title": title, **schema} if title else schema
