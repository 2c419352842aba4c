"""vitrine.access.uses: nothing ever hands a use back."""

from binascii import crc32

from support import blobs, given, ints, lists, raises
from support.access_lab import Memory
from vitrine.access.uses import MAX_ENTRIES, Uses, UsesError, empty

KID = b"kid 1234"
NOW_S = 1_800_000_000
EXP = NOW_S + 100


def cti(n):
    return b"token" + n.to_bytes(3, "big")


def spend(uses, n=1, exp=EXP, allowed=3, now_s=NOW_S):
    return uses.spend(KID, cti(n), exp, allowed, now_s)


def test_empty_is_as_specified():
    assert empty() == bytes.fromhex("010058c223be")


def test_counts_down():
    uses = Uses(Memory())
    for left in (3, 2, 1):
        assert uses.left(KID, cti(1), 3) == left
        assert spend(uses) is True
    assert uses.left(KID, cti(1), 3) == 0
    for _ in range(3):
        assert spend(uses) is False
    assert uses.left(KID, cti(1), 3) == 0 and uses.left(KID, cti(2), 3) == 3


def test_layout_is_as_specified():
    store = Memory()
    assert spend(Uses(store), exp=0x01020304, now_s=5)
    assert spend(Uses(store), exp=0x01020304, now_s=5)
    blob = store.blob
    assert blob[:2] == b"\x01\x01" and len(blob) == 2 + 14 + 4
    assert blob[10:16] == b"\x01\x02\x03\x04\x00\x02"
    assert blob[-4:] == crc32(blob[:-4]).to_bytes(4, "big")


def test_it_is_durable_before_true_comes_back():
    store = Memory()
    for count in range(1, 4):
        assert spend(Uses(store))
        assert store.saves == count
        # a power cut right here: the next start finds it
        assert Uses(store).left(KID, cti(1), 3) == 3 - count
    assert not spend(Uses(store)) and store.saves == 3


def test_tokens_are_kept_apart():
    uses = Uses(Memory())
    assert uses.spend(b"kid 1234", b"12345678", EXP, 1, NOW_S)
    assert uses.spend(b"kid 1235", b"12345678", EXP, 1, NOW_S)
    assert uses.spend(b"kid 1234", b"12345679", EXP, 1, NOW_S)
    assert not uses.spend(b"kid 1234", b"12345678", EXP, 1, NOW_S)


def test_a_larger_allowance_for_the_same_token_counts_what_was_used():
    uses = Uses(Memory())
    assert [spend(uses, allowed=2) for _ in range(3)] == [True, True, False]
    assert [spend(uses, allowed=3) for _ in range(2)] == [True, False]
    assert spend(uses, allowed=1) is False and uses.left(KID, cti(1), 1) == 0


def test_full():
    store = Memory()
    uses = Uses(store)
    for n in range(MAX_ENTRIES):
        assert spend(uses, n)
    saved = store.blob
    assert len(saved) == 2 + 64 * 14 + 4
    assert spend(uses, 100) is False and store.blob == saved
    # those that are counted already go on
    assert spend(uses, 5) is True and uses.left(KID, cti(5), 3) == 1


def test_an_entry_gives_way_only_after_its_exp():
    uses = Uses(Memory())
    for n in range(MAX_ENTRIES):
        assert spend(uses, n, exp=EXP if n == 7 else EXP + 1000, allowed=1)
    assert spend(uses, 100, exp=EXP + 50, now_s=EXP - 1) is False
    assert spend(uses, 100, exp=EXP + 50, now_s=EXP) is True
    # it took the place of the expired one, and of no other
    for n in range(MAX_ENTRIES):
        assert uses.left(KID, cti(n), 1) == (1 if n == 7 else 0)
    # whose token is not good for anything any more, even if asked
    assert spend(uses, 7, exp=EXP, now_s=EXP) is False


def test_expired_entries_stay_while_there_is_room():
    store = Memory()
    uses = Uses(store)
    assert spend(uses, 1, allowed=1)
    assert spend(uses, 2, exp=EXP + 5000, now_s=EXP + 1000)
    # the clock was wrong: back in time the first token is still spent
    assert spend(uses, 1, allowed=1) is False


def test_the_later_exp_counts():
    uses = Uses(Memory())
    assert spend(uses, 0, exp=EXP + 500) and spend(uses, 0, exp=EXP)
    for n in range(1, MAX_ENTRIES):
        assert spend(uses, n, exp=EXP + 1000)
    assert spend(uses, 100, exp=EXP + 900, now_s=EXP + 499) is False
    assert spend(uses, 100, exp=EXP + 900, now_s=EXP + 500) is True


def test_an_exp_past_2106_is_never_over():
    uses = Uses(Memory())
    for n in range(MAX_ENTRIES):
        assert spend(uses, n, exp=(1 << 33) + n)
    assert spend(uses, 100, exp=1 << 40, now_s=1 << 32) is False


def test_expired_token():
    store = Memory()
    assert spend(Uses(store), now_s=EXP) is False and store.saves == 0


def test_a_missing_store_counts_nothing():
    store = Memory()
    store.blob = None
    for call in (lambda: spend(Uses(store)), lambda: Uses(store).left(KID, cti(1), 3)):
        with raises(UsesError):
            call()
    assert store.blob is None


def test_a_store_that_fails():
    store = Memory()
    store.is_broken = True
    for call in (lambda: spend(Uses(store)), lambda: Uses(store).left(KID, cti(1), 3)):
        with raises(UsesError):
            call()

    class ReadOnly(Memory):
        def save(self, data):
            raise OSError(28)

    store = ReadOnly()
    with raises(UsesError):
        spend(Uses(store))
    assert Uses(store).left(KID, cti(1), 3) == 3


def test_every_flipped_bit_is_seen():
    store = Memory()
    for n in range(3):
        assert spend(Uses(store), n, allowed=1)
    good = store.blob
    for index in range(len(good)):
        for bit in range(8):
            damaged = bytearray(good)
            damaged[index] ^= 1 << bit
            store.blob = bytes(damaged)
            with raises(UsesError):
                spend(Uses(store), 0)
            assert store.blob == damaged


def test_a_store_cut_or_grown_is_seen():
    store = Memory()
    for n in range(3):
        assert spend(Uses(store), n, allowed=1)
    good = store.blob
    entries = [good[2 + 14 * n : 16 + 14 * n] for n in range(3)]
    sizes = [good[:size] for size in range(len(good))]
    others = [good + b"\x00", good + good, b"", b"\x01\x00", b"".join(entries), bytes(len(good)), b"\xff" * len(good)]
    for blob in sizes + others:
        store.blob = blob
        with raises(UsesError):
            spend(Uses(store), 0)


def sealed(body):
    return body + crc32(body).to_bytes(4, "big")


def test_a_whole_store_of_another_form_is_refused():
    store = Memory()
    for body in (
        b"\x00\x00",
        b"\x02\x00",
        b"\x01\x01",
        b"\x01\x00" + bytes(14),
        b"\x01\x41" + bytes(65 * 14),
        b"",
        b"\x01",
    ):
        store.blob = sealed(body)
        with raises(UsesError):
            spend(Uses(store))
    store.blob = sealed(b"\x01\x40" + bytes(64 * 14))
    assert spend(Uses(store)) is True


@given(blobs(0, 100), examples=300)
def test_any_bytes(blob):
    store = Memory()
    store.blob = blob
    try:
        spend(Uses(store))
    except UsesError:
        return
    raise AssertionError("random bytes passed for a store")


@given(lists(ints(0, 4), 0, 40), ints(1, 4), examples=100)
def test_never_more_than_allowed(tokens, allowed):
    store = Memory()
    granted = {}
    for n in tokens:
        if spend(Uses(store), n, allowed=allowed):
            granted[n] = granted.get(n, 0) + 1
    for n in set(tokens):
        assert granted[n] == min(allowed, tokens.count(n))
        assert Uses(store).left(KID, cti(n), allowed) == allowed - granted[n]
