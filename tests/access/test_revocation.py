"""Revocation: lists in a sequence that only rises, durable before they count, and nothing that brings a right back."""

from hashlib import sha256

from support import raises
from support.command_lab import ADMIN, STORE, STRANGER, Ledger, Memory, kid_of
from vitrine.access import reasons
from vitrine.access.ledger import REVOKED, LedgerError
from vitrine.access.revocation import Revocations, StoreError, empty, parse_entries
from vitrine.codec import cbor

KID, OTHER = kid_of(ADMIN), kid_of(STORE)
CTI, SUB, KEY, BEFORE = 1, 2, 3, 4
U32 = 2**32 - 1


class Token:
    """Of a token what is_revoked asks."""

    def __init__(self, kid=KID, cti=b"identity", sub=b"person", holder_key=b"k" * 32, issued=1000):
        self.kid, self.cti, self.sub, self.holder_key, self.issued = kid, cti, sub, holder_key, issued
        self.hash = sha256(repr((kid, cti, sub, holder_key, issued)).encode()).digest()


def key_value(holder_key=b"k" * 32):
    return sha256(holder_key).digest()[:8]


def new():
    store, ledger = Memory(empty([KID, OTHER])), Ledger()
    return store, ledger, Revocations(store, ledger)


def test_nothing_is_revoked_as_provisioned():
    store, _, revocations = new()
    assert not revocations.is_revoked(Token())
    assert not revocations.is_revoked(Token(sub=None, issued=None))
    assert revocations.sequence(KID) == revocations.sequence(OTHER) == 0
    assert cbor.decode(store.blob, 256) == [[KID, 0, 0], [OTHER, 0, 0]]
    assert revocations.is_sound([KID, OTHER]) and not revocations.is_sound([KID, kid_of(STRANGER)])


def test_each_kind_takes_back_what_it_names_of_its_issuer_only():
    cases = (
        ([CTI, b"identity", 0], Token(cti=b"identitx")),
        ([SUB, b"person", 5000], Token(sub=b"persom")),
        ([SUB, b"person", 5000], Token(sub=None)),
        ([KEY, key_value(), U32], Token(holder_key=b"l" * 32)),
        ([BEFORE, 1001, 0], Token(issued=1001)),
    )
    for entry, other in cases:
        store, ledger, revocations = new()
        assert revocations.apply(KID, 0, 9, [entry]) == reasons.GRANTED
        for again in (revocations, Revocations(store, ledger)):  # at once, and after a start
            assert again.is_revoked(Token())
            assert not again.is_revoked(other)
            assert not again.is_revoked(Token(kid=OTHER))
            assert (again.sequence(KID), again.sequence(OTHER)) == (9, 0)


def test_a_token_that_does_not_say_when_it_was_made_is_older_than_every_time():
    _, _, revocations = new()
    revocations.apply(KID, 0, 1, [[BEFORE, 1, 0]])
    assert revocations.is_revoked(Token(issued=None)) and revocations.is_revoked(Token(issued=0))
    assert not revocations.is_revoked(Token(issued=1))


def test_digests_and_terms_are_those_of_the_ledger():
    _, ledger, revocations = new()
    revocations.apply(KID, 0, 1, [[CTI, b"identity", 0], [SUB, b"p", 7], [KEY, key_value(), 8]])
    assert ledger.entries == {
        (REVOKED, sha256(KID + b"cidentity").digest()): 0,
        (REVOKED, sha256(KID + b"sp").digest()): 7,
        (REVOKED, sha256(KID + b"k" + key_value()).digest()): 8,
    }


def test_the_sequence_only_rises_and_leaves_nothing_out():
    _, ledger, revocations = new()
    listed = [[CTI, b"identity", 0]]
    assert revocations.apply(KID, 1, 2, listed) == reasons.SEQUENCE_GAP
    assert revocations.apply(KID, 0, 5, []) == reasons.GRANTED
    for previous, sequence in ((0, 5), (0, 4), (5, 5), (0, 0), (9, 5)):
        assert revocations.apply(KID, previous, sequence, listed) == reasons.SEQUENCE_STALE
    assert revocations.apply(KID, 6, 7, listed) == reasons.SEQUENCE_GAP
    assert ledger.entries == {} and revocations.sequence(KID) == 5
    # what a later list says of the one before only has to be no gap
    assert revocations.apply(KID, 3, 6, listed) == reasons.GRANTED
    assert revocations.apply(KID, 6, U32, []) == reasons.GRANTED
    assert revocations.sequence(KID) == U32


def test_a_time_before_which_all_is_revoked_never_moves_back():
    _, _, revocations = new()
    revocations.apply(KID, 0, 1, [[BEFORE, 1001, 0]])
    revocations.apply(KID, 1, 2, [[BEFORE, 500, 0], [BEFORE, 0, 0]])
    assert revocations.is_revoked(Token()) and revocations.sequence(KID) == 2


def test_a_full_ledger_takes_no_part_of_the_sequence():
    store, ledger, revocations = new()
    ledger.room = 1
    before = store.blob
    listed = [[BEFORE, 2000, 0], [CTI, b"identity", 0], [CTI, b"another1", 0]]
    assert revocations.apply(KID, 0, 1, listed) == reasons.STORE_FULL
    assert (store.blob, revocations.sequence(KID)) == (before, 0)
    assert not revocations.is_revoked(Token(cti=b"another1", issued=1999))
    ledger.room = 2
    assert revocations.apply(KID, 0, 1, listed) == reasons.GRANTED, "the same list again"
    assert revocations.is_revoked(Token(cti=b"another1"))


def test_what_could_not_be_written_is_a_fault_and_comes_again():
    store, ledger, revocations = new()
    store.is_broken = True
    listed = [[CTI, b"identity", 0], [BEFORE, 999, 0]]
    assert revocations.apply(KID, 0, 1, listed) == reasons.FAULT
    assert revocations.sequence(KID) == 0
    assert revocations.is_revoked(Token()), "entries are there first: a cut between them never leaves a hole"
    assert not revocations.is_revoked(Token(cti=b"another1", issued=1))
    store.is_broken = False
    ledger.failing = LedgerError("worn")
    assert revocations.apply(KID, 0, 1, listed) == reasons.FAULT
    ledger.failing = None
    assert revocations.apply(KID, 0, 1, listed) == reasons.GRANTED
    assert revocations.is_revoked(Token(cti=b"another1", issued=1))


def test_a_ledger_that_cannot_tell_is_no_no():
    _, ledger, revocations = new()
    ledger.failing = LedgerError("worn")
    with raises(StoreError):
        revocations.is_revoked(Token())
    for answer in (None, 1, "no"):
        ledger.failing = None
        ledger.has = lambda of_class, digest, answer=answer: answer
        assert revocations.is_revoked(Token())


def test_a_blob_that_cannot_be_trusted_knows_nobody():
    good = cbor.decode(empty([KID, OTHER]), 256)
    damaged = [
        None,
        b"",
        b"\xff",
        empty([KID, OTHER])[:-1],
        empty([KID, OTHER]) + b"\0",
        cbor.encode({}),
        cbor.encode(7),
        cbor.encode([7]),
        cbor.encode(good + [[KID, 0]]),
        cbor.encode(good + [[KID, 0, 0, 0]]),
    ]
    for wrong in ([b"short", 0, 0], ["12345678", 0, 0], [KID, -1, 0], [KID, 0, 2**32], [KID, True, 0], [KID, 0, None]):
        damaged.append(cbor.encode(good + [wrong]))
    for blob in damaged:
        revocations = Revocations(Memory(blob), Ledger())
        assert not revocations.is_sound([KID])
        for ask in (
            lambda: revocations.is_revoked(Token()),  # noqa: B023
            lambda: revocations.sequence(KID),  # noqa: B023
            lambda: revocations.apply(KID, 0, 1, []),  # noqa: B023
        ):
            with raises(StoreError):
                ask()
    store = Memory(empty([KID]))
    store.is_broken = True
    assert not Revocations(store, Ledger()).is_sound([KID])
    with raises(StoreError):
        new()[2].is_revoked(Token(kid=kid_of(STRANGER)))


def test_entries_are_checked():
    good = [[CTI, bytes(8), 0], [CTI, bytes(16), U32], [SUB, b"p", 0], [SUB, bytes(16), 1], [KEY, bytes(8), 0]]
    good += [[BEFORE, 0, 0], [BEFORE, U32, 0]]
    assert parse_entries(good) == good
    assert parse_entries([]) == []
    parse_entries([good[0]] * 32)
    bad = [[CTI, bytes(7), 0], [CTI, bytes(17), 0], [SUB, b"", 0], [SUB, bytes(17), 0], [KEY, bytes(7), 0]]
    bad += [[KEY, bytes(9), 0], [BEFORE, b"12345678", 0], [BEFORE, -1, 0], [BEFORE, 2**32, 0], [BEFORE, 1, 1]]
    bad += [[BEFORE, True, 0], [BEFORE, 1, False], [CTI, "identity", 0], [CTI, bytes(8), -1], [CTI, bytes(8), 2**32]]
    bad += [[CTI, bytes(8), None], [CTI, bytes(8), True], [0, bytes(8), 0], [5, bytes(8), 0], [True, bytes(8), 0]]
    bad += [[CTI, bytes(8)], [CTI, bytes(8), 0, 0], [], {}, None, 7, b"", [[], 0, 0]]
    for entry in bad:
        with raises(ValueError):
            parse_entries(good + [entry])
    for value in (None, 7, {}, b"", "entries", [good[0]] * 33):
        with raises(ValueError):
            parse_entries(value)


def test_there_is_room_for_four_issuers_at_their_largest():
    kids = [kid_of(bytes([i])) for i in range(4)]
    store, ledger = Memory(empty(kids)), Ledger()
    revocations = Revocations(store, ledger)
    for kid in kids:
        assert revocations.apply(kid, 0, U32, [[BEFORE, U32, 0]]) == reasons.GRANTED
    assert Revocations(store, ledger).is_sound(kids)


def test_a_token_is_looked_up_once_until_the_next_list():
    _, ledger, revocations = new()
    tokens = [Token(cti=b"identity%d" % i) for i in range(8)]
    for token in tokens:
        assert not revocations.is_revoked(token)
    lookups = ledger.lookups
    assert not any([revocations.is_revoked(token) for token in tokens]) and ledger.lookups == lookups
    revocations.apply(KID, 0, 1, [[CTI, b"identity3", 0]])
    assert [revocations.is_revoked(token) for token in tokens] == [i == 3 for i in range(8)]
    assert revocations.is_revoked(tokens[3]), "what is revoked is no less so the second time"


def test_a_list_that_fails_in_the_middle_is_looked_up_again():
    _, ledger, revocations = new()
    first, second = Token(cti=b"identity1"), Token(cti=b"identity2")
    assert not revocations.is_revoked(first) and not revocations.is_revoked(second)
    ledger.room = 1
    assert revocations.apply(KID, 0, 1, [[CTI, b"identity1", 0], [CTI, b"identity2", 0]]) == reasons.STORE_FULL
    assert revocations.is_revoked(first) and not revocations.is_revoked(second)


def test_only_so_many_are_remembered():
    _, ledger, revocations = new()
    for number in range(1000):
        revocations.is_revoked(Token(cti=b"id%06d" % number))
    lookups = ledger.lookups
    revocations.is_revoked(Token(cti=b"id000000"))
    assert ledger.lookups > lookups
