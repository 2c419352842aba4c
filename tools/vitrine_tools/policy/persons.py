"""Openings that need more than one person (SPEC.md section 3.4)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from .. import tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .case import Case
    from .lock_file import Noted

    Person = tuple[bytes, bytes]  # sub and holder's key

_BY_RISK: Final = 2


def count(case: "Case", is_still_good: "Callable[[Case], bool]") -> tuple[int, int]:
    """Return (how many must ask, how many of them have): the token, the fixture or the risk want so many.

    `is_still_good` judges again whoever is noted with a token. A holder whose own token wants more persons takes part
    only where so many are there, so those who want the fewest are counted first.
    """
    wanted = case.claims.persons or 1
    if case.opens:
        wanted = max(wanted, case.lock.settings.persons_required)
        if case.is_risky(case.lock.settings.risk_persons):
            wanted = max(wanted, _BY_RISK)
    asked = 1
    for others_want in sorted(_others(case, is_still_good)) if wanted > 1 else ():
        if asked < wanted:
            asked, wanted = asked + 1, max(wanted, others_want)
    return wanted, asked


def _others(case: "Case", is_still_good: "Callable[[Case], bool]") -> "Iterator[int]":
    """Yield how many persons each of those wants who asked for the same in time, and are not the holder."""
    if case.claims.sub is None:
        return
    me = (case.claims.sub, case.claims.holder.raw)
    noted: list[tuple[Person, Noted]] = []
    for entry in (*case.lock.noted, *case.act.noted):
        person = _person(entry)
        if person is not None:
            # a lock keeps each person once: whoever shares a sub or a key with a later one counts as the same
            noted = [(known, kept) for known, kept in noted if _differ(known, person)] + [(person, entry)]
    for person, entry in noted:
        is_in_time = entry.seconds_ago * 1000 <= case.lock.settings.persons_window_ms
        if not _differ(person, me) or entry.action_number != case.act.action or not is_in_time:
            continue
        if entry.token is None:
            yield 1
            continue
        again = replace(case, token=tokens.parse(entry.token), act=replace(case.act, presented_ago_s=entry.seconds_ago))
        if is_still_good(again):
            yield again.claims.persons or 1


def _person(entry: "Noted") -> "Person | None":
    """Return who is noted, None for nobody in particular; a key that is not given is one of its own."""
    if entry.token is None:
        sub = entry.sub or b""
        return sub, entry.key or b"key of " + sub
    claims = tokens.parse(entry.token).claims
    return None if claims.sub is None else (claims.sub, claims.holder.raw)


def _differ(one: "Person", other: "Person") -> bool:
    return one[0] != other[0] and one[1] != other[1]
