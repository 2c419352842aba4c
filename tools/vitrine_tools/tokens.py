"""Tokens: what an issuer signs so that one holder's phone may open some locks for some time (SPEC.md section 2).

`issue` makes them, `parse` reads them as strictly as a lock does. `verify.py` judges them rule by rule.
"""

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from . import cbor, cose, keys, names, when
from .errors import TokenError, ToolError
from .when import Window

MAX_TOKEN: Final = 512
SCOPES: Final = ("unlock", "hold", "courier", "service", "admin", "update")
CLOCK_SLACK_S: Final = 60  # see Claims.for_holder

ISS, SUB, AUD, EXP, NBF, IAT, CTI, CNF, SCOPE = range(1, 10)
CNONCE, EXI = 39, 40
WINDOWS, UV, USES, PERSONS, REF, REVOKE, DURESS = range(-70001, -70008, -1)
_CLAIMS = frozenset((*range(ISS, SCOPE + 1), CNONCE, EXI, *range(DURESS, WINDOWS + 1)))
_MAX_SEQUENCE = 2**32 - 1  # of a list of revocations

Revoke = tuple[int, int, tuple[tuple[int, bytes | int, int], ...]]  # previous, sequence, entries of SPEC.md 11.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says. Times are Unix seconds; a field that is None (or empty, or False) is left out.

    It ends at `exp_s`, or `exi_s` seconds after it is first presented: one of the two is there.
    """

    audiences: tuple[str, ...]
    scopes: tuple[str, ...]
    holder: keys.PublicKey
    cti: bytes
    exp_s: int | None = None
    exi_s: int | None = None
    nbf_s: int | None = None
    cnonce: bytes | None = None
    iat_s: int | None = None
    issuer: str | None = None
    sub: bytes | None = None
    windows: tuple[Window, ...] = ()
    needs_uv: bool = False
    uses: int | None = None
    persons: int | None = None
    ref: bytes | None = None
    revoke: Revoke | None = None
    is_duress: bool = False

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

    @classmethod
    def for_seconds(
        cls,
        holder: keys.PublicKey,
        audiences: Iterable[str],
        *,
        exi_s: int,
        cnonce: bytes,
        now_s: int,
        scopes: Iterable[str] = ("unlock",),
        **others: Any,
    ) -> "Claims":
        """Return claims for a lock that need not know the time: valid for `exi_s` from when it first sees them.

        Its identity is a sequence number, which must rise from token to token: microseconds of this computer's clock,
        unless `cti` is given. iat is there so that "all from before" can revoke it.
        """
        cti = others.pop("cti", None) or (time.time_ns() // 1000).to_bytes(8, "big")
        return cls(
            audiences=tuple(audiences),
            scopes=tuple(scopes),
            holder=holder,
            exi_s=exi_s,
            cnonce=cnonce,
            iat_s=now_s,
            cti=cti,
            **others,
        )

    @property
    def has_start(self) -> bool:
        """Whether it is not valid before some time. With exi, iat only says when it was made."""
        return self.nbf_s is not None or self.exi_s is None

    @property
    def start_s(self) -> int:
        """When the token begins, if it has a start: nbf, or iat in its place."""
        return self.nbf_s if self.nbf_s is not None else (self.iat_s or 0)

    @property
    def lifetime_s(self) -> int:
        """How long it is valid at most."""
        return self.exi_s if self.exi_s is not None else (self.exp_s or 0) - self.start_s

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
            CNONCE: self.cnonce,
            EXI: self.exi_s,
            WINDOWS: [list(window) for window in self.windows] or None,
            UV: self.needs_uv or None,
            USES: self.uses,
            PERSONS: self.persons,
            REF: self.ref,
            REVOKE: None if self.revoke is None else [*self.revoke[:2], [list(entry) for entry in self.revoke[2]]],
            DURESS: self.is_duress or None,
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
            "name fewer locks (or a group), fewer windows or fewer revocations"
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
    if claims.lifetime_s <= 0:
        raise TokenError("the token would end before it begins: give a later end or a longer time")


def _read_claims(payload: Any) -> Claims:
    """Return the claims of a decoded claims set; TokenError names the claim at fault."""
    if not isinstance(payload, dict):
        raise TokenError("not a token: the claims are not a map")
    unknown = payload.keys() - _CLAIMS
    if unknown:
        raise TokenError(f"claim {min(map(str, unknown))} is unknown: it may be a restriction, so locks refuse it")
    for required, name in ((AUD, "aud"), (CTI, "cti"), (CNF, "cnf"), (SCOPE, "scope")):
        if required not in payload:
            raise TokenError(f"the claim {name} is missing")
    if (EXP in payload) == (EXI in payload):
        raise TokenError("the token must have one of exp and exi")
    if EXI not in payload and NBF not in payload and IAT not in payload:
        raise TokenError("the token has neither nbf nor iat")
    if EXI in payload and CNONCE not in payload:
        raise TokenError("a token with exi must have a cnonce")
    audience = payload[AUD]
    cnf = payload[CNF]
    holder = keys.public_from_cose_map(cnf[1]) if isinstance(cnf, dict) and cnf.keys() == {1} else None
    if holder is None:
        raise TokenError("cnf must be {1: COSE_Key} with an Ed25519 key and nothing else")
    for flag, name in ((UV, "uv"), (DURESS, "duress")):
        if flag in payload and payload[flag] is not True:
            raise TokenError(f"{name} ({flag}) must be true or left out")
    return Claims(
        issuer=_text(payload.get(ISS), "iss") if ISS in payload else None,
        sub=_blob(payload[SUB], "sub", 1, 16) if SUB in payload else None,
        audiences=_audiences(audience),
        exp_s=_number(payload[EXP], "exp") if EXP in payload else None,
        exi_s=_number(payload[EXI], "exi", 1, 86400) if EXI in payload else None,
        cnonce=_blob(payload[CNONCE], "cnonce", 16, 16) if CNONCE in payload else None,
        nbf_s=_number(payload[NBF], "nbf") if NBF in payload else None,
        iat_s=_number(payload[IAT], "iat") if IAT in payload else None,
        cti=_blob(payload[CTI], "cti", 8, 8 if EXI in payload else 16),
        holder=holder,
        scopes=_scopes(payload[SCOPE]),
        windows=_windows(payload[WINDOWS]) if WINDOWS in payload else (),
        needs_uv=UV in payload,
        uses=_number(payload[USES], "uses (-70003)", 1, 1000) if USES in payload else None,
        persons=_number(payload[PERSONS], "persons (-70004)", 1, 3) if PERSONS in payload else None,
        ref=_blob(payload[REF], "ref (-70005)", 1, 32) if REF in payload else None,
        revoke=_revoke(payload[REVOKE]) if REVOKE in payload else None,
        is_duress=DURESS in payload,
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
        days = _number(item[0], "the days of a window", 1, when.ALL_DAYS | when.HOLIDAYS)
        start, end = (_number(minute, "a window's minute", 0, 1440) for minute in item[1:])
        windows.append((days, start, end))
    return tuple(windows)


def _revoke(value: Any) -> Revoke:
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[2], list) or len(value[2]) > 32:
        raise TokenError("revoke (-70006) must be [previous, sequence, at most 32 entries]")
    previous = _number(value[0], "the sequence before (-70006)", 0, _MAX_SEQUENCE)
    sequence = _number(value[1], "the sequence of revocations (-70006)", 1, _MAX_SEQUENCE)
    return previous, sequence, tuple(_entry(entry) for entry in value[2])


def _entry(value: Any) -> tuple[int, bytes | int, int]:
    if not isinstance(value, list) or len(value) != 3:
        raise TokenError("an entry of revoke (-70006) must be [kind, value, until]")
    kind = _number(value[0], "the kind of a revocation", 1, 4)
    until_s = _number(value[2], "until of a revocation", 0, 0 if kind == 4 else 2**32 - 1)
    if kind == 4:
        return kind, _number(value[1], "the time of a revocation", 0, 2**32 - 1), until_s
    least, most = ((8, 16), (1, 16), (8, 8))[kind - 1]
    return kind, _blob(value[1], "the value of a revocation", least, most), until_s
