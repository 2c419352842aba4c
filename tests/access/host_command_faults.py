"""What one fault in the controller can do to a command: each branch skipped, each condition inverted, each bit of the
signature's verdict flipped. Nothing is carried out that no issuer has signed.
"""

import pytest
from access.host_faults import with_each_condition_inverted, without_each_branch

from support.command_lab import ADMIN, GROUP, STORE, STRANGER, Lab, kid_of, make
from vitrine.app.commands import Commands
from vitrine.crypto import ed25519

BODIES = ((1, 1_800_000_000), (2, {1: 0, 2: [[1, b"identity", 0]]}), (3, {2: {}}), (4, {2: True}), (4, {2: False}))
PATH = [(Commands, "execute", 2), (Commands, "_decide", 6), (Commands, "_judge", 10), (Commands, "_carry_out", 9)]


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
        lab = Lab()

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
    lab = Lab()
    lab.verify = lambda *given: ed25519.GRANT
    before = lab.state()
    for number, body in BODIES:
        assert lab.commands.execute(make(number, body), 1).is_done or number == 4
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
