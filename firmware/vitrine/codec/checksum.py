"""CRC-32 at the end of what lies in flash, and what it can put right again (SPEC.md 8.2, 8.3, 13.1).

The CRC finds accidents: a torn program, an aged bit. Against intent there is the seal of the journal (8.5).
"""

import binascii


def is_right(data: "bytes | bytearray | memoryview", seed: int) -> bool:
    """Tell whether the last 4 bytes of `data` are the CRC-32 of all before, started from `seed`."""
    view = memoryview(data)  # a slice of it is no copy: this may be a key
    return binascii.crc32(view[:-4], seed) == int.from_bytes(view[-4:], "big")


def close(data: bytearray, seed: int) -> None:
    """Put the CRC-32 of all before, started from `seed`, into the last 4 bytes of `data`."""
    data[-4:] = binascii.crc32(memoryview(data)[:-4], seed).to_bytes(4, "big")


def mend(data: "bytearray | memoryview", seed: int, flips: int, start: int = 0) -> bool:
    """Look for at most `flips` bits, from bit `start` on, whose inversion makes the CRC right; leave them inverted.

    False, and `data` as it was, if there are none. CRC-32 has distance 5 up to 371 bytes of data and 6 up to 33, so
    that one flip in a record and two in a cell have one answer only. Costs 8 len(data) checks to the power of `flips`.
    """
    if is_right(data, seed):
        return True
    if flips:
        for bit in range(start, 8 * len(data)):
            mask = 1 << (bit & 7)
            data[bit >> 3] ^= mask
            if mend(data, seed, flips - 1, bit + 1):
                return True
            data[bit >> 3] ^= mask
    return False
