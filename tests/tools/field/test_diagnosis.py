"""Reports on locks: which are believed, what is made of them in words, and no crash on any bytes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine_tools import cbor
from vitrine_tools.audit.sealed import Keys
from vitrine_tools.field import diagnosis, findings
from vitrine_tools.protocol import ProtocolError, Status

LOCK, EPOCH = "case-12", 1_800_000_000
KEYS = Keys(b"r" * 32, LOCK, EPOCH)
CHALLENGE = b"c" * 16

WELL = {
    1: 1,
    2: CHALLENGE,
    3: LOCK,
    4: ["group:jewellery"],
    5: ["0.7.0", 7, "VITRINE_ESP32S3", 1, b"b" * 32, 7, b"i" * 32],
    6: [[b"k" * 8, 63, 4]],
    7: [120, b"h" * 32, EPOCH, 100, 1, 128, 0, 100, 1, 900, 0],
    8: [True, 0, 0],
    9: [3, 14, 2, 13, 0, 0],
    10: [],
    11: [EPOCH + 60, 1, 2, "", EPOCH],
    12: [90_000, 61_000],
    13: [1, 0, 3600],
    14: {"door": 0, "ble": 0},
    15: [],
    16: [1, [True, ""], [True, ""]],
    17: [1, 1, False, [], "normal"],
    18: [4980, 1052, 1, False, False, False, False],
    19: [4, 5],
    20: [True, True, False],
    21: 0,
}


def made(changes=None, key=None, protected=b"\xa1\x01\x05"):
    """A report as a lock would make it."""
    payload = cbor.encode(WELL | (changes or {}))
    structure = cbor.encode(["MAC0", b"\xa1\x01\x05", b"", payload])
    tag = diagnosis.hmac.digest(key or diagnosis.report_key(KEYS), structure, "sha256")
    return cbor.encode([protected, {}, payload, tag])


def read(data):
    return diagnosis.read(data, CHALLENGE, LOCK)


def test_a_report_of_the_lock_is_believed_and_of_nobody_else():
    report = read(made())
    assert report.is_authentic(KEYS) and report.epoch == EPOCH and report.lock_id == LOCK
    assert not report.is_authentic(Keys(b"s" * 32, LOCK, EPOCH))
    assert not report.is_authentic(Keys(b"r" * 32, LOCK, EPOCH + 1))
    assert not report.is_authentic(Keys(b"r" * 32, "case-13", EPOCH))
    assert not read(made(key=KEYS.secrets[1])).is_authentic(KEYS)  # not the key of acknowledgements
    data = bytearray(made())
    data[data.index(b"0.7.0")] ^= 1
    assert not read(bytes(data)).is_authentic(KEYS)
    message = cbor.decode(made(), 4096)
    assert not read(cbor.encode([*message[:3], b""])).is_authentic(KEYS)


def test_what_is_no_report():
    for data, words in (
        (b"", "not CBOR"),
        (cbor.encode(1), "not CBOR"),
        (cbor.encode([1, 2, 3]), "not CBOR"),
        (cbor.encode([b"\xa1\x01\x05", {}, b"\xff", bytes(32)]), "not CBOR"),
        (cbor.encode([b"\xa1\x01\x05", {}, None, bytes(32)]), "another format"),
        (cbor.encode([b"\xa1\x01\x05", {}, b"\x01", bytes(31)]), "no COSE_Mac0"),
        (made(protected=b"\xa1\x01\x04"), "no COSE_Mac0"),
        (made({1: 2}), "another format"),
        (made({2: b"d" * 16}), "not the answer"),
        (made({3: "case-13"}), "case-13"),
        (made({5: ["0.7.0"]}), "in 5"),
        (made({7: [-1, *WELL[7][1:]]}), "in 7"),
        (made({14: {"door": "x"}}), "in 14"),
        (made({16: [1, None, [True]]}), "in 16"),
    ):
        with pytest.raises(ProtocolError, match=words):
            read(data)
    told = dict(WELL)
    del told[21]
    with pytest.raises(ProtocolError, match="in 21"):
        read(cbor.encode([b"\xa1\x01\x05", {}, cbor.encode(told), bytes(32)]))


def test_a_well_lock_has_nothing_to_say():
    assert findings.judge(WELL) == []
    assert findings.judge(WELL | {16: [0, None, None], 18: [None] * 2 + [1] + [None] * 4}) == []


def changed(key, index, value):
    return {key: [*WELL[key][:index], value, *WELL[key][index + 1 :]]}


# each rule: what makes it speak, its name, whether it is wrong
CASES = [
    ({5: None}, "silence", True),
    (changed(8, 0, False), "evidence", True),
    (changed(8, 1, 2), "missed", True),
    (changed(8, 2, 1), "dropped", True),
    ({7: None}, "journal", True),
    (changed(7, 4, 0), "unsealed", True),
    (changed(7, 6, 2), "journal-worn", True),
    (changed(7, 9, 60_000), "journal-wear", False),
    (changed(7, 0, 4000), "uncollected", True),
    (changed(7, 7, 2), "journal-full", False),
    (changed(7, 10, 8), "flood", False),
    ({9: None}, "ledger", True),
    (changed(9, 5, 1), "ledger-damaged", True),
    (changed(9, 5, 2), "ledger-worn", True),
    (changed(9, 4, 3), "ledger-worn", True),
    (changed(9, 0, 1990), "ledger-full", True),
    (changed(9, 1, 4096), "ledger-full", True),
    ({10: ["rules:configuration"]}, "rules", True),
    ({10: ["lockout:damaged"]}, "rules", True),
    (changed(11, 1, 0), "time", True),
    (changed(11, 1, 2), "coasting", False),
    (changed(11, 2, 200), "error", False),
    ({12: [90_000, 9_000]}, "heap", True),
    ({12: [9_000, 0]}, "heap", True),
    (changed(13, 0, 3), "watchdog", True),
    (changed(13, 1, 2), "starts", False),
    (changed(13, 1, 3), "starts", True),
    ({15: ["ble"]}, "silent", True),
    ({14: {"ble": 2}}, "restarts", False),
    (changed(16, 1, [False, "password"]), "wifi", True),
    (changed(16, 2, [False, "tls"]), "broker", True),
    (changed(16, 2, [False, ""]), "broker", True),
    (changed(17, 3, [131]), "alarm", True),
    (changed(17, 3, [250]), "alarm", True),
    (changed(17, 4, "lockdown"), "lockdown", False),
    (changed(17, 4, "shadow"), "shadow", False),
    (changed(17, 2, True), "strike", False),
    (changed(17, 0, 0), "settling", False),
    (changed(18, 2, 3), "switch", True),
    (changed(18, 2, 0), "switch", True),
    (changed(18, 4, True), "housing", True),
    (changed(18, 6, True), "button", False),
    (changed(18, 3, True), "bolt", True),
    (changed(20, 0, False), "secure-boot", False),
    (changed(20, 1, None), "flash-encryption", False),
    ({6: [[b"k" * 8, 43, 0]]}, "no-admin", False),
    ({6: [[b"k" * 8, 31, 0]]}, "no-update", False),
    ({21: 2}, "tables", False),
]


@pytest.mark.parametrize(("change", "name", "is_wrong"), CASES)
def test_each_rule_speaks_for_itself_and_says_what_to_do(change, name, is_wrong):
    found = findings.judge(WELL | change)
    assert [(each.name, each.is_wrong) for each in found] == [(name, is_wrong)], found
    assert found[0].what and found[0].advice


def test_all_rules_have_a_case():
    for rule in findings.RULES:
        assert any(list(rule(WELL | change)) for change, *_ in CASES), rule


def test_the_worst_comes_first():
    found = findings.judge(WELL | {21: 2, 9: None, 10: ["rules:scenario"]})
    assert [each.is_wrong for each in found] == [True, True, False]


PARTS = st.none() | st.integers(-5, 2**40) | st.booleans() | st.text(max_size=5) | st.binary(max_size=9)
VALUES = st.recursive(PARTS, lambda inner: st.lists(inner, max_size=11) | st.dictionaries(st.text(max_size=4), inner))


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.integers(4, 21), VALUES, max_size=4), st.booleans())
def test_whatever_a_lock_says_it_is_read_or_refused(changes, is_silent):
    told = changes | ({key: None for key in range(4, 22) if key not in changes} if is_silent else {})
    try:
        report = read(made(told))
    except (ProtocolError, cbor.CborError):
        return
    assert all(isinstance(text, str) for row in diagnosis.facts(report) for text in row)
    json.dumps(diagnosis.plain(report))
    assert all(each.what and each.advice for each in findings.judge(report.told))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data):
    with pytest.raises(ProtocolError):
        read(data)


def test_in_words():
    words = dict(diagnosis.facts(read(made())))
    assert words["software"].startswith("0.7.0 (sequence 7, in slot A) on VITRINE_ESP32S3, image 7, bundle 6262")
    assert "update" in words["issuers"] and "revocations 4" in words["issuers"]
    assert words["journal"].startswith("120 records, 100 acknowledged, sealed")
    assert words["door"] == "Locked, DoorClosed, strike off, normal"
    assert words["sensors"] == "door switch closed, door switch 1052 mV, battery 4980 mV, bolt home, housing closed"
    assert words["posture"] == "secure boot on, flash encryption on, console closed"
    plain = diagnosis.plain(read(made()))
    assert plain["issuers"] == [{"kid": "6b" * 8, "scopes": 63, "revocations": 4}]
    assert plain["journal"]["acknowledged"] == 100 and plain["door"]["scenario"] == "normal"


class Session:
    """A lock that hands over `data` in pieces of `size`."""

    def __init__(self, data, size=100, total=None, status=Status.OK):
        self.data, self.size, self.total, self.status = data, size, total or len(data), status

    async def ask(self, op, body):
        if callable(self.data):
            self.data = self.data(body[1])
            self.total = len(self.data)
        return self.status, {1: self.data[body[2] : body[2] + self.size], 2: self.total}


async def test_a_report_comes_in_pieces():
    session = Session(lambda challenge: made({2: challenge}), total=1)
    assert (await diagnosis.fetch(session, LOCK)).is_authentic(KEYS)


async def test_pieces_that_are_none():
    for session in (
        Session(b"x" * 50, total=100),  # ends before its end
        Session(b"x" * 100, total=5000),  # too long
        Session(b"x" * 100, total=-1),
    ):
        with pytest.raises(ProtocolError):
            await diagnosis.fetch(session, LOCK)
    with pytest.raises(diagnosis.Refused, match="not granted"):
        await diagnosis.fetch(Session(b"", total=1, status=Status.REFUSED), LOCK)
