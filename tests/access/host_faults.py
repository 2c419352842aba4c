"""What one fault in the controller can do, one at a time: each branch on the way to a grant skipped, each condition
inverted, each bit of a signature's verdict flipped.
"""

import ast
import inspect
import textwrap

import pytest

from support.access_lab import EXP, NOW_S, THIEF, TRUSTED, Lab, make_proof, make_token
from vitrine.access import reasons
from vitrine.access.decision import ACCEPT, DENY, GRANT, Decision, accepted, denied, granted, is_grant
from vitrine.access.policy import Policy
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
    refused = [Decision(), accepted(TOKEN)]
    refused += [denied(reason, TOKEN, told) for reason in range(23) for told in (False, True)]
    # damaged in memory: the reason cleared to Granted, the flag set, the verdict anything but GRANT
    verdicts = [0, 0x3FFFFFFF, DENY, ACCEPT]
    verdicts += [verdict ^ 1 << bit for verdict in (GRANT, DENY, ACCEPT) for bit in range(30)]
    refused += [Decision(verdict, reasons.GRANTED, TOKEN, True) for verdict in verdicts]
    for copy in copies:
        assert copy(granted(TOKEN))
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
            lab.session.present(token, reading)
        return lab.session.act(1, False, make_proof(token, nonce, signer=signer), 1, TRUSTED)
    except (AttributeError, TypeError):
        return denied(reasons.FAULT)  # nor does an exception open


def opened(wrong=lambda verdict: verdict):
    """Return the attacks that open the lock."""
    return [
        (number, reading, is_known)
        for number, (token, signer) in enumerate(attacks())
        for reading in (TRUSTED, (NOW_S, 0), None)  # untrusted: the token is kept and verified by the act
        for is_known in (True, False)
        if is_grant(judged(token, signer, wrong, reading, is_known))
    ]


PATH = [
    (Session, "_decide", 8),
    (Session, "_verify_token", 3),
    (VerifiedTokens, "verdict", 1),
    (Policy, "verify", 1),
    (Policy, "issuer_of", 1),
]


@pytest.mark.parametrize(("owner", "name", "branches"), PATH)
def test_a_skipped_branch_opens_nothing_without_both_signatures(monkeypatch, owner, name, branches):
    copies = without_each_branch(getattr(owner, name))
    assert len(copies) == branches
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
    for copy in without_each_branch(Session._decide)[:-1]:
        monkeypatch.setattr(Session, "_decide", copy)
        assert is_grant(Lab().run(make_token())[1])
