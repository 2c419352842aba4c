"""Valid, corrupted and adversarial signatures, and libsodium's answer to each. CPython only."""

import hashlib
import random
from collections.abc import Iterator

from nacl import exceptions
from nacl.bindings import crypto_sign_open
from nacl.signing import SigningKey

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

Point = tuple[int, int]
Case = tuple[bytes, bytes, bytes]


def add(p: Point, q: Point) -> Point:
    (x1, y1), (x2, y2) = p, q
    k = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P,
    )


def multiple(n: int, p: Point) -> Point:
    total = (0, 1)
    while n:
        if n & 1:
            total = add(total, p)
        p = add(p, p)
        n >>= 1
    return total


def lift(y: int) -> Point | None:
    """A point with this y, or None."""
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y) if (x * x - xx) % P == 0 else None


def encode(p: Point) -> bytes:
    return (p[1] | (p[0] & 1) << 255).to_bytes(32, "little")


def _order_eight() -> Point:
    y = 2
    while True:
        point = lift(y)
        if point:
            torsion = multiple(L, point)
            if multiple(4, torsion) != (0, 1):
                return torsion
        y += 1


_BASE = lift(4 * pow(5, -1, P) % P)
BASE = _BASE if _BASE[0] % 2 == 0 else (P - _BASE[0], _BASE[1])
TORSION = [multiple(n, _order_eight()) for n in range(8)]


def libsodium(case: Case) -> bool:
    key, message, signature = case
    try:
        crypto_sign_open(signature + message, key)
    except (exceptions.BadSignatureError, exceptions.ValueError):
        return False
    return True


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L


def valid(random_: random.Random) -> Case:
    signing_key = SigningKey(random_.randbytes(32))
    message = random_.randbytes(random_.choice((0, 1, 47, 48, 63, 64, 65, 111, 112, 200, 300)))
    return bytes(signing_key.verify_key), message, signing_key.sign(message).signature


def corrupted(case: Case, random_: random.Random) -> Case:
    """Flip one bit, swap a part for noise, or move S."""
    parts = [bytearray(part) for part in case]
    kind = random_.randrange(6)
    which = random_.choice((0, 2) if not parts[1] else (0, 1, 2))
    if kind < 3:
        bit = random_.randrange(8 * len(parts[which]))
        parts[which][bit >> 3] ^= 1 << (bit & 7)
    elif kind == 3:
        parts[which][:32] = random_.randbytes(len(parts[which][:32]))
    elif kind == 4:
        s = int.from_bytes(parts[2][32:], "little") + random_.choice((L, -1, 1, 2 * L, L << 2))
        parts[2][32:] = (s % 2**256).to_bytes(32, "little")
    else:
        parts[2][32:] = random_.choice((bytes(32), b"\xff" * 32, L.to_bytes(32, "little")))
    return tuple(bytes(part) for part in parts)


def mixed_order(random_: random.Random) -> Case:
    """A key and an R with small-order components: some fulfil the equation exactly, some only times the cofactor."""
    a, r = random_.getrandbits(64), random_.getrandbits(64)  # short: this arithmetic is slow
    key = encode(add(multiple(a, BASE), random_.choice(TORSION)))
    big_r = encode(add(multiple(r, BASE), random_.choice(TORSION)))
    message = random_.randbytes(8)
    s = (r + challenge(big_r, key, message) * a) % L
    return key, message, big_r + s.to_bytes(32, "little")


def special_encodings() -> list[bytes]:
    """Small-order points, canonical or not, every other non-canonical y, and the values beside them."""
    ys = {y for _, y in TORSION} | set(range(P - 3, 2**255)) | {0, 1, 2}
    ys |= {y + P for y in ys if y + P < 2**255}
    return [(y | sign << 255).to_bytes(32, "little") for y in sorted(ys) for sign in (0, 1)]


def special(random_: random.Random) -> Iterator[Case]:
    """Every special encoding as the key and as R, with S made to fulfil the equation where that can be done."""
    key, message, signature = valid(random_)
    for encoding in special_encodings():
        yield encoding, message, signature
        yield encoding, message, encoding + bytes(32)
        yield key, message, encoding + signature[32:]
        # A small-order key: S B = R + h A holds with R = S B for one message in eight
        s = random_.getrandbits(32)
        yield encoding, random_.randbytes(4), encode(multiple(s, BASE)) + s.to_bytes(32, "little")
        # R of small order under an honest key: S = h a
        a = random_.getrandbits(32)
        honest = encode(multiple(a, BASE))
        s = challenge(encoding, honest, message) * a % L
        yield honest, message, encoding + s.to_bytes(32, "little")
    # R not canonical, or not a point, and S = 0: nothing but the encoding stands against it
    for y in range(P - 40, P):
        yield key, message, y.to_bytes(32, "little") + bytes(32)


def all_cases(seed: int, count: int) -> list[Case]:
    """`special` and `count` others: a third each valid, corrupted and of mixed order."""
    random_ = random.Random(seed)
    cases = list(special(random_))
    for _ in range(count // 3):
        case = valid(random_)
        cases += [case, corrupted(case, random_), mixed_order(random_)]
    return cases
