"""vitrine.access.decision: nothing but a whole grant is one."""

from support.access_lab import Lab, make_token
from vitrine.access import reasons
from vitrine.access.decision import (
    ACCEPT,
    DENY,
    GRANT,
    Decision,
    accepted,
    denied,
    granted,
    is_accepted,
    is_grant,
)
from vitrine.access.token import Token

TOKEN = Token(make_token())


def distance(a, b):
    return bin(a ^ b).count("1")


def test_constants_are_small_and_far_apart():
    for verdict in (GRANT, DENY, ACCEPT):
        assert 0 < verdict < 1 << 30
        # stuck-at faults: neither all zeros nor all ones is near
        assert 12 <= distance(verdict, 0) <= 18
    assert distance(GRANT, DENY) == 30
    assert distance(GRANT, ACCEPT) >= 14 and distance(DENY, ACCEPT) >= 14


def test_grant_is_a_grant():
    decision = granted(TOKEN, reasons.GRANTED)
    assert is_grant(decision) is True and not is_accepted(decision)
    assert decision.reason == reasons.GRANTED and decision.is_authentic and decision.token is TOKEN


def test_the_default_is_no():
    assert not is_grant(Decision()) and not is_accepted(Decision())
    assert Decision().reason != reasons.GRANTED


def test_denials():
    for reason in range(reasons.GRANTED, reasons.STORE_FULL + 1):
        for is_authentic in (False, True):
            decision = denied(reason, TOKEN, is_authentic)
            assert not is_grant(decision) and not is_accepted(decision)
            assert decision.reason == (reason or reasons.FAULT)
            assert decision.is_authentic is is_authentic


def test_an_accepted_token_opens_nothing():
    decision = accepted(TOKEN)
    assert is_accepted(decision) and not is_grant(decision) and not decision.is_authentic


def test_flipped_bits_deny():
    for verdict in (GRANT, DENY, ACCEPT):
        for bit in range(30):
            decision = Decision(verdict ^ 1 << bit, reasons.GRANTED, TOKEN, True)
            assert not is_grant(decision) and not is_accepted(decision)
    for verdict in (0, 1, -1, True, None, 0x3FFFFFFF, DENY, ACCEPT, ~GRANT, GRANT | 1 << 30):
        assert not is_grant(Decision(verdict or 0, reasons.GRANTED, TOKEN, True))


def test_a_grant_needs_every_field():
    assert is_grant(Decision(GRANT, reasons.GRANTED, TOKEN, True))
    alone = granted(TOKEN, reasons.GRANTED)
    alone.wanted = 2
    assert not is_grant(alone)
    alone.persons = 2
    assert is_grant(alone)
    assert not is_grant(granted(TOKEN, reasons.EXPIRED))
    assert not is_grant(Decision(GRANT, reasons.EXPIRED, TOKEN, True))
    assert not is_grant(Decision(GRANT, reasons.GRANTED, TOKEN, False))
    assert not is_grant(Decision(GRANT, reasons.GRANTED, TOKEN, 1))


def test_the_session_yields_these_verdicts():
    lab = Lab()
    presented, act = lab.run(make_token())
    assert presented.verdict == ACCEPT and act.verdict == GRANT
    assert lab.session.act(1, False, b"", lab.now_ms, (0, 0, 0)).verdict == DENY
