"""vitrine.access.persons, and openings that need several persons, through the whole session (SPEC.md 3.4)."""

from hashlib import sha256

from support import choices, given, ints, lists, tuples
from support.access_lab import CNF, CTI, DURESS, EXP, NOW_S, PERSONS, SUB, USES, WINDOWS, Lab, cose_key, make_token
from vitrine.access import reasons
from vitrine.access.decision import is_grant
from vitrine.access.persons import Persons
from vitrine.access.token import Token

UNLOCK, HOLD = 1, 128
WINDOW_MS = 30_000


def key_of(n):
    return sha256(b"holder %d" % n).digest()


def person(n, wanted=2, sub=None, key=None, cti=None, **more):
    """Return (token, key) of person n."""
    key = key or key_of(n)
    changes = {SUB: sub or b"person %d" % n, CTI: cti or b"token %02d" % n, CNF: cose_key(key), 9: "hold unlock"}
    if wanted is not None:
        changes[PERSONS] = wanted
    changes.update(
        {{"uses": USES, "duress": DURESS, "exp": EXP, "windows": WINDOWS}[name]: more[name] for name in more}
    )
    return make_token(changes), key


def ask(lab, who, action=UNLOCK, uv=False, at_ms=None):
    """Ask over a connection of one's own; return the decision."""
    if at_ms is not None:
        lab.now_ms = at_ms
    lab.session = lab.new_session()
    return lab.run(who[0], action, uv, signer=who[1])[1]


def counts(decision):
    return decision.persons, decision.wanted


def test_two_open_together_and_then_start_anew():
    lab = Lab()
    for _ in range(2):
        first = ask(lab, person(1))
        assert first.reason == reasons.PERSONS_REQUIRED and counts(first) == (1, 2) and first.is_authentic
        second = ask(lab, person(2))
        assert is_grant(second) and counts(second) == (2, 2)


def test_three():
    lab = Lab()
    assert counts(ask(lab, person(1, 3))) == (1, 3)
    assert counts(ask(lab, person(2, 3))) == (2, 3)
    assert counts(ask(lab, person(2, 3))) == (2, 3)  # asking twice is asking once
    decision = ask(lab, person(3, 3))
    assert is_grant(decision) and counts(decision) == (3, 3)


def test_one_alone_never_opens():
    for again in (
        person(1),
        person(1, cti=b"another 1"),
        person(1, sub=b"another"),  # the same phone under another name
        person(1, key=key_of(9)),  # another phone of the same person
    ):
        lab = Lab()
        for _ in range(3):
            assert counts(ask(lab, person(1))) == (1, 2)
            assert counts(ask(lab, again)) == (1, 2)


def test_who_has_no_sub_is_nobody():
    nobody = make_token({PERSONS: 2, CNF: cose_key(key_of(8))}), key_of(8)
    lab = Lab()
    for who in (person(1), nobody, nobody):
        assert ask(lab, who).reason == reasons.PERSONS_REQUIRED
    assert counts(ask(lab, nobody)) == (1, 2)
    assert is_grant(ask(lab, person(2)))


def test_the_action_must_be_the_same():
    lab = Lab()
    assert not is_grant(ask(lab, person(1), UNLOCK))
    assert counts(ask(lab, person(2), HOLD)) == (1, 2)
    # each is noted for what they asked last
    assert counts(ask(lab, person(1), HOLD)) == (2, 2)


def test_the_window():
    for start_ms in (0, 5000, 0x3FFFFFFF - 10_000):
        for age_ms, is_granted in ((0, True), (29_999, True), (30_000, True), (30_001, False), (1 << 29, False)):
            lab = Lab()
            assert not is_grant(ask(lab, person(1), at_ms=start_ms))
            assert is_grant(ask(lab, person(2), at_ms=(start_ms + age_ms) & 0x3FFFFFFF)) is is_granted, age_ms
    lab = Lab()
    lab.settings.persons_window_ms = 5000
    ask(lab, person(1), at_ms=0)
    assert not is_grant(ask(lab, person(2), at_ms=5001))


def test_ticks_that_wrap_bring_nobody_back():
    lab = Lab()
    ask(lab, person(1), at_ms=1000)
    for _ in range(13):
        lab.now_ms += 86_400_000
        lab.rules.tend(lab.now_ms & 0x3FFFFFFF)
    assert not is_grant(ask(lab, person(2), at_ms=(1000 + (1 << 30)) & 0x3FFFFFFF))


def test_whoever_is_noted_is_judged_again():
    def revoked(lab):
        lab.revocations.revoked.add(b"token 01")

    def locked_out(lab):
        lab.lockouts.waits[key_of(1)] = 1

    for meanwhile in (revoked, locked_out):
        lab = Lab()
        ask(lab, person(1))
        meanwhile(lab)
        assert counts(ask(lab, person(2))) == (1, 2)
    # expired between the two
    lab = Lab()
    first = person(1, exp=NOW_S + 10)
    ask(lab, first)
    lab.session = lab.new_session()
    later = (NOW_S + 10, 1, 0)
    decision = lab.run(person(2)[0], instant=later, signer=key_of(2))[1]
    assert decision.reason == reasons.PERSONS_REQUIRED and counts(decision) == (1, 2)


def test_the_fixture_and_the_risk_can_ask_for_more():
    lab = Lab()
    lab.settings.persons_required = 2
    assert counts(ask(lab, person(1, None))) == (1, 2)
    assert is_grant(ask(lab, person(2, None)))
    lab = Lab()
    lab.settings.risk_persons = 60
    lab.risk.score = 59
    assert is_grant(ask(lab, person(1, None)))
    lab.risk.score = 60
    first = ask(lab, person(1, None))
    assert counts(first) == (1, 2) and first.score == 60
    assert is_grant(ask(lab, person(2, None)))
    lab.settings.persons_required = 3  # whichever is most
    assert counts(ask(lab, person(1, 2))) == (1, 3)
    # they are about openings: locking takes nobody else
    assert is_grant(ask(lab, person(1, None), 0))


def test_a_token_that_wants_three_takes_part_only_in_three():
    lab = Lab()
    assert counts(ask(lab, person(1, 3))) == (1, 3)
    assert counts(ask(lab, person(2, 2))) == (2, 3)
    assert is_grant(ask(lab, person(3, 2)))
    # of those who asked, the ones who want the fewest
    lab = Lab()
    ask(lab, person(1, 3))
    ask(lab, person(2, 1), HOLD)
    lab.settings.persons_required = 2
    ask(lab, person(2, 1))
    decision = ask(lab, person(3, 1))
    assert is_grant(decision) and counts(decision) == (2, 2)
    # whoever was not needed is still there
    assert counts(ask(lab, person(4, 3))) == (2, 3)


def test_uses_of_everybody_are_spent():
    lab = Lab()
    first, second = person(1, uses=1), person(2, uses=2)
    assert not is_grant(ask(lab, first))
    assert lab.uses.saves == 0
    assert is_grant(ask(lab, second))
    assert sorted(lab.uses.spent.values()) == [1, 1]
    # the first has none left: not there, and nothing is spent on the refusal
    ask(lab, first)
    assert counts(ask(lab, second)) == (1, 2) and lab.uses.saves == 2


def test_nothing_is_spent_if_one_has_none_left():
    lab = Lab()
    lab.uses.spent[Token(person(2)[0]).kid, b"token 02"] = 1
    ask(lab, person(1, uses=1))
    assert ask(lab, person(2, uses=1)).reason == reasons.USES_EXHAUSTED
    assert lab.uses.saves == 0
    # a store that cannot be read opens nothing
    lab = Lab()
    ask(lab, person(1, uses=1))
    lab.uses.is_broken = True
    assert ask(lab, person(2)).reason == reasons.FAULT


def test_whose_user_was_not_verified_does_not_count_once_the_fixture_asks_for_it():
    lab = Lab()
    ask(lab, person(1))
    lab.settings.uv_required = 1
    assert counts(ask(lab, person(2), uv=True)) == (1, 2)
    assert is_grant(ask(lab, person(3), uv=True))


def test_whoever_has_no_use_left_costs_nobody_their_asking():
    lab = Lab()
    lab.uses.spent[Token(person(2)[0]).kid, b"token 02"] = 1
    ask(lab, person(1))
    assert ask(lab, person(2, uses=1)).reason == reasons.USES_EXHAUSTED
    assert is_grant(ask(lab, person(3)))


def test_one_token_for_two_is_spent_twice():
    """A mistake of the issuer: two tokens with one identity share their uses."""
    lab = Lab()
    ask(lab, person(1, cti=b"the same", uses=1))
    assert ask(lab, person(2, cti=b"the same", uses=1)).reason == reasons.USES_EXHAUSTED


def test_duress_of_one_is_duress_of_the_grant():
    for first, second, is_duress in ((True, False, True), (False, True, True), (False, False, False)):
        lab = Lab()
        ask(lab, person(1, duress=True) if first else person(1))
        decision = ask(lab, person(2, duress=True) if second else person(2))
        assert is_grant(decision) and decision.is_duress is is_duress


def test_refused_ones_are_not_noted():
    for who, action, uv_required in ((person(1), 7, 0), (person(1, windows=[[1, 0, 1]]), 1, 0), (person(1), 1, 1)):
        lab = Lab()
        lab.settings.uv_required = uv_required
        assert ask(lab, who, action).reason != reasons.PERSONS_REQUIRED
        lab.settings.uv_required = 0
        assert counts(ask(lab, person(2))) == (1, 2)


def test_uv_is_judged_when_each_asks():
    lab = Lab()
    lab.settings.uv_required = 1
    assert ask(lab, person(1)).reason == reasons.USER_VERIFICATION_REQUIRED
    assert ask(lab, person(1), uv=True).reason == reasons.PERSONS_REQUIRED
    assert ask(lab, person(2)).reason == reasons.USER_VERIFICATION_REQUIRED
    assert is_grant(ask(lab, person(2), uv=True))


def test_eight_are_noted():
    persons = Persons()
    tokens = [Token(person(n)[0]) for n in range(10)]
    for n, token in enumerate(tokens[:9]):
        persons.note(token, UNLOCK, n)
    assert persons.others(tokens[9], UNLOCK, 9, WINDOW_MS) == tokens[1:9]
    persons.forget(tokens[3:9])
    assert persons.others(tokens[9], UNLOCK, 9, WINDOW_MS) == tokens[1:3]
    assert persons.others(tokens[1], UNLOCK, 9, WINDOW_MS) == tokens[2:3]


def test_nobody_stays_noted_who_shares_a_name_or_a_phone():
    persons = Persons()
    one, two = Token(person(1)[0]), Token(person(2)[0])
    both = Token(person(3, sub=one.sub, key=two.holder_key)[0])
    persons.note(one, UNLOCK, 0)
    persons.note(two, UNLOCK, 0)
    persons.note(both, UNLOCK, 0)
    assert persons.others(Token(person(4)[0]), UNLOCK, 0, WINDOW_MS) == [both]


@given(
    lists(tuples(ints(1, 5), ints(1, 4), ints(1, 3), ints(0, 20_000), choices((UNLOCK, HOLD))), 1, 8),
    examples=60,
)
def test_any_order(asking):
    """Granted exactly if enough different persons asked for the same in time, by a list kept here."""
    lab = Lab()
    now_ms = 0
    noted = []  # (name, phone, wanted, action, at)
    for name, phone, wanted, step_ms, action in asking:
        now_ms += step_ms
        sub, key = b"name %d" % name, key_of(phone)
        decision = ask(lab, person(name, wanted, sub=sub, key=key), action, at_ms=now_ms)
        noted = [one for one in noted if now_ms - one[4] <= WINDOW_MS]
        others = [one for one in noted if one[3] == action and one[0] != name and one[1] != phone]
        enough = [
            chosen for chosen in _subsets(others) if len(chosen) + 1 >= max([wanted] + [one[2] for one in chosen])
        ]
        assert is_grant(decision) is bool(enough), asking
        if enough:
            assert decision.persons == min(len(chosen) + 1 for chosen in enough) >= decision.wanted
            # which ones is no matter of the rule; go on without any
            lab.rules.persons.forget([decision.token])
            lab.rules.persons._noted = []
            noted = []
        else:
            assert decision.reason == reasons.PERSONS_REQUIRED
            noted = [one for one in noted if one[0] != name and one[1] != phone]
            noted.append((name, phone, wanted, action, now_ms))


def _subsets(items):
    for mask in range(1 << len(items)):
        yield [item for n, item in enumerate(items) if mask >> n & 1]
