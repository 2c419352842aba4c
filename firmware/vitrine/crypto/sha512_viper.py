"""SHA-512 in native code (FIPS 180-4), right on 32-bit and 64-bit boards.

A 64-bit word is two 32-bit halves, high first, each masked after any sum: nothing depends on the width of the
machine's word. Importing it fails on an interpreter without the native emitter.
"""
# ruff: noqa: F821  (uint, ptr8 and ptr32 are viper's)

import micropython

from .sha512_tables import INITIAL, ROUNDS

# One call at a time, as in edwards_viper: the state, the schedule (16 words) with a to h behind it, the padded input.
_state = bytearray(64)
_work = bytearray(128 + 64)
_input = bytearray(1024)
_digest = bytearray(64)
_rounds = bytearray(640)  # the constants as words of this machine


def sha512(*parts: bytes) -> bytes:
    """Return the 64-byte digest of the joined `parts`. Up to 1,007 bytes in all it allocates the digest only."""
    size = 0
    for part in parts:
        size += len(part)
    end = (size + 17 + 127) & ~127
    data = _input if end <= len(_input) else bytearray(end)
    size = 0
    for part in parts:
        data[size : size + len(part)] = part
        size += len(part)
    _pad(data, size, end)
    _load(INITIAL, _state, 64)
    _blocks(0, 0, _work, _state, data, _rounds, end)
    _store(_state, _digest)
    return bytes(_digest)


@micropython.viper
def _pad(data: ptr8, size: int, end: int):
    """Write 0x80, zeros and the length in bits behind the `size` bytes at data."""
    data[size] = 0x80
    i = size + 1
    while i < end:
        data[i] = 0
        i += 1
    data[end - 1] = size << 3
    data[end - 2] = size >> 5
    data[end - 3] = size >> 13
    data[end - 4] = size >> 21


@micropython.viper
def _load(source: ptr8, target: ptr32, size: int):
    """Copy big-endian 32-bit words."""
    i = 0
    while i < size:
        target[i >> 2] = (source[i] << 24) | (source[i + 1] << 16) | (source[i + 2] << 8) | source[i + 3]
        i += 4


_load(ROUNDS, _rounds, 640)


@micropython.viper
def _store(source: ptr32, target: ptr8):
    """Copy the state as big-endian bytes."""
    i = 0
    while i < 64:
        word = uint(source[i >> 2])
        target[i] = word >> 24
        target[i + 1] = word >> 16
        target[i + 2] = word >> 8
        target[i + 3] = word
        i += 4


@micropython.viper
def _blocks(h: uint, g: uint, w: ptr32, state: ptr32, block: ptr8, k512: ptr32, size: int):
    """Compress `size` bytes, whole blocks of 128, into `state`; g and h are working registers, w holds the schedule.

    The variables a to h stay where they are and their names rotate: in round n, variable x is at (x - n) modulo 8.
    """
    mask = (uint(0xFFFF) << 16) | uint(0xFFFF)
    while size:
        i = 0
        while i < 32:
            j = i << 2
            w[i] = (block[j] << 24) | (block[j + 1] << 16) | (block[j + 2] << 8) | block[j + 3]
            i += 1
        v = ptr32(int(w) + 128)
        i = 0
        while i < 16:
            v[i] = state[i]
            i += 1
        n = 0
        while n < 80:
            k = (n & 15) << 1
            if n >= 16:
                # w[n] += s0(w[n - 15]) + w[n - 7] + s1(w[n - 2])
                j = ((n + 1) & 15) << 1
                h = uint(w[j]) & mask
                g = uint(w[j + 1]) & mask
                low = (((g >> 1) | (h << 31)) ^ ((g >> 8) | (h << 24)) ^ ((g >> 7) | (h << 25))) & mask
                high = ((h >> 1) | (g << 31)) ^ ((h >> 8) | (g << 24)) ^ (h >> 7)
                high += uint(w[k])
                sum_low = (uint(w[k + 1]) + low) & mask
                if sum_low < low:
                    high += uint(1)
                j = ((n + 9) & 15) << 1
                low = uint(w[j + 1]) & mask
                high += uint(w[j])
                sum_low = (sum_low + low) & mask
                if sum_low < low:
                    high += uint(1)
                j = ((n + 14) & 15) << 1
                h = uint(w[j]) & mask
                g = uint(w[j + 1]) & mask
                low = (((g >> 19) | (h << 13)) ^ ((h >> 29) | (g << 3)) ^ ((g >> 6) | (h << 26))) & mask
                high += ((h >> 19) | (g << 13)) ^ ((g >> 29) | (h << 3)) ^ (h >> 6)
                sum_low = (sum_low + low) & mask
                if sum_low < low:
                    high += uint(1)
                w[k] = int(high)
                w[k + 1] = int(sum_low)
            # t1 = h + S1(e) + ch(e, f, g) + K[n] + w[n]
            j = ((4 - n) & 7) << 1
            h = uint(v[j]) & mask
            g = uint(v[j + 1]) & mask
            low = (((g >> 14) | (h << 18)) ^ ((g >> 18) | (h << 14)) ^ ((h >> 9) | (g << 23))) & mask
            high = ((h >> 14) | (g << 18)) ^ ((h >> 18) | (g << 14)) ^ ((g >> 9) | (h << 23))
            i = ((5 - n) & 7) << 1
            j = ((6 - n) & 7) << 1
            high += uint(v[j]) ^ (h & (uint(v[i]) ^ uint(v[j])))
            sum_low = (uint(v[j + 1]) ^ (g & (uint(v[i + 1]) ^ uint(v[j + 1])))) & mask
            sum_low = (sum_low + low) & mask
            if sum_low < low:
                high += uint(1)
            j = ((7 - n) & 7) << 1
            low = uint(v[j + 1]) & mask
            high += uint(v[j])
            sum_low = (sum_low + low) & mask
            if sum_low < low:
                high += uint(1)
            i = n << 1
            low = uint(k512[i + 1]) & mask
            high += uint(k512[i])
            sum_low = (sum_low + low) & mask
            if sum_low < low:
                high += uint(1)
            low = uint(w[k + 1]) & mask
            high += uint(w[k])
            sum_low = (sum_low + low) & mask
            if sum_low < low:
                high += uint(1)
            # d += t1
            i = ((3 - n) & 7) << 1
            low = (uint(v[i + 1]) + sum_low) & mask
            h = uint(v[i]) + high
            if low < sum_low:
                h += uint(1)
            v[i] = int(h)
            v[i + 1] = int(low)
            # h = t1 + S0(a) + maj(a, b, c)
            i = ((0 - n) & 7) << 1
            h = uint(v[i]) & mask
            g = uint(v[i + 1]) & mask
            low = (((g >> 28) | (h << 4)) ^ ((h >> 2) | (g << 30)) ^ ((h >> 7) | (g << 25))) & mask
            high += ((h >> 28) | (g << 4)) ^ ((g >> 2) | (h << 30)) ^ ((g >> 7) | (h << 25))
            sum_low = (sum_low + low) & mask
            if sum_low < low:
                high += uint(1)
            i = ((1 - n) & 7) << 1
            k = ((2 - n) & 7) << 1
            high += (h & uint(v[i])) | (uint(v[k]) & (h | uint(v[i])))
            low = ((g & uint(v[i + 1])) | (uint(v[k + 1]) & (g | uint(v[i + 1])))) & mask
            sum_low = (sum_low + low) & mask
            if sum_low < low:
                high += uint(1)
            v[j] = int(high)
            v[j + 1] = int(sum_low)
            n += 1
        i = 0
        while i < 16:
            low = uint(v[i + 1]) & mask
            sum_low = (uint(state[i + 1]) + low) & mask
            high = uint(state[i]) + uint(v[i])
            if sum_low < low:
                high += uint(1)
            state[i] = int(high)
            state[i + 1] = int(sum_low)
            i += 2
        block = ptr8(int(block) + 128)
        size -= 128
