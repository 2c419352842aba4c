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
REVOKED = const(23)
LOCKED_OUT = const(24)
LOCKED_DOWN = const(25)
ALARM_ACTIVE = const(26)
FRESHNESS_MISSING = const(27)
SEQUENCE_STALE = const(28)
SEQUENCE_GAP = const(29)
COMMAND_MALFORMED = const(30)
COMMAND_FORGED = const(31)
COMMAND_UNKNOWN = const(32)
STORE_FULL = const(33)
NOT_FOR_THIS_BOARD = const(34)
PRECONDITION_FAILED = const(35)
DIGEST_MISMATCH = const(36)

# Matter OperationErrorEnum
_UNSPECIFIED = const(0)
_INVALID_CREDENTIAL = const(1)
_DISABLED_USER_DENIED = const(2)
_RESTRICTED = const(3)

_INVALID = (
    TOKEN_MALFORMED,
    ISSUER_UNKNOWN,
    TOKEN_FORGED,
    NO_TOKEN,
    NONCE_MISSING,
    PROOF_MALFORMED,
    PROOF_FORGED,
    FRESHNESS_MISSING,
    SEQUENCE_STALE,
    COMMAND_MALFORMED,
    COMMAND_FORGED,
)
_UNSPECIFIC = (GRANTED, ACTION_UNKNOWN, NOT_PROVISIONED, FAULT, SEQUENCE_GAP, COMMAND_UNKNOWN, STORE_FULL)


def error_code(reason: int) -> int:
    """Return Matter's OperationErrorEnum for a refusal."""
    if reason in _INVALID:
        return _INVALID_CREDENTIAL
    if reason == REVOKED:
        return _DISABLED_USER_DENIED
    if reason in _UNSPECIFIC or not GRANTED <= reason <= STORE_FULL:
        return _UNSPECIFIED
    return _RESTRICTED
