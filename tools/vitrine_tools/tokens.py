"""Tokens: what an issuer signs so that one holder's phone may open some locks for some time (SPEC.md section 2).

`issue` makes them, `parse` reads them as strictly as a lock does. `verify.py` judges them rule by rule.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from . import cbor, cose, keys, names
from .errors import TokenError, ToolError
from .when import Window

MAX_TOKEN: Final = 512
SCOPES: Final = ("unlock", "hold", "courier", "service", "admin")
CLOCK_SLACK_S: Final = 60  # see Claims.for_holder

ISS, SUB, AUD, EXP, NBF, IAT, CTI, CNF, SCOPE = range(1, 10)
WINDOWS, UV, USES, PERSONS, REF = -70001, -70002, -70003, -70004, -70005
_CLAIMS = frozenset((ISS, SUB, AUD, EXP, NBF, IAT, CTI, CNF, SCOPE, WINDOWS, UV, USES, PERSONS, REF))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says. Times are Unix seconds; a field that is None (or empty, or False for uv) is left out."""

    audiences: tuple[str, ...]
    scopes: tuple[str, ...]
    holder: keys.PublicKey
    exp_s: int
    nbf_s: int | None
    cti: bytes
    iat_s: int | None = None
    issuer: str | None = None
    sub: bytes | None = None
    windows: tuple[Window, ...] = ()
    needs_uv: bool = False
    uses: int | None = None
    persons: int | None = None
    ref: bytes | None = None

    @classmethod
    def for_holder(
        cls,
        holder: keys.PublicKey,
        audiences: Iterable[str],
        *,
        now_s: int,
        valid_s: int,
        scopes: Iterable[str] = ("unlock",),
        **others: Any,
    ) -> "Claims":
        """Return claims that are valid from now on for `valid_s` in all, with a random identity; `others` are fields.

        nbf lies 60 s before `now_s` on purpose: no two clocks agree, and a lock that is a little behind the issuer must
        not refuse a token that was made a moment ago. `valid_s` counts from nbf, so that a token for 8 h keeps within
        an issuer's maximum lifetime of 8 h.
        """
        nbf_s = others.pop("nbf_s", None)
        start_s = now_s - CLOCK_SLACK_S if nbf_s is None else nbf_s
        cti = others.pop("cti", None) or secrets.token_bytes(16)
        return cls(
            audiences=tuple(audiences),
            scopes=tuple(scopes),
            holder=holder,
            nbf_s=start_s,
            exp_s=start_s + valid_s,
            cti=cti,
            **others,
        )

    @property
    def start_s(self) -> int:
        """When the token begins: nbf, or iat in its place."""
        return self.nbf_s if self.nbf_s is not None else (self.iat_s or 0)

    def to_map(self) -> dict[int, Any]:
        """Return the CWT claims set."""
        values = {
            ISS: self.issuer,
            SUB: self.sub,
            AUD: self.audiences[0] if len(self.audiences) == 1 else list(self.audiences),
            EXP: self.exp_s,
            NBF: self.nbf_s,
            IAT: self.iat_s,
            CTI: self.cti,
            CNF: {1: self.holder.to_cose_map()},
            SCOPE: " ".join(self.scopes),
            WINDOWS: [list(window) for window in self.windows] or None,
            UV: self.needs_uv or None,
            USES: self.uses,
            PERSONS: self.persons,
            REF: self.ref,
        }
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Token:
    """A token as read: well formed, but nothing in it is believed until `is_signed_by` says so."""

    data: bytes
    claims: Claims
    kid: bytes
    sign1: cose.Sign1

    @property
    def algorithm(self) -> str:
        """The name of the header's algorithm."""
        return cose.ALGORITHMS[self.sign1.header[cose.HEADER_ALG]]

    def is_signed_by(self, key: keys.PublicKey) -> bool:
        """Tell whether the issuer's `key` made the signature."""
        return self.sign1.is_signed_by(key)


def issue(
    claims: Claims, issuer: keys.PrivateKey, *, algorithm: int = cose.ALG_ED25519, is_tagged: bool = False
) -> bytes:
    """Return the signed token; TokenError if the claims break a rule of SPEC.md 2 or do not fit in 512 bytes."""
    payload = claims.to_map()
    _check_for_issuing(claims)
    token = sign(payload, issuer, algorithm=algorithm, is_tagged=is_tagged)
    if len(token) > MAX_TOKEN:
        raise TokenError(
            f"the token would have {len(token)} bytes and locks take at most {MAX_TOKEN}: "
            "name fewer locks (or a group), or fewer windows"
        )
    parse(token)
    return token


def sign(
    claims_map: dict[Any, Any],
    issuer: keys.PrivateKey,
    *,
    algorithm: int = cose.ALG_ED25519,
    is_tagged: bool = False,
) -> bytes:
    """Sign any claims set, valid or not: what attack tests need; `issue` is for tokens that shall work."""
    header = {cose.HEADER_ALG: algorithm, cose.HEADER_KID: issuer.public.kid}
    return cose.sign1(header, cbor.encode(claims_map), issuer, is_tagged=is_tagged)


def parse(data: bytes) -> Token:
    """Read a token as strictly as a lock does; TokenError names the rule that it breaks."""
    try:
        sign1 = cose.parse_sign1(data, MAX_TOKEN)
    except cose.CoseError as error:
        raise TokenError(f"not a token: {error}") from None
    kid = sign1.header.get(cose.HEADER_KID)
    if len(sign1.header) != 2 or not isinstance(kid, bytes) or len(kid) != 8:
        raise TokenError("not a token: the protected header must be exactly alg and an 8-byte kid")
    if sign1.payload is None:
        raise TokenError("not a token: it has no payload")
    try:
        payload = cbor.decode(sign1.payload, MAX_TOKEN)
    except cbor.CborError as error:
        raise TokenError(f"not a token: the claims are not CBOR as it must be ({error})") from None
    return Token(data, _read_claims(payload), kid, sign1)


def _check_for_issuing(claims: Claims) -> None:
    """Refuse what locks would read but that cannot be meant."""
    try:
        for audience in claims.audiences:
            names.check_audience(audience)
    except ToolError as error:
        raise TokenError(str(error)) from None
    if claims.exp_s <= claims.start_s:
        raise TokenError("the token would end before it begins: give a later end or a longer time")


def _read_claims(payload: Any) -> Claims:
    """Return the claims of a decoded claims set; TokenError names the claim at fault."""
    if not isinstance(payload, dict):
        raise TokenError("not a token: the claims are not a map")
    unknown = payload.keys() - _CLAIMS
    if unknown:
        raise TokenError(f"claim {min(map(str, unknown))} is unknown: it may be a restriction, so locks refuse it")
    for required, name in ((AUD, "aud"), (EXP, "exp"), (CTI, "cti"), (CNF, "cnf"), (SCOPE, "scope")):
        if required not in payload:
            raise TokenError(f"the claim {name} is missing")
    if NBF not in payload and IAT not in payload:
        raise TokenError("the token has neither nbf nor iat")
    audience = payload[AUD]
    cnf = payload[CNF]
    holder = keys.public_from_cose_map(cnf[1]) if isinstance(cnf, dict) and cnf.keys() == {1} else None
    if holder is None:
        raise TokenError("cnf must be {1: COSE_Key} with an Ed25519 key and nothing else")
    if UV in payload and payload[UV] is not True:
        raise TokenError("uv (-70002) must be true or left out")
    return Claims(
        issuer=_text(payload.get(ISS), "iss") if ISS in payload else None,
        sub=_blob(payload[SUB], "sub", 1, 16) if SUB in payload else None,
        audiences=_audiences(audience),
        exp_s=_number(payload[EXP], "exp"),
        nbf_s=_number(payload[NBF], "nbf") if NBF in payload else None,
        iat_s=_number(payload[IAT], "iat") if IAT in payload else None,
        cti=_blob(payload[CTI], "cti", 8, 16),
        holder=holder,
        scopes=_scopes(payload[SCOPE]),
        windows=_windows(payload[WINDOWS]) if WINDOWS in payload else (),
        needs_uv=UV in payload,
        uses=_number(payload[USES], "uses (-70003)", 1, 1000) if USES in payload else None,
        persons=_number(payload[PERSONS], "persons (-70004)", 1, 3) if PERSONS in payload else None,
        ref=_blob(payload[REF], "ref (-70005)", 1, 32) if REF in payload else None,
    )


def _number(value: Any, name: str, least: int = 0, most: int = 2**64 - 1) -> int:
    if type(value) is not int or not least <= value <= most:
        raise TokenError(f"{name} must be a whole number from {least} to {most}")
    return value


def _blob(value: Any, name: str, least: int, most: int) -> bytes:
    if not isinstance(value, bytes) or not least <= len(value) <= most:
        raise TokenError(f"{name} must be {least} to {most} bytes")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value.encode()) > 32:
        raise TokenError(f"{name} must be a text of at most 32 bytes")
    return value


def _audiences(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if not 1 <= len(items) <= 8:
        raise TokenError("aud must name 1 to 8 locks or groups")
    return tuple(_text(item, "aud") for item in items)


def _scopes(value: Any) -> tuple[str, ...]:
    words = value.split(" ") if isinstance(value, str) else []
    if not words or len(set(words)) != len(words) or any(word not in SCOPES for word in words):
        raise TokenError(f"scope must be words of '{' '.join(SCOPES)}', each once, with single spaces")
    return tuple(words)


def _windows(value: Any) -> tuple[Window, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 32:
        raise TokenError("windows (-70001) must be 1 to 32 windows")
    windows = []
    for item in value:
        if not isinstance(item, list) or len(item) != 3:
            raise TokenError("a window (-70001) must be [days, start minute, end minute]")
        days = _number(item[0], "the days of a window", 1, 127)
        start, end = (_number(minute, "a window's minute", 0, 1440) for minute in item[1:])
        windows.append((days, start, end))
    return tuple(windows)
