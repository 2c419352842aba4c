"""vitrine.access.reasons against the table of SPEC.md 3.1, and a case that yields each reason and no other."""

from support.access_lab import (
    AUD,
    CNONCE,
    CTI,
    EXI,
    EXP,
    GROUP,
    HOLDER,
    IAT,
    ISS,
    ISSUER,
    LOCK,
    MISSING,
    NBF,
    NONCE,
    NOW_S,
    PERSONS,
    SCOPE,
    THIEF,
    TRUSTED,
    UNTRUSTED,
    USES,
    UV,
    WINDOWS,
    Lab,
    kid_of,
    make_proof,
    make_provision,
    make_token,
)
from vitrine.access import reasons
from vitrine.access.decision import is_grant

SPEC = __file__.rpartition("/")[0] + "/../../firmware/SPEC.md"


def spec_table():
    """Return {number: name} as SPEC.md 3.1 has it, and the sentence about Matter's errors."""
    with open(SPEC) as file:
        section = file.read().split("### 3.1 Reasons\n")[1].split("\n#")[0]
    rows = {}
    for line in section.split("\n"):
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[1].isdigit():
            rows[int(cells[1])] = cells[2]
    return rows, section.split("OperationErrorEnum for the record: ")[1]


def constant_name(name):
    """TokenMalformed -> TOKEN_MALFORMED"""
    out = ""
    for character in name:
        out += "_" + character if "A" <= character <= "Z" and out else character
    return out.upper()


def test_numbers_are_the_specification():
    rows, _ = spec_table()
    assert len(rows) >= 23
    for number, name in rows.items():
        assert getattr(reasons, constant_name(name)) == number
    constants = [name for name in dir(reasons) if name.isupper() and name[0] != "_"]
    assert len(constants) == len(rows)


def test_matter_errors_are_the_specification():
    # "1, 2, 9: InvalidCredential; 23: DisabledUserDenied; 3 to 8, 10: Restricted; others: Unspecified."
    codes = {"InvalidCredential": 1, "DisabledUserDenied": 2, "Restricted": 3}
    expected = {}
    for part in spec_table()[1].split(";")[:3]:
        numbers, _, name = part.partition(":")
        for piece in numbers.split(","):
            low, _, high = piece.partition(" to ")
            for number in range(int(low), int(high or low) + 1):
                expected[number] = codes[name.strip()]
    assert len(expected) > 15
    for number in spec_table()[0]:
        assert reasons.error_code(number) == expected.get(number, 0), number
    assert reasons.error_code(-1) == reasons.error_code(99) == 0


def outcome(lab, run):
    presented, act = run
    return presented, act, lab


def with_claims(changes, provision=None, **how):
    lab = Lab(provision)
    return outcome(lab, lab.run(make_token(changes), **how))


def signed_by(signer):
    lab = Lab()
    return outcome(lab, lab.run(make_token(signer=signer)))


def spent():
    lab = Lab()
    token = make_token({USES: 1})
    assert is_grant(lab.run(token)[1])
    return outcome(lab, lab.run(token))


def broken_store():
    lab = Lab()
    lab.uses.is_broken = True
    return outcome(lab, lab.run(make_token({USES: 1})))


def on_a_lock(prepare, changes=None, **how):
    lab = Lab()
    prepare(lab)
    return outcome(lab, lab.run(make_token(changes), **how))


def revoked(lab):
    lab.revocations.revoked.add(b"identity")


def locked_out(lab):
    lab.lockouts.waits[HOLDER] = 300


def locked_down(lab):
    lab.scenario.is_lockdown = True


def alarmed(lab):
    lab.active_alarms = 1 << 2
    lab.settings.alarm_blocks = 1 << 2


def uses_spent(lab):
    lab.uses.spent[kid_of(ISSUER), b"identity"] = 1


def unsound(lab):
    lab.scenario.is_sound = False


def stale_nonce(lab):
    lab.freshness.fresh = set()


EXI_TOKEN = {EXP: MISSING, NBF: MISSING, EXI: 60, CTI: bytes(8), CNONCE: NONCE}


def replayed_after_a_reset():
    before = Lab()
    assert is_grant(before.run(make_token(EXI_TOKEN))[1])
    lab = Lab(store=before.store)
    return outcome(lab, lab.run(make_token(EXI_TOKEN)))


def only_act(present, hello):
    lab = Lab()
    token = make_token()
    presented = lab.session.present(token, TRUSTED, lab.now_ms) if present else None
    nonce = lab.session.hello(lab.now_ms) if hello else bytes(16)
    return outcome(lab, (presented, lab.session.act(1, False, make_proof(token, nonce), lab.now_ms, TRUSTED)))


def with_proof(proof):
    lab = Lab()
    presented = lab.session.present(make_token(), TRUSTED, lab.now_ms)
    lab.session.hello(lab.now_ms)
    return outcome(lab, (presented, lab.session.act(1, False, proof, lab.now_ms, TRUSTED)))


CLOSED = [[127, 0, 480]]  # until 08:00, which it is
UNAUTHENTIC, TOLD = False, True

# reason: (how to get it, whether present refuses too, whether the holder has proved the key and is told)
CASES = {
    "Granted": (lambda: with_claims({}), False, TOLD),
    "TokenMalformed": (lambda: with_claims({CTI: b"short"}), True, UNAUTHENTIC),
    "IssuerUnknown": (lambda: with_claims({ISS: "somebody else"}), True, TOLD),
    "AudienceMismatch": (lambda: with_claims({AUD: ["case-13", "group:watches"]}), True, TOLD),
    "NotYetValid": (lambda: with_claims({NBF: NOW_S + 1}), True, TOLD),
    "Expired": (lambda: with_claims({EXP: NOW_S}), True, TOLD),
    "LifetimeExceeded": (lambda: with_claims({EXP: NOW_S - 60 + 86_401}), True, TOLD),
    "ScopeMissing": (lambda: with_claims({SCOPE: "hold"}), False, TOLD),
    "ScopeNotAllowed": (lambda: with_claims({SCOPE: "unlock admin"}), True, TOLD),
    "TokenForged": (lambda: signed_by(THIEF), True, UNAUTHENTIC),
    "TimeUntrusted": (lambda: with_claims({}, instant=UNTRUSTED), True, TOLD),
    "OutsideWindow": (lambda: with_claims({WINDOWS: CLOSED}), False, TOLD),
    "UserVerificationRequired": (lambda: with_claims({UV: True}), False, TOLD),
    "PersonsRequired": (lambda: with_claims({PERSONS: 2}), False, TOLD),
    "UsesExhausted": (spent, False, TOLD),
    "NoToken": (lambda: only_act(present=False, hello=True), None, UNAUTHENTIC),
    "NonceMissing": (lambda: only_act(present=True, hello=False), False, UNAUTHENTIC),
    "ProofMalformed": (lambda: with_proof(b"\x80"), False, UNAUTHENTIC),
    "ProofForged": (lambda: with_claims({}, signer=THIEF), False, UNAUTHENTIC),
    "ActionUnknown": (lambda: with_claims({}, action=2), False, TOLD),
    "Fault": (broken_store, False, TOLD),
    "LifetimeInverted": (lambda: with_claims({EXP: NOW_S - 60}), True, TOLD),
    "Revoked": (lambda: on_a_lock(revoked), True, TOLD),
    "LockedOut": (lambda: on_a_lock(locked_out), False, TOLD),
    "LockedDown": (lambda: on_a_lock(locked_down), False, TOLD),
    "AlarmActive": (lambda: on_a_lock(alarmed), False, TOLD),
    "FreshnessMissing": (lambda: on_a_lock(stale_nonce, EXI_TOKEN), True, TOLD),
    "SequenceStale": (replayed_after_a_reset, True, TOLD),
}
# without a provisioning record there is no policy, the dispatch says so; the others are those of commands and manifests
NOT_OURS = (
    "NotProvisioned",
    "SequenceGap",
    "CommandMalformed",
    "CommandForged",
    "CommandUnknown",
    "StoreFull",
    "NotForThisBoard",
    "PreconditionFailed",
    "DigestMismatch",
)


def test_each_reason_has_a_case_that_yields_exactly_it():
    rows, _ = spec_table()
    for number, name in rows.items():
        if name in NOT_OURS:
            continue
        run, present_refuses, is_told = CASES[name]
        presented, act, _ = run()
        assert act.reason == number, (name, rows[act.reason])
        assert act.is_authentic is is_told, name
        assert is_grant(act) is (number == 0), name
        if present_refuses is not None:
            expected = number if present_refuses else reasons.GRANTED
            assert presented.reason == expected, (name, rows[presented.reason])
            assert not presented.is_authentic and not is_grant(presented)
    assert len(CASES) + len(NOT_OURS) == len(rows)


def test_the_first_failing_check_is_the_reason():
    # each further change would yield a reason that is checked earlier
    names, _ = spec_table()
    changes = {USES: 1}
    fixture = []
    for change, reason in (
        (uses_spent, "UsesExhausted"),
        ({PERSONS: 2}, "PersonsRequired"),
        ({UV: True}, "UserVerificationRequired"),
        (alarmed, "AlarmActive"),
        ({WINDOWS: CLOSED}, "OutsideWindow"),
        (locked_down, "LockedDown"),
        ({SCOPE: "hold"}, "ScopeMissing"),
        (locked_out, "LockedOut"),
        ({CNONCE: bytes(16)}, "FreshnessMissing"),
        (revoked, "Revoked"),
        ({EXP: NOW_S - 1}, "Expired"),
        ({NBF: NOW_S + 3600, EXP: NOW_S + 3700}, "NotYetValid"),
        ({EXP: NOW_S + 3600 + 86_401}, "LifetimeExceeded"),
        ({EXP: NOW_S + 3600}, "LifetimeInverted"),
        ({SCOPE: "admin"}, "ScopeNotAllowed"),
        ({AUD: "case-13"}, "AudienceMismatch"),
        ({ISS: "nobody"}, "IssuerUnknown"),
        (unsound, "Fault"),
    ):
        if isinstance(change, dict):
            changes.update(change)
        else:
            fixture.append(change)
        lab = Lab()
        for prepare in fixture:
            prepare(lab)
        assert names[lab.run(make_token(changes))[1].reason] == reason
    assert names[Lab().run(make_token({}), instant=(0, 0, 0))[0].reason] == "TimeUntrusted"


def test_iat_stands_in_for_nbf():
    for changes, reason in (
        ({NBF: MISSING, IAT: NOW_S}, reasons.GRANTED),
        ({NBF: MISSING, IAT: NOW_S + 1}, reasons.NOT_YET_VALID),
        ({NBF: NOW_S, IAT: NOW_S + 1}, reasons.GRANTED),
        ({NBF: MISSING, IAT: NOW_S - 86_400}, reasons.LIFETIME_EXCEEDED),
    ):
        assert with_claims(changes)[1].reason == reason


def test_each_issuer_is_held_to_its_own_bounds():
    allowed = make_provision(max_lifetime_s=10, scopes="unlock", audiences=(GROUP,))
    good = {AUD: GROUP, NBF: NOW_S, EXP: NOW_S + 10}
    for change, reason in (
        ({}, reasons.GRANTED),
        ({AUD: LOCK}, reasons.AUDIENCE_MISMATCH),
        ({AUD: [LOCK, GROUP]}, reasons.GRANTED),
        ({SCOPE: "hold"}, reasons.SCOPE_NOT_ALLOWED),
        ({SCOPE: "unlock hold"}, reasons.SCOPE_NOT_ALLOWED),
        ({EXP: NOW_S + 11}, reasons.LIFETIME_EXCEEDED),
    ):
        changes = dict(good)
        changes.update(change)
        assert with_claims(changes, provision=allowed)[1].reason == reason
