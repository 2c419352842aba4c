"""What one fault in the controller can do to a command: each branch skipped, each condition inverted, each bit of the
signature's verdict flipped. Nothing is carried out that no issuer has signed.
"""

import pytest
from access.host_faults import with_each_condition_inverted, without_each_branch

from support.command_lab import ADMIN, GROUP, STORE, STRANGER, kid_of, make
from support.operation_lab import OperationLab
from vitrine.access.command import Command
from vitrine.access.decision import ACCEPT, GRANT, is_grant
from vitrine.app.commands import Commands
from vitrine.app.operations import Operations
from vitrine.crypto import ed25519

BODIES = ((1, 1_800_000_000), (2, {1: 0, 2: [[1, b"identity", 0]]}), (3, {2: {}}), (4, {2: True}), (4, {2: False}))
BODIES += tuple((5, {1: action}) for action in (0, 1, 128)) + ((5, {1: 1, 2: b"sale"}), (6, None), (7, None))
PATH = [(Commands, "execute", 2), (Commands, "_decide", 6), (Commands, "_judge", 10), (Commands, "_carry_out", 9)]
PATH += [(Operations, "execute", 9), (Operations, "_spend", 0)]


def forged():
    """Yield envelopes that only the signature stops: in the name of either issuer, by somebody else."""
    for number, body in BODIES:
        for name in (ADMIN, STORE):
            yield make(number, body, {}, STRANGER, {1: -19, 3: "vitrine/command", 4: kid_of(name)})
        yield make(number, body, {2: ["elsewhere", GROUP]}, STRANGER, {1: -19, 3: "vitrine/command", 4: kid_of(ADMIN)})
        yield make(number, body, {}, STRANGER)


def done(wrong=lambda verdict: verdict):
    """Return the forged commands that change something."""
    found = []
    for data in forged():
        lab = OperationLab()

        def verified(*given, lab=lab):
            verdict = lab.is_signed(*given)
            return verdict if verdict == ed25519.GRANT else wrong(verdict)

        lab.verify = verified
        before = lab.state()
        result = lab.commands.execute(data, 1)
        if lab.state() != before or result.is_done:
            found.append(data)
    return found


def test_the_forged_commands_would_be_done_if_they_were_signed():
    lab = OperationLab()
    lab.verify = lambda *given: ed25519.GRANT
    before, sequence = lab.state(), 7
    for number, body in BODIES:
        # each with its own sequence; the scenario's two, and the operations', have one after the other
        sequence += 1
        assert lab.commands.execute(make(number, body, {4: sequence} if number != 1 else {}), 1).is_done
    assert lab.state() != before
    assert done() == []


@pytest.mark.parametrize(("owner", "name", "branches"), PATH)
def test_a_skipped_branch_does_nothing_without_a_signature(monkeypatch, owner, name, branches):
    copies = without_each_branch(getattr(owner, name))
    assert len(copies) == branches
    for copy in copies:
        monkeypatch.setattr(owner, name, copy)
        assert done() == []


@pytest.mark.parametrize(("owner", "name", "branches"), PATH)
def test_an_inverted_condition_does_nothing_without_a_signature(monkeypatch, owner, name, branches):
    for copy in with_each_condition_inverted(getattr(owner, name)):
        monkeypatch.setattr(owner, name, copy)
        assert done() == []


def test_no_flipped_bits_of_a_verdict_do_anything():
    for wrong in [0, 1, -1, 0x3FFFFFFF, True, None] + [ed25519.DENY ^ 1 << bit for bit in range(30)]:
        assert done(lambda verdict, wrong=wrong: wrong) == []
    for bit in range(30):
        assert done(lambda verdict, bit=bit: ed25519.GRANT ^ 1 << bit) == []


def test_no_operation_that_nobody_signed_opens_even_if_all_that_asks_for_its_signature_is_skipped():
    """The verdict goes into the decision that the controller asks, right up to the coil."""
    for verdict in [0, 1, -1, 0x3FFFFFFF, ed25519.DENY] + [ed25519.GRANT ^ 1 << bit for bit in range(30)]:
        for is_locked_down in (False, True):
            lab = OperationLab()
            lab.rules_scenario.is_lockdown = is_locked_down
            seen = []
            lab.door.operate = lambda operation, decision, link, seen=seen: seen.append(decision)
            command = Command(make(5, {1: 1}))
            lab.operations.execute(command, 31, verdict, {18: 1})
            assert len(seen) == 1 and not is_grant(seen[0])
            assert seen[0].verdict not in (GRANT, ACCEPT)


@pytest.mark.parametrize("name", ["execute", "_spend"])
def test_no_skipped_branch_does_an_operation_twice_or_one_that_was_not_kept(monkeypatch, name):
    for copy in without_each_branch(getattr(Operations, name)):
        monkeypatch.setattr(Operations, name, copy)
        lab = OperationLab()
        data = make(5, {1: 1})
        lab.send(data)
        lab.send(data)
        assert len(lab.door.moved) <= 1
        lab = OperationLab()
        lab.operations_blob.is_broken = True
        lab.send(data)
        assert lab.door.moved == []
