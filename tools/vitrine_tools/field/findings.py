"""What is wrong with a lock, as its report tells, and what to do about it.

`RULES` are asked one by one. A rule says nothing where the lock could not tell: that alone is one finding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from .. import describe, protocol

ERASES_MAX: Final = 100_000  # what a NOR flash is rated for
_WORN: Final = ERASES_MAX // 2
_FREE_LEAST: Final = 24 * 1024  # one comb table and one TLS record, twice
_STARTS_MANY: Final = 3  # provisioning ends one or two; at 4 the lock raises an alarm by itself
_UNACKNOWLEDGED_PER_SECTOR: Final = 30  # of a sector of 4 KB, as records are
_REVOKED_MAX, _SPENT_MAX = 2000, 4096  # SPEC.md section 13
_FULL: Final = 0.95
_ERROR_S: Final = 60
_RESET_WATCHDOG: Final = 3
_ADMIN, _UPDATE = 16, 32
_SHORTED, _CUT = 0, 3
_ALARM_ADVICE: Final = {
    0: "look at bolt, strike plate and cable: the bolt does not follow the strike",
    5: "close the housing; look who opened it, and when, in the records",
    6: "look who was there; a grant or a closed door ends it",
    7: "close the door",
    128: "close the door",
    129: "mend the door switch's line",
    130: "mend the door switch's line: somebody may have bridged it",
    131: "look at bolt and strike driver at once: the door may be open to anybody",
    132: "look at the exit button",
    133: "change the battery, or look at the supply",
    134: "look at the supply: it breaks down under load",
}
_PARTS: Final = {
    5: "software",
    6: "issuers",
    8: "evidence",
    11: "time",
    12: "heap",
    13: "start",
    14: "tasks",
    16: "links",
    17: "door",
    18: "sensors",
    19: "sequences",
    20: "posture",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`is_wrong`: something to put right; else only to be known."""

    name: str
    is_wrong: bool
    what: str
    advice: str


Told = dict[int, Any]
Rule = Callable[[Told], Iterator[Finding]]


def _wrong(name: str, what: str, advice: str) -> Finding:
    return Finding(name, True, what, advice)


def _note(name: str, what: str, advice: str) -> Finding:
    return Finding(name, False, what, advice)


def _silence(told: Told) -> Iterator[Finding]:
    dumb = [name for key, name in _PARTS.items() if told[key] is None]
    if dumb:
        yield _wrong("silence", f"it could not tell: {', '.join(dumb)}", "start it again; then see its Fault records")


def _evidence(told: Told) -> Iterator[Finding]:
    journal = told[7]
    if told[8] is not None:
        is_sound, missed, dropped = told[8]
        if not is_sound:
            yield _wrong("evidence", "it opens for nobody: what it does could not be proved", "see the journal below")
        if missed:
            yield _wrong("missed", f"{missed} events of this start are in no record", "pull its records, then start it")
        if dropped:
            yield _wrong("dropped", f"{dropped} of its listeners failed and were cut off", "start it again")
    if journal is None:
        advice = "pull what is left with `vitrine audit verify --image`, then provision it again"
        yield _wrong("journal", "it has no journal, or one that it cannot take up", advice)
        return
    count, _, _, acknowledged, sealed, sectors, bad, free, _, most, folded = journal
    if not sealed:
        yield _wrong("unsealed", "it has lost its seal's key: its records prove nothing", "provision it again")
    if bad:
        yield _wrong("journal-worn", f"{bad} of {sectors} journal sectors are bad", "replace the board before long")
    elif most >= _WORN:
        yield _note("journal-wear", f"a journal sector was erased {most} times", f"flash is good for {ERASES_MAX}")
    waiting = count - acknowledged
    if waiting > sectors * _UNACKNOWLEDGED_PER_SECTOR // 2:
        advice = "fetch them: `vitrine unlock --courier`, or see why its collector does not"
        yield _wrong("uncollected", f"{waiting} records wait for a collector", advice)
    if free < 4 and not bad:
        yield _note("journal-full", "the journal is full: it gives up its oldest records", "fetch its records")
    if folded:
        advice = "look who tries, in its records"
        yield _note("flood", f"{folded} refusals came so fast that they were only counted", advice)


def _ledger(told: Told) -> Iterator[Finding]:
    if told[9] is None:
        advice = "provision it again: what was revoked is not known any more"
        yield _wrong("ledger", "its ledger cannot be read: it opens for nobody", advice)
        return
    revoked, spent, _, free, bad, state = told[9]
    if state == 1:
        yield _wrong("ledger-damaged", "a part of its ledger is damaged: some tokens are refused", "provision it again")
    elif state == 2 or bad > 2:
        yield _wrong("ledger-worn", f"its ledger wears out: {bad} bad sectors, {free} free", "replace the board")
    for name, number, most in (("revocations", revoked, _REVOKED_MAX), ("spent uses", spent, _SPENT_MAX)):
        if number >= most * _FULL:
            advice = "revoke all from before a time instead" if name == "revocations" else "give tokens fewer uses"
            yield _wrong("ledger-full", f"{number} {name} of {most} at most", advice)


def _rules(told: Told) -> Iterator[Finding]:
    for trouble in told[10] or ():
        name = trouble.partition(":")[2]
        advice = {
            "configuration": "send it anew: `vitrine config apply`",
            "scenario": "send it anew: `vitrine command release`",
        }.get(name, "provision it again")
        yield _wrong("rules", f"its {trouble} is missing or damaged", advice)


def _time(told: Told) -> Iterator[Finding]:
    if told[11] is None:
        return
    _, state, error_s, cause, _ = told[11]
    if state == 0:
        why = f" ({cause})" if cause else ""
        yield _wrong("time", f"it does not know the time{why}", "tell it: `vitrine command time`")
    elif state == 2:
        yield _note("coasting", "nobody has told it the time for long", "tell it: `vitrine command time`")
    if error_s is not None and error_s > _ERROR_S:
        yield _note("error", f"its clock may be {error_s} s off", "tell it the time: `vitrine command time`")


def _start(told: Told) -> Iterator[Finding]:
    if told[12] is not None:
        least = min((number for number in told[12] if number), default=0)
        if least < _FREE_LEAST:
            yield _wrong(
                "heap", f"only {least} bytes of the heap were free", "start it again; if it stays so, report it"
            )
    if told[13] is not None:
        cause, too_soon, _ = told[13]
        if cause == _RESET_WATCHDOG:
            yield _wrong("watchdog", "its watchdog started it: it hung", "pull its records and report it")
        if too_soon >= _STARTS_MANY:
            yield _wrong(
                "starts", f"{too_soon} starts right before this one ended within a minute", "look at its supply"
            )
        elif too_soon:
            yield _note("starts", "a start right before this one ended within a minute", "look, unless a tool ended it")
    for name in told[15] or ():
        yield _wrong("silent", f"its task {name} does not answer", "start it again, then report it")
    for name, restarts in (told[14] or {}).items():
        if restarts:
            yield _note("restarts", f"its task {name} was started again {restarts} times", "see its Fault records")


def _links(told: Told) -> Iterator[Finding]:
    if told[16] is None:
        return
    advice = {
        "no-network": "is the network there, and WPA2 or better?",
        "password": "write the network's passphrase anew: `vitrine provision`",
        "tls": "look at certificates and the broker's name",
        "denied": "look at the broker's access rules",
    }
    for name, link in (("wifi", told[16][1]), ("broker", told[16][2])):
        if link is not None and not link[0]:
            cause = link[1]
            what = f"it is not connected to its {'network' if name == 'wifi' else 'broker'}"
            yield _wrong(name, what + (f" ({cause})" if cause else ""), advice.get(cause, "look at the network"))


def _door(told: Told) -> Iterator[Finding]:
    if told[17] is None:
        return
    lock_state, door_state, strike_on, alarms, scenario = told[17]
    for alarm in alarms:
        name = protocol.ALARMS.get(alarm, f"alarm {alarm}")
        yield _wrong("alarm", f"{name}: {describe.alarm_text(alarm)}", _ALARM_ADVICE.get(alarm, "see its records"))
    if scenario == "lockdown":
        yield _note("lockdown", "it is in lockdown: only the scope admin opens", "`vitrine command release` ends it")
    elif scenario == "shadow":
        yield _note("shadow", "it only looks on, and moves nothing", "`vitrine command shadow off` ends it")
    if strike_on and scenario == "normal":
        yield _note("strike", "its strike has current now", "somebody is opening it")
    if door_state == 1 and lock_state != 1 and not strike_on and scenario == "normal":
        yield _note("settling", "its door is closed and not yet locked", "ask again in a moment")


def _sensors(told: Told) -> Iterator[Finding]:
    if told[18] is None:
        return
    _, mv, switch, bolt, housing, _, button = told[18]
    if switch in (_SHORTED, _CUT):
        name = "shorted" if switch == _SHORTED else "cut"
        value = "" if mv is None else f" ({mv} mV)"
        yield _wrong("switch", f"the door switch's line is {name}{value}", "mend it: the door counts as open")
    if housing:
        yield _wrong("housing", "its housing is open", "close it")
    if button:
        yield _note("button", "its exit button is pressed", "if nobody does: look at its cable")
    if bolt and told[17] is not None and told[17][0] == 1:
        yield _wrong("bolt", "it says Locked, and its bolt is drawn", "look at bolt and bolt switch at once")


def _posture(told: Told) -> Iterator[Finding]:
    if told[20] is None:
        return
    secure_boot, encrypted, _ = told[20]
    advice = "use an image with it, and burn the eFuses, before it goes into service"
    for name, value, lacking in (
        ("secure-boot", secure_boot, "runs any image that is written to its flash"),
        ("flash-encryption", encrypted, "keeps its keys readable for who takes its flash"),
    ):
        if value is False:
            yield _note(name, f"it {lacking}: no {name.replace('-', ' ')}", advice)
        elif value is None:
            yield _note(name, f"it cannot tell whether it has {name.replace('-', ' ')}", "its board names no eFuse")


def _issuers(told: Told) -> Iterator[Finding]:
    if told[6] is None:
        return
    scopes = 0
    for _, mask, _ in told[6]:
        scopes |= mask
    if not scopes & _ADMIN:
        yield _note("no-admin", "no issuer of it has the scope admin", "nobody can tell it the time or configure it")
    if not scopes & _UPDATE:
        yield _note("no-update", "no issuer of it has the scope update", "nobody can update it but over its wire")
    if told[21]:
        yield _note("tables", f"{told[21]} key tables are yet to be made", "until then it verifies more slowly")


RULES: Final[tuple[Rule, ...]] = (
    _silence,
    _evidence,
    _ledger,
    _rules,
    _door,
    _sensors,
    _time,
    _start,
    _links,
    _posture,
    _issuers,
)


def judge(told: Told) -> list[Finding]:
    """Return what there is to say, the worst first."""
    found = [finding for rule in RULES for finding in rule(told)]
    return sorted(found, key=lambda finding: not finding.is_wrong)
