"""Names on the air and in tokens: lock ids, groups, the hint and the kid (SPEC.md section 1)."""

import hashlib
import re

from .errors import ToolError

GROUP_PREFIX = "group:"
_LOCK_ID = re.compile(r"[a-z0-9-]{1,32}")
_GROUP = re.compile(r"group:[a-z0-9-]{1,26}")


class NameRuleError(ToolError):
    """A lock id or group that does not follow the rule."""


def check_lock_id(text: str) -> str:
    """Return `text` if it is a lock id; NameRuleError otherwise."""
    if not _LOCK_ID.fullmatch(text):
        raise NameRuleError(f"{text!r} is not a lock id: use 1 to 32 of a-z, 0-9 and '-', for example case-12")
    return text


def check_group(text: str) -> str:
    """Return `text` as a group with its prefix, which may be left out; NameRuleError otherwise."""
    group = text if text.startswith(GROUP_PREFIX) else GROUP_PREFIX + text
    if not _GROUP.fullmatch(group):
        raise NameRuleError(f"{text!r} is not a group: use 1 to 26 of a-z, 0-9 and '-', for example group:jewellery")
    return group


def check_audience(text: str) -> str:
    """Return `text` if it is a lock id or a group with its prefix; NameRuleError otherwise."""
    return check_group(text) if text.startswith(GROUP_PREFIX) else check_lock_id(text)


def hint(lock_id: str) -> bytes:
    """Return the 6 bytes by which a phone finds the lock in advertisements."""
    return hashlib.sha256(b"vitrine/hint" + lock_id.encode()).digest()[:6]


def kid(public_key: bytes) -> bytes:
    """Return the 8 bytes that name an issuer's public key (32 raw bytes) in tokens."""
    return hashlib.sha256(public_key).digest()[:8]
