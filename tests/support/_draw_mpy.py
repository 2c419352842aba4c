"""`given` and its strategies on MicroPython: seeded draws, edges first. A strategy is a function of the draw number."""

import os
import random

SEED = int(os.getenv("VITRINE_TEST_SEED") or "1")


def ints(low, high):
    span = high - low

    def draw(n):
        if n == 0:
            return low
        if n == 1:
            return high
        # getrandbits gives at most 32 bits; half of the draws stay near the edges, where the mistakes are
        value = 0
        for _ in range(4):
            value = (value << 30) | random.getrandbits(30)
        if n % 4 == 2:
            value &= 0xFF
        return low + value % (span + 1)

    return draw


def bools():
    return lambda n: bool(random.getrandbits(1))


def blobs(low, high):
    size = ints(low, high)
    return lambda n: bytes(random.getrandbits(8) for _ in range(size(n)))


def texts(low, high):
    size = ints(low, high)
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789-_.: ABCXYZ\u00e9\u20ac"
    return lambda n: "".join(random.choice(alphabet) for _ in range(size(n)))


def choices(values):
    values = list(values)
    return lambda n: random.choice(values)


def lists(item, low, high):
    size = ints(low, high)
    return lambda n: [item(2 + random.getrandbits(4)) for _ in range(size(n))]


def tuples(*items):
    return lambda n: tuple(item(n) for item in items)


def given(*strategies, examples=100):
    """Run the decorated test with `examples` drawn tuples of arguments; a failure names them."""

    def wrap(test):
        def run():
            random.seed(SEED)
            for n in range(examples):
                drawn = [strategy(n) for strategy in strategies]
                try:
                    test(*drawn)
                except AssertionError as error:
                    raise AssertionError("%s (seed %d, example %d: %r)" % (error, SEED, n, drawn))

        return run

    return wrap
