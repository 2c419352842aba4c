"""What a token may be good for: the words of the scope claim as a mask. Source: SPEC.md section 2, claim 9."""

from micropython import const

UNLOCK = const(1)
HOLD = const(2)
COURIER = const(4)
SERVICE = const(8)
ADMIN = const(16)
UPDATE = const(32)  # of an issuer: it may sign manifests (SPEC.md section 20). In a token it gives nothing

_BITS = {"unlock": UNLOCK, "hold": HOLD, "courier": COURIER, "service": SERVICE, "admin": ADMIN, "update": UPDATE}


def parse_scopes(text: object) -> int:
    """Return the mask of 1 to 6 words with single spaces between; raise ValueError for anything else."""
    mask = 0
    for word in text.split(" ") if isinstance(text, str) else ("",):
        bit = _BITS.get(word, 0)
        if bit == 0 or mask & bit:
            raise ValueError("scope: unknown or repeated word")
        mask |= bit
    return mask
