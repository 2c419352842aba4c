"""The request path of SPEC.md section 3: what each peer is told, and what is recorded."""

from support.session_lab import Lab, case
from vitrine.access import decision, reasons
from vitrine.access.token import Token
from vitrine.codec import cbor

HELLO, PRESENT, ACT, STATUS, IDENTIFY = 0, 1, 2, 3, 4
OK, REFUSED, BUSY, MALFORMED = 0, 1, 2, 3
UNLOCK, HOLD = 1, 128


def attempt(lab, name, action=UNLOCK, uv=False, channel=None):
    """Run hello, present and act with a case of the vectors; return the answers to present and act."""
    token, proof = case(name)
    channel = channel or lab.channel()
    assert lab.ask(channel, HELLO)[0] == OK
    presented = lab.ask(channel, PRESENT, token)
    return presented, lab.ask(channel, ACT, {1: action, 2: uv, 3: proof})


def test_a_holder_opens():
    lab = Lab()
    channel = lab.channel()
    (status, body), (acted, answer) = attempt(lab, "valid", channel=channel)
    assert (status, acted) == (OK, OK)
    assert len(body[1]) == 32 and answer[3] == 2 and len(answer[2]) == 16
    assert lab.door.moves == [UNLOCK]
    assert channel.has_proved
    assert lab.expected == lab.remembered and len(lab.remembered) == 1
    assert lab.events.records == []  # the controller records grants


def test_hold_is_an_action_of_its_own():
    lab = Lab()
    assert attempt(lab, "hold", action=HOLD)[1][0] == OK
    assert lab.door.moves == [HOLD]


def test_an_authentic_holder_is_told_the_reason():
    expected = {
        "expired": reasons.EXPIRED,
        "early": reasons.NOT_YET_VALID,
        "elsewhere": reasons.AUDIENCE_MISMATCH,
        "needs_uv": reasons.USER_VERIFICATION_REQUIRED,
        "needs_scope": reasons.SCOPE_MISSING,
    }
    for name, reason in expected.items():
        lab = Lab()
        _, (status, body) = attempt(lab, name)
        assert (status, body[1]) == (REFUSED, reason), name
        assert lab.events.reasons()[-1] == reason, name
        assert lab.events.records[-1][1][16] is True
        assert lab.door.moves == []


def test_all_others_are_told_nothing_but_the_record_has_the_reason():
    expected = {
        "forged": reasons.TOKEN_FORGED,
        "stolen": reasons.PROOF_FORGED,
        "other_nonce": reasons.PROOF_FORGED,
        "other_lock": reasons.PROOF_FORGED,
    }
    for name, reason in expected.items():
        lab = Lab()
        channel = lab.channel()
        _, (status, body) = attempt(lab, name, channel=channel)
        assert (status, list(body)) == (REFUSED, [2]), name
        assert lab.events.reasons()[-1] == reason, name
        assert 16 not in lab.events.records[-1][1]
        assert lab.door.moves == [] and not channel.has_proved and lab.remembered == []


def test_a_refused_present_tells_nothing():
    for name in ("expired", "elsewhere", "forged"):
        lab = Lab()
        assert attempt(lab, name)[0] == (REFUSED, None), name
        assert lab.expected == []  # nothing is computed for a key that nobody has signed for


def test_a_proof_serves_once():
    lab = Lab()
    channel = lab.channel()
    token, proof = case("valid")
    attempt(lab, "valid", channel=channel)
    status, body = lab.ask(channel, ACT, {1: UNLOCK, 2: False, 3: proof})
    assert status == REFUSED and lab.door.moves == [UNLOCK]
    other = lab.channel()
    lab.ask(other, HELLO)
    lab.ask(other, PRESENT, token)
    assert lab.ask(other, ACT, {1: UNLOCK, 2: False, 3: proof})[0] == REFUSED
    assert lab.door.moves == [UNLOCK]


def test_a_nonce_lives_ten_seconds():
    for age_ms, granted in ((9_999, True), (10_001, False)):
        lab = Lab()
        channel = lab.channel()
        token, proof = case("valid")
        lab.ask(channel, HELLO)
        lab.ask(channel, PRESENT, token)
        lab.clock.now_ms += age_ms
        assert (lab.ask(channel, ACT, {1: UNLOCK, 2: False, 3: proof})[0] == OK) is granted


def test_a_session_is_one_connection():
    lab = Lab()
    first, second = lab.channel(), lab.channel()
    token, proof = case("valid")
    lab.ask(first, HELLO)
    lab.ask(first, PRESENT, token)
    assert lab.ask(second, ACT, {1: UNLOCK, 2: False, 3: proof})[0] == REFUSED
    assert lab.door.moves == []


def test_untrusted_time_denies():
    lab = Lab()
    lab.clock.state = 0
    _, (status, body) = attempt(lab, "valid")
    assert (status, body[1]) == (REFUSED, reasons.TIME_UNTRUSTED)


def test_a_strike_that_fails_is_a_fault_and_not_a_grant():
    lab = Lab()
    lab.door.works = False
    _, (status, body) = attempt(lab, "valid")
    assert (status, body[1]) == (REFUSED, reasons.FAULT)


def test_an_unprovisioned_lock_refuses_everything():
    lab = Lab(is_provisioned=False)
    token, proof = case("valid")
    for op, body in ((HELLO, None), (PRESENT, token), (ACT, {1: UNLOCK, 2: False, 3: proof}), (STATUS, None)):
        assert lab.ask(lab.channel(), op, body) == (REFUSED, {1: reasons.NOT_PROVISIONED})
    assert lab.door.moves == []


def test_state_is_told_only_to_a_holder():
    lab = Lab()
    channel = lab.channel()
    assert lab.ask(channel, STATUS) == (REFUSED, None)
    attempt(lab, "valid", channel=channel)
    status, body = lab.ask(channel, STATUS)
    assert status == OK and body == {1: "case-12", 3: 2, 4: 1, 5: 1}


def test_identify_needs_a_token_and_a_pause():
    lab = Lab()
    channel = lab.channel()
    assert lab.ask(channel, IDENTIFY)[0] == REFUSED
    lab.ask(channel, PRESENT, case("valid")[0])
    assert lab.ask(channel, IDENTIFY) == (OK, None)
    lab.clock.now_ms += 4_999
    assert lab.ask(channel, IDENTIFY)[0] == BUSY
    lab.clock.now_ms += 1
    assert lab.ask(channel, IDENTIFY)[0] == OK
    # ticks wrap: an old mark must not look like a new one
    lab.clock.now_ms += 0x20000000 + 1000
    assert lab.ask(channel, IDENTIFY)[0] == OK
    assert lab.identified == 3


def test_what_is_no_request_is_malformed_and_counts():
    bad = (
        b"",
        b"\xff",
        cbor.encode(7),
        cbor.encode([0, 1]),
        cbor.encode([0, 1, None, None]),
        cbor.encode([0, 65536, None]),
        cbor.encode([0, -1, None]),
        cbor.encode([False, 1, None]),
        cbor.encode([99, 1, None]),
        cbor.encode([5, 1, None]),
        cbor.encode([-1, 1, None]),
        cbor.encode(["0", 1, None]),
        cbor.encode([0, 1, 0]),
        cbor.encode([1, 1, "token"]),
        cbor.encode([1, 1, None]),
        cbor.encode([2, 1, None]),
        cbor.encode([2, 1, {1: 1, 2: 1, 3: b""}]),
        cbor.encode([2, 1, {1: True, 2: True, 3: b""}]),
        cbor.encode([2, 1, {1: 1, 2: True, 3: b"", 4: 0}]),
        cbor.encode([2, 1, {1: 1, 2: True, 4: b""}]),
        cbor.encode([0, 1, None]) + b"\x00",
        bytes(769),
    )
    for request in bad:
        channel = Lab().channel()
        answer = cbor.decode(channel.handle(request), 512)
        assert answer[1:] == [MALFORMED, None], request
        assert not channel.is_exhausted
        channel.handle(request)
        channel.handle(request)
        assert channel.is_exhausted, request


def test_malformed_requests_are_recorded_once_when_the_connection_ends():
    lab = Lab()
    channel = lab.channel()
    channel.handle(b"\x00")
    channel.malformed()
    assert lab.events.records == []
    channel.close()
    ((kind, fields),) = lab.events.records
    assert (kind, fields[4], fields[14]) == (3, reasons.TOKEN_MALFORMED, 2)


def test_guessing_costs_a_connection_and_a_holder_is_not_thrown_out():
    lab = Lab()
    channel = lab.channel()
    for _ in range(4):
        assert not channel.is_exhausted
        lab.ask(channel, PRESENT, case("forged")[0])
    assert channel.is_exhausted
    lab = Lab()
    channel = lab.channel()
    attempt(lab, "expired", channel=channel)
    for _ in range(4):
        lab.ask(channel, PRESENT, case("forged")[0])
    assert channel.has_proved and not channel.is_exhausted


def test_cheap_refusals_cost_no_verification():
    for name in ("expired", "early", "elsewhere"):
        lab = Lab()
        lab.ask(lab.channel(), PRESENT, case(name)[0])
        assert lab.verifications == 0, name
    lab = Lab()
    lab.ask(lab.channel(), ACT, {1: UNLOCK, 2: False, 3: case("valid")[1]})
    assert lab.verifications == 0


def test_a_known_token_costs_one_verification_at_the_act():
    lab = Lab()
    attempt(lab, "valid")
    before = lab.verifications
    channel = lab.channel()
    lab.ask(channel, HELLO)
    lab.ask(channel, PRESENT, case("valid")[0])
    assert lab.verifications == before
    lab.ask(channel, ACT, {1: UNLOCK, 2: False, 3: case("valid")[1]})
    assert lab.verifications == before + 1


def test_a_refused_attempt_is_one_record():
    lab = Lab()
    channel = lab.channel()
    attempt(lab, "expired", channel=channel)
    assert lab.events.reasons() == [reasons.EXPIRED]
    # a present that no act follows is recorded by the next one, or when the connection ends
    lab.ask(channel, PRESENT, case("elsewhere")[0])
    lab.ask(channel, PRESENT, case("early")[0])
    assert lab.events.reasons()[1:] == [reasons.AUDIENCE_MISMATCH]
    channel.close()
    assert lab.events.reasons()[2:] == [reasons.NOT_YET_VALID]
    channel.close()
    assert len(lab.events.records) == 3


def test_a_refused_present_that_becomes_a_grant_was_no_bad_try():
    lab = Lab()
    channel = lab.channel(PEER)
    lab.clock.state = 0
    token, proof = case("valid")
    lab.ask(channel, HELLO)
    assert lab.ask(channel, PRESENT, token) == (REFUSED, None)
    lab.clock.state = 1  # somebody has brought the time
    assert lab.ask(channel, ACT, {1: UNLOCK, 2: False, 3: proof})[0] == OK
    channel.close()
    assert lab.events.records == []


def test_a_grant_that_the_lock_could_not_carry_out_is_on_record_with_who_asked():
    lab = Lab()
    lab.door.works = False
    attempt(lab, "valid", channel=lab.channel(PEER))
    ((kind, fields),) = lab.events.records
    assert (kind, fields[4], fields[5], fields[16]) == (3, reasons.FAULT, UNLOCK, True) and fields[8]


def test_what_could_not_be_recorded_is_not_done():
    lab = Lab()
    lab.events.is_sound = False
    _, (status, body) = attempt(lab, "valid")
    assert (status, body[1]) == (REFUSED, reasons.FAULT)
    assert lab.door.moves == [] and lab.events.reasons() == [reasons.FAULT]


def test_what_turns_out_not_to_be_on_record_is_taken_back():
    lab = Lab(is_same_nonce=True)
    operate = lab.door.operate

    def and_its_record_fails(action, decision, link):
        lab.events.missed += 1
        return operate(action, decision, link)

    lab.door.operate = and_its_record_fails
    _, (status, body) = attempt(lab, "valid")
    assert (status, body[1]) == (REFUSED, reasons.FAULT)
    assert lab.door.moves == [UNLOCK, "withdrawn"] and lab.door.lock_state == 1
    lab.door.operate = operate
    # one that was missed long ago is no reason to refuse
    assert attempt(lab, "valid")[1][0] == OK


def test_the_dispatch_knows_whether_somebody_waits():
    lab = Lab()
    one, two = lab.channel(), lab.channel()
    assert lab.dispatch.is_busy()
    one.close()
    one.close()
    assert lab.dispatch.is_busy()
    two.close()
    assert not lab.dispatch.is_busy()


COMMAND, FRESH = 6, 7
ALARM, CONFIGURATION_CHANGE = 0, 130
PEER, OTHER_PEER = b"\x01attack", b"\x01honest"


def alarms(lab):
    return [fields for kind, fields in lab.events.records if kind == ALARM]


def test_four_bad_tries_lock_a_peer_out_and_nobody_else():
    lab = Lab()
    for _ in range(4):
        attempt(lab, "stolen", channel=lab.channel(PEER))
        lab._drawn = 0
    assert [fields[11] for fields in alarms(lab)] == [4]
    channel = lab.channel(PEER)
    verifications = lab.verifications
    assert lab.ask(channel, HELLO)[0] == OK
    assert lab.ask(channel, PRESENT, case("needs_uv")[0]) == (BUSY, None)
    assert channel.is_exhausted and lab.verifications == verifications
    channel.close()
    assert lab.events.reasons()[-1] == reasons.LOCKED_OUT
    # the holder whose token was shown, from another phone
    lab._drawn = 0
    assert attempt(lab, "valid", channel=lab.channel(OTHER_PEER))[1][0] == OK
    lab.clock.now_ms += 300_000
    lab._drawn = 0
    assert attempt(lab, "valid", channel=lab.channel(PEER))[1][0] == OK


def test_whoever_copies_an_address_does_not_keep_its_phone_out():
    lab = Lab()
    assert attempt(lab, "valid", channel=lab.channel(PEER))[1][0] == OK
    for _ in range(4):
        lab._drawn = 0
        attempt(lab, "forged", channel=lab.channel(PEER))
    assert lab.ask(lab.channel(PEER), STATUS) == (BUSY, None)
    for name, heard in (("stolen", True), ("forged", False), ("needs_uv", False)):  # a copy proves nothing
        lab._drawn = 0
        channel = lab.channel(PEER)
        assert lab.ask(channel, HELLO)[0] == OK
        assert lab.ask(channel, PRESENT, case(name)[0])[0] == (OK if heard else BUSY)
        assert lab.ask(channel, ACT, {1: UNLOCK, 2: False, 3: case(name)[1]})[0] == (REFUSED if heard else BUSY)
    lab._drawn = 0
    assert attempt(lab, "valid", channel=lab.channel(PEER))[1][0] == OK
    assert lab.ask(lab.channel(PEER), STATUS)[0] == REFUSED, "and it has forgotten the bad tries"


def test_a_proved_holder_goes_on_while_others_of_the_same_address_are_locked_out():
    lab = Lab()
    channel = lab.channel(PEER)
    assert attempt(lab, "valid", channel=channel)[1][0] == OK
    for _ in range(4):
        lab._drawn = 0
        attempt(lab, "stolen", channel=lab.channel(PEER))
    assert lab.ask(channel, STATUS)[0] == OK and not channel.is_exhausted
    assert lab.ask(lab.channel(PEER), STATUS)[0] == BUSY


def test_a_link_without_addresses_locks_nobody_out():
    lab = Lab()
    for _ in range(9):
        lab._drawn = 0
        attempt(lab, "stolen")
    lab._drawn = 0
    assert attempt(lab, "valid")[1][0] == OK and alarms(lab) == []


def test_a_key_is_locked_out_by_its_own_holder_alone():
    lab = Lab()
    for _ in range(4):
        lab._drawn = 0
        assert attempt(lab, "expired")[1][1][1] == reasons.EXPIRED
    assert [(fields[11], 13 in fields) for fields in alarms(lab)] == [(4, True)]
    lab._drawn = 0
    status, body = attempt(lab, "valid")[1]
    assert (status, body[1]) == (REFUSED, reasons.LOCKED_OUT) and 0 < body[4] <= 300
    lab.clock.now_ms += 300_000
    lab._drawn = 0
    assert attempt(lab, "valid")[1][0] == OK


def test_what_is_not_the_holders_fault_is_no_bad_try():
    lab = Lab()
    for name in ("early", "needs_uv") * 4:
        lab._drawn = 0
        attempt(lab, name)
    lab._drawn = 0
    assert attempt(lab, "valid")[1][0] == OK and alarms(lab) == []


def test_a_grant_forgets_the_bad_tries():
    lab = Lab()
    for name in ("expired", "expired", "expired", "valid") * 3:
        lab._drawn = 0
        attempt(lab, name, channel=lab.channel(PEER))
    assert len(lab.door.moves) == 3 and alarms(lab) == []


def test_a_courier_s_grant_forgets_them_too():
    class Granting:
        nonce = bytes(16)
        applied = None

        def act(self, *_):
            return decision.granted(Token(case("valid")[0]), reasons.GRANTED)

    lab = Lab()
    for _ in range(2):
        for name in ("expired",) * 3:
            lab._drawn = 0
            attempt(lab, name, channel=lab.channel(PEER))
        channel = lab.channel(PEER)
        channel._session = Granting()
        assert lab.ask(channel, ACT, {1: 129, 2: False, 3: b""})[0] == OK
    assert lab.door.moves == [] and alarms(lab) == []


def test_malformed_requests_are_a_bad_try_of_their_peer():
    lab = Lab()
    for _ in range(4):
        channel = lab.channel(PEER)
        channel.handle(b"\xff")
        channel.close()
    assert lab.ask(lab.channel(PEER), STATUS) == (BUSY, None)


def test_anybody_gets_a_fresh_nonce_that_outlives_the_connection():
    lab = Lab()
    channel = lab.channel()
    status, body = lab.ask(channel, FRESH)
    channel.close()
    assert status == OK and len(body[1]) == 16 and body[2] == 1
    assert lab.freshness.age_ms(body[1], lab.clock.now_ms + 299_000) == 299_000
    assert lab.ask(lab.channel(), FRESH, b"x")[0] == MALFORMED


def test_a_command_is_answered_as_it_came_out():
    for result, answer in (
        ((True, True, {3: 8}), (OK, {3: 8})),
        ((False, True, {1: 28, 3: 8}), (REFUSED, {1: 28, 3: 8})),
        ((False, False, None), (REFUSED, None)),
    ):
        lab = Lab()
        lab.commands.result.is_done, lab.commands.result.is_authentic, lab.commands.result._body = result
        assert lab.ask(lab.channel(), COMMAND, b"envelope") == answer
        assert lab.commands.envelopes == [(b"envelope", 1)]
    lab = Lab()
    assert lab.ask(lab.channel(), COMMAND, "envelope")[0] == MALFORMED and not lab.commands.envelopes


def test_forged_commands_are_bad_tries_and_end_the_connection():
    lab = Lab()
    channel = lab.channel(PEER)
    for _ in range(4):
        assert not channel.is_exhausted
        lab.ask(channel, COMMAND, b"forged")
    assert channel.is_exhausted
    assert lab.ask(lab.channel(PEER), COMMAND, b"forged") == (BUSY, None)
    assert len(lab.commands.envelopes) == 4


def test_an_unprovisioned_lock_hears_no_command():
    lab = Lab(is_provisioned=False)
    assert lab.ask(lab.channel(), COMMAND, b"envelope") == (REFUSED, {1: reasons.NOT_PROVISIONED})
    assert not lab.commands.envelopes


UPDATE = 9


def test_an_update_needs_no_session_and_its_form_is_checked_first():
    lab = Lab()
    channel = lab.channel(link=2)
    for body in ({}, {1: b""}, {1: b"m", 4: True}, {2: 0, 3: b"p"}, {2: 1 << 40, 3: bytes(500)}):
        assert lab.ask(channel, UPDATE, body) == (OK, {1: 0, 3: 7})
        assert lab.updates.bodies[-1] == (body, 2, 1)
    count = len(lab.updates.bodies)
    for body in (
        None,
        7,
        [],
        {1: "m"},
        {1: None},
        {1: b"m", 4: False},
        {1: b"m", 4: 1},
        {1: b"m", 2: 0},
        {4: True},
        {2: 0},
        {3: b"p"},
        {2: -1, 3: b"p"},
        {2: True, 3: b"p"},
        {2: 0, 3: b""},
        {2: 0, 3: "p"},
        {2: 0, 3: b"p", 4: True},
        {0: 0},
        {"1": b"m"},
        {1: b"m", "a": 1},
    ):
        assert lab.ask(lab.channel(), UPDATE, body) == (MALFORMED, None), body
    assert len(lab.updates.bodies) == count
    assert cbor.decode(lab.channel().handle(cbor.encode([UPDATE, 1, {2: 0, 3: bytes(1025)}])), 512)[1] == MALFORMED
    assert lab.verifications == 0


def test_refused_manifests_cost_their_connection():
    lab = Lab()
    lab.updates.outcome = (REFUSED, {})
    channel = lab.channel(b"peer")
    for _ in range(4):
        assert not channel.is_exhausted
        assert lab.ask(channel, UPDATE, {1: b"m"}) == (REFUSED, {})
    assert channel.is_exhausted


def test_a_lock_without_updates_knows_no_such_request():
    lab = Lab()
    lab.dispatch.updates = None
    assert lab.ask(lab.channel(), UPDATE, {}) == (MALFORMED, None)
    bare = Lab(is_provisioned=False)
    assert bare.ask(bare.channel(), UPDATE, {}) == (REFUSED, {1: reasons.NOT_PROVISIONED})
    assert bare.updates.bodies == []
