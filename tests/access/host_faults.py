"""What one fault in the controller can do, one at a time: each branch on the way to a grant skipped, each condition
inverted, each bit of a signature's verdict flipped.

Without both signatures no single fault opens, even one that stays. With both, no branch that is skipped once opens what
a rule forbids: the rules are asked twice.
"""

import ast
import contextlib
import inspect
import textwrap

import pytest

from support.access_lab import (
    CNF,
    CNONCE,
    CTI,
    EXI,
    EXP,
    HOLDER,
    ISSUER,
    MISSING,
    NBF,
    NONCE,
    NOW_S,
    PERSONS,
    REVOKE,
    SUB,
    THIEF,
    TRUSTED,
    UNTRUSTED,
    USES,
    UV,
    WINDOWS,
    Lab,
    cose_key,
    kid_of,
    make_proof,
    make_provision,
    make_token,
)
from vitrine.access import persons, policy, proof, reasons
from vitrine.access.decision import ACCEPT, DENY, GRANT, Decision, accepted, denied, granted, is_grant
from vitrine.access.persons import Persons
from vitrine.access.policy import Policy
from vitrine.access.receipts import Receipts
from vitrine.access.session import Session, VerifiedTokens
from vitrine.access.token import Token
from vitrine.crypto import ed25519

TOKEN = Token(make_token())


class Skip(ast.NodeTransformer):
    """Removes the `wanted`-th if statement."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.seen = 0

    def visit_If(self, node):
        self.seen += 1
        return ast.Pass() if self.seen - 1 == self.wanted else self.generic_visit(node)


def without_each_branch(function):
    """Return copies of `function`, each without one of its if statements."""
    return changed(function, Skip)


def changed(function, fault):
    """Return a copy of `function` for each place that `fault` changes."""
    copies = []
    while True:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        change = fault(len(copies))
        tree = ast.fix_missing_locations(change.visit(tree))
        if len(copies) >= change.seen:
            return copies
        namespace = dict(function.__globals__)
        exec(compile(tree, "<fault>", "exec"), namespace)
        copies.append(namespace[function.__name__])


class Invert(ast.NodeTransformer):
    """Inverts the `wanted`-th comparison or condition."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.seen = 0

    def inverted(self, node):
        self.seen += 1
        is_it = self.seen - 1 == self.wanted
        return ast.copy_location(ast.UnaryOp(ast.Not(), node), node) if is_it else node

    def visit_Compare(self, node):
        return self.inverted(self.generic_visit(node))

    def visit_If(self, node):
        self.generic_visit(node)
        node.test = self.inverted(node.test)
        return node

    visit_IfExp = visit_If


def with_each_condition_inverted(function):
    """Return copies of `function`, each with one comparison or condition the other way round."""
    return changed(function, Invert)


def test_a_skipped_branch_of_is_grant_still_denies():
    copies = without_each_branch(is_grant)
    assert len(copies) == 2
    alone = granted(TOKEN, reasons.GRANTED)
    alone.wanted = 2
    refused = [Decision(), accepted(TOKEN)]
    refused += [denied(reason, TOKEN, told) for reason in range(34) for told in (False, True)]
    # damaged in memory: the reason cleared to Granted, the flag set, the verdict anything but GRANT
    verdicts = [0, 0x3FFFFFFF, DENY, ACCEPT]
    verdicts += [verdict ^ 1 << bit for verdict in (GRANT, DENY, ACCEPT) for bit in range(30)]
    refused += [Decision(verdict, reasons.GRANTED, TOKEN, True) for verdict in verdicts]
    assert not is_grant(alone)  # by the second branch alone: who counts persons is asked again in policy.py
    for copy in copies:
        assert copy(granted(TOKEN, reasons.GRANTED))
        assert not any(copy(decision) for decision in refused)


def attacks():
    """Yield (token, who signs the proof): everything that only a signature stops."""
    stolen = make_token()
    self_made = make_token({8: {1: {1: 1, -1: 6, -2: THIEF}}}, signer=THIEF)
    yield stolen, THIEF
    yield self_made, THIEF
    yield make_token({8: {1: {1: 1, -1: 6, -2: THIEF}}, EXP: NOW_S + 60}, signer=THIEF), THIEF


def judged(token, signer, wrong, reading, is_known):
    """Return the decision on an attack; `wrong` turns a refusing verdict of the signatures into another."""
    lab = Lab()

    def faulty(verify):
        def verified(*given):
            verdict = verify(*given)
            return verdict if verdict == ed25519.GRANT else wrong(verdict)

        return verified

    lab.policy._verify_issuer = faulty(lab._verify_issuer)
    lab.session._verify_holder = faulty(lab._verify_holder)
    if is_known:  # the lock knows a good token
        lab.cache.add(TOKEN.hash, ed25519.GRANT)
    nonce = lab.session.hello(0)
    try:
        if reading:
            lab.session.present(token, reading, 0)
        return lab.session.act(1, False, make_proof(token, nonce, signer=signer), 1, TRUSTED)
    except (AttributeError, TypeError):
        return denied(reasons.FAULT)  # nor does an exception open


def opened(wrong=lambda verdict: verdict):
    """Return the attacks that open the lock."""
    return [
        (number, reading, is_known)
        for number, (token, signer) in enumerate(attacks())
        for reading in (TRUSTED, UNTRUSTED, None)  # untrusted: the token is kept and verified by the act
        for is_known in (True, False)
        if is_grant(judged(token, signer, wrong, reading, is_known))
    ]


PATH = [
    (Session, "present", 2),
    (Session, "act", 1),
    (Session, "_decide", 8),
    (proof, "split", 2),
    (Session, "_verify_token", 3),
    (Session, "_revoke", 2),
    (VerifiedTokens, "verdict", 1),
    (Policy, "verify", 1),
    (Policy, "issuer_of", 1),
    (Policy, "check", 1),
    (Policy, "_check_claims", 3),
    (Policy, "revoke", 1),
    (Policy, "admit", 2),
    (Policy, "decide", 1),
    (Policy, "_decide", 5),
    (Policy, "_repair", 0),
    (Policy, "_check_repair", 4),
    (Policy, "_judge", 0),
    (Policy, "_check_act", 6),
    (Policy, "_check_uv", 1),
    (Policy, "_join", 7),
    (Policy, "_wanted", 1),
    (Policy, "_spend", 4),
    (Policy, "_has_uses", 2),
    (policy, "_check_lifetime", 3),
    (policy, "_check_time", 4),
    (Receipts, "receive", 1),
    (Receipts, "is_just_made", 1),
    (Receipts, "_refusal", 2),
    (Receipts, "_keep", 2),
    (Receipts, "_take", 0),
    (Receipts, "_find", 1),
    (Persons, "note", 2),
    (Persons, "others", 0),
    (persons, "_differ", 1),
]


@pytest.mark.parametrize(("owner", "name", "branches"), PATH)
def test_a_skipped_branch_opens_nothing_without_both_signatures(monkeypatch, owner, name, branches):
    copies = without_each_branch(getattr(owner, name))
    assert len(copies) == branches, len(copies)
    for copy in copies:
        monkeypatch.setattr(owner, name, copy)
        assert opened() == []


@pytest.mark.parametrize(("owner", "name", "branches"), PATH)
def test_an_inverted_condition_opens_nothing_without_both_signatures(monkeypatch, owner, name, branches):
    copies = with_each_condition_inverted(getattr(owner, name))
    assert len(copies) >= branches
    for copy in copies:
        monkeypatch.setattr(owner, name, copy)
        assert opened() == []


def test_a_flipped_bit_of_a_verdict_opens_nothing():
    for bit in range(30):
        assert opened(lambda verdict, bit=bit: verdict ^ 1 << bit) == []
    for value in (True, 0, -1, 1, 0x3FFFFFFF, GRANT, ACCEPT):
        assert opened(lambda verdict, value=value: value) == []
    assert opened(lambda verdict: ed25519.GRANT) != []  # it is what decides


def test_a_skipped_branch_remembers_no_forged_token(monkeypatch):
    """What one fault lets into the memory of verified tokens must not open later, without a fault."""
    for change in (without_each_branch, with_each_condition_inverted):
        for copy in change(Session._verify_token):
            lab = Lab()
            forged, signer = list(attacks())[1]
            with monkeypatch.context() as patch:
                patch.setattr(Session, "_verify_token", copy)
                lab.run(forged, signer=signer)
            assert not is_grant(lab.run(forged, signer=signer)[1])


def test_the_faults_do_not_break_what_they_do_not_touch(monkeypatch):
    for copy in without_each_branch(Session._decide)[:-2]:
        monkeypatch.setattr(Session, "_decide", copy)
        assert is_grant(Lab().run(make_token())[1])


# Genuine tokens, proved by their holders, that a rule forbids: (claims, what is done to the lock, the act).
def revoke(lab):
    lab.revocations.revoked.add(b"identity")


def lock_out(lab):
    lab.lockouts.waits[HOLDER] = 60


def lock_down(lab):
    lab.scenario.is_lockdown = True


def sound_alarm(lab):
    lab.settings.alarm_blocks = lab.active_alarms = 1


def require_uv(lab):
    lab.settings.uv_required = 1


def require_two(lab):
    lab.settings.persons_required = 2


def bring(lab, sub, key):
    lab.settings.persons_required = 2
    other = Token(make_token({SUB: sub, CTI: b"token of another", CNF: cose_key(key)}))
    lab.rules.persons.note(other, 1, lab.now_ms)


def bring_a_revoked_one(lab):
    bring(lab, b"somebody", THIEF)
    lab.revocations.revoked.add(b"token of another")


def bring_another_phone(lab):
    bring(lab, b"me", THIEF)


def bring_another_name(lab):
    bring(lab, b"somebody", HOLDER)


def use_up(lab):
    lab.uses.spent[kid_of(ISSUER), b"identity"] = 1


def forget_nonces(lab):
    lab.freshness.fresh = set()


def take_high_number(lab):
    lab.rules.receipts._taken = {kid_of(ISSUER): 99}


def break_scenario(lab):
    lab.scenario.is_sound = False


def as_it_is(lab):
    pass


FORBIDDEN = [
    ({3: "case-13"}, as_it_is, {}),
    ({1: "nobody"}, as_it_is, {}),
    ({9: "hold"}, as_it_is, {}),
    ({9: "unlock admin"}, as_it_is, {}),
    ({EXP: NOW_S}, as_it_is, {}),
    ({EXP: NOW_S - 60}, as_it_is, {}),
    ({EXP: NOW_S + 100_000}, as_it_is, {}),
    ({NBF: NOW_S + 1}, as_it_is, {}),
    ({WINDOWS: [[127, 0, 480]]}, as_it_is, {}),
    ({UV: True}, as_it_is, {}),
    ({PERSONS: 2, SUB: b"me"}, as_it_is, {}),
    ({SUB: b"me"}, bring_a_revoked_one, {}),
    ({SUB: b"me"}, bring_another_phone, {}),
    ({SUB: b"me"}, bring_another_name, {}),
    ({USES: 1}, use_up, {}),
    ({CNONCE: NONCE}, forget_nonces, {}),
    ({EXP: MISSING, NBF: MISSING, EXI: 60, CTI: bytes(8), CNONCE: NONCE}, forget_nonces, {}),
    ({EXP: MISSING, NBF: MISSING, EXI: 60, CTI: bytes(8), CNONCE: NONCE}, take_high_number, {}),
    ({}, revoke, {}),
    ({}, lock_out, {}),
    ({}, lock_down, {}),
    ({}, sound_alarm, {}),
    ({}, require_uv, {}),
    ({}, require_two, {}),
    ({}, break_scenario, {}),
    ({}, as_it_is, {"instant": UNTRUSTED}),
    ({}, as_it_is, {"action": 2}),
]
RULES = [place for place in PATH if place[0] not in (Session, VerifiedTokens) and place[1] != "issuer_of"]


def once(faulty, sound):
    """Return a function that does as `faulty` the first time, and as `sound` ever after."""
    calls = []

    def called(*given):
        calls.append(given)
        return (faulty if len(calls) == 1 else sound)(*given)

    return called


@pytest.mark.parametrize(("owner", "name", "branches"), RULES)
@pytest.mark.parametrize("change", [without_each_branch, with_each_condition_inverted])
@pytest.mark.parametrize("at_the_act", [False, True])
def test_a_fault_that_comes_once_opens_nothing_that_a_rule_forbids(
    monkeypatch, owner, name, branches, change, at_the_act
):
    sound = getattr(owner, name)
    for number, faulty in enumerate(change(sound)):
        for changes, prepare, how in FORBIDDEN:
            lab = Lab()
            prepare(lab)
            token = make_token(changes)
            action, instant = how.get("action", 1), how.get("instant", TRUSTED)
            nonce = lab.session.hello(lab.now_ms)
            with monkeypatch.context() as patch:
                if not at_the_act:
                    patch.setattr(owner, name, once(faulty, sound))
                try:
                    lab.session.present(token, instant, lab.now_ms)
                    if at_the_act:
                        patch.setattr(owner, name, once(faulty, sound))
                    decision = lab.session.act(action, False, make_proof(token, nonce, action), lab.now_ms, instant)
                except (AttributeError, TypeError, KeyError, NameError):
                    continue  # nor does an exception open
            assert not is_grant(decision), (name, number, changes, prepare.__name__)


def lose_configuration(lab):
    lab.configuration.is_sound = False


def lose_receipts(lab):
    lab.rules.receipts._taken = None


def lose_revocations(lab):
    lab.revocations.is_broken = lab.uses.is_broken = True


def lose_and_revoke(lab):
    lose_configuration(lab)
    revoke(lab)
    lab.revocations.revoked.add(bytes(8))


def lose_and_forget(lab):
    lose_revocations(lab)
    forget_nonces(lab)


LOST = (break_scenario, lose_configuration, lose_receipts, lose_revocations)
JUST_MADE = {9: "service unlock hold courier", EXP: MISSING, NBF: MISSING, EXI: 60, CTI: bytes(8), CNONCE: NONCE}
SERVICE = 130
# what a lock that has lost its rules refuses: (claims, what is done to the lock, action)
LOST_FORBIDDEN = [(JUST_MADE, lose, action) for lose in LOST for action in (0, 1, 128, 129, 131, 2)] + [
    (JUST_MADE | changes, lose, SERVICE)
    for lose in LOST
    for changes in (
        {EXI: MISSING, EXP: NOW_S + 60, NBF: NOW_S - 60, CNONCE: MISSING, CTI: b"identity"},
        {EXI: MISSING, EXP: NOW_S + 60, NBF: NOW_S - 60, CTI: b"identity"},
        {EXI: 1},  # the nonce is a second old
        {USES: 9},
        {WINDOWS: [[127, 0, 1440]]},
        {PERSONS: 2, SUB: b"me"},
        {UV: True},
        {REVOKE: [0, 9, []]},
        {9: "unlock"},
        {9: "service admin"},
        {3: "case-13"},
        {NBF: NOW_S + 1},
    )
]
LOST_FORBIDDEN += [(JUST_MADE, lose_and_revoke, SERVICE), (JUST_MADE, lose_and_forget, SERVICE)]


def lost_decision(monkeypatch, changes, lose, action, *fault):
    """The decision of a lock that has lost something; `fault`: owner, name and function that is faulty once."""
    lab = Lab(make_provision(scopes="unlock hold service courier"))
    lose(lab)
    token = make_token(changes)
    nonce = lab.session.hello(lab.now_ms)
    with monkeypatch.context() as patch:
        lab.session.present(token, TRUSTED, lab.now_ms)
        if fault:
            patch.setattr(*fault)
        try:
            return lab.session.act(action, False, make_proof(token, nonce, action), lab.now_ms, TRUSTED)
        except (AttributeError, TypeError, KeyError, NameError):
            return denied(reasons.FAULT)  # nor does an exception open


def test_a_lock_that_lost_its_rules_grants_service_to_who_was_just_sent_and_nothing_else(monkeypatch):
    for lose in LOST:
        assert is_grant(lost_decision(monkeypatch, JUST_MADE, lose, SERVICE)), lose.__name__
    for changes, lose, action in LOST_FORBIDDEN:
        assert not is_grant(lost_decision(monkeypatch, changes, lose, action)), (changes, lose.__name__, action)
    lab = Lab(make_provision(scopes="unlock hold service courier"))
    lose_configuration(lab)
    lab.rules.can_prove = lambda: False
    assert not is_grant(lab.run(make_token(JUST_MADE), SERVICE)[1])


@pytest.mark.parametrize(("owner", "name", "branches"), RULES)
@pytest.mark.parametrize("change", [without_each_branch, with_each_condition_inverted])
def test_a_fault_that_comes_once_has_a_lock_without_its_rules_grant_nothing_more(
    monkeypatch, owner, name, branches, change
):
    sound = getattr(owner, name)
    for number, faulty in enumerate(change(sound)):
        for changes, lose, action in LOST_FORBIDDEN:
            fault = (owner, name, once(faulty, sound))
            decision = lost_decision(monkeypatch, changes, lose, action, *fault)
            assert not is_grant(decision), (name, number, changes, lose.__name__, action)


def test_no_fault_lets_a_forged_token_change_what_is_kept(monkeypatch):
    """What it revokes, or the sequence number it takes, would lock people out for good."""
    forged = make_token(
        {
            EXP: MISSING,
            NBF: MISSING,
            EXI: 60,
            CTI: b"\xff" * 8,
            CNONCE: NONCE,
            CNF: cose_key(THIEF),
            REVOKE: [0, 9, []],
        },
        signer=THIEF,
    )
    for owner, name, _ in PATH:
        for copy in without_each_branch(getattr(owner, name)) + with_each_condition_inverted(getattr(owner, name)):
            lab = Lab()
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, copy)
                with contextlib.suppress(AttributeError, TypeError, KeyError, NameError):
                    lab.run(forged, signer=THIEF)
            assert lab.revocations.lists == [] and lab.store.saves == 0, name
