"""Why an act was granted or refused: the numbers of SPEC.md section 3.1."""

from micropython import const

GRANTED = const(0)
TOKEN_MALFORMED = const(1)
ISSUER_UNKNOWN = const(2)
AUDIENCE_MISMATCH = const(3)
NOT_YET_VALID = const(4)
EXPIRED = const(5)
LIFETIME_EXCEEDED = const(6)
SCOPE_MISSING = const(7)
SCOPE_NOT_ALLOWED = const(8)
TOKEN_FORGED = const(9)
TIME_UNTRUSTED = const(10)
OUTSIDE_WINDOW = const(11)
USER_VERIFICATION_REQUIRED = const(12)
PERSONS_REQUIRED = const(13)
USES_EXHAUSTED = const(14)
NO_TOKEN = const(15)
NONCE_MISSING = const(16)
PROOF_MALFORMED = const(17)
PROOF_FORGED = const(18)
ACTION_UNKNOWN = const(19)
NOT_PROVISIONED = const(20)
FAULT = const(21)
LIFETIME_INVERTED = const(22)

# Matter OperationErrorEnum
_UNSPECIFIED = const(0)
_INVALID_CREDENTIAL = const(1)
_RESTRICTED = const(3)

_INVALID = (TOKEN_MALFORMED, ISSUER_UNKNOWN, TOKEN_FORGED, NO_TOKEN, NONCE_MISSING, PROOF_MALFORMED, PROOF_FORGED)
_UNSPECIFIC = (GRANTED, ACTION_UNKNOWN, NOT_PROVISIONED, FAULT)


def error_code(reason: int) -> int:
    """Return Matter's OperationErrorEnum for a refusal."""
    if reason in _INVALID:
        return _INVALID_CREDENTIAL
    if reason in _UNSPECIFIC or not GRANTED <= reason <= LIFETIME_INVERTED:
        return _UNSPECIFIED
    return _RESTRICTED
