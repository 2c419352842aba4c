"""Operations by command: who may order what, in which order it is checked, that it is done once, what is on record."""

from support.command_lab import (
    ADMIN,
    AUD,
    CNONCE,
    EXP,
    FRESH,
    GROUP,
    ID,
    ID_SENT,
    MISSING,
    NOW_S,
    SEQUENCE,
    STORE,
    STRANGER,
    kid_of,
    make,
)
from support.operation_lab import AUDIT, IDENTIFY, OPERATE, OperationLab
from vitrine.access import reasons
from vitrine.access.scopes import parse_scopes
from vitrine.audit import record as r
from vitrine.codec import cbor

LOCK_IT, UNLOCK, HOLD = {1: 0}, {1: 1}, {1: 128}
SALE = b"sale-4711"


def of_admin(lab, number, body, changes=None):
    return lab.execute(number, body, changes)[0]


def test_each_action_reaches_the_door_once_with_the_reference():
    for action in (0, 1, 128):
        lab = OperationLab()
        assert lab.execute(OPERATE, {1: action, 2: SALE}) == (reasons.GRANTED, True)
        assert lab.door.moved == [(action, kid_of(ADMIN), SALE, ID_SENT, 1)]
        assert lab.result.is_done and lab.result.body() == {3: 7}
        assert lab.execute(OPERATE, {1: action, 2: SALE}) == (reasons.SEQUENCE_STALE, True)
        assert lab.result.body() == {1: reasons.SEQUENCE_STALE, 3: 7}
        assert len(lab.door.moved) == 1
    lab = OperationLab()
    assert of_admin(lab, OPERATE, UNLOCK) == reasons.GRANTED
    assert lab.door.moved[0][2] is None


def test_identify_and_audit_are_on_record_and_move_nothing():
    lab = OperationLab()
    assert of_admin(lab, IDENTIFY, None) == reasons.GRANTED
    assert of_admin(lab, AUDIT, None, {SEQUENCE: 8}) == reasons.GRANTED
    assert lab.result.number == AUDIT and lab.result.body() == {3: 8}
    common = {r.KID: kid_of(ADMIN), r.COMMAND: ID_SENT, r.LINK: 1, r.SOURCE: 2}
    identify, audit = dict(common), dict(common)
    identify.update({r.SEQUENCE: 7, r.DETAIL: "identify"})
    audit.update({r.SEQUENCE: 8, r.DETAIL: "audit"})
    assert lab.records == [(r.IDENTIFY, identify), (r.CONFIGURATION_CHANGE, audit)]
    assert lab.door.moved == []


def test_an_opening_is_put_on_record_by_the_door_alone():
    lab = OperationLab()
    of_admin(lab, OPERATE, UNLOCK)
    assert lab.records == []


def test_a_refusal_is_on_record_with_what_was_ordered():
    lab = OperationLab()
    lab.rules_scenario.is_lockdown = True
    assert of_admin(lab, OPERATE, {1: 128, 2: SALE}) == reasons.LOCKED_DOWN
    kind, fields = lab.records[0]
    assert kind == r.COMMAND_ERROR and fields == {
        r.REASON: reasons.LOCKED_DOWN,
        r.ERROR: 3,
        r.KID: kid_of(ADMIN),
        r.COMMAND: ID_SENT,
        r.SEQUENCE: 7,
        r.DETAIL: "operate",
        r.LINK: 1,
        r.SOURCE: 2,
        r.OPERATION: 128,
        r.REF: SALE,
        r.AUTHENTIC: True,
    }


def test_bodies_that_are_none_cost_no_sequence():
    lab = OperationLab()
    bodies = [None, 1, [], [1], {}, {1: 129}, {1: 2}, {1: -1}, {1: True}, {1: None}, {1: "1"}, {2: SALE}, {1: 1, 3: 0}]
    bodies += [{1: 1, 2: b""}, {1: 1, 2: bytes(33)}, {1: 1, 2: "sale"}, {1: 1, 2: None}, {1: 1, 2: SALE, 3: 0}]
    for body in bodies:
        assert lab.execute(OPERATE, body) == (reasons.COMMAND_MALFORMED, True), body
    for number in (IDENTIFY, AUDIT):
        for body in (0, {}, [], b"", False):
            assert lab.execute(number, body) == (reasons.COMMAND_MALFORMED, True), body
    assert lab.door.moved == [] and lab.operations_blob.saves == 0
    assert of_admin(lab, OPERATE, UNLOCK) == reasons.GRANTED


def test_the_scopes_of_the_issuer():
    needed = ((OPERATE, UNLOCK, "unlock"), (OPERATE, LOCK_IT, "unlock"), (OPERATE, HOLD, "hold"))
    needed += ((IDENTIFY, None, "unlock"), (AUDIT, None, "courier"))
    for number, body, scope in needed:
        for word in ("unlock", "hold", "courier", "service", "admin"):
            lab = OperationLab()
            lab.provision.issuers[0].scopes = parse_scopes(word)
            reason = of_admin(lab, number, body)
            assert reason == (reasons.GRANTED if word == scope else reasons.SCOPE_NOT_ALLOWED), (number, word)
            assert (reason == reasons.GRANTED) == (lab.operations_blob.saves == 1)


def test_they_live_short():
    for exp, reason in ((300, 0), (301, 6), (10_000, 6), (3, 0), (2, 5), (0, 5)):
        for number, body in ((OPERATE, UNLOCK), (IDENTIFY, None), (AUDIT, None)):
            lab = OperationLab()  # the error of its clock is 2 s
            assert of_admin(lab, number, body, {EXP: NOW_S + exp}) == reason, exp
            assert lab.operations_blob.saves == (reason == 0)
    # nor does a nonce make a long one good
    lab = OperationLab()
    assert of_admin(lab, OPERATE, UNLOCK, {EXP: NOW_S + 301, FRESH: CNONCE}) == reasons.LIFETIME_EXCEEDED


def test_a_nonce_stands_in_for_the_time():
    for state in (0, 1, 2):
        lab = OperationLab()
        lab.now = (NOW_S, state, 0)
        assert of_admin(lab, OPERATE, UNLOCK, {EXP: MISSING, FRESH: CNONCE}) == reasons.GRANTED
        lab = OperationLab()
        lab.now = (NOW_S, state, 0)
        assert of_admin(lab, OPERATE, UNLOCK) == (reasons.GRANTED if state else reasons.TIME_UNTRUSTED)
        assert of_admin(lab, OPERATE, UNLOCK, {EXP: MISSING, FRESH: bytes(16)}) == reasons.FRESHNESS_MISSING


def test_lockdown_alarms_and_damaged_rules_stop_what_opens():
    def lockdown(lab):
        lab.rules_scenario.is_lockdown = True

    def alarm(lab):
        lab.active_alarms = lab.rules_configuration.settings.alarm_blocks = 4

    def damaged(lab):
        lab.rules_scenario.is_sound = False

    for happen, reason, lock_reason in (
        (lockdown, reasons.LOCKED_DOWN, 0),  # also for who may administer: they can end it
        (alarm, reasons.ALARM_ACTIVE, 0),
        (damaged, reasons.FAULT, reasons.FAULT),
    ):
        for action in (UNLOCK, HOLD):
            lab = OperationLab()
            happen(lab)
            assert of_admin(lab, OPERATE, action) == reason and lab.door.moved == []
        assert of_admin(lab, OPERATE, LOCK_IT, {SEQUENCE: 8}) == lock_reason


def test_where_more_is_asked_than_one_person_and_no_finger_a_command_opens_nothing():
    def uv(lab):
        lab.rules_configuration.settings.uv_required = 1

    def persons(lab):
        lab.rules_configuration.settings.persons_required = 2

    def risk_uv(lab):
        lab.risk.score, lab.rules_configuration.settings.risk_uv = 60, 50

    def risk_persons(lab):
        lab.risk.score, lab.rules_configuration.settings.risk_persons = 60, 50

    for asked, reason in (
        (uv, reasons.USER_VERIFICATION_REQUIRED),
        (persons, reasons.PERSONS_REQUIRED),
        (risk_uv, reasons.USER_VERIFICATION_REQUIRED),
        (risk_persons, reasons.PERSONS_REQUIRED),
    ):
        lab = OperationLab()
        asked(lab)
        for sequence in (7, 8, 9):  # nor do two commands make two persons
            assert of_admin(lab, OPERATE, UNLOCK, {SEQUENCE: sequence}) == reason
        assert of_admin(lab, OPERATE, LOCK_IT, {SEQUENCE: 10}) == reasons.GRANTED


def test_a_command_is_no_second_person_beside_a_holder():
    from support.access_lab import make_token
    from vitrine.access.token import Token

    lab = OperationLab()
    lab.rules_configuration.settings.persons_required = 2
    lab.persons.note(Token(make_token()), 1, 99)
    assert of_admin(lab, OPERATE, UNLOCK) == reasons.PERSONS_REQUIRED and lab.door.moved == []


def test_all_before_revokes_by_the_end():
    for before, exp, reason in ((NOW_S + 60, 60, 0), (NOW_S + 61, 60, 23), (NOW_S - 10, 60, 0)):
        lab = OperationLab()
        lab.revocations.apply(kid_of(ADMIN), 0, 1, [[4, before, 0]])
        assert of_admin(lab, OPERATE, UNLOCK, {EXP: NOW_S + exp}) == reason
        assert lab.execute(OPERATE, UNLOCK, {EXP: NOW_S + exp}, STORE)[0] == reasons.GRANTED, "another issuer's"
    # over a nonce: made just now, if the lock knows when that is
    for before, state, reason in ((NOW_S, 1, 0), (NOW_S + 1, 1, 23), (NOW_S - 1000, 0, 23)):
        lab = OperationLab()
        lab.now = (NOW_S, state, 0)
        lab.revocations.apply(kid_of(ADMIN), 0, 1, [[4, before, 0]])
        assert of_admin(lab, OPERATE, UNLOCK, {EXP: MISSING, FRESH: CNONCE}) == reason


def test_an_id_that_was_good_once_is_no_way_past_a_revocation():
    lab = OperationLab()
    assert lab.execute(OPERATE, UNLOCK, {}, STORE)[0] == reasons.GRANTED
    lab.revocations.apply(kid_of(ADMIN), 0, 1, [[4, NOW_S + 100, 0]])
    assert lab.execute(OPERATE, UNLOCK, {SEQUENCE: 8}, STORE)[0] == reasons.GRANTED
    for _ in range(2):
        assert of_admin(lab, OPERATE, UNLOCK) in (reasons.REVOKED, reasons.SEQUENCE_STALE)
    assert of_admin(lab, OPERATE, UNLOCK, {SEQUENCE: 8, EXP: NOW_S + 120}) == reasons.GRANTED
    assert of_admin(lab, OPERATE, UNLOCK, {SEQUENCE: 9, EXP: NOW_S + 90}) == reasons.REVOKED


def test_each_issuer_has_a_sequence_of_its_own():
    lab = OperationLab()
    assert of_admin(lab, OPERATE, UNLOCK, {SEQUENCE: 100}) == reasons.GRANTED
    assert lab.execute(OPERATE, UNLOCK, {SEQUENCE: 6}, STORE)[0] == reasons.GRANTED
    assert lab.execute(OPERATE, UNLOCK, {SEQUENCE: 6}, STORE)[0] == reasons.SEQUENCE_STALE
    for sequence in (5, 99, 100):
        assert of_admin(lab, IDENTIFY, None, {SEQUENCE: sequence}) == reasons.SEQUENCE_STALE
    assert lab.result.body() == {1: reasons.SEQUENCE_STALE, 3: 100}
    assert (lab.configuration.sequence, lab.scenario.sequence) == (5, 5)


def test_the_same_id_with_a_new_sequence_is_a_new_command():
    lab = OperationLab()
    for sequence in (7, 8):
        assert of_admin(lab, OPERATE, UNLOCK, {SEQUENCE: sequence, ID: b"the-same"}) == reasons.GRANTED
    assert len(lab.door.moved) == 2


def test_what_was_done_or_refused_is_not_done_after_a_restart():
    lab = OperationLab()
    done, refused = make(OPERATE, UNLOCK), make(OPERATE, UNLOCK, {SEQUENCE: 8})
    assert lab.send(done)[0] == reasons.GRANTED
    lab.rules_scenario.is_lockdown = True
    assert lab.send(refused)[0] == reasons.LOCKED_DOWN
    lab.rules_scenario.is_lockdown = False
    for _ in range(2):
        assert lab.send(done)[0] == lab.send(refused)[0] == reasons.SEQUENCE_STALE
        lab.restart()
    assert len(lab.door.moved) == 1


def test_what_cannot_be_made_durable_moves_nothing():
    lab = OperationLab()
    lab.operations_blob.is_broken = True
    for number, body in ((OPERATE, UNLOCK), (IDENTIFY, None), (AUDIT, None)):
        assert lab.execute(number, body) == (reasons.FAULT, True)
        assert lab.records[-1][1][r.DETAIL] == "command:OSError"
    assert lab.door.moved == [] and lab.result.body() == {1: reasons.FAULT}
    lab.operations_blob.is_broken = False
    assert of_admin(lab, OPERATE, UNLOCK) == reasons.GRANTED


def test_without_a_sound_blob_operations_are_refused_and_nothing_else():
    whole = cbor.encode([[kid_of(ADMIN), 5], [kid_of(STORE), 5]])
    damaged = [None, b"", b"\x00", b"junk", whole[:-1], whole + b"\x00", cbor.encode([[kid_of(ADMIN)]]), bytes(300)]
    damaged += [cbor.encode(value) for value in (None, 7, {}, [7], [[7, 7, 7]], [[kid_of(ADMIN), -1]], "text")]
    damaged += [cbor.encode([[kid_of(ADMIN), True]]), cbor.encode([[kid_of(ADMIN), 2**32]]), cbor.encode([[[], 1]])]
    for blob in damaged:
        lab = OperationLab()
        lab.operations_blob.blob = blob
        lab.restart()
        assert not lab.operations.is_sound
        for number, body in ((OPERATE, UNLOCK), (IDENTIFY, None), (AUDIT, None)):
            assert lab.execute(number, body) == (reasons.FAULT, True), blob
        assert lab.door.moved == [] and lab.operations_blob.saves == 0
        assert lab.execute(4, {2: True})[0] == reasons.GRANTED
    lab = OperationLab()
    lab.operations_blob.is_broken = True
    lab.restart()
    assert not lab.operations.is_sound and of_admin(lab, OPERATE, UNLOCK) == reasons.FAULT


def test_an_issuer_that_the_blob_does_not_know_is_refused_and_the_others_are_not():
    lab = OperationLab()
    lab.operations_blob.blob = cbor.encode([[kid_of(STORE), 5]])
    lab.restart()
    assert not lab.operations.is_sound
    assert of_admin(lab, OPERATE, UNLOCK) == reasons.FAULT
    assert lab.execute(OPERATE, UNLOCK, {}, STORE)[0] == reasons.GRANTED


def test_what_could_not_be_proved_is_not_done_or_taken_back():
    lab = OperationLab()
    lab.is_sound = False
    for number, body in ((OPERATE, UNLOCK), (OPERATE, LOCK_IT), (IDENTIFY, None), (AUDIT, None)):
        assert lab.execute(number, body) == (reasons.FAULT, True)
    assert lab.door.moved == [] and lab.operations_blob.saves == 0
    lab.is_sound = True
    lab.door.lost = 1
    assert lab.execute(OPERATE, UNLOCK) == (reasons.FAULT, True) and lab.door.withdrawn == 1
    lab.door.lost = 0
    lab.door.works = False
    assert lab.execute(OPERATE, UNLOCK, {SEQUENCE: 8}) == (reasons.FAULT, True) and lab.door.withdrawn == 1


def test_only_whom_it_is_for_and_who_signed():
    lab = OperationLab()
    for changes, signer, reason in (
        ({AUD: "case-13"}, ADMIN, reasons.AUDIENCE_MISMATCH),
        ({AUD: "group:shoes"}, ADMIN, reasons.AUDIENCE_MISMATCH),
        ({AUD: GROUP}, STORE, reasons.AUDIENCE_MISMATCH),
        ({}, STRANGER, reasons.ISSUER_UNKNOWN),
    ):
        assert lab.execute(OPERATE, UNLOCK, changes, signer) == (reason, False)
    header = {1: -19, 3: "vitrine/command", 4: kid_of(ADMIN)}
    assert lab.execute(OPERATE, UNLOCK, {}, STRANGER, header) == (reasons.COMMAND_FORGED, False)
    assert lab.result.body() is None and lab.door.moved == [] and lab.operations_blob.saves == 0
    assert lab.execute(OPERATE, UNLOCK, {AUD: GROUP})[0] == reasons.GRANTED


def test_a_lock_without_operations_does_none():
    lab = OperationLab()
    lab.commands = lab.new_commands()
    for number in (OPERATE, IDENTIFY, AUDIT):
        assert of_admin(lab, number, None) == reasons.FAULT
    assert OperationLab().execute(8, None) == (reasons.COMMAND_UNKNOWN, True)
