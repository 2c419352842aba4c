"""A lock's report on itself (SPEC.md section 19): fetching it, and how far it is to be believed.

It comes from a stranger until its tag was checked: its size, form and numbers are bounded here.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from .. import cbor, names, protocol, tokens, when
from ..audit.sealed import Keys
from ..errors import ToolError
from ..phone import Phone
from ..protocol import Op, ProtocolError, Status

MAX_REPORT: Final = 4096
FORMAT: Final = 1
_PROTECTED: Final = b"\xa1\x01\x05"  # alg: HMAC 256/256
_LABEL: Final = b"vitrine/doctor"
_CHALLENGE_SIZE: Final = 16
_TAG_SIZE: Final = 32

Check = Callable[[Any], bool]


class Refused(ToolError):
    """The lock does not tell: nobody has shown it a right to ask."""


def _of(*types: type) -> Check:
    return lambda value: type(value) in types


def _array(*each: Check) -> Check:
    return lambda value: isinstance(value, list) and len(value) == len(each) and all(map(_is, each, value))


def _many(each: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(each, value))


def _is(check: Check, value: Any) -> bool:
    return check(value)


def _maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_number(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_tasks(value: Any) -> bool:
    return isinstance(value, dict) and all(type(key) is str and _is_number(item) for key, item in value.items())


_NUMBER: Final = _is_number
_TEXT, _FLAG, _BYTES = _of(str), _of(bool), _of(bytes)
_MAYBE_NUMBER, _MAYBE_FLAG, _MAYBE_BYTES = _maybe(_NUMBER), _maybe(_FLAG), _maybe(_BYTES)
_LINK: Final = _maybe(_array(_FLAG, _TEXT))
# by key of SPEC.md section 19, from 4 on; a part that cannot tell is null
_FORMS: Final[dict[int, Check]] = {
    4: _many(_TEXT),
    5: _array(_TEXT, _NUMBER, _TEXT, _NUMBER, _MAYBE_BYTES, _NUMBER, _MAYBE_BYTES),
    6: _many(_array(_BYTES, _NUMBER, _NUMBER)),
    7: _array(_NUMBER, _BYTES, *[_NUMBER] * 9),
    8: _array(_FLAG, _NUMBER, _NUMBER),
    9: _array(*[_NUMBER] * 6),
    10: _many(_TEXT),
    11: _array(_NUMBER, _NUMBER, _MAYBE_NUMBER, _TEXT, _NUMBER),
    12: _array(_NUMBER, _NUMBER),
    13: _array(_MAYBE_NUMBER, _NUMBER, _NUMBER),
    14: _is_tasks,
    15: _many(_TEXT),
    16: _array(_NUMBER, _LINK, _LINK),
    17: _array(_NUMBER, _NUMBER, _FLAG, _many(_NUMBER), _TEXT),
    18: _array(*[_MAYBE_NUMBER] * 3, *[_MAYBE_FLAG] * 4),
    19: _array(_NUMBER, _NUMBER),
    20: _array(_MAYBE_FLAG, _MAYBE_FLAG, _FLAG),
    21: _NUMBER,
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a lock said: by key of SPEC.md section 19. Believe it only as far as `is_authentic` says."""

    lock_id: str
    told: dict[int, Any]
    payload: bytes
    tag: bytes

    @property
    def epoch(self) -> int | None:
        """Which journal it says that it has."""
        journal = self.told[7]
        return None if journal is None else journal[2]

    def is_authentic(self, keys: Keys) -> bool:
        """Tell whether the lock whose keys these are made it."""
        structure = cbor.encode(["MAC0", _PROTECTED, b"", self.payload])
        return hmac.compare_digest(self.tag, hmac.digest(report_key(keys), structure, "sha256"))


def report_key(keys: Keys) -> bytes:
    """Return the key under which a lock reports."""
    return hmac.digest(keys.secrets[1], _LABEL, "sha256")


def read(data: bytes, challenge: bytes, lock_id: str) -> Diagnosis:
    """Return what `data` says; ProtocolError if it is no report of this lock on this challenge."""
    try:
        message = cbor.decode(data, MAX_REPORT)
        protected, unprotected, payload, tag = message
        told = cbor.decode(payload, MAX_REPORT) if isinstance(payload, bytes) else None
    except (cbor.CborError, TypeError, ValueError):
        raise ProtocolError("a report that is not CBOR as it must be") from None
    if protected != _PROTECTED or unprotected != {} or not isinstance(tag, bytes) or len(tag) not in (0, _TAG_SIZE):
        raise ProtocolError("a report that is no COSE_Mac0 of a lock")
    if not isinstance(told, dict) or told.get(1) != FORMAT:
        raise ProtocolError("a report of another format: this program is older than the lock, or newer")
    if told.get(2) != challenge:
        raise ProtocolError("a report that is not the answer to this question")
    if told.get(3) != lock_id:
        raise ProtocolError(f"a report on {told.get(3)!r}, not on {lock_id!r}")
    for key, check in _FORMS.items():
        if key not in told or not (told[key] is None or check(told[key])):
            raise ProtocolError(f"a report with something else in {key} than belongs there")
    return Diagnosis(names.check_lock_id(lock_id), told, payload, tag)


async def fetch(phone: Phone, lock_id: str) -> Diagnosis:
    """Ask for the report in a session to which service was granted; Refused, LinkError or ProtocolError."""
    challenge = secrets.token_bytes(_CHALLENGE_SIZE)
    data = b""
    while True:
        status, body = await phone.ask(Op.DOCTOR, {1: challenge, 2: len(data)})
        if status != Status.OK:
            raise Refused("the lock does not report to who was not granted service in this session")
        piece, length = (body.get(1), body.get(2)) if isinstance(body, dict) else (None, None)
        if not isinstance(piece, bytes) or type(length) is not int or not 0 < length <= MAX_REPORT:
            raise ProtocolError("a piece of a report that is none")
        data += piece
        if len(data) >= length:
            return read(data[:length], challenge, lock_id)
        if not piece:
            raise ProtocolError("a report that ends before its end")


# the report in words

_SWITCH: Final = ("shorted", "closed", "open", "cut")
_RESET: Final = {1: "power on", 2: "hard reset", 3: "watchdog", 4: "deep sleep", 5: "soft reset"}


def facts(report: Diagnosis) -> list[tuple[str, str]]:
    """Return names and values for a person."""
    told = report.told
    rows: list[tuple[str, str]] = []
    for name, key, say in (
        ("software", 5, _software),
        ("groups", 4, lambda groups: " ".join(groups) or "none"),
        ("issuers", 6, _issuers),
        ("journal", 7, _journal),
        ("ledger", 9, lambda it: f"{it[0]} revocations, {it[1]} spent uses, generation {it[2]}"),
        ("time", 11, _time),
        ("heap", 12, lambda it: f"{it[0]} bytes free" + (f", {it[1]} at the least" if it[1] else "")),
        ("start", 13, _start),
        ("door", 17, _door),
        ("sensors", 18, _sensors),
        ("links", 16, _links),
        ("sequences", 19, lambda it: f"configuration {it[0]}, scenario {it[1]}"),
        ("posture", 20, _posture),
    ):
        rows.append((name, "could not be told" if told[key] is None else say(told[key])))
    return rows


def plain(report: Diagnosis) -> dict[str, Any]:
    """Return the report for scripts: names for numbers, bytes in hexadecimal."""
    told = report.told
    return {
        name: _plain(told[key]) if form is None else _named(told[key], form) for key, (name, form) in _NAMES.items()
    }


_NAMES: Final[dict[int, tuple[str, str | None]]] = {
    4: ("groups", None),
    5: ("software", "version sequence board slot bundle image_sequence image"),
    6: ("issuers", "kid scopes revocations"),
    7: ("journal", "count head epoch acknowledged sealed sectors bad free least_erases most_erases folded"),
    8: ("evidence", "sound missed dropped"),
    9: ("ledger", "revoked spent generation free bad state"),
    10: ("troubles", None),
    11: ("time", "unix state error_s cause floor"),
    12: ("heap", "free least"),
    13: ("start", "reset_cause too_soon uptime_s"),
    14: ("tasks", None),
    15: ("silent", None),
    16: ("links", "connections wifi broker"),
    17: ("door", "lock_state door_state strike alarms scenario"),
    18: ("sensors", "battery_mv switch_mv switch bolt_drawn housing_open motion exit_pressed"),
    19: ("sequences", "configuration scenario"),
    20: ("posture", "secure_boot flash_encryption console_open"),
    21: ("tables_waiting", None),
}


def _named(value: Any, form: str) -> Any:
    if value is None:
        return None
    if value and all(isinstance(each, list) for each in value) and form.startswith("kid"):
        return [_named(each, form) for each in value]
    return {name: _plain(each) for name, each in zip(form.split(), value, strict=False)}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _software(it: Any) -> str:
    version, sequence, board, slot, bundle, image_sequence, image = it
    where = "of the image" if not slot else f"in slot {'?AB'[slot] if slot < 3 else slot}"
    text = f"{version} (sequence {sequence}, {where}) on {board}"
    if slot:
        text += f", image {image_sequence}"
    for name, digest in (("bundle", bundle), ("image", image)):
        if digest is not None:
            text += f", {name} {digest.hex()[:16]}"
    return text


def _issuers(it: Any) -> str:
    def scopes(mask: int) -> str:
        return " ".join(word for bit, word in enumerate(tokens.SCOPES) if mask >> bit & 1)

    return "; ".join(f"{kid.hex()} ({scopes(mask)}; revocations {number})" for kid, mask, number in it)


def _journal(it: Any) -> str:
    count, head, epoch, acknowledged, sealed, sectors, bad, free, least, most, _ = it
    seal = "sealed" if sealed else "UNSEALED"
    return (
        f"{count} records, {acknowledged} acknowledged, {seal}, head {head.hex()[:16]}, epoch {epoch}; "
        f"{sectors} sectors, {free} free, {bad} bad, {least} to {most} erases"
    )


def _time(it: Any) -> str:
    unix_s, state, error_s, cause, _ = it
    text = f"{when.time_text(unix_s)}, {protocol.state_name(protocol.TIME_STATES, state)}"
    return text + (f", {error_s} s off at most" if error_s is not None else "") + (f" ({cause})" if cause else "")


def _start(it: Any) -> str:
    return f"{_RESET.get(it[0], 'unknown cause')}, {when.duration_text(it[2])} ago"


def _door(it: Any) -> str:
    states = protocol.state_name(protocol.LOCK_STATES, it[0]), protocol.state_name(protocol.DOOR_STATES, it[1])
    return f"{', '.join(states)}, strike {'on' if it[2] else 'off'}, {it[4]}"


def _sensors(it: Any) -> str:
    battery, switch_mv, switch, bolt, housing, motion, _ = it
    words = [f"door switch {_SWITCH[switch] if switch is not None and 0 <= switch < 4 else switch}"]
    for name, value, unit in (("door switch", switch_mv, "mV"), ("battery", battery, "mV")):
        if value is not None:
            words.append(f"{name} {value} {unit}")
    for value, yes, no in (
        (bolt, "bolt drawn", "bolt home"),
        (housing, "housing OPEN", "housing closed"),
        (motion, "motion", ""),
    ):
        if value is not None and (yes if value else no):
            words.append(yes if value else no)
    return ", ".join(words)


def _links(it: Any) -> str:
    words = [f"{it[0]} connections"]
    for name, link in (("Wi-Fi", it[1]), ("broker", it[2])):
        words.append(f"no {name}" if link is None else f"{name} {'up' if link[0] else 'DOWN'}")
    return ", ".join(words)


def _posture(it: Any) -> str:
    said = {True: "on", False: "off", None: "unknown"}
    return f"secure boot {said[it[0]]}, flash encryption {said[it[1]]}, console {'open' if it[2] else 'closed'}"
