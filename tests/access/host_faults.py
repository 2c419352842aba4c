"""What one fault in the controller can do: every branch of the last checks skipped, one at a time."""

import ast
import inspect
import textwrap

from support.access_lab import EXP, NOW_S, THIEF, TRUSTED, Lab, make_proof, make_token
from vitrine.access import reasons
from vitrine.access.decision import ACCEPT, DENY, GRANT, Decision, accepted, denied, granted, is_grant
from vitrine.access.session import Session
from vitrine.access.token import Token

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
    copies = []
    while True:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        skip = Skip(len(copies))
        tree = ast.fix_missing_locations(skip.visit(tree))
        if len(copies) >= skip.seen:
            return copies
        namespace = dict(function.__globals__)
        exec(compile(tree, "<fault>", "exec"), namespace)
        copies.append(namespace[function.__name__])


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


def test_a_skipped_branch_of_the_session_opens_nothing_without_both_signatures(monkeypatch):
    copies = without_each_branch(Session._decide)
    assert len(copies) >= 7
    for copy in copies:
        monkeypatch.setattr(Session, "_decide", copy)
        for token, signer in attacks():
            for is_presented in (True, False):
                lab = Lab()
                nonce = lab.session.hello(0)
                if is_presented:
                    lab.session.present(token, TRUSTED)
                try:
                    decision = lab.session.act(1, False, make_proof(token, nonce, signer=signer), 1, TRUSTED)
                except (AttributeError, TypeError):
                    continue  # nor does an exception
                assert not is_grant(decision)
        lab = Lab()
        assert is_grant(lab.run(make_token())[1])


def test_a_skipped_branch_of_the_verification_opens_nothing(monkeypatch):
    for copy in without_each_branch(Session._verify_token):
        monkeypatch.setattr(Session, "_verify_token", copy)
        for token, signer in attacks():
            lab = Lab()
            try:
                assert not is_grant(lab.run(token, signer=signer)[1])
            except TypeError:
                continue
