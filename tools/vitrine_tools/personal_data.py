"""What must be nowhere: e-mail addresses, telephone numbers, payment card numbers. Found in any bytes, as text in them.

In text (printable UTF-8 from the first byte to the last) a number counts only where it stands by itself: no letter,
digit or `_` may touch it. So a run of digits inside a hexadecimal or base64url identifier is none, and a number that a
person types is one. In anything else (CBOR, a flash image) identifiers are raw bytes, and the byte in front of a number
may be the head of its CBOR item, which looks like a letter: there only another digit may not touch it. That such a run
of digits is there by chance has a probability of (10/256)**10 at each byte.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .errors import ToolError

_IN_TEXT: Final = rb"(?<![0-9A-Za-z_+])", rb"(?![0-9A-Za-z_])"
_IN_BYTES: Final = rb"(?<![0-9+])", rb"(?![0-9])"
_CARD_DIGITS: Final = range(13, 20)  # ISO/IEC 7812-1: with an issuer's prefix and a check digit
_PATTERNS: Final = {
    # RFC 5321 addresses as people write them
    "e-mail address": rb"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}",
    # E.164, with or without separators; 00 in place of the plus; ITU-T E.123's national forms; the form of NANP
    "telephone number": (
        rb"\+[1-9](?:[ ./()-]{0,2}[0-9]){6,14}"
        rb"|00[1-9](?:[ ./-]?[0-9]){7,13}"
        rb"|0[1-9][0-9]{8,9}"
        rb"|0[1-9](?:[ .-][0-9]{2}){4}"
        rb"|\(?0[1-9][0-9]{1,4}\)?[ ./-]{1,3}[0-9]{3,}(?:[ ./-]?[0-9]{2,}){0,4}"
        rb"|(?:1[ .-])?\(?[2-9][0-9]{2}\)?[ .-]{1,2}[2-9][0-9]{2}[ .-][0-9]{4}"
    ),
    "payment card number": rb"[0-9](?:[ -]?[0-9]){12,18}",
}
_COMPILED: Final = [
    {kind: re.compile(before + b"(?:" + pattern + b")" + after) for kind, pattern in _PATTERNS.items()}
    for before, after in (_IN_BYTES, _IN_TEXT)
]


class PersonalDataError(ToolError):
    """Something personal where only pseudonyms and opaque references belong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something personal: what it is, and where it begins. It is not repeated here."""

    kind: str
    offset: int
    size: int


def find(data: bytes) -> Iterator[Finding]:
    """Yield what is personal in `data`."""
    for kind, pattern in _COMPILED[_is_text(data)].items():
        for match in pattern.finditer(data):
            if kind != "payment card number" or _is_card(match.group()):
                yield Finding(kind, match.start(), len(match.group()))


def refuse_personal(value: str | bytes, name: str) -> None:
    """Raise PersonalDataError if the value of `name` holds something personal; the text does not repeat it."""
    found = next(find(value.encode() if isinstance(value, str) else value), None)
    if found is not None:
        raise PersonalDataError(
            f"{name} holds what looks like a {found.kind}: it goes into logs for years, so give a pseudonym, "
            "or a random reference such as hex:9f03c1d2"
        )


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\r\n\t" for character in text)


def _is_card(text: bytes) -> bool:
    """Tell whether digits are as many as of a card, with a right check digit (Luhn), and not all the same."""
    digits = [each - 0x30 for each in text if 0x30 <= each <= 0x39]
    total = sum(sum(divmod(digit * (1 + at % 2), 10)) for at, digit in enumerate(reversed(digits)))
    return len(digits) in _CARD_DIGITS and total % 10 == 0 and len(set(digits)) > 1
