"""SHA-512 in bytecode (FIPS 180-4): for boards without the native emitter, and for CPython."""

from .sha512_tables import INITIAL, ROUNDS

_MASK = 0xFFFFFFFFFFFFFFFF
_K = []


def sha512(*parts: bytes) -> bytes:
    """Return the 64-byte digest of the joined `parts`, each bytes-like."""
    data = b"".join([bytes(part) for part in parts])
    if not _K:
        # On the first use, not on import: a board that runs the native code never pays for the list.
        for i in range(0, 640, 8):
            _K.append(int.from_bytes(ROUNDS[i : i + 8], "big"))
    n = len(data)
    tail = data[n & ~127 :] + b"\x80"
    tail += bytes((112 - len(tail)) % 128) + (n * 8).to_bytes(16, "big")
    state = [int.from_bytes(INITIAL[i : i + 8], "big") for i in range(0, 64, 8)]
    for i in range(0, n & ~127, 128):
        _block(state, data[i : i + 128])
    for i in range(0, len(tail), 128):
        _block(state, tail[i : i + 128])
    return b"".join([word.to_bytes(8, "big") for word in state])


def _block(state: list, block: bytes) -> None:
    mask = _MASK
    w = [int.from_bytes(block[i : i + 8], "big") for i in range(0, 128, 8)]
    for i in range(16, 80):
        # Doubling a word side by side turns each rotation into one shift; the sum is masked once.
        x = w[i - 15]
        y = w[i - 2]
        xx = x << 64 | x
        yy = y << 64 | y
        s0 = (xx >> 1 ^ xx >> 8 ^ x >> 7) & mask
        s1 = (yy >> 19 ^ yy >> 61 ^ y >> 6) & mask
        w.append((w[i - 16] + w[i - 7] + s0 + s1) & mask)
    a, b, c, d, e, f, g, h = state
    for i in range(80):
        ee = e << 64 | e
        t = h + ((ee >> 14 ^ ee >> 18 ^ ee >> 41) & mask) + (g ^ e & (f ^ g)) + _K[i] + w[i]
        aa = a << 64 | a
        h = g
        g = f
        f = e
        e = (d + t) & mask
        d = c
        t += ((aa >> 28 ^ aa >> 34 ^ aa >> 39) & mask) + (a & b | c & (a | b))
        c = b
        b = a
        a = t & mask
    for i, word in enumerate((a, b, c, d, e, f, g, h)):
        state[i] = (state[i] + word) & mask
