"""Edwards25519: its numbers, and which encodings of points are refused (RFC 8032 section 5.1; FIPS 186-5).

All values are integers or 32-byte little-endian strings. Nothing here allocates at run time but the integers.
"""

P = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFED  # the field: 2^255 - 19
ORDER = 0x1000000000000000000000000000000014DEF9DEA2F79CD65812631A5CF5D3ED  # L, the prime order of the base point
EIGHT_ORDER = 8 * ORDER  # of the whole group
D = 0x52036CEE2B6FFE738CC740797779E89800700A4D4141D8AB75EB4DCA135978A3  # -121665/121666
D2 = 0x2406D9DC56DFFCE7198E80F2EEF3D13000E0149A8283B156EBD69B9426B2F159  # 2 * D
SQRT_M1 = 0x2B8324804FC1DF0B2B4D00993DFBD7A72F431806AD2FE478C4EE1B274A0EA0B0
_Y_MASK = (1 << 255) - 1

# The y coordinates of the eight points whose order divides 8. Under such a key, or such an R, a signature can be
# made without any secret, so both are refused. Each y is below P, so equality is enough.
SMALL_ORDER_Y = (
    0,
    1,
    P - 1,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
)


def on_curve(x: int, y: int) -> bool:
    """Tell whether -x^2 + y^2 = 1 + d x^2 y^2."""
    xx = x * x % P
    yy = y * y % P
    return (yy - xx - 1 - D * xx % P * yy) % P == 0


def canonical_y(raw: bytes) -> int:
    """Return y of the encoding in the first 32 bytes of `raw`, or -1 if it is not below P or is of small order."""
    y = int.from_bytes(raw[:32], "little") & _Y_MASK
    if y >= P or y in SMALL_ORDER_Y:
        return -1
    return y


def is_refused(raw: bytes) -> bool:
    """Tell the same of `raw`, True for canonical_y's -1, by its bytes and without a big integer."""
    for refused in _REFUSED:
        i = 31
        if (raw[31] ^ refused[31]) & 0x7F == 0:
            while i and raw[i - 1] == refused[i - 1]:
                i -= 1
            if i == 0:
                return True
    if raw[31] & 0x7F != 0x7F or raw[0] < 0xED:
        return False
    i = 30
    while i and raw[i] == 0xFF:
        i -= 1
    return i == 0


def is_below_order(signature: bytes) -> bool:
    """Tell whether S, bytes 32 to 63 of the signature, is below the order, by its bytes."""
    i = 31
    while i and signature[32 + i] == _ORDER_BYTES[i]:
        i -= 1
    return signature[32 + i] < _ORDER_BYTES[i]


_ORDER_BYTES = ORDER.to_bytes(32, "little")
_REFUSED = [y.to_bytes(32, "little") for y in SMALL_ORDER_Y]
