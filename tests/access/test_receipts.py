"""vitrine.access.receipts, and tokens with exi and cnonce through the whole session (SPEC.md 2)."""

from support import bools, choices, given, ints, lists, raises, tuples
from support.access_lab import (
    CNONCE,
    CTI,
    EXI,
    EXP,
    IAT,
    ISSUER,
    MISSING,
    NBF,
    NONCE,
    NOW_S,
    OTHER_ISSUER,
    THIEF,
    TRUSTED,
    UNTRUSTED,
    USES,
    WINDOWS,
    Lab,
    Memory,
    kid_of,
    make_provision,
    make_token,
)
from vitrine.access import reasons
from vitrine.access.decision import is_accepted, is_grant
from vitrine.access.receipts import empty
from vitrine.access.revocation import StoreError
from vitrine.access.token import Token
from vitrine.codec import cbor

DAY_MS = 86_400_000
TICKS = 0x3FFFFFFF


def exi_token(sequence=1, exi=60, nonce=NONCE, **more):
    changes = {EXP: MISSING, NBF: MISSING, EXI: exi, CTI: sequence.to_bytes(8, "big"), CNONCE: nonce}
    names = {"nbf": NBF, "iat": IAT, "uses": USES, "windows": WINDOWS}
    changes.update({names[name]: more[name] for name in more})
    return make_token(changes)


def ask(lab, token, at_ms=None, instant=UNTRUSTED):
    """Present and act over a new connection; return the reason."""
    if at_ms is not None:
        lab.now_ms = at_ms & TICKS
    lab.session = lab.new_session()
    presented, act = lab.run(token, instant=instant)
    assert is_accepted(presented) or not is_grant(act)
    return act.reason


def restarted(lab):
    """Return the lock after a reset: what is in flash is all it has."""
    return Lab(store=Memory(lab.store.blob))


def test_it_opens_without_a_time_for_so_long():
    for start_ms in (1000, TICKS - 30_000):
        lab = Lab()
        token = exi_token()
        assert ask(lab, token, start_ms) == reasons.GRANTED
        lab.freshness.fresh = set()  # the nonce is looked at once
        assert ask(lab, token, start_ms + 59_999) == reasons.GRANTED
        assert ask(lab, token, start_ms + 60_000) == reasons.EXPIRED
        # that it was there is remembered for a while, then it is a replay
        lab.rules.tend((start_ms + DAY_MS) & TICKS)
        assert ask(lab, token, start_ms + DAY_MS) == reasons.EXPIRED
        lab.rules.tend((start_ms + 3 * DAY_MS) & TICKS)
        assert ask(lab, token, start_ms + 3 * DAY_MS) == reasons.FRESHNESS_MISSING
        lab.freshness.fresh = {NONCE}
        assert ask(lab, token) == reasons.SEQUENCE_STALE


def test_ticks_that_wrap_bring_none_back():
    lab = Lab()
    token = exi_token(exi=86_400)
    assert ask(lab, token, 1000) == reasons.GRANTED
    for day in range(1, 26):
        lab.rules.tend((1000 + day * DAY_MS) & TICKS)
        assert ask(lab, token, 1000 + day * DAY_MS) != reasons.GRANTED, day


def test_a_nonce_that_is_not_fresh():
    lab = Lab()
    assert ask(lab, exi_token(nonce=bytes(16))) == reasons.FRESHNESS_MISSING
    assert lab.store.saves == 0
    # nor does it use up its number
    assert ask(lab, exi_token()) == reasons.GRANTED


def test_the_sequence_rises_for_each_issuer():
    lab = Lab(make_provision(scopes="unlock hold"))
    assert [ask(lab, exi_token(n)) for n in (5, 4, 6, 5, 6, 7)] == [
        reasons.GRANTED,
        reasons.SEQUENCE_STALE,
        reasons.GRANTED,
        reasons.GRANTED,  # received before, still in RAM
        reasons.GRANTED,
        reasons.GRANTED,
    ]
    assert lab.store.saves == 3
    assert cbor.decode(lab.store.blob, 128) == [[kid_of(ISSUER), 7]]
    # another token with the same number is another token
    assert ask(lab, exi_token(7, exi=61)) == reasons.SEQUENCE_STALE
    other = make_token(
        {EXP: MISSING, NBF: MISSING, EXI: 60, CTI: bytes(8), CNONCE: NONCE, 3: "group:jewellery", 9: "courier"},
        signer=OTHER_ISSUER,
        header={1: -19, 4: kid_of(OTHER_ISSUER)},
    )
    assert is_accepted(lab.session.present(other, UNTRUSTED, 0))  # 0 is higher than none
    assert [kid_of(OTHER_ISSUER), 0] in cbor.decode(lab.store.blob, 128)


def test_the_largest_number_fits():
    lab = Lab()
    assert ask(lab, exi_token((1 << 64) - 1)) == reasons.GRANTED
    assert ask(restarted(lab), exi_token((1 << 64) - 2)) == reasons.SEQUENCE_STALE


def test_a_reset_ends_it_for_good():
    lab = Lab()
    token = exi_token()
    assert ask(lab, token) == reasons.GRANTED
    assert ask(restarted(lab), token) == reasons.SEQUENCE_STALE
    assert ask(restarted(lab), exi_token(2)) == reasons.GRANTED


def test_the_number_is_durable_before_the_token_is_accepted():
    lab = Lab()
    lab.store.is_broken = True
    assert ask(lab, exi_token()) == reasons.FAULT
    lab.store.is_broken = False
    assert ask(lab, exi_token()) == reasons.GRANTED
    # the power goes right after the number is written: the token is lost, and nothing opened by it
    lab = Lab()

    def cut(data, save=lab.store.save):
        save(data)
        raise KeyboardInterrupt

    lab.store.save = cut
    with raises(KeyboardInterrupt):
        lab.session.present(exi_token(), UNTRUSTED, 0)
    assert ask(restarted(lab), exi_token()) == reasons.SEQUENCE_STALE


def test_a_forged_token_takes_no_number():
    lab = Lab()
    forged = make_token(
        {EXP: MISSING, NBF: MISSING, EXI: 60, CTI: b"\xff" * 8, CNONCE: NONCE, 8: {1: {1: 1, -1: 6, -2: THIEF}}},
        signer=THIEF,
    )
    nonce = lab.session.hello(0)
    assert lab.session.present(forged, UNTRUSTED, 0).reason == reasons.TOKEN_FORGED
    assert lab.session.act(1, False, nonce, 0, UNTRUSTED).reason == reasons.TOKEN_FORGED
    assert lab.store.saves == 0 and ask(lab, exi_token()) == reasons.GRANTED


def test_what_cannot_be_known_refuses_everything():
    for blob in (
        None,
        b"",
        b"\xa0",
        b"\xf6",
        b"\x01",
        empty() + b"\x00",
        cbor.encode([1]),
        cbor.encode([[b"kid 1234"]]),
        cbor.encode([["kid 1234", 1]]),
        cbor.encode([[b"kid 1234", -1]]),
        cbor.encode([[b"kid 1234", True]]),
        cbor.encode([[b"kid 1234", None]]),
        cbor.encode([[b"kid 1234", 1, 2]]),
    ):
        lab = Lab(store=Memory(blob))
        assert not lab.rules.is_sound
        assert ask(lab, exi_token()) == reasons.FAULT
        assert ask(lab, make_token(), instant=TRUSTED) == reasons.FAULT
        with raises(StoreError):
            lab.rules.receipts.receive(Token(exi_token()), 0)
        assert lab.store.saves == 0
    broken = Memory(empty())
    broken.is_broken = True
    assert not Lab(store=broken).rules.is_sound
    assert Lab(store=Memory(cbor.encode([[b"kid 1234", 3]]))).rules.is_sound


def test_eight_are_kept():
    lab = Lab()
    for n in range(1, 10):
        assert ask(lab, exi_token(n)) == reasons.GRANTED
    assert ask(lab, exi_token(1)) == reasons.SEQUENCE_STALE
    assert ask(lab, exi_token(2)) == reasons.GRANTED


def test_uses_are_counted_beside_it():
    lab = Lab()
    token = exi_token(uses=2)
    assert [ask(lab, token) for _ in range(3)] == [reasons.GRANTED, reasons.GRANTED, reasons.USES_EXHAUSTED]
    assert lab.uses.saves == 0
    assert ask(restarted(lab), token) == reasons.SEQUENCE_STALE
    receipts = lab.rules.receipts
    assert not receipts.spend(Token(exi_token(9, uses=2))) and receipts.uses_left(Token(exi_token(9, uses=2))) == 0


def test_left():
    lab = Lab()
    token = Token(exi_token())
    assert lab.rules.receipts.left_ms(token, 0) == 0
    assert lab.rules.receipts.receive(token, 5000) == reasons.GRANTED
    for now_ms, left_ms in ((5000, 60_000), (5001, 59_999), (65_000, 0), (64_999, 1), (70_000, 0), (4999, 0)):
        assert lab.rules.receipts.left_ms(token, now_ms) == left_ms


def test_nbf_and_windows_need_a_time():
    closed = [[127, 0, 480]]  # until 08:00, which it is
    for more, instant, reason in (
        ({"nbf": NOW_S}, UNTRUSTED, reasons.TIME_UNTRUSTED),
        ({"nbf": NOW_S}, TRUSTED, reasons.GRANTED),
        ({"nbf": NOW_S + 1}, TRUSTED, reasons.NOT_YET_VALID),
        ({"windows": [[127, 0, 1440]]}, UNTRUSTED, reasons.TIME_UNTRUSTED),
        ({"windows": [[127, 0, 1440]]}, TRUSTED, reasons.GRANTED),
        ({"windows": closed}, TRUSTED, reasons.OUTSIDE_WINDOW),
        ({"iat": NOW_S + 99}, UNTRUSTED, reasons.GRANTED),  # only says when
    ):
        lab = Lab()
        assert ask(lab, exi_token(**more), instant=instant) == reason, more
        if reason in (reasons.TIME_UNTRUSTED, reasons.NOT_YET_VALID):
            assert lab.store.saves == 0  # not received


def test_it_is_bound_by_the_issuers_longest_lifetime():
    assert ask(Lab(make_provision(max_lifetime_s=60)), exi_token(exi=60)) == reasons.GRANTED
    assert ask(Lab(make_provision(max_lifetime_s=59)), exi_token(exi=60)) == reasons.LIFETIME_EXCEEDED


def test_a_nonce_beside_exp():
    """It must be fresh once, and a reset ends what is not fresh any more; no number is taken."""
    lab = Lab()
    token = make_token({CNONCE: NONCE})
    assert ask(lab, token, instant=TRUSTED) == reasons.GRANTED
    lab.freshness.fresh = set()
    for day in range(1, 30):
        lab.rules.tend((1000 + day * DAY_MS) & TICKS)
    assert ask(lab, token, instant=TRUSTED) == reasons.GRANTED and lab.store.saves == 0
    again = restarted(lab)
    again.freshness.fresh = set()
    assert ask(again, token, instant=TRUSTED) == reasons.FRESHNESS_MISSING
    # uses of it are counted durably, as exp outlives a reset
    lab = Lab()
    assert ask(lab, make_token({CNONCE: NONCE, USES: 1}), instant=TRUSTED) == reasons.GRANTED and lab.uses.saves == 1


@given(
    lists(tuples(ints(1, 6), ints(1, 100), ints(0, 60_000), bools(), choices((False, False, False, True))), 1, 12),
    examples=60,
)
def test_over_resets(asking):
    """Whatever comes in whatever order: each number opens in one start only, within its seconds from the first time."""
    lab = Lab()
    now_ms = 1000
    highest = 0
    first_ms = {}  # of this start
    for sequence, exi, step_ms, is_fresh, is_reset in asking:
        now_ms += step_ms
        if is_reset:
            lab = restarted(lab)
            first_ms = {}
        lab.freshness.fresh = {NONCE} if is_fresh else set()
        reason = ask(lab, exi_token(sequence, exi), now_ms)
        if (sequence, exi) in first_ms:
            is_over = now_ms - first_ms[sequence, exi] >= exi * 1000
            assert reason == (reasons.EXPIRED if is_over else reasons.GRANTED)
        elif not is_fresh:
            assert reason == reasons.FRESHNESS_MISSING
        elif sequence <= highest:
            assert reason == reasons.SEQUENCE_STALE
        else:
            assert reason == reasons.GRANTED
            first_ms[sequence, exi] = now_ms
            highest = sequence
