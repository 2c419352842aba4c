"""`given` and its strategies on CPython: hypothesis."""

from hypothesis import HealthCheck, settings
from hypothesis import given as _given
from hypothesis import strategies as st


def ints(low, high):
    return st.integers(low, high)


def bools():
    return st.booleans()


def blobs(low, high):
    return st.binary(min_size=low, max_size=high)


def texts(low, high):
    return st.text(min_size=low, max_size=high)


def choices(values):
    return st.sampled_from(list(values))


def lists(item, low, high):
    return st.lists(item, min_size=low, max_size=high)


def tuples(*items):
    return st.tuples(*items)


def given(*strategies, examples=100):
    """Run the decorated test with `examples` drawn tuples of arguments."""

    def wrap(test):
        checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
        return settings(max_examples=examples, deadline=None, suppress_health_check=checks)(_given(*strategies)(test))

    return wrap
