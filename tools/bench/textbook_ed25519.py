"""A textbook Ed25519 verifier for MicroPython, for the benchmark only: the yardstick, written as RFC 8032 puts it.

Big integers, extended coordinates, one bit of the scalar at a time, Fermat inversion, SHA-512 with 64-bit words. It is
correct but accepts more than the firmware does (small-order keys, for one), and is in no image.
"""
# pyright: reportOptionalOperand=false

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def _primes(count):
    primes = []
    n = 2
    while len(primes) < count:
        if all(n % p for p in primes):
            primes.append(n)
        n += 1
    return primes


def _root(n, degree):
    """The first 64 bits of the fraction of the degree-th root of n."""
    low, high = 0, 1 << 70
    while high - low > 1:
        middle = (low + high) >> 1
        if middle**degree <= n << (64 * degree):
            low = middle
        else:
            high = middle
    return low & (2**64 - 1)


K = [_root(p, 3) for p in _primes(80)]
H = [_root(p, 2) for p in _primes(8)]


def _rotated(x, n):
    return (x >> n | x << (64 - n)) & (2**64 - 1)


def sha512(data):
    data = data + b"\x80" + bytes((111 - len(data)) % 128) + (8 * len(data)).to_bytes(16, "big")
    state = H[:]
    for start in range(0, len(data), 128):
        w = [int.from_bytes(data[i : i + 8], "big") for i in range(start, start + 128, 8)]
        for i in range(16, 80):
            s0 = _rotated(w[i - 15], 1) ^ _rotated(w[i - 15], 8) ^ w[i - 15] >> 7
            s1 = _rotated(w[i - 2], 19) ^ _rotated(w[i - 2], 61) ^ w[i - 2] >> 6
            w.append((w[i - 16] + s0 + w[i - 7] + s1) & (2**64 - 1))
        a, b, c, d, e, f, g, h = state
        for i in range(80):
            s1 = _rotated(e, 14) ^ _rotated(e, 18) ^ _rotated(e, 41)
            t1 = h + s1 + (e & f ^ ~e & g) + K[i] + w[i]
            s0 = _rotated(a, 28) ^ _rotated(a, 34) ^ _rotated(a, 39)
            t2 = s0 + (a & b ^ a & c ^ b & c)
            a, b, c, d, e, f, g, h = (t1 + t2) & (2**64 - 1), a, b, c, (d + t1) & (2**64 - 1), e, f, g
        state = [(x + y) & (2**64 - 1) for x, y in zip(state, (a, b, c, d, e, f, g, h))]  # noqa: B905
    return b"".join([x.to_bytes(8, "big") for x in state])


def _add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(s, p):
    q = (0, 1, 1, 0)
    while s > 0:
        if s & 1:
            q = _add(q, p)
        p = _add(p, p)
        s >>= 1
    return q


def _recover_x(y, sign):
    if y >= P:
        return None
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P)
    if not xx % P:
        return None if sign else 0
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * SQRT_M1 % P
    if (x * x - xx) % P:
        return None
    return P - x if x & 1 != sign else x


_BY = 4 * pow(5, P - 2, P) % P
_BX = _recover_x(_BY, 0)
B = (_BX, _BY, 1, _BX * _BY % P)


def _decoded(raw):
    y = int.from_bytes(raw, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    x = _recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def verify(public, message, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    a = _decoded(public)
    r = _decoded(signature[:32])
    if a is None or r is None:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return False
    h = int.from_bytes(sha512(signature[:32] + public + message), "little") % L
    left = _multiply(s, B)
    right = _add(r, _multiply(h, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0
