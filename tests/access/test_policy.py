"""vitrine.access.policy: every edge of time, each restriction alone and all of them together."""

from hashlib import sha256

from support import choices, given, ints, tuples
from support.access_lab import (
    AUD,
    CNF,
    CNONCE,
    CTI,
    EXP,
    HOLDER,
    ISS,
    ISSUER,
    NBF,
    NONCE,
    NOW_S,
    PERSONS,
    SCOPE,
    SUB,
    USES,
    UV,
    WINDOWS,
    Lab,
    cose_key,
    kid_of,
    make_provision,
    make_token,
)
from vitrine.access import reasons
from vitrine.access.decision import is_accepted, is_grant

LOCK, UNLOCK, HOLD, COURIER, SERVICE, TEST = 0, 1, 128, 129, 130, 131
UNTRUSTED, TRUSTED, COASTING = 0, 1, 2


def decide(lab, changes=None, action=UNLOCK, uv=False, instant=(NOW_S, TRUSTED, 0)):
    return lab.run(make_token(changes), action, uv, instant)[1]


def test_exp_is_held_against_the_latest_time_that_it_can_be():
    for now_s, error_s, reason in (
        (NOW_S - 1, 0, reasons.GRANTED),
        (NOW_S, 0, reasons.EXPIRED),
        (NOW_S - 10, 9, reasons.GRANTED),
        (NOW_S - 10, 10, reasons.EXPIRED),
        (NOW_S - 300, 300, reasons.EXPIRED),
    ):
        for state in (TRUSTED, COASTING):
            lab = Lab()
            assert decide(lab, {NBF: 1000, EXP: NOW_S}, instant=(now_s, state, error_s)).reason == (
                reasons.LIFETIME_EXCEEDED
            )
            assert decide(lab, {NBF: NOW_S - 3600, EXP: NOW_S}, instant=(now_s, state, error_s)).reason == reason


def test_nbf_and_windows_are_held_against_the_clock():
    lab = Lab()
    for now_s, reason in ((NOW_S - 1, reasons.NOT_YET_VALID), (NOW_S, reasons.GRANTED)):
        assert decide(lab, {NBF: NOW_S}, instant=(now_s, TRUSTED, 300)).reason == reason
    until_8 = {WINDOWS: [[127, 0, 480]], NBF: NOW_S - 3600}
    for now_s, reason in ((NOW_S - 1, reasons.GRANTED), (NOW_S, reasons.OUTSIDE_WINDOW)):
        assert decide(lab, until_8, instant=(now_s, TRUSTED, 300)).reason == reason


def test_windows_are_local_and_know_holidays():
    day = NOW_S // 86_400
    nine = {WINDOWS: [[127, 540, 600]]}
    assert decide(Lab(), nine).reason == reasons.OUTSIDE_WINDOW  # it is 08:00 UTC
    assert is_grant(decide(Lab(zone="CET-1CEST,M3.5.0,M10.5.0/3"), nine))
    assert decide(Lab(zone="CET-1", holidays=[[day, 1]]), nine).reason == reasons.OUTSIDE_WINDOW
    assert is_grant(decide(Lab(zone="CET-1", holidays=[[day, 1]]), {WINDOWS: [[128, 540, 600]]}))


def test_lockdown():
    lab = Lab(make_provision(scopes="unlock hold courier service admin"))
    lab.scenario.is_lockdown = True
    for action, scope, reason in (
        (UNLOCK, "unlock", reasons.LOCKED_DOWN),
        (HOLD, "hold", reasons.LOCKED_DOWN),
        (UNLOCK, "unlock admin", reasons.GRANTED),
        (HOLD, "hold admin", reasons.GRANTED),
        (HOLD, "unlock admin", reasons.SCOPE_MISSING),
        (LOCK, "unlock", reasons.GRANTED),
        (COURIER, "courier", reasons.GRANTED),
        (SERVICE, "service", reasons.GRANTED),
        (TEST, "service", reasons.LOCKED_DOWN),
        (TEST, "service admin", reasons.GRANTED),
        (TEST, "unlock hold admin", reasons.SCOPE_MISSING),
    ):
        assert decide(lab, {SCOPE: scope}, action).reason == reason, (action, scope)
    # anything but a clear no is a lockdown
    for unclear in (None, 0, 1, "no"):
        lab.scenario.is_lockdown = unclear
        assert decide(lab).reason == reasons.LOCKED_DOWN


def test_alarms_block_only_where_configured():
    for blocks, active, reason in (
        (0, 0xFF, reasons.GRANTED),
        (0xFF, 0, reasons.GRANTED),
        (0b0100, 0b1011, reasons.GRANTED),
        (0b0100, 0b0100, reasons.ALARM_ACTIVE),
        (0xFF, 0x80, reasons.ALARM_ACTIVE),
    ):
        lab = Lab(make_provision(scopes="unlock hold courier service"))
        lab.settings.alarm_blocks = blocks
        lab.active_alarms = active
        for action, scope in ((UNLOCK, "unlock"), (HOLD, "hold"), (TEST, "service")):
            assert decide(lab, {SCOPE: scope}, action).reason == reason
        for action, scope in ((LOCK, "unlock"), (COURIER, "courier"), (SERVICE, "service")):
            assert is_grant(decide(lab, {SCOPE: scope}, action))


def test_user_verification():
    for claims, required, limit, score, is_needed in (
        ({}, 0, 0, 100, False),
        ({UV: True}, 0, 0, 0, True),
        ({}, 1, 0, 0, True),
        ({}, 0, 50, 49, False),
        ({}, 0, 50, 50, True),
        ({}, 0, 100, 100, True),
        ({}, 0, 1, 0, False),
    ):
        lab = Lab()
        lab.settings.uv_required = required
        lab.settings.risk_uv = limit
        lab.risk.score, lab.risk.rule = score, "burst"
        for uv in (False, True):
            decision = decide(lab, claims, uv=uv)
            assert is_grant(decision) is (uv or not is_needed)
            assert decision.score == score and decision.rule == "burst"
            if not is_grant(decision):
                assert decision.reason == reasons.USER_VERIFICATION_REQUIRED
        # what the fixture or the risk ask for is about openings
        assert is_grant(decide(lab, claims, LOCK)) is not bool(claims)


def test_rules_that_are_not_known_refuse_everything():
    for name in ("configuration", "scenario"):
        for unsound in (False, None, 0):
            lab = Lab()
            getattr(lab, name).is_sound = unsound
            before, decision = lab.run(make_token())
            assert before.reason == decision.reason == reasons.FAULT and decision.is_authentic
            assert lab.issuer_checks == 1  # only for the act
    lab = Lab()
    lab.configuration.is_sound = False
    lab.configuration.settings = lab.configuration.calendar = None
    assert decide(lab).reason == reasons.FAULT


def test_uses_that_cannot_be_known_open_nothing():
    lab = Lab()
    lab.uses.is_broken = True
    assert decide(lab, {USES: 3}).reason == reasons.FAULT
    assert is_grant(decide(lab))
    # nor does anything but a clear yes
    for unclear in (None, 1, "yes"):
        lab = Lab()
        lab.uses.spend = lambda *_, unclear=unclear: unclear
        assert decide(lab, {USES: 3}).reason == reasons.STORE_FULL, "which is no bad try of its holder"


def test_what_could_not_be_proved_costs_no_use():
    lab = Lab()
    lab.rules.can_prove = lambda: False
    assert decide(lab, {USES: 1}).reason == reasons.FAULT and lab.uses.spent == {}
    lab.rules.can_prove = lambda: True
    assert is_grant(decide(lab, {USES: 1}))


def test_duress_opens_like_any_other():
    decision = decide(Lab(), {-70007: True})
    assert is_grant(decision) and decision.is_duress is True
    assert decide(Lab()).is_duress is False


# Each restriction, as it fails alone: (name, changes of the claims, what is done to the lock, how the act differs).
def set_up(**values):
    def prepare(lab):
        for name, value in values.items():
            owner = lab.settings if hasattr(type(lab.settings), name) else lab
            setattr(owner, name, value)

    return prepare


def revoke(lab):
    lab.revocations.revoked.add(b"identity")


def lock_out(lab):
    lab.lockouts.waits[HOLDER] = 1


def lock_down(lab):
    lab.scenario.is_lockdown = True


def sound_alarm(lab):
    lab.settings.alarm_blocks = lab.active_alarms = 8


def spend(lab):
    lab.uses.spent[kid_of(ISSUER), b"identity"] = 1


def forget_nonces(lab):
    lab.freshness.fresh = set()


def raise_risk(lab):
    lab.settings.risk_persons = lab.risk.score = 40


def spoil(name):
    def prepare(lab):
        getattr(lab, name).is_sound = False

    return prepare


def nothing(lab):
    pass


RESTRICTIONS = (
    ({ISS: "nobody"}, nothing, {}),
    ({AUD: "case-13"}, nothing, {}),
    ({SCOPE: "hold"}, nothing, {}),
    ({SCOPE: "unlock admin"}, nothing, {}),
    ({NBF: NOW_S + 1}, nothing, {}),
    ({EXP: NOW_S}, nothing, {}),
    ({EXP: NOW_S + 90_000}, nothing, {}),
    ({WINDOWS: [[127, 0, 480]]}, nothing, {}),
    ({UV: True}, nothing, {}),
    ({PERSONS: 2, SUB: b"me"}, nothing, {}),
    ({PERSONS: 3, SUB: b"me"}, nothing, {}),
    ({USES: 1}, spend, {}),
    ({CNONCE: NONCE}, forget_nonces, {}),
    ({}, revoke, {}),
    ({}, lock_out, {}),
    ({}, lock_down, {}),
    ({}, sound_alarm, {}),
    ({}, set_up(uv_required=1), {}),
    ({}, set_up(persons_required=2), {}),
    ({}, raise_risk, {}),
    ({}, spoil("configuration"), {}),
    ({}, spoil("scenario"), {}),
    ({}, nothing, {"instant": (NOW_S, UNTRUSTED, 0)}),
    ({}, nothing, {"instant": (NOW_S, TRUSTED, 3600)}),
    ({}, nothing, {"instant": (NOW_S + 3600, TRUSTED, 0)}),
    ({}, nothing, {"instant": (NOW_S - 61, TRUSTED, 0)}),
    ({}, nothing, {"action": 2}),
    ({}, nothing, {"signer": sha256(b"thief").digest()}),
)


def outcome(chosen):
    """Return the decision with the restrictions of these numbers."""
    lab = Lab()
    changes, how = {}, {}
    for number in chosen:
        more, prepare, differs = RESTRICTIONS[number]
        changes.update(more)
        how.update(differs)
        prepare(lab)
    return lab.run(make_token(changes), **how)[1]


def test_each_restriction_alone_refuses():
    assert is_grant(outcome(()))
    for number in range(len(RESTRICTIONS)):
        assert not is_grant(outcome((number,))), number


@given(ints(0, (1 << len(RESTRICTIONS)) - 1), examples=300)
def test_restrictions_only_take_away(mask):
    chosen = [number for number in range(len(RESTRICTIONS)) if mask >> number & 1]
    assert is_grant(outcome(chosen)) is not bool(chosen)


# What a token may be restricted by, each met or not at this moment; adding one must never open what was shut.
OPTIONS = (
    {NBF: NOW_S},
    {NBF: NOW_S + 1},
    {EXP: NOW_S + 1},
    {EXP: NOW_S + 2},
    {WINDOWS: [[127, 480, 481]]},
    {WINDOWS: [[127, 481, 480]]},
    {WINDOWS: [[64, 1320, 480], [32, 0, 481]]},
    {UV: True},
    {USES: 1},
    {PERSONS: 1},
    {PERSONS: 2, SUB: b"me"},
    {CNONCE: NONCE},
    {ISS: "hq"},
    {SCOPE: "hold unlock"},
    {AUD: ["case-12", "case-13"]},
)


@given(
    ints(0, (1 << len(OPTIONS)) - 1),
    ints(0, len(OPTIONS) - 1),
    choices((UNLOCK, HOLD, LOCK, COURIER, SERVICE, TEST)),
    choices((False, True)),
    tuples(ints(NOW_S - 1, NOW_S + 2), ints(0, 2), ints(0, 2)),
    choices((nothing, lock_down, set_up(persons_required=2), set_up(uv_required=1), sound_alarm, spend)),
    examples=400,
)
def test_adding_a_restriction_never_opens(mask, added, action, uv, instant, prepare):
    """Claims that restrict by something else than the ones there; a claim replaced by a looser one is another token."""

    def judged(numbers):
        lab = Lab()
        prepare(lab)
        changes = {}
        for number in numbers:
            for key, value in OPTIONS[number].items():
                changes[key] = value
        return lab.run(make_token(changes), action, uv, instant)[1]

    before = [n for n in range(len(OPTIONS)) if mask >> n & 1]
    taken = {key for n in before for key in OPTIONS[n]}
    if any(key in taken for key in OPTIONS[added]):
        return
    if action == HOLD and SCOPE in OPTIONS[added]:
        return  # a scope more is a right more
    if not is_grant(judged(before)):
        assert not is_grant(judged(before + [added]))


@given(ints(-3, 3), ints(-3, 3), ints(0, 5), ints(0, 3), choices((0, 1, 2)), ints(0, 1439), ints(0, 1440), examples=500)
def test_edges_of_time(nbf, exp, error_s, now, state, start, end):
    """Against the rules in plain words."""
    now_s = NOW_S + now
    claims = {NBF: NOW_S + nbf, EXP: NOW_S + exp, WINDOWS: [[127, start, end]]}
    lab = Lab()
    before, decision = lab.run(make_token(claims), instant=(now_s, state, error_s))
    minute = now_s % 86_400 // 60
    is_inside = start <= minute < end if start < end else minute >= start or minute < end
    is_valid = state in (1, 2) and nbf < exp and nbf <= now and now + error_s < exp
    assert is_accepted(before) is is_valid
    assert is_grant(decision) is (is_valid and is_inside)
    assert decision.is_authentic


def test_two_phones_of_one_token():
    """The holder's key is the token's: another phone with the same claims is another token."""
    other = sha256(b"other phone").digest()
    token = make_token({CNF: cose_key(other), CTI: b"identity"})
    assert not is_grant(Lab().run(token)[1])
    assert is_grant(Lab().run(token, signer=other)[1])
