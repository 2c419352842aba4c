"""Ed25519 keys of issuers and holders, and their files.

A private key is PEM PKCS #8, unencrypted, readable by its owner only. The public part is PEM (SubjectPublicKeyInfo)
or a COSE_Key (RFC 9052 section 7). A private key is never printed: it has no text form here, and errors carry none of
it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from . import cbor, names
from .errors import KeyFileError

MAX_KEY_FILE = 8192
_PRIVATE_MARK = b"PRIVATE KEY-----"
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
# the points whose multiple by 8 is the neutral one, under which anybody can forge signatures
_SMALL_ORDER_Y = frozenset(
    int.from_bytes(bytes.fromhex(y), "little")
    for y in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key as its 32 raw bytes; ValueError if they are not 32."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise ValueError("an Ed25519 public key has 32 bytes")

    @property
    def kid(self) -> bytes:
        """The 8 bytes that name this key as an issuer's."""
        return names.kid(self.raw)

    @property
    def is_sound(self) -> bool:
        """Whether the bytes are a point of the curve, canonical and not of small order; locks pin no other key."""
        y = int.from_bytes(self.raw, "little") & (1 << 255) - 1
        # RFC 8032 section 5.1.3: x^2 = (y^2 - 1) / (d y^2 + 1) must be a square
        numerator, denominator = y * y - 1, _D * y * y + 1
        square = numerator * pow(denominator, -1, _P) % _P
        return y < _P and y not in _SMALL_ORDER_Y and pow(square, (_P - 1) // 2, _P) == 1

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` (64 bytes) over `message` was made with this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def to_pem(self) -> bytes:
        """Return the key as SubjectPublicKeyInfo in PEM."""
        return Ed25519PublicKey.from_public_bytes(self.raw).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def to_cose_map(self) -> dict[int, Any]:
        """Return the COSE_Key map that tokens carry in cnf: exactly kty, crv and x."""
        return {1: 1, -1: 6, -2: self.raw}

    def to_cose(self) -> bytes:
        """Return the key as a COSE_Key."""
        return cbor.encode(self.to_cose_map())


class PrivateKey:
    """A signing key. It can sign and tell its public part; saving it is the only way out for the secret."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(
            key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        )

    @classmethod
    def generate(cls) -> "PrivateKey":
        """Return a new key from the system's random generator."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> "PrivateKey":
        """Return the key of a 32-byte seed (RFC 8032 section 5.1.5): for vectors and tests."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature over `message`."""
        return self._key.sign(message)

    def save(self, path: Path, *, is_forced: bool = False) -> None:
        """Write the key to `path` as PEM PKCS #8 with mode 0600; KeyFileError if the file is there and not forced."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_new(path, pem, mode=0o600, is_forced=is_forced)

    def __repr__(self) -> str:
        return f"PrivateKey(of {self.public.raw.hex()[:16]}...)"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


def write_new(path: Path, data: bytes, *, mode: int, is_forced: bool = False) -> None:
    """Write `data` to `path`; KeyFileError if it exists and is not forced, or cannot be written.

    What is overwritten is replaced whole. The file has its final mode from the start: a key must not be readable by
    others even for a moment.
    """
    if not path.name:
        raise KeyFileError(f"cannot write {path}: it is a folder")
    target = path.with_name(f".{path.name}.{os.getpid()}") if is_forced else path
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            if is_forced:
                target.replace(path)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    except FileExistsError as error:
        raise KeyFileError(f"{path} is already there: choose another name, or overwrite it with --force") from error
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from error


def read_file(path: Path, what: str, bound: int = MAX_KEY_FILE) -> bytes:
    """Return the bytes of a small file; KeyFileError names `what` was looked for."""
    try:
        with path.open("rb") as file:
            data = file.read(bound + 1)
    except OSError as error:
        raise KeyFileError(f"cannot read the {what} {path}: {error.strerror}") from error
    if len(data) > bound:
        raise KeyFileError(f"{path} is too large for a {what}: at most {bound} bytes")
    return data


def load_private(path: Path) -> PrivateKey:
    """Read a private key from PEM; KeyFileError says which kind of file it is instead."""
    pem = read_file(path, "private key")
    if _PRIVATE_MARK not in pem:
        if _public_from(pem) is not None:
            raise KeyFileError(f"{path} is a public key: give the private key that belongs to it")
        raise KeyFileError(f"{path} is not a private key in PEM: make one with `vitrine keygen`")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:  # cryptography's answer to an encrypted key
        raise KeyFileError(f"{path} is encrypted: decrypt it with `openssl pkey -in {path} -out KEY` first") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} is a damaged or unknown private key: make one with `vitrine keygen`") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is not an Ed25519 key: make one with `vitrine keygen`")
    return PrivateKey(key)


def load_public(path: Path) -> PublicKey:
    """Read a public key from PEM or COSE_Key, or the public part of a private key in PEM."""
    data = read_file(path, "public key")
    if _PRIVATE_MARK in data:
        return load_private(path).public
    key = _public_from(data)
    if key is None or not key.is_sound:
        raise KeyFileError(f"{path} is not an Ed25519 public key in PEM or COSE_Key: make one with `vitrine keygen`")
    return key


def public_from_cose_map(value: Any) -> PublicKey | None:
    """Return the key of a COSE_Key map of exactly {1: 1, -1: 6, -2: 32 bytes}, else None."""
    if not isinstance(value, dict) or value.keys() != {1, -1, -2}:
        return None
    kty, crv, raw = value[1], value[-1], value[-2]
    is_ed25519 = (type(kty), kty, type(crv), crv) == (int, 1, int, 6)  # True is 1 too, but no lock takes it
    return PublicKey(raw) if is_ed25519 and isinstance(raw, bytes) and len(raw) == 32 else None


def _public_from(data: bytes) -> PublicKey | None:
    if b"PUBLIC KEY-----" in data:
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm):
            return None
        if not isinstance(key, Ed25519PublicKey):
            return None
        return PublicKey(key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))
    try:
        return public_from_cose_map(cbor.decode(data, MAX_KEY_FILE))
    except cbor.CborError:
        return None
