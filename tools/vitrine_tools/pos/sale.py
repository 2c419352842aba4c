"""What a till says and is told: JSON, read strictly. Nothing about who buys."""

import base64
import binascii
import json
import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from .. import names
from ..errors import ToolError
from ..personal_data import refuse_personal

MAX_MESSAGE: Final = 256
MAX_REF: Final = 32
_HEX = re.compile(r"(?:[0-9a-f]{2})+")


class SaleError(ToolError):
    """Not a sale's message."""


def _reference(text: str) -> str:
    refuse_personal(text, "the sale")
    refuse_personal(ref_of(text), "the sale")
    return text


def _fixture(text: str) -> str:
    try:
        return names.check_lock_id(text)
    except ToolError:
        raise SaleError("the fixture must be the id of a lock") from None  # who knows what the till wrote there


class Sale(BaseModel):
    """One sale. sale: an opaque reference of 1 to 32 bytes, in hexadecimal or else in base64url without padding."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    sale: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{2,64}$"), AfterValidator(_reference)]
    fixture: Annotated[str, AfterValidator(_fixture)]
    paid: bool

    @property
    def ref(self) -> bytes:
        """What goes into the command or the token, and comes back in the lock's records."""
        return ref_of(self.sale)


def ref_of(text: str) -> bytes:
    """Return the bytes of a reference; SaleError if it is none."""
    try:
        if _HEX.fullmatch(text):
            ref = bytes.fromhex(text)
        else:
            ref = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        ref = b""
    if not 1 <= len(ref) <= MAX_REF:
        raise SaleError("the sale must be 1 to 32 bytes, in hexadecimal or base64url")
    return ref


def read(payload: bytes) -> Sale:
    """Return the sale in a message; SaleError says in one line what is wrong, without repeating it."""
    if len(payload) > MAX_MESSAGE:
        raise SaleError(f"a sale's message has at most {MAX_MESSAGE} bytes")
    try:
        # not pydantic's own reader: of a name that comes twice it takes the last
        return Sale.model_validate(json.loads(payload, object_pairs_hook=_once))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise SaleError(f"{'.'.join(map(str, first['loc'])) or 'the message'}: {first['msg']}") from None
    except (ValueError, ToolError, RecursionError) as error:
        raise SaleError(str(error) if isinstance(error, ToolError) else "not JSON of a sale") from None


def outcome(sale: str, reason: str, *, is_opened: bool, token: bytes | None = None) -> bytes:
    """Return what the till is told: {"sale", "opened", "reason"}, and a token for the customer's phone if any."""
    fields: dict[str, object] = {"sale": sale, "opened": is_opened, "reason": reason}
    if token is not None:
        fields["token"] = base64.urlsafe_b64encode(token).decode().rstrip("=")
    return json.dumps(fields).encode()


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name twice")
    return fields
