"""The field machine against the interpreter's integers, with limbs as large as its programs ever make them."""

import random

from support import skip
from vitrine.crypto import ed25519
from vitrine.crypto.curve import P

OPERATIONS = {"mul": 1, "square": 2, "add": 3, "sub": 4, "sum": 5}
R, A, B = 8, 6, 7  # slots
LARGEST = [8191, 8191, 8199] + [8191] * 17  # what a carry leaves at most


def native():
    if not hasattr(ed25519.engine, "_memory"):
        skip("this interpreter has no native code")
    from vitrine.crypto import field_viper

    return field_viper


def run(field, operation, a, b, operand=B):
    """Run one operation on two lists of limbs; return the limbs of the result."""
    memory = bytearray(field.MEMORY_SIZE)
    for slot, limbs in ((A, a), (B, b)):
        for i, limb in enumerate(limbs):
            memory[80 * slot + 4 * i : 80 * slot + 4 * i + 4] = limb.to_bytes(4, "little")
    field.run(0, memory, memory, bytes((OPERATIONS[operation], R, A, operand, 0, 0, 0, 0)))
    start = 80 * R
    return [int.from_bytes(memory[i : i + 4], "little") for i in range(start, start + 80, 4)]


def value(limbs):
    total = 0
    for i, limb in enumerate(limbs):
        total += limb << (13 * i)
    return total


def samples():
    random.seed(4)
    yield LARGEST, LARGEST
    yield [0] * 20, LARGEST
    yield LARGEST, [0] * 20
    yield [1] + [0] * 19, [0] * 19 + [8191]
    for _ in range(20):
        yield [random.getrandbits(13) for _ in range(20)], [random.getrandbits(13) for _ in range(20)]


def check(field, operation, a, b, expected, operand=B):
    limbs = run(field, operation, a, b, operand)
    assert (value(limbs) - expected) % P == 0
    if operation != "sum":
        assert all(limb <= largest for limb, largest in zip(limbs, LARGEST))  # noqa: B905


def test_products_of_up_to_three_terms_by_one():
    field = native()
    for a, b in samples():
        for terms in (1, 2, 3):
            sum_ = [terms * limb for limb in a]
            check(field, "mul", sum_, b, value(sum_) * value(b))
            check(field, "mul", b, sum_, value(sum_) * value(b))


def test_squares():
    field = native()
    for a, b in samples():
        for times in (1, 2, 5):
            check(field, "square", a, b, pow(value(a), 1 << times, P), times)


def test_sums_and_differences_with_a_sum_first():
    field = native()
    for a, b in samples():
        for terms in (1, 2):
            sum_ = [terms * limb for limb in a]
            check(field, "add", sum_, b, value(sum_) + value(b))
            check(field, "sub", sum_, b, value(sum_) - value(b))
            check(field, "sum", sum_, b, value(sum_) + value(b))


def test_numbers_go_in_and_come_out_below_p():
    native()
    engine = ed25519.engine
    numbers = [0, 1, 18, 19, P - 1, P - 19, P // 2, 1 << 254, (1 << 248) - 1]
    for n in numbers:
        engine._put(R, n)
        assert engine._get(R) == n
        assert engine._is_zero(R) == (n == 0)
    # values of P and above, up to all limbs at their largest: whatever the machine leaves is brought below P
    for n in (P, P + 1, P + 18, 2 * P, 2 * P - 1, 31 * P, (1 << 260) - 1, (1 << 255) - 1, 1 << 255, (1 << 255) + 18):
        for i in range(20):
            place = 80 * R + 4 * i
            engine._memory[place : place + 4] = (n >> (13 * i) & 8191).to_bytes(4, "little")
        assert engine._get(R) == n % P
        assert engine._is_zero(R) == (n % P == 0)
    for i, limb in enumerate(LARGEST):
        engine._memory[80 * R + 4 * i : 80 * R + 4 * i + 4] = limb.to_bytes(4, "little")
    assert engine._get(R) == value(LARGEST) % P
