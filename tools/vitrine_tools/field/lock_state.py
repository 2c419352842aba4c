"""What a lock says of itself over its open console, and what of a plan it has already (firmware/SPEC.md section 21)."""

import hmac
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import cbor
from ..audit.sealed import Keys
from .board_link import BoardError

_U32 = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
_DIGEST: Final = 16
_Text = Annotated[str, Field(max_length=64, pattern=r"^[ -~]*$")]


class Board(BaseModel):
    """What the lock runs on."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    name: _Text
    version: _Text
    sequence: _U32
    flash: _U32


class LockState(BaseModel):
    """`lock.state()`: lock "" while unprovisioned; blobs: the digest of each, under the journal's acknowledge key."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    lock: Annotated[str, Field(max_length=32, pattern=r"^[a-z0-9-]*$")]
    trouble: _Text
    provisioned_at: _U32
    issuers: Annotated[list[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]], Field(max_length=4)]
    blobs: Annotated[dict[_Text, Annotated[str, Field(pattern=r"^([0-9a-f]{32}|\?)$")]], Field(max_length=32)]
    epoch: _U32
    records: _U32
    is_journal_sound: bool
    is_ledger_sound: bool
    floor: _U32
    time: Annotated[list[int], Field(min_length=2, max_length=2)]
    board: Board

    @classmethod
    def read(cls, said: Any) -> "LockState":
        """Take what a board said; BoardError if no lock of ours says so."""
        try:
            return cls.model_validate(said)
        except ValidationError:
            raise BoardError(
                "the board at the other end of the cable is no lock of ours, or of another version"
            ) from None

    def has(self, name: str, content: bytes | None, keys: Keys) -> bool:
        """Tell whether the lock's blob `name` is `content`; None: whether there is none."""
        if content is None:
            return name not in self.blobs
        return hmac.compare_digest(self.blobs.get(name, ""), digest(name, content, keys))

    def has_journal_of(self, keys: Keys) -> bool:
        """Tell whether the lock's journal is the one of these keys."""
        return self.epoch == keys.epoch and self.has("journal", cbor.encode([keys.epoch, keys.secrets[1]]), keys)


def digest(name: str, content: bytes, keys: Keys) -> str:
    """Return how a lock with the journal of `keys` names a blob's content."""
    message = b"vitrine/field" + name.encode() + b"\0" + content
    return hmac.digest(keys.secrets[1], message, "sha256")[:_DIGEST].hex()
