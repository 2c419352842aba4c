"""Commands: who may have what done, in which order it is checked, what is told to whom, and what goes on record."""

from support.command_lab import (
    ADMIN,
    AUD,
    BODY,
    CNONCE,
    CONFIGURE,
    EXP,
    FRESH,
    GROUP,
    ID,
    ID_SENT,
    LOCK,
    NOW_S,
    NUMBER,
    REVOKE,
    SCENARIO,
    SEQUENCE,
    STORE,
    STRANGER,
    TIME,
    Lab,
    kid_of,
    make,
)
from vitrine.access import reasons
from vitrine.access.revocation import Revocations
from vitrine.audit import record as r

LIST = {1: 0, 2: [[1, b"identity", 0]]}
CONFIGURATION = {2: {4: 45000}, 3: [], 4: None, 5: []}
LOCKDOWN, RELEASE = {2: True}, {2: False}
SENT = {CONFIGURE: CONFIGURATION, SCENARIO: RELEASE, REVOKE: LIST, TIME: NOW_S}


def test_each_command_reaches_who_carries_it_out():
    lab = Lab()
    assert lab.execute(CONFIGURE, CONFIGURATION) == (reasons.GRANTED, True)
    assert lab.configuration.applied == [(CONFIGURATION, 7)] and lab.result.body() == {3: 7}
    assert lab.execute(SCENARIO, LOCKDOWN, {SEQUENCE: 6}) == (reasons.GRANTED, True)
    assert lab.scenario.applied == [(LOCKDOWN, 6)] and lab.result.body() == {3: 6}
    assert lab.execute(REVOKE, LIST) == (reasons.GRANTED, True)
    assert lab.revocations.sequence(kid_of(ADMIN)) == 7 and lab.result.body() == {3: 7}
    assert lab.execute(TIME, NOW_S - 3) == (reasons.GRANTED, True)
    assert lab.taken == [(NOW_S - 3, 4000)] and lab.result.body() == {}
    assert lab.result.is_done and lab.result.id == ID_SENT


def test_what_was_done_is_on_record():
    lab = Lab()
    for number in (CONFIGURE, SCENARIO, REVOKE, TIME):
        lab.execute(number, SENT[number])
    common = {r.KID: kid_of(ADMIN), r.COMMAND: ID_SENT, r.LINK: 1}
    expected = []
    for name in ("configure", "scenario", "revoke"):
        fields = dict(common)
        fields.update({r.SEQUENCE: 7, r.DETAIL: name})
        expected.append((r.CONFIGURATION_CHANGE, fields))
        if name == "configure":
            fields = dict(fields)
            fields.update({r.COUNT: 4, r.DETAIL: "ajar_ms=45000"})
            expected.append((r.CONFIGURATION_CHANGE, fields))
    common[r.DETAIL] = "time"
    expected.append((r.TIME_CHANGE, common))
    assert lab.records == expected


def test_what_was_refused_is_on_record_with_its_reason():
    lab = Lab()
    lab.execute(CONFIGURE, CONFIGURATION, {SEQUENCE: 5})
    lab.execute(TIME, NOW_S, {FRESH: bytes(16)}, STRANGER)
    lab.send(b"junk", 3)
    assert lab.records == [
        (
            r.COMMAND_ERROR,
            {
                r.REASON: reasons.SEQUENCE_STALE,
                r.ERROR: 1,
                r.KID: kid_of(ADMIN),
                r.COMMAND: ID_SENT,
                r.SEQUENCE: 5,
                r.DETAIL: "configure",
                r.LINK: 1,
                r.AUTHENTIC: True,
            },
        ),
        (
            r.COMMAND_ERROR,
            {
                r.REASON: reasons.ISSUER_UNKNOWN,
                r.ERROR: 1,
                r.KID: kid_of(STRANGER),
                r.COMMAND: ID_SENT,
                r.DETAIL: "time",
                r.LINK: 1,
            },
        ),
        (r.COMMAND_ERROR, {r.REASON: reasons.COMMAND_MALFORMED, r.ERROR: 1, r.LINK: 3}),
    ]


def test_the_first_check_that_fails_is_the_reason():
    """From a command in which everything is wrong, put right one thing after the other, in the order of SPEC.md 11."""
    lab = Lab()
    lab.now = (NOW_S, 0, 0)
    wrong = {ID: b"short", AUD: "elsewhere", NUMBER: 9, EXP: NOW_S + 1, SEQUENCE: 1, BODY: {1: 6, 2: [7]}}
    signer = STRANGER

    def reason():
        return lab.send(make(REVOKE, None, wrong, signer, header(signer_named)))[0]

    def header(name):
        return {1: -19, 3: "vitrine/command", 4: kid_of(name)}

    signer_named = STRANGER
    lab.revocations.apply(kid_of(ADMIN), 0, 5, [])
    assert reason() == reasons.COMMAND_MALFORMED
    wrong[ID] = ID_SENT
    assert reason() == reasons.ISSUER_UNKNOWN
    signer_named = STORE
    assert reason() == reasons.AUDIENCE_MISMATCH
    wrong[AUD] = LOCK
    assert reason() == reasons.COMMAND_UNKNOWN
    wrong[NUMBER] = CONFIGURE
    assert reason() == reasons.SCOPE_NOT_ALLOWED
    signer_named = ADMIN
    assert reason() == reasons.TIME_UNTRUSTED
    lab.now = (NOW_S, 2, 2)
    assert reason() == reasons.EXPIRED
    wrong.update({EXP: NOW_S + 3, FRESH: bytes(16)})
    assert reason() == reasons.FRESHNESS_MISSING
    wrong[FRESH] = CNONCE
    assert reason() == reasons.SEQUENCE_STALE
    wrong.update({SEQUENCE: 6, NUMBER: REVOKE})
    assert reason() == reasons.SEQUENCE_GAP
    wrong[BODY] = {1: 5, 2: [7]}
    assert reason() == reasons.COMMAND_FORGED
    assert not lab.result.is_authentic
    signer = ADMIN
    assert reason() == reasons.COMMAND_MALFORMED
    assert lab.result.is_authentic
    wrong[BODY] = {1: 5, 2: []}
    assert reason() == reasons.GRANTED
    assert lab.revocations.sequence(kid_of(ADMIN)) == 6


def test_who_signed_is_told_why_and_nobody_else_anything():
    changes = (
        (CONFIGURE, {SEQUENCE: 5}, reasons.SEQUENCE_STALE, 5),
        (CONFIGURE, {EXP: NOW_S}, reasons.EXPIRED, 5),
        (REVOKE, {SEQUENCE: 5, BODY: {1: 3, 2: []}}, reasons.SEQUENCE_GAP, 0),
        (TIME, {FRESH: bytes(16)}, reasons.FRESHNESS_MISSING, None),
        (77, {}, reasons.COMMAND_UNKNOWN, None),
    )
    for number, change, reason, sequence in changes:
        lab = Lab()
        before = lab.state()
        assert lab.execute(number, SENT.get(number), change) == (reason, True)
        assert lab.result.body() == ({1: reason} if sequence is None else {1: reason, 3: sequence})
        header = {1: -19, 3: "vitrine/command", 4: kid_of(ADMIN)}
        assert lab.execute(number, SENT.get(number), change, STRANGER, header) == (reason, False)
        assert lab.result.body() is None and not lab.result.is_done
        assert lab.state() == before


def test_strangers_and_other_locks_commands_cost_no_verification():
    lab = Lab()
    lab.execute(CONFIGURE, CONFIGURATION, {}, STRANGER)
    lab.execute(CONFIGURE, CONFIGURATION, {AUD: ["case-13", "group:shoes"]})
    lab.send(b"")
    assert lab.verifications == 0 and len(lab.records) == 3


def test_an_issuer_commands_only_whom_it_may_address():
    lab = Lab()
    assert lab.execute(SCENARIO, LOCKDOWN, {AUD: ["case-13", GROUP]})[0] == reasons.GRANTED
    assert lab.execute(REVOKE, LIST, {AUD: GROUP}, STORE)[0] == reasons.AUDIENCE_MISMATCH, (
        "the lock's, not the issuer's"
    )
    assert lab.execute(REVOKE, LIST, {AUD: [GROUP, LOCK]}, STORE)[0] == reasons.GRANTED


def test_only_admin_may_do_more_than_revoke_its_own():
    lab = Lab()
    for number in (TIME, CONFIGURE, SCENARIO):
        assert lab.execute(number, SENT[number], {}, STORE) == (reasons.SCOPE_NOT_ALLOWED, True)
    assert lab.execute(SCENARIO, LOCKDOWN, {}, STORE)[0] == reasons.SCOPE_NOT_ALLOWED
    others = {1: 0, 2: [], 3: kid_of(ADMIN)}
    assert lab.execute(REVOKE, others, {}, STORE)[0] == reasons.SCOPE_NOT_ALLOWED
    own = {1: 0, 2: [], 3: kid_of(STORE)}
    assert lab.execute(REVOKE, own, {}, STORE)[0] == reasons.GRANTED
    assert lab.revocations.sequence(kid_of(STORE)) == 7


def test_admin_may_revoke_for_another_issuer_in_that_ones_sequence():
    lab = Lab()
    lab.revocations.apply(kid_of(STORE), 0, 100, [])
    body = {1: 100, 2: [[1, b"identity", 0]], 3: kid_of(STORE)}
    assert lab.execute(REVOKE, body, {SEQUENCE: 100})[0] == reasons.SEQUENCE_STALE
    assert lab.execute(REVOKE, body, {SEQUENCE: 101})[0] == reasons.GRANTED
    assert lab.result.sequence == 101
    assert lab.revocations.sequence(kid_of(ADMIN)) == 0
    body[3] = kid_of(STRANGER)
    assert lab.execute(REVOKE, body) == (reasons.ISSUER_UNKNOWN, True)


def test_without_time_only_what_takes_rights_away_is_done():
    for state in (0, 3, 255):
        for number, body, reason in (
            (REVOKE, LIST, reasons.GRANTED),
            (SCENARIO, LOCKDOWN, reasons.GRANTED),
            (SCENARIO, RELEASE, reasons.TIME_UNTRUSTED),
            (SCENARIO, {2: 1}, reasons.TIME_UNTRUSTED),
            (SCENARIO, {2: True, 3: True}, reasons.TIME_UNTRUSTED),
            (SCENARIO, {3: True}, reasons.TIME_UNTRUSTED),
            (SCENARIO, [True], reasons.TIME_UNTRUSTED),
            (CONFIGURE, CONFIGURATION, reasons.TIME_UNTRUSTED),
        ):
            lab = Lab()
            lab.now = (NOW_S + 1000, state, 0)
            assert lab.execute(number, body) == (reason, True), (number, body)
        # a nonce stands in for the time
        lab = Lab()
        lab.now = (NOW_S + 1000, state, 0)
        assert lab.execute(CONFIGURE, CONFIGURATION, {FRESH: CNONCE}) == (reasons.GRANTED, True)


def test_an_end_holds_at_the_latest_time_that_it_can_be():
    for error_s, exp, reason in ((2, 3, 0), (2, 2, 5), (0, 1, 0), (0, 0, 5), (0, -1, 5)):
        lab = Lab()
        lab.now = (NOW_S, 1, error_s)
        assert lab.execute(CONFIGURE, CONFIGURATION, {EXP: NOW_S + exp})[0] == reason
        assert lab.execute(REVOKE, LIST, {EXP: NOW_S + exp})[0] == reason
        assert lab.execute(TIME, NOW_S, {EXP: NOW_S + exp})[0] == reason


def test_a_nonce_that_is_not_of_this_lock_now_is_worth_nothing_even_beside_an_end():
    lab = Lab()
    assert lab.execute(CONFIGURE, CONFIGURATION, {FRESH: bytes(16)})[0] == reasons.FRESHNESS_MISSING
    lab.age = None
    assert lab.execute(CONFIGURE, CONFIGURATION, {FRESH: CNONCE})[0] == reasons.FRESHNESS_MISSING
    assert lab.execute(TIME, NOW_S)[0] == reasons.FRESHNESS_MISSING and lab.taken == []


def test_a_nonce_that_grows_old_while_the_signature_is_verified():
    lab = Lab()

    def slowly(issuer, message, signature):
        lab.age = None
        return lab.is_signed(issuer, message, signature)

    lab.verify = slowly
    assert lab.execute(TIME, NOW_S) == (reasons.FRESHNESS_MISSING, True)
    assert lab.taken == []


def test_bodies_that_are_none():
    lab = Lab()
    for body in (None, -1, True, "now", [NOW_S], {1: NOW_S}, b"1800"):
        assert lab.execute(TIME, body) == (reasons.COMMAND_MALFORMED, True)
    revocations = [None, 7, [], {}, {1: 0}, {2: []}, {1: 0, 2: [], 4: 0}, {1: None, 2: []}, {1: True, 2: []}]
    revocations += [{1: -1, 2: []}, {1: 0, 2: [7]}, {1: 0, 2: [[1, b"short", 0]]}, {1: 0, 2: None}, {1: "0", 2: []}]
    for body in revocations:
        assert lab.execute(REVOKE, body) == (reasons.COMMAND_MALFORMED, True), body
    for kid in (None, 7, "12345678", [], {}, b"short"):
        assert lab.execute(REVOKE, {1: 0, 2: [], 3: kid}) == (reasons.ISSUER_UNKNOWN, True), kid
    assert lab.taken == [] and lab.revocations.sequence(kid_of(ADMIN)) == 0


def test_what_the_owner_refuses_is_refused():
    lab = Lab()
    lab.configuration.outcome = reasons.COMMAND_MALFORMED
    assert lab.execute(CONFIGURE, {}) == (reasons.COMMAND_MALFORMED, True)
    assert lab.result.body() == {1: reasons.COMMAND_MALFORMED, 3: 5}
    lab.scenario.outcome = reasons.FAULT
    assert lab.execute(SCENARIO, LOCKDOWN) == (reasons.FAULT, True)
    lab.take_reason = reasons.EXPIRED
    assert lab.execute(TIME, NOW_S) == (reasons.EXPIRED, True)
    lab.ledger.room = 0
    assert lab.execute(REVOKE, LIST) == (reasons.STORE_FULL, True)
    assert [kind for kind, _ in lab.records] == [r.COMMAND_ERROR] * 4


def test_whatever_fails_is_a_fault_on_record_and_never_raised():
    for error in (OSError(5), MemoryError(), ValueError("secret"), KeyError(1), RuntimeError()):
        lab = Lab()
        lab.configuration.outcome = lab.scenario.outcome = lab.take_reason = error
        for number in (CONFIGURE, SCENARIO, TIME):
            assert lab.execute(number, SENT[number]) == (reasons.FAULT, True)
            kind, fields = lab.records[-1]
            assert kind == r.COMMAND_ERROR and fields[r.DETAIL] == "command:" + type(error).__name__
            assert lab.result.body()[1] == reasons.FAULT

        def fails(*_args, error=error):
            raise error

        for broken in ("verify", "instant", "age_ms", "record"):
            lab = Lab()
            before = lab.state()
            setattr(lab, broken, fails)
            for number in (TIME,) if broken == "age_ms" else (REVOKE, CONFIGURE, TIME):
                reason, is_authentic = lab.execute(number, SENT[number])
                assert broken == "record" or (reason, is_authentic) == (reasons.FAULT, False)
            assert broken == "record" or lab.state() == before


def test_damaged_revocations_are_a_fault_that_the_sender_is_told():
    lab = Lab()
    lab.revocations = Revocations(lab.blob, lab.ledger)
    lab.revocations._issuers = []
    lab.commands = lab.new_commands()
    assert lab.execute(REVOKE, LIST) == (reasons.FAULT, True)
    assert lab.result.body() == {1: reasons.FAULT}
    assert lab.execute(CONFIGURE, CONFIGURATION)[0] == reasons.GRANTED


def test_a_lock_that_cannot_put_it_on_record_only_takes_rights_away():
    lab = Lab()
    lab.is_sound = False
    for number, body, reason in (
        (TIME, NOW_S, reasons.FAULT),
        (CONFIGURE, CONFIGURATION, reasons.FAULT),
        (SCENARIO, RELEASE, reasons.FAULT),
        (SCENARIO, LOCKDOWN, reasons.GRANTED),
        (REVOKE, LIST, reasons.GRANTED),
    ):
        assert lab.execute(number, body) == (reason, True)
    assert lab.taken == lab.configuration.applied == []


def test_a_command_is_carried_out_once():
    lab = Lab()
    for number in (CONFIGURE, SCENARIO, REVOKE):
        data = make(number, SENT[number])
        assert lab.send(data)[0] == reasons.GRANTED
        before = lab.state()
        assert lab.send(data)[0] == reasons.SEQUENCE_STALE
        assert lab.result.body() == {1: reasons.SEQUENCE_STALE, 3: 7}
        assert lab.state() == before


def test_one_changed_bit_is_another_command():
    lab = Lab()
    before = lab.state()
    data = make(SCENARIO, LOCKDOWN)
    for place in range(len(data)):
        for bit in (0, 3, 7):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            reason, is_authentic = lab.send(bytes(changed))
            assert reason != reasons.GRANTED and not is_authentic, (place, bit)
    assert lab.state() == before
