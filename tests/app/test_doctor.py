"""The report on a lock (SPEC.md section 19): its bytes, its tag, and what it says when parts of the lock are sick."""

import gc

from support import skip
from support.session_lab import Lab, case
from vitrine.app.doctor import report
from vitrine.codec import cbor
from vitrine.crypto.hmac256 import hmac_sha256

KEY = bytes(range(32))
CHALLENGE = b"c" * 16
HELLO, PRESENT, ACT, DOCTOR = 0, 1, 2, 8
SERVICE = 130
LARGEST = 2**32 - 1


class Part:
    """A part of a lock that has what it is made with; whatever else it is asked for, it is sick."""

    def __init__(self, **values):
        for name in values:
            setattr(self, name, values[name])


class Journal:
    count, head, epoch = 7, b"h" * 32, 1_800_000_000

    def stats(self):
        names = ("acknowledged", "sealed", "sectors", "bad", "free", "wear_min", "wear_max", "folded", "unwiped")
        return {name: number for number, name in enumerate(names)}


class Ledger:
    def count(self, of_class):
        return 11 + of_class

    def stats(self):
        return [3, 14, 0, 0]


class Vote:
    def __init__(self, name, restarts, is_missed):
        self.name, self.restarts, self.is_missed = name, restarts, is_missed


def parts_of(lab, **other):
    """A lock's parts, all of them well."""
    identity = Part(provision=lab.provision)
    parts = {
        "about": lambda: (KEY, ["0.7.0", 7, "unix", 0, None, 7, None], 1, None, False),
        "identity": identity,
        "configuration": Part(sequence=4),
        "scenario": Part(sequence=5, name="normal"),
        "judgement": Part(ledger=Ledger(), troubles=["rules:operations"], rules=lab.rules),
        "events": Part(dropped=0),
        "starts": Part(ended_soon=2),
        "hardware": Part(
            sensors=Part(bolt=False, tamper=True, motion=None, battery_mv=4980),
            inputs=Part(rex_pressed=False, switch=1, switch_mv=1052),
            strike=Part(is_energised=False),
        ),
        "supervisor": Part(votes=[Vote("door", 0, False), Vote("ble", 3, True)], uptime_s=90, least_free=5000),
    }
    parts.update(other)
    return parts


def lab_of(**other):
    lab = Lab(is_same_nonce=True)
    lab.events.journal = Journal()
    lab.door.alarms = (7, 129)
    lab.clock.cause = ""
    lab.clock.floor_s = 1_799_999_999
    lab.revocations.sequence = lambda kid: 0
    lab.waiting = 1
    lab.dispatch.parts = parts_of(lab, **other)
    return lab


def read(data):
    protected, unprotected, payload, tag = cbor.decode(data, 4096)
    assert protected == b"\xa1\x01\x05" and unprotected == {}
    return cbor.decode(payload, 4096), payload, tag


def test_what_a_lock_says_of_itself():
    lab = lab_of()
    told, _, _ = read(report(lab.dispatch, CHALLENGE))
    assert told[1] == 1
    assert (told[2], told[3], told[4]) == (CHALLENGE, "case-12", ["group:jewellery"])
    assert told[5] == ["0.7.0", 7, "unix", 0, None, 7, None]
    ((kid, scopes, sequence),) = told[6]
    assert len(kid) == 8 and scopes == 11 and sequence == 0
    assert told[7] == [7, b"h" * 32, 1_800_000_000, 0, 1, 2, 3, 4, 5, 6, 7]
    assert told[8] == [True, 0, 0] and told[9] == [11, 12, 3, 14, 0, 0] and told[10] == ["rules:operations"]
    assert told[11] == [lab.clock.unix_s, 1, 0, "", 1_799_999_999]
    assert told[13] == [1, 2, 90] and told[14] == {"door": 0, "ble": 3} and told[15] == ["ble"]
    assert told[16] == [0, None, None]
    assert told[17] == [1, 1, False, [7, 129], "normal"]
    assert told[18] == [4980, 1052, 1, False, True, None, False]
    assert told[19] == [4, 5] and told[20] == [None, False, False] and told[21] == 1
    assert sorted(told) == list(range(1, 22))


def test_the_tag_is_of_the_lock_and_over_all():
    lab = lab_of()
    _, payload, tag = read(report(lab.dispatch, CHALLENGE))
    structure = cbor.encode(["MAC0", b"\xa1\x01\x05", b"", payload])
    assert tag == hmac_sha256(hmac_sha256(KEY, b"vitrine/doctor"), structure)
    other = read(report(lab.dispatch, b"d" * 16))
    assert other[2] != tag and other[0][2] == b"d" * 16
    without = lab_of(about=lambda: (b"", ["0.7.0", 7, "unix", 0, None, 7, None], 1, None, None))
    assert read(report(without.dispatch, CHALLENGE))[2] == b""


def test_links_say_whether_they_are_up():
    lab = lab_of(wifi=Part(is_up=False, cause="password"), sync=Part(is_up=True, cause=""))
    lab.channel()
    assert read(report(lab.dispatch, CHALLENGE))[0][16] == [1, [False, "password"], [True, ""]]


def test_time_that_is_not_known_has_no_error():
    lab = lab_of()
    lab.clock.instant = lambda: (5, 0, LARGEST)
    assert read(report(lab.dispatch, CHALLENGE))[0][11][:3] == [5, 0, None]


def broken():
    raise OSError(5)


def test_no_more_heap_was_free_at_the_least_than_is_now():
    if not hasattr(gc, "mem_free"):
        skip("only MicroPython says how much is free")
    supervisor = Part(votes=[], uptime_s=90, least_free=1 << 40)
    free, least = read(report(lab_of(supervisor=supervisor).dispatch, CHALLENGE))[0][12]
    assert 0 < least == free


def test_a_sick_part_keeps_nobody_else_from_telling():
    well = set(read(report(lab_of().dispatch, CHALLENGE))[0])
    sick = Part()
    for name, missing in (
        ("judgement", (6, 9, 10)),
        ("events", (8,)),
        ("starts", (13,)),
        ("hardware", (17, 18)),
        ("supervisor", (12, 13, 14, 15)),
        ("scenario", (17, 19)),
        ("wifi", (16,)),
    ):
        told = read(report(lab_of(**{name: sick}).dispatch, CHALLENGE))[0]
        assert set(told) == well
        for key in missing:
            assert told[key] is None, (name, key)
        assert told[3] == "case-12" and told[7][0] == 7
    lab = lab_of(about=broken)
    told, _, tag = read(report(lab.dispatch, CHALLENGE))
    assert told[5] is None and told[20] == [None, None, False] and tag == b""
    lab = lab_of()
    lab.events.journal = None
    assert read(report(lab.dispatch, CHALLENGE))[0][7] is None


def test_the_largest_report_is_within_its_bound():
    lab = lab_of()
    lab.dispatch.parts["supervisor"].votes = [Vote("judgement-" + str(n), LARGEST, True) for n in range(16)]
    lab.provision.groups = ["group:" + str(n) * 26 for n in range(8)]
    issuer = lab.provision.issuers[0]
    lab.provision.issuers = [issuer] * 4
    lab.door.alarms = tuple(range(200, 213))
    lab.dispatch.parts["judgement"].troubles = ["rules:configuration"] * 8
    data = report(lab.dispatch, CHALLENGE)
    assert len(data) < 2048
    assert read(data)[0][3] == "case-12"


def test_piece_by_piece():
    lab = lab_of()
    lab.dispatch.parts["judgement"].troubles = ["rules:" + "x" * 24 + str(n) for n in range(20)]
    channel = lab.channel()
    token, proof = case("service")
    lab.ask(channel, HELLO)
    lab.ask(channel, PRESENT, token)
    assert lab.ask(channel, ACT, {1: SERVICE, 2: False, 3: proof})[0] == 0
    data = b""
    while True:
        status, body = lab.ask(channel, DOCTOR, {1: CHALLENGE, 2: len(data)})
        assert status == 0 and len(body[1]) <= 400
        data += body[1]
        if len(data) >= body[2]:
            break
    assert read(data)[0][2] == CHALLENGE and len(data) > 800
    # from the same report, and behind its end nothing
    assert lab.ask(channel, DOCTOR, {1: b"other challenge!", 2: 400})[1][1] == data[400:800]
    assert lab.ask(channel, DOCTOR, {1: CHALLENGE, 2: 1 << 40})[1] == {1: b"", 2: len(data)}
    assert lab.ask(channel, DOCTOR, {1: b"other challenge!", 2: 0})[1][1] != data[:400]


def test_an_offset_without_a_report():
    lab = lab_of()
    channel = lab.channel()
    channel._is_served = True
    assert lab.ask(channel, DOCTOR, {1: CHALLENGE, 2: 400}) == (0, {1: b"", 2: 0})
