"""Keys and their files: right permissions, nothing lost, nothing shown, and a clear word about every wrong file."""

import pickle
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_is_valid_point

from vitrine.crypto.ed25519 import PublicKey as DeviceKey
from vitrine_tools import keys
from vitrine_tools.keys import KeyFileError, PrivateKey, PublicKey

KEY = PrivateKey.from_seed(bytes(range(32)))
PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()
OTHER_CURVE = ec.derive_private_key(7, ec.SECP256R1())


def test_rfc8032_first_vector():
    key = PrivateKey.from_seed(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public.raw.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a")
    assert key.public.verify(b"", key.sign(b""))
    assert not key.public.verify(b"x", key.sign(b""))
    assert not key.public.verify(b"", b"short")


def test_private_key_comes_back_from_its_file(tmp_path):
    KEY.save(tmp_path / "k.pem")
    assert stat.S_IMODE((tmp_path / "k.pem").stat().st_mode) == 0o600
    assert keys.load_private(tmp_path / "k.pem").public == KEY.public
    assert keys.load_public(tmp_path / "k.pem") == KEY.public
    assert [path.name for path in tmp_path.iterdir()] == ["k.pem"]


def test_an_existing_file_is_kept_unless_forced(tmp_path):
    KEY.save(tmp_path / "k.pem")
    before = (tmp_path / "k.pem").read_bytes()
    other = PrivateKey.generate()
    with pytest.raises(KeyFileError, match="--force"):
        other.save(tmp_path / "k.pem")
    assert (tmp_path / "k.pem").read_bytes() == before
    (tmp_path / "k.pem").chmod(0o644)
    other.save(tmp_path / "k.pem", is_forced=True)
    assert keys.load_private(tmp_path / "k.pem").public == other.public
    assert stat.S_IMODE((tmp_path / "k.pem").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["k.pem"]


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(KeyFileError, match="cannot write"):
        KEY.save(tmp_path / "no" / "k.pem")


@pytest.mark.parametrize("form", ["to_pem", "to_cose"])
def test_public_key_comes_back_from_its_file(tmp_path, form):
    (tmp_path / "k.pub").write_bytes(getattr(KEY.public, form)())
    assert keys.load_public(tmp_path / "k.pub") == KEY.public


def pem_of(key, encryption=PLAIN):
    return key.private_bytes(PEM, PKCS8, encryption)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (KEY.public.to_pem(), "is a public key"),
        (KEY.public.to_cose(), "is a public key"),
        (b"", "not a private key"),
        (b"\x00\xff" * 100, "not a private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        (pem_of(Ed25519PrivateKey.generate(), serialization.BestAvailableEncryption(b"x")), "encrypted"),
        (pem_of(OTHER_CURVE), "not an Ed25519 key"),
        (pem_of(x25519.X25519PrivateKey.from_private_bytes(bytes(32))), "not an Ed25519 key"),
        (b"x" * 9000, "too large"),
    ],
    ids=range(9),  # not the contents: an encrypted key is different each time
)
def test_a_wrong_private_key_file_is_named(tmp_path, content, word):
    (tmp_path / "k").write_bytes(content)
    with pytest.raises(KeyFileError, match=word) as caught:
        keys.load_private(tmp_path / "k")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        OTHER_CURVE.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        bytes.fromhex("a3010120062158200000"),
        bytes.fromhex("a301022006215820") + KEY.public.raw,  # kty 2
        bytes.fromhex("a3 01f5 2006 215820") + KEY.public.raw,  # kty true, which Python holds equal to 1
        PublicKey(bytes(32)).to_cose(),  # small order
    ],
    ids=range(8),
)
def test_a_wrong_public_key_file_is_named(tmp_path, content):
    (tmp_path / "k").write_bytes(content)
    with pytest.raises(KeyFileError, match="not an Ed25519 public key"):
        keys.load_public(tmp_path / "k")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(KeyFileError, match=r"cannot read the private key .*: No such file"):
        keys.load_private(tmp_path / "k")
    with pytest.raises(KeyFileError, match="cannot read the public key"):
        keys.load_public(tmp_path)


def test_the_secret_does_not_leak():
    secret = bytes(range(32))
    assert secret.hex() not in repr(KEY) and repr(secret) not in repr(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)


SMALL_ORDER = sorted(keys._SMALL_ORDER_Y)
P = 2**255 - 19


@given(
    st.one_of(
        st.binary(min_size=32, max_size=32),
        st.sampled_from([*SMALL_ORDER, P, P + 1, P - 2, 2, 3]).map(lambda y: y.to_bytes(32, "little")),
    ),
    st.booleans(),
)
def test_soundness_is_as_the_firmware_sees_it(raw, sign):
    raw = raw[:31] + bytes([raw[31] | (128 if sign else 0)])
    try:
        DeviceKey(raw)
        is_pinned = True
    except ValueError:
        is_pinned = False
    assert PublicKey(raw).is_sound == is_pinned


def test_sound_keys_are_sound():
    for seed in range(20):
        raw = PrivateKey.from_seed(bytes([seed]) * 32).public.raw
        assert PublicKey(raw).is_sound and crypto_core_ed25519_is_valid_point(raw)


def test_kid_is_the_specs():
    import hashlib

    assert KEY.public.kid == hashlib.sha256(KEY.public.raw).digest()[:8]
