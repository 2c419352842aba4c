"""What moves a question to a lock to the edge of its answer: one thing each, in a draft of the token, lock and act."""

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from vitrine_tools import names, tokens
from vitrine_tools.keys import PrivateKey
from vitrine_tools.policy.local_time import LocalTime
from vitrine_tools.policy.lock_file import ALARMS

LOCK = "case-12"
GROUPS = ("group:jewellery", "group:floor-1")
HQ, OTHER, STRANGER = (PrivateKey.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
HOLDERS = [PrivateKey.from_seed(bytes([n]) * 32).public for n in range(10, 16)]
ISSUERS = (
    (HQ, "hq", ("unlock", "hold", "courier", "admin"), (LOCK, *GROUPS, "case-13"), 86_400 * 30),
    (OTHER, "other", ("courier", "unlock"), ("group:floor-1",), 3_600),
)
ZONES = {  # both hemispheres, halves and quarters of hours, negative summers, changes at -1 and over 24 hours, none
    "Europe/Vienna": "CET-1CEST,M3.5.0,M10.5.0/3",
    "Europe/Dublin": "IST-1GMT0,M10.5.0,M3.5.0/1",
    "America/New_York": "EST5EDT,M3.2.0,M11.1.0",
    "America/St_Johns": "NST3:30NDT,M3.2.0,M11.1.0",
    "America/Santiago": "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
    "America/Nuuk": "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
    "Australia/Sydney": "AEST-10AEDT,M10.1.0,M4.1.0/3",
    "Australia/Lord_Howe": "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
    "Pacific/Chatham": "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45",
    "Asia/Jerusalem": "IST-2IDT,M3.4.4/26,M10.5.0",
    "Asia/Kathmandu": "<+0545>-5:45",
    "UTC": "UTC0",
}
ODD_ZONES = (  # in no database, but POSIX
    "XXX3YYY2,J60/0,J365/23:59:59",
    "XXX-3YYY,59,300/-24",
    "XXX24YYY-24,M1.1.0/-167,M12.5.6/167",
    "<+0330>-3:30:15<+04>-4,J1/0,J365/25",
)
ISS, SUB, AUD, EXP, NBF, IAT, CTI, CNF, SCOPE = range(1, 10)
CNONCE, EXI = 39, 40
WINDOWS, UV, USES, PERSONS, REF, REVOKE, DURESS = range(-70001, -70008, -1)
NEAR = (-1, 0, 1)


@dataclass
class Draft:
    """A case in the making. `lock` holds the fields of a lock file, `act` those of an act."""

    draw: random.Random
    zone: str
    at_s: int
    claims: dict[Any, Any]
    lock: dict[str, Any] = field(default_factory=dict)
    act: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, int] = field(default_factory=dict)
    signer: PrivateKey = HQ
    is_tampered: bool = False
    cnonces: dict[str, int | None] = field(default_factory=dict)

    @property
    def kid(self) -> bytes:
        return self.signer.public.kid

    def near(self, value: int) -> int:
        return max(0, value + self.draw.choice(NEAR))

    def some(self, values: Any) -> Any:
        return self.draw.choice(list(values))


@lru_cache
def change_times(posix_tz: str) -> list[int]:
    """Return when clocks change, 2025 to 2034, found by asking every hour."""
    zone = LocalTime(posix_tz)
    first_s = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
    found = []
    before = None
    for unix_s in range(first_s, first_s + 10 * 366 * 86_400, 1800):
        moment = zone.at(unix_s)
        offset = moment.day * 1440 + moment.minute - unix_s // 60
        if before is not None and offset != before:
            found.append(unix_s)
        before = offset
    return found


def instant(draw: random.Random, posix_tz: str) -> int:
    """Return a time at which something may happen: a change of clocks, a midnight, a turn of the year, or nothing."""
    kind = draw.randrange(4)
    changes = change_times(posix_tz)
    if kind < 2 and changes:
        return (
            draw.choice(changes)
            + draw.choice((0, 60, 1800, 3600, 7200, 86_400)) * draw.choice(NEAR)
            + draw.choice(NEAR)
        )
    unix_s = draw.randrange(1_735_689_600, 2_051_222_400)
    if kind == 2:
        moment = LocalTime(posix_tz).at(unix_s)
        return unix_s - moment.minute * 60 - unix_s % 60 + draw.choice((-60, -1, 0, 1, 59, 60))
    return unix_s


def windows(draw: random.Random, zone: LocalTime, at_s: int, number: int) -> list[list[int]]:
    """Return windows with edges around the local time at `at_s`."""
    moment = zone.at(at_s)
    today, yesterday = zone.day_bit(moment.day), zone.day_bit(moment.day - 1)
    made = []
    for _ in range(number):
        start, end = draw.randrange(1441), draw.randrange(1441)
        near = min(max(moment.minute + draw.choice((-1, 0, 1, 1)), 0), 1440)
        kind = draw.randrange(4)
        start, end = ((near, end), (start, near), (near, near), (start, end))[kind]
        days = draw.choice((today, yesterday, 255 - today, 127, 128, 255, draw.randrange(1, 256)))
        made.append([days, start, end])
    return made


def holidays(draw: random.Random, zone: LocalTime, at_s: int) -> list[tuple[date, date]]:
    """Return holidays around the local date at `at_s`."""
    today = zone.at(at_s).date
    made = []
    for _ in range(draw.randrange(1, 4)):
        first = today + timedelta(draw.randrange(-3, 3))
        made.append((first, first + timedelta(draw.choice((0, 0, 1, 2, 30)))))
    return made


def make_draft(draw: random.Random) -> Draft:
    """Return a question that would be granted, with up to 3 edges."""
    name = draw.choice([*ZONES, *ODD_ZONES])
    zone = ZONES.get(name, name)
    at_s = instant(draw, zone)
    claims = {
        AUD: LOCK,
        NBF: at_s - draw.randrange(3600),
        EXP: at_s + draw.randrange(1, 3600),
        CTI: draw.randbytes(draw.choice((8, 16))),
        CNF: {1: HOLDERS[0].to_cose_map()},
        SCOPE: "unlock",
    }
    draft = Draft(draw, zone, at_s, claims)
    if draw.random() < 0.5:
        claims[SUB] = b"sub-0"
    chosen = draw.choices(list(EDGES), list(EDGES.values()), k=draw.choice((0, 1, 1, 2, 2, 3)))
    for edge in sorted(chosen, key=(_missing, _malformed).__contains__):  # what breaks the claims comes last
        edge(draft)
    return draft


def _begin(draft: Draft) -> None:
    draft.claims[NBF] = draft.near(draft.at_s)


def _issued(draft: Draft) -> None:
    draft.claims[IAT] = draft.near(draft.at_s)
    if draft.draw.random() < 0.6:
        draft.claims.pop(NBF, None)


def _end(draft: Draft) -> None:
    error_s = draft.some((0, 0, 1, 30, 300))
    draft.lock["time"] = {"state": draft.some(("trusted", "coasting")), "error_s": error_s}
    draft.claims[EXP] = draft.near(draft.at_s + error_s)


def _lifetime(draft: Draft) -> None:
    most_s = next(issuer[4] for issuer in ISSUERS if issuer[0] is draft.signer) if draft.signer is not STRANGER else 60
    if EXI in draft.claims:
        draft.claims[EXI] = min(max(draft.near(most_s), 1), 86_400)
        return
    start_s = draft.claims.get(NBF, draft.claims.get(IAT, 0))
    draft.claims[EXP] = draft.near(start_s + draft.some((0, 1, most_s, most_s, most_s)))


def _far(draft: Draft) -> None:
    draft.claims[draft.some((EXP, NBF, IAT))] = draft.some((0, 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1))


def _windows(draft: Draft) -> None:
    zone = LocalTime(draft.zone, draft.lock.get("holidays", ()))
    draft.claims[WINDOWS] = windows(draft.draw, zone, draft.at_s, draft.some((1, 1, 1, 2, 16, 32)))


def _holidays(draft: Draft) -> None:
    draft.lock["holidays"] = holidays(draft.draw, LocalTime(draft.zone), draft.at_s)
    _windows(draft)


def _user(draft: Draft) -> None:
    draft.act["is_user_verified"] = draft.draw.random() < 0.5
    if draft.draw.random() < 0.5:
        draft.claims[UV] = True
    else:
        draft.settings["uv_required"] = 1


def _risk(draft: Draft) -> None:
    score = draft.some((0, 1, 50, 99, 100))
    draft.lock["risk"] = {"score": score, "rule": "burst"}
    draft.settings[draft.some(("risk_uv", "risk_persons"))] = min(draft.near(score), 100)


def _uses(draft: Draft) -> None:
    draft.claims[USES] = uses = draft.some((1, 1, 2, 5, 1000))
    draft.lock["spent"] = draft.near(uses)


def _action(draft: Draft) -> None:
    draft.act["action"] = draft.some((0, 1, 128, 129, 2, 130, 131, 255))


def _scope(draft: Draft) -> None:
    words = draft.draw.sample(tokens.SCOPES, draft.draw.randrange(1, 6))
    draft.claims[SCOPE] = " ".join(words)
    draft.act["action"] = draft.some((0, 1, 128, 129))


def _audience(draft: Draft) -> None:
    known = (LOCK, *GROUPS, "case-13", "group:other", "", "x" * 32)
    draft.claims[AUD] = draft.some(known) if draft.draw.random() < 0.5 else draft.draw.sample(known, 3)


def _issuer(draft: Draft) -> None:
    draft.signer = draft.some((OTHER, OTHER, STRANGER))
    if draft.draw.random() < 0.5:
        draft.claims[AUD] = "group:floor-1"


def _issuer_name(draft: Draft) -> None:
    draft.claims[ISS] = draft.some(("hq", "other", "", "HQ"))


def _forged(draft: Draft) -> None:
    draft.is_tampered = True


def _lockdown(draft: Draft) -> None:
    draft.lock["scenario"] = {"lockdown": True}
    if draft.draw.random() < 0.4:
        draft.claims[SCOPE] = "unlock admin courier"


def _alarms(draft: Draft) -> None:
    draft.lock["alarms"] = draft.draw.sample(list(ALARMS), draft.draw.randrange(1, 4))
    draft.settings["alarm_blocks"] = draft.draw.randrange(256)


def _revoked(draft: Draft) -> None:
    claims = draft.claims
    what: dict[str, Any] = draft.some(
        (
            {"cti": claims[CTI]},
            {"sub": claims.get(SUB, b"sub-0")},
            {"key": HOLDERS[0].raw},
            {"before": min(draft.near(claims.get(IAT, claims.get(NBF, draft.at_s))), 2**32 - 1)},
            {"before": min(draft.near(claims.get(NBF, draft.at_s)), 2**32 - 1)},
            {"cti": bytes(8)},
            {"sub": b"sub-1"},
            {"key": HOLDERS[1].raw},
        )
    )
    kid = draft.some((draft.kid, draft.kid, OTHER.public.kid))
    draft.lock.setdefault("revoked", []).append({"kid": kid, **what})


def _brought(draft: Draft) -> None:
    known = draft.some((0, 1, 7))
    draft.lock["lists"] = {draft.kid: known}
    previous, sequence = draft.near(known), max(1, draft.near(known + 1))
    before_s = draft.near(min(draft.claims.get(NBF, draft.at_s), 2**32 - 2))
    entry: list[Any] = draft.some(
        (
            [1, draft.claims[CTI], 0],
            [2, draft.claims.get(SUB, b"x"), draft.at_s],
            [3, names.kid(HOLDERS[0].raw), 0],
            [4, before_s, 0],
            [1, bytes(8), 0],
        )
    )
    draft.claims[REVOKE] = [previous, sequence, [entry]]


def _lockout(draft: Draft) -> None:
    holder = draft.some((HOLDERS[0], HOLDERS[0], HOLDERS[1]))
    draft.lock["locked_out"] = [{"key": holder.raw, "until": draft.at_s + draft.some((0, 1, 300, 3600))}]


def _no_time(draft: Draft) -> None:
    draft.lock["time"] = {"state": "untrusted", "error_s": 0}


def _seconds(draft: Draft) -> None:
    """A token with exi, received now or a while ago."""
    claims = draft.claims
    claims.pop(EXP, None)
    claims[EXI] = exi = draft.some((1, 60, 3600, 86_400))
    sequence = draft.some((0, 1, 5, 2**32, 2**64 - 1))
    claims[CTI] = sequence.to_bytes(8, "big") + bytes(draft.draw.random() < 0.05)
    claims[CNONCE] = cnonce = draft.draw.randbytes(16)
    draft.cnonces[cnonce.hex()] = 1000
    if draft.draw.random() < 0.7:
        claims.pop(NBF, None)
    if draft.draw.random() < 0.5:
        _no_time(draft)
    kind = draft.draw.randrange(3)
    if kind == 0:
        draft.lock["receipts"] = {draft.kid: min(draft.near(sequence), 2**64 - 1)}
    elif kind == 1:
        draft.cnonces[cnonce.hex()] = draft.some((None, 0, 299_999, 300_000))
    else:
        draft.act["presented_ago_s"] = max(0, exi + draft.some((-1, -0.001, 0, 0.001, 1)))


def _fresh(draft: Draft) -> None:
    draft.claims[CNONCE] = cnonce = draft.draw.randbytes(16)
    draft.cnonces[cnonce.hex()] = draft.some((None, 0, 300_000))


def _persons(draft: Draft) -> None:
    draft.claims.setdefault(SUB, b"sub-0")
    wanted = draft.some((1, 2, 2, 3))
    if draft.draw.random() < 0.5:
        draft.claims[PERSONS] = wanted
    else:
        draft.settings["persons_required"] = wanted
    if draft.draw.random() < 0.1:
        del draft.claims[SUB]
    draft.settings["persons_window_ms"] = window_ms = draft.some((5000, 30_000, 120_000))
    noted = []
    for n in range(draft.draw.randrange(4)):
        holder, sub = draft.some(HOLDERS[n : n + 2]), b"sub-%d" % draft.some((n, n + 1))
        claims = {
            AUD: LOCK,
            NBF: draft.at_s - 60,
            EXP: draft.at_s + 60,
            CTI: b"noted-%02d" % n,
            SUB: sub,
            CNF: {1: holder.to_cose_map()},
            SCOPE: "unlock hold",
        }
        if draft.draw.random() < 0.5:
            claims |= draft.some(
                (
                    {EXP: draft.at_s + draft.some((0, 1))},
                    {AUD: "group:other"},
                    {PERSONS: 2},
                    {PERSONS: 3},
                    {UV: True},
                    {USES: 1},
                    {SCOPE: "hold"},
                    {WINDOWS: windows(draft.draw, LocalTime(draft.zone), draft.at_s, 1)},
                )
            )
        ago_ms = draft.some((0, 1, window_ms - 1, window_ms, window_ms + 1)) if draft.draw.random() < 0.5 else 100
        action = draft.some(("unlock", "unlock", "unlock", "hold"))
        noted.append({"token": tokens.sign(claims, HQ), "action": action, "seconds_ago": ago_ms / 1000})
    draft.lock["noted"] = noted


def _broken(draft: Draft) -> None:
    draft.lock["broken"] = [draft.some(("configuration", "scenario", "receipts"))]


# fmt: off
_MALFORMED = (
    (10, 1), (-70008, True), ("x", 1), (EXP, -1), (EXP, True), (EXP, "1"), (EXI, 0), (EXI, 86_401), (EXI, 60),
    (NBF, -1), (IAT, True), (ISS, "x" * 33), (SUB, b""), (SUB, b"x" * 17), (AUD, []), (AUD, ["x"] * 9),
    (AUD, "x" * 33), (AUD, 1), (CTI, bytes(7)), (CTI, bytes(17)), (CNF, {1: {1: 1, -1: 6, -2: bytes(31)}}),
    (CNF, {1: {1: 1, -1: 6, -2: bytes(32), 2: b""}}), (CNF, {}), (SCOPE, "unlock  hold"),
    (SCOPE, "unlock unlock"), (SCOPE, "open"), (SCOPE, ""), (CNONCE, bytes(15)), (WINDOWS, []),
    (WINDOWS, [[1, 0, 1]] * 33), (WINDOWS, [[0, 0, 1]]), (WINDOWS, [[256, 0, 1]]), (WINDOWS, [[1, 0, 1441]]),
    (WINDOWS, [[1, -1, 1]]), (WINDOWS, [[1, 0]]), (UV, False), (UV, 1), (USES, 0), (USES, 1001), (PERSONS, 0),
    (PERSONS, 4), (REF, b""), (REF, bytes(33)), (REVOKE, [0, 1]), (REVOKE, [0, 0, []]),
    (REVOKE, [0, 1, [[5, b"x", 0]]]), (REVOKE, [0, 1, [[1, b"x", 0]]]), (REVOKE, [0, 1, [[4, 1, 1]]]),
    (REVOKE, [0, 1, [[3, bytes(9), 0]]]), (REVOKE, [0, 2**32, []]), (DURESS, False),
)
# fmt: on


def _malformed(draft: Draft) -> None:
    claims = draft.claims
    key, value = draft.some(_MALFORMED)
    claims[key] = value


def _missing(draft: Draft) -> None:
    draft.claims.pop(draft.some((AUD, EXP, NBF, CTI, CNF, SCOPE)), None)


def _plain(draft: Draft) -> None:
    """What changes nothing."""
    draft.claims.update(draft.some(({REF: b"sale"}, {DURESS: True})))


EDGES = {  # with their weights
    _begin: 3,
    _issued: 2,
    _end: 4,
    _lifetime: 3,
    _far: 1,
    _windows: 10,
    _holidays: 5,
    _user: 3,
    _risk: 3,
    _uses: 3,
    _action: 2,
    _scope: 3,
    _audience: 3,
    _issuer: 2,
    _issuer_name: 1,
    _forged: 1,
    _lockdown: 2,
    _alarms: 3,
    _revoked: 4,
    _brought: 3,
    _lockout: 2,
    _no_time: 2,
    _seconds: 5,
    _fresh: 1,
    _persons: 7,
    _broken: 1,
    _malformed: 3,
    _missing: 1,
    _plain: 1,
}
