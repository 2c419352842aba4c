"""SHA-512 in bytecode (FIPS 180-4): for boards without the native emitter, and for CPython.

A word is one integer of 64 bits where small integers have 31 bits, two of 32 bits where they have 63: those need no
memory, and twice as many operations then take half the time.
"""

from sys import maxsize

from .sha512_tables import INITIAL, ROUNDS

WIDTH = 4 if maxsize >> 32 else 8  # bytes of an integer
_constants = {}


def sha512(*parts: bytes) -> bytes:
    """Return the 64-byte digest of the joined `parts`, each bytes-like."""
    return digest(b"".join([bytes(part) for part in parts]), WIDTH)


def digest(data: bytes, width: int) -> bytes:
    """Return the digest, computed with integers of `width` bytes: 4 or 8."""
    if width not in _constants:
        # On the first use, not on import: a board that runs the native code never pays for the list.
        _constants[width] = _integers(ROUNDS, width)
    k = _constants[width]
    block = _block_of_halves if width == 4 else _block_of_words
    n = len(data)
    tail = data[n & ~127 :] + b"\x80"
    tail += bytes((112 - len(tail)) % 128) + (n * 8).to_bytes(16, "big")
    state = _integers(INITIAL, width)
    for i in range(0, n & ~127, 128):
        block(state, _integers(data[i : i + 128], width), k)
    for i in range(0, len(tail), 128):
        block(state, _integers(tail[i : i + 128], width), k)
    return b"".join([number.to_bytes(width, "big") for number in state])


def _integers(data: bytes, width: int) -> list:
    return [int.from_bytes(data[i : i + width], "big") for i in range(0, len(data), width)]


def _block_of_words(state: list, w: list, k: list) -> None:
    mask = 0xFFFFFFFFFFFFFFFF
    for i in range(16, 80):
        # A word doubled side by side makes each rotation one shift. What is above 64 bits goes when the sum is masked.
        x = w[i - 15]
        y = w[i - 2]
        xx = x << 64 | x
        yy = y << 64 | y
        w.append((w[i - 16] + w[i - 7] + (xx >> 1 ^ xx >> 8 ^ x >> 7) + (yy >> 19 ^ yy >> 61 ^ y >> 6)) & mask)
    a, b, c, d, e, f, g, h = state
    b_c = b ^ c
    for i in range(80):
        x = e << 64 | e
        t = h + (x >> 14 ^ x >> 18 ^ x >> 41) + (g ^ e & (f ^ g)) + k[i] + w[i]
        h = g
        g = f
        f = e
        e = (d + t) & mask
        d = c
        x = a << 64 | a
        a_b = a ^ b
        t += (x >> 28 ^ x >> 34 ^ x >> 39) + (b ^ a_b & b_c)  # the majority: b, unless it is alone
        b_c = a_b
        c = b
        b = a
        a = t & mask
    for i, word in enumerate((a, b, c, d, e, f, g, h)):
        state[i] = (state[i] + word) & mask


def _block_of_halves(state: list, w: list, k: list) -> None:
    """Do the same with the high half of each word (x, ah ...) before its low half (y, al ...)."""
    mask = 0xFFFFFFFF
    for i in range(32, 160, 2):
        h = w[i - 30]
        l = w[i - 29]  # noqa: E741
        # Bits above the 32 go with the mask, but 63 bits would be no small integer: hence the & 1.
        x = (h >> 1 ^ (l & 1) << 31 ^ h >> 8 ^ l << 24 ^ h >> 7) & mask
        y = (l >> 1 ^ (h & 1) << 31 ^ l >> 8 ^ h << 24 ^ l >> 7 ^ h << 25) & mask
        h = w[i - 4]
        l = w[i - 3]  # noqa: E741
        x += ((h >> 19 ^ l << 13 ^ l >> 29 ^ h << 3 ^ h >> 6) & mask) + w[i - 14] + w[i - 32]
        y += ((l >> 19 ^ h << 13 ^ h >> 29 ^ l << 3 ^ l >> 6 ^ h << 26) & mask) + w[i - 13] + w[i - 31]
        w.append((x + (y >> 32)) & mask)
        w.append(y & mask)
    ah, al, bh, bl, ch, cl, dh, dl, eh, el, fh, fl, gh, gl, hh, hl = state
    bh_ch = bh ^ ch
    bl_cl = bl ^ cl
    for i in range(0, 160, 2):
        x = (eh >> 14 ^ el << 18 ^ eh >> 18 ^ el << 14 ^ el >> 9 ^ eh << 23) & mask
        y = (el >> 14 ^ eh << 18 ^ el >> 18 ^ eh << 14 ^ eh >> 9 ^ el << 23) & mask
        x += hh + (gh ^ eh & (fh ^ gh)) + k[i] + w[i]
        y += hl + (gl ^ el & (fl ^ gl)) + k[i + 1] + w[i + 1]
        hh = gh
        hl = gl
        gh = fh
        gl = fl
        fh = eh
        fl = el
        el = dl + y
        eh = (dh + x + (el >> 32)) & mask
        el &= mask
        dh = ch
        dl = cl
        ah_bh = ah ^ bh
        al_bl = al ^ bl
        x += ((ah >> 28 ^ al << 4 ^ al >> 2 ^ ah << 30 ^ al >> 7 ^ ah << 25) & mask) + (bh ^ ah_bh & bh_ch)
        y += ((al >> 28 ^ ah << 4 ^ ah >> 2 ^ al << 30 ^ ah >> 7 ^ al << 25) & mask) + (bl ^ al_bl & bl_cl)
        bh_ch = ah_bh
        bl_cl = al_bl
        ch = bh
        cl = bl
        bh = ah
        bl = al
        ah = (x + (y >> 32)) & mask
        al = y & mask
    for i, half in enumerate((al, ah, bl, bh, cl, ch, dl, dh, el, eh, fl, fh, gl, gh, hl, hh)):
        state[i ^ 1] += half
    for i in range(0, 16, 2):
        state[i] = (state[i] + (state[i + 1] >> 32)) & mask
        state[i + 1] &= mask
