"""How the lock is: one report about all its parts, under a key that only it and its collectors have.

Owns which part tells what, and the bytes: SPEC.md section 19. Judges nothing; `vitrine doctor` does. Loaded when it is
first asked for. A part that cannot tell is null, and keeps nobody else from telling.
"""

import gc

from micropython import const

from vitrine.access.ledger import REVOKED, SPENT
from vitrine.codec import cbor
from vitrine.crypto.hmac256 import hmac_sha256

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .dispatch import Dispatch

_FORMAT = const(1)
_PROTECTED = const(b"\xa1\x01\x05")  # alg: HMAC 256/256
_LABEL = const(b"vitrine/doctor")
_UNKNOWN_S = const(0xFFFFFFFF)


def report(dispatch: "Dispatch", challenge: bytes) -> bytes:
    """Return the report, a COSE_Mac0 of at most 4 KB, with `challenge` in it.

    dispatch.parts: by the names used here, the lock's parts; `about()` returns (acknowledge key or empty, what section
    19 has under 5, reset cause, secure boot, flash encryption). wifi, sync: only on a lock that has them.
    """
    gc.collect()
    parts = dispatch.parts
    about: "Any" = _told(parts["about"]) or (b"", None, None, None, None)
    told: "dict[int, Any]" = {1: _FORMAT, 2: challenge, 5: about[1]}
    for key, tell in (
        (6, lambda: _issuers(parts)),
        (7, lambda: _journal(dispatch.evidence)),
        (8, lambda: [dispatch.evidence.is_sound, dispatch.evidence.missed, parts["events"].dropped]),
        (9, lambda: _ledger(parts["judgement"].ledger)),
        (10, lambda: parts["judgement"].troubles),
        (11, lambda: _time(dispatch.clock)),
        (12, lambda: _heap(parts["supervisor"])),
        (13, lambda: [about[2], parts["starts"].ended_soon, parts["supervisor"].uptime_s]),
        (14, lambda: {vote.name: vote.restarts for vote in parts["supervisor"].votes}),
        (15, lambda: [vote.name for vote in parts["supervisor"].votes if vote.is_missed]),
        (16, lambda: [dispatch.sessions, _link(parts.get("wifi")), _link(parts.get("sync"))]),
        (17, lambda: _door(dispatch.lock, parts["hardware"].strike, parts["scenario"])),
        (18, lambda: _sensors(parts["hardware"])),
        (19, lambda: [parts["configuration"].sequence, parts["scenario"].sequence]),
        (20, lambda: [about[3], about[4], dispatch.is_in_service()]),
        (21, lambda: dispatch.keys.waiting),
    ):
        told[key] = _told(tell)
    provision = parts["identity"].provision
    told[3] = provision.lock_id
    told[4] = provision.groups
    payload = cbor.encode(told)
    tag = b""
    if about[0]:
        tag = hmac_sha256(hmac_sha256(about[0], _LABEL), cbor.encode(["MAC0", _PROTECTED, b"", payload]))
    return cbor.encode([_PROTECTED, {}, payload, tag])


def _told(tell: "Callable[[], Any]") -> "Any":
    try:
        return tell()
    except Exception:  # noqa: BLE001
        # it is sick: the others are heard all the same, and what it has is on record where it happened
        return None


def _issuers(parts: "dict[str, Any]") -> "list[Any]":
    sequence = parts["judgement"].rules.revocations.sequence
    return [[each.kid, each.scopes, sequence(each.kid)] for each in parts["identity"].provision.issuers]


def _journal(evidence) -> "list[Any] | None":
    journal = evidence.journal
    if journal is None:
        return None
    stats = journal.stats()
    names = ("acknowledged", "sealed", "sectors", "bad", "free", "wear_min", "wear_max", "folded")
    return [journal.count, journal.head, journal.epoch] + [stats[name] for name in names]


def _ledger(ledger) -> "list[Any]":
    return [ledger.count(REVOKED), ledger.count(SPENT)] + ledger.stats()


def _time(clock) -> "list[Any]":
    unix_s, time_state, error_s = clock.instant()
    return [unix_s, time_state, None if error_s == _UNKNOWN_S else error_s, clock.cause, clock.floor_s]


def _heap(supervisor) -> "list[int]":
    free = gc.mem_free()  # pyright: ignore[reportAttributeAccessIssue]
    return [free, min(free, supervisor.least_free or free)]


def _link(link) -> "list[Any] | None":
    return None if link is None else [link.is_up, link.cause]


def _door(door, strike, scenario) -> "list[Any]":
    return [door.lock_state, door.door_state, strike.is_energised, list(door.alarms), scenario.name]


def _sensors(hardware) -> "list[Any]":
    sensors, inputs = hardware.sensors, hardware.inputs
    levels = [sensors.bolt, sensors.tamper, sensors.motion, inputs.rex_pressed]
    return [sensors.battery_mv, inputs.switch_mv, inputs.switch] + levels
