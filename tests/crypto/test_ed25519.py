"""Ed25519 verification against RFC 8032 section 7.1, and against everything that must be refused."""

from support import ON_MICROPYTHON, raises
from vitrine.crypto import ed25519, edwards_int
from vitrine.crypto.curve import ORDER, SMALL_ORDER_Y, P
from vitrine.crypto.ed25519 import DENY, GRANT, PublicKey, verdict, verify

# (public key, message, signature), RFC 8032 section 7.1
VECTORS = [
    (
        # TEST 1
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        # TEST 2
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        # TEST 3
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        # TEST SHA(abc)
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
            "454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
            "3dca179c138ac17ad9bef1177331a704"
        ),
    ),
]


def cases():
    for key, message, signature in VECTORS:
        yield bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)


def on_each_engine(check):
    """Run `check` with every implementation this interpreter offers."""

    def run():
        chosen = ed25519.engine
        try:
            for engine in (chosen, edwards_int):
                ed25519.engine = engine
                check()
        finally:
            ed25519.engine = chosen

    return run


@on_each_engine
def test_rfc8032_vectors_verify():
    for key, message, signature in cases():
        assert verify(key, message, signature) is True
        assert PublicKey(key).verify(message, signature) is True
        assert verdict(key, message, signature) == GRANT


@on_each_engine
def test_any_changed_bit_is_refused():
    key, message, signature = list(cases())[2]
    pinned = PublicKey(key)
    for bit in range(0, 512, 7):
        changed = bytearray(signature)
        changed[bit >> 3] ^= 1 << (bit & 7)
        assert pinned.verify(message, bytes(changed)) is False
    for bit in range(16):
        changed = bytearray(message)
        changed[bit >> 3] ^= 1 << (bit & 7)
        assert pinned.verify(bytes(changed), signature) is False
    for bit in range(0, 256, 19):
        changed = bytearray(key)
        changed[bit >> 3] ^= 1 << (bit & 7)
        assert verify(bytes(changed), message, signature) is False


@on_each_engine
def test_the_same_scalar_plus_the_order_is_refused():
    key, message, signature = list(cases())[1]
    s = int.from_bytes(signature[32:], "little")
    for multiple in range(1, 16):
        other = s + multiple * ORDER
        if other >> 256:
            break
        assert verify(key, message, signature[:32] + other.to_bytes(32, "little")) is False
    assert multiple > 10


@on_each_engine
def test_small_order_and_non_canonical_points_are_refused():
    _, message, signature = list(cases())[1]
    values = list(SMALL_ORDER_Y)
    values.extend((P, P + 1, (1 << 255) - 1))
    for y in values:
        for sign in (0, 1):
            raw = (y | sign << 255).to_bytes(32, "little")
            assert verify(raw, message, signature) is False
            with raises(ValueError):
                PublicKey(raw)
            # S = 0 with R = 0 B - h A fulfils the equation for A of small order, for one message in 8 or fewer
            assert verify(raw, message, raw + bytes(32)) is False
            for key, _, _ in cases():
                assert verify(key, message, raw + signature[32:]) is False


def test_wrong_types_and_lengths_are_refused_and_never_raise():
    key, message, signature = list(cases())[1]
    odd = (
        None,
        0,
        -1,
        1.5,
        "",
        "x" * 32,
        "x" * 64,
        [],
        [0] * 64,
        (),
        {},
        object(),
        b"",
        b"x" * 31,
        b"x" * 33,
        b"x" * 63,
        b"x" * 65,
    )
    for value in odd:
        assert verify(value, message, signature) is False
        assert verify(key, message, value) is False
        assert verdict(value, message, signature) == DENY
        with raises(ValueError):
            PublicKey(value)
    for value in odd[:12]:
        assert verify(key, value, signature) is False


def test_the_unix_port_runs_the_native_code():
    # Without it everything would still pass, ten times slower
    if ON_MICROPYTHON:
        assert ed25519.engine.__name__.endswith("edwards_viper")
    else:
        assert ed25519.engine is edwards_int


def test_any_bytes_like_argument_will_do():
    for kind in (bytearray, memoryview):
        for key, message, signature in cases():
            assert verify(kind(key), kind(message), kind(signature)) is True


def test_a_public_key_keeps_its_own_copy():
    key, message, signature = list(cases())[1]
    raw = bytearray(key)
    pinned = PublicKey(raw)
    raw[0] ^= 1
    assert pinned.raw == key
    assert pinned.verify(message, signature)


def test_the_verdicts_are_far_apart():
    difference = GRANT ^ DENY
    assert sum(difference >> bit & 1 for bit in range(30)) == 30
    # one half deciding for and one against gives neither verdict's number
    first = (ed25519._ACCEPT_FIRST, ed25519._REJECT_FIRST)
    second = (ed25519._ACCEPT_SECOND, ed25519._REJECT_SECOND)
    numbers = [a ^ b for a in first for b in second]
    assert numbers.count(GRANT) == 1 and len(set(numbers)) == 4
